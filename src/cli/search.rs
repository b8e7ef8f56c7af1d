//! `servescout search`: from a search space to a run directory with frontier, shortlist and figures.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};

use super::progress::{Counted, Stop, Watch};
use super::{CliError, Exit, Overrides, html, report, terminal, warm_start};
use crate::archive::{Batch, RunData, RunDir, Setup, default_run_path};
use crate::evaluator::{Evaluator, replicate_workloads};
use crate::plot::Figures;
use crate::search::warm::Warm;
use crate::search::{
    self, Committed, Driver, STRATEGIES, Settings, Sink, SinkError, Stagnation, StopReason, hypervolume_history,
};
use crate::shortlist::{self, Assessor, Shortlist, Wish};
use crate::space::{self, Study};
use crate::workload::{self, Load, Workload};

/// Search a space: simulate candidates over all cores, keep the frontier, write a shortlist
///
/// Everything lands in one run directory: every evaluation as Parquet, the frontier, the shortlist
/// with a replayable `candidate.toml` per entry, and figures. The same space, seed, strategy and
/// batch size give the same bytes on any number of threads.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// The search space; not needed with --resume
    #[arg(value_name = "SPACE.toml", required_unless_present = "resume")]
    space: Option<PathBuf>,
    /// The run directory, new or empty [default: results/NAME-UTC]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How candidates are chosen, in place of the file's `search.strategy`
    #[arg(long, value_parser = PossibleValuesParser::new(STRATEGIES.iter().map(|(name, _)| *name)))]
    strategy: Option<String>,
    /// Most simulations, in place of the file's `search.budget`
    #[arg(long, value_name = "N")]
    budget: Option<u64>,
    /// Seed of the search and the simulations, in place of the file's `study.seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads that simulate, which changes the time and nothing else [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Begin with the frontier and the shortlist of this run, carried over into the space by the names
    /// and values of knobs (numbers to the nearest)
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    warm_start: Option<PathBuf>,
    /// Continue the run in this directory to the bytes that it would have had uninterrupted; what
    /// else is given must be as it was
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new())]
    resume: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Searches, writes the run directory and prints what was found.
