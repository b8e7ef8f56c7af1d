//! What a simulation that still runs can no longer get better than.
//!
//! Every figure here is monotone in the progress of the simulation: GPU time that was spent stays
//! spent, a request that was late stays late. So a bound that is broken once is broken at the end, and
//! a simulation may end early without changing any verdict.

use super::deployment::Sla;
use super::metrics::{METRIC_COUNT, Metric};
use super::outcome::Status;
use super::request::{RequestState, Requests};
use super::tally::rank;
use crate::units::{MS_PER_HOUR, MS_PER_S};

/// Times in a simulation at which it is asked whether it should end.
pub(super) const LOOKS: usize = 8;

/// The best final value that each metric can still have: the least, or the greatest where more is
/// better; NaN where nothing can be said, or was not asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct BestCase {
    /// In the order of [`METRICS`](super::metrics::METRICS).
    pub values: Box<[f64; METRIC_COUNT]>,
    /// Simulated time, ms.
    pub at_ms: f64,
}

/// Decides now and then whether a simulation is worth going on with.
pub trait Watch {
    /// Indices of the metrics that it looks at.
    fn metrics(&self) -> &[usize];
    /// Whether the simulation should end now.
    fn ends(&mut self, best: &BestCase) -> bool;
}

/// What is certain of the cluster so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// GPU time, GPU ms.
    pub gpu_ms: f64,
    pub usd_per_gpu_hour: f64,
    pub at_ms: f64,
    /// Since the first arrival, ms.
    pub elapsed_ms: f64,
}

/// The best case of a simulation in which all requests that are not served yet are served at once.
pub(super) fn best_case(metrics: &[usize], requests: &Requests, sla: &Sla, spent: &Spent) -> BestCase {
    let mut values = [f64::NAN; METRIC_COUNT];
    for &metric in metrics {
        let value = best_value(metric, requests, sla, spent);
        if value.is_finite() {
            values[metric] = value;
        }
    }
    BestCase { values: Box::new(values), at_ms: spent.at_ms }
}

fn best_value(metric: usize, requests: &Requests, sla: &Sla, spent: &Spent) -> f64 {
    use Metric::*;
    let is = |m: Metric| m as usize == metric;
    let cost = spent.gpu_ms / MS_PER_HOUR * spent.usd_per_gpu_hour;
    let states = &requests.states;
    let n = states.len();
    let quantiles: [(Time, &[(Metric, f64)]); 4] = [
        (ttft, &[(TtftP50, 0.5), (TtftP90, 0.9), (TtftP95, 0.95), (TtftP99, 0.99)]),
        (e2e, &[(E2eP50, 0.5), (E2eP90, 0.9), (E2eP95, 0.95), (E2eP99, 0.99)]),
        (tpot, &[(TpotP50, 0.5), (TpotP90, 0.9), (TpotP95, 0.95), (TpotP99, 0.99)]),
        (queue, &[(QueueP90, 0.9)]),
    ];
    for (time, metrics) in quantiles {
        if let Some(&(_, q)) = metrics.iter().find(|(m, _)| is(*m)) {
            return least_quantile(states.iter().map(time).filter(|v| !v.is_nan()).collect(), n, q);
        }
    }
    let means: [(Time, Metric); 3] = [(ttft, TtftMean), (e2e, E2eMean), (queue, QueueMean)];
    if let Some((time, _)) = means.iter().find(|(_, m)| is(*m)) {
        return states.iter().map(time).filter(|v| !v.is_nan()).sum::<f64>() / n as f64;
    }
    let gaps = [(ItlP50, 0.5), (ItlP90, 0.9), (ItlP95, 0.95), (ItlP99, 0.99)];
    if let Some(&(_, q)) = gaps.iter().find(|(m, _)| is(*m)) {
        let all: u64 = states.iter().map(|s| u64::from(s.output_tokens).saturating_sub(1)).sum();
        let above = all.saturating_sub(1 + rank(all.max(1) as usize, q) as u64);
        return requests.tally.itl.from_the_top(above).unwrap_or(f64::NAN);
    }
    match () {
        () if is(GpuHours) => spent.gpu_ms / MS_PER_HOUR,
        () if is(CostUsd) => cost,
        () if is(UsdPerMtokOutput) => cost / states.iter().map(|s| f64::from(s.output_tokens)).sum::<f64>() * 1e6,
        () if is(DurationS) => spent.elapsed_ms / MS_PER_S,
        () if is(SlaAttainment) => {
            let over = |bound: Option<f64>, value: f64| bound.is_some_and(|b| value > b);
            let is_late = |s: &&RequestState| over(sla.ttft_ms, ttft(s)) || over(sla.e2e_ms, e2e(s));
            (n - states.iter().filter(is_late).count()) as f64 / n as f64
        }
        () => f64::NAN,
    }
}

/// A time of a request, NaN until it is known.
type Time = fn(&RequestState) -> f64;

fn ttft(s: &RequestState) -> f64 {
    s.first_token_ms - s.arrival_ms
}

fn queue(s: &RequestState) -> f64 {
    s.admitted_ms - s.arrival_ms
}

fn e2e(s: &RequestState) -> f64 {
    if s.status == Status::Completed && s.output_tokens > 0 { s.last_token_ms - s.arrival_ms } else { f64::NAN }
}

fn tpot(s: &RequestState) -> f64 {
    if s.output_tokens > 1 { (e2e(s) - ttft(s)) / f64::from(s.output_tokens - 1) } else { f64::NAN }
}

/// The least that the nearest-rank quantile of `n` values, or of fewer, can be when these of them
/// are known: so many may lie above it, and the known ones above that do not fit.
fn least_quantile(mut known: Vec<f64>, n: usize, q: f64) -> f64 {
    let above = n - 1 - rank(n, q);
    match known.len().checked_sub(above + 1) {
        Some(index) => *known.select_nth_unstable_by(index, f64::total_cmp).1,
        None => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_bounded_once_too_many_lie_above() {
        // Of 100 values, the 99th percentile is the second largest: one may lie above.
        assert!(least_quantile(vec![7.0], 100, 0.99).is_nan());
        assert_eq!(least_quantile(vec![7.0, 5.0], 100, 0.99), 5.0);
        let all: Vec<f64> = (0..100).map(f64::from).collect();
        for q in [0.5, 0.9, 0.95, 0.99] {
            assert_eq!(least_quantile(all.clone(), 100, q), all[rank(100, q)]);
        }
    }
}
