//! The worker with the fewest requests in flight.

use rand_chacha::ChaCha8Rng;

use super::{InFlight, Placement, Policy, View};

/// Counts requests placed and not ended; ties go to a random worker.
pub struct LeastLoaded {
    in_flight: InFlight,
    rng: ChaCha8Rng,
}

impl LeastLoaded {
    /// No workers yet.
    pub fn new(rng: ChaCha8Rng) -> Self {
        LeastLoaded { in_flight: InFlight::default(), rng }
    }
}

impl Policy for LeastLoaded {
    fn place(&mut self, _request: u32, view: &View) -> Placement {
        let worker = self.in_flight.least(view.candidates().iter().copied(), &mut self.rng);
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
