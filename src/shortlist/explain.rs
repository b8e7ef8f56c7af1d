//! What one candidate owes to each of its knobs, where its requests' time goes, and what came nearest
//! to it: by simulation.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Margin;
use super::assess::{Assessor, Verdict};
use super::misses::bound_words;
use super::shape::shape_words;
use super::words::{change, metric_label, percent, with_unit};
use crate::archive::RunData;
use crate::frontier::weakly_dominates;
use crate::search::{Evaluation, Fidelity};
use crate::space::{Candidate, Space, Study};
use crate::twin::metrics::METRICS;
use crate::twin::{self, Status};

/// A candidate explained.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Explained {
    pub id: String,
    pub deployment: String,
    /// Its own objectives and constrained metrics, by name.
    pub values: BTreeMap<String, f64>,
    pub phases: Option<Phases>,
    /// One per knob and way that it can be moved.
    pub steps: Vec<Step>,
    /// Of the feasible candidates that are not on the frontier, the one that lost by least to it.
    pub loser: Option<Rival>,
    /// Of the candidates that it does not beat but that break a constraint, the one that does by least.
    pub miss: Option<Rival>,
}

/// One knob moved by one step, everything else as it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Step {
    pub knob: String,
    pub from: String,
    pub to: String,
    pub id: String,
    /// Knobs that came with it or moved with it. Those that went are not named: without the value that
    /// they need they mean nothing.
    pub besides: Vec<String>,
    /// Why it cannot be deployed, or which bounds it breaks; empty when it is feasible.
    pub broken: Vec<String>,
    /// Objectives and constrained metrics by name; empty when it cannot be deployed.
    pub values: BTreeMap<String, f64>,
}

/// Where the time of a mean request goes, ms.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Phases {
    /// Completed requests that this is the mean of.
    pub requests: usize,
    /// Before any engine admitted it.
    pub queue_ms: f64,
    /// Waiting for KV from host memory or disk.
    #[serde(default)]
    pub tier_wait_ms: f64,
    /// From admission to the first token, waiting for a decode worker included.
    pub prefill_ms: f64,
    /// KV on its way from a prefill to a decode worker.
    pub transfer_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// Computing again what preemptions lost.
    pub recomputation_ms: f64,
    /// Waiting to be admitted again after preemptions.
    pub preemption_ms: f64,
    /// Between client and engine.
    pub outside_ms: f64,
}

impl Phases {
    /// The phases in order, with their names.
    pub fn named(&self) -> [(&'static str, f64); 8] {
        [
            ("queue", self.queue_ms),
            ("KV from host or disk", self.tier_wait_ms),
            ("prefill", self.prefill_ms),
            ("transfer", self.transfer_ms),
            ("decode", self.decode_ms),
            ("recomputation", self.recomputation_ms),
            ("preemption", self.preemption_ms),
            ("outside engines", self.outside_ms),
        ]
    }

    /// All of it.
    pub fn total_ms(&self) -> f64 {
        self.named().iter().map(|(_, ms)| ms).sum()
    }
}

/// Another candidate of the run, against the one that is explained.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rival {
    pub id: String,
    pub deployment: String,
    /// Each objective, and how it compares.
    pub objectives: Vec<String>,
    /// Bounds that it breaks, with by how much.
    pub broken: Vec<String>,
    /// Knobs that differ.
    pub differences: Vec<String>,
}

impl Assessor<'_> {
    /// Explains a candidate of a run. Steps that the run has simulated whole are taken from it.
    pub fn explain(&self, run: &RunData, row: usize) -> Explained {
        let evaluations = run.evaluations();
        let own = evaluations[row];
        let space = &self.study.space;
        let neighbours = space.one_step_neighbours(&own.candidate);
        let known: FxHashMap<&Candidate, &Evaluation> = evaluations
            .iter()
            .filter(|e| e.is_whole() || (e.is_refused() && e.fidelity == Fidelity::Full))
            .map(|e| (&e.candidate, *e))
            .collect();
        let steps = neighbours.par_iter().filter_map(|to| self.step(&own.candidate, to, known.get(to).copied()));
        Explained {
            id: space.id(&own.candidate),
            deployment: shape_words(space, &own.candidate),
            values: named(self.study, &own.metrics),
            phases: self.phases(&own.candidate),
            steps: steps.collect(),
            loser: nearest_loser(run, &evaluations, row),
            miss: nearest_miss(run, &evaluations, row),
        }
    }

    fn step(&self, from: &Candidate, to: &Candidate, known: Option<&Evaluation>) -> Option<Step> {
        let space = &self.study.space;
        let changed: Vec<usize> = (0..space.knobs.len()).filter(|&k| from.levels[k] != to.levels[k]).collect();
        let (&knob, besides) = changed.split_first()?;
        let mut step = Step {
            knob: space.knobs[knob].name.clone(),
            from: value_words(space, from, knob),
            to: value_words(space, to, knob),
            id: space.id(to),
            besides: besides
                .iter()
                .filter_map(|&k| Some(format!("{} {}", space.knobs[k].name, space.value(to, k)?)))
                .collect(),
            broken: Vec::new(),
            values: BTreeMap::new(),
        };
        let metrics = match known {
            Some(known) if known.is_refused() => Err(known.reason.clone().unwrap_or_default()),
            Some(known) => Ok(known.metrics.clone()),
            None => self.deployer.deployment(to).map_err(|refusal| refusal.to_string()).map(|deployment| {
                twin::simulate(&deployment, self.workloads[0], self.seed, false).metrics.values.to_vec()
            }),
        };
        match metrics {
            Err(reason) => step.broken.push(reason),
            Ok(metrics) => {
                step.broken = broken(self.study, &metrics);
                if step.broken.is_empty() && !Verdict::of(self.study, &metrics).feasible {
                    step.broken.push("an objective has no value".into());
                }
                step.values = named(self.study, &metrics);
            }
        }
        Some(step)
    }

    fn phases(&self, candidate: &Candidate) -> Option<Phases> {
        let deployment = self.deployer.deployment(candidate).ok()?;
        let outcome = twin::simulate(&deployment, self.workloads[0], self.seed, true);
        let records = outcome.requests.unwrap_or_default();
        let done: Vec<_> = records.iter().filter(|r| r.status == Status::Completed && !r.e2e_ms.is_nan()).collect();
        if done.is_empty() {
            return None;
        }
        let mean = |value: &dyn Fn(&twin::RequestRecord) -> f64| {
            done.iter().map(|r| value(r)).sum::<f64>() / done.len() as f64
        };
        let or_none = |ms: f64| if ms.is_nan() { 0.0 } else { ms };
        let mut phases = Phases {
            requests: done.len(),
            queue_ms: mean(&|r| r.queue_ms),
            tier_wait_ms: mean(&|r| or_none(r.tier_wait_ms)),
            prefill_ms: mean(&|r| r.prefill_ms),
            transfer_ms: mean(&|r| or_none(r.transfer_ms)),
            decode_ms: mean(&|r| r.decode_ms),
            recomputation_ms: mean(&|r| r.recomputed_ms),
            preemption_ms: mean(&|r| r.preempted_ms),
            outside_ms: 0.0,
        };
        phases.outside_ms = (mean(&|r| r.e2e_ms) - phases.total_ms()).max(0.0);
        // What is left by rounding is nothing.
        if phases.outside_ms < 1e-6 {
            phases.outside_ms = 0.0;
        }
        Some(phases)
    }
}

