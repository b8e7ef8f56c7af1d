//! What a strategy has been told.

use rustc_hash::FxHashMap;

use super::{Evaluation, Fidelity};
use crate::frontier::{Front, Reference, Scale, is_finite};
use crate::space::Candidate;

/// Everything told so far, each candidate once, with the feasible front.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    m: usize,
    known: Vec<Known>,
    places: FxHashMap<Candidate, usize>,
    front: Front,
}

/// One evaluated candidate.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub candidate: Candidate,
    /// Minimised; may be NaN.
    pub objectives: Vec<f64>,
    pub violation: f64,
    /// Whether it was simulated whole: only such a one can be on the front.
    is_whole: bool,
}

impl Known {
    /// Whether it keeps every constraint and can be compared.
    pub fn is_usable(&self) -> bool {
        self.violation == 0.0 && self.is_whole && is_finite(&self.objectives)
    }
}

impl Memory {
    pub fn new(objectives: usize) -> Self {
        Memory { m: objectives, known: Vec::new(), places: FxHashMap::default(), front: Front::new(objectives) }
    }

    /// Learns one evaluation; `false` when its candidate is known already.
    pub fn learn(&mut self, evaluation: &Evaluation) -> bool {
        let place = self.known.len();
        if self.places.contains_key(&evaluation.candidate) {
            return false;
        }
        self.places.insert(evaluation.candidate.clone(), place);
        let Evaluation { candidate, objectives, violation, fidelity, .. } = evaluation.clone();
        let known = Known { candidate, objectives, violation, is_whole: fidelity == Fidelity::Full };
        if known.is_usable() {
            self.front.insert(&known.objectives, place);
        }
        self.known.push(known);
        true
    }

    /// Number of objectives.
    pub fn objectives(&self) -> usize {
        self.m
    }

    /// All known candidates, in the order in which they were told.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// Where a candidate is among the known.
    pub fn place(&self, candidate: &Candidate) -> Option<usize> {
        self.places.get(candidate).copied()
    }

    /// The non-dominated feasible points; keys are places among the known.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Units in which the present front spans the unit box; `None` before anything feasible.
    pub fn units(&self) -> Option<Reference> {
        Reference::by_rule(self.front.points(), self.m)
    }

    /// A scale per objective, by the rule of [`Scale::of`] over the front.
    pub fn scales(&self) -> Vec<Scale> {
        (0..self.m).map(|k| Scale::of(self.front.points().iter().skip(k).step_by(self.m).copied())).collect()
    }
}
