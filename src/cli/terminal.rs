//! Where output goes: results to standard output and nothing else there, notes to standard error.
//!
//! Names out of files and arguments may hold anything; what steers a terminal is shown, not obeyed.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write};

use super::{CliError, Exit};
use crate::space::SpaceError;

/// Writes a result to standard output.
///
/// # Errors
/// When it cannot be written. A reader that has seen enough (`| head`) is no error.
pub fn emit(text: impl AsRef<[u8]>) -> Result<Exit, CliError> {
    let text = String::from_utf8_lossy(text.as_ref());
    let mut out = io::stdout().lock();
    match out.write_all(harmless(&text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(Exit::Done),
    }
}

/// Writes a line for people to standard error. Nobody listening there is no reason to stop.
pub fn note(text: &dyn Display) {
    let _ = writeln!(io::stderr(), "{}", harmless(&text.to_string()));
}

/// Whether a terminal does something else with it than showing it: control characters, and those that
/// turn the direction of text.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || turns
}

/// The text with each of these written as JSON writes it, which keeps JSON what it is.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Writes what is legal in a search space but probably not meant.
pub fn warn(warnings: &[SpaceError]) {
    for warning in warnings {
        note(&warning.as_warning());
    }
}

/// Writes what was ignored, dropped or assumed in making a workload.
pub fn notes(notes: &[String]) {
    for text in notes {
        note(&format_args!("note: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(
            harmless("ESC [31m \u{1b}[31m, CR \r, CSI \u{9b}, \u{202e}desrever"),
            "ESC [31m \\u001b[31m, CR \\u000d, CSI \\u009b, \\u202edesrever"
        );
        assert!(matches!(harmless("lines\n\tand Grüße 你好"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"name": "\u{9b}31m\u{202e}\u{7f}\u{1b}"});
        let text = value.to_string();
        assert_ne!(harmless(&text), text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless(&text)).unwrap(), value);
    }
}
