//! How much of a known frontier a strategy finds, after how many evaluations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::instances::{self, Instance};
use super::problems::Problem;
use super::tabular::Table;
use super::{Driver, Evaluate, Settings, UnknownStrategy, strategy};
use crate::frontier::{Reference, Scale, nondominated};
use crate::space::Space;

/// A problem whose true hypervolume is known.
pub struct Benchmark {
    name: String,
    space: Space,
    evaluate: Box<dyn Evaluate + Send>,
    units: Reference,
    truth: f64,
    /// Configurations that have objectives.
    known: f64,
}

impl Benchmark {
    /// A standard function, measured as it is with the reference point 1.1.
    pub fn standard(problem: Problem) -> Self {
        let m = problem.objectives();
        let space = problem.space();
        let units = Reference { scales: vec![Scale::Linear; m], ideal: vec![0.0; m], nadir: vec![1.0; m] };
        Benchmark {
            name: problem.name().to_owned(),
            known: space.size(),
            space,
            evaluate: Box::new(problem),
            units,
            truth: problem.hypervolume(),
        }
    }

    /// A table, measured in units in which its true front spans the unit box, with the reference
    /// point 1.1; with `log`, the objectives are first put on a logarithmic scale where all values
    /// of the front share a sign.
    pub fn table(name: &str, table: Table, log: bool) -> Self {
        let m = table.objectives();
        let (units, truth) = units(&table.points(), m, log);
        let (space, known) = (table.space().clone(), table.known() as f64);
        Benchmark { name: name.to_owned(), space, evaluate: Box::new(table), units, truth, known }
    }

    /// One of the serving-like instances, or a variant of it, all of it computed, in the logarithmic
    /// units of a table.
    pub fn instance(instance: Instance, objectives: usize, variant: u64) -> Self {
        let problem = instances::Problem::varied(instance, objectives, variant);
        let (units, truth) = units(&problem.points(), objectives, true);
        let space = problem.space().clone();
        let name = if variant == 0 { instance.name().to_owned() } else { format!("{}-{variant}", instance.name()) };
        Benchmark { name, known: space.size(), space, evaluate: Box::new(problem), units, truth }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of distinct configurations that have objectives.
    pub fn known(&self) -> f64 {
        self.known
    }

    /// Number of distinct configurations of the space: more, where a table does not hold them all.
    pub fn size(&self) -> f64 {
        self.space.size()
    }

    /// The hypervolume of the true front, in the units in which shares are measured.
    pub fn truth(&self) -> f64 {
        self.truth
    }

    /// Runs a strategy once.
    pub fn run(&self, name: &str, seed: u64, look: &Look) -> Result<Found, UnknownStrategy> {
        let started = Instant::now();
        let m = self.evaluate.objectives();
        let budget = look.evaluations.iter().copied().max().unwrap_or(0);
        let mut strategy = strategy(name, &self.space, m, seed, budget)?;
        let settings = Settings::plain(budget, look.batch, 1);
        let summary = Driver::new(&self.space, self.evaluate.as_ref(), settings)
            .run(strategy.as_mut(), &mut ())
            .expect("nothing is resumed, kept or spawned");
        let seconds = started.elapsed().as_secs_f64();
        let found: Vec<f64> = summary
            .committed
            .iter()
            .filter(|c| !c.evaluation.is_refused())
            .flat_map(|c| if c.evaluation.is_feasible() { c.evaluation.objectives.clone() } else { vec![f64::NAN; m] })
            .collect();
        let share = |n: usize| self.units.hypervolume(&found[..(n * m).min(found.len())]) / self.truth;
        let first = |level: f64| {
            // The share never falls, so the first number with this share can be bisected.
            let (mut below, mut reached) = (0, found.len() / m);
            if share(reached) < level {
                return None;
            }
            while reached - below > 1 {
                let middle = below.midpoint(reached);
                *(if share(middle) < level { &mut below } else { &mut reached }) = middle;
            }
            Some(reached)
        };
        Ok(Found {
            evaluations: found.len() / m,
            shares: look.evaluations.iter().map(|&n| share(n)).collect(),
            reached: look.levels.iter().map(|&level| first(level)).collect(),
            seconds,
        })
    }

    /// One run a seed, on as many threads as there are cores. Not on rayon's pool, where a run that
    /// waits would take up another.
    fn runs(&self, name: &str, seeds: u64, look: &Look) -> Result<Vec<Found>, UnknownStrategy> {
        let next = AtomicU64::new(1);
        let work = || {
            let mut own = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > seeds {
                    return own;
                }
                own.push((seed, self.run(name, seed, look)));
            }
        };
        let threads = rayon::current_num_threads().min(seeds as usize);
        let mut all: Vec<(u64, Result<Found, UnknownStrategy>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a run does not panic")).collect()
        });
        all.sort_by_key(|(seed, _)| *seed);
        all.into_iter().map(|(_, found)| found).collect()
    }

    /// The same with the seeds 1 to `seeds`, which run in parallel.
    pub fn run_over_seeds(&self, name: &str, seeds: u64, look: &Look) -> Result<Shares, UnknownStrategy> {
        let runs = self.runs(name, seeds, look)?;
        let quartiles = (0..look.evaluations.len())
            .map(|k| {
                let mut column: Vec<f64> = runs.iter().map(|run| run.shares[k]).collect();
                column.sort_unstable_by(f64::total_cmp);
                [0.25, 0.5, 0.75].map(|q| quantile(&column, q))
            })
            .collect();
        let reached = (0..look.levels.len())
            .map(|k| {
                let mut column: Vec<usize> = runs.iter().map(|run| run.reached[k].unwrap_or(usize::MAX)).collect();
                column.sort_unstable();
                let rank = |q: f64| column[((q * runs.len() as f64).ceil() as usize).max(1) - 1];
                [0.25, 0.5, 0.75].map(|q| Some(rank(q)).filter(|&n| n < usize::MAX))
            })
            .collect();
        let seconds = runs.iter().map(|run| run.seconds).sum::<f64>() / runs.len() as f64;
        let evaluations = runs.iter().map(|run| run.evaluations).min().unwrap_or(0);
        Ok(Shares { look: look.clone(), evaluations, quartiles, reached, seconds })
    }
}

