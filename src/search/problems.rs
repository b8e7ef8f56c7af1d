//! Standard test functions of multi-objective optimisation, with their exact hypervolume.
//!
//! ZDT1 to 4 and 6: Zitzler, Deb, Thiele, "Comparison of multiobjective evolutionary algorithms"
//! (2000). DTLZ2: Deb, Thiele, Laumanns, Zitzler (2002). Each variable takes 1,001 even levels over
//! its interval, both ends among them.

use std::f64::consts::PI;

use super::{Evaluate, Evaluation};
use crate::space::{Candidate, Domain, Knob, Space, Value};

/// Levels of each variable.
const LEVELS: usize = 1001;

/// A standard function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    Zdt1,
    Zdt2,
    Zdt3,
    Zdt4,
    Zdt6,
    /// With three objectives.
    Dtlz2,
}

impl Problem {
    /// All of them.
    pub const ALL: [Problem; 6] =
        [Problem::Zdt1, Problem::Zdt2, Problem::Zdt3, Problem::Zdt4, Problem::Zdt6, Problem::Dtlz2];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Problem::Zdt1 => "zdt1",
            Problem::Zdt2 => "zdt2",
            Problem::Zdt3 => "zdt3",
            Problem::Zdt4 => "zdt4",
            Problem::Zdt6 => "zdt6",
            Problem::Dtlz2 => "dtlz2",
        }
    }

    fn variables(self) -> usize {
        match self {
            Problem::Zdt1 | Problem::Zdt2 | Problem::Zdt3 => 30,
            Problem::Zdt4 | Problem::Zdt6 => 10,
            Problem::Dtlz2 => 12,
        }
    }

    fn interval(self, variable: usize) -> (f64, f64) {
        if self == Problem::Zdt4 && variable > 0 { (-5.0, 5.0) } else { (0.0, 1.0) }
    }

    /// One ordered knob per variable.
    pub fn space(self) -> Space {
        let knob = |variable: usize| {
            let (low, high) = self.interval(variable);
            let value = |level: usize| Value::Real(low + (high - low) * level as f64 / (LEVELS - 1) as f64);
            let domain = Domain { values: (0..LEVELS).map(value).collect(), ordered: true, log: false };
            Knob { name: format!("x{variable}"), domain, conditions: vec![], block: "x".into() }
        };
        Space { knobs: (0..self.variables()).map(knob).collect() }
    }

    /// Hypervolume of the true front under the reference point 1.1 in every objective.
    pub fn hypervolume(self) -> f64 {
        match self {
            // 1.1^2 less the area under the front: 1 - sqrt(f1), 1 - f1^2 over [0, 1], and beyond.
            Problem::Zdt1 | Problem::Zdt4 => 1.21 - 1.0 / 3.0,
            Problem::Zdt2 => 1.21 - 2.0 / 3.0,
            Problem::Zdt3 => integrated(0.0, |f1| 1.0 - f1.sqrt() - f1 * (10.0 * PI * f1).sin()),
            Problem::Zdt6 => {
                let least = 0.280_775_318_817_596_4;
                integrated(least, |f1| 1.0 - f1 * f1)
            }
            // The cube less the unit ball's octant.
            Problem::Dtlz2 => 1.331 - PI / 6.0,
        }
    }

    fn values(self, x: &[f64]) -> Vec<f64> {
        let rest = x.len() - 1;
        let mean = x[1..].iter().sum::<f64>() / rest as f64;
        match self {
            Problem::Zdt1 => {
                let g = 1.0 + 9.0 * mean;
                vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
            }
            Problem::Zdt2 => {
                let g = 1.0 + 9.0 * mean;
                vec![x[0], g * (1.0 - (x[0] / g).powi(2))]
            }
            Problem::Zdt3 => {
                let g = 1.0 + 9.0 * mean;
                let ratio = x[0] / g;
                vec![x[0], g * (1.0 - ratio.sqrt() - ratio * (10.0 * PI * x[0]).sin())]
            }
            Problem::Zdt4 => {
                let hills: f64 = x[1..].iter().map(|v| v * v - 10.0 * (4.0 * PI * v).cos()).sum();
                let g = 1.0 + 10.0 * rest as f64 + hills;
                vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
            }
            Problem::Zdt6 => {
                let f1 = 1.0 - (-4.0 * x[0]).exp() * (6.0 * PI * x[0]).sin().powi(6);
                let g = 1.0 + 9.0 * mean.powf(0.25);
                vec![f1, g * (1.0 - (f1 / g).powi(2))]
            }
            Problem::Dtlz2 => {
                let g: f64 = x[2..].iter().map(|v| (v - 0.5).powi(2)).sum();
                let (a, b) = (x[0] * PI / 2.0, x[1] * PI / 2.0);
                let r = 1.0 + g;
                vec![r * a.cos() * b.cos(), r * a.cos() * b.sin(), r * a.sin()]
            }
        }
    }
}

/// Hypervolume under the lower envelope of a curve over [least, 1] with the reference point 1.1.
fn integrated(least: f64, curve: impl Fn(f64) -> f64) -> f64 {
    const STEPS: usize = 1_000_000;
    let width = (1.0 - least) / STEPS as f64;
    let mut lowest = f64::INFINITY;
    let mut volume = 0.0;
    for step in 0..STEPS {
        lowest = lowest.min(curve(least + (step as f64 + 0.5) * width));
        volume += width * (1.1 - lowest).max(0.0);
    }
    volume + 0.1 * (1.1 - lowest)
}

impl Evaluate for Problem {
    fn objectives(&self) -> usize {
        if *self == Problem::Dtlz2 { 3 } else { 2 }
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let real = |(variable, &level): (usize, &u32)| {
            let (low, high) = self.interval(variable);
            low + (high - low) * f64::from(level) / (LEVELS - 1) as f64
        };
        let x: Vec<f64> = candidate.levels.iter().enumerate().map(real).collect();
        let objectives = self.values(&x);
        Evaluation::plain(candidate.clone(), objectives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pymoo's figures for the same fronts and reference point.
    #[test]
    fn true_hypervolumes_are_the_published_ones() {
        for (problem, published) in Problem::ALL.into_iter().zip([0.8767, 0.5433, 1.3318, 0.8767, 0.5079, 0.8074]) {
            let exact = problem.hypervolume();
            assert!((exact - published).abs() < 2e-4, "{}: {exact} is not {published}", problem.name());
        }
    }

    #[test]
    fn optima_lie_on_the_true_fronts() {
        let at = |problem: Problem, first: u32, rest: u32| {
            let mut levels = vec![rest; problem.variables()];
            levels[0] = first;
            problem.evaluate(&Candidate { levels: levels.into() }).objectives
        };
        assert_eq!(at(Problem::Zdt1, 250, 0), [0.25, 0.5]);
        assert_eq!(at(Problem::Zdt2, 500, 0), [0.5, 0.75]);
        assert!((at(Problem::Zdt4, 250, 500)[1] - 0.5).abs() < 1e-12);
        assert_eq!(at(Problem::Zdt6, 0, 0), [1.0, 0.0]);
        let sphere = at(Problem::Dtlz2, 300, 500);
        assert!((sphere.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
