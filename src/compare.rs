//! Two runs side by side: what changed between their studies and their frontiers, and what staying
//! with the choices of the first costs under the conditions of the second.

use std::collections::BTreeSet;

use crate::archive::RunData;
use crate::search::warm::carry_over;
use crate::search::{Evaluate, Evaluation};
use crate::shortlist;
use crate::space::Study;
use crate::twin::metrics::METRICS;

/// The comparison of two runs.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the studies differ in: what, in the first, in the second.
    pub differences: Vec<(&'static str, String, String)>,
    /// Ids on both frontiers, on the first only, on the second only.
    pub both: Vec<String>,
    pub gone: Vec<String>,
    pub come: Vec<String>,
    /// For each objective of the second run: the best of the first frontier and of the second.
    pub best: Vec<Best>,
    /// The first run's shortlist under the second's conditions, in its order.
    pub staying: Vec<Staying>,
}

/// The best of both frontiers in one objective.
#[derive(Clone, Debug)]
pub struct Best {
    /// Index into [`METRICS`].
    pub metric: usize,
    pub first: Option<(String, f64)>,
    pub second: Option<(String, f64)>,
}

/// A choice of the first run under the second's conditions.
#[derive(Clone, Debug)]
pub struct Staying {
    /// Its id in the first run.
    pub id: String,
    pub fate: Fate,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The second space has no such candidate: the knob and its value.
    Inexpressible(String),
    /// It breaks a constraint, or cannot be deployed.
    Infeasible(String),
    /// It holds. For each objective, its value, and by which share it is worse than the best of the
    /// second frontier that is no worse in all others; `None` where there is no such member.
    Feasible(Vec<(usize, f64, Option<f64>)>),
}

/// Compares two runs; `evaluate` is the second's.
pub fn compare(first: &RunData, second: &RunData, evaluate: &dyn Evaluate) -> Comparison {
    let (old, new) = (first.frontier_ids(), second.frontier_ids());
    let (old_set, new_set): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let best_of = |run: &RunData, metric: usize, maximize: bool| {
        let evaluations = run.evaluations();
        let members = run.frontier().into_iter().map(|row| evaluations[row]);
        let value = |e: &&Evaluation| if maximize { -e.metrics[metric] } else { e.metrics[metric] };
        let best = members.min_by(|a, b| value(a).total_cmp(&value(b)))?;
        Some((run.study.space.id(&best.candidate), best.metrics[metric]))
    };
    let best = second.study.objectives.iter().map(|o| Best {
        metric: o.metric,
        first: best_of(first, o.metric, o.maximize),
        second: best_of(second, o.metric, o.maximize),
    });
    let picks = shortlist::build(first, first.study.shortlist_size).picks;
    let evaluations = first.evaluations();
    let staying = picks.iter().map(|pick| Staying {
        id: pick.id.clone(),
        fate: fate(first, &evaluations[pick.row].candidate, second, evaluate),
    });
    Comparison {
        differences: differences(first, second),
        both: old.iter().filter(|id| new_set.contains(id)).cloned().collect(),
        gone: old.iter().filter(|id| !new_set.contains(id)).cloned().collect(),
        come: new.iter().filter(|id| !old_set.contains(id)).cloned().collect(),
        best: best.collect(),
        staying: staying.collect(),
    }
}

fn fate(first: &RunData, candidate: &crate::space::Candidate, second: &RunData, evaluate: &dyn Evaluate) -> Fate {
    let carried = match carry_over(&first.study.space, candidate, &second.study.space) {
        Ok(carried) => carried,
        Err((knob, value)) => return Fate::Inexpressible(format!("{knob} = {value}")),
    };
    let now = evaluate.evaluate(&carried);
    if !now.is_feasible() {
        return Fate::Infeasible(now.reason.unwrap_or_else(|| "outside a constraint".into()));
    }
    let evaluations = second.evaluations();
    let frontier: Vec<&[f64]> = second.frontier().into_iter().map(|row| &*evaluations[row].objectives).collect();
    let worse_by = |index: usize| {
        let no_worse = |other: &&&[f64]| {
            other.iter().zip(&now.objectives).enumerate().all(|(i, (theirs, own))| i == index || theirs <= own)
        };
        let best = frontier.iter().filter(no_worse).map(|other| other[index]).fold(f64::INFINITY, f64::min);
        // All objectives are minimised here; one that is maximised comes negated.
        best.is_finite().then(|| (now.objectives[index] - best) / best.abs())
    };
    let objectives = &second.study.objectives;
    Fate::Feasible(objectives.iter().enumerate().map(|(i, o)| (o.metric, now.metrics[o.metric], worse_by(i))).collect())
}

/// What two studies differ in.
fn differences(first: &RunData, second: &RunData) -> Vec<(&'static str, String, String)> {
    let goals = |study: &Study| {
        let objectives = study.objectives.iter().map(|o| METRICS[o.metric].name.to_owned());
        let bounds = study.constraints.iter().map(|c| {
            let side = |name: &str, bound: Option<f64>| bound.map(|b| format!(" {name} {b}")).unwrap_or_default();
            format!("{}{}{}", METRICS[c.metric].name, side("from", c.min), side("to", c.max))
        });
        objectives.chain(bounds).collect::<Vec<_>>().join(", ")
    };
    let knobs = |study: &Study| {
        let domain = |k: &crate::space::Knob| {
            let values: Vec<String> = k.domain.values.iter().map(ToString::to_string).collect();
            format!("{} = {}", k.name, values.join("/"))
        };
        study.space.knobs.iter().map(domain).collect::<Vec<_>>()
    };
    let (a, b) = (&first.study, &second.study);
    let (knobs_a, knobs_b) = (knobs(a), knobs(b));
    let only = |own: &[String], other: &[String]| {
        let own: Vec<&str> = own.iter().filter(|k| !other.contains(k)).map(String::as_str).collect();
        if own.is_empty() { "-".to_owned() } else { own.join(", ") }
    };
    let model = |s: &Study| format!("{} {} (KV {})", s.model.name, s.dtype.name(), s.kv_dtype.name());
    let workload = |r: &RunData| {
        format!(
            "{}, {} requests, {}",
            r.workload.source,
            r.workload.requests,
            &r.workload.sha256[..12.min(r.workload.sha256.len())]
        )
    };
    let all = [
        ("model", model(a), model(b)),
        ("GPU", a.gpu.name.to_string(), b.gpu.name.to_string()),
        ("most GPUs", a.max_gpus.to_string(), b.max_gpus.to_string()),
        ("price of a GPU hour, USD", a.usd_per_gpu_hour.to_string(), b.usd_per_gpu_hour.to_string()),
        ("workload", workload(first), workload(second)),
        ("pass times", first.timing.join("; "), second.timing.join("; ")),
        ("goals", goals(a), goals(b)),
        ("knobs", only(&knobs_a, &knobs_b), only(&knobs_b, &knobs_a)),
    ];
    all.into_iter().filter(|(_, a, b)| a != b).collect()
}
