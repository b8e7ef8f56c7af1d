//! `servescout bench`: how fast this machine simulates, and how well strategies search.

mod growth;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Exit, terminal};
use crate::twin::cases::{self, Case};
use crate::twin::simulate;
use crate::workload::{Load, Workload, WorkloadSpec, generate, load};

/// Time simulations on this machine, or measure search strategies on known problems
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// One hour of traffic on deployments of several kinds, one thread
    Replay(ReplayArgs),
    /// Cost per request as requests become more, or their outputs longer, one thread
    Growth(growth::GrowthArgs),
    /// The share of a known frontier's hypervolume that each strategy finds, and how soon
    Search(super::bench_search::SearchArgs),
}

#[derive(Args, Debug)]
struct ReplayArgs {
    /// A trace with 512 tokens per hash id [default: a generated hour of chat, 12,000 requests]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Simulations of each case
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only the case of this name, for a profiler [default: all]
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Times or measures, and prints.
///
/// # Errors
/// A trace or a table that cannot be read; a case that there is not.
pub fn run(args: &BenchArgs) -> Result<Exit, CliError> {
    let args = match &args.what {
        What::Replay(args) => args,
        What::Growth(args) => return growth::run(args),
        What::Search(args) => return super::bench_search::run(args),
    };
    let cases = chosen(args.case.as_deref())?;
    let mut workload = match &args.trace {
        Some(path) => load(&WorkloadSpec::trace(path))?,
        None => generate(&cases::like_conversation())?,
    };
    let timed: Vec<Timed> = cases.iter().map(|case| time(case, &mut workload, args.runs)).collect();
    terminal::emit(if args.json { json_of(&workload, &timed) } else { table(&workload, &timed) })
}

/// All cases, or the one of this name.
fn chosen(name: Option<&str>) -> Result<Vec<Case>, CliError> {
    let mut cases = cases::cases();
    if let Some(name) = name {
        let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        let unknown =
            || CliError::user(format!("--case: there is no {name:?}"), format!("one of {}", names.join(", ")));
        let at = cases.iter().position(|case| case.name == name).ok_or_else(unknown)?;
        cases = vec![cases.swap_remove(at)];
    }
    Ok(cases)
}

struct Timed {
    name: &'static str,
    passes: u64,
    steps: u64,
    min_ms: f64,
    median_ms: f64,
}

fn time(case: &Case, workload: &mut Workload, runs: u32) -> Timed {
    workload.load = case.concurrency.map_or(Load::Open, |concurrency| Load::Closed { concurrency });
    // Once before timing, so that what the workload caches is there.
    let outcome = simulate(&case.deployment, workload, 7, false);
    let mut wall_ms: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(simulate(&case.deployment, workload, 7, false));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    wall_ms.sort_unstable_by(f64::total_cmp);
    let (min_ms, median_ms) = (wall_ms[0], wall_ms[wall_ms.len() / 2]);
    Timed { name: case.name, passes: outcome.passes, steps: outcome.steps, min_ms, median_ms }
}

fn table(workload: &Workload, timed: &[Timed]) -> String {
    let requests = workload.requests.len();
    let mut text = format!("{requests} requests of {}, one thread, loading excluded\n\n", workload.source);
    let _ = writeln!(
        text,
        "{:<24} {:>10} {:>8} {:>10} {:>10} {:>14}",
        "case", "passes", "steps", "min ms", "median ms", "requests/s"
    );
    for t in timed {
        let rate = requests as f64 / t.median_ms * 1e3;
        let _ = writeln!(
            text,
            "{:<24} {:>10} {:>8} {:>10.2} {:>10.2} {rate:>14.0}",
            t.name, t.passes, t.steps, t.min_ms, t.median_ms
        );
    }
    text
}

fn json_of(workload: &Workload, timed: &[Timed]) -> String {
    let cases: Vec<_> = timed
        .iter()
        .map(|t| {
            json!({ "case": t.name, "passes": t.passes, "steps": t.steps, "min_ms": t.min_ms, "median_ms": t.median_ms })
        })
        .collect();
    format!("{}\n", json!({ "source": workload.source, "requests": workload.requests.len(), "cases": cases }))
}
