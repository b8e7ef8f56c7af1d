//! How much of a known frontier a strategy finds, after how many evaluations.

use super::problems::Problem;
use super::tabular::Table;
use super::{Driver, Evaluate, Settings, UnknownStrategy, strategy};
use crate::frontier::{Reference, Scale, nondominated};
use crate::space::Space;

/// A problem whose true hypervolume is known.
pub struct Benchmark {
    name: String,
    space: Space,
    evaluate: Box<dyn Evaluate>,
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
        let front: Vec<f64> =
            nondominated(table.points(), m).into_iter().flat_map(|i| &table.points()[i * m..][..m]).copied().collect();
        let scale = |k: usize| if log { Scale::of(front.iter().skip(k).step_by(m).copied()) } else { Scale::Linear };
        let scales = (0..m).map(scale).collect();
        let units = Reference::new(&front, m, scales).expect("a table has rows");
        let truth = units.hypervolume(&front);
        Benchmark { name: name.to_owned(), space: table.space().clone(), evaluate: Box::new(table), units, truth }
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
            .flat_map(|c| c.evaluation.objectives.clone())
            .collect();
        let share = |n: usize| self.units.hypervolume(&found[..(n * m).min(found.len())]) / self.truth;
        Ok(evaluations.iter().map(|&n| share(n)).collect())
    }
}
