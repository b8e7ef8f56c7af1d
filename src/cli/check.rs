//! `servescout check`: what a search space holds, without simulating anything.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, Exit, Overrides, report, terminal};
use crate::shortlist::significant;
use crate::space::survey::Survey;
use crate::space::{self, Deployer, KnobSummary, Study, Value};
use crate::twin::metrics::METRICS;
use crate::workload::{self, Workload};

/// Show what a search space holds: its size, knobs, workload and cost; nothing is simulated
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The search space
    #[arg(value_name = "SPACE.toml")]
    space: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// What one request costs to simulate on one core, microseconds: measured on an hour of real traffic
/// (12,031 requests), from round robin at ease to preemption, KV-aware routing over 16 workers and a
/// closed loop on a busy machine.
const REQUEST_US: [f64; 2] = [1.0, 8.0];

/// Prints the search space as it was understood.
///
/// # Errors
/// The user's mistakes in the search space or the trace.
pub fn run(args: &CheckArgs) -> Result<Exit, CliError> {
    let study = space::load(&args.space, &args.overrides.all())?;
    terminal::warn(&study.warnings);
    let loaded = workload::load_with_notes(&study.workload)?;
    terminal::notes(&loaded.notes);
    let survey = Survey::of(&study.space, &Deployer::new(&study, &loaded.workload), study.seed);

    let mut out = String::new();
    let sections = [
        served(&study),
        format!("workload\n{}", indented(&workload::stats(&loaded.workload).to_string())),
        knobs(&study),
        wanted(&study),
        refusals(&survey),
        cost(&study, &loaded.workload, &survey),
    ];
    for section in sections {
        let _ = writeln!(out, "{}\n", section.trim_end());
    }
    terminal::emit(out.trim_end().to_owned() + "\n")
}

fn served(study: &Study) -> String {
    format!(
        "study {}\n  model   {} in {}, KV cache in {}\n  GPUs    at most {} of {}, {} USD per GPU hour\n  timing  {}\n",
        study.name,
        study.model.name,
        study.dtype.name(),
        study.kv_dtype.name(),
        study.max_gpus,
        study.gpu.name,
        study.usd_per_gpu_hour,
        study.timing.name(),
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// Searched knobs with their levels and conditions, then what is pinned.
fn knobs(study: &Study) -> String {
    let summaries = study.knob_summaries();
    let (searched, pinned): (Vec<_>, Vec<_>) = summaries.iter().partition(|k| k.values.len() > 1);
    let mut out = format!("knobs: {} distinct candidates\n", significant(study.space.size()));
    let width = summaries.iter().map(|k| k.name.len()).max().unwrap_or(0);
    for knob in searched {
        let condition = match knob.active_when.as_slice() {
            [] => String::new(),
            conditions => format!("  when {}", conditions.join(" and ")),
        };
        let _ = writeln!(out, "  {:<width$}  {}{condition}", knob.name, levels(knob));
    }
    for (title, is_given) in [("pinned", true), ("not given, so as by default", false)] {
        let mut these = pinned.iter().filter(|k| k.is_given == is_given).peekable();
        if these.peek().is_some() {
            let _ = writeln!(out, "{title}");
        }
        for knob in these {
            let _ = writeln!(out, "  {:<width$}  {}", knob.name, levels(knob));
        }
    }
    out
}

/// A domain in a line: all levels of a short one, the ends of a long one.
fn levels(knob: &KnobSummary<'_>) -> String {
    let shown: Vec<String> = knob.values.iter().map(Value::to_string).collect();
    let list = match shown.as_slice() {
        [first, second, .., last] if shown.len() > 10 => {
            format!("{first}, {second} .. {last} ({} levels)", shown.len())
        }
        _ => shown.join(", "),
    };
    if knob.unit.is_empty() { list } else { format!("{list} {}", knob.unit) }
}

fn wanted(study: &Study) -> String {
    let mut out = String::from("objectives\n");
    for objective in &study.objectives {
        let verb = if objective.maximize { "maximize" } else { "minimize" };
        let _ = writeln!(out, "  {verb} {}", METRICS[objective.metric].name);
    }
    if !study.constraints.is_empty() {
        out.push_str("constraints\n");
    }
    for constraint in &study.constraints {
        let info = &METRICS[constraint.metric];
        let bounds = [constraint.min.map(|b| format!(">= {b}")), constraint.max.map(|b| format!("<= {b}"))];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect();
        let _ = writeln!(out, "  {} {} {}", info.name, bounds.join(" and "), info.unit);
    }
    out
}

fn refusals(survey: &Survey) -> String {
    let of = if survey.is_whole { "all" } else { "a random sample of" };
    let refused = survey.refusals();
    let share = 100.0 * refused as f64 / survey.candidates as f64;
    let mut out =
        format!("refused before simulation: {refused} of {of} {} candidates ({share:.0} %)\n", survey.candidates);
    for (code, (count, reason)) in &survey.refused {
        let _ = writeln!(out, "  {count:>6}  {}: such as {reason}", code.name());
    }
    out
}

/// The budget and a range for its time.
fn cost(study: &Study, workload: &Workload, survey: &Survey) -> String {
    let search = &study.search;
    let simulated = (search.budget as f64).min(study.space.size());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let accepted = 1.0 - survey.refusals() as f64 / survey.candidates as f64;
    let seconds =
        |request_us: f64| simulated * accepted * workload.requests.len() as f64 * request_us * 1e-6 / threads as f64;
    format!(
        "search: strategy {}, at most {} simulations in batches of {}\n  \
         nothing was simulated for this estimate: {} to {} on {threads} threads, at {} to {} us per request\n",
        search.strategy,
        search.budget,
        search.batch,
        report::duration(seconds(REQUEST_US[0])),
        report::duration(seconds(REQUEST_US[1])),
        REQUEST_US[0],
        REQUEST_US[1],
    )
}
