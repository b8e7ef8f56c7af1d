//! The parallel driver: asks a strategy for a batch, evaluates what is new on all threads, commits
//! in candidate order, tells the strategy, and hands each batch to a sink.
//!
//! Nothing here depends on the number of threads, on completion order, or on a clock: the same
//! space, strategy, seed and batch size give the same batches, and a run that is resumed after any
//! batch continues as the uninterrupted one would have.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::history::Gauge;
use super::{Evaluate, Evaluation, Strategy};
use crate::space::{Candidate, Space};

/// Rounds in which a strategy may propose nothing new before the search ends.
const STALE_ROUNDS: usize = 64;
/// Refused candidates per simulation of the budget before the search ends.
const REFUSALS_PER_SIMULATION: usize = 20;

/// How much to simulate, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most simulations. A candidate refused before simulation costs none, but a run ends after 20
    /// refusals per simulation of the budget.
    pub budget: usize,
    /// Candidates per batch. Part of the study: another batch size is another run.
    pub batch: usize,
    /// Threads that simulate; changes the wall time and nothing else. At least 1.
    pub threads: usize,
}

/// One evaluation as it entered the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub evaluation: Evaluation,
    /// Name of the strategy that proposed it.
    pub strategy: &'static str,
    /// Index of its batch, from 0.
    pub batch: usize,
}

/// Where a running search stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Simulations so far, those of a resumed run included.
    pub simulations: usize,
    /// Candidates refused before simulation so far.
    pub refused: usize,
    /// Candidates that keep every constraint so far.
    pub feasible: usize,
    /// Batches so far.
    pub batches: usize,
    /// Members of the front so far.
    pub frontier: usize,
    /// Hypervolume so far, in units fixed early in the run: for watching, not for the record.
    pub hypervolume: f64,
}

/// What a sink can fail with.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Receives what the driver commits, in order.
pub trait Sink {
    /// A batch of new evaluations, in candidate order; not called for batches that a resumed run
    /// already holds.
    fn batch(&mut self, batch: usize, committed: &[Committed]) -> Result<(), SinkError>;
    /// After every batch.
    fn progress(&mut self, _progress: &Progress) {}
}

/// Keeps nothing: the summary holds all evaluations anyway.
impl Sink for () {
    fn batch(&mut self, _batch: usize, _committed: &[Committed]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The budget of simulations is spent.
    Budget,
    /// The strategy has nothing new to propose.
    Exhausted,
    /// Far more candidates were refused than simulated.
    Refusals,
    /// The stop flag was raised.
    Interrupted,
}

/// What a search did.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Every evaluation, in the order of commitment, those of a resumed run included.
    pub committed: Vec<Committed>,
    pub progress: Progress,
    pub stop: StopReason,
}

impl RunSummary {
    /// The evaluations alone.
    pub fn evaluations(&self) -> Vec<Evaluation> {
        self.committed.iter().map(|c| c.evaluation.clone()).collect()
    }
}

/// Why a search could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The stored batches are not what this search would have asked for.
    #[error(
        "the stored batch {batch} does not belong to this search: {detail}. A run can be resumed only with the \
         space, seed, strategy, batch size and program version that it was started with"
    )]
    Mismatch {
        /// Index of the first batch that differs.
        batch: usize,
        /// How it differs.
        detail: String,
    },
    /// The sink failed to keep a batch.
    #[error("batch {batch} could not be kept: {source}")]
    Sink {
        batch: usize,
        #[source]
        source: SinkError,
    },
    /// The threads could not be started.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        threads: usize,
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

