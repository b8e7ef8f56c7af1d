//! Workers in turn.

use super::{Placement, Policy, View};

/// A ring over the workers that take requests, and within each a ring over its ranks.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The least candidate that may come next.
    next: usize,
    /// Requests that each worker was given, by id.
    given: Vec<u32>,
}

impl Policy for RoundRobin {
    fn place(&mut self, _request: u32, view: &View) -> Placement {
        let candidates = view.candidates();
        let at = candidates.partition_point(|&c| c < self.next);
        let (worker, _) = view.fleet.split(candidates[at % candidates.len()]);
        self.next = view.fleet.target(worker + 1, 0);
        let ranks = view.fleet.engine(worker).ranks();
        if ranks == 1 {
            return Placement::Worker(view.fleet.target(worker, 0));
        }
        if self.given.len() <= worker {
            self.given.resize(worker + 1, 0);
        }
        let rank = self.given[worker] as usize % ranks;
        self.given[worker] += 1;
        Placement::Worker(view.fleet.target(worker, rank))
    }

    fn watches_requests(&self) -> bool {
        false
    }
}
