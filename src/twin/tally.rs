//! From what happened to the values of the metric contract.

use super::deployment::Sla;
use super::histogram::Histogram;
use super::kv::tier::{Moved, Tiers};
use super::metrics::{METRIC_COUNT, Metric, Metrics};
use super::outcome::{RequestRecord, Status};
use super::router::Summary;
use crate::units::{BYTES_PER_GB, MS_PER_HOUR, MS_PER_S};

/// Index of the nearest-rank quantile `q` (0..=1) among `n` sorted values: `(n - 1) q`, rounded half
/// away from zero, as the peer does.
pub fn rank(n: usize, q: f64) -> usize {
    ((n - 1) as f64 * q).round() as usize
}

/// Running totals of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Token gaps of all requests.
    pub itl: Histogram,
    pub passes: u64,
    pub steps: u64,
    /// Integral over time of KV blocks held by requests, block ms, summed over workers.
    pub held_block_ms: f64,
    /// Prompt tokens computed, recomputed ones included.
    pub prefill_tokens: u64,
    pub preemptions: u64,
    pub recomputed_tokens: u64,
}

impl Tally {
    /// Counts a pass that is taken by itself; none when it was empty.
    pub fn pass(&mut self, is_pass: bool) {
        self.passes += u64::from(is_pass);
        self.steps += u64::from(is_pass);
    }
}

/// What metrics need to know of the cluster besides its requests.
#[derive(Clone, Copy, Debug)]
pub struct ClusterUse {
    /// First arrival to last completion, ms.
    pub duration_ms: f64,
    /// GPUs provisioned, integrated over the duration, GPU ms.
    pub gpu_ms: f64,
    pub gpus_peak: u32,
    pub scale_events: u64,
    /// KV blocks of all workers, integrated over the duration, block ms.
    pub kv_block_ms: f64,
    pub usd_per_gpu_hour: f64,
    /// What the routers counted.
    pub routed: Summary,
    /// What moved between KV tiers, where there are any.
    pub tiers: Option<TierUse>,
}

/// What moved between KV tiers.
#[derive(Clone, Copy, Debug)]
pub struct TierUse {
    /// Between GPU and host memory, both ways, bytes.
    pub host_bytes: f64,
    /// Between host memory and disk, both ways, bytes.
    pub disk_bytes: f64,
}

impl TierUse {
    /// Of a simulation that has ended.
    pub fn of(tiers: &Tiers) -> Self {
        let Moved { to_host, from_host, to_disk, from_disk } = tiers.moved();
        let bytes = |blocks: u64| blocks as f64 * tiers.block_bytes();
        TierUse { host_bytes: bytes(to_host + from_host), disk_bytes: bytes(to_disk + from_disk) }
    }
}

impl Sla {
    /// Whether a completed request keeps every bound; a request of one token has no TPOT to bound.
    fn is_met_by(&self, r: &RequestRecord) -> bool {
        let within = |bound: Option<f64>, value: f64| bound.is_none_or(|b| value <= b);
        r.status == Status::Completed
            && within(self.ttft_ms, r.ttft_ms)
            && (r.tpot_ms.is_nan() || within(self.tpot_ms, r.tpot_ms))
            && within(self.e2e_ms, r.e2e_ms)
    }
}

/// Times of requests as integers that are in the order of `f64::total_cmp`: they sort faster.
#[derive(Debug, Default)]
struct Times(Vec<u64>);

impl Times {
    /// Takes in a time; NaN stands for one that does not apply.
    fn add(&mut self, ms: f64) {
        if !ms.is_nan() {
            let bits = ms.to_bits();
            self.0.push(if bits >> 63 == 0 { bits | 1 << 63 } else { !bits });
        }
    }

