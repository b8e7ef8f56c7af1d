//! Candidates simulated again: under drawn pass times and resampled workloads, for intervals and
//! chances.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::errors::TimingErrors;
use crate::frontier::constrained_dominates;
use crate::space::{Candidate, Deployer, Study};
use crate::twin::metrics::{METRIC_COUNT, METRICS};
use crate::twin::{self, Deployment};
use crate::workload::Workload;

/// Blocks of time that a workload is resampled in: long enough to keep what queues make of bursts,
/// enough of them to vary.
pub const BLOCKS: usize = 20;
/// The chance that an interval holds what is true.
pub const CHANCE: f64 = 0.8;

/// Values of every metric.
pub type Values = [f64; METRIC_COUNT];

/// Simulates candidates of a study again. All of them meet the same draws (common random numbers), so
/// that two differ by what they are.
#[derive(Debug)]
pub struct Assessor<'a> {
    pub(crate) study: &'a Study,
    pub(crate) workloads: Vec<&'a Workload>,
    pub(crate) deployer: Deployer<'a>,
    pub(crate) errors: TimingErrors,
    pub(crate) seed: u64,
}

impl<'a> Assessor<'a> {
    /// For a study under its workload and replications of it (may be none). `seed` is the run's.
    pub fn new(study: &'a Study, workload: &'a Workload, replicates: &'a [Workload], seed: u64) -> Assessor<'a> {
        let workloads: Vec<&Workload> = std::iter::once(workload).chain(replicates).collect();
        let deployer = Deployer::new(study, workload).serving(&workloads);
        Assessor { study, workloads, deployer, errors: TimingErrors::of(study), seed }
    }

    /// With another error model than the study's.
    pub fn with_errors(mut self, errors: TimingErrors) -> Assessor<'a> {
        self.errors = errors;
        self
    }

    /// What is drawn from, in a sentence.
    pub fn error_words(&self) -> &str {
        &self.errors.words
    }

    /// Where the pass times of the study's worker shapes come from, a line each.
    pub fn timing_provenance(&self) -> Vec<String> {
        self.deployer.timing_provenance()
    }

    /// The seed of a draw; every purpose has its own.
    fn seed_of(&self, draw: usize, purpose: u64) -> u64 {
        let mixed = self.seed.wrapping_add((draw as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03)
    }

    /// Values of every metric, by draw, then by candidate; all NaN for a candidate that cannot be
    /// deployed.
    pub(crate) fn draws(&self, candidates: &[&Candidate], draws: usize) -> Vec<Vec<Values>> {
        let deployments: Vec<Option<Deployment>> =
            candidates.iter().map(|c| self.deployer.deployment(c).ok()).collect();
        let one = |draw: usize| {
            let workload = self.workloads[draw % self.workloads.len()].resampled(BLOCKS, self.seed_of(draw, 1));
            let timing = self.errors.draw(self.study, self.seed_of(draw, 2));
            let values = |deployment: &Option<Deployment>| match deployment {
                Some(deployment) => {
                    let drawn = timing.given_to(deployment);
                    twin::simulate(&drawn, &workload, self.seed_of(draw, 3), false).metrics.values
                }
                None => [f64::NAN; METRIC_COUNT],
            };
            deployments.iter().map(values).collect()
        };
        (0..draws).into_par_iter().map(one).collect()
    }

    /// What a candidate would show on servers whose pass times are one draw of the error model, under
    /// the workload as it is: a reality to hold intervals against.
    ///
    /// # Panics
    /// When the candidate cannot be deployed.
    pub fn reality(&self, candidate: &Candidate) -> Values {
        let deployment = self.deployer.deployment(candidate).unwrap_or_else(|refusal| panic!("{refusal}"));
        let drawn = self.errors.draw(self.study, self.seed_of(0, 4)).given_to(&deployment);
        twin::simulate(&drawn, self.workloads[0], self.seed_of(0, 3), false).metrics.values
    }

    /// Intervals and chances of candidates, by their ids, from so many draws. `members` are others of
    /// the frontier, which may beat them.
    pub fn assess(&self, candidates: &[&Candidate], members: &[&Candidate], draws: usize) -> Vec<Assessed> {
        let all: Vec<&Candidate> = candidates.iter().chain(members).copied().collect();
        let drawn = self.draws(&all, draws);
        let study = self.study;
        let verdicts: Vec<Vec<Verdict>> =
            drawn.iter().map(|row| row.iter().map(|v| Verdict::of(study, v)).collect()).collect();
        let share = |holds: &dyn Fn(usize) -> bool| {
            (0..drawn.len()).filter(|&draw| holds(draw)).count() as f64 / drawn.len().max(1) as f64
        };
        let is_beaten = |draw: usize, index: usize| {
            let own = &verdicts[draw][index];
            verdicts[draw].iter().any(|other| other.feasible && other.beats(own))
        };
        let one = |index: usize| Assessed {
            id: study.space.id(all[index]),
            listed: index < candidates.len(),
            feasible: share(&|draw| verdicts[draw][index].feasible),
            frontier: share(&|draw| verdicts[draw][index].feasible && !is_beaten(draw, index)),
            bounds: study
                .constraints
                .iter()
                .flat_map(|c| [(c.metric, false, c.min), (c.metric, true, c.max)])
                .filter_map(|(metric, is_max, bound)| {
                    let bound = bound?;
                    let holds = |draw: usize| {
                        let value = drawn[draw][index][metric];
                        if is_max { value <= bound } else { value >= bound }
                    };
                    Some(BoundChance { metric: METRICS[metric].name.into(), is_max, bound, holds: share(&holds) })
                })
                .collect(),
            metrics: (0..METRIC_COUNT)
                .filter_map(|metric| {
                    let values: Vec<f64> = drawn.iter().map(|row| row[index][metric]).collect();
                    Some((METRICS[metric].name.to_string(), Interval::of(values, CHANCE)?))
                })
                .collect(),
        };
        (0..all.len()).map(one).collect()
    }
}

/// What metrics mean for a study.
pub(crate) struct Verdict {
    pub feasible: bool,
    pub violation: f64,
    pub objectives: Vec<f64>,
}

impl Verdict {
    pub fn of(study: &Study, values: &[f64]) -> Verdict {
        let objectives = study.objective_values(values);
        let is_missing = objectives.iter().any(|v| v.is_nan());
        let broken: f64 = study.constraints.iter().map(|c| c.violation(values[c.metric])).sum();
        let violation = if is_missing { f64::INFINITY } else { broken };
        Verdict { feasible: violation == 0.0, violation, objectives }
    }

