//! The metric contract: every name, unit, direction and definition, and the values of one run.

/// One metric of the contract.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricInfo {
    /// Name with statistic and unit, such as `ttft_p90_ms`.
    pub name: &'static str,
    /// Unit for axes and column metadata.
    pub unit: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// What it is, in a sentence.
    pub definition: &'static str,
}

/// Index of a metric by its name.
pub fn index_of(name: &str) -> Option<usize> {
    METRICS.iter().position(|m| m.name == name)
}

macro_rules! metrics {
    ($($id:ident = $name:literal, $unit:literal, $higher:literal, $definition:literal;)*) => {
        /// Metrics as indices into [`METRICS`] and [`Metrics`].
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $($id),* }
        /// All metrics, in the order of [`Metric`], the archive and `--json`.
        pub const METRICS: &[MetricInfo] = &[$(MetricInfo { name: $name, unit: $unit, higher_is_better: $higher, definition: $definition }),*];
    };
}

metrics! {
    TtftMean = "ttft_mean_ms", "ms", false, "Mean time to first token: first token minus arrival (closed loop: minus admission).";
    TtftP50 = "ttft_p50_ms", "ms", false, "Median time to first token.";
    TtftP90 = "ttft_p90_ms", "ms", false, "90th percentile of time to first token, nearest rank.";
    TtftP95 = "ttft_p95_ms", "ms", false, "95th percentile of time to first token, nearest rank.";
    TtftP99 = "ttft_p99_ms", "ms", false, "99th percentile of time to first token, nearest rank.";
    ItlMean = "itl_mean_ms", "ms", false, "Mean gap between consecutive tokens of a request, pooled over all requests.";
    ItlP50 = "itl_p50_ms", "ms", false, "Median token gap, pooled.";
    ItlP90 = "itl_p90_ms", "ms", false, "90th percentile of token gaps, pooled.";
    ItlP95 = "itl_p95_ms", "ms", false, "95th percentile of token gaps, pooled.";
    ItlP99 = "itl_p99_ms", "ms", false, "99th percentile of token gaps, pooled.";
    TpotMean = "tpot_mean_ms", "ms", false, "Mean over requests of (E2E - TTFT)/(output tokens - 1), two tokens or more.";
    TpotP50 = "tpot_p50_ms", "ms", false, "Median over requests of time per output token.";
    TpotP90 = "tpot_p90_ms", "ms", false, "90th percentile over requests of time per output token.";
    TpotP95 = "tpot_p95_ms", "ms", false, "95th percentile over requests of time per output token.";
    TpotP99 = "tpot_p99_ms", "ms", false, "99th percentile over requests of time per output token.";
    E2eMean = "e2e_mean_ms", "ms", false, "Mean end-to-end latency: last token minus arrival.";
    E2eP50 = "e2e_p50_ms", "ms", false, "Median end-to-end latency.";
    E2eP90 = "e2e_p90_ms", "ms", false, "90th percentile of end-to-end latency.";
    E2eP95 = "e2e_p95_ms", "ms", false, "95th percentile of end-to-end latency.";
    E2eP99 = "e2e_p99_ms", "ms", false, "99th percentile of end-to-end latency.";
    QueueMean = "queue_mean_ms", "ms", false, "Mean wait from arrival to first admission by an engine.";
    QueueP90 = "queue_p90_ms", "ms", false, "90th percentile of the wait from arrival to first admission by an engine.";
    OutputTokensPerS = "output_tokens_per_s", "tokens/s", true, "Generated tokens over the time from first arrival to last completion.";
    OutputTokensPerSPerGpu = "output_tokens_per_s_per_gpu", "tokens/s/GPU", true, "output_tokens_per_s over time-averaged GPUs.";
    InputTokensPerS = "input_tokens_per_s", "tokens/s", true, "Prompt tokens of completed requests over the same time.";
    TokensPerSPerUser = "tokens_per_s_per_user", "tokens/s/user", true, "Mean over requests of 1000 / TPOT.";
    RequestsPerS = "requests_per_s", "requests/s", true, "Completed requests over the same time.";
    GoodputRps = "goodput_rps", "requests/s", true, "Requests that keep every bound of [sla], over the same time.";
    GoodputTokensPerS = "goodput_tokens_per_s", "tokens/s", true, "Generated tokens of requests that keep every bound of [sla], over the same time.";
    SlaAttainment = "sla_attainment", "ratio", true, "Requests that keep every bound of [sla] over all that arrived.";
    GpuHours = "gpu_hours", "GPU h", false, "Time-integrated GPUs: starting, active and draining.";
    CostUsd = "cost_usd", "USD", false, "gpu_hours times the price of a GPU hour.";
    UsdPerMtokOutput = "usd_per_mtok_output", "USD/Mtok", false, "Cost per million generated tokens.";
    UsdPerKreqGood = "usd_per_kreq_good", "USD/1000 requests", false, "Cost per thousand requests that keep every bound of [sla].";
    GpusMean = "gpus_mean", "GPUs", false, "Time-averaged provisioned GPUs.";
    GpusPeak = "gpus_peak", "GPUs", false, "Most GPUs provisioned at once.";
    PrefixReuseRatio = "prefix_reuse_ratio", "ratio", true, "Prompt tokens found in the KV cache over all prompt tokens of completed requests (largest over a request's admissions).";
    OverlapRegret = "overlap_regret", "ratio", false, "Prompt blocks that another worker was known to hold beyond the chosen one, over the prompt blocks of requests placed by a router that reads caches.";
    HostHitTokens = "host_hit_tokens", "tokens", true, "Prompt tokens of completed requests found in host memory, beyond what GPU memory held.";
    DiskHitTokens = "disk_hit_tokens", "tokens", true, "Prompt tokens of completed requests brought from disk through host memory.";
    HostTransferGb = "host_transfer_gb", "GB", false, "KV moved between GPU and host memory, both ways.";
    DiskTransferGb = "disk_transfer_gb", "GB", false, "KV moved between host memory and disk, both ways.";
    TierWaitMean = "tier_wait_mean_ms", "ms", false, "Mean time that a request waits for its prefix from host memory or disk; not within its queue time.";
    TierWaitP90 = "tier_wait_p90_ms", "ms", false, "90th percentile of the time that a request waits for its prefix from host memory or disk.";
    Preemptions = "preemptions", "count", false, "Times a running request lost its KV blocks.";
    RecomputedTokens = "recomputed_tokens", "tokens", false, "Tokens computed again after a preemption.";
    ScaleEvents = "scale_events", "count", false, "Changes of the target number of workers.";
    KvUtilMean = "kv_util_mean", "ratio", false, "Time-averaged share of KV blocks held by requests, over workers.";
    Completed = "completed", "requests", true, "Requests that completed.";
    Rejected = "rejected", "requests", false, "Requests refused: by an engine (prompt too long for the model or the pool), or by the router's admission control.";
    RejectedByRouter = "rejected_by_router", "requests", false, "Requests refused by the router's admission control.";
    Failed = "failed", "requests", false, "Requests whose worker died once more than [faults] retries allows, or for which no worker was left.";
    Retries = "retries", "count", false, "Times a request was tried again because its worker died.";
    Unfinished = "unfinished", "requests", false, "Requests still in flight when the simulation ended.";
    DurationS = "duration_s", "s", false, "First arrival to last completion.";
}

/// Number of metrics.
pub const METRIC_COUNT: usize = METRICS.len();

/// The values of one run, in the order of [`METRICS`]; NaN where a metric does not apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// One value per metric.
    pub values: [f64; METRIC_COUNT],
}

impl Metrics {
    /// The value of one metric.
    pub fn get(&self, metric: Metric) -> f64 {
        self.values[metric as usize]
    }
}
