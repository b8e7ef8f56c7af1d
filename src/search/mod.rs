//! Search over a [`crate::space::Space`]: strategies that ask and are told, and the driver that
//! evaluates in parallel and commits in candidate order.
//!
//! The driver does not care what is evaluated. A function of one's own, over knobs of one's own:
//!
//! ```
//! use servescout::search::{Driver, Evaluate, Evaluation, Settings, strategy};
//! use servescout::space::{Candidate, Domain, Knob, Space, Value};
//!
//! /// A box of given volume: little material, and a small base.
//! struct Boxes(Space);
//!
//! impl Evaluate for Boxes {
//!     fn objectives(&self) -> usize {
//!         2
//!     }
//!
//!     fn evaluate(&self, candidate: &Candidate) -> Evaluation {
//!         let number = |knob| self.0.value(candidate, knob).and_then(Value::as_f64).expect("both are always there");
//!         let (width, depth) = (number(0), number(1));
//!         let height = 1000.0 / (width * depth);
//!         let material = 2.0 * (width * depth + width * height + depth * height);
//!         Evaluation::plain(candidate.clone(), vec![material, width * depth])
//!     }
//! }
//!
//! let knob = |name: &str| Knob {
//!     name: name.into(),
//!     domain: Domain { values: (1..=40).map(Value::Int).collect(), ordered: true, log: true },
//!     conditions: vec![],
//!     block: "size".into(),
//! };
//! let space = Space { knobs: vec![knob("width"), knob("depth")] };
//! let boxes = Boxes(space.clone());
//!
//! let mut auto = strategy("auto", &space, 2, 7, 60)?;
//! let settings = Settings::plain(60, 4, 2);
//! let run = Driver::new(&space, &boxes, settings).run(auto.as_mut(), &mut ())?;
//!
//! let least = run.evaluations().iter().map(|e| e.objectives[0]).fold(f64::INFINITY, f64::min);
//! assert!(least < 603.0, "a cube of side 10 takes 600");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod auto;
pub mod bayesian;
pub mod benchmark;
pub mod coordinate;
mod draw;
pub mod driver;
pub mod genetic;
pub mod grid;
pub mod history;
pub mod instances;
mod ladder;
mod memory;
mod pace;
pub mod problems;
pub mod random;
pub mod sizes;
pub mod sobol;
mod stagnation;
mod survival;
pub mod tabular;
pub mod warm;

pub use driver::{Committed, Driver, DriverError, Progress, RunSummary, Settings, Sink, SinkError, StopReason};
pub use history::hypervolume_history;
pub use stagnation::Stagnation;

use crate::space::{Candidate, Space};

/// The result of one simulation, as the search sees it. The search knows nothing of serving.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was evaluated, in canonical form.
    pub candidate: Candidate,
    /// Objective values, all to be minimised (a maximised metric comes negated); NaN where the
    /// candidate could not be simulated.
    pub objectives: Vec<f64>,
    /// 0 when every constraint holds; else the sum of relative violations; infinite when the
    /// candidate was refused before simulation.
    pub violation: f64,
    /// Every metric of the evaluation, in the evaluator's fixed order; opaque to the search.
    pub metrics: Vec<f64>,
    /// Why the candidate was refused or is infeasible, in words.
    pub reason: Option<String>,
    /// How much of the simulation lies behind the values.
    pub fidelity: Fidelity,
    /// With replications: half the width of the 80 % interval of each objective's mean; else empty.
    pub half_widths: Vec<f64>,
}

/// How much of the simulation lies behind an evaluation. Only a full one can be on the frontier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// All of it, or a refusal before any of it.
    #[default]
    Full,
    /// Windows of the workload: the values are estimates.
    Windows,
    /// Ended early, because it could no longer be feasible or non-dominated: values and violation
    /// are lower bounds.
    Aborted,
}

impl Fidelity {
    /// All of them.
    pub const ALL: [Fidelity; 3] = [Fidelity::Full, Fidelity::Windows, Fidelity::Aborted];

    /// The word in the archive.
    pub fn name(self) -> &'static str {
        match self {
            Fidelity::Full => "full",
            Fidelity::Windows => "windows",
            Fidelity::Aborted => "aborted",
        }
    }
}

impl Evaluation {
    /// A refusal before simulation, for this reason.
    pub fn refused(candidate: Candidate, objectives: usize, metrics: usize, reason: String) -> Evaluation {
        Evaluation {
            candidate,
            objectives: vec![f64::NAN; objectives],
            violation: f64::INFINITY,
            metrics: vec![f64::NAN; metrics],
            reason: Some(reason),
            fidelity: Fidelity::Full,
            half_widths: Vec::new(),
        }
    }

    /// Objectives of a candidate that keeps every constraint, and nothing else: enough for a
    /// problem that is not a study.
    pub fn plain(candidate: Candidate, objectives: Vec<f64>) -> Evaluation {
        Evaluation {
            candidate,
            objectives,
            violation: 0.0,
            metrics: Vec::new(),
            reason: None,
            fidelity: Fidelity::Full,
            half_widths: Vec::new(),
        }
    }

