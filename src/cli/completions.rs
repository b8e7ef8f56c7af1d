//! `servescout completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use super::{CliError, Exit, terminal};

/// Print a completion script for a shell
///
/// For bash: `servescout completions bash > ~/.local/share/bash-completion/completions/servescout`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell that reads the script
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "servescout", &mut script);
    terminal::emit(script)
}
