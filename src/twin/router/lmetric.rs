//! The product of prefill work and decode load: `uncached prefill blocks x (active blocks + 1)`, an
//! alternative of the peer's live router without weights to tune.

use super::choose::Cost;
use super::facts::{Facts, Needs};
use crate::twin::deployment::Role;

/// The cost function for a role.
#[derive(Clone, Copy, Debug)]
pub struct Lmetric {
    /// Decode workers have no prefill work that could be a factor.
    prefills: bool,
}

impl Lmetric {
    /// For the router of a role.
    pub fn new(role: Role) -> Self {
        Lmetric { prefills: role != Role::Decode }
    }
}

impl Cost for Lmetric {
    fn needs(&self) -> Needs {
        Needs { caches: true, prefill: true, decode: true, ..Needs::default() }
    }

    fn costs(&mut self, facts: &Facts, costs: &mut Vec<f64>) {
        for at in 0..facts.candidates {
            let prefill = (facts.prefill_blocks[at] - facts.overlap_blocks[at]).max(0.0);
            let prefill = if self.prefills { prefill } else { 1.0 };
            costs.push(prefill * (facts.decode_blocks[at] + 1.0));
        }
    }
}
