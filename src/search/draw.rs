//! Where random numbers and quasi-random points come from, and how nothing is proposed twice.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;

use crate::space::{Candidate, Space};

/// A generator of its own for each purpose and counter, so that a change in one does not shift
/// the draws of another.
pub(super) fn rng(seed: u64, purpose: &str, counter: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // FNV-1a: the stream number must be the same on every platform and in every version.
    let stream =
        purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    rng.set_stream(stream ^ counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    rng
}

/// Knobs that have a choice.
pub(super) fn free_knobs(space: &Space) -> Vec<usize> {
    (0..space.knobs.len()).filter(|&k| space.knobs[k].domain.values.len() > 1).collect()
}

/// A level drawn uniformly for every knob.
pub(super) fn random_levels(space: &Space, rng: &mut ChaCha8Rng) -> Vec<u32> {
    space.knobs.iter().map(|k| rng.random_range(0..k.domain.values.len() as u32)).collect()
}

/// An Owen-scrambled Sobol sequence over the free knobs of a space.
#[derive(Clone, Debug)]
pub(super) struct Sobol {
    seed: u32,
    index: u64,
    free: Vec<usize>,
    knobs: usize,
}

impl Sobol {
    pub fn new(space: &Space, seed: u64) -> Self {
        let seed: u32 = rng(seed, "sobol", 0).random();
        Sobol { seed, index: 0, free: free_knobs(space), knobs: space.knobs.len() }
    }

    /// The next point's candidate. The sequence's length and dimensions are extended past those of
    /// its direction numbers (2^16 and 256) by fresh scrambles.
    pub fn next(&mut self, space: &Space) -> Candidate {
        const LENGTH: u64 = 1 << 16;
        let mut point = vec![0.0; self.knobs];
        for (dimension, &knob) in (0_u32..).zip(&self.free) {
            let scramble = (self.index / LENGTH) as u32 * 0x9e37_79b9 + dimension / sobol_burley::NUM_DIMENSIONS;
            let dimension = dimension % sobol_burley::NUM_DIMENSIONS;
            let index = (self.index % LENGTH) as u32;
            point[knob] = f64::from(sobol_burley::sample(index, dimension, self.seed.wrapping_add(scramble)));
        }
        self.index += 1;
        space.from_unit(&point)
    }
}

/// Candidates that were not proposed before.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    space: Space,
    size: f64,
    proposed: FxHashSet<Candidate>,
    walker: Option<Candidate>,
}

impl Fresh {
    /// Draws that may repeat before the space is walked instead.
    const PATIENCE: usize = 64;

    pub fn new(space: &Space) -> Self {
        Fresh { space: space.clone(), size: space.size(), proposed: FxHashSet::default(), walker: None }
    }

    /// Marks a candidate as proposed; `false` when it was already.
    pub fn mark(&mut self, candidate: &Candidate) -> bool {
        !self.proposed.contains(candidate) && self.proposed.insert(candidate.clone())
    }

    /// Whether a candidate was proposed.
    pub fn is_marked(&self, candidate: &Candidate) -> bool {
        self.proposed.contains(candidate)
    }

    /// Whether every candidate of the space has been proposed.
    pub fn is_exhausted(&self) -> bool {
        self.proposed.len() as f64 >= self.size
    }

    /// The first of up to 64 draws that is new; else the next new candidate in lexicographic
    /// order, starting after the last draw; `None` once the whole space has been proposed.
    pub fn take(&mut self, mut draw: impl FnMut(&Space) -> Candidate) -> Option<Candidate> {
        if self.is_exhausted() {
            return None;
        }
        for _ in 0..Self::PATIENCE {
            let candidate = draw(&self.space);
            if self.mark(&candidate) {
                return Some(candidate);
            }
            self.walker.get_or_insert(candidate);
        }
        let mut at = self.walker.take()?;
        while !self.mark(&at) {
            at = self.space.successor(&at).unwrap_or_else(|| self.space.canonical(&vec![0; self.space.knobs.len()]));
        }
        self.walker = Some(at.clone());
        Some(at)
    }
}
