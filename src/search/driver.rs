//! The parallel driver: asks a strategy for a batch, evaluates what is new on all threads, commits
//! in candidate order, tells the strategy, and hands each batch to a sink.
//!
//! Nothing here depends on the number of threads, on completion order, or on a clock: the same
//! space, strategy, seed and batch size give the same batches, and a run that is resumed after any
//! batch continues as the uninterrupted one would have. (A limit on wall time decides after which
//! batch a run ends, and nothing else.)

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::history::Gauge;
use super::ladder::Ladder;
use super::pace::Pace;
use super::stagnation::{Stagnation, StagnationWatch};
use super::{Evaluate, Evaluation, Fidelity, Strategy};
use crate::frontier::Front;
use crate::space::{Candidate, Space};

/// Rounds in which a strategy may propose nothing new before the search ends.
const STALE_ROUNDS: usize = 64;
/// Refused candidates per simulation of the budget before the search ends.
const REFUSALS_PER_SIMULATION: usize = 20;

/// How much to simulate, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Most simulations. A candidate refused before simulation costs none, but a run ends after 20
    /// refusals per simulation of the budget; a look through windows costs its share of one.
    pub budget: usize,
    /// Candidates per batch. Part of the study: another batch size is another run.
    pub batch: usize,
    /// Threads that simulate; changes the wall time and nothing else. At least 1.
    pub threads: usize,
    /// Look through windows of the workload first, where the evaluator can, and simulate whole only
    /// what could still matter.
    pub ladder: bool,
    /// Let the evaluator end a simulation early once its candidate cannot matter any more.
    pub early_abort: bool,
    /// Ends the search when its hypervolume has stopped growing.
    pub stagnation: Option<Stagnation>,
    /// Ends the search after the first batch that is complete this long after the start.
    pub max_wall: Option<Duration>,
}

impl Settings {
    /// Whole simulations only, to the end of the budget.
    pub const fn plain(budget: usize, batch: usize, threads: usize) -> Self {
        Settings { budget, batch, threads, ladder: false, early_abort: false, stagnation: None, max_wall: None }
    }
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
    /// Whole simulations so far, those of a resumed run included, and those that ended early.
    pub simulations: usize,
    /// Candidates that were only looked at through windows so far.
    pub screened: usize,
    /// What all that cost so far, in simulations; rounded down.
    pub spent: usize,
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

/// Receives what the driver commits, in order, on a thread of its own: what is known of a batch is
/// kept while the next one is simulated.
pub trait Sink: Send {
    /// A batch of new evaluations, in candidate order; not called for batches that a resumed run
    /// already holds.
    fn batch(&mut self, batch: usize, committed: &[Committed]) -> Result<(), SinkError>;
    /// After every batch.
    fn progress(&mut self, _progress: &Progress) {}
}

/// What the keeping thread is sent after a batch: its index and what it holds, unless that is kept
/// already, and where the search stands.
type Note = (Option<(usize, Vec<Committed>)>, Progress);

/// Hands a sink what comes, until all is said or the sink fails.
fn keep(sink: &mut dyn Sink, notes: &Receiver<Note>) -> Result<(), DriverError> {
    for (new, progress) in notes {
        if let Some((batch, committed)) = new {
            sink.batch(batch, &committed).map_err(|source| DriverError::Sink { batch, source })?;
        }
        sink.progress(&progress);
    }
    Ok(())
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
    /// The hypervolume has stopped growing.
    Stagnation,
    /// The wall time that was given is over.
    WallTime,
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
        // Of one thread too: what a strategy spreads over threads stays on it.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|source| DriverError::Threads { threads, source })?;
        let m = self.evaluate.objectives();
        let ladder = self.evaluate.screen_cost().filter(|_| self.settings.ladder);
        let mut run = Run {
            places: FxHashMap::default(),
            committed: Vec::new(),
            gauge: Gauge::new(m),
            front: Front::new(m),
            stagnation: self.settings.stagnation.map(|rule| StagnationWatch::new(rule, m)),
            ladder: ladder.map(|cost| (cost, Ladder::new(m))),
            pace: Pace::new(self.space),
            simulations: 0,
            screened: 0,
            spent: 0.0,
            refused: 0,
            feasible: 0,
            batches: 0,
        };
        let stop = std::thread::scope(|scope| {
            // Without room: no more than one batch is being kept while the next is simulated.
            let (notes, received) = sync_channel(0);
            let keeper = scope.spawn(move || keep(sink, &received));
            let ended = self.rounds(&mut run, strategy, &notes, &pool);
            drop(notes);
            let kept = keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            kept.and(ended)
        })?;
        Ok(RunSummary { progress: run.progress(), committed: run.committed, stop })
    }

