//! The worker with the fewest requests in flight.

use rand_chacha::ChaCha8Rng;

use super::{InFlight, Policy, View};

/// Counts requests placed and not ended; ties go to a random worker.
pub struct LeastLoaded {
    in_flight: InFlight,
    rng: ChaCha8Rng,
}

impl LeastLoaded {
    /// All workers empty.
    pub fn new(workers: usize, rng: ChaCha8Rng) -> Self {
        LeastLoaded { in_flight: InFlight::new(workers), rng }
    }
}

impl Policy for LeastLoaded {
    fn place(&mut self, _request: u32, _view: &View) -> usize {
        let worker = self.in_flight.least(0..self.in_flight.0.len(), &mut self.rng);
        self.in_flight.0[worker] += 1;
        worker
    }

    fn ended(&mut self, _request: u32, worker: usize, _view: &View) {
        self.in_flight.0[worker] -= 1;
    }
}
