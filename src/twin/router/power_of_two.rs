//! The less loaded of two random workers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{InFlight, Placement, Policy, View};

/// Draws two distinct workers and takes the one with fewer requests in flight.
pub struct PowerOfTwo {
    in_flight: InFlight,
    rng: ChaCha8Rng,
}

impl PowerOfTwo {
    /// No workers yet.
    pub fn new(rng: ChaCha8Rng) -> Self {
        PowerOfTwo { in_flight: InFlight::default(), rng }
    }
}

impl Policy for PowerOfTwo {
    fn place(&mut self, _request: u32, view: &View) -> Placement {
        let candidates = view.candidates();
        let count = candidates.len();
        let first = self.rng.random_range(0..count);
        let worker = if count == 1 {
            candidates[first]
        } else {
            let second = (first + self.rng.random_range(1..count)) % count;
            self.in_flight.least([candidates[first], candidates[second]].into_iter(), &mut self.rng)
        };
        self.in_flight.0[worker] += 1;
        Placement::Worker(worker)
    }

    fn ended(&mut self, _request: u32, worker: usize, _view: &View) {
        self.in_flight.0[worker] -= 1;
    }

    fn worker_ready(&mut self, worker: usize, _view: &View) {
        self.in_flight.worker_ready(worker);
    }
}
