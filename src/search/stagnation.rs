//! When a search has stopped finding anything.

use std::collections::VecDeque;

use super::Evaluation;
use crate::frontier::{Front, Reference};

/// Ends a search once its hypervolume has hardly grown over a window of simulations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stagnation {
    /// Simulations to look back over; at least 1.
    pub window: usize,
    /// Growth over the window, as a share of the present hypervolume, up to which it has stopped.
    pub gain: f64,
}

/// The fronts of a running search, as far back as the window reaches.
pub(super) struct StagnationWatch {
    rule: Stagnation,
    m: usize,
    front: Front,
    /// Simulations so far, and the front's points then; the first is the last one that is at least
    /// a window ago, once there is one.
    past: VecDeque<(usize, Vec<f64>)>,
}

impl StagnationWatch {
    pub fn new(rule: Stagnation, m: usize) -> Self {
        StagnationWatch { rule, m, front: Front::new(m), past: VecDeque::new() }
    }

    pub fn add(&mut self, evaluation: &Evaluation) {
        if evaluation.is_feasible() {
            self.front.insert(&evaluation.objectives, 0);
        }
    }

    /// Whether the search has stopped growing, after a batch that brought it to this many
    /// simulations. Both hypervolumes are measured in the present front's units, so that ends of
    /// the front that were found late count. Never before anything is feasible.
    pub fn has_stopped(&mut self, simulations: usize) -> bool {
        self.past.push_back((simulations, self.front.points().to_vec()));
        let since = simulations.checked_sub(self.rule.window);
        while since.is_some_and(|since| self.past.get(1).is_some_and(|(at, _)| *at <= since)) {
            self.past.pop_front();
        }
        let Some((at, then)) = self.past.front() else { return false };
        if since.is_none_or(|since| *at > since) || then.is_empty() {
            return false;
        }
        let Some(units) = Reference::by_rule(self.front.points(), self.m) else { return false };
        let now = units.hypervolume(self.front.points());
        now - units.hypervolume(then) <= self.rule.gain * now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Candidate;

    fn feasible(x: f64, y: f64) -> Evaluation {
        Evaluation::plain(Candidate { levels: Vec::new().into() }, vec![x, y])
    }

    #[test]
    fn it_stops_when_a_whole_window_brought_nothing() {
        let mut watch = StagnationWatch::new(Stagnation { window: 20, gain: 0.01 }, 2);
        for (x, y) in [(1.0, 4.0), (2.0, 2.0), (4.0, 1.0)] {
            watch.add(&feasible(x, y));
        }
        assert!(!watch.has_stopped(10));
        assert!(!watch.has_stopped(20), "the window reaches back before the first batch");
        assert!(watch.has_stopped(30));
        // Something new, and the window starts to count from there.
        watch.add(&feasible(1.2, 1.2));
        assert!(!watch.has_stopped(40));
        assert!(!watch.has_stopped(50));
        assert!(watch.has_stopped(60));
    }

    #[test]
    fn nothing_feasible_is_no_stagnation() {
        let mut watch = StagnationWatch::new(Stagnation { window: 1, gain: 0.5 }, 2);
        assert!((1..50).all(|n| !watch.has_stopped(10 * n)));
    }
}
