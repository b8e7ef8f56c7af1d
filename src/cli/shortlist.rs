//! `servescout shortlist`: the shortlist of a run, chosen again from its archive.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Exit, terminal};
use crate::archive::{RunData, RunDir};
use crate::plot;
use crate::shortlist::{self, Shortlist};

/// Choose the shortlist of a run again, perhaps of another size; nothing is simulated
///
/// Rewrites `shortlist.md`, `.json`, `.csv` and the entries' directories, and the figures where there
/// are any.
#[derive(Args, Debug)]
pub struct ShortlistArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Most entries, in place of the study's `shortlist.size`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    size: Option<u16>,
    /// Print the shortlist as a JSON object, the same as `shortlist.json`
    #[arg(long)]
    json: bool,
}

/// A run in memory with its shortlist.
pub(super) struct Rebuilt {
    pub data: RunData,
    pub shortlist: Shortlist,
}

/// Reads a run and chooses its shortlist: of the size given, else of that which lies in the
/// directory, else of the study's.
pub(super) fn rebuild(directory: &Path, size: Option<usize>) -> Result<Rebuilt, CliError> {
    let run = RunDir::open(directory)?;
    let data = run.load()?;
    if data.run.complete_batches.is_none() {
        let batches = data.batches.len();
        terminal::note(&format_args!(
            "note: {} is not complete: this is from the {batches} batches so far",
            directory.display()
        ));
    }
    let size = size.or_else(|| shortlist::recorded_size(directory)).unwrap_or(data.study.shortlist_size);
    let shortlist = shortlist::build(&data, size);
    Ok(Rebuilt { data, shortlist })
}

/// Rewrites the shortlist and prints it.
///
/// # Errors
/// The user's mistake when RUN is no run directory or cannot be trusted; failures to write.
pub fn run(args: &ShortlistArgs) -> Result<Exit, CliError> {
    let size = args.size.map(usize::from);
    let Rebuilt { data, shortlist } = rebuild(&args.run, size)?;
    shortlist::write(&args.run, &data, &shortlist)?;
    let plots = args.run.join("plots");
    if plots.is_dir() {
        plot::draw_all(&data, &shortlist, &plots)?;
    }
    let text =
        if args.json { shortlist::to_json(&data, &shortlist) } else { shortlist::render_terminal(&data, &shortlist) };
    terminal::emit(text)?;
    Ok(if shortlist.feasible { Exit::Done } else { Exit::NothingFeasible })
}
