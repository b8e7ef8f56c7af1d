//! Workers in turn, and the ranks of each in turn.

use super::choose::Chooser;
use super::facts::{Facts, Needs};

/// A ring over the workers that take requests, and within each a ring over its ranks.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    /// The least worker that may come next.
    next: usize,
    /// Requests that each worker was given, by id.
    given: Vec<u32>,
}

impl Chooser for RoundRobin {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        let first = facts.workers.partition_point(|&id| id < self.next) % facts.candidates;
        let worker = facts.workers[first];
        self.next = worker + 1;
        if facts.workers.get(first + 1) != Some(&worker) {
            return first;
        }
        let ranks = facts.workers[first..].partition_point(|&id| id == worker);
        if self.given.len() <= worker {
            self.given.resize(worker + 1, 0);
        }
        let rank = self.given[worker] as usize % ranks;
        self.given[worker] += 1;
        first + rank
    }
}
