//! Exhaustive search: every candidate once, in lexicographic order of levels, until the end.

use super::{Evaluation, Strategy};
use crate::space::{Candidate, Space};

/// See the module.
pub struct Grid {
    space: Space,
    next: Option<Candidate>,
}

impl Grid {
    /// Over a space, from its first candidate.
    pub fn new(space: &Space) -> Self {
        Grid { space: space.clone(), next: Some(space.canonical(&vec![0; space.knobs.len()])) }
    }
}

impl Strategy for Grid {
    fn name(&self) -> &'static str {
        "grid"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let mut asked = Vec::with_capacity(n);
        while asked.len() < n {
            let Some(candidate) = self.next.take() else { break };
            self.next = self.space.successor(&candidate);
            asked.push(candidate);
        }
        asked
    }

    fn tell(&mut self, _evaluations: &[Evaluation]) {}
}
