//! `servescout plot`: the figures of a run, drawn again from its archive.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::shortlist::{Rebuilt, rebuild};
use super::{CliError, Exit, terminal};
use crate::plot::Figures;

/// Draw the figures of a run again, as SVG and PNG; nothing is simulated
#[derive(Args, Debug)]
pub struct PlotArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where the figures go [default: RUN/plots]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Draws the figures and prints their files.
///
/// # Errors
/// The user's mistake when RUN is no run directory or cannot be trusted; failures to write.
pub fn run(args: &PlotArgs) -> Result<Exit, CliError> {
    let Rebuilt { data, shortlist } = rebuild(&args.run, None)?;
    let directory = args.out.clone().unwrap_or_else(|| args.run.join("plots"));
    let files = Figures::of(&data, &shortlist)?.write(&directory)?;
    let mut text = String::new();
    for file in files {
        let _ = writeln!(text, "{}", file.display());
    }
    terminal::emit(text)
}
