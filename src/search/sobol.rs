//! Quasi-random search: an Owen-scrambled Sobol sequence, nothing proposed twice.

use super::draw::{self, Fresh};
use super::{Evaluation, Strategy};
use crate::space::{Candidate, Space};

/// See the module.
pub struct Sobol {
    fresh: Fresh,
    sequence: draw::Sobol,
}

impl Sobol {
    /// Over a space, scrambled by a seed.
    pub fn new(space: &Space, seed: u64) -> Self {
        Sobol { fresh: Fresh::new(space), sequence: draw::Sobol::new(space, seed) }
    }
}

impl Strategy for Sobol {
    fn name(&self) -> &'static str {
        "sobol"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let Sobol { fresh, sequence } = self;
        (0..n).map_while(|_| fresh.take(|space| sequence.next(space))).collect()
    }

    fn tell(&mut self, _evaluations: &[Evaluation]) {}
}
