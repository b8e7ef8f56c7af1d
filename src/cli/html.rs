//! `servescout report`: the page of a run, made again from its archive.

use std::path::{Path, PathBuf};

use clap::Args;

use super::shortlist::{Rebuilt, rebuild};
use super::{CliError, Exit, terminal};
use crate::archive::{RunData, RunDir, write_atomic};
use crate::plot::Figures;
use crate::report;
use crate::shortlist::Shortlist;

/// The page within a run directory.
pub(super) const FILE: &str = "report.html";

/// Write a run as one HTML page that needs nothing else; nothing is simulated
///
/// A table of the candidates to sort and filter, a chart of any two metrics, the shortlist with its
/// reasons, the figures and the manifest. It works from disk, without a network.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The page [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the page and prints its file.
///
/// # Errors
/// The user's mistake when RUN is no run directory or cannot be trusted; failures to write.
pub fn run(args: &ReportArgs) -> Result<Exit, CliError> {
    let Rebuilt { data, shortlist } = rebuild(&args.run, None)?;
    let page = args.out.clone().unwrap_or_else(|| args.run.join(FILE));
    let figures = Figures::of(&data, &shortlist)?;
    write(&RunDir::open(&args.run)?, &data, &shortlist, &figures, &page)?;
    terminal::emit(format!("{}\n", page.display()))
}

/// Writes the page of a run.
///
/// # Errors
/// Failures to draw or to write.
pub(super) fn write(
    run: &RunDir,
    data: &RunData,
    shortlist: &Shortlist,
    figures: &Figures,
    page: &Path,
) -> Result<(), CliError> {
    let html = report::html(data, run.manifest(), shortlist, figures)?;
    Ok(write_atomic(page, html.as_bytes())?)
}
