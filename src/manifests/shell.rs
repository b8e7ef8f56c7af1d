//! Words for a POSIX shell.

/// A word as the shell takes it, whatever is in it.
pub(super) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('=') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A command over several lines: a flag and its value on each.
pub(super) fn command(start: &str, arguments: &[String]) -> String {
    let mut out = start.to_owned();
    for argument in arguments {
        let is_flag = argument.starts_with("--");
        out.push_str(if is_flag { " \\\n  " } else { " " });
        out.push_str(&word(argument));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(word("Qwen/Qwen3-32B"), "Qwen/Qwen3-32B");
        for text in ["$(rm -rf /)", "it's", "a b", "", "`x`", "two\nlines", "{\"a\": 1}", "!!", "*", "~"] {
            let script = format!("printf %s {}", word(text));
            let shown = std::process::Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
            assert_eq!(String::from_utf8(shown.stdout).unwrap(), text);
        }
    }

    #[test]
    fn flags_begin_lines() {
        let arguments = ["m", "--tp", "2", "--on"].map(String::from);
        assert_eq!(command("vllm serve", &arguments), "vllm serve m \\\n  --tp 2 \\\n  --on");
    }
}
