//! Balance first, then cache: an alternative of the peer's router, without weights.
//!
//! 1. When loads differ too much (the most loaded has over 32 requests more than the least loaded, and
//!    over 1.1 times as many), the least loaded.
//! 2. When somebody holds over half of the prompt, the least loaded of those who hold the most.
//! 3. Else the least loaded. Ties go to the first.

use super::choose::Chooser;
use super::facts::{Facts, Needs};

const SPREAD: f64 = 32.0;
const RATIO: f64 = 1.1;
const SHARE: f64 = 0.5;

/// The policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoTier;

impl Chooser for TwoTier {
    fn needs(&self) -> Needs {
        Needs { books: true, caches: true, ..Needs::default() }
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        let requests = &facts.active_requests;
        let most = requests.iter().copied().fold(0.0, f64::max);
        let least = requests.iter().copied().fold(f64::INFINITY, f64::min);
        let best = facts.overlap_blocks.iter().copied().fold(0.0, f64::max);
        let is_even = most - least <= SPREAD || most <= RATIO * least;
        let cached = is_even && best > SHARE * facts.prompt_blocks;
        let eligible = |at: usize| !cached || facts.overlap_blocks[at] == best;
        let mut chosen: Option<usize> = None;
        for at in (0..facts.candidates).filter(|&at| eligible(at)) {
            if chosen.is_none_or(|c| requests[at] < requests[c]) {
                chosen = Some(at);
            }
        }
        chosen.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(requests: &[f64], overlap: &[f64]) -> usize {
        let facts = Facts {
            candidates: requests.len(),
            prompt_blocks: 10.0,
            active_requests: requests.to_vec(),
            overlap_blocks: overlap.to_vec(),
            ..Facts::default()
        };
        TwoTier.choose(&facts)
    }

    #[test]
    fn balance_comes_before_caches_and_caches_before_order() {
        assert_eq!(choose(&[5.0, 3.0, 3.0], &[0.0, 0.0, 0.0]), 1, "the first of the least loaded");
        assert_eq!(choose(&[5.0, 3.0, 4.0], &[6.0, 0.0, 6.0]), 2, "the less loaded holder");
        assert_eq!(choose(&[5.0, 3.0, 4.0], &[5.0, 0.0, 0.0]), 1, "half of the prompt is not enough");
        assert_eq!(choose(&[40.0, 3.0, 7.0], &[9.0, 0.0, 0.0]), 1, "too uneven to look at caches");
        assert_eq!(choose(&[400.0, 366.0, 380.0], &[9.0, 0.0, 0.0]), 0, "34 more, but not a tenth more");
    }
}
