//! The less loaded of two random workers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::choose::{Chooser, argmin_random_tie};
use super::facts::{Facts, Needs};

/// Draws two distinct workers and takes the one with fewer requests in flight.
pub struct PowerOfTwo {
    rng: ChaCha8Rng,
}

impl PowerOfTwo {
    /// Draws from `rng`.
    pub fn new(rng: ChaCha8Rng) -> Self {
        PowerOfTwo { rng }
    }
}

impl Chooser for PowerOfTwo {
    fn needs(&self) -> Needs {
        Needs { books: true, ..Needs::default() }
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        let count = facts.candidates;
        let first = self.rng.random_range(0..count);
        if count == 1 {
            return first;
        }
        let second = (first + self.rng.random_range(1..count)) % count;
        let pair = [first, second].into_iter().map(|at| (at, facts.active_requests[at]));
        argmin_random_tie(pair, &mut self.rng)
    }
}
