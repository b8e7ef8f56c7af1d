//! `servescout schema`.

use clap::Args;

use super::{CliError, Exit, terminal};
use crate::space;

/// Print the JSON Schema of the search-space TOML, for editors
#[derive(Args, Debug)]
pub struct SchemaArgs {}

/// Prints the schema.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(_: &SchemaArgs) -> Result<Exit, CliError> {
    terminal::emit(format!("{:#}\n", space::json_schema()))
}
