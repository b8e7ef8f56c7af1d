//! What the user asks for under `[workload]`, before anything is read or generated.

use std::path::PathBuf;

/// Tokens per hash id of Mooncake's traces, and the default everywhere.
pub const DEFAULT_BLOCK_TOKENS: u32 = 512;

/// A workload to load.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSpec {
    pub source: SourceSpec,
    /// Divides arrival times and think times; positive.
    pub speedup: f64,
    /// Closed loop with this many in flight; open loop when `None`.
    pub concurrency: Option<u32>,
    /// Keep only the first rows.
    pub limit: Option<usize>,
    /// Keep only sessions that start in [start_s, end_s) after the first arrival.
    pub window: Option<Window>,
    /// Whether a session's next prompt contains the tokens generated before it; `None` takes the
    /// source's own answer (generated workloads say so themselves, traces say no).
    pub grows: Option<bool>,
}

impl WorkloadSpec {
    /// A source as recorded: open loop, whole, at its own speed.
    pub fn new(source: SourceSpec) -> Self {
        Self { source, speedup: 1.0, concurrency: None, limit: None, window: None, grows: None }
    }

    /// A trace of 512-token blocks as recorded.
    pub fn trace(path: impl Into<PathBuf>) -> Self {
        Self::new(SourceSpec::Trace { path: path.into(), block_tokens: DEFAULT_BLOCK_TOKENS })
    }
}

/// Half-open window of arrival times, seconds from the first arrival, before `speedup`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub start_s: f64,
    pub end_s: f64,
}

/// Where requests come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    /// A trace file; `block_tokens` is the number of tokens per hash id (512 by default).
    Trace { path: PathBuf, block_tokens: u32 },
    /// The generator.
    Synthetic(SyntheticSpec),
}

/// Settings of the synthetic generator, `[workload.synthetic]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSpec {
    pub seed: u64,
    pub sessions: u32,
    /// Turns per session.
    pub turns: u32,
    pub arrivals: Arrivals,
    /// New prompt tokens of each turn.
    pub input_tokens: Lengths,
    pub output_tokens: Lengths,
    /// Think time between turns, mean ms of an exponential; 0 for none.
    pub think_ms: f64,
    /// Tokens common to every prompt (a system prompt).
    pub common_prefix_tokens: u32,
    /// Number of groups that share a further prefix; 0 for none.
    pub prefix_groups: u32,
    /// Tokens that all sessions of one group share after the common prefix.
    pub group_prefix_tokens: u32,
    /// Tokens per hash id of the workload made.
    pub block_tokens: u32,
}

/// Arrival processes of first turns; rates in sessions per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// All at once.
    Burst,
    Constant {
        rate_per_s: f64,
    },
    Poisson {
        rate_per_s: f64,
    },
    /// Gamma gaps; `burstiness` is the coefficient of variation (1 is Poisson, more is burstier).
    Gamma {
        rate_per_s: f64,
        burstiness: f64,
    },
    /// Poisson whose rate swings as a sine: mean rate x (1 + swing sin(2 pi t / period)).
    Diurnal {
        rate_per_s: f64,
        swing: f64,
        period_s: f64,
    },
}

/// Length distributions, in tokens, rounded, at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    Fixed(u32),
    Normal {
        mean: f64,
        std: f64,
    },
    /// Log-normal given by its own mean and standard deviation (not those of the logarithm).
    LogNormal {
        mean: f64,
        std: f64,
    },
}
