//! Genetic search: NSGA-II (Deb et al., 2002) on levels, steady-state. Each round breeds one batch
//! from the population; parents and children then compete for its places. Ordered knobs are
//! crossed and mutated by small steps along their levels, unordered ones by choice. Nothing is
//! proposed twice; the population starts from Sobol points.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::draw::{Fresh, Sobol, free_knobs, rng};
use super::memory::Memory;
use super::survival::{Member, survivors};
use super::{Evaluation, Strategy};
use crate::space::{Candidate, Space};

/// Distribution index of simulated binary crossover: how close children stay to their parents.
const CROSSOVER_INDEX: f64 = 15.0;
/// Distribution index of polynomial mutation.
const MUTATION_INDEX: f64 = 20.0;
/// Chance that a pair is crossed at all.
const CROSSOVER_CHANCE: f64 = 0.9;
/// Share of mutations of an ordered knob that draw any level instead of a near one.
const LEAP_CHANCE: f64 = 0.1;
/// Children bred in vain (known already) before a Sobol point takes the place.
const PATIENCE: usize = 30;

/// See the module.
pub struct Genetic {
    space: Space,
    seed: u64,
    free: Vec<usize>,
    fresh: Fresh,
    sobol: Sobol,
    memory: Memory,
    /// Members index the memory.
    population: Vec<Member>,
    sizes: Sizes,
    asked: usize,
    round: u64,
}

/// How large the population is.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Sobol points at the start, and least members.
    least: usize,
    most: usize,
}

impl Genetic {
    /// Over a space of some objectives, for a budget of simulations: a tenth of it is the
    /// population, within 20 and 100.
    pub fn new(space: &Space, objectives: usize, seed: u64, budget: usize) -> Self {
        let most = (budget / 10).clamp(20, 100);
        Genetic {
            space: space.clone(),
            seed,
            free: free_knobs(space),
            fresh: Fresh::new(space),
            sobol: Sobol::new(space, seed),
            memory: Memory::new(objectives),
            population: Vec::new(),
            sizes: Sizes { least: most.min(20), most },
            asked: 0,
            round: 0,
        }
    }

    fn sobol_point(&mut self) -> Option<Candidate> {
        let Genetic { fresh, sobol, .. } = self;
        fresh.take(|space| sobol.next(space))
    }

    fn child(&mut self, rng: &mut ChaCha8Rng) -> Option<Candidate> {
        for attempt in 0..PATIENCE {
            let (mother, father) = (self.tournament(rng), self.tournament(rng));
            let mut levels = self.crossed(mother, father, rng);
            // Later attempts mutate more: the neighbourhood is known already.
            let chance = (1.0 + attempt as f64 / 5.0) / self.free.len().max(1) as f64;
            self.mutate(&mut levels, chance, rng);
            let child = self.completed(&mut levels, rng);
            if self.fresh.mark(&child) {
                return Some(child);
            }
        }
        self.sobol_point()
    }

    /// The better of two members.
    fn tournament(&self, rng: &mut ChaCha8Rng) -> usize {
        let a = &self.population[rng.random_range(0..self.population.len())];
        let b = &self.population[rng.random_range(0..self.population.len())];
        if b.beats(a) { b.index } else { a.index }
    }

    fn crossed(&self, mother: usize, father: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let known = self.memory.known();
        let (mother, father) = (&known[mother].candidate.levels, &known[father].candidate.levels);
        let mut levels = mother.to_vec();
        if !rng.random_bool(CROSSOVER_CHANCE) {
            return levels;
        }
        for &knob in &self.free {
            let (a, b) = (mother[knob], father[knob]);
            if a == b || !rng.random_bool(0.5) {
                continue;
            }
            let domain = &self.space.knobs[knob].domain;
            levels[knob] = if domain.ordered && a != Candidate::ABSENT && b != Candidate::ABSENT {
                between(a, b, domain.values.len(), rng)
            } else {
                b
            };
        }
        levels
    }