///
/// # Errors
/// The user's mistakes in the space, the trace or the run directory; failures to write.
pub fn run(args: &SearchArgs) -> Result<Exit, CliError> {
    let started = Instant::now();
    let threads = args.threads.map_or_else(all_cores, usize::from);
    let (study, resumed) = match &args.resume {
        None => (args.load()?, None),
        Some(directory) => {
            let run = RunDir::open(Path::new(directory))?;
            (args.study_of(&run)?, Some(run))
        }
    };
    terminal::warn(&study.warnings);
    let loaded = workload::load_with_notes(&study.workload)?;
    terminal::notes(&loaded.notes);
    let workload = &loaded.workload;
    if study.search.ladder == Some(true) && workload.load != Load::Open {
        let help = "leave out `search.ladder`, or `workload.concurrency`";
        return Err(CliError::user(
            "search.ladder = \"on\" looks through windows of time, which a closed loop does not have",
            help,
        ));
    }
    let replicates = replicate_workloads(&study)?;
    let evaluator = Evaluator::new(&study, workload, study.seed).with_replicates(&replicates).with_windows();
    let stop = Stop::on_signals()?;
    let mut first = Vec::new();

    let mut run = match resumed {
        Some(run) => {
            run.check_workload(&workload.source, &workload.sha256)?;
            run.check_timing(&evaluator.timing_provenance())?;
            first = warm_start::stored(run.path(), &study)?;
            let run = RunDir::resume(run.path(), threads, SystemTime::now())?;
            run.tidy(&study)?;
            run
        }
        None => {
            let now = SystemTime::now();
            let warm = args.warm_start.as_deref().map(|from| warm_start::candidates(from, &study)).transpose()?;
            let path = args.out.clone().unwrap_or_else(|| default_run_path(Path::new("results"), &study.name, now));
            let setup = Setup {
                seed: study.seed,
                strategy: study.search.strategy.clone(),
                budget: study.search.budget,
                batch: study.search.batch,
                workload_source: workload.source.clone(),
                workload_sha256: workload.sha256.clone(),
                workload_requests: workload.requests.len(),
                timing: evaluator.timing_provenance(),
                threads,
            };
            let mut files = Vec::new();
            if let Some((name, candidates)) = warm {
                files.push(warm_start::file(&name, &candidates)?);
                first = candidates;
            }
            RunDir::create_with(&path, &study, &setup, now, &files)?
        }
    };
    let stored: Vec<_> = run.batches(&study)?.into_iter().map(|b| (b.index as usize, b.evaluations)).collect();
    let kept: usize = stored.iter().map(|(_, evaluations)| evaluations.len()).sum();

    let settings = settings(&study, workload, threads);
    let mut strategy = search::strategy_with(
        &study.search.strategy,
        &study.space,
        study.objectives.len(),
        study.seed,
        study.search.budget,
        Some(&evaluator),
    )
    .map_err(|e| CliError::User(e.to_string()))?;
    if !first.is_empty() {
        strategy = Box::new(Warm::new(first, strategy));
    }
    let watch = Watch::new(study.search.budget);
    let counted = Counted { inner: &evaluator, watch: &watch, stop: &stop };
    let path = run.path().to_path_buf();
    let goes_on = |error: CliError| continued(error, &path);
    let mut sink = Archiving { run: &mut run, study: &study, watch: &watch };
    let summary = Driver::new(&study.space, &counted, settings)
        .resume(stored)
        .stop_when(stop.flag())
        .run(strategy.as_mut(), &mut sink)
        .map_err(|e| goes_on(e.into()))?;
    watch.finish();

    let complete = summary.stop != StopReason::Interrupted;
    let evaluated = summary.committed.len() - kept;
    let mut exit = Exit::Stopped { signal: stop.signal() };
    let mut text = String::new();
    if complete {
        if let Some((reference, _)) = hypervolume_history(&summary.evaluations()) {
            run.set_reference_point(reference.point()).map_err(|e| goes_on(e.into()))?;
        }
        let data = run.load()?;
        let shortlist = finish_files(&run, &data, workload, &replicates).map_err(goes_on)?;
        exit = if shortlist.feasible { Exit::Done } else { Exit::NothingFeasible };
        text = found(&data, &shortlist);
    }
    let wall_s = started.elapsed().as_secs_f64();
    run.finish(complete, evaluated, wall_s, SystemTime::now()).map_err(|e| goes_on(e.into()))?;
    let _ = writeln!(
        text,
        "{evaluated} candidates in {} on {threads} threads; {}",
        report::duration(wall_s),
        stop_words(summary.stop, &summary.progress, &study)
    );
    text.push_str(&whereabouts(run.path(), complete));
    terminal::emit(text)?;
    Ok(exit)
}

fn settings(study: &Study, workload: &Workload, threads: usize) -> Settings {
    let search = &study.search;
    Settings {
        budget: search.budget,
        batch: search.batch,
        threads,
        ladder: search.uses_ladder(workload),
        early_abort: search.early_abort,
        stagnation: search.stagnation_window.map(|window| Stagnation { window, gain: search.stagnation_gain }),
        max_wall: search.max_wall_s.map(Duration::from_secs_f64),
    }
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl SearchArgs {
    /// The study that the command line describes.
    fn load(&self) -> Result<Study, CliError> {
        let Some(path) = &self.space else { return Err(CliError::user("no search space is given", "name its file")) };
        let mut set = self.overrides.all();
        let option = |key: &str, value: Option<String>| value.map(|v| format!("{key}={v}"));
        set.extend(option("search.strategy", self.strategy.clone()));
        set.extend(option("search.budget", self.budget.map(|n| n.to_string())));
        set.extend(option("study.seed", self.seed.map(|n| n.to_string())));
        Ok(space::load(path, &set)?)
    }

    /// The study of a run to resume, and that nothing given besides contradicts it.
    fn study_of(&self, run: &RunDir) -> Result<Study, CliError> {
        let manifest = run.manifest();
        let recorded = &manifest.space;
        let shown = run.path().display();
        let differs = |what: &str, help: &str| Err(CliError::user(format!("{shown}: {what}"), help));
        if self.space.is_some() {
            if self.load()?.text != recorded.toml {
                return differs(
                    "was made with another search space, or other options, than those given",
                    "give --resume alone: the run knows what it was asked; or start a new run",
                );
            }
        } else {
            let is_other = |given: Option<u64>, recorded: u64| given.is_some_and(|given| given != recorded);
            if !self.overrides.is_empty()
                || self.strategy.as_ref().is_some_and(|s| *s != manifest.run.strategy)
                || is_other(self.budget, manifest.run.budget as u64)
                || is_other(self.seed, manifest.run.seed)
            {
                return differs(
                    "a run that is resumed keeps the options that it was started with",
                    "leave out --set, --calibration, --strategy, --budget and --seed; or start a new run",
                );
            }
        }
        let same = |out: &PathBuf| out.canonicalize().ok() == run.path().canonicalize().ok();
        if self.out.as_ref().is_some_and(|out| !same(out)) {
            return differs("a run is resumed in its own directory", "leave out --out");
        }
        Ok(run.study()?)
    }
}

/// Puts what the driver commits into the run directory.
struct Archiving<'a> {
    run: &'a mut RunDir,
    study: &'a Study,
    watch: &'a Watch,
}

