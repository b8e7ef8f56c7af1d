//! Hyperparameters by the maximum of their posterior: L-BFGS with a More-Thuente line search, from
//! several starts, the last fit among them.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::gp::{Data, Hyper, Objective};

/// Iterations of a start; the surface is smooth and the priors keep it narrow.
const ITERATIONS: u64 = 18;
/// Pairs of steps and gradients that are remembered.
const MEMORY: usize = 6;
/// Fewest rows that say anything about length scales.
const LEAST_ROWS: usize = 8;

/// What argmin minimises. Value and gradient come from one factorisation, and it asks for both at
/// the same point, so the last pair is kept.
struct Problem<'a> {
    objective: &'a Objective<'a>,
    last: RefCell<Option<Last>>,
}

/// Where it was asked last: the point, the value, the gradient.
type Last = (Vec<f64>, f64, Vec<f64>);

impl Problem<'_> {
    fn at<T>(&self, log: &[f64], take: impl Fn(f64, &[f64]) -> T) -> T {
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(at, ..)| at != log) {
            let (value, gradient) = self.objective.value_and_gradient(&Hyper { log: log.to_vec() });
            // A line search needs numbers, also from where the matrix cannot be factored.
            *last = Some((log.to_vec(), value.min(1e12), gradient));
        }
        let (_, value, gradient) = last.as_ref().expect("just filled");
        take(*value, gradient)
    }
}

impl CostFunction for &Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, log: &Self::Param) -> Result<f64, Error> {
        Ok(self.at(log, |value, _| value))
    }
}

impl Gradient for &Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, log: &Self::Param) -> Result<Vec<f64>, Error> {
        Ok(self.at(log, |_, gradient| gradient.to_vec()))
    }
}

/// The best hyperparameters found from the starts; the first start where nothing better is found.
pub(super) fn fit(data: &Data<'_>, starts: &[Hyper]) -> Hyper {
    if data.rows.len() < LEAST_ROWS {
        return starts[0].clone();
    }
    let objective = Objective::new(data);
    let mut best: Option<(f64, Hyper)> = None;
    for start in starts {
        let problem = Problem { objective: &objective, last: RefCell::new(None) };
        let found = descend(&problem, start);
        let value = problem.at(&found.log, |value, _| value);
        if found.log.iter().all(|l| l.is_finite()) && best.as_ref().is_none_or(|(least, _)| value < *least) {
            best = Some((value, found));
        }
    }
    best.map_or_else(|| starts[0].clone(), |(_, hyper)| hyper)
}

fn descend(problem: &Problem<'_>, start: &Hyper) -> Hyper {
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY);
    let Ok(solver) = solver.with_tolerance_grad(1e-2).and_then(|s| s.with_tolerance_cost(1e-4)) else {
        return start.clone();
    };
    let run = Executor::new(problem, solver)
        .configure(|state| state.param(start.log.clone()).max_iters(ITERATIONS))
        .ctrlc(false)
        .run();
    // A line search that finds no step is the end of a descent, not of the search.
    match run {
        Ok(done) => Hyper { log: done.state().get_best_param().unwrap_or(&start.log).clone() },
        Err(_) => start.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_that_does_nothing_gets_a_long_scale() {
        let at = |i: usize, p: usize| ((i * p) % 41) as f64 / 40.0;
        let rows: Vec<Vec<f64>> = (0..41).map(|i| vec![at(i, 7), at(i, 18)]).collect();
        let targets: Vec<f64> = rows.iter().map(|r| 1.4 * (9.0 * r[0]).sin()).collect();
        let data = Data { rows: &rows, groups: &[0, 1], targets: &targets };
        let start = Hyper::middle(2);
        let fitted = fit(&data, std::slice::from_ref(&start));
        let objective = Objective::new(&data);
        assert!(objective.value_and_gradient(&fitted).0 < objective.value_and_gradient(&start).0 - 5.0);
        assert!(fitted.log[1] > fitted.log[0] + 1.0, "{:?}", fitted.log);
        let gradient = objective.value_and_gradient(&fitted).1;
        assert!(gradient.iter().all(|g| g.abs() < 0.5), "not at an optimum: {gradient:?}");
    }
}
