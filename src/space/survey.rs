//! How much of a space would be refused before simulation, and why.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;

use super::{Candidate, Deployer, RefusalCode, Space};

/// Largest space that is looked at whole.
const WHOLE: f64 = 2048.0;
/// Draws from a larger one.
const SAMPLE: usize = 2048;

/// What a survey found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Distinct candidates looked at.
    pub candidates: usize,
    /// Whether that is all of them.
    pub is_whole: bool,
    /// Refusals by kind: how many, and the reason of the first.
    pub refused: BTreeMap<RefusalCode, (usize, String)>,
}

impl Survey {
    /// Looks at all candidates of a small space, else at a sample drawn level by level at random.
    pub fn of(space: &Space, deployer: &Deployer<'_>, seed: u64) -> Survey {
        let is_whole = space.size() <= WHOLE;
        let candidates = if is_whole { space.enumerate().collect() } else { sample(space, seed) };
        let mut refused: BTreeMap<RefusalCode, (usize, String)> = BTreeMap::new();
        for candidate in &candidates {
            if let Err(refusal) = deployer.deployment(candidate) {
                refused.entry(refusal.code).or_insert_with(|| (0, refusal.reason)).0 += 1;
            }
        }
        Survey { candidates: candidates.len(), is_whole, refused }
    }

    /// Candidates that would be refused.
    pub fn refusals(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

fn sample(space: &Space, seed: u64) -> Vec<Candidate> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = FxHashSet::default();
    let draws = (0..SAMPLE).map(|_| {
        let point: Vec<f64> = space.knobs.iter().map(|_| random.random::<f64>()).collect();
        space.from_unit(&point)
    });
    draws.filter(|candidate| seen.insert(candidate.clone())).collect()
}