    /// Whether it is better: by its objectives where both keep the constraints, else by breaking them less
    /// (Deb's rule of constrained domination).
    pub fn beats(&self, other: &Verdict) -> bool {
        constrained_dominates(&self.objectives, self.violation, &other.objectives, other.violation)
    }
}

/// What is known of one candidate beyond its one simulation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Assessed {
    pub id: String,
    /// Whether it is on the shortlist; else it is a neighbour of one on the frontier.
    pub listed: bool,
    /// Chance that it keeps every constraint.
    pub feasible: f64,
    /// Chance that it does, and that none of the others that were simulated with it beats it.
    pub frontier: f64,
    /// One per bound of the study, minima before maxima of one constraint.
    pub bounds: Vec<BoundChance>,
    /// Intervals by the metric's name; those without a value in some draw are left out.
    pub metrics: BTreeMap<String, Interval>,
}

impl Assessed {
    /// The interval of a metric.
    pub fn interval(&self, metric: usize) -> Option<&Interval> {
        self.metrics.get(METRICS[metric].name)
    }
}

/// The chance that a bound holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BoundChance {
    pub metric: String,
    pub is_max: bool,
    pub bound: f64,
    pub holds: f64,
}

/// Where a value lies, with a chance of [`CHANCE`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Interval {
    /// The middle `chance` of values; `None` when one is missing, or there are none. Quantile p is at
    /// place p (n + 1) of the sorted values, counted from 1, linear between two of them: as many
    /// values as that are expected below it, however few there are.
    pub fn of(mut values: Vec<f64>, chance: f64) -> Option<Interval> {
        if values.is_empty() || values.iter().any(|v| v.is_nan()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let quantile = |p: f64| {
            let place = (p * (values.len() + 1) as f64 - 1.0).clamp(0.0, (values.len() - 1) as f64);
            let (below, part) = (place.floor() as usize, place.fract());
            let above = (below + 1).min(values.len() - 1);
            values[below] + part * (values[above] - values[below])
        };
        let tail = (1.0 - chance) / 2.0;
        Some(Interval { low: quantile(tail), median: quantile(0.5), high: quantile(1.0 - tail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_values() {
        let nine: Vec<f64> = (1..10).map(f64::from).collect();
        assert_eq!(Interval::of(nine, 0.8), Some(Interval { low: 1.0, median: 5.0, high: 9.0 }));
        assert_eq!(Interval::of(vec![3.0], 0.8), Some(Interval { low: 3.0, median: 3.0, high: 3.0 }));
        assert_eq!(Interval::of(vec![], 0.8), None);
        assert_eq!(Interval::of(vec![1.0, f64::NAN], 0.8), None);
    }
}
