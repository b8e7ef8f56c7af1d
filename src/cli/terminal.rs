//! Where output goes: results to standard output and nothing else there, notes to standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::{CliError, Exit};
use crate::space::SpaceError;

/// Writes a result to standard output.
///
/// # Errors
/// When it cannot be written. A reader that has seen enough (`| head`) is no error.
pub fn emit(text: impl AsRef<[u8]>) -> Result<Exit, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(Exit::Done),
    }
}

/// Writes a line for people to standard error. Nobody listening there is no reason to stop.
pub fn note(text: &dyn Display) {
    let _ = writeln!(io::stderr(), "{text}");
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
