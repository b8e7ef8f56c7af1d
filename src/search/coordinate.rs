//! Block-coordinate descent that traces a frontier.
//!
//! Several walkers, each with its own weighting of the objectives, share everything that is known.
//! A walker stands at a candidate and looks along the lines of one block of knobs at a time
//! (knobs of a block interact: each of its knobs is moved alone, and pairs of them together). It
//! moves to the best candidate found, which re-opens every block, until no block improves; then it
//! restarts from a kicked front member. The weightings are augmented Chebyshev functions of the
//! objectives in units of the present front, so that walkers reach concave parts of it too.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::draw::{Fresh, Sobol, free_knobs, random_levels, rng};
use super::memory::Memory;
use super::{Evaluation, Strategy};
use crate::frontier::Reference;
use crate::space::{Candidate, Space};

/// Sobol points before the first walk, per walker.
const STARTS_PER_WALKER: usize = 3;
/// Weight of the sum beside the maximum in the Chebyshev function: keeps weakly dominated
/// candidates from tying with those that dominate them.
const AUGMENTATION: f64 = 0.05;
/// A line of at most this many levels is looked at whole; of a longer one, only the levels at
/// steps of powers of two.
const WHOLE_LINE: usize = 8;

/// See the module.
pub struct Coordinate {
    space: Space,
    seed: u64,
    blocks: Vec<Vec<usize>>,
    fresh: Fresh,
    sobol: Sobol,
    memory: Memory,
    walkers: Vec<Walker>,
    starts_left: usize,
    turn: usize,
    round: u64,
}

/// One descent under one weighting.
struct Walker {
    weights: Vec<f64>,
    /// Place in the memory of where it stands; `None` before its first start.
    at: Option<usize>,
    /// What is still to be looked at along the lines of the open block.
    line: VecDeque<Candidate>,
    /// Blocks not yet looked at from here.
    open: VecDeque<usize>,
    /// A kicked start that is being evaluated.
    kicked: Option<Candidate>,
}

impl Coordinate {
    /// Over a space of some objectives.
    pub fn new(space: &Space, objectives: usize, seed: u64) -> Self {
        let walkers: Vec<Walker> = weightings(objectives).into_iter().map(Walker::new).collect();
        Coordinate {
            space: space.clone(),
            seed,
            blocks: blocks(space),
            fresh: Fresh::new(space),
            sobol: Sobol::new(space, seed),
            memory: Memory::new(objectives),
            starts_left: STARTS_PER_WALKER * walkers.len(),
            walkers,
            turn: 0,
            round: 0,
        }
    }

    /// The same beside other strategies, whose evaluations it starts from.
    pub(super) fn following(space: &Space, objectives: usize, seed: u64) -> Self {
        let mut follower = Self::new(space, objectives, seed);
        follower.starts_left = 0;
        follower
    }

    /// The next candidate that walker `w` wants evaluated.
    fn step(&mut self, w: usize, rng: &mut ChaCha8Rng) -> Option<Candidate> {
        // Every pass opens a block or kicks; a space whose surroundings are all known ends it.
        for _ in 0..4 * (self.blocks.len() + 1) {
            while let Some(candidate) = self.walkers[w].line.pop_front() {
                if self.fresh.mark(&candidate) {
                    return Some(candidate);
                }
            }
            let Some(at) = self.walkers[w].at else { break };
            if let Some(block) = self.walkers[w].open.pop_front() {
                let here = self.memory.known()[at].candidate.clone();
                self.walkers[w].line = self.lines(&here, block, rng).into();
            } else {
                let kicked = self.kick(w, rng);
                if self.fresh.mark(&kicked) {
                    self.walkers[w].kicked = Some(kicked.clone());
                    return Some(kicked);
                }
                if let Some(place) = self.memory.place(&kicked) {
                    self.stand(w, place, rng);
                }
            }
        }
        let Coordinate { fresh, sobol, .. } = self;
        fresh.take(|space| sobol.next(space))
    }

    /// Candidates along each knob of a block, the nearest first, then pairs of its knobs moved by
    /// one level each.
    fn lines(&self, here: &Candidate, block: usize, rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        let mut moves: Vec<(usize, Vec<u32>)> = Vec::new();
        let active: Vec<usize> =
            self.blocks[block].iter().copied().filter(|&k| here.levels[k] != Candidate::ABSENT).collect();
        for &knob in &active {
            for level in line(here.levels[knob], self.space.knobs[knob].domain.values.len() as u32, self.ordered(knob))
            {
                let mut levels = here.levels.to_vec();
                levels[knob] = level;
                moves.push((level.abs_diff(here.levels[knob]) as usize, levels));
            }
        }
        // Pairs: what one knob takes the other gives, or both go together.
        for (i, &a) in active.iter().enumerate() {
            for &b in &active[i + 1..] {
                for (da, db) in [(1, -1), (-1, 1), (1, 1), (-1, -1)] {
                    if let (Some(la), Some(lb)) = (self.shifted(here, a, da), self.shifted(here, b, db)) {
                        let mut levels = here.levels.to_vec();
                        levels[a] = la;
                        levels[b] = lb;
                        moves.push((WHOLE_LINE, levels));
                    }
                }
            }
        }
        moves.sort_by_key(|(distance, _)| *distance);
        moves.into_iter().map(|(_, levels)| self.completed(levels, here, rng)).collect()
    }

