//! A uniformly random worker.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Policy, View};

/// Seeded uniform choice.
pub struct Random {
    workers: usize,
    rng: ChaCha8Rng,
}

impl Random {
    /// Draws from `rng` once per request.
    pub fn new(workers: usize, rng: ChaCha8Rng) -> Self {
        Random { workers, rng }
    }
}

impl Policy for Random {
    fn place(&mut self, _request: u32, _view: &View) -> usize {
        self.rng.random_range(0..self.workers)
    }

    fn watches_requests(&self) -> bool {
        false
    }
}
