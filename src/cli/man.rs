//! `servescout man [COMMAND]...`.

use clap::Args;

use super::{CliError, Exit, terminal};

/// Print a manual page in roff
///
/// `servescout man | man -l -` reads it here; `servescout man search > servescout-search.1` keeps one.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The command whose page to print, such as `search` or `trace stats`; the program's own by default
    command: Vec<String>,
}

/// Prints the page.
///
/// # Errors
/// When there is no such command, or standard output cannot be written.
pub fn run(args: &ManArgs) -> Result<Exit, CliError> {
    let mut command = super::definition();
    command.build();
    for word in &args.command {
        let Some(inner) = command.find_subcommand(word) else {
            let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let path = command.get_display_name().unwrap_or(command.get_name()).replace('-', " ");
            let help = match names.as_slice() {
                [] => format!("`{path}` has no commands of its own"),
                _ => format!("name one of {}", names.join(", ")),
            };
            return Err(CliError::user(format!("`{path}` has no command `{word}`"), help));
        };
        command = inner.clone();
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|e| CliError::Failure(format!("cannot render the page: {e}")))?;
    terminal::emit(page)
}
