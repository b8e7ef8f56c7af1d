//! When a simulation can be ended early: its candidate breaks a constraint whatever comes, or some
//! feasible candidate is at least as good in every objective whatever comes.

use crate::frontier::weakly_dominates;
use crate::search::{Evaluation, Fidelity};
use crate::space::{Candidate, Study};
use crate::twin::bounds::{BestCase, Watch};
use crate::twin::metrics::METRICS;
use crate::units::MS_PER_S;

/// Watches a simulation for the point from which it cannot matter any more.
pub(super) struct Hopeless<'a> {
    study: &'a Study,
    /// Row-major objectives of feasible candidates.
    rivals: &'a [f64],
    /// What objectives and constraints are made of.
    metrics: Vec<usize>,
}

impl<'a> Hopeless<'a> {
    pub fn new(study: &'a Study, rivals: &'a [f64]) -> Self {
        let objectives = study.objectives.iter().map(|o| o.metric);
        let mut metrics: Vec<usize> = objectives.chain(study.constraints.iter().map(|c| c.metric)).collect();
        metrics.sort_unstable();
        metrics.dedup();
        Hopeless { study, rivals, metrics }
    }

    /// Total violation that is certain, and what it is made of, in words.
    fn violation(&self, best: &BestCase) -> (f64, Vec<String>) {
        let (mut total, mut words) = (0.0, Vec::new());
        for constraint in &self.study.constraints {
            let (value, info) = (best.values[constraint.metric], &METRICS[constraint.metric]);
            // A best case from above says nothing about a bound from below, and the other way round.
            let bound = if info.higher_is_better { constraint.min } else { constraint.max };
            let certain = crate::space::Constraint {
                metric: constraint.metric,
                min: bound.filter(|_| info.higher_is_better),
                max: bound.filter(|_| !info.higher_is_better),
            };
            if value.is_nan() || certain.violation(value) == 0.0 {
                continue;
            }
            total += certain.violation(value);
            let (at_best, relation) = if info.higher_is_better { ("at most", ">=") } else { ("at least", "<=") };
            let bound = bound.unwrap_or_default();
            words.push(format!("{} is {at_best} {value:.6}, must be {relation} {bound}", info.name));
        }
        (total, words)
    }

    fn objectives(&self, best: &BestCase) -> Vec<f64> {
        self.study.objective_values(best.values.as_slice())
    }

    fn is_dominated(&self, best: &BestCase) -> bool {
        let objectives = self.objectives(best);
        objectives.iter().all(|v| v.is_finite())
            && self.rivals.chunks_exact(objectives.len()).any(|rival| weakly_dominates(rival, &objectives))
    }

    /// What is known of a candidate whose simulation ended early.
    pub fn evaluation(&self, candidate: &Candidate, best: &BestCase) -> Evaluation {
        let (violation, mut reasons) = self.violation(best);
        if reasons.is_empty() {
            reasons.push("dominated by a candidate that was simulated before".to_owned());
        }
        let reason = format!("ended after {:.1} s of service: {}", best.at_ms / MS_PER_S, reasons.join("; "));
        Evaluation {
            violation,
            metrics: best.values.to_vec(),
            reason: Some(reason),
            fidelity: Fidelity::Aborted,
            ..Evaluation::plain(candidate.clone(), self.objectives(best))
        }
    }
}

impl Watch for Hopeless<'_> {
    fn metrics(&self) -> &[usize] {
        &self.metrics
    }

    fn ends(&mut self, best: &BestCase) -> bool {
        self.violation(best).0 > 0.0 || self.is_dominated(best)
    }
}