/// Objectives and constrained metrics, by name.
fn named(study: &Study, metrics: &[f64]) -> BTreeMap<String, f64> {
    let wanted = study.objectives.iter().map(|o| o.metric).chain(study.constraints.iter().map(|c| c.metric));
    wanted.filter(|&m| metrics[m].is_finite()).map(|m| (METRICS[m].name.to_string(), metrics[m])).collect()
}

/// Bounds that do not hold, with by how much.
fn broken(study: &Study, metrics: &[f64]) -> Vec<String> {
    let margins = study.constraints.iter().flat_map(|c| Margin::of(c, metrics)).filter(|m| !m.holds());
    let words = |m: Margin| {
        let bound = bound_words(&m);
        if m.value.is_nan() { format!("{bound}: no value") } else { format!("{bound} broken by {}", percent(-m.room)) }
    };
    margins.map(words).collect()
}

fn value_words(space: &Space, candidate: &Candidate, knob: usize) -> String {
    space.value(candidate, knob).map_or_else(|| "absent".into(), ToString::to_string)
}

/// Knobs of `this` in which it differs from `that`, as `knob this (here that)`. Knobs that only `that`
/// has go with the value that they need, which is among those named.
fn differences(space: &Space, this: &Candidate, that: &Candidate) -> Vec<String> {
    let differ = (0..space.knobs.len()).filter(|&k| this.levels[k] != that.levels[k]);
    differ
        .filter_map(|k| {
            let (name, value) = (&space.knobs[k].name, space.value(this, k)?);
            let here = space.value(that, k).map_or(String::new(), |here| format!(" (here {here})"));
            Some(format!("{name} {value}{here}"))
        })
        .collect()
}

fn rival(study: &Study, other: &Evaluation, own: &Evaluation) -> Rival {
    let objective = |o: &crate::space::Objective| {
        let (value, here) = (other.metrics[o.metric], own.metrics[o.metric]);
        format!("{} {} ({})", metric_label(o.metric), with_unit(o.metric, value), change(here, value))
    };
    Rival {
        id: study.space.id(&other.candidate),
        deployment: shape_words(&study.space, &other.candidate),
        objectives: study.objectives.iter().map(objective).collect(),
        broken: broken(study, &other.metrics),
        differences: differences(&study.space, &other.candidate, &own.candidate),
    }
}

/// How much worse `other` is than `own` in its worst objective, relative.
fn behind(own: &Evaluation, other: &Evaluation) -> f64 {
    let pairs = other.objectives.iter().zip(&own.objectives);
    pairs.map(|(o, x)| (o - x) / x.abs().max(1e-12)).fold(f64::NEG_INFINITY, f64::max)
}

fn nearest_loser(run: &RunData, evaluations: &[&Evaluation], row: usize) -> Option<Rival> {
    let own = evaluations[row];
    let lost = evaluations.iter().filter(|e| e.is_feasible() && weakly_dominates(&own.objectives, &e.objectives));
    let lost = lost.filter(|e| e.candidate != own.candidate);
    let nearest = lost.min_by(|a, b| behind(own, a).total_cmp(&behind(own, b)))?;
    Some(rival(&run.study, nearest, own))
}

fn nearest_miss(run: &RunData, evaluations: &[&Evaluation], row: usize) -> Option<Rival> {
    let own = evaluations[row];
    let missed = evaluations.iter().filter(|e| {
        e.is_whole()
            && !e.is_feasible()
            && e.violation.is_finite()
            && e.candidate != own.candidate
            && !weakly_dominates(&own.objectives, &e.objectives)
    });
    let nearest = missed
        .min_by(|a, b| a.violation.total_cmp(&b.violation).then_with(|| behind(own, a).total_cmp(&behind(own, b))))?;
    Some(rival(&run.study, nearest, own))
}
