//! The last passes of a worker, for those who watch it from outside.

use crate::timing::{DecodeRun, PassLoad};

/// One pass that a worker did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassSample {
    /// New prompt tokens in it.
    pub prefill_tokens: f64,
    /// Sequences that decoded in it.
    pub decode_seqs: f64,
    /// Sum of their lengths before it, tokens.
    pub decode_context: f64,
    /// How long it took, ms.
    pub wall_ms: f64,
    /// When it ended, ms.
    pub end_ms: f64,
}

/// Passes done in one go. Noted as they are: what a watcher wants to know of them is worked out when
/// it asks, which is seldom.
#[derive(Clone, Copy, Debug)]
enum Done {
    One(PassSample),
    Run { start_ms: f64, seqs: u32, context: u64, run: DecodeRun, passes: u64 },
}

impl Done {
    /// The last of these passes that had ended by then.
    fn ended_by(&self, now_ms: f64) -> Option<PassSample> {
        match *self {
            Done::One(pass) => Some(pass).filter(|p| p.end_ms <= now_ms),
            Done::Run { start_ms, seqs, context, run, passes } => {
                let pass = |k: u64| PassSample {
                    prefill_tokens: 0.0,
                    decode_seqs: f64::from(seqs),
                    decode_context: (context + k * u64::from(seqs)) as f64,
                    wall_ms: run.pass(k),
                    end_ms: start_ms + run.total(k + 1),
                };
                // All but the last have: the worker has been advanced no further.
                (passes.saturating_sub(2)..passes).rev().map(pass).find(|p| p.end_ms <= now_ms)
            }
        }
    }
}

/// The last two things done: a worker that has been advanced to an instant is in the middle of the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastPasses {
    /// The pass in flight.
    planned: Option<(f64, f64, f64)>,
    last: Option<Done>,
    before: Option<Done>,
}

impl LastPasses {
    /// Takes note of what will be in the next pass.
    pub fn plan(&mut self, load: &PassLoad) {
        let (new, seqs, context) = (load.new_tokens, load.decode_seqs, load.decode_context_tokens);
        self.planned = (new > 0 || seqs > 0).then_some((new as f64, f64::from(seqs), context as f64));
    }

    /// The pass that was planned, if one was, has begun and ended then.
    pub fn end(&mut self, start_ms: f64, end_ms: f64) {
        if let Some((prefill_tokens, decode_seqs, decode_context)) = self.planned.take() {
            let wall_ms = end_ms - start_ms;
            self.note(Done::One(PassSample { prefill_tokens, decode_seqs, decode_context, wall_ms, end_ms }));
        }
    }

    /// Takes note of a run of passes that only decode.
    pub fn note_run(&mut self, start_ms: f64, seqs: u32, context: u64, run: &DecodeRun, passes: u64) {
        self.note(Done::Run { start_ms, seqs, context, run: *run, passes });
    }

    fn note(&mut self, done: Done) {
        self.before = self.last.replace(done);
    }

    /// The last pass that had ended by then; the worker has been advanced to then, and no further.
    pub fn ended_by(&self, now_ms: f64) -> Option<PassSample> {
        let ended = |done: &Option<Done>| done.as_ref().and_then(|d| d.ended_by(now_ms));
        ended(&self.last).or_else(|| ended(&self.before))
    }
}