impl Sink for Archiving<'_> {
    fn batch(&mut self, batch: usize, committed: &[Committed]) -> Result<(), SinkError> {
        let batch = Batch {
            index: u32::try_from(batch)?,
            strategy: committed.first().map_or("", |c| c.strategy).to_owned(),
            evaluations: committed.iter().map(|c| c.evaluation.clone()).collect(),
        };
        Ok(self.run.commit(self.study, &batch)?)
    }

    fn progress(&mut self, progress: &search::Progress) {
        self.watch.show(progress);
    }
}

/// Frontier, shortlist and figures: everything that is computed from the archive, with what simulating
/// the shortlist again adds.
pub(super) fn finish_files(
    run: &RunDir,
    data: &RunData,
    workload: &Workload,
    replicates: &[Workload],
) -> Result<Shortlist, CliError> {
    run.write_frontier(&data.study, &data.batches)?;
    let shortlist = if data.study.shortlist_draws == 0 {
        shortlist::build(data, data.study.shortlist_size)
    } else {
        let assessor = Assessor::new(&data.study, workload, replicates, data.run.seed);
        let wish = Wish { size: data.study.shortlist_size, draws: data.study.shortlist_draws, robust: false };
        shortlist::assessed(data, &assessor, wish)
    };
    shortlist::write(run.path(), data, &shortlist)?;
    let figures = Figures::of(data, &shortlist)?;
    figures.write(&run.path().join("plots"))?;
    html::write(run, data, &shortlist, &figures, &run.path().join(html::FILE))?;
    Ok(shortlist)
}

/// Most members of the frontier that are printed.
const SHOWN: usize = 12;

/// The frontier and the shortlist.
fn found(data: &RunData, shortlist: &Shortlist) -> String {
    let frontier = shortlist::render_frontier(data, SHOWN);
    let gap = if frontier.is_empty() { "" } else { "\n" };
    format!("{frontier}{gap}{}\n", shortlist::render_terminal(data, shortlist))
}

fn stop_words(stop: StopReason, progress: &search::Progress, study: &Study) -> String {
    let done = match progress.screened {
        0 => progress.simulations.to_string(),
        looks => format!("{} (and {looks} candidates seen through windows only)", progress.simulations),
    };
    match stop {
        StopReason::Budget if progress.screened > 0 => {
            format!("the budget of {} simulations is spent: {done}", study.search.budget)
        }
        StopReason::Budget => format!("the budget of {} simulations is spent", study.search.budget),
        StopReason::Exhausted => format!("the strategy had nothing new to propose after {done} simulations"),
        StopReason::Refusals => {
            format!("stopped because {} candidates were refused and only {done} simulated", progress.refused)
        }
        StopReason::Stagnation => format!(
            "ended after {done} simulations: over the last {} the hypervolume grew less than {} %",
            study.search.stagnation_window.unwrap_or_default(),
            100.0 * study.search.stagnation_gain
        ),
        StopReason::WallTime => {
            format!("ended after {done} simulations: {} s are over", study.search.max_wall_s.unwrap_or_default())
        }
        StopReason::Interrupted => format!("stopped after {done} of {} simulations", study.search.budget),
    }
}

fn whereabouts(path: &Path, complete: bool) -> String {
    let shown = path.display();
    if complete {
        format!(
            "{shown}: read shortlist.md first, or open report.html; frontier.csv, plots/ and evaluations/*.parquet are beside it\n"
        )
    } else {
        format!("continue with: servescout search --resume {}\n", quoted(&shown.to_string()))
    }
}

/// A failure in mid-search, with how to go on once its cause is gone.
fn continued(error: CliError, run: &Path) -> CliError {
    match error {
        CliError::Failure(message) => {
            let run = quoted(&run.display().to_string());
            CliError::Failure(format!(
                "{message}\n  help: what was committed is kept; when the cause is gone, continue with: servescout search --resume {run}"
            ))
        }
        other => other,
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
