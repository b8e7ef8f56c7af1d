//! Simulates the candidates of a study: where the space, the workload and the twin meet the search.

mod abort;
mod features;
mod replicates;
mod windows;

pub use replicates::replicate_workloads;

use abort::Hopeless;
use features::MeanTraffic;
use replicates::Means;
use windows::Windows;

use crate::search::{Evaluate, Evaluation, Fidelity};
use crate::space::{Candidate, Deployer, Study};
use crate::twin::metrics::{METRIC_COUNT, METRICS};
use crate::twin::{self, Deployment};
use crate::workload::Workload;

/// Evaluates a study's candidates on the twin, all under the same workloads and seeds (common random
/// numbers: two candidates differ by what they are, not by their draws).
#[derive(Debug)]
pub struct Evaluator<'a> {
    study: &'a Study,
    /// One per replication; at least one.
    workloads: Vec<&'a Workload>,
    deployer: Deployer<'a>,
    windows: Option<Windows>,
    traffic: MeanTraffic,
    seed: u64,
}

impl<'a> Evaluator<'a> {
    /// Prepares what all candidates share. `seed` is that of the twin's own draws.
    pub fn new(study: &'a Study, workload: &'a Workload, seed: u64) -> Evaluator<'a> {
        let deployer = Deployer::new(study, workload);
        let traffic = MeanTraffic::of(workload);
        Evaluator { study, workloads: vec![workload], deployer, windows: None, traffic, seed }
    }

    /// Simulates every candidate under each of these workloads too, with a seed of its own each, and
    /// takes the means; see [`replicate_workloads`].
    pub fn with_replicates(mut self, more: &'a [Workload]) -> Evaluator<'a> {
        self.workloads.extend(more);
        self.deployer = self.deployer.serving(&self.workloads);
        self
    }

    /// Cuts the windows that candidates are looked at through first, where the study asks for that.
    pub fn with_windows(mut self) -> Evaluator<'a> {
        let workload = self.workloads[0];
        if self.study.search.uses_ladder(workload) {
            self.windows = Windows::of(workload, self.study.search.ladder_share);
        }
        self
    }

    /// Where the pass times of the study's worker shapes come from, a line each.
    pub fn timing_provenance(&self) -> Vec<String> {
        self.deployer.timing_provenance()
    }

    fn refused(&self, candidate: &Candidate, reason: String) -> Evaluation {
        Evaluation::refused(candidate.clone(), self.study.objectives.len(), METRIC_COUNT, reason)
    }

    /// The metrics of whole simulations: of one, or the means over replications.
    fn simulate(&self, deployment: &Deployment) -> Means {
        let one = |(replicate, workload): (usize, &&Workload)| {
            twin::simulate(deployment, workload, replicates::seed(self.seed, replicate), false).metrics.values
        };
        Means::of(self.workloads.iter().enumerate().map(one).collect())
    }

    /// The evaluation that metrics make.
    fn judged(&self, candidate: &Candidate, metrics: &[f64; METRIC_COUNT]) -> Evaluation {
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
            violation,
            metrics: metrics.to_vec(),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            ..Evaluation::plain(candidate.clone(), self.study.objective_values(metrics))
        }
    }
}

impl Evaluate for Evaluator<'_> {
    fn objectives(&self) -> usize {
        self.study.objectives.len()
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        match self.deployer.deployment(candidate) {
            Ok(deployment) => {
                let means = self.simulate(&deployment);
                let mut evaluation = self.judged(candidate, &means.values);
                evaluation.half_widths =
                    self.study.objectives.iter().filter_map(|o| means.half_width(o.metric)).collect();
                evaluation
            }
            Err(refusal) => self.refused(candidate, refusal.to_string()),
        }
    }

    fn evaluate_against(&self, candidate: &Candidate, rivals: &[f64]) -> Evaluation {
        // The mean over replications can come out right after one went wrong.
        let [workload] = self.workloads[..] else { return self.evaluate(candidate) };
        match self.deployer.deployment(candidate) {
            // A request that is tried again may lose its first token: nothing is certain before the end.
            Ok(deployment) if !deployment.faults.is_empty() => self.evaluate(candidate),
            Ok(deployment) => {
                let mut hopeless = Hopeless::new(self.study, rivals);
                match twin::simulate_watched(&deployment, workload, self.seed, &mut hopeless) {
                    Ok(outcome) => self.judged(candidate, &outcome.metrics.values),
                    Err(best) => hopeless.evaluation(candidate, &best),
                }
            }
            Err(refusal) => self.refused(candidate, refusal.to_string()),
        }
    }

    fn screen_cost(&self) -> Option<f64> {
        self.windows.as_ref().map(Windows::cost)
    }

    fn screen(&self, candidate: &Candidate) -> Evaluation {
        let Some(windows) = &self.windows else { return self.evaluate(candidate) };
        match self.deployer.deployment(candidate) {
            Ok(deployment) => {
                let metrics = windows.metrics(&deployment, self.seed);
                Evaluation { fidelity: Fidelity::Windows, ..self.judged(candidate, &metrics) }
            }
            Err(refusal) => self.refused(candidate, refusal.to_string()),
        }
    }
}