    fn mutate(&self, levels: &mut [u32], chance: f64, rng: &mut ChaCha8Rng) {
        for &knob in &self.free {
            let here = levels[knob];
            if here == Candidate::ABSENT || !rng.random_bool(chance.min(1.0)) {
                continue;
            }
            let domain = &self.space.knobs[knob].domain;
            let n = domain.values.len() as u32;
            levels[knob] = if domain.ordered && !rng.random_bool(LEAP_CHANCE) {
                stepped(here, n, rng)
            } else {
                // Any other level.
                (here + rng.random_range(1..n)) % n
            };
        }
    }

    /// The canonical candidate; a knob that becomes active takes the level of a random member that
    /// has it active, or any.
    fn completed(&self, levels: &mut [u32], rng: &mut ChaCha8Rng) -> Candidate {
        for (knob, level) in levels.iter_mut().enumerate() {
            if *level == Candidate::ABSENT {
                let n = self.space.knobs[knob].domain.values.len() as u32;
                let donor = self.population[rng.random_range(0..self.population.len())].index;
                let inherited = self.memory.known()[donor].candidate.levels[knob];
                *level = if inherited == Candidate::ABSENT { rng.random_range(0..n) } else { inherited };
            }
        }
        self.space.canonical(levels)
    }

    fn select(&mut self, newcomers: std::ops::Range<usize>) {
        let places: Vec<usize> = self.population.iter().map(|p| p.index).chain(newcomers).collect();
        let known = self.memory.known();
        let scales = self.memory.scales();
        let m = self.memory.objectives();
        let mut points = Vec::with_capacity(places.len() * m);
        for &place in &places {
            points.extend(known[place].objectives.iter().zip(&scales).map(|(&v, scale)| scale.apply(v)));
        }
        let violation: Vec<f64> = places.iter().map(|&p| known[p].violation).collect();
        let size = (self.sizes.least + known.len() / 12).min(self.sizes.most);
        self.population = survivors(&points, m, &violation, size);
        for member in &mut self.population {
            member.index = places[member.index];
        }
    }
}

/// Simulated binary crossover (Deb and Agrawal, 1995) on level numbers: one child.
fn between(a: u32, b: u32, levels: usize, rng: &mut ChaCha8Rng) -> u32 {
    let u: f64 = rng.random();
    let power = 1.0 / (CROSSOVER_INDEX + 1.0);
    let spread = if u <= 0.5 { (2.0 * u).powf(power) } else { (0.5 / (1.0 - u)).powf(power) };
    let (a, b) = (f64::from(a), f64::from(b));
    let side = if rng.random_bool(0.5) { spread } else { -spread };
    nearest(0.5 * (a + b) + 0.5 * side * (b - a), levels, rng)
}

/// Polynomial mutation on level numbers, at least one level away.
fn stepped(here: u32, levels: u32, rng: &mut ChaCha8Rng) -> u32 {
    let u: f64 = rng.random();
    let power = 1.0 / (MUTATION_INDEX + 1.0);
    let shift = if u < 0.5 { (2.0 * u).powf(power) - 1.0 } else { 1.0 - (2.0 * (1.0 - u)).powf(power) };
    let to = nearest(f64::from(here) + shift * f64::from(levels - 1), levels as usize, rng);
    if to != here {
        return to;
    }
    let up = if here == 0 {
        true
    } else if here == levels - 1 {
        false
    } else {
        shift > 0.0
    };
    if up { here + 1 } else { here - 1 }
}

/// Rounds up or down at random, in proportion to nearness, and into the domain.
fn nearest(level: f64, levels: usize, rng: &mut ChaCha8Rng) -> u32 {
    let floor = level.floor();
    let up = rng.random_bool((level - floor).clamp(0.0, 1.0));
    (floor + f64::from(u8::from(up))).clamp(0.0, (levels - 1) as f64) as u32
}

impl Strategy for Genetic {
    fn name(&self) -> &'static str {
        "genetic"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let mut rng = rng(self.seed, "genetic", self.round);
        self.round += 1;
        let mut asked = Vec::with_capacity(n);
        while asked.len() < n {
            // What others evaluated counts too.
            let seeds = self.asked.max(self.memory.known().len());
            let seeding = seeds < self.sizes.least || self.population.is_empty();
            let Some(candidate) = (if seeding { self.sobol_point() } else { self.child(&mut rng) }) else { break };
            self.asked += 1;
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
        self.select(before..self.memory.known().len());
    }
}
