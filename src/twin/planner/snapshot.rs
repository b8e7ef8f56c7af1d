//! What the planner sees at a tick.

use crate::twin::engine::last_pass::PassSample;

/// One active worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerLoad {
    /// Identity, never reused.
    pub worker: u32,
    /// Prompt tokens that wait to be computed, cached prefixes included.
    pub queued_prefill_tokens: f64,
    /// Sum of the lengths of decoding sequences, tokens.
    pub decode_context: f64,
    /// Lengths of sequences that wait to decode again or for their KV, tokens.
    pub queued_decode_tokens: f64,
    /// Its last pass that had ended, `None` before the first.
    pub last_pass: Option<PassSample>,
}

/// The workers of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolState {
    pub starting: u32,
    pub draining: u32,
    /// Active workers, by identity.
    pub active: Vec<WorkerLoad>,
    /// Requests that wait for any worker of this pool.
    pub unplaced: u32,
    /// Requests placed in this pool and not ended, draining workers' included.
    pub in_flight: u32,
}

impl PoolState {
    /// Workers that are wanted: active and starting.
    pub fn target(&self) -> u32 {
        self.active.len() as u32 + self.starting
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.unplaced == 0
    }

    /// Workers whose GPUs are paid for.
    pub fn provisioned(&self) -> u32 {
        self.target() + self.draining
    }
}

/// Requests that arrived and ended since the tick before: sums, so that windows add up exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Length of the window, ms.
    pub duration_ms: f64,
    /// Requests that arrived.
    pub arrived: f64,
    /// Their prompt tokens.
    pub input_tokens: f64,
    /// Requests that completed.
    pub completed: f64,
    /// Tokens that they generated.
    pub output_tokens: f64,
    /// Their prompt tokens.
    pub completed_input_tokens: f64,
    /// Those of their prompt tokens that were found in the KV cache.
    pub reused_tokens: f64,
}

impl Traffic {
    /// Adds a later window to this one.
    pub fn add(&mut self, other: &Traffic) {
        self.duration_ms += other.duration_ms;
        self.arrived += other.arrived;
        self.input_tokens += other.input_tokens;
        self.completed += other.completed;
        self.output_tokens += other.output_tokens;
        self.completed_input_tokens += other.completed_input_tokens;
        self.reused_tokens += other.reused_tokens;
    }

    /// The window as if it had had this share of its requests.
    pub fn scaled(&self, share: f64) -> Traffic {
        Traffic {
            duration_ms: self.duration_ms * share,
            arrived: self.arrived * share,
            input_tokens: self.input_tokens * share,
            completed: self.completed * share,
            output_tokens: self.output_tokens * share,
            completed_input_tokens: self.completed_input_tokens * share,
            reused_tokens: self.reused_tokens * share,
        }
    }

    /// Mean prompt length of arrivals, tokens; `None` without any.
    pub fn mean_input(&self) -> Option<f64> {
        (self.arrived > 0.0).then(|| self.input_tokens / self.arrived)
    }

    /// Mean output length of completions, tokens; `None` without any.
    pub fn mean_output(&self) -> Option<f64> {
        (self.completed > 0.0).then(|| self.output_tokens / self.completed)
    }

    /// Share of prompt tokens found in the KV cache; `None` without completions.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.completed_input_tokens > 0.0).then(|| self.reused_tokens / self.completed_input_tokens)
    }
}

/// The cluster at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub now_ms: f64,
    /// In the order of the planner's pools.
    pub pools: Vec<PoolState>,
    /// Since the tick before.
    pub traffic: Traffic,
}
