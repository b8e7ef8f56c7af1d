//! A uniformly random worker.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Placement, Policy, View};

/// Seeded uniform choice.
pub struct Random {
    rng: ChaCha8Rng,
}

impl Random {
    /// Draws from `rng` once per request.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Random { rng }
    }
}

impl Policy for Random {
    fn place(&mut self, _request: u32, view: &View) -> Placement {
        let candidates = view.candidates();
        Placement::Worker(candidates[self.rng.random_range(0..candidates.len())])
    }

    fn watches_requests(&self) -> bool {
        false
    }
}