/// A search over a space; see the module.
pub struct Driver<'a> {
    space: &'a Space,
    evaluate: &'a dyn Evaluate,
    settings: Settings,
    stored: Vec<(usize, Vec<Evaluation>)>,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Driver<'a> {
    /// A search that starts from nothing.
    pub fn new(space: &'a Space, evaluate: &'a dyn Evaluate, settings: Settings) -> Self {
        Driver { space, evaluate, settings, stored: Vec::new(), stop: None }
    }

    /// Takes these batches (index from 0, evaluations in order of commitment) instead of
    /// simulating them again.
    pub fn resume(mut self, stored: Vec<(usize, Vec<Evaluation>)>) -> Self {
        self.stored = stored;
        self
    }

    /// Ends the search after the batch in flight once the flag is true.
    pub fn stop_when(mut self, flag: &'a AtomicBool) -> Self {
        self.stop = Some(flag);
        self
    }

    /// Runs to the budget, the end of the strategy, or the stop flag.
    pub fn run(self, strategy: &mut dyn Strategy, sink: &mut dyn Sink) -> Result<RunSummary, DriverError> {
        let threads = self.settings.threads.max(1);
        let pool = match threads {
            1 => None,
            _ => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .map_err(|source| DriverError::Threads { threads, source })?,
            ),
        };
        let mut run = Run {
            places: FxHashMap::default(),
            committed: Vec::new(),
            gauge: Gauge::new(self.evaluate.objectives()),
            simulations: 0,
            refused: 0,
            feasible: 0,
            batches: 0,
        };
        let stop = self.rounds(&mut run, strategy, sink, pool.as_ref())?;
        Ok(RunSummary { progress: run.progress(), committed: run.committed, stop })
    }

    fn rounds(
        &self,
        run: &mut Run,
        strategy: &mut dyn Strategy,
        sink: &mut dyn Sink,
        pool: Option<&rayon::ThreadPool>,
    ) -> Result<StopReason, DriverError> {
        let most_refused = self.settings.budget.saturating_mul(REFUSALS_PER_SIMULATION);
        let mut stale = 0;
        loop {
            let left = self.settings.budget - run.simulations;
            if left == 0 {
                return Ok(StopReason::Budget);
            }
            if run.refused > most_refused {
                return Ok(StopReason::Refusals);
            }
            // Stored batches are re-asked first, whatever the flag says.
            let replaying = run.batches < self.stored.len();
            if !replaying && self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return Ok(StopReason::Interrupted);
            }
            let asked = strategy.ask(self.settings.batch.max(1).min(left));
            if asked.is_empty() {
                return self.check_all_replayed(run, StopReason::Exhausted);
            }
            let new = run.new_candidates(&asked);
            stale = if new.is_empty() { stale + 1 } else { 0 };
            if stale > STALE_ROUNDS {
                return self.check_all_replayed(run, StopReason::Exhausted);
            }
            if !new.is_empty() {
                let batch = run.batches;
                let evaluations = match self.stored.get(batch) {
                    Some(stored) => self.stored_batch(stored, batch, &new)?,
                    None => self.evaluate_all(&new, pool),
                };
                run.commit(evaluations, strategy.name());
                if !replaying {
                    let first = run.committed.len() - new.len();
                    sink.batch(batch, &run.committed[first..]).map_err(|source| DriverError::Sink { batch, source })?;
                }
                sink.progress(&run.progress());
            }
            let told: Vec<Evaluation> = asked.iter().map(|c| run.committed[run.places[c]].evaluation.clone()).collect();
            strategy.tell(&told);
        }
    }

    fn evaluate_all(&self, new: &[Candidate], pool: Option<&rayon::ThreadPool>) -> Vec<Evaluation> {
        let evaluations: Vec<Evaluation> = match pool {
            None => new.iter().map(|c| self.evaluate.evaluate(c)).collect(),
            // One at a time: simulations differ in length by orders of magnitude.
            Some(pool) => pool.install(|| new.par_iter().with_max_len(1).map(|c| self.evaluate.evaluate(c)).collect()),
        };
        for (evaluation, candidate) in evaluations.iter().zip(new) {
            assert_eq!(evaluation.candidate, *candidate, "an evaluation is of the candidate that was given");
            assert_eq!(evaluation.objectives.len(), self.evaluate.objectives(), "objectives of every evaluation");
        }
        evaluations
    }

    /// The stored evaluations of a batch, if they are of exactly these candidates.
    fn stored_batch(
        &self,
        (index, stored): &(usize, Vec<Evaluation>),
        batch: usize,
        new: &[Candidate],
    ) -> Result<Vec<Evaluation>, DriverError> {
        let mismatch = |detail: String| Err(DriverError::Mismatch { batch, detail });
        if *index != batch {
            return mismatch(format!("batch {batch} is missing, the next one stored is {index}"));
        }
        if stored.len() != new.len() {
            return mismatch(format!("it holds {} evaluations, this search asks for {}", stored.len(), new.len()));
        }
        for (row, (stored, candidate)) in stored.iter().zip(new).enumerate() {
            if stored.candidate != *candidate {
                return mismatch(format!(
                    "row {row} holds candidate {}, this search asks for {}",
                    self.space.id(&stored.candidate),
                    self.space.id(candidate)
                ));
            }
            if stored.objectives.len() != self.evaluate.objectives() {
                return mismatch(format!(
                    "its evaluations have {} objectives, this search has {}",
                    stored.objectives.len(),
                    self.evaluate.objectives()
                ));
            }
        }
        Ok(stored.clone())
    }

    fn check_all_replayed(&self, run: &Run, reason: StopReason) -> Result<StopReason, DriverError> {
        let batch = run.batches;
        if batch < self.stored.len() {
            let detail = "this search proposes nothing more before it".to_owned();
            return Err(DriverError::Mismatch { batch, detail });
        }
        Ok(reason)
    }
}

/// The state of a running search.
struct Run {
    /// Where each candidate is among the committed.
    places: FxHashMap<Candidate, usize>,
    committed: Vec<Committed>,
    gauge: Gauge,
    simulations: usize,
    refused: usize,
    feasible: usize,
    batches: usize,
}

impl Run {
    /// Those not evaluated before, each once, in order.
    fn new_candidates(&mut self, asked: &[Candidate]) -> Vec<Candidate> {
        let mut new = Vec::with_capacity(asked.len());
        for candidate in asked {
            if !self.places.contains_key(candidate) {
                self.places.insert(candidate.clone(), self.committed.len() + new.len());
                new.push(candidate.clone());
            }
        }
        new
    }

    fn commit(&mut self, evaluations: Vec<Evaluation>, strategy: &'static str) {
        for evaluation in evaluations {
            if evaluation.is_refused() {
                self.refused += 1;
            } else {
                self.simulations += 1;
            }
            self.feasible += usize::from(evaluation.is_feasible());
            self.gauge.add(&evaluation);
            self.committed.push(Committed { evaluation, strategy, batch: self.batches });
        }
        self.batches += 1;
    }

    fn progress(&mut self) -> Progress {
        Progress {
            simulations: self.simulations,
            refused: self.refused,
            feasible: self.feasible,
            batches: self.batches,
            frontier: self.gauge.front_len(),
            hypervolume: self.gauge.read(),
        }
    }
}
