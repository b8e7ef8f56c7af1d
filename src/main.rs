//! `servescout`: parse, dispatch, print the error, exit code. Everything else is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use servescout::cli::{self, Cli, terminal};
use servescout::decoding;

fn main() -> ExitCode {
    decoding::tell_panics_once();
    let line = match Cli::try_parse() {
        Ok(line) => line,
        Err(answer) => {
            // Help and version come this way too. Whoever closed the stream does not want them.
            let _ = answer.print();
            return ExitCode::from(answer.exit_code().try_into().unwrap_or(2));
        }
    };
    match cli::run(&line) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            terminal::note(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