    fn ordered(&self, knob: usize) -> bool {
        self.space.knobs[knob].domain.ordered
    }

    fn shifted(&self, here: &Candidate, knob: usize, by: i64) -> Option<u32> {
        let level = i64::from(here.levels[knob]) + by;
        let inside = level >= 0 && level < self.space.knobs[knob].domain.values.len() as i64;
        (self.ordered(knob) && inside).then_some(level as u32)
    }

    /// The canonical candidate; knobs that a move makes active take their levels from the best
    /// known candidate that has the same levels in the moved knobs' block, or from a draw.
    fn completed(&self, mut levels: Vec<u32>, here: &Candidate, rng: &mut ChaCha8Rng) -> Candidate {
        let drawn = random_levels(&self.space, rng);
        let donor = self.donor(&levels, here);
        for knob in 0..levels.len() {
            if levels[knob] == Candidate::ABSENT {
                let known = donor.map_or(Candidate::ABSENT, |d| d.levels[knob]);
                levels[knob] = if known == Candidate::ABSENT { drawn[knob] } else { known };
            }
        }
        self.space.canonical(&levels)
    }

    /// A front member, or else any known candidate, that agrees with `levels` in every knob that
    /// was moved away from `here`.
    fn donor(&self, levels: &[u32], here: &Candidate) -> Option<&Candidate> {
        let known = self.memory.known();
        let agrees = |c: &Candidate| (0..levels.len()).all(|k| levels[k] == here.levels[k] || c.levels[k] == levels[k]);
        let front = self.memory.front().keys().iter().map(|&place| &known[place].candidate);
        front.chain(known.iter().map(|e| &e.candidate)).find(|c| agrees(c))
    }

    /// A new start for a walker that found nothing better around it: a front member near its
    /// weighting's best with one block drawn anew.
    fn kick(&self, w: usize, rng: &mut ChaCha8Rng) -> Candidate {
        let known = self.memory.known();
        let keys = self.memory.front().keys();
        let base = match keys.len() {
            0 => self.walkers[w].at.expect("a walker that stands somewhere"),
            n if rng.random_bool(0.5) => keys[rng.random_range(0..n)],
            _ => self.best(w).expect("something is known"),
        };
        let here = &known[base].candidate;
        let mut levels = here.levels.to_vec();
        let drawn = random_levels(&self.space, rng);
        let block = &self.blocks[rng.random_range(0..self.blocks.len())];
        for &knob in block {
            levels[knob] = drawn[knob];
        }
        self.completed(levels, here, rng)
    }

    /// The best known place for a walker's weighting.
    fn best(&self, w: usize) -> Option<usize> {
        let units = self.memory.units();
        let known = self.memory.known();
        let key = |place: usize| self.walkers[w].score(&known[place], units.as_ref());
        let pool: Vec<usize> =
            if units.is_some() { self.memory.front().keys().to_vec() } else { (0..known.len()).collect() };
        pool.into_iter().min_by(|&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)))
    }

    /// Puts a walker somewhere and opens every block, in random order.
    fn stand(&mut self, w: usize, place: usize, rng: &mut ChaCha8Rng) {
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        let walker = &mut self.walkers[w];
        walker.at = Some(place);
        walker.line.clear();
        walker.open = order.into();
        walker.kicked = None;
    }
}

impl Walker {
    fn new(weights: Vec<f64>) -> Self {
        Walker { weights, at: None, line: VecDeque::new(), open: VecDeque::new(), kicked: None }
    }

    /// The augmented Chebyshev function, lower is better; everything infeasible is worse than
    /// everything feasible, by its violation.
    fn score(&self, known: &super::memory::Known, units: Option<&Reference>) -> f64 {
        const WORST_FEASIBLE: f64 = 1e6;
        match units {
            Some(units) if known.is_usable() => {
                let terms = units.normalise(&known.objectives);
                let weighted = terms.iter().zip(&self.weights).map(|(v, w)| v * w);
                let score = weighted.clone().fold(f64::NEG_INFINITY, f64::max) + AUGMENTATION * weighted.sum::<f64>();
                score.min(WORST_FEASIBLE)
            }
            _ if known.violation > 0.0 => WORST_FEASIBLE + known.violation,
            _ => f64::INFINITY,
        }
    }
}

