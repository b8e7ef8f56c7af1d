//! Windows of a workload: a cheap look at a candidate before its whole simulation.
//!
//! The workload's time is cut into equal strata with one window in the middle of each, so that quiet
//! and busy hours both count. The first third of a window fills queues and caches and is not
//! measured. A metric is its mean over the windows: an estimate, for a count or a sum off by a factor
//! that is the same for all candidates. The ladder learns how far such estimates are off.

use crate::twin::metrics::METRIC_COUNT;
use crate::twin::{self, Deployment};
use crate::units::MS_PER_S;
use crate::workload::{Load, Workload};

/// Windows over a workload.
const STRATA: usize = 4;
/// The part of a window that is not measured.
const WARM_UP: f64 = 1.0 / 3.0;

/// The windows of one workload.
#[derive(Debug)]
pub(super) struct Windows {
    parts: Vec<Workload>,
    cost: f64,
}

impl Windows {
    /// Windows that take `share` of the workload's time together; `None` in closed loop, where
    /// arrivals have no time of their own, and where some window holds nothing after its warm-up.
    pub fn of(workload: &Workload, share: f64) -> Option<Windows> {
        if workload.load != Load::Open {
            return None;
        }
        let first_turns = workload.requests.iter().filter(|r| r.turn == 0);
        let span_s = first_turns.map(|r| r.arrival_ms).fold(0.0, f64::max) / MS_PER_S;
        let stratum_s = span_s / STRATA as f64;
        let length_s = stratum_s * share;
        let part = |stratum: usize| {
            let start_s = (stratum as f64 + 0.5) * stratum_s - 0.5 * length_s;
            let mut part = workload.window(start_s, start_s + length_s)?;
            part.measured_from_ms = WARM_UP * length_s * MS_PER_S;
            part.requests.iter().any(|r| r.arrival_ms >= part.measured_from_ms).then_some(part)
        };
        let parts: Vec<Workload> = (0..STRATA).map(part).collect::<Option<_>>()?;
        let requests: usize = parts.iter().map(|p| p.requests.len()).sum();
        Some(Windows { parts, cost: requests as f64 / workload.requests.len() as f64 })
    }

    /// Requests in the windows over requests in all.
    pub fn cost(&self) -> f64 {
        self.cost
    }

    /// Every metric's mean over the windows.
    pub fn metrics(&self, deployment: &Deployment, seed: u64) -> [f64; METRIC_COUNT] {
        let mut sums = [0.0; METRIC_COUNT];
        for part in &self.parts {
            let values = twin::simulate(deployment, part, seed, false).metrics.values;
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        sums.map(|sum| sum / self.parts.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec};

    fn workload(sessions: u32) -> Workload {
        let spec = SyntheticSpec {
            seed: 3,
            sessions,
            turns: 1,
            arrivals: Arrivals::Constant { rate_per_s: 10.0 },
            input_tokens: Lengths::Fixed(100),
            output_tokens: Lengths::Fixed(10),
            think_ms: 0.0,
            common_prefix_tokens: 0,
            prefix_groups: 0,
            group_prefix_tokens: 0,
            block_tokens: 512,
        };
        crate::workload::generate(&spec).unwrap()
    }

    #[test]
    fn one_window_per_stratum_with_its_warm_up() {
        let windows = Windows::of(&workload(4000), 0.12).unwrap();
        assert_eq!(windows.parts.len(), STRATA);
        assert!((windows.cost() - 0.12).abs() < 0.002, "{}", windows.cost());
        for (stratum, part) in windows.parts.iter().enumerate() {
            let middle = (stratum as f64 + 0.5) * 1000.0;
            let rows = part.requests.iter().map(|r| f64::from(r.row));
            assert!(rows.clone().all(|row| (row - middle).abs() <= 61.0));
            let measured = part.requests.iter().filter(|r| r.arrival_ms >= part.measured_from_ms).count();
            assert!((measured as f64 / part.requests.len() as f64 - 2.0 / 3.0).abs() < 0.02);
        }
    }

    #[test]
    fn nothing_to_measure_means_no_windows() {
        assert!(Windows::of(&workload(5), 0.1).is_none());
        let mut closed = workload(4000);
        closed.load = Load::Closed { concurrency: 8 };
        assert!(Windows::of(&closed, 0.1).is_none());
    }
}