    fn value(key: u64) -> f64 {
        f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    fn mean(&self) -> f64 {
        self.0.iter().map(|&key| Times::value(key)).sum::<f64>() / self.0.len() as f64
    }

    /// Nearest-rank quantile of sorted times, NaN without any.
    fn quantile(&self, q: f64) -> f64 {
        if self.0.is_empty() { f64::NAN } else { Times::value(self.0[rank(self.0.len(), q)]) }
    }
}

/// What metrics need to know of the requests.
#[derive(Debug)]
pub struct Gathered {
    sla: Sla,
    count: u64,
    completed: u64,
    rejected: u64,
    failed: u64,
    unfinished: u64,
    retries: u64,
    ttft: Times,
    tpot: Times,
    e2e: Times,
    queue: Times,
    input_tokens: u64,
    output_tokens: u64,
    reused_tokens: u64,
    tier_wait: Times,
    host_tokens: u64,
    disk_tokens: u64,
    /// Tokens per second that each user sees: sum and number.
    rates: (f64, u64),
    /// Requests that kept every bound, and their tokens.
    good: (u64, u64),
}

impl Gathered {
    /// Nothing yet, of about so many requests.
    pub fn new(requests: usize, sla: &Sla) -> Self {
        let times = || Times(Vec::with_capacity(requests));
        Gathered {
            sla: *sla,
            count: 0,
            completed: 0,
            rejected: 0,
            failed: 0,
            unfinished: 0,
            retries: 0,
            ttft: times(),
            tpot: times(),
            e2e: times(),
            queue: times(),
            input_tokens: 0,
            output_tokens: 0,
            reused_tokens: 0,
            tier_wait: Times::default(),
            host_tokens: 0,
            disk_tokens: 0,
            rates: (0.0, 0),
            good: (0, 0),
        }
    }

