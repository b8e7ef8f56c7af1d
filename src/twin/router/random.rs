//! A uniformly random worker.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::choose::Chooser;
use super::facts::{Facts, Needs};

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

impl Chooser for Random {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        self.rng.random_range(0..facts.candidates)
    }
}
