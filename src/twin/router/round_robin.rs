//! Workers in turn.

use super::{Policy, View};

/// A ring over workers.
pub struct RoundRobin {
    workers: usize,
    next: usize,
}

impl RoundRobin {
    /// Starts with worker 0.
    pub fn new(workers: usize) -> Self {
        RoundRobin { workers, next: 0 }
    }
}

impl Policy for RoundRobin {
    fn place(&mut self, _request: u32, _view: &View) -> usize {
        let worker = self.next;
        self.next = (self.next + 1) % self.workers;
        worker
    }

    fn watches_requests(&self) -> bool {
        false
    }
}
