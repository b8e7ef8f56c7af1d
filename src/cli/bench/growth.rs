//! `servescout bench growth`: how the cost of a simulation grows with requests and with output length.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::{CliError, Exit, terminal};
use crate::plot::{Growth, draw_growth};
use crate::twin::cases::{self, Case};
use crate::twin::simulate;
use crate::workload::generate;
use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec};

/// Requests of the sweep over output lengths.
const SWEEP_REQUESTS: u32 = 20_000;
const OUTPUT_TOKENS: [u32; 5] = [100, 300, 1_000, 3_000, 10_000];

#[derive(Args, Debug)]
pub(super) struct GrowthArgs {
    /// Most requests of one simulation; from 10,000 on, a few to each factor of ten
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=4_000_000))]
    requests: u32,
    /// Simulations of each size; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Draw `growth-requests.svg` and `growth-output.svg` into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One size and what a simulation of it takes.
struct Measured {
    requests: u32,
    output_tokens: u32,
    passes: u64,
    steps: u64,
    median_ms: f64,
    /// Most memory of the process so far, MB; `None` where the system does not say.
    peak_mb: Option<f64>,
}

impl Measured {
    fn us_per_request(&self) -> f64 {
        self.median_ms * 1e3 / f64::from(self.requests)
    }
}

pub(super) fn run(args: &GrowthArgs) -> Result<Exit, CliError> {
    let case = cases::cases().swap_remove(0);
    let by_requests: Vec<Measured> =
        sizes(args.requests).map(|n| measure(&case, args.runs, n, 343, cases::like_conversation())).collect();
    let by_output: Vec<Measured> = OUTPUT_TOKENS
        .iter()
        .map(|&tokens| {
            let like = cases::like_conversation();
            // As many tokens per second whatever their number per request.
            let rate_per_s = 3.4 * (343.0 / f64::from(tokens)).min(1.0);
            let lengths = Lengths::Fixed(tokens);
            let spec = SyntheticSpec { arrivals: Arrivals::Poisson { rate_per_s }, output_tokens: lengths, ..like };
            measure(&case, args.runs, SWEEP_REQUESTS.min(args.requests), tokens, spec)
        })
        .collect();
    if let Some(directory) = &args.out {
        let note = format!(
            "`servescout bench growth`: generated conversations, {}, one thread; loading and generation excluded",
            "8 workers, round robin, blocks of 512"
        );
        let points = |measured: &[Measured], size: fn(&Measured) -> u32| -> Vec<(f64, f64)> {
            measured.iter().map(|m| (f64::from(size(m)), m.us_per_request())).collect()
        };
        let charts = [
            (
                "growth-requests.svg",
                "Cost per request by number of requests",
                "Requests",
                points(&by_requests, |m| m.requests),
            ),
            (
                "growth-output.svg",
                "Cost per request by output length",
                "Output tokens per request",
                points(&by_output, |m| m.output_tokens),
            ),
        ];
        for (name, title, x_title, points) in charts {
            let growth = Growth { title, note: &note, x_title, y_title: "Microseconds per request", points: &points };
            draw_growth(&growth, &directory.join(name))?;
        }
    }
    terminal::emit(if args.json { json_of(&by_requests, &by_output) } else { table(&by_requests, &by_output) })
}

/// 10,000 and then about three to each factor of ten, up to `most`.
fn sizes(most: u32) -> impl Iterator<Item = u32> {
    let steps = [10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000];
    steps.into_iter().filter(move |&n| n < most).chain([most])
}

fn measure(case: &Case, runs: u32, requests: u32, output_tokens: u32, spec: SyntheticSpec) -> Measured {
    let workload = generate(&SyntheticSpec { sessions: requests, ..spec }).expect("a valid spec");
    // Once before timing, so that what the workload caches is there.
    let outcome = simulate(&case.deployment, &workload, 7, false);
    let mut wall_ms: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(simulate(&case.deployment, &workload, 7, false));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    wall_ms.sort_unstable_by(f64::total_cmp);
    let median_ms = wall_ms[wall_ms.len() / 2];
    Measured { requests, output_tokens, passes: outcome.passes, steps: outcome.steps, median_ms, peak_mb: peak_mb() }
}

/// The most memory that this process has had, as Linux tells.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
}

fn table(by_requests: &[Measured], by_output: &[Measured]) -> String {
    let mut text = "8 workers, round robin, generated conversations, one thread, generation excluded\n".to_string();
    for (title, measured) in [("by number of requests", by_requests), ("by output length", by_output)] {
        let _ = writeln!(
            text,
            "\n{title}\n{:>10} {:>8} {:>12} {:>10} {:>11} {:>11} {:>9}",
            "requests", "output", "passes", "steps", "median ms", "us/request", "peak MB"
        );
        for m in measured {
            let peak = m.peak_mb.map_or_else(|| "-".into(), |mb| format!("{mb:.0}"));
            let _ = writeln!(
                text,
                "{:>10} {:>8} {:>12} {:>10} {:>11.1} {:>11.3} {peak:>9}",
                m.requests,
                m.output_tokens,
                m.passes,
                m.steps,
                m.median_ms,
                m.us_per_request()
            );
        }
    }
    text
}

fn json_of(by_requests: &[Measured], by_output: &[Measured]) -> String {
    let rows = |measured: &[Measured]| -> Vec<_> {
        measured
            .iter()
            .map(|m| {
                json!({
                    "requests": m.requests, "output_tokens": m.output_tokens, "passes": m.passes, "steps": m.steps,
                    "median_ms": m.median_ms, "us_per_request": m.us_per_request(), "peak_mb": m.peak_mb,
                })
            })
            .collect()
    };
    format!("{}\n", json!({ "by_requests": rows(by_requests), "by_output": rows(by_output) }))
}
