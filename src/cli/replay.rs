//! `servescout replay`: one deployment, one simulation.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{CliError, Exit, Overrides, report, terminal};
use crate::archive::{RequestRow, requests_jsonl, requests_parquet, timeline_parquet, write_atomic};
use crate::plot;
use crate::space::{self, Deployer};
use crate::twin::deployment::{Pool, Role};
use crate::twin::metrics::{METRICS, Metric, Metrics};
use crate::twin::timeline::TimelineRow;
use crate::twin::{self, Deployment, Outcome};
use crate::units::MS_PER_S;
use crate::workload::{self, Workload};

/// Simulate one deployment and print its metrics
///
/// CONFIG.toml is a search space whose knobs are all pinned, such as a `candidate.toml` of a
/// shortlist; objectives, constraints and search settings may be absent.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The deployment and its workload
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Print one JSON object: metrics, counts, wall_ms, load_ms, passes, steps
    #[arg(long)]
    json: bool,
    /// Write one row per request, as JSON Lines or Parquet by the file's ending
    #[arg(long, value_name = "FILE.jsonl|FILE.parquet")]
    per_request: Option<PathBuf>,
    /// Write what the cluster looked like over time into this directory, made if needed: timeline.parquet,
    /// timeline.svg and timeline.png
    #[arg(long, value_name = "DIR")]
    timeline: Option<PathBuf>,
    /// Length of the timeline's intervals, s
    #[arg(long, value_name = "SECONDS", default_value = "10", requires = "timeline", value_parser = seconds)]
    timeline_interval: f64,
    /// Seed of the simulation's own draws, in place of the file's
    #[arg(long)]
    seed: Option<u64>,
    /// Simulate every pass by itself: slower, with the same result
    #[arg(long)]
    pass_by_pass: bool,
}

/// Runs the simulation and prints what came out.
///
/// # Errors
/// The user's mistakes in the configuration, the workload or the output file; a deployment that
/// cannot serve its workload; failures to write.
pub fn run(args: &ReplayArgs) -> Result<Exit, CliError> {
    let output = args.per_request.as_deref().map(Output::for_path).transpose()?;
    let study = space::load_replay(&args.config, &args.overrides.all())?;
    terminal::warn(&study.warnings);

    let started = Instant::now();
    let loaded = workload::load_with_notes(&study.workload)?;
    let load_ms = elapsed_ms(started);
    terminal::notes(&loaded.notes);
    let workload = &loaded.workload;

    let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
    let mut deployment = Deployer::new(&study, workload)
        .deployment(&candidate)
        .map_err(|refusal| CliError::user(format!("this deployment cannot be simulated: {refusal}"), REFUSED_HELP))?;
    deployment.pass_by_pass |= args.pass_by_pass;

    let started = Instant::now();
    let seed = args.seed.unwrap_or(study.seed);
    let (outcome, timeline) = match &args.timeline {
        None => (twin::simulate(&deployment, workload, seed, output.is_some()), None),
        Some(directory) => {
            let interval_ms = args.timeline_interval * MS_PER_S;
            let (outcome, rows) = twin::simulate_traced(&deployment, workload, seed, output.is_some(), interval_ms);
            (outcome, Some((directory, rows)))
        }
    };
    let wall_ms = elapsed_ms(started);

    if let Some(output) = &output {
        output.write(&outcome, workload)?;
    }
    if let Some((directory, rows)) = timeline {
        write_timeline(directory, &rows, &study, workload)?;
    }
    let replay = Replay { deployment: &deployment, workload, outcome: &outcome, load_ms, wall_ms };
    if args.json {
        let text = serde_json::to_string_pretty(&replay).map_err(|e| CliError::Failure(e.to_string()))?;
        terminal::emit(text + "\n")
    } else {
        terminal::emit(format!(
            "{}\n{}{}",
            replay.summary(&study),
            report::metrics(&outcome.metrics),
            report::constraints(&study.constraints, &outcome.metrics)
        ))
    }
}

const REFUSED_HELP: &str =
    "change the knob, the hardware or the workload that the reason names, in the file or with --set";

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("a number of seconds above 0 is wanted, such as 10".to_owned()),
    }
}

fn write_timeline(
    directory: &Path,
    rows: &[TimelineRow],
    study: &space::Study,
    workload: &Workload,
) -> Result<(), CliError> {
    std::fs::create_dir_all(directory).map_err(|e| {
        let what = format!("--timeline {}: cannot make this directory: {e}", directory.display());
        CliError::user(what, "name another, or make it first")
    })?;
    write_atomic(&directory.join("timeline.parquet"), &timeline_parquet(rows)?)?;
    let source = Path::new(&workload.source).file_name().and_then(|n| n.to_str()).unwrap_or(&workload.source);
    let note = format!("{}: {} requests from {source}", study.model.name, workload.requests.len());
    plot::draw_timeline(rows, &note, directory).map_err(|e| CliError::Failure(e.to_string()))
}

fn elapsed_ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * MS_PER_S
}

