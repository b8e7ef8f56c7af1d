//! What a user chooses about the planner.

/// How the number of workers is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingPolicy {
    /// Thresholds of queued prompt tokens and KV use; the SLA is not looked at.
    Load,
    /// TTFT and ITL as regressions of past passes foretell them, against their targets.
    Sla,
    /// Workers that the forecast demand of the next window needs.
    Predictive,
    /// As `Sla`, between windows whose forecast demand sets the fewest workers.
    Hybrid,
}

impl ScalingPolicy {
    /// Whether it decides at every load interval.
    pub fn has_load_loop(self) -> bool {
        self != ScalingPolicy::Predictive
    }

    /// Whether it decides at every throughput interval.
    pub fn has_throughput_loop(self) -> bool {
        matches!(self, ScalingPolicy::Predictive | ScalingPolicy::Hybrid)
    }
}

/// When load is high enough for one worker more (on any worker), or low enough for one less (on
/// every worker). The prefill signal is queued prompt tokens over the longest context; the decode
/// signal is KV tokens held or waited for over the KV pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub prefill_up: f64,
    pub prefill_down: f64,
    pub decode_up: f64,
    pub decode_down: f64,
}

impl Thresholds {
    /// Few workers, well filled (`semantics` 8.3, target "throughput").
    pub const THROUGHPUT: Thresholds =
        Thresholds { prefill_up: 1.0, prefill_down: 0.1, decode_up: 1.0, decode_down: 0.6 };
    /// Short queues (`semantics` 8.3, target "latency").
    pub const LATENCY: Thresholds = Thresholds { prefill_up: 0.1, prefill_down: 0.0, decode_up: 0.4, decode_down: 0.1 };
}

/// How the next window is foretold from those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PredictorKind {
    /// As the last window.
    Constant,
    /// Level and linear trend, exponentially smoothed.
    Holt,
    /// Level and linear trend, by a Kalman filter.
    Kalman,
    /// As one season ago, scaled by how the level has changed since. The season is so many windows.
    Seasonal { windows: u32 },
}

/// Everything about the planner.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannerConfig {
    pub policy: ScalingPolicy,
    /// Time between two decisions from load, ms.
    pub load_interval_ms: f64,
    /// Time between two decisions from forecast demand, ms: the window that is forecast.
    pub throughput_interval_ms: f64,
    pub thresholds: Thresholds,
    /// Target of the time to first token, ms.
    pub ttft_ms: f64,
    /// Target of the time between tokens, ms.
    pub itl_ms: f64,
    /// Share of a target that may be used up after a scale-down, 0 to 1.
    pub sensitivity: f64,
    pub predictor: PredictorKind,
    /// Capacity wanted beyond the forecast demand, as a share of it.
    pub headroom: f64,
    /// Fewest workers of a pool, starting ones included.
    pub min_workers: u32,
    /// Most workers of a pool, starting ones included.
    pub max_workers: u32,
    /// Most GPUs of all pools together, those of draining workers included.
    pub max_gpus: u32,
    /// Longest sequence, tokens: what queued prompt tokens are measured by.
    pub context_tokens: u32,
    /// Time from the decision for a worker until it takes requests, ms.
    pub startup_ms: f64,
    /// After any change of a pool's target, time without a scale-down of it, ms.
    pub cooldown_ms: f64,
    /// Load decisions in a row that must want more workers.
    pub confirm_up: u32,
    /// Load decisions in a row that must want fewer workers.
    pub confirm_down: u32,
    /// Whether load decides nothing about a pool while workers of it are starting.
    pub wait_for_starting: bool,
}

impl Default for PlannerConfig {
    /// The peer's defaults (`semantics` 8.2 to 8.8) where it has one; guards that it does not have
    /// are off.
    fn default() -> Self {
        PlannerConfig {
            policy: ScalingPolicy::Sla,
            load_interval_ms: 5_000.0,
            throughput_interval_ms: 180_000.0,
            thresholds: Thresholds::THROUGHPUT,
            ttft_ms: 500.0,
            itl_ms: 50.0,
            sensitivity: 0.8,
            predictor: PredictorKind::Constant,
            headroom: 0.0,
            min_workers: 1,
            max_workers: u32::MAX,
            max_gpus: u32::MAX,
            context_tokens: u32::MAX,
            startup_ms: 60_000.0,
            cooldown_ms: 0.0,
            confirm_up: 1,
            confirm_down: 1,
            wait_for_starting: true,
        }
    }
}