/// The knobs that have a choice, by block, in order of first appearance.
pub(super) fn blocks(space: &Space) -> Vec<Vec<usize>> {
    let mut names: Vec<&str> = Vec::new();
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    for knob in free_knobs(space) {
        let name = space.knobs[knob].block.as_str();
        match names.iter().position(|n| *n == name) {
            Some(at) => blocks[at].push(knob),
            None => {
                names.push(name);
                blocks.push(vec![knob]);
            }
        }
    }
    blocks
}

/// Levels to look at from `here`: all of a short or unordered domain, else those at distances of
/// powers of two.
fn line(here: u32, levels: u32, ordered: bool) -> Vec<u32> {
    (0..levels)
        .filter(|&level| {
            let distance = level.abs_diff(here);
            distance > 0 && (!ordered || levels as usize <= WHOLE_LINE || distance.is_power_of_two())
        })
        .collect()
}

/// Weightings spread over the objectives: seven for two, a simplex lattice of about a dozen for
/// more. None is zero, so that no objective is ignored altogether.
fn weightings(objectives: usize) -> Vec<Vec<f64>> {
    const LEAST: f64 = 0.05;
    let divisions = match objectives {
        1 => 1,
        2 => 6,
        3 => 4,
        _ => 2,
    };
    let mut all = Vec::new();
    let mut parts = vec![0; objectives];
    lattice(&mut parts, 0, divisions, &mut all);
    all.iter()
        .map(|parts: &Vec<usize>| {
            let raw: Vec<f64> = parts.iter().map(|&p| LEAST + p as f64 / divisions as f64).collect();
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|w| w / sum).collect()
        })
        .collect()
}

/// All ways to write `left` as an ordered sum over the parts from `index` on.
fn lattice(parts: &mut Vec<usize>, index: usize, left: usize, all: &mut Vec<Vec<usize>>) {
    if index + 1 == parts.len() {
        parts[index] = left;
        all.push(parts.clone());
        return;
    }
    for part in 0..=left {
        parts[index] = part;
        lattice(parts, index + 1, left - part, all);
    }
}

impl Strategy for Coordinate {
    fn name(&self) -> &'static str {
        "coordinate"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let mut rng = rng(self.seed, "coordinate", self.round);
        self.round += 1;
        let mut asked = Vec::with_capacity(n);
        while asked.len() < n {
            let candidate = if self.starts_left > 0 {
                self.starts_left -= 1;
                let Coordinate { fresh, sobol, .. } = self;
                fresh.take(|space| sobol.next(space))
            } else {
                self.turn = (self.turn + 1) % self.walkers.len();
                self.step(self.turn, &mut rng)
            };
            let Some(candidate) = candidate else { break };
            asked.push(candidate);
        }
        asked
    }

    fn tell(&mut self, evaluations: &[Evaluation]) {
        let before = self.memory.known().len();
        for evaluation in evaluations {
            self.fresh.mark(&evaluation.candidate);
            self.memory.learn(evaluation);
        }
        if self.starts_left > 0 || self.blocks.is_empty() {
            return;
        }
        let mut rng = rng(self.seed, "coordinate moves", self.round);
        let units = self.memory.units();
        for w in 0..self.walkers.len() {
            let walker = &self.walkers[w];
            let known = self.memory.known();
            let score = |place: usize| walker.score(&known[place], units.as_ref());
            let kicked = walker.kicked.as_ref().and_then(|c| self.memory.place(c));
            let destination = match (kicked, walker.at) {
                (Some(place), _) => Some(place),
                (None, None) => self.best(w),
                (None, Some(at)) => {
                    let best = (before..known.len()).min_by(|&a, &b| score(a).total_cmp(&score(b)));
                    best.filter(|&b| score(b) < score(at))
                }
            };
            if let Some(place) = destination {
                self.stand(w, place, &mut rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weightings_spread_over_the_objectives_and_sum_to_one() {
        for m in 1..=5 {
            let all = weightings(m);
            assert!(all.iter().all(|w| w.len() == m && (w.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            assert!(all.iter().flatten().all(|&w| w > 0.0));
            for k in 0..m {
                assert!(all.iter().any(|w| (0..m).all(|j| j == k || w[j] < w[k])), "objective {k} of {m} leads once");
            }
        }
    }

    #[test]
    fn long_lines_are_looked_at_by_powers_of_two() {
        assert_eq!(line(2, 4, true), [0, 1, 3]);
        assert_eq!(line(10, 30, true), [2, 6, 8, 9, 11, 12, 14, 18, 26]);
        assert_eq!(line(3, 12, false).len(), 11);
    }
}
