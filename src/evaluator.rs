//! Simulates the candidates of a study: where the space, the workload and the twin meet the search.

use crate::search::{Evaluate, Evaluation};
use crate::space::{Candidate, Deployer, Study};
use crate::twin::metrics::{METRIC_COUNT, METRICS};
use crate::twin::{self, Deployment};
use crate::workload::Workload;

/// Evaluates a study's candidates on the twin, all under the same workload and seed (common random
/// numbers: two candidates differ by what they are, not by their draws).
#[derive(Debug)]
pub struct Evaluator<'a> {
    study: &'a Study,
    workload: &'a Workload,
    deployer: Deployer<'a>,
    seed: u64,
}

impl<'a> Evaluator<'a> {
    /// Prepares what all candidates share. `seed` is that of the twin's own draws.
    pub fn new(study: &'a Study, workload: &'a Workload, seed: u64) -> Evaluator<'a> {
        Evaluator { study, workload, deployer: Deployer::new(study, workload), seed }
    }

    /// Where the pass times of the study's worker shapes come from, a line each.
    pub fn timing_provenance(&self) -> Vec<String> {
        self.deployer.timing_provenance()
    }

    fn refused(&self, candidate: &Candidate, reason: String) -> Evaluation {
        Evaluation {
            candidate: candidate.clone(),
            objectives: vec![f64::NAN; self.study.objectives.len()],
            violation: f64::INFINITY,
            metrics: vec![f64::NAN; METRIC_COUNT],
            reason: Some(reason),
        }
    }

    fn simulated(&self, candidate: &Candidate, deployment: &Deployment) -> Evaluation {
        let metrics = twin::simulate(deployment, self.workload, self.seed, false).metrics.values;
        let mut violation = 0.0;
        let mut reasons = Vec::new();
        for constraint in &self.study.constraints {
            let (value, info) = (metrics[constraint.metric], &METRICS[constraint.metric]);
            let excess = constraint.violation(value);
            violation += excess;
            if excess > 0.0 {
                let bounds = [constraint.min.map(|b| format!(">= {b}")), constraint.max.map(|b| format!("<= {b}"))];
                let bounds: Vec<String> = bounds.into_iter().flatten().collect();
                let value = if value.is_nan() { "does not apply".into() } else { format!("is {value:.6}") };
                reasons.push(format!("{} {value}, must be {}", info.name, bounds.join(" and ")));
            }
        }
        // A candidate whose objective has no value is no candidate for the frontier.
        for objective in self.study.objectives.iter().filter(|o| metrics[o.metric].is_nan()) {
            violation = f64::INFINITY;
            reasons.push(format!("objective {} does not apply", METRICS[objective.metric].name));
        }
        Evaluation {
            candidate: candidate.clone(),
            objectives: self.study.objective_values(&metrics),
            violation,
            metrics: metrics.to_vec(),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}

impl Evaluate for Evaluator<'_> {
    fn objectives(&self) -> usize {
        self.study.objectives.len()
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        match self.deployer.deployment(candidate) {
            Ok(deployment) => self.simulated(candidate, &deployment),
            Err(refusal) => self.refused(candidate, refusal.to_string()),
        }
    }
}
