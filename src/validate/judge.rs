//! Predictions held against measurements: errors by metric, and whether the order of candidates is
//! right.

use super::measured::Measurement;
use super::score::{median, spearman};
use crate::twin::metrics::{METRIC_COUNT, METRICS, Metric};

/// A measurement and what was predicted for its candidate.
#[derive(Clone, Debug)]
pub struct Pair {
    pub measurement: Measurement,
    /// Index into the run's evaluations.
    pub row: usize,
    pub id: String,
    /// In the order of [`METRICS`].
    pub predicted: Vec<f64>,
}

/// Errors of one metric over the measurements that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricError {
    /// Index into [`METRICS`].
    pub metric: usize,
    pub n: usize,
    /// Median of the absolute error, percent of the measured value.
    pub median_percent: f64,
    /// The largest.
    pub worst_percent: f64,
    /// Mean signed error, percent: above 0 predicts too much.
    pub signed_percent: f64,
    /// Spearman's rank correlation over the candidates; `None` for fewer than three, or equal values.
    pub rank_correlation: Option<f64>,
}

/// Metrics that say nothing about the prediction: what was sent, not how it was served.
const NOT_JUDGED: [Metric; 1] = [Metric::Completed];
/// Fewest measurements whose order means something.
const FEWEST_RANKED: usize = 3;

/// Errors of every metric that was both measured and predicted, in the order of the contract.
pub fn errors(pairs: &[Pair], predicted: impl Fn(usize) -> Vec<f64>) -> Vec<MetricError> {
    let predictions: Vec<Vec<f64>> = (0..pairs.len()).map(predicted).collect();
    let of = |metric: usize| -> Option<MetricError> {
        let both = pairs.iter().zip(&predictions).map(|(p, values)| (values[metric], p.measurement.values[metric]));
        let (predicted, measured): (Vec<f64>, Vec<f64>) = both.filter(|(p, m)| p.is_finite() && *m > 0.0).unzip();
        if measured.is_empty() || NOT_JUDGED.iter().any(|m| *m as usize == metric) {
            return None;
        }
        let signed: Vec<f64> = predicted.iter().zip(&measured).map(|(p, m)| 100.0 * (p / m - 1.0)).collect();
        let absolute: Vec<f64> = signed.iter().map(|e| e.abs()).collect();
        let ranked = measured.len() >= FEWEST_RANKED;
        Some(MetricError {
            metric,
            n: measured.len(),
            worst_percent: absolute.iter().copied().fold(0.0, f64::max),
            median_percent: median(absolute)?,
            signed_percent: signed.iter().sum::<f64>() / signed.len() as f64,
            rank_correlation: if ranked { spearman(&predicted, &measured) } else { None },
        })
    };
    (0..METRIC_COUNT).filter_map(of).collect()
}

impl MetricError {
    /// The metric's name.
    pub fn name(&self) -> &'static str {
        METRICS[self.metric].name
    }
}
