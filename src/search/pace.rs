//! How long simulations take, and so which of a batch to begin first: a long one that begins last
//! leaves the other threads idle. This decides about the order of work and of nothing else.

use super::Evaluation;
use crate::space::{Candidate, Space};

/// Known ones nearest to a candidate whose mean duration is expected of it.
const NEIGHBOURS: usize = 4;
/// The latest that are remembered.
const REMEMBERED: usize = 400;
/// Simulations shorter than this, in seconds and on average, are not worth an order.
const WORTH: f64 = 1e-3;

/// What simulations took so far.
pub(super) struct Pace {
    /// Levels of each knob less one where it is ordered; 0 where it is not.
    spans: Vec<f64>,
    known: Vec<(Candidate, f64)>,
    next: usize,
}

impl Pace {
    pub fn new(space: &Space) -> Self {
        let span = |k: &crate::space::Knob| match k.domain.ordered {
            true => (k.domain.values.len() - 1) as f64,
            false => 0.0,
        };
        Pace { spans: space.knobs.iter().map(span).collect(), known: Vec::new(), next: 0 }
    }

    /// Remembers how many seconds a simulation took.
    pub fn learn(&mut self, evaluation: &Evaluation, seconds: f64) {
        let entry = (evaluation.candidate.clone(), seconds);
        if self.known.len() < REMEMBERED {
            self.known.push(entry);
        } else {
            self.known[self.next] = entry;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }

    /// Indices of candidates, those that should take longest first.
    pub fn order(&self, candidates: &[&Candidate]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let total: f64 = self.known.iter().map(|(_, seconds)| seconds).sum();
        if total >= WORTH * self.known.len().max(1) as f64 {
            let expected: Vec<f64> = candidates.iter().map(|c| self.expected(c)).collect();
            order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
        }
        order
    }

    fn expected(&self, candidate: &Candidate) -> f64 {
        let mut nearest = [(f64::INFINITY, 0.0); NEIGHBOURS];
        for (known, seconds) in &self.known {
            let distance = self.distance(candidate, known);
            let last = &mut nearest[NEIGHBOURS - 1];
            if distance < last.0 {
                *last = (distance, *seconds);
                nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
        }
        nearest.iter().map(|(_, seconds)| seconds).sum()
    }

    /// The sum over the knobs of how far apart the levels are, at most 1 a knob.
    fn distance(&self, a: &Candidate, b: &Candidate) -> f64 {
        let apart = |((&a, &b), &span): ((&u32, &u32), &f64)| match a == b {
            true => 0.0,
            false if span == 0.0 || a == Candidate::ABSENT || b == Candidate::ABSENT => 1.0,
            false => f64::from(a.abs_diff(b)) / span,
        };
        a.levels.iter().zip(&b.levels).zip(&self.spans).map(apart).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Domain, Knob, Value};

    #[test]
    fn what_was_long_nearby_begins_first() {
        let knob = |name: &str, ordered| Knob {
            name: name.into(),
            domain: Domain { values: (1..=9).map(Value::Int).collect(), ordered, log: false },
            conditions: vec![],
            block: "b".into(),
        };
        let space = Space { knobs: vec![knob("size", true), knob("name", false)] };
        let at = |size, name| Candidate { levels: vec![size, name].into() };
        let mut pace = Pace::new(&space);
        let wanted = [at(1, 0), at(7, 1), at(4, 1)];
        let wanted: Vec<&Candidate> = wanted.iter().collect();
        assert_eq!(pace.order(&wanted), [0, 1, 2], "nothing is known");
        // Names mean nothing, sizes do.
        for turn in 0..2 * REMEMBERED as u32 {
            let known = Evaluation::plain(at(turn % 9, turn % 7), vec![0.0]);
            pace.learn(&known, f64::from(turn % 9));
        }
        assert_eq!(pace.order(&wanted), [1, 2, 0]);
        assert_eq!(pace.known.len(), REMEMBERED);
    }
}
