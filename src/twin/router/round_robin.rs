//! Workers in turn.

use super::{Placement, Policy, View};

/// A ring over the workers that take requests.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The least id that may come next.
    next: usize,
}

impl Policy for RoundRobin {
    fn place(&mut self, _request: u32, view: &View) -> Placement {
        let candidates = view.candidates();
        let at = candidates.partition_point(|&c| c < self.next);
        let worker = candidates[at % candidates.len()];
        self.next = worker + 1;
        Placement::Worker(worker)
    }

    fn watches_requests(&self) -> bool {
        false
    }
}