    /// Whether it was simulated whole and every constraint holds.
    pub fn is_feasible(&self) -> bool {
        self.violation == 0.0 && self.fidelity == Fidelity::Full
    }

    /// Whether it was simulated, and to the end: its values are what they are, not estimates.
    pub fn is_whole(&self) -> bool {
        self.fidelity == Fidelity::Full && !self.is_refused()
    }

    /// Whether it was refused before simulation, and so cost nothing.
    pub fn is_refused(&self) -> bool {
        self.violation == f64::INFINITY && self.objectives.iter().all(|v| v.is_nan())
    }
}

/// Turns a candidate into its evaluation. Must be a pure function of the candidate: the driver
/// calls it from several threads and caches what it returns.
pub trait Evaluate: Sync {
    /// Number of objectives that every evaluation carries.
    fn objectives(&self) -> usize;
    /// Evaluates one canonical candidate.
    fn evaluate(&self, candidate: &Candidate) -> Evaluation;
    /// As [`Evaluate::evaluate`], but may end early, with [`Fidelity::Aborted`], once the candidate
    /// provably breaks a constraint or is dominated by one of `rivals`: row-major objectives of
    /// feasible candidates. A pure function of both.
    fn evaluate_against(&self, candidate: &Candidate, _rivals: &[f64]) -> Evaluation {
        self.evaluate(candidate)
    }
    /// What a look through windows costs as a share of a whole evaluation; `None` when there is no
    /// such look.
    fn screen_cost(&self) -> Option<f64> {
        None
    }
    /// A look at a candidate through windows of the workload, with [`Fidelity::Windows`]; a refusal
    /// is one at once. A pure function of the candidate. Only asked where
    /// [`Evaluate::screen_cost`] names a cost.
    fn screen(&self, candidate: &Candidate) -> Evaluation {
        self.evaluate(candidate)
    }
}

/// A search strategy. Deterministic: what it asks depends only on its seed and on what it was told.
/// The driver asks on its own threads, so that a strategy may spread its work over them with rayon.
pub trait Strategy: Send {
    /// The name used in TOML, on the command line and in the archive.
    fn name(&self) -> &'static str;
    /// Proposes up to `n` canonical candidates; fewer, or none, when it has no more to propose.
    /// Proposals that were evaluated before are legal: the driver answers them from its cache.
    fn ask(&mut self, n: usize) -> Vec<Candidate>;
    /// Learns the evaluations of everything it asked for, in the order it asked.
    fn tell(&mut self, evaluations: &[Evaluation]);
}

/// What is known about a candidate before it is evaluated, and is more telling than its knobs: sizes
/// that several knobs make together, or a cheap estimate of its objectives. The search takes them
/// as plain numbers. Must be a pure function of the candidate.
pub trait Features: Sync {
    /// The same number of values for every candidate; `None` for one that would be refused.
    fn features(&self, candidate: &Candidate) -> Option<Vec<f64>>;
}

/// The strategies, in the order in which they are listed: name, and what it does.
pub const STRATEGIES: &[(&str, &str)] = &[
    ("auto", "the other strategies by what each earns, then a local search"),
    ("bayesian", "Gaussian processes and trees propose what should add most hypervolume"),
    ("coordinate", "block-coordinate descent from several weightings of the objectives"),
    ("genetic", "NSGA-II with operators for ordered and unordered knobs"),
    ("sobol", "quasi-random points, spread evenly"),
    ("random", "uniform random points"),
    ("grid", "every candidate, in order"),
];

/// A strategy's name is not among [`STRATEGIES`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown strategy `{name}`: it is one of {}", names())]
pub struct UnknownStrategy {
    /// What was asked for.
    pub name: String,
}

fn names() -> String {
    STRATEGIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A strategy by its name, over a space of some objectives, for a budget of simulations.
pub fn strategy(
    name: &str,
    space: &Space,
    objectives: usize,
    seed: u64,
    budget: usize,
) -> Result<Box<dyn Strategy>, UnknownStrategy> {
    strategy_with(name, space, objectives, seed, budget, None)
}

/// The same, with features of the candidates for the strategies that learn from them.
pub fn strategy_with<'a>(
    name: &str,
    space: &Space,
    objectives: usize,
    seed: u64,
    budget: usize,
    features: Option<&'a dyn Features>,
) -> Result<Box<dyn Strategy + 'a>, UnknownStrategy> {
    Ok(match name {
        "auto" => Box::new(auto::Auto::new(space, objectives, seed, budget, features)),
        "bayesian" => Box::new(bayesian::Bayesian::new(space, objectives, seed, features)),
        "coordinate" => Box::new(coordinate::Coordinate::new(space, objectives, seed)),
        "genetic" => Box::new(genetic::Genetic::new(space, objectives, seed, budget)),
        "sobol" => Box::new(sobol::Sobol::new(space, seed)),
        "random" => Box::new(random::Random::new(space, seed)),
        "grid" => Box::new(grid::Grid::new(space)),
        _ => return Err(UnknownStrategy { name: name.to_owned() }),
    })
}
