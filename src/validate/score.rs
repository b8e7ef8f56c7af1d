//! Predictions held against measurements: errors, and whether the order is right.

use serde::Serialize;

use super::points::Point;

/// A measured point and what was predicted for it.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    pub point: &'a Point,
    pub ttft_ms: f64,
    pub tpot_ms: f64,
}

/// Errors over a group of points, percent, and rank correlations. Absent values are null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Points.
    pub n: usize,
    /// Mean absolute percentage error of time per output token.
    pub tpot_mape: Option<f64>,
    /// Median absolute percentage error.
    pub tpot_median_ape: Option<f64>,
    /// Mean signed error: above 0 predicts too slow.
    pub tpot_signed: Option<f64>,
    pub ttft_mape: Option<f64>,
    pub ttft_median_ape: Option<f64>,
    pub ttft_signed: Option<f64>,
    /// Spearman's rank correlation at fixed concurrency.
    pub spearman_tpot: Option<f64>,
    /// The same of throughput per GPU, from measured and predicted TTFT and TPOT.
    pub spearman_throughput_per_gpu: Option<f64>,
}

/// Fewest points of one concurrency whose order is looked at.
const FEWEST_RANKED: usize = 10;

/// The score of a group.
pub fn score(rows: &[Compared<'_>]) -> Score {
    let tpot = Errors::of(rows.iter().map(|r| (r.tpot_ms, r.point.tpot_ms)));
    let ttft = Errors::of(rows.iter().map(|r| (r.ttft_ms, r.point.ttft_ms)));
    Score {
        n: rows.len(),
        tpot_mape: tpot.mape,
        tpot_median_ape: tpot.median,
        tpot_signed: tpot.signed,
        ttft_mape: ttft.mape,
        ttft_median_ape: ttft.median,
        ttft_signed: ttft.signed,
        spearman_tpot: ranked(rows, |r| (r.tpot_ms, r.point.tpot_ms)),
        spearman_throughput_per_gpu: ranked(rows, |r| {
            let of = |ttft, tpot| r.point.throughput_per_gpu(ttft, tpot);
            (of(r.ttft_ms, r.tpot_ms), of(r.point.ttft_ms, r.point.tpot_ms))
        }),
    }
}

struct Errors {
    mape: Option<f64>,
    median: Option<f64>,
    signed: Option<f64>,
}

impl Errors {
    fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Errors {
        let signed: Vec<f64> = pairs.map(|(predicted, measured)| 100.0 * (predicted / measured - 1.0)).collect();
        let absolute: Vec<f64> = signed.iter().map(|e| e.abs()).collect();
        Errors { mape: mean(&absolute), median: median(absolute), signed: mean(&signed) }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The middle value; the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| (values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

/// Rank correlation within each concurrency that has [`FEWEST_RANKED`] points, averaged by points:
/// over all concurrencies together the order is easy.
fn ranked<'a>(rows: &[Compared<'a>], value: impl Fn(&Compared<'a>) -> (f64, f64)) -> Option<f64> {
    let mut levels: Vec<u32> = rows.iter().map(|r| r.point.concurrency).collect();
    levels.sort_unstable();
    levels.dedup();
    let (mut sum, mut weight) = (0.0, 0.0);
    for level in levels {
        let of_level = rows.iter().filter(|r| r.point.concurrency == level);
        let (a, b): (Vec<f64>, Vec<f64>) = of_level.map(&value).unzip();
        if a.len() >= FEWEST_RANKED
            && let Some(rho) = spearman(&a, &b)
        {
            sum += rho * a.len() as f64;
            weight += a.len() as f64;
        }
    }
    (weight > 0.0).then_some(sum / weight)
}

/// Spearman's rank correlation, equal values sharing their mean rank; `None` when either side is
/// all equal.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(p, q)| (p - mean) * (q - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count();
        for &i in &order[start..start + equal] {
            ranks[i] = start as f64 + (equal as f64 - 1.0) / 2.0;
        }
        start += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_ties() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[3.0, 2.0]), None);
        let by_hand = 1.0 - 6.0 * 4.0 / (4.0 * 15.0);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]).unwrap() - by_hand).abs() < 1e-12);
    }

    #[test]
    fn medians_of_even_counts_are_means() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