/// A simulation and what it was of.
struct Replay<'a> {
    deployment: &'a Deployment,
    workload: &'a Workload,
    outcome: &'a Outcome,
    load_ms: f64,
    wall_ms: f64,
}

impl Replay<'_> {
    fn summary(&self, study: &space::Study) -> String {
        let topology = &self.deployment.topology;
        let pools = topology.pools();
        let Outcome { passes, steps, .. } = self.outcome;
        let provenance = pools[0].1.timing.provenance();
        let shape = |&(role, pool): &(Role, &Pool)| {
            let engine = &pool.engine;
            let role = if role == Role::Aggregated { String::new() } else { format!(" {}", role.name()) };
            let tp = pool.gpus_per_worker / engine.attention_dp.max(1);
            let dp = if engine.attention_dp > 1 { format!(" x DP{}", engine.attention_dp) } else { String::new() };
            (format!("{}{role} x TP{tp}{dp}", pool.workers), engine.gpu_blocks)
        };
        let (shapes, blocks): (Vec<String>, Vec<u32>) = pools.iter().map(shape).unzip();
        let blocks: Vec<String> = blocks.iter().map(u32::to_string).collect();
        let engine = &pools[0].1.engine;
        format!(
            "model       {} in {}\n\
             deployment  {} = {} GPUs ({}), {}, {} KV blocks of {} tokens each\n\
             workload    {}: {} requests in {} sessions\n\
             timing      {}: {}\n\
             simulated   {} of service in {:.1} ms, {passes} passes in {steps} steps (loading took {:.1} ms)\n",
            study.model.name,
            study.dtype.name(),
            shapes.join(" + "),
            topology.gpus(),
            study.gpu.name,
            engine.backend.name(),
            blocks.join(" and "),
            engine.block_size,
            self.workload.source,
            self.workload.requests.len(),
            self.workload.sessions(),
            provenance.kind,
            provenance.label,
            report::duration(self.outcome.metrics.get(Metric::DurationS)),
            self.wall_ms,
            self.load_ms,
        )
    }
}

impl Serialize for Replay<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("metrics", &InOrder(&self.outcome.metrics))?;
        object.serialize_entry("counts", &self.counts())?;
        object.serialize_entry("wall_ms", &self.wall_ms)?;
        object.serialize_entry("load_ms", &self.load_ms)?;
        object.serialize_entry("passes", &self.outcome.passes)?;
        object.serialize_entry("steps", &self.outcome.steps)?;
        object.end()
    }
}

/// Whole numbers of a replay.
#[derive(serde::Serialize)]
struct Counts {
    requests: usize,
    sessions: usize,
    completed: u64,
    rejected: u64,
    unfinished: u64,
    preemptions: u64,
    workers: u32,
    gpus: u32,
}

impl Replay<'_> {
    fn counts(&self) -> Counts {
        let topology = &self.deployment.topology;
        let count = |metric| self.outcome.metrics.get(metric) as u64;
        Counts {
            requests: self.workload.requests.len(),
            sessions: self.workload.sessions(),
            completed: count(Metric::Completed),
            rejected: count(Metric::Rejected),
            unfinished: count(Metric::Unfinished),
            preemptions: count(Metric::Preemptions),
            workers: topology.pools().iter().map(|(_, pool)| pool.workers).sum(),
            gpus: topology.gpus(),
        }
    }
}

/// Metrics by name in the order of the contract; null where one does not apply.
struct InOrder<'a>(&'a Metrics);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(METRICS.iter().map(|m| m.name).zip(&self.0.values))
    }
}

/// Where one row per request goes.
struct Output<'a> {
    path: &'a Path,
    is_parquet: bool,
}

impl<'a> Output<'a> {
    /// Checks what can be checked before the simulation.
    fn for_path(path: &'a Path) -> Result<Output<'a>, CliError> {
        let shown = path.display();
        let is_parquet = match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl") => false,
            Some("parquet") => true,
            _ => {
                let what = format!("--per-request {shown}: the file's ending decides its format, and this is none");
                return Err(CliError::user(what, "end its name in .jsonl or .parquet"));
            }
        };
        if path.is_dir() {
            let what = format!("--per-request {shown}: this is a directory");
            return Err(CliError::user(what, "name a file in it"));
        }
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
        if let Some(directory) = directory.filter(|d| !d.is_dir()) {
            let what = format!("--per-request {shown}: there is no directory {}", directory.display());
            return Err(CliError::user(what, "make it first, or name another"));
        }
        Ok(Output { path, is_parquet })
    }

    fn write(&self, outcome: &Outcome, workload: &Workload) -> Result<(), CliError> {
        let records = outcome.requests.as_deref().unwrap_or_default();
        let rows: Vec<RequestRow<'_>> = records.iter().map(|r| RequestRow::new(r, workload)).collect();
        let bytes = if self.is_parquet { requests_parquet(&rows) } else { requests_jsonl(&rows) }?;
        Ok(write_atomic(self.path, &bytes)?)
    }
}