    /// Takes in one request.
    pub fn add(&mut self, r: &RequestRecord) {
        self.count += 1;
        self.retries += u64::from(r.retries);
        match r.status {
            Status::Completed => {}
            Status::Rejected => self.rejected += 1,
            Status::Failed => self.failed += 1,
            Status::Unfinished => self.unfinished += 1,
        }
        if r.status != Status::Completed {
            return;
        }
        self.completed += 1;
        self.ttft.add(r.ttft_ms);
        self.tpot.add(r.tpot_ms);
        self.e2e.add(r.e2e_ms);
        self.queue.add(r.queue_ms);
        self.input_tokens += u64::from(r.input_tokens);
        self.output_tokens += u64::from(r.output_tokens);
        self.reused_tokens += u64::from(r.reused_tokens);
        self.tier_wait.add(r.tier_wait_ms);
        self.host_tokens += u64::from(r.host_tokens);
        self.disk_tokens += u64::from(r.disk_tokens);
        let rate = MS_PER_S / r.tpot_ms;
        if rate.is_finite() {
            self.rates = (self.rates.0 + rate, self.rates.1 + 1);
        }
        if self.sla.is_met_by(r) {
            self.good = (self.good.0 + 1, self.good.1 + u64::from(r.output_tokens));
        }
    }
}

/// Computes every metric of the contract.
pub fn metrics(mut requests: Gathered, tally: &Tally, cluster: &ClusterUse) -> Metrics {
    use Metric::*;
    let mut values = [f64::NAN; METRIC_COUNT];
    let mut set = |metric: Metric, value: f64| values[metric as usize] = value;

    let spreads = [
        (&mut requests.ttft, [TtftMean, TtftP50, TtftP90, TtftP95, TtftP99]),
        (&mut requests.tpot, [TpotMean, TpotP50, TpotP90, TpotP95, TpotP99]),
        (&mut requests.e2e, [E2eMean, E2eP50, E2eP90, E2eP95, E2eP99]),
    ];
    for (times, [average, p50, p90, p95, p99]) in spreads {
        times.sort();
        set(average, times.mean());
        for (metric, q) in [(p50, 0.5), (p90, 0.9), (p95, 0.95), (p99, 0.99)] {
            set(metric, times.quantile(q));
        }
    }
    set(ItlMean, tally.itl.mean());
    for (metric, q) in [(ItlP50, 0.5), (ItlP90, 0.9), (ItlP95, 0.95), (ItlP99, 0.99)] {
        set(metric, tally.itl.quantile(q));
    }
    requests.queue.sort();
    set(QueueMean, requests.queue.mean());
    set(QueueP90, requests.queue.quantile(0.9));

    let duration_s = cluster.duration_ms / MS_PER_S;
    let (input, output) = (requests.input_tokens as f64, requests.output_tokens as f64);
    let completed = requests.completed as f64;
    let gpu_hours = cluster.gpu_ms / MS_PER_HOUR;
    let gpus_mean = cluster.gpu_ms / cluster.duration_ms;
    let cost = gpu_hours * cluster.usd_per_gpu_hour;
    set(OutputTokensPerS, output / duration_s);
    set(OutputTokensPerSPerGpu, output / duration_s / gpus_mean);
    set(InputTokensPerS, input / duration_s);
    set(RequestsPerS, completed / duration_s);
    set(TokensPerSPerUser, requests.rates.0 / requests.rates.1 as f64);
    if !requests.sla.is_empty() {
        let (count, tokens) = (requests.good.0 as f64, requests.good.1 as f64);
        set(GoodputRps, count / duration_s);
        set(GoodputTokensPerS, tokens / duration_s);
        set(SlaAttainment, count / requests.count as f64);
        set(UsdPerKreqGood, cost / count * 1e3);
    }
    set(GpuHours, gpu_hours);
    set(CostUsd, cost);
    set(UsdPerMtokOutput, cost / output * 1e6);
    set(GpusMean, gpus_mean);
    set(GpusPeak, f64::from(cluster.gpus_peak));
    set(PrefixReuseRatio, requests.reused_tokens as f64 / input);
    if let Some(tiers) = &cluster.tiers {
        requests.tier_wait.sort();
        set(HostHitTokens, requests.host_tokens as f64);
        set(DiskHitTokens, requests.disk_tokens as f64);
        set(HostTransferGb, tiers.host_bytes / BYTES_PER_GB);
        set(DiskTransferGb, tiers.disk_bytes / BYTES_PER_GB);
        set(TierWaitMean, requests.tier_wait.mean());
        set(TierWaitP90, requests.tier_wait.quantile(0.9));
    }
    set(Preemptions, tally.preemptions as f64);
    set(RecomputedTokens, tally.recomputed_tokens as f64);
    set(ScaleEvents, cluster.scale_events as f64);
    set(KvUtilMean, tally.held_block_ms / cluster.kv_block_ms);
    set(Completed, completed);
    set(Rejected, requests.rejected as f64);
    set(RejectedByRouter, cluster.routed.refused as f64);
    set(OverlapRegret, cluster.routed.missed_blocks as f64 / cluster.routed.prompt_blocks as f64);
    set(Failed, requests.failed as f64);
    set(Retries, requests.retries as f64);
    set(Unfinished, requests.unfinished as f64);
    set(DurationS, duration_s);
    // A ratio over nothing is not infinite, it does not apply.
    values.iter_mut().filter(|v| v.is_infinite()).for_each(|v| *v = f64::NAN);
    Metrics { values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_times_are_in_total_order() {
        let mut ordered = [f64::NEG_INFINITY, -2.5, -1e-300, -0.0, 0.0, 1e-300, 2.5, f64::INFINITY];
        let mut times = Times::default();
        ordered.iter().rev().for_each(|&ms| times.add(ms));
        times.add(f64::NAN);
        times.sort();
        ordered.sort_unstable_by(f64::total_cmp);
        let values: Vec<u64> = times.0.iter().map(|&key| Times::value(key).to_bits()).collect();
        assert_eq!(values, ordered.map(f64::to_bits));
    }

    #[test]
    fn ranks_round_half_away_from_zero() {
        // The peer's figures for 1..=100: p50 51, p75 75, p90 90, p95 95, p99 99.
        let at = |q| rank(100, q) + 1;
        assert_eq!([at(0.5), at(0.75), at(0.9), at(0.95), at(0.99)], [51, 75, 90, 95, 99]);
    }
}
