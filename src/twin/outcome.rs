//! What a simulation answers.

use super::metrics::Metrics;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Completed,
    /// Refused: by the engine because it can never fit, or by the router.
    Rejected,
    /// Its worker died once more than it may be tried again, or no worker was left for it.
    Failed,
    /// Still in flight, or never started, when the simulation ended.
    Unfinished,
}

/// One request's fate. Times in ms; NaN where a time does not apply.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    /// Line of the trace, from 0.
    pub row: u32,
    pub session: u32,
    pub turn: u32,
    pub status: Status,
    pub arrival_ms: f64,
    pub ttft_ms: f64,
    pub e2e_ms: f64,
    pub tpot_ms: f64,
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Prompt tokens found in the KV cache: the largest over the request's admissions.
    pub reused_tokens: u32,
    pub preemptions: u32,
    /// Times it was tried again after its worker died.
    pub retries: u32,
    /// Worker that decoded it; `u32::MAX` for none.
    pub worker: u32,
    /// Worker that computed its prompt, when that is another; `u32::MAX` for none.
    pub prefill_worker: u32,
    /// Arrival to first admission by an engine, but for `tier_wait_ms`.
    pub queue_ms: f64,
    pub transfer_ms: f64,
    /// Where the rest of its time went, ms. With `queue_ms`, `transfer_ms`, `tier_wait_ms` and the time
    /// outside engines these add up to `e2e_ms`. From admission to the first token, but for what follows:
    pub prefill_ms: f64,
    /// from the first token to the last;
    pub decode_ms: f64,
    /// waiting to be admitted again after a preemption;
    pub preempted_ms: f64,
    /// computing again what a preemption lost.
    pub recomputed_ms: f64,
    /// Those of the reused tokens that were kept in host memory.
    pub host_tokens: u32,
    /// Those of the reused tokens that were brought from disk.
    pub disk_tokens: u32,
    /// Waiting for its prefix to come from host memory or disk, before any admission; NaN without tiers.
    pub tier_wait_ms: f64,
}

/// The result of one simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub metrics: Metrics,
    /// Engine passes, summed over workers (ranks of one worker count once).
    pub passes: u64,
    /// Simulation steps: passes taken one by one, and jumps over runs of them.
    pub steps: u64,
    /// One record per request, in workload order, when asked for.
    pub requests: Option<Vec<RequestRecord>>,
}
