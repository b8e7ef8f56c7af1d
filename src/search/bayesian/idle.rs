//! Knobs that do nothing, as far as was seen: whose levels, all else being equal, made the very
//! same outcome every time. Where candidates differ in such knobs alone, one of them tells all.

use rustc_hash::FxHashMap;

use crate::frontier::is_finite;
use crate::search::memory::{Known, Memory};
use crate::space::{Candidate, Space};

/// A knob does nothing once this many candidates were seen beside others that differ in it alone.
const LEAST: usize = 4;
/// Relative difference up to which outcomes are the same: rounding, not noise.
const SAME: f64 = 1e-12;

/// The knobs that do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    knobs: Vec<usize>,
}

/// Knobs that can be found to do nothing: those that decide about no other knob.
pub(super) fn watched(space: &Space, free: &[usize]) -> Vec<usize> {
    let decides = |k: usize| space.knobs.iter().any(|knob| knob.conditions.iter().any(|c| c.knob == k));
    free.iter().copied().filter(|&k| !decides(k)).collect()
}

impl Idle {
    /// What all that is known says. A knob that is found lets others be compared that were always
    /// moved together with it; one counter-example is enough to lose it.
    pub fn of(memory: &Memory, watched: &[usize]) -> Self {
        let mut idle = Idle::default();
        loop {
            let open = watched.iter().copied().filter(|k| !idle.knobs.contains(k));
            let found: Vec<usize> = open.filter(|&k| idle.evidence(memory.known(), k) >= LEAST).collect();
            if found.is_empty() {
                return idle;
            }
            idle.knobs.extend(found);
        }
    }

    /// Whether every knob does something.
    pub fn is_empty(&self) -> bool {
        self.knobs.is_empty()
    }

    /// The candidate with all that do nothing at their first levels.
    pub fn plain(&self, candidate: &Candidate) -> Candidate {
        if self.knobs.is_empty() {
            return candidate.clone();
        }
        let mut levels = candidate.levels.to_vec();
        for &knob in &self.knobs {
            if levels[knob] != Candidate::ABSENT {
                levels[knob] = 0;
            }
        }
        Candidate { levels: levels.into() }
    }

    /// How many candidates were seen at several levels of a knob, all else being equal; 0 when that
    /// ever made a difference.
    fn evidence(&self, known: &[Known], knob: usize) -> usize {
        /// The first that was seen, and whether another was.
        struct Seen {
            place: usize,
            is_confirmed: bool,
        }
        let mut seen: FxHashMap<Candidate, Seen> = FxHashMap::default();
        let mut evidence = 0;
        for (place, new) in known.iter().enumerate() {
            let level = new.candidate.levels[knob];
            if level == Candidate::ABSENT || !is_finite(&new.objectives) {
                continue;
            }
            let mut base = self.plain(&new.candidate);
            base.levels[knob] = 0;
            let seen = seen.entry(base).or_insert(Seen { place, is_confirmed: false });
            let first = &known[seen.place];
            if first.candidate.levels[knob] == level {
                continue;
            }
            if !is_same(first, new) {
                return 0;
            }
            evidence += usize::from(!seen.is_confirmed);
            seen.is_confirmed = true;
        }
        evidence
    }
}

fn is_same(a: &Known, b: &Known) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= SAME * a.abs().max(b.abs());
    a.objectives.iter().zip(&b.objectives).all(near) && near((&a.violation, &b.violation))
}

#[cfg(test)]
mod tests {
    use super::super::{Bayesian, DOUBT};
    use super::*;
    use crate::search::{Evaluation, Strategy};

    fn memory(of: impl Fn(u32, u32, u32) -> f64) -> Memory {
        let mut memory = Memory::new(1);
        for (a, b, c) in (0..5).flat_map(|a| (0..3).map(move |b| (a, b, (a + b) % 2))) {
            memory.learn(&Evaluation::plain(Candidate { levels: vec![a, b, c].into() }, vec![of(a, b, c)]));
        }
        memory
    }

    #[test]
    fn knobs_without_effect_are_found_also_where_they_moved_together() {
        let idle = Idle::of(&memory(|a, _, _| f64::from(a) + 0.1), &[0, 1, 2]);
        // The second alone is never moved: seen from one row to the next but one, it is.
        assert_eq!(idle.knobs, [1, 2]);
        assert_eq!(idle.plain(&Candidate { levels: vec![3, 2, 1].into() }).levels[..], [3, 0, 0]);
    }

    #[test]
    fn one_difference_is_enough() {
        let idle = Idle::of(&memory(|a, b, _| f64::from(a) + if (a, b) == (4, 2) { 0.1001 } else { 0.1 }), &[0, 1, 2]);
        assert!(idle.is_empty(), "{idle:?}");
    }

    /// The strategy itself: no pick repeats what differs in the idle knob alone, but for the rounds
    /// of doubt.
    #[test]
    fn a_knob_without_effect_costs_no_evaluations() {
        let values = |n: i64| (1..=n).map(crate::space::Value::Int).collect();
        let knob = |name: &str, n: i64| crate::space::Knob {
            name: name.into(),
            domain: crate::space::Domain { values: values(n), ordered: true, log: false },
            conditions: vec![],
            block: "all".into(),
        };
        let space = Space { knobs: vec![knob("a", 14), knob("b", 14), knob("idle", 6)] };
        let mut strategy = Bayesian::new(&space, 2, 5, None);
        let mut seen = rustc_hash::FxHashSet::default();
        let mut checked = 0;
        for round in 0..26 {
            let asked = strategy.ask(4);
            let is_sure = !strategy.idle.is_empty() && !strategy.round.is_multiple_of(DOUBT);
            let repeats = |c: &Candidate| seen.contains(&c.levels[..2]);
            assert!(!is_sure || !asked.iter().any(repeats), "round {round}: {asked:?}");
            checked += usize::from(is_sure);
            for candidate in asked {
                seen.insert(candidate.levels[..2].to_vec());
                let (a, b) = (f64::from(candidate.levels[0]), f64::from(candidate.levels[1]));
                let objectives = vec![1.0 + a + 0.1 * (b - 4.0).powi(2), 20.0 - a + 0.3 * b];
                strategy.tell(&[Evaluation::plain(candidate, objectives)]);
            }
        }
        assert!(checked > 8, "{checked} rounds");
    }

    #[test]
    fn a_knob_that_decides_about_others_is_not_watched() {
        let space = crate::search::instances::Instance::Batch.space();
        assert_eq!(watched(&space, &[0, 1, 2, 3, 4, 5, 6]), [0, 1, 2, 3, 5, 6]);
    }
}
