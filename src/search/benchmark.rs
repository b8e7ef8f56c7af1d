//! How much of a known frontier a strategy finds, after how many evaluations.

use std::time::Instant;

use rayon::prelude::*;

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
}

impl Benchmark {
    /// A standard function, measured as it is with the reference point 1.1.
    pub fn standard(problem: Problem) -> Self {
        let m = problem.objectives();
        let units = Reference { scales: vec![Scale::Linear; m], ideal: vec![0.0; m], nadir: vec![1.0; m] };
        Benchmark {
            name: problem.name().to_owned(),
            space: problem.space(),
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
        let (units, truth) = units(table.points(), m, log);
        Benchmark { name: name.to_owned(), space: table.space().clone(), evaluate: Box::new(table), units, truth }
    }

    /// One of the serving-like instances, all of it computed, in the logarithmic units of a table.
    pub fn instance(instance: Instance, objectives: usize) -> Self {
        let problem = instances::Problem::new(instance, objectives);
        let (units, truth) = units(&problem.points(), objectives, true);
        let space = problem.space().clone();
        Benchmark { name: instance.name().to_owned(), space, evaluate: Box::new(problem), units, truth }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of distinct configurations.
    pub fn size(&self) -> f64 {
        self.space.size()
    }

    /// The hypervolume of the true front, in the units in which shares are measured.
    pub fn truth(&self) -> f64 {
        self.truth
    }

    /// Runs a strategy once and returns the share of the true hypervolume that it had found after
    /// each of the given numbers of distinct evaluations.
    pub fn shares(
        &self,
        name: &str,
        seed: u64,
        evaluations: &[usize],
        batch: usize,
    ) -> Result<Vec<f64>, UnknownStrategy> {
        let m = self.evaluate.objectives();
        let budget = evaluations.iter().copied().max().unwrap_or(0);
        let mut strategy = strategy(name, &self.space, m, seed, budget)?;
        let settings = Settings::plain(budget, batch, 1);
        let summary = Driver::new(&self.space, self.evaluate.as_ref(), settings)
            .run(strategy.as_mut(), &mut ())
            .expect("nothing is resumed, kept or spawned");
        let found: Vec<f64> = summary
            .committed
            .iter()
            .filter(|c| !c.evaluation.is_refused())
            .flat_map(|c| if c.evaluation.is_feasible() { c.evaluation.objectives.clone() } else { vec![f64::NAN; m] })
            .collect();
        let share = |n: usize| self.units.hypervolume(&found[..(n * m).min(found.len())]) / self.truth;
        Ok(evaluations.iter().map(|&n| share(n)).collect())
    }

    /// The same with the seeds 1 to `seeds`, which run in parallel.
    pub fn shares_over_seeds(
        &self,
        name: &str,
        seeds: u64,
        evaluations: &[usize],
        batch: usize,
    ) -> Result<Shares, UnknownStrategy> {
        let run = |seed| {
            let started = Instant::now();
            let shares = self.shares(name, seed, evaluations, batch)?;
            Ok((shares, started.elapsed().as_secs_f64()))
        };
        let runs: Vec<(Vec<f64>, f64)> = (1..=seeds).into_par_iter().map(run).collect::<Result<_, _>>()?;
        let quartiles = (0..evaluations.len())
            .map(|k| {
                let mut column: Vec<f64> = runs.iter().map(|(shares, _)| shares[k]).collect();
                column.sort_unstable_by(f64::total_cmp);
                [0.25, 0.5, 0.75].map(|q| quantile(&column, q))
            })
            .collect();
        let seconds = runs.iter().map(|(_, s)| s).sum::<f64>() / runs.len() as f64;
        Ok(Shares { evaluations: evaluations.to_vec(), quartiles, seconds })
    }
}

/// What a strategy found, over several seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// Numbers of distinct evaluations, ascending.
    pub evaluations: Vec<usize>,
    /// First quartile, median and third quartile of the share after each, interpolated.
    pub quartiles: Vec<[f64; 3]>,
    /// Mean wall time of one run on one thread, seconds: strategy, driver and evaluations.
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
