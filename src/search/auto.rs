//! The default: spends the budget on the strategies by the hypervolume that each has earned lately,
//! and ends with a local search around the frontier.
//!
//! All strategies learn every evaluation. A batch is cut into turns of four candidates, and each turn
//! goes to one of them; what its candidates add to the hypervolume, as a share of it and per
//! evaluation, is its pay. Shares of the turns follow the decayed mean pay, with a floor, so that none
//! is ever given up: a strategy that is stuck costs little, and one whose turn comes late is noticed.
//! The last part of the budget goes through the one-step neighbours of the frontier, the most promising
//! first. When a few of them in a row have added nothing, every second batch is the Bayesian strategy's,
//! whose crossings still find parts of the frontier that no neighbour leads to. The same begins before
//! that part, once the frontier stands still.

use std::ops::Range;

use super::bayesian::Bayesian;
use super::coordinate::Coordinate;
use super::genetic::Genetic;
use super::memory::Memory;
use super::{Evaluation, Features, Strategy};
use crate::frontier::Reference;
use crate::space::{Candidate, Space};

/// Candidates of a turn: a large batch is not one strategy's alone.
const TURN: usize = 4;
/// Least share of the turns of each strategy: the Bayesian, the genetic, the coordinate one.
const FLOOR: [f64; 3] = [0.6, 0.08, 0.08];
/// Pay per evaluation that each is supposed to have had in [`SUPPOSED`] evaluations at the start.
const HOPE: [f64; 3] = [0.03, 0.002, 0.003];
const SUPPOSED: f64 = 24.0;
/// How much an old batch's pay counts when a new one comes.
const MEMORY: f64 = 0.9;
/// And how much the turns that each has had count in their shares.
const FORGET: f64 = 0.95;
/// Share of the budget that is kept for the local search at the end. More than a twelfth was measured
/// to pay (`docs/search.md`): what is missing by then is mostly the fine structure of known basins.
const LAST: f64 = 0.33;
/// After so many evaluations in a row that added nothing to the front, the local search shares its part
/// with the Bayesian strategy.
const DRY: usize = 8;
/// And after so many it begins before that part.
const QUIET: usize = 12;
/// Objectives from which on counting new front members stands in for hypervolume, which gets slow.
const MANY: usize = 5;

/// See the module.
pub struct Auto<'a> {
    arms: Vec<Arm<'a>>,
    memory: Memory,
    budget: usize,
    /// Evaluations that cost a simulation.
    simulated: usize,
    /// Evaluations since the front last changed.
    quiet: usize,
    /// Whether the next batch is the local search's where they alternate.
    is_local_next: bool,
    /// Whose candidates are being evaluated, and how many, in order; nobody's in the local search.
    turns: Vec<(usize, usize)>,
}

/// A strategy and what it has earned.
struct Arm<'a> {
    worker: Worker<'a>,
    /// Decayed pay and evaluations.
    pay: f64,
    cost: f64,
    /// Evaluations so far, by which shares are kept.
    used: f64,
}

enum Worker<'a> {
    /// Also the local search, which its models guide.
    Bayesian(Box<Bayesian<'a>>),
    Other(Box<dyn Strategy + 'a>),
}

impl Worker<'_> {
    fn strategy(&mut self) -> &mut dyn Strategy {
        match self {
            Worker::Bayesian(bayesian) => bayesian.as_mut(),
            Worker::Other(other) => other.as_mut(),
        }
    }
}

/// The arm of the Bayesian strategy.
const BAYESIAN: usize = 0;

impl<'a> Auto<'a> {
    /// Over a space of some objectives, for a budget of simulations.
    pub fn new(space: &Space, objectives: usize, seed: u64, budget: usize, features: Option<&'a dyn Features>) -> Self {
        let workers = [
            Worker::Bayesian(Box::new(Bayesian::new(space, objectives, seed, features))),
            Worker::Other(Box::new(Genetic::new(space, objectives, seed, budget))),
            Worker::Other(Box::new(Coordinate::following(space, objectives, seed))),
        ];
        let arm = |(worker, hope)| Arm { worker, pay: hope * SUPPOSED, cost: SUPPOSED, used: 0.0 };
        Auto {
            arms: workers.into_iter().zip(HOPE).map(arm).collect(),
            memory: Memory::new(objectives),
            budget,
            simulated: 0,
            quiet: 0,
            is_local_next: true,
            turns: Vec::new(),
        }
    }

