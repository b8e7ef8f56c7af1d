//! Where the acquisition looks: the surroundings of what is good, moves of several knobs at once,
//! crossings of good candidates, and points from everywhere.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashSet;

use crate::search::draw::{Fresh, Sobol, free_knobs, random_levels};
use crate::space::{Candidate, Space};

/// Most candidates of each kind.
const NEIGHBOURS: usize = 1200;
const BLOCK_MOVES: usize = 500;
const CROSSINGS: usize = 400;
const SCATTERED: usize = 700;
/// A space of at most this many candidates is looked at whole.
const WHOLE: f64 = 3000.0;

/// Draws pools of candidates that were not proposed before.
pub(super) struct Candidates {
    space: Space,
    free: Vec<usize>,
    /// Knobs by block, those with a choice.
    blocks: Vec<Vec<usize>>,
    sobol: Sobol,
}

impl Candidates {
    pub fn new(space: &Space, seed: u64) -> Self {
        let free = free_knobs(space);
        let blocks = super::super::coordinate::blocks(space);
        Candidates { space: space.clone(), free, blocks, sobol: Sobol::new(space, seed) }
    }

    /// A pool around `good` candidates, the best first; `donors` lend levels to knobs that a move
    /// makes active.
    pub fn pool(
        &mut self,
        good: &[Candidate],
        donors: &[Candidate],
        fresh: &Fresh,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Candidate> {
        let mut pool = Pool { fresh, seen: FxHashSet::default(), members: Vec::new() };
        if self.space.size() <= WHOLE {
            self.space.enumerate().for_each(|c| pool.add(c));
            return pool.members;
        }
        let mut around: Vec<Candidate> = Vec::new();
        for base in good {
            self.neighbours(base, donors, rng, &mut around);
        }
        // All, if they are few; else of each base alike.
        around.shuffle(rng);
        around.into_iter().take(NEIGHBOURS).for_each(|c| pool.add(c));
        if !good.is_empty() {
            for _ in 0..BLOCK_MOVES {
                // The first are the better: the square favours them.
                let base = &good[pick_early(good.len(), rng)];
                pool.add(self.block_move(base, donors, rng));
            }
            for _ in 0..CROSSINGS {
                let (a, b) = (&good[pick_early(good.len(), rng)], &good[rng.random_range(0..good.len())]);
                pool.add(self.crossed(a, b, donors, rng));
            }
        }
        for _ in 0..SCATTERED {
            let candidate = self.sobol.next(&self.space);
            pool.add(candidate);
        }
        pool.members
    }

    /// The next point of the sequence.
    pub fn scattered(&mut self, fresh: &mut Fresh) -> Option<Candidate> {
        let sobol = &mut self.sobol;
        fresh.take(|space| sobol.next(space))
    }

    /// Levels with one free knob moved, and which: an ordered one by up to `reach` levels, an unordered one
    /// to any other.
    fn moved<'a>(&'a self, base: &'a Candidate, reach: u32) -> impl Iterator<Item = (usize, Vec<u32>)> + 'a {
        let present = self.free.iter().copied().filter(|&knob| base.levels[knob] != Candidate::ABSENT);
        present.flat_map(move |knob| {
            let (here, domain) = (base.levels[knob], &self.space.knobs[knob].domain);
            let count = domain.values.len() as u32;
            let levels =
                if domain.ordered { here.saturating_sub(reach)..(here + reach + 1).min(count) } else { 0..count };
            levels.filter(move |&level| level != here).map(move |level| {
                let mut moved = base.levels.to_vec();
                moved[knob] = level;
                (knob, moved)
            })
        })
    }

    /// Every knob moved by one or two levels, or to any other name.
    fn neighbours(&self, base: &Candidate, donors: &[Candidate], rng: &mut ChaCha8Rng, out: &mut Vec<Candidate>) {
        for (_, levels) in self.moved(base, 2) {
            out.push(self.complete(levels, donors, rng));
        }
    }

    /// One-step neighbours: an ordered knob one level up or down, an unordered one at any other
    /// level. A knob that a step makes active takes the level that it has in the first of `best`
    /// that has it beside the new level.
    pub fn steps(&self, base: &Candidate, best: &[&Candidate], mut add: impl FnMut(Candidate)) {
        for (knob, levels) in self.moved(base, 1) {
            let level = levels[knob];
            add(self.filled(levels, |needed, _| {
                let mut holders = best.iter().map(|b| &b.levels);
                let holder = holders.find(|b| b[knob] == level && b[needed] != Candidate::ABSENT);
                holder.map_or(0, |b| b[needed])
            }));
        }
    }

    /// Two or three knobs, mostly of one block, moved together.
    fn block_move(&self, base: &Candidate, donors: &[Candidate], rng: &mut ChaCha8Rng) -> Candidate {
        let mut levels = base.levels.to_vec();
        let active = |k: &&usize| base.levels[**k] != Candidate::ABSENT;
        let all: Vec<usize> = self.free.iter().filter(active).copied().collect();
        let block = &self.blocks[rng.random_range(0..self.blocks.len())];
        let own: Vec<usize> = block.iter().filter(active).copied().collect();
        let count = rng.random_range(2..4_usize);
        for turn in 0..count {
            let of = if turn < 2 && own.len() > 1 && rng.random_bool(0.6) { &own } else { &all };
            if of.is_empty() {
                break;
            }
            let knob = of[rng.random_range(0..of.len())];
            self.nudge(&mut levels, knob, rng);
        }
        self.complete(levels, donors, rng)
    }

    fn nudge(&self, levels: &mut [u32], knob: usize, rng: &mut ChaCha8Rng) {
        let domain = &self.space.knobs[knob].domain;
        let last = domain.values.len() as u32 - 1;
        levels[knob] = if domain.ordered {
            let by = rng.random_range(1..3_u32);
            if rng.random_bool(0.5) { (levels[knob] + by).min(last) } else { levels[knob].saturating_sub(by) }
        } else {
            rng.random_range(0..=last)
        };
    }

    fn crossed(&self, a: &Candidate, b: &Candidate, donors: &[Candidate], rng: &mut ChaCha8Rng) -> Candidate {
        let mut levels = a.levels.to_vec();
        for block in &self.blocks {
            // Whole blocks cross, or single knobs.
            let whole = rng.random_bool(0.5);
            let take = rng.random_bool(0.5);
            for &knob in block {
                if if whole { take } else { rng.random_bool(0.5) } {
                    levels[knob] = b.levels[knob];
                }
            }
        }
        if rng.random_bool(0.5) {
            let knob = self.free[rng.random_range(0..self.free.len())];
            if levels[knob] != Candidate::ABSENT {
                self.nudge(&mut levels, knob, rng);
            }
        }
        self.complete(levels, donors, rng)
    }

    /// The canonical candidate; absent knobs that it needs take the levels of a random donor that
    /// has them, or any.
    pub fn complete(&self, levels: Vec<u32>, donors: &[Candidate], rng: &mut ChaCha8Rng) -> Candidate {
        let donor = (!donors.is_empty()).then(|| &donors[rng.random_range(0..donors.len())]);
        let drawn = random_levels(&self.space, rng);
        self.filled(levels, |knob, before| {
            let has = |d: &&Candidate| d.levels[knob] != Candidate::ABSENT;
            let holder = || donors.iter().find(|d| agrees(&d.levels[..knob], before) && has(d));
            donor.filter(has).or_else(holder).map_or(drawn[knob], |d| d.levels[knob])
        })
    }

    /// The canonical candidate; `lend` says the level of an absent knob that it needs, from the levels before.
    fn filled(&self, levels: Vec<u32>, lend: impl Fn(usize, &[u32]) -> u32) -> Candidate {
        let mut out = vec![Candidate::ABSENT; levels.len()];
        for (knob, &level) in levels.iter().enumerate() {
            if self.space.is_active(knob, &out) {
                out[knob] = if level == Candidate::ABSENT { lend(knob, &out[..knob]) } else { level };
            }
        }
        Candidate { levels: out.into() }
    }
}

/// Whether two candidates have the same knobs present.
fn agrees(a: &[u32], b: &[u32]) -> bool {
    a.iter().zip(b).all(|(a, b)| (*a == Candidate::ABSENT) == (*b == Candidate::ABSENT))
}

fn pick_early(n: usize, rng: &mut ChaCha8Rng) -> usize {
    let u: f64 = rng.random();
    ((u * u * n as f64) as usize).min(n - 1)
}

struct Pool<'a> {
    fresh: &'a Fresh,
    seen: FxHashSet<Candidate>,
    members: Vec<Candidate>,
}

impl Pool<'_> {
    fn add(&mut self, candidate: Candidate) {
        if !self.fresh.is_marked(&candidate) && self.seen.insert(candidate.clone()) {
            self.members.push(candidate);
        }
    }
}