    fn rounds(
        &self,
        run: &mut Run,
        strategy: &mut dyn Strategy,
        notes: &SyncSender<Note>,
        pool: &rayon::ThreadPool,
    ) -> Result<StopReason, DriverError> {
        let most_refused = self.settings.budget.saturating_mul(REFUSALS_PER_SIMULATION);
        let started = Instant::now();
        let mut stale = 0;
        loop {
            let left = run.affordable(self.settings.budget);
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
            if !replaying && run.batches > 0 && self.settings.max_wall.is_some_and(|most| started.elapsed() >= most) {
                return Ok(StopReason::WallTime);
            }
            let n = self.settings.batch.max(1).min(left);
            // On the pool, all of which a strategy may use.
            let asked = pool.install(|| strategy.ask(n));
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
                let stored = match self.stored.get(batch) {
                    Some(stored) => Some(self.stored_batch(stored, batch, &new)?),
                    None => None,
                };
                let evaluations = self.evaluate_all(run, &new, stored, pool)?;
                run.commit(evaluations, strategy.name());
                let first = run.committed.len() - new.len();
                let new = (!replaying).then(|| (batch, run.committed[first..].to_vec()));
                // Nobody listens once the sink has failed, which is what the run ends with.
                if notes.send((new, run.progress())).is_err() {
                    return Ok(StopReason::Interrupted);
                }
                if run.has_stagnated() {
                    return self.check_all_replayed(run, StopReason::Stagnation);
                }
            }
            let told: Vec<Evaluation> = asked.iter().map(|c| run.committed[run.places[c]].evaluation.clone()).collect();
            strategy.tell(&told);
        }
    }

    /// The evaluations of a batch: simulated, or taken from the store; with a ladder, those that a
    /// look spares are committed as the look saw them.
    fn evaluate_all(
        &self,
        run: &mut Run,
        new: &[Candidate],
        stored: Option<Vec<Evaluation>>,
        pool: &rayon::ThreadPool,
    ) -> Result<Vec<Evaluation>, DriverError> {
        let rivals: &[f64] = if self.settings.early_abort { run.front.points() } else { &[] };
        let simulate = |candidate: &Candidate| match self.settings.early_abort {
            true => self.evaluate.evaluate_against(candidate, rivals),
            false => self.evaluate.evaluate(candidate),
        };
        let all: Vec<&Candidate> = new.iter().collect();
        let pace = &mut run.pace;
        let Some((_, ladder)) = &mut run.ladder else {
            return Ok(stored.unwrap_or_else(|| self.each(&all, simulate, pool, pace)));
        };
        // A resumed run takes the looks again, for what the ladder learns from them is not stored.
        let looks = self.each(&all, |candidate| self.evaluate.screen(candidate), pool, pace);
        let is_promoted: Vec<bool> = looks.iter().map(|look| ladder.promotes(look)).collect();
        let evaluations = match stored {
            Some(stored) => {
                let agrees = |(e, promoted): (&Evaluation, &bool)| {
                    *promoted == (e.fidelity != Fidelity::Windows) || e.is_refused()
                };
                if !stored.iter().zip(&is_promoted).all(agrees) {
                    let detail = "it simulated other candidates whole than this search would".to_owned();
                    return Err(DriverError::Mismatch { batch: run.batches, detail });
                }
                stored
            }
            None => {
                let promoted: Vec<&Candidate> =
                    new.iter().zip(&is_promoted).filter(|(_, p)| **p).map(|(c, _)| c).collect();
                let mut simulated = self.each(&promoted, simulate, pool, pace).into_iter();
                let mut next = |(look, promoted): (&Evaluation, &bool)| match promoted {
                    true => simulated.next().expect("one per promoted candidate"),
                    false => look.clone(),
                };
                looks.iter().zip(&is_promoted).map(&mut next).collect()
            }
        };
        for ((look, evaluation), _) in looks.iter().zip(&evaluations).zip(&is_promoted).filter(|(_, p)| **p) {
            ladder.learn(look, evaluation);
        }
        Ok(evaluations)
    }

    /// What a function makes of each candidate, in their order, on all threads: one at a time, as
    /// simulations differ in length by orders of magnitude, and the longest first.
    fn each(
        &self,
        candidates: &[&Candidate],
        evaluate: impl Fn(&Candidate) -> Evaluation + Sync,
        pool: &rayon::ThreadPool,
        pace: &mut Pace,
    ) -> Vec<Evaluation> {
        let evaluations: Vec<Evaluation> = if self.settings.threads < 2 {
            pool.install(|| candidates.iter().map(|c| evaluate(c)).collect())
        } else {
            let order = pace.order(candidates);
            let next = AtomicUsize::new(0);
            let done = pool.broadcast(|_| {
                let mut done = Vec::new();
                while let Some(&at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let evaluation = evaluate(candidates[at]);
                    done.push((at, evaluation, started.elapsed().as_secs_f64()));
                }
                done
            });
            let mut done: Vec<_> = done.into_iter().flatten().collect();
            done.sort_unstable_by_key(|(at, ..)| *at);
            for (_, evaluation, seconds) in done.iter().filter(|(_, e, _)| !e.is_refused()) {
                pace.learn(evaluation, *seconds);
            }
            done.into_iter().map(|(_, evaluation, _)| evaluation).collect()
        };
        for (evaluation, candidate) in evaluations.iter().zip(candidates) {
            assert_eq!(evaluation.candidate, **candidate, "an evaluation is of the candidate that was given");
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
    /// Of what is feasible.
    front: Front,
    stagnation: Option<StagnationWatch>,
    /// With what a look costs.
    ladder: Option<(f64, Ladder)>,
    pace: Pace,
    simulations: usize,
    screened: usize,
    /// In simulations.
    spent: f64,
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
            let look = self.ladder.as_ref().map_or(0.0, |(cost, _)| *cost);
            if evaluation.is_refused() {
                self.refused += 1;
            } else if evaluation.fidelity == Fidelity::Windows {
                self.screened += 1;
                self.spent += look;
            } else {
                self.simulations += 1;
                self.spent += 1.0 + look;
            }
            if evaluation.is_feasible() {
                self.feasible += 1;
                self.front.insert(&evaluation.objectives, 0);
            }
            self.gauge.add(&evaluation);
            if let Some(watch) = &mut self.stagnation {
                watch.add(&evaluation);
            }
            self.committed.push(Committed { evaluation, strategy, batch: self.batches });
        }
        self.batches += 1;
    }

    /// Candidates that the rest of a budget pays for, even if all are simulated whole.
    fn affordable(&self, budget: usize) -> usize {
        let look = self.ladder.as_ref().map_or(0.0, |(cost, _)| *cost);
        // Sums of looks are not exact.
        let left = budget as f64 - self.spent + 1e-6;
        if left < 1.0 { 0 } else { ((left / (1.0 + look)) as usize).max(1) }
    }

    fn has_stagnated(&mut self) -> bool {
        let simulations = self.simulations + self.screened;
        self.stagnation.as_mut().is_some_and(|watch| watch.has_stopped(simulations))
    }

    fn progress(&mut self) -> Progress {
        Progress {
            simulations: self.simulations,
            screened: self.screened,
            spent: self.spent as usize,
            refused: self.refused,
            feasible: self.feasible,
            batches: self.batches,
            frontier: self.gauge.front_len(),
            hypervolume: self.gauge.read(),
        }
    }
}
