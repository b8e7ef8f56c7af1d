//! The default: spends the budget on the strategies by the hypervolume that each has earned lately,
//! and ends with a local search around the frontier.
//!
//! All strategies learn every evaluation. A round goes to one of them; what its batch adds to the
//! hypervolume, as a share of it and per evaluation, is its pay. Shares of the rounds follow the
//! decayed mean pay, with a floor, so that none is ever given up: a strategy that is stuck costs
//! little, and one whose turn comes late is noticed. The last part of the budget goes through the
//! one-step neighbours of the frontier, the most promising first, until none is left that was not
//! evaluated.

use super::bayesian::Bayesian;
use super::coordinate::Coordinate;
use super::genetic::Genetic;
use super::memory::Memory;
use super::{Evaluation, Features, Strategy};
use crate::frontier::Reference;
use crate::space::{Candidate, Space};

/// Least share of the rounds of each strategy: the Bayesian, the genetic, the coordinate one.
const FLOOR: [f64; 3] = [0.6, 0.08, 0.08];
/// Pay per evaluation that each is supposed to have had in [`SUPPOSED`] evaluations at the start.
const HOPE: [f64; 3] = [0.03, 0.002, 0.003];
const SUPPOSED: f64 = 24.0;
/// How much an old batch's pay counts when a new one comes.
const MEMORY: f64 = 0.9;
/// And how much the rounds that each has had count in their shares.
const FORGET: f64 = 0.95;
/// Share of the budget that is kept for the local search at the end. More than a twelfth was measured
/// to pay (`docs/search.md`): what is missing by then is mostly the fine structure of known basins.
const LAST: f64 = 0.33;
/// Objectives from which on counting new front members stands in for hypervolume, which gets slow.
const MANY: usize = 5;

/// See the module.
pub struct Auto<'a> {
    arms: Vec<Arm<'a>>,
    memory: Memory,
    budget: usize,
    /// Evaluations that cost a simulation.
    simulated: usize,
    /// Whose batch is being evaluated.
    turn: usize,
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
            turn: BAYESIAN,
        }
    }

    /// The arm that is furthest behind its share.
    fn next_turn(&self) -> usize {
        let rates: Vec<f64> = self.arms.iter().map(|arm| arm.pay / arm.cost).collect();
        let total: f64 = rates.iter().sum();
        let free = 1.0 - FLOOR.iter().sum::<f64>();
        let share = |k: usize| FLOOR[k] + if total > 0.0 { free * rates[k] / total } else { free / 3.0 };
        let behind = |k: usize| self.arms[k].used / share(k);
        (0..self.arms.len()).min_by(|&a, &b| behind(a).total_cmp(&behind(b))).expect("there are arms")
    }

    /// What the latest evaluations added, as a share of the hypervolume.
    fn gain(&self, before: &[f64], members_before: usize) -> f64 {
        let front = self.memory.front();
        let m = self.memory.objectives();
        if m >= MANY {
            let new = front.keys().iter().filter(|&&key| key >= members_before).count();
            return new as f64 / front.len().max(1) as f64;
        }
        let Some(units) = Reference::by_rule(front.points(), m) else { return 0.0 };
        let now = units.hypervolume(front.points());
        if now > 0.0 { (1.0 - units.hypervolume(before) / now).max(0.0) } else { 0.0 }
    }
}

impl Strategy for Auto<'_> {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let Worker::Bayesian(bayesian) = &mut self.arms[BAYESIAN].worker else { unreachable!("the first arm") };
        let is_last = self.budget - self.simulated.min(self.budget) <= (LAST * self.budget as f64) as usize;
        if bayesian.is_starting() {
            self.turn = BAYESIAN;
        } else if is_last {
            let around = bayesian.ask_around(n);
            if !around.is_empty() {
                self.turn = self.arms.len();
                return around;
            }
            self.turn = self.next_turn();
        } else {
            self.turn = self.next_turn();
        }
        // One that has nothing to propose hands its turn on.
        for _ in 0..self.arms.len() {
            let asked = self.arms[self.turn].worker.strategy().ask(n);
            if !asked.is_empty() {
                return asked;
            }
            self.turn = (self.turn + 1) % self.arms.len();
        }
        Vec::new()
    }

    fn tell(&mut self, evaluations: &[Evaluation]) {
        let before = self.memory.front().points().to_vec();
        let members_before = self.memory.known().len();
        for evaluation in evaluations {
            let is_new = self.memory.learn(evaluation);
            self.simulated += usize::from(is_new && !evaluation.is_refused());
        }
        if self.turn < self.arms.len() && members_before > 0 {
            let gain = self.gain(&before, members_before);
            let arm = &mut self.arms[self.turn];
            arm.pay = MEMORY * arm.pay + gain;
            arm.cost = MEMORY * arm.cost + evaluations.len() as f64;
            arm.used += evaluations.len() as f64;
            // Old rounds are forgotten for the shares too, else a strategy that earns late would
            // be given all the rounds that it once did without.
            self.arms.iter_mut().for_each(|arm| arm.used *= FORGET);
        }
        for arm in &mut self.arms {
            arm.worker.strategy().tell(evaluations);
        }
    }
}
