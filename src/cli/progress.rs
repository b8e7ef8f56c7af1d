//! What a running search shows and hears: the progress bar, and the signals that stop it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::CliError;
use crate::search::{Evaluate, Evaluation, Progress};
use crate::space::Candidate;

/// Ctrl-C and SIGTERM: the first asks the search to stop after the batch in flight, the second
/// kills.
pub struct Stop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let a signal be caught.
    pub fn on_signals() -> Result<Stop, CliError> {
        let stop = Stop { flag: Arc::default(), signal: Arc::default() };
        let register = |signal: i32| -> io::Result<()> {
            // In this order, so that the flag is still down when the first signal asks for it.
            flag::register_conditional_default(signal, Arc::clone(&stop.flag))?;
            flag::register(signal, Arc::clone(&stop.flag))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), usize::try_from(signal).unwrap_or(0))?;
            Ok(())
        };
        [SIGINT, SIGTERM]
            .into_iter()
            .try_for_each(register)
            .map_err(|e| CliError::Failure(format!("cannot listen for Ctrl-C: {e}")))?;
        Ok(stop)
    }

    /// Up once a signal came.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// The last signal's number; 0 for none.
    pub fn signal(&self) -> u8 {
        self.signal.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }
}

/// The progress bar on standard error, if that is a terminal.
pub struct Watch {
    bar: ProgressBar,
}

impl Watch {
    /// A bar for a budget of simulations.
    pub fn new(budget: usize) -> Watch {
        let bar = ProgressBar::with_draw_target(Some(budget as u64), ProgressDrawTarget::stderr());
        let template = "{bar:30} {human_pos}/{human_len} simulations, {per_sec}, {msg} {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Watch { bar }
    }

    /// After a batch.
    pub fn show(&self, progress: &Progress) {
        self.bar.set_position(progress.spent as u64);
        self.bar.set_message(format!(
            "{} feasible, {} on the frontier, hypervolume {:.4},",
            progress.feasible, progress.frontier, progress.hypervolume
        ));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// An evaluator that moves the bar with every simulation and not only with every batch.
pub struct Counted<'a> {
    pub inner: &'a dyn Evaluate,
    pub watch: &'a Watch,
    pub stop: &'a Stop,
}

impl Evaluate for Counted<'_> {
    fn objectives(&self) -> usize {
        self.inner.objectives()
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        self.counted(self.inner.evaluate(candidate))
    }

    fn evaluate_against(&self, candidate: &Candidate, rivals: &[f64]) -> Evaluation {
        self.counted(self.inner.evaluate_against(candidate, rivals))
    }

    fn screen_cost(&self) -> Option<f64> {
        self.inner.screen_cost()
    }

    fn screen(&self, candidate: &Candidate) -> Evaluation {
        self.inner.screen(candidate)
    }
}

impl Counted<'_> {
    fn counted(&self, evaluation: Evaluation) -> Evaluation {
        if !evaluation.is_refused() {
            self.watch.bar.inc(1);
        }
        if self.stop.flag.load(Ordering::Relaxed) {
            self.watch.bar.set_message("stopping after this batch (again to kill);");
        }
        evaluation
    }
}
