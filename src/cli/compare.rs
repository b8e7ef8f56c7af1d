//! `servescout compare`: what changed between two runs, and what staying with the first costs.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, Exit, terminal};
use crate::archive::RunDir;
use crate::compare::{Comparison, Fate, compare};
use crate::evaluator::{Evaluator, replicate_workloads};
use crate::shortlist::{metric_label, significant};
use crate::twin::metrics::METRICS;
use crate::workload;

/// Say what changed between two runs, and what staying with the first one's choices costs
///
/// For two traces, prices, models or weeks: what their studies differ in, who left the frontier and who
/// came, the best of each objective then and now. The first run's shortlist is simulated under the
/// second's conditions: whether it still keeps the constraints, and by how much each objective is worse
/// than that of a member of the second frontier that is no worse in the others.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The run directory of before
    #[arg(value_name = "RUN_A")]
    first: PathBuf,
    /// The run directory of now
    #[arg(value_name = "RUN_B")]
    second: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Compares and prints.
///
/// # Errors
/// The user's mistake when one is no run directory, or the second one's trace is gone or has changed.
pub fn run(args: &CompareArgs) -> Result<Exit, CliError> {
    let first = RunDir::open(&args.first)?.load()?;
    let run = RunDir::open(&args.second)?;
    let second = run.load()?;
    if second.study.objectives.is_empty() {
        return Err(CliError::user(
            format!("{}: has no objectives", args.second.display()),
            "compare runs of a search",
        ));
    }
    let workload = workload::load(&second.study.workload)?;
    run.check_workload(&workload.source, &workload.sha256)?;
    let replicates = replicate_workloads(&second.study)?;
    let evaluator = Evaluator::new(&second.study, &workload, second.run.seed).with_replicates(&replicates);
    let comparison = compare(&first, &second, &evaluator);
    terminal::emit(if args.json { json(&comparison) } else { text(&comparison) })?;
    Ok(if second.frontier().is_empty() { Exit::NothingFeasible } else { Exit::Done })
}

fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    if comparison.differences.is_empty() {
        out.push_str("The studies are alike.\n");
    }
    for (what, a, b) in &comparison.differences {
        let _ = writeln!(out, "{what}\n  before  {a}\n  now     {b}");
    }
    let (both, gone, come) = (comparison.both.len(), comparison.gone.len(), comparison.come.len());
    let _ = writeln!(
        out,
        "\nFrontier: {} members before, {} now; {both} stay, {gone} go, {come} come.",
        both + gone,
        both + come
    );
    for best in &comparison.best {
        let shown =
            |b: &Option<(String, f64)>| b.as_ref().map_or("-".into(), |(id, v)| format!("{} ({id})", significant(*v)));
        let _ = writeln!(
            out,
            "  best {:<34}{} -> {} {}",
            metric_label(best.metric),
            shown(&best.first),
            shown(&best.second),
            METRICS[best.metric].unit
        );
    }
    let _ = writeln!(out, "\nStaying with the shortlist of before:");
    for staying in &comparison.staying {
        match &staying.fate {
            Fate::Inexpressible(knob) => {
                let _ = writeln!(out, "  {}  is not in the space of now: {knob}", staying.id);
            }
            Fate::Infeasible(why) => {
                let _ = writeln!(out, "  {}  NO LONGER FEASIBLE: {why}", staying.id);
            }
            Fate::Feasible(values) => {
                let each = values.iter().map(|(metric, value, worse)| {
                    let excess = match worse {
                        Some(share) if *share > 1e-9 => format!(", {:.1} % worse than need be", 100.0 * share),
                        Some(_) => ", as good as any".into(),
                        None => ", unmatched".into(),
                    };
                    format!("{} {}{excess}", metric_label(*metric), significant(*value))
                });
                let _ = writeln!(out, "  {}  {}", staying.id, each.collect::<Vec<_>>().join("; "));
            }
        }
    }
    out
}

fn json(comparison: &Comparison) -> String {
    use serde_json::{Value, json};
    let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
    let best = |b: &Option<(String, f64)>| b.as_ref().map(|(id, v)| json!({ "id": id, "value": finite(*v) }));
    let staying = comparison.staying.iter().map(|s| match &s.fate {
        Fate::Inexpressible(knob) => json!({ "id": s.id, "fate": "inexpressible", "why": knob }),
        Fate::Infeasible(why) => json!({ "id": s.id, "fate": "infeasible", "why": why }),
        Fate::Feasible(values) => json!({
            "id": s.id,
            "fate": "feasible",
            "objectives": values.iter().map(|(metric, value, worse)| json!({ "metric": METRICS[*metric].name, "value": finite(*value), "worse_by": worse.map(finite) })).collect::<Vec<_>>(),
        }),
    });
    let object = json!({
        "differences": comparison.differences.iter().map(|(what, a, b)| json!({ "what": what, "before": a, "now": b })).collect::<Vec<_>>(),
        "frontier": { "both": comparison.both, "gone": comparison.gone, "come": comparison.come },
        "best": comparison.best.iter().map(|b| json!({ "metric": METRICS[b.metric].name, "before": best(&b.first), "now": best(&b.second) })).collect::<Vec<_>>(),
        "staying": staying.collect::<Vec<_>>(),
    });
    let mut out = serde_json::to_string_pretty(&object).unwrap_or_default();
    out.push('\n');
    out
}
