//! Bayesian search: surrogates of the objectives, and the candidates that they expect to add most
//! hypervolume.
//!
//! A round: objectives are put in units of the present front (`targets`); extremely randomised
//! trees on everything known say how likely a candidate is to lie near the front and to keep the
//! constraints; Gaussian processes on what lies nearest to the front, one an objective, say where
//! it would lie; a pool of candidates is drawn (`candidates`), and the batch is picked one by one
//! by expected hypervolume improvement (`pick`, `acquisition`) times these chances, each pick being
//! believed before the next. Now and then the reference point is moved outwards in one objective,
//! and being near the front means near it in the others, so that the ends of the front are found
//! also where they lie in another basin.
//!
//! The processes learn only what lies near the front, and their means are not mixed with the
//! forest's: both were measured to matter (share of the hypervolume after 100 evaluations of a
//! table of serving configurations: 0.91, against 0.86 with rows from farther away, and 0.86 with
//! a quarter of the forest's mean).

mod acquisition;
mod candidates;
mod encode;
mod fit;
mod forest;
mod gp;
mod idle;
mod linalg;
mod pick;
mod targets;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use self::candidates::Candidates;
use self::encode::Encoder;
use self::forest::{Forest, Guess};
use self::gp::{Data, Gp, Hyper, standard};
use self::idle::Idle;
use self::targets::{Targets, distance_behind};
use super::draw::{Fresh, rng};
use super::memory::Memory;
use super::{Evaluation, Features, Strategy};
use crate::space::{Candidate, Space};

/// Most rows that the processes are conditioned on, and that their hyperparameters are fitted to.
const GP_ROWS: usize = 400;
const FIT_ROWS: usize = 200;
/// Before this many lie near the front, the nearest others are among them.
const GP_LEAST_ROWS: usize = 16;
/// Hyperparameters are fitted anew when this many times as much is known.
const REFIT: f64 = 1.2;
/// Most rows of the forest.
const FOREST_ROWS: usize = 2000;
/// In one of this many rounds a knob that does nothing is taken for one that might.
const DOUBT: u64 = 8;
/// Each level of a knob of at most this many is looked around at the best candidates that have it.
const SLICED: u32 = 8;

/// See the module.
pub struct Bayesian<'a> {
    seed: u64,
    encoder: Encoder<'a>,
    candidates: Candidates,
    fresh: Fresh,
    memory: Memory,
    /// Encoded rows of the known; `None` where the features say that it cannot be.
    rows: Vec<Option<Vec<f64>>>,
    /// Knobs that may be found to do nothing, and those that were.
    watched: Vec<usize>,
    idle: Idle,
    starts_left: usize,
    hyper: Vec<Hyper>,
    fitted_at: usize,
    round: u64,
    picked: u64,
    /// Knobs that make strata: unordered ones.
    strata: Vec<usize>,
    /// Every level of every knob with few.
    slices: Vec<(usize, u32)>,
}

/// The surrogates of one round.
struct Models {
    forest: Forest,
    gps: Vec<Gp>,
    has_violations: bool,
    any_feasible: bool,
}

impl Models {
    /// Two rough orders of candidates before any variance is known, the larger the better: for the
    /// surroundings of the front, and for what lies beyond its ends.
    fn promise(&self, guess: &Guess, mean: &[f64], targets: &Targets) -> [f64; 2] {
        let m = targets.m;
        if !self.any_feasible {
            return [guess.deviation[m + 2] - guess.mean[m + 2]; 2];
        }
        let hopeful: Vec<f64> = mean.iter().zip(&guess.deviation).map(|(v, s)| v - 0.5 * s).collect();
        let hope = guess.mean[m + 1] * (-distance_behind(&hopeful, &targets.front, m) / 0.1).exp();
        let beyond = guess.mean[m + 3..].iter().fold(0.0_f64, |most, &v| most.max(v));
        [(guess.mean[m] + 0.02) * hope, (beyond - guess.mean[m] + 0.02) * hope]
    }
}

impl<'a> Bayesian<'a> {
    /// Over a space of some objectives, with numbers that say more about a candidate than its
    /// knobs, if there are any.
    pub fn new(space: &Space, objectives: usize, seed: u64, features: Option<&'a dyn Features>) -> Self {
        let free = super::draw::free_knobs(space);
        let encoder = Encoder::new(space, features, seed);
        let groups = encoder.groups().iter().max().map_or(0, |g| g + 1);
        let levels = |k: usize| space.knobs[k].domain.values.len() as u32;
        let short = free.iter().filter(|&&k| levels(k) <= SLICED);
        let slices: Vec<(usize, u32)> = short.flat_map(|&k| (0..levels(k)).map(move |l| (k, l))).collect();
        Bayesian {
            seed,
            encoder,
            candidates: Candidates::new(space, seed),
            fresh: Fresh::new(space),
            memory: Memory::new(objectives),
            rows: Vec::new(),
            watched: idle::watched(space, &free),
            idle: Idle::default(),
            starts_left: (2 * free.len()).clamp(12, 24),
            hyper: vec![Hyper::middle(groups); objectives],
            fitted_at: 0,
            round: 0,
            picked: 0,
            slices,
            strata: free.into_iter().filter(|&k| !space.knobs[k].domain.ordered).collect(),
        }
    }

