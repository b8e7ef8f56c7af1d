//! Hypervolume over a run: for the record once it is over, and for watching while it goes on.

use super::Evaluation;
use crate::frontier::{Front, Reference};

/// The reference by rule over all feasible evaluations, and the hypervolume of the front after
/// each evaluation, in its units (at most 1.1 to the power of the number of objectives). `None`
/// when nothing is feasible. Evaluations come in the order of commitment.
pub fn hypervolume_history(evaluations: &[Evaluation]) -> Option<(Reference, Vec<f64>)> {
    let m = evaluations.first()?.objectives.len();
    let mut front = Front::new(m);
    for evaluation in evaluations.iter().filter(|e| e.is_feasible()) {
        front.insert(&evaluation.objectives, 0);
    }
    let reference = Reference::by_rule(front.points(), m)?;
    let mut front = Front::new(m);
    let mut volume = 0.0;
    let after = |e: &Evaluation| {
        if e.is_feasible() && front.insert(&e.objectives, 0) {
            volume = reference.hypervolume(front.points());
        }
        volume
    };
    let history = evaluations.iter().map(after).collect();
    Some((reference, history))
}

/// The hypervolume of a growing front, in units that are fixed once there is enough to fix them by.
pub(super) struct Gauge {
    m: usize,
    /// Feasible objectives until the units are fixed.
    early: Vec<f64>,
    units: Option<Reference>,
    front: Front,
    /// `None` when the front has changed since it was measured.
    measured: Option<f64>,
}

impl Gauge {
    /// Feasible evaluations after which the units are fixed.
    const ENOUGH: usize = 32;

    pub fn new(m: usize) -> Self {
        Gauge { m, early: Vec::new(), units: None, front: Front::new(m), measured: None }
    }

    pub fn add(&mut self, evaluation: &Evaluation) {
        let objectives = &evaluation.objectives;
        if !evaluation.is_feasible() || objectives.iter().any(|v| !v.is_finite()) {
            return;
        }
        if self.front.insert(objectives, 0) {
            self.measured = None;
        }
        if self.units.is_none() {
            self.early.extend(objectives);
            if self.early.len() >= Self::ENOUGH * self.m {
                let scales = Reference::by_rule(self.front.points(), self.m).map(|r| r.scales);
                self.units = scales.and_then(|scales| Reference::new(&self.early, self.m, scales));
            }
        }
    }

    pub fn front_len(&self) -> usize {
        self.front.len()
    }

    /// 0 until the units are fixed; then it never falls.
    pub fn read(&mut self) -> f64 {
        let Some(units) = &self.units else { return 0.0 };
        *self.measured.get_or_insert_with(|| units.hypervolume(self.front.points()))
    }
}
