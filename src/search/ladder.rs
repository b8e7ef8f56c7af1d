//! The fidelity ladder: a look through windows of the workload first, the whole simulation only for
//! candidates that could still matter.
//!
//! A candidate is promoted unless, after all that is known of how far such looks are off, some
//! simulated candidate dominates it (epsilon-dominance with a learnt epsilon), or it breaks
//! constraints by more than looks at good candidates ever did. The epsilon is learnt from candidates
//! that had both: it is the most favourable twentieth of the changes from look to simulation, per
//! objective. Until enough had both, everything is promoted; and of those that would be spared,
//! every eighth is promoted all the same, so that what is learnt is not only learnt from the good.

use super::Evaluation;
use crate::frontier::{Front, is_finite, weakly_dominates};

/// Candidates with both that are needed before any is spared.
const ENOUGH: usize = 24;
/// One of so many that would be spared is promoted.
const PROBE: usize = 8;
/// The share of changes that the allowance leaves out on the favourable side.
const TAIL: f64 = 0.05;
/// Violation that a look forgives before it has learnt, and the factor on what it has learnt.
const FORGIVEN: f64 = 0.05;
const FORGIVEN_FACTOR: f64 = 1.5;

/// What has been learnt of looks and simulations.
pub(super) struct Ladder {
    /// Per objective, ascending: change from look to simulation, relative to the look's magnitude.
    changes: Vec<Vec<f64>>,
    /// The largest violation that a look found in a candidate which proved feasible.
    forgiven: f64,
    front: Front,
    unpromising: usize,
}

impl Ladder {
    pub fn new(objectives: usize) -> Self {
        Ladder { changes: vec![Vec::new(); objectives], forgiven: 0.0, front: Front::new(objectives), unpromising: 0 }
    }

    /// Whether a candidate is simulated whole after this look at it.
    pub fn promotes(&mut self, look: &Evaluation) -> bool {
        if look.is_refused() {
            return false;
        }
        if self.changes[0].len() < ENOUGH || self.is_promising(look) {
            return true;
        }
        self.unpromising += 1;
        self.unpromising.is_multiple_of(PROBE)
    }

    fn is_promising(&self, look: &Evaluation) -> bool {
        if look.violation > FORGIVEN + FORGIVEN_FACTOR * self.forgiven || !is_finite(&look.objectives) {
            return false;
        }
        let hoped = |(value, changes): (&f64, &Vec<f64>)| {
            let favourable = changes[(TAIL * changes.len() as f64) as usize];
            value + favourable * value.abs()
        };
        let hoped: Vec<f64> = look.objectives.iter().zip(&self.changes).map(hoped).collect();
        !self.front.points().chunks_exact(hoped.len()).any(|p| weakly_dominates(p, &hoped))
    }

    /// Learns what became of a candidate that was promoted.
    pub fn learn(&mut self, look: &Evaluation, simulated: &Evaluation) {
        if simulated.is_feasible() {
            self.front.insert(&simulated.objectives, 0);
            if look.violation.is_finite() {
                self.forgiven = self.forgiven.max(look.violation);
            }
        }
        if !is_finite(&look.objectives) || !is_finite(&simulated.objectives) {
            return;
        }
        for ((from, to), changes) in look.objectives.iter().zip(&simulated.objectives).zip(&mut self.changes) {
            let change = (to - from) / from.abs().max(f64::MIN_POSITIVE);
            changes.insert(changes.partition_point(|c| *c < change), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Candidate;

    fn point(x: f64, y: f64) -> Evaluation {
        Evaluation::plain(Candidate { levels: Vec::new().into() }, vec![x, y])
    }

    /// Looks that are 10 to 14 % too low, of candidates on the front x + y = 10.
    fn learnt() -> Ladder {
        let mut ladder = Ladder::new(2);
        for k in 0..ENOUGH {
            assert!(ladder.promotes(&point(100.0, 100.0)), "it spares before it has learnt enough");
            let (x, off) = (1.0 + 0.3 * k as f64, 0.9 - 0.01 * (k % 5) as f64);
            ladder.learn(&point(x * off, (10.0 - x) * off), &point(x, 10.0 - x));
        }
        ladder
    }

    #[test]
    fn what_could_matter_is_promoted_and_what_could_not_is_spared() {
        let mut ladder = learnt();
        // 4.6 + 4.6 becomes about 5.1 + 5.1 or more, which is behind 4.9 + 5.1, but not provably.
        assert!(ladder.promotes(&point(4.4, 4.4)));
        assert!(!ladder.promotes(&point(6.0, 6.0)));
        let broken = Evaluation { violation: 0.5, ..point(1.0, 1.0) };
        assert!(!ladder.promotes(&broken));
    }

    #[test]
    fn some_of_the_unpromising_are_looked_at_all_the_same() {
        let mut ladder = learnt();
        let promoted = (0..80).filter(|_| ladder.promotes(&point(9.0, 9.0))).count();
        assert_eq!(promoted, 80 / PROBE);
    }

    #[test]
    fn negated_objectives_have_their_favourable_side_below() {
        let mut ladder = Ladder::new(2);
        for k in 0..ENOUGH {
            let x = 1.0 + 0.3 * k as f64;
            // The look saw 10 % more of a maximised objective than there is.
            ladder.learn(&point(x, -1.1 * x), &point(x, -x));
        }
        assert!(ladder.promotes(&point(2.0, -2.4)));
        assert!(!ladder.promotes(&point(2.0, -1.5)));
    }
}
