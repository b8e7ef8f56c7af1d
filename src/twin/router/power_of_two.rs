//! The less loaded of two random workers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{InFlight, Policy, View};

/// Draws two distinct workers and takes the one with fewer requests in flight.
pub struct PowerOfTwo {
    in_flight: InFlight,
    rng: ChaCha8Rng,
}

impl PowerOfTwo {
    /// All workers empty.
    pub fn new(workers: usize, rng: ChaCha8Rng) -> Self {
        PowerOfTwo { in_flight: InFlight::new(workers), rng }
    }
}

impl Policy for PowerOfTwo {
    fn place(&mut self, _request: u32, _view: &View) -> usize {
        let workers = self.in_flight.0.len();
        let first = self.rng.random_range(0..workers);
        let worker = if workers == 1 {
            first
        } else {
            let second = (first + self.rng.random_range(1..workers)) % workers;
            self.in_flight.least([first, second].into_iter(), &mut self.rng)
        };
        self.in_flight.0[worker] += 1;
        worker
    }

    fn ended(&mut self, _request: u32, worker: usize, _view: &View) {
        self.in_flight.0[worker] -= 1;
    }
}
