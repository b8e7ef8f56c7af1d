//! `servescout shortlist`: the shortlist of a run, chosen again from its archive.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Exit, html, terminal};
use crate::archive::{RunData, RunDir};
use crate::evaluator::replicate_workloads;
use crate::plot::Figures;
use crate::shortlist::{self, Assessor, DRAWS, Shortlist, TimingErrors, Wish};
use crate::timing::Calibration;
use crate::workload::{self, Workload};

/// Choose the shortlist of a run again, perhaps of another size, or by worst cases
///
/// Rewrites `shortlist.md`, `.json`, `.csv` and the entries' directories, and figures and report where
/// there are any. Nothing is simulated, and intervals stay those that the run has, unless --draws,
/// --robust or --calibration ask for it.
#[derive(Args, Debug)]
pub struct ShortlistArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Most entries, in place of the study's `shortlist.size`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    size: Option<u16>,
    /// Simulate each entry, its one-step changes and its neighbours on the frontier again, for
    /// intervals and chances of so many draws of traffic and pass times [default: 48 where anything
    /// is simulated]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(9..=10000))]
    draws: Option<u16>,
    /// Choose by the worst case over bursts x1.5, lengths +25 %, another window of the trace,
    /// start-up x2 and one worker lost
    #[arg(long)]
    robust: bool,
    /// The error model of pass times that draws are from: none, default or a calibration file
    /// [default: that of the run, else default]
    #[arg(long, value_name = "NAME|FILE")]
    calibration: Option<String>,
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
/// directory, else of the study's; with what was simulated for it.
pub(super) fn rebuild(directory: &Path, size: Option<usize>) -> Result<Rebuilt, CliError> {
    let data = load(directory)?;
    let shortlist = shortlist::recorded(directory, &data, size)?;
    Ok(Rebuilt { data, shortlist })
}

/// Reads a run, and says so when it is not complete.
pub(super) fn load(directory: &Path) -> Result<RunData, CliError> {
    let run = RunDir::open(directory)?;
    let data = run.load()?;
    if data.run.complete_batches.is_none() {
        let batches = data.batches.len();
        terminal::note(&format_args!(
            "note: {} is not complete: this is from the {batches} batches so far",
            directory.display()
        ));
    }
    Ok(data)
}

/// The workloads of a run, which are still those that it was made with: its own, and those of its
/// replications.
pub(super) fn workloads(directory: &Path, data: &RunData) -> Result<(Workload, Vec<Workload>), CliError> {
    let workload = workload::load(&data.study.workload)?;
    RunDir::open(directory)?.check_workload(&workload.source, &workload.sha256)?;
    Ok((workload, replicate_workloads(&data.study)?))
}

impl ShortlistArgs {
    fn simulates(&self) -> bool {
        self.draws.is_some() || self.robust || self.calibration.is_some()
    }

    fn simulated(&self, data: &RunData) -> Result<Shortlist, CliError> {
        let (workload, replicates) = workloads(&self.run, data)?;
        let mut assessor = Assessor::new(&data.study, &workload, &replicates, data.run.seed);
        RunDir::open(&self.run)?.check_timing(&assessor.timing_provenance())?;
        if let Some(name) = &self.calibration {
            let calibration = Calibration::named(name, None).map_err(|reason| {
                CliError::user(format!("--calibration: {reason}"), "write none, default, or the path of a calibration")
            })?;
            let errors = TimingErrors::with(&data.study, calibration, name);
            if let Some(backend) = errors.missing(&data.study).first() {
                let what = format!("--calibration {name}: it has no [{}], which the run searches", backend.name());
                return Err(CliError::user(what, "fit one to points of that backend too, or write default"));
            }
            assessor = assessor.with_errors(errors);
        }
        let own = shortlist::recorded_size(&self.run).unwrap_or(data.study.shortlist_size);
        let wish = Wish {
            size: self.size.map_or(own, usize::from),
            draws: self.draws.map_or(DRAWS, usize::from),
            robust: self.robust,
        };
        Ok(shortlist::assessed(data, &assessor, wish))
    }
}

/// Rewrites the shortlist and prints it.
///
/// # Errors
/// The user's mistake when RUN is no run directory or cannot be trusted, or when simulations are asked
/// for and its trace is gone or has changed; failures to write.
pub fn run(args: &ShortlistArgs) -> Result<Exit, CliError> {
    let run = RunDir::open_to_rewrite(&args.run)?;
    let data = load(&args.run)?;
    let shortlist = if args.simulates() {
        args.simulated(&data)?
    } else {
        shortlist::recorded(&args.run, &data, args.size.map(usize::from))?
    };
    shortlist::write(&args.run, &data, &shortlist)?;
    let [plots, page] = ["plots", html::FILE].map(|name| args.run.join(name));
    if plots.is_dir() || page.is_file() {
        let figures = Figures::of(&data, &shortlist)?;
        if plots.is_dir() {
            figures.write(&plots)?;
        }
        if page.is_file() {
            html::write(&run, &data, &shortlist, &figures, &page)?;
        }
    }
    let text =
        if args.json { shortlist::to_json(&data, &shortlist) } else { shortlist::render_terminal(&data, &shortlist) };
    terminal::emit(text)?;
    Ok(if shortlist.feasible { Exit::Done } else { Exit::NothingFeasible })
}