    /// Whether it is still at its first points, which are spread evenly.
    pub(super) fn is_starting(&self) -> bool {
        self.starts_left > 0
    }

    /// One-step neighbours of the front that were not proposed before, the most promising first;
    /// none when all were.
    pub(super) fn ask_around(&mut self, n: usize) -> Vec<Candidate> {
        let mut rng = rng(self.seed, "bayesian around", self.round);
        let Some(targets) = Targets::of(&self.memory) else { return Vec::new() };
        self.round += 1;
        let known = self.memory.known();
        let mut seen = rustc_hash::FxHashSet::default();
        let mut pool = Vec::new();
        let best: Vec<&Candidate> = targets.nearest_first().into_iter().map(|i| &known[i].candidate).collect();
        for &place in self.memory.front().keys() {
            self.candidates.steps(&known[place].candidate, &best, |neighbour| {
                if !self.fresh.is_marked(&neighbour) && seen.insert(neighbour.clone()) {
                    pool.push(neighbour);
                }
            });
        }
        if pool.is_empty() {
            return Vec::new();
        }
        self.review();
        let pool = self.without_repeats(pool);
        let models = self.models(&targets, &mut rng);
        self.pick(n, pool, &models, &targets)
    }

    /// A point of the sequence that the features do not refuse.
    fn start(&mut self) -> Option<Candidate> {
        const PATIENCE: usize = 200;
        let mut last = None;
        for _ in 0..PATIENCE {
            last = self.candidates.scattered(&mut self.fresh);
            if last.as_ref().is_none_or(|c| self.encoder.row(c).is_some()) {
                break;
            }
        }
        last
    }

    /// The row of a candidate, alike for those that differ in knobs that do nothing.
    fn row(&self, candidate: &Candidate) -> Option<Vec<f64>> {
        match self.idle.is_empty() {
            true => self.encoder.row(candidate),
            false => self.encoder.row(&self.idle.plain(candidate)),
        }
    }

    /// Looks again which knobs do nothing.
    fn review(&mut self) {
        let idle = Idle::of(&self.memory, &self.watched);
        if idle != self.idle {
            self.idle = idle;
            self.rows = self.memory.known().iter().map(|k| self.row(&k.candidate)).collect();
        }
    }

    /// Leaves out what differs from something known in knobs alone that do nothing, unless that
    /// leaves nothing. Not in every round: such a knob may do something elsewhere.
    fn without_repeats(&self, pool: Vec<Candidate>) -> Vec<Candidate> {
        if self.idle.is_empty() || self.round.is_multiple_of(DOUBT) {
            return pool;
        }
        let known: rustc_hash::FxHashSet<Candidate> =
            self.memory.known().iter().map(|k| self.idle.plain(&k.candidate)).collect();
        let new: Vec<Candidate> = pool.iter().filter(|c| !known.contains(&self.idle.plain(c))).cloned().collect();
        if new.is_empty() { pool } else { new }
    }

    fn models(&mut self, targets: &Targets, rng: &mut ChaCha8Rng) -> Models {
        let m = targets.m;
        let known = self.memory.known();
        let mut by_distance: Vec<usize> = (0..known.len()).filter(|&i| self.rows[i].is_some()).collect();
        by_distance.sort_by(|&a, &b| {
            let key = |i: usize| (!targets.is_valued[i], known[i].violation.min(1e3), targets.behind[i]);
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.2.total_cmp(&b.2)).then(a.1.total_cmp(&b.1))
        });

        // The forest: objectives, near, feasible, violation, near or beyond each end.
        let kept = spread_out(&by_distance, FOREST_ROWS);
        let outputs = 2 * m + 3;
        let mut rows = Vec::with_capacity(kept.len());
        let mut wanted = Vec::with_capacity(kept.len() * outputs);
        for &i in &kept {
            rows.push(self.rows[i].clone().expect("filtered"));
            wanted.extend(targets.row(i));
            wanted.push(f64::from(u8::from(targets.is_near[i])));
            wanted.push(f64::from(u8::from(known[i].violation == 0.0)));
            wanted.push((1.0 + known[i].violation.min(1e3)).ln());
            wanted.extend(targets.is_beyond[i * m..][..m].iter().map(|&is| f64::from(u8::from(is))));
        }
        let trees = if kept.len() > 600 { 40 } else { 80 };

