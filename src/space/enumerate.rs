//! Walking a space: how many candidates, all of them in order, and those one step away.

use super::{Candidate, Space};

impl Space {
    /// Number of distinct canonical candidates, as a float because it may be huge.
    ///
    /// Levels of a knob that open and close the same later knobs are counted together, so the work
    /// does not grow with the size of the domains.
    pub fn size(&self) -> f64 {
        self.count_from(0, &mut Vec::with_capacity(self.knobs.len()))
    }

    fn count_from(&self, index: usize, levels: &mut Vec<u32>) -> f64 {
        if index == self.knobs.len() {
            return 1.0;
        }
        let classes =
            if self.is_active(index, levels) { self.equivalent_levels(index) } else { vec![(Candidate::ABSENT, 1.0)] };
        let mut total = 0.0;
        for (level, alike) in classes {
            levels.push(level);
            total += alike * self.count_from(index + 1, levels);
            levels.pop();
        }
        total
    }

    /// One representative of each set of levels of a knob that satisfy the same conditions, and how
    /// many levels are in the set.
    fn equivalent_levels(&self, index: usize) -> Vec<(u32, f64)> {
        let conditions: Vec<&[u32]> = self.knobs[index + 1..]
            .iter()
            .flat_map(|k| &k.conditions)
            .filter(|c| c.knob == index)
            .map(|c| c.levels.as_slice())
            .collect();
        let mut classes: Vec<(Vec<bool>, u32, f64)> = Vec::new();
        for level in 0..self.knobs[index].domain.values.len() as u32 {
            let opens: Vec<bool> = conditions.iter().map(|levels| levels.contains(&level)).collect();
            match classes.iter_mut().find(|(o, ..)| *o == opens) {
                Some((.., n)) => *n += 1.0,
                None => classes.push((opens, level, 1.0)),
            }
        }
        classes.into_iter().map(|(_, level, n)| (level, n)).collect()
    }

    /// Every canonical candidate once, in lexicographic order of levels, one at a time.
    pub fn enumerate(&self) -> Enumerate<'_> {
        Enumerate { space: self, next: Some(self.canonical(&vec![0; self.knobs.len()])) }
    }

    /// The candidate after this one in lexicographic order of levels; `None` after the last.
    pub fn successor(&self, candidate: &Candidate) -> Option<Candidate> {
        // An odometer: raise the last knob that can be raised, start the later ones anew.
        let raised = (0..candidate.levels.len()).rev().find(|&i| {
            let level = candidate.levels[i];
            level != Candidate::ABSENT && (level as usize) + 1 < self.knobs[i].domain.values.len()
        })?;
        let mut levels = candidate.levels.clone();
        levels[raised] += 1;
        levels[raised + 1..].fill(0);
        Some(self.canonical(&levels))
    }

    /// Candidates one step away: each active knob moved one level up or down where its domain is
    /// ordered, to every other level where it is not. A knob that a step makes active takes its
    /// first level. In knob order, without duplicates.
    pub fn one_step_neighbours(&self, candidate: &Candidate) -> Vec<Candidate> {
        let mut neighbours = Vec::new();
        for (index, knob) in self.knobs.iter().enumerate() {
            let here = candidate.levels[index];
            if here == Candidate::ABSENT {
                continue;
            }
            for level in 0..knob.domain.values.len() as u32 {
                let reachable = if knob.domain.ordered { level.abs_diff(here) == 1 } else { level != here };
                if reachable {
                    let mut levels = candidate.levels.clone();
                    levels[index] = level;
                    neighbours.push(self.canonical(&levels));
                }
            }
        }
        neighbours
    }
}

/// Iterator over all canonical candidates of a space; see [`Space::enumerate`].
#[derive(Clone, Debug)]
pub struct Enumerate<'a> {
    space: &'a Space,
    next: Option<Candidate>,
}

impl Iterator for Enumerate<'_> {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        let current = self.next.take()?;
        self.next = self.space.successor(&current);
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::knob::tests::{any_levels, any_space};
    use super::*;

    proptest! {
        #[test]
        fn enumeration_lists_each_canonical_candidate_once_in_order(space in any_space()) {
            let all: Vec<Candidate> = space.enumerate().collect();
            prop_assert!(all.windows(2).all(|w| w[0].levels < w[1].levels), "not strictly ascending");
            prop_assert!(all.iter().all(|c| space.contains(c)));
            prop_assert_eq!(all.len() as f64, space.size());
        }

        #[test]
        fn every_canonical_candidate_is_enumerated((space, levels) in any_levels()) {
            let all: BTreeSet<Candidate> = space.enumerate().collect();
            prop_assert!(all.contains(&space.canonical(&levels)));
        }

        #[test]
        fn neighbours_are_distinct_canonical_and_one_knob_away((space, levels) in any_levels()) {
            let here = space.canonical(&levels);
            let neighbours = space.one_step_neighbours(&here);
            let distinct: BTreeSet<&Candidate> = neighbours.iter().collect();
            prop_assert_eq!(distinct.len(), neighbours.len());
            for n in &neighbours {
                prop_assert!(space.contains(n));
                let moved = (0..space.knobs.len())
                    .filter(|&i| {
                        let (a, b) = (here.levels[i], n.levels[i]);
                        a != b && a != Candidate::ABSENT && b != Candidate::ABSENT
                    })
                    .count();
                prop_assert!(moved == 1, "{:?} -> {:?}", here, n);
            }
        }
    }

    #[test]
    fn a_space_without_knobs_has_one_candidate() {
        let space = Space::default();
        assert_eq!(space.size(), 1.0);
        assert_eq!(space.enumerate().count(), 1);
    }
}