/// When to look at what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Numbers of distinct evaluations, ascending; the last is the budget.
    pub evaluations: Vec<usize>,
    /// Shares of the true hypervolume that are waited for.
    pub levels: Vec<f64>,
    /// Candidates per batch.
    pub batch: usize,
}

/// What one run found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Distinct evaluations that it made: fewer than its budget where the space has no more, or where
    /// far more proposals were refused than evaluated.
    pub evaluations: usize,
    /// The share of the true hypervolume after each number of evaluations.
    pub shares: Vec<f64>,
    /// The number of evaluations after which each level was reached, if it was.
    pub reached: Vec<Option<usize>>,
    /// Wall time on one thread, seconds: strategy, driver and evaluations.
    pub seconds: f64,
}

/// What a strategy found, over several seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// When it was looked at.
    pub look: Look,
    /// Fewest evaluations of a run.
    pub evaluations: usize,
    /// First quartile, median and third quartile of the share after each number of evaluations,
    /// interpolated.
    pub quartiles: Vec<[f64; 3]>,
    /// First quartile, median and third quartile (nearest rank) of the evaluations that each level
    /// took; `None` where the budget was not enough.
    pub reached: Vec<[Option<usize>; 3]>,
    /// Mean wall time of one run, seconds.
    pub seconds: f64,
}

/// A quantile by linear interpolation between the sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Units in which the front of these points spans the unit box, and its hypervolume in them.
fn units(points: &[f64], m: usize, log: bool) -> (Reference, f64) {
    let front: Vec<f64> = nondominated(points, m).into_iter().flat_map(|i| &points[i * m..][..m]).copied().collect();
    let scale = |k: usize| if log { Scale::of(front.iter().skip(k).step_by(m).copied()) } else { Scale::Linear };
    let units = Reference::new(&front, m, (0..m).map(scale).collect()).expect("there are points");
    let truth = units.hypervolume(&front);
    (units, truth)
}