    /// How many of the next `n` candidates each arm is to propose: a turn goes to the arm that is
    /// furthest behind its share.
    fn shared_out(&self, n: usize) -> Vec<usize> {
        let rates: Vec<f64> = self.arms.iter().map(|arm| arm.pay / arm.cost).collect();
        let total: f64 = rates.iter().sum();
        let free = 1.0 - FLOOR.iter().sum::<f64>();
        let share = |k: usize| FLOOR[k] + if total > 0.0 { free * rates[k] / total } else { free / 3.0 };
        let mut counts = vec![0; self.arms.len()];
        for first in (0..n).step_by(TURN) {
            let behind = |k: usize| (self.arms[k].used + counts[k] as f64) / share(k);
            let next = (0..counts.len()).min_by(|&a, &b| behind(a).total_cmp(&behind(b))).expect("there are arms");
            counts[next] += TURN.min(n - first);
        }
        counts
    }

    /// What some of the latest evaluations added to the front as it was before, as a share of the
    /// hypervolume. Their places among the known are `places`.
    fn gain(&self, before: &[f64], own: &[Evaluation], places: Range<usize>) -> f64 {
        let front = self.memory.front();
        let m = self.memory.objectives();
        if m >= MANY {
            let new = front.keys().iter().filter(|&key| places.contains(key)).count();
            return new as f64 / front.len().max(1) as f64;
        }
        let Some(units) = Reference::by_rule(front.points(), m) else { return 0.0 };
        let with: Vec<f64> =
            before.iter().chain(own.iter().filter(|e| e.is_feasible()).flat_map(|e| &e.objectives)).copied().collect();
        let now = units.hypervolume(&with);
        if now > 0.0 { (1.0 - units.hypervolume(before) / now).max(0.0) } else { 0.0 }
    }
}

/// All of `n` for one of some arms.
fn only(arm: usize, n: usize, arms: usize) -> Vec<usize> {
    (0..arms).map(|k| if k == arm { n } else { 0 }).collect()
}