        // The processes: what lies nearest to the front.
        let valued = || by_distance.iter().copied().filter(|&i| targets.is_valued[i]);
        let mut chosen: Vec<usize> = valued().filter(|&i| targets.is_near[i]).take(GP_ROWS).collect();
        if chosen.len() < GP_LEAST_ROWS {
            chosen = valued().take(GP_LEAST_ROWS).collect();
        }
        let near: Vec<Vec<f64>> = chosen.iter().map(|&i| self.rows[i].clone().expect("filtered")).collect();
        let columns: Vec<Vec<f64>> = (0..m).map(|k| chosen.iter().map(|&i| targets.row(i)[k]).collect()).collect();
        let has_violations = known.iter().any(|k| k.violation > 0.0);
        let known = known.len();
        // Side by side: trees fill the time in which one process's fit waits for the other's.
        let grow = || Forest::grow(&rows, &wanted, outputs, trees, rng);
        let condition = || {
            if self.fitted_at == 0 || known as f64 >= REFIT * self.fitted_at as f64 {
                self.fit(&near, &columns, known);
            }
            let groups = self.encoder.groups();
            let conditioned = |(column, hyper): (&Vec<f64>, &Hyper)| Gp::new(&near, groups, column, hyper);
            columns.par_iter().zip(&self.hyper).map(conditioned).collect()
        };
        let (gps, forest) = rayon::join(condition, grow);
        Models { forest, gps, has_violations, any_feasible: !self.memory.front().is_empty() }
    }

    fn fit(&mut self, rows: &[Vec<f64>], columns: &[Vec<f64>], known: usize) {
        let rows = &rows[..rows.len().min(FIT_ROWS)];
        let groups = self.encoder.groups();
        let is_first = self.fitted_at == 0;
        self.hyper.par_iter_mut().zip(columns).for_each(|(hyper, column)| {
            let column = &column[..rows.len()];
            let (mean, sd) = standard(column);
            let targets: Vec<f64> = column.iter().map(|v| (v - mean) / sd).collect();
            let middle = Hyper::middle(hyper.log.len() - 3);
            let mut short = middle.clone();
            short.log.iter_mut().take(middle.log.len() - 3).for_each(|l| *l -= 0.7);
            let starts = if is_first { vec![middle, short] } else { vec![hyper.clone(), middle] };
            *hyper = fit::fit(&Data { rows, groups, targets: &targets }, &starts);
        });
        self.fitted_at = known;
    }

    /// Front members and the best of each stratum, the nearest to the front first.
    fn good(&self, targets: &Targets, rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        const MOST: usize = 90;
        let known = self.memory.known();
        let mut good: Vec<usize> = self.memory.front().keys().to_vec();
        for i in (1..good.len()).rev() {
            good.swap(i, rng.random_range(0..=i));
        }
        good.truncate(MOST);
        let order = targets.nearest_first();
        let mut seen: Vec<Vec<u32>> = Vec::new();
        for &i in &order {
            let stratum: Vec<u32> = self.strata.iter().map(|&k| known[i].candidate.levels[k]).collect();
            if seen.len() < 24 && !seen.contains(&stratum) {
                seen.push(stratum);
                good.push(i);
            }
        }
        for &(knob, level) in &self.slices {
            let holders = order.iter().filter(|&&i| known[i].candidate.levels[knob] == level);
            good.extend(holders.take(2));
        }
        good.extend(order.iter().take(24));
        let mut unique = rustc_hash::FxHashSet::default();
        good.retain(|&i| unique.insert(i));
        good.into_iter().map(|i| known[i].candidate.clone()).collect()
    }

    fn propose(&mut self, n: usize, rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        let Some(targets) = Targets::of(&self.memory) else { return Vec::new() };
        self.review();
        let models = self.models(&targets, rng);
        let good = self.good(&targets, rng);
        let pool = self.candidates.pool(&good, &good, &self.fresh, rng);
        let pool = self.without_repeats(pool);
        self.pick(n, pool, &models, &targets)
    }
}

/// All of a list, or its first half-share and an even selection of the rest.
fn spread_out(order: &[usize], most: usize) -> Vec<usize> {
    if order.len() <= most {
        return order.to_vec();
    }
    let (first, rest) = order.split_at(most / 2);
    let take = most - first.len();
    first.iter().copied().chain((0..take).map(|i| rest[i * rest.len() / take])).collect()
}

impl Strategy for Bayesian<'_> {
    fn name(&self) -> &'static str {
        "bayesian"
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        let mut rng = rng(self.seed, "bayesian", self.round);
        self.round += 1;
        let mut asked = Vec::with_capacity(n);
        while self.starts_left > 0 && asked.len() < n {
            self.starts_left -= 1;
            asked.extend(self.start());
        }
        if asked.len() < n {
            let more = self.propose(n - asked.len(), &mut rng);
            asked.extend(more);
        }
        while asked.len() < n {
            let Some(candidate) = self.start() else { break };
            asked.push(candidate);
        }
        asked
    }

    fn tell(&mut self, evaluations: &[Evaluation]) {
        for evaluation in evaluations {
            self.fresh.mark(&evaluation.candidate);
            if self.memory.learn(evaluation) {
                self.rows.push(self.row(&evaluation.candidate));
            }
        }
    }
}
