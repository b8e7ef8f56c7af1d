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

/// A time of a request, NaN where it does not apply.
type Field = fn(&RequestRecord) -> f64;

/// Computes every metric of the contract.
pub fn metrics(records: &[RequestRecord], tally: &Tally, cluster: &ClusterUse, sla: &Sla) -> Metrics {
    use Metric::*;
    let mut values = [f64::NAN; METRIC_COUNT];
    let mut set = |metric: Metric, value: f64| values[metric as usize] = value;
    let done = || records.iter().filter(|r| r.status == Status::Completed);

    let sorted = |field: Field| {
        let mut values: Vec<f64> = done().map(field).filter(|v| !v.is_nan()).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let quantile = |values: &[f64], q| if values.is_empty() { f64::NAN } else { values[rank(values.len(), q)] };
    let spreads: [(Field, [Metric; 5]); 3] = [
        (|r| r.ttft_ms, [TtftMean, TtftP50, TtftP90, TtftP95, TtftP99]),
        (|r| r.tpot_ms, [TpotMean, TpotP50, TpotP90, TpotP95, TpotP99]),
        (|r| r.e2e_ms, [E2eMean, E2eP50, E2eP90, E2eP95, E2eP99]),
    ];
    for (field, [average, p50, p90, p95, p99]) in spreads {
        let values = sorted(field);
        set(average, mean(&values));
        for (metric, q) in [(p50, 0.5), (p90, 0.9), (p95, 0.95), (p99, 0.99)] {
            set(metric, quantile(&values, q));
        }
    }
    set(ItlMean, tally.itl.mean());
    for (metric, q) in [(ItlP50, 0.5), (ItlP90, 0.9), (ItlP95, 0.95), (ItlP99, 0.99)] {
        set(metric, tally.itl.quantile(q));
    }
    let queue = sorted(|r| r.queue_ms);
    set(QueueMean, mean(&queue));
    set(QueueP90, quantile(&queue, 0.9));

    let duration_s = cluster.duration_ms / MS_PER_S;
    let total = |field: fn(&RequestRecord) -> u32| done().map(|r| u64::from(field(r))).sum::<u64>() as f64;
    let (input, output) = (total(|r| r.input_tokens), total(|r| r.output_tokens));
    let completed = done().count() as f64;
    let gpu_hours = cluster.gpu_ms / MS_PER_HOUR;
    let gpus_mean = cluster.gpu_ms / cluster.duration_ms;
    let cost = gpu_hours * cluster.usd_per_gpu_hour;
    set(OutputTokensPerS, output / duration_s);
    set(OutputTokensPerSPerGpu, output / duration_s / gpus_mean);
    set(InputTokensPerS, input / duration_s);
    set(RequestsPerS, completed / duration_s);
    let rates: Vec<f64> = done().map(|r| MS_PER_S / r.tpot_ms).filter(|v| v.is_finite()).collect();
    set(TokensPerSPerUser, mean(&rates));
    if !sla.is_empty() {
        let good = || records.iter().filter(|r| sla.is_met_by(r));
        let count = good().count() as f64;
        set(GoodputRps, count / duration_s);
        set(GoodputTokensPerS, good().map(|r| f64::from(r.output_tokens)).sum::<f64>() / duration_s);
        set(SlaAttainment, count / records.len() as f64);
        set(UsdPerKreqGood, cost / count * 1e3);
    }
    set(GpuHours, gpu_hours);
    set(CostUsd, cost);
    set(UsdPerMtokOutput, cost / output * 1e6);
    set(GpusMean, gpus_mean);
    set(GpusPeak, f64::from(cluster.gpus_peak));
    set(PrefixReuseRatio, total(|r| r.reused_tokens) / input);
    if let Some(tiers) = &cluster.tiers {
        let waits = sorted(|r| r.tier_wait_ms);
        set(HostHitTokens, total(|r| r.host_tokens));
        set(DiskHitTokens, total(|r| r.disk_tokens));
        set(HostTransferGb, tiers.host_bytes / BYTES_PER_GB);
        set(DiskTransferGb, tiers.disk_bytes / BYTES_PER_GB);
        set(TierWaitMean, mean(&waits));
        set(TierWaitP90, quantile(&waits, 0.9));
    }
    set(Preemptions, tally.preemptions as f64);
    set(RecomputedTokens, tally.recomputed_tokens as f64);
    set(ScaleEvents, cluster.scale_events as f64);
    set(KvUtilMean, tally.held_block_ms / cluster.kv_block_ms);
    let with = |status: Status| records.iter().filter(|r| r.status == status).count() as f64;
    set(Completed, completed);
    set(Rejected, with(Status::Rejected));
    set(RejectedByRouter, cluster.routed.refused as f64);
    set(OverlapRegret, cluster.routed.missed_blocks as f64 / cluster.routed.prompt_blocks as f64);
    set(Failed, with(Status::Failed));
    set(Retries, records.iter().map(|r| f64::from(r.retries)).sum());
    set(Unfinished, with(Status::Unfinished));
    set(DurationS, duration_s);
    // A ratio over nothing is not infinite, it does not apply.
    values.iter_mut().filter(|v| v.is_infinite()).for_each(|v| *v = f64::NAN);
    Metrics { values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_round_half_away_from_zero() {
        // The peer's figures for 1..=100: p50 51, p75 75, p90 90, p95 95, p99 99.
        let at = |q| rank(100, q) + 1;
        assert_eq!([at(0.5), at(0.75), at(0.9), at(0.95), at(0.99)], [51, 75, 90, 95, 99]);
    }
}