impl Strategy for Auto<'_> {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let Worker::Bayesian(bayesian) = &mut self.arms[BAYESIAN].worker else { unreachable!("the first arm") };
        let is_starting = bayesian.is_starting();
        let left = self.budget - self.simulated.min(self.budget);
        let is_last = left <= (LAST * self.budget as f64) as usize;
        let is_narrowing = !is_starting && (is_last || self.quiet >= QUIET);
        let is_local = is_narrowing && (self.is_local_next || is_last && self.quiet < DRY);
        self.is_local_next = !is_local;
        self.turns.clear();
        let around = if is_local { bayesian.ask_around(n) } else { Vec::new() };
        if !around.is_empty() {
            return around;
        }
        let is_bayesian = is_starting || is_narrowing && !is_local;
        let mut counts = if is_bayesian { only(BAYESIAN, n, self.arms.len()) } else { self.shared_out(n) };
        // One that has nothing more to propose hands its turns on, to those before it too.
        let (mut asked, mut missing) = (Vec::with_capacity(n), 0);
        for k in (0..counts.len()).chain(0..counts.len()) {
            let wanted = std::mem::take(&mut counts[k]) + missing;
            if wanted > 0 {
                let more = self.arms[k].worker.strategy().ask(wanted);
                missing = wanted - more.len();
                self.turns.push((k, more.len()));
                asked.extend(more);
            }
        }
        asked
    }

    fn tell(&mut self, evaluations: &[Evaluation]) {
        let before = self.memory.front().points().to_vec();
        let mut places = vec![self.memory.known().len()];
        for evaluation in evaluations {
            let is_new = self.memory.learn(evaluation);
            self.simulated += usize::from(is_new && !evaluation.is_refused());
            places.push(self.memory.known().len());
        }
        let is_moved = self.memory.front().keys().iter().any(|&place| place >= places[0]);
        self.quiet = if is_moved { 0 } else { self.quiet + evaluations.len() };
        let turns = std::mem::take(&mut self.turns);
        if places[0] > 0 && !turns.is_empty() {
            let mut first = 0;
            for (k, count) in turns {
                let own = first..first + count;
                first = own.end;
                let gain = self.gain(&before, &evaluations[own.clone()], places[own.start]..places[own.end]);
                let arm = &mut self.arms[k];
                arm.pay = MEMORY * arm.pay + gain;
                arm.cost = MEMORY * arm.cost + count as f64;
                arm.used += count as f64;
            }
            // Old turns are forgotten for the shares too, else a strategy that earns late would
            // be given all the turns that it once did without.
            self.arms.iter_mut().for_each(|arm| arm.used *= FORGET);
        }
        for arm in &mut self.arms {
            arm.worker.strategy().tell(evaluations);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Evaluate;
    use crate::search::instances::{Instance, Problem};

    #[test]
    fn a_large_batch_is_not_one_strategys_alone() {
        let mut auto = Auto::new(&Instance::Batch.space(), 2, 7, 400, None);
        assert_eq!(auto.shared_out(16), [8, 4, 4]);
        assert_eq!(auto.shared_out(4), [4, 0, 0], "a turn is not cut");
        assert_eq!(auto.shared_out(6).iter().sum::<usize>(), 6);
        // Who had more than its share waits.
        auto.arms[BAYESIAN].used = 100.0;
        assert_eq!(auto.shared_out(4)[BAYESIAN], 0);
    }

    #[test]
    fn local_search_has_the_end_and_alternates_where_nothing_moves() {
        const BUDGET: usize = 300;
        let problem = Problem::varied(Instance::Agents, 2, 0);
        let mut auto = Auto::new(problem.space(), 2, 7, BUDGET, None);
        let (mut at_the_end, mut before) = (Vec::new(), Vec::new());
        while auto.simulated < BUDGET {
            let (is_last, quiet) = (BUDGET - auto.simulated <= BUDGET * 33 / 100, auto.quiet);
            let asked = auto.ask(4);
            let is_local = auto.turns.is_empty();
            match is_last {
                true if quiet < DRY => assert!(is_local, "it pays after {}", auto.simulated),
                true => at_the_end.push(is_local),
                false if quiet < QUIET => assert!(!is_local, "the frontier moves after {}", auto.simulated),
                false => before.push(is_local),
            }
            let evaluations: Vec<Evaluation> = asked.iter().map(|c| problem.evaluate(c)).collect();
            auto.tell(&evaluations);
        }
        for turns in [at_the_end, before] {
            assert!(turns.contains(&true) && turns.contains(&false), "{turns:?}");
        }
    }

    #[test]
    fn each_is_paid_for_what_its_own_candidates_add() {
        let space = Instance::Batch.space();
        let mut auto = Auto::new(&space, 2, 7, 400, None);
        let mut all = space.enumerate();
        let mut at = |x: f64, y: f64| Evaluation::plain(all.next().expect("a large space"), vec![x, y]);
        auto.tell(&[at(1.0, 4.0), at(4.0, 1.0), at(5.0, 5.0)]);
        let before: Vec<f64> = auto.arms.iter().map(|arm| arm.pay).collect();
        auto.turns = vec![(0, 1), (1, 2)];
        auto.tell(&[at(6.0, 6.0), at(2.0, 2.0), at(6.0, 7.0)]);
        assert!(auto.arms[0].pay < before[0], "it added nothing");
        assert!(auto.arms[1].pay > before[1], "it found the knee");
        assert_eq!(auto.arms[2].pay, before[2], "it had no turn");
    }
}
