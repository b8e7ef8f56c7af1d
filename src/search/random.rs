//! Uniform random search: each knob's level drawn by itself, nothing proposed twice.

use rand_chacha::ChaCha8Rng;

use super::draw::{Fresh, random_levels, rng};
use super::{Evaluation, Strategy};
use crate::space::{Candidate, Space};

/// See the module.
pub struct Random {
    fresh: Fresh,
    rng: ChaCha8Rng,
}

impl Random {
    /// Over a space, from a seed.
    pub fn new(space: &Space, seed: u64) -> Self {
        Random { fresh: Fresh::new(space), rng: rng(seed, "random", 0) }
    }
}

impl Strategy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let Random { fresh, rng } = self;
        (0..n).map_while(|_| fresh.take(|space| space.canonical(&random_levels(space, rng)))).collect()
    }

    fn tell(&mut self, _evaluations: &[Evaluation]) {}
}
