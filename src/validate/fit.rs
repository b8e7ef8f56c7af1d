//! The error model: physical factors per backend, fitted to measured points and cross-validated.
//!
//! Minimised is the sum over points of a robust loss of `ln(measured / predicted)` of TPOT and TTFT,
//! every prediction being a simulation, plus a weak prior on each factor: without evidence the
//! tables hold. Gauss-Newton steps with differences for the Jacobian, shortened until the sum falls;
//! seven unknowns need no library.

use rayon::prelude::*;

use super::points::Point;
use super::replay::{Prediction, Prepared, factors};
use crate::catalog::Backend;
use crate::timing::Calibration;
use crate::timing::calibration::{BackendCalibration, Factors, Residual, VERSION};

/// Unknowns per backend.
const N: usize = 7;
type Vector = [f64; N];

/// What is believed of each factor before any point, in the order of [`Factors::NAMES`]: its value
/// and how far it may well be off.
const PRIOR: Vector = [1.0, 1.0, 1.0, 0.3, 1.15, 5.0, 5.0];
const PRIOR_SPREAD: Vector = [0.3, 0.5, 0.1, 0.5, 1.5, 8.0, 4.0];
/// Least value of each.
const LEAST: Vector = [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0];
/// Differences for the Jacobian: wide, because queues answer in steps.
const DIFFERENCE: Vector = [0.05, 0.05, 0.03, 0.3, 0.3, 2.0, 1.0];

/// Errors at which the loss turns from square to linear: TPOT, TTFT.
const TURN: [f64; 2] = [0.06, 0.15];
const STEPS: usize = 4;
/// Steps of a fold, from the fit to all points: enough to forget those that it must not know.
const FOLD_STEPS: usize = 3;
/// Shares of a step that are tried.
const SHARES: [f64; 4] = [1.0, 0.5, 0.25, 0.1];
/// Parts that the workloads are dealt to.
const FOLDS: usize = 5;

/// A fit and what it says of points that it had not seen.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub calibration: Calibration,
    /// Predictions, in the order of the points, by fits that saw neither the point nor any other
    /// of its (ISL, OSL).
    pub by_workload: Vec<Prediction>,
    /// By fits that saw no point of its source; `None` where the backend has only one.
    pub by_source: Vec<Option<Prediction>>,
    /// Factors of each backend over the folds of workloads.
    pub folds: Vec<(Backend, Vec<Factors>)>,
}

/// Fits the error model to points.
pub fn fit(prepared: &[Prepared<'_>], source: &str, seed: u64) -> Fitted {
    let mut calibration =
        Calibration { version: VERSION, source: source.into(), vllm: None, sglang: None, trtllm: None };
    let unseen = Prediction { ttft_ms: f64::NAN, tpot_ms: f64::NAN, rejected: 0 };
    let mut by_workload = vec![unseen; prepared.len()];
    let mut by_source = vec![None; prepared.len()];
    let mut folds = Vec::new();
    let fold_of = deal(prepared.iter().map(|p| (p.point.isl, p.point.osl)));
    for backend in Backend::ALL {
        let rows: Vec<usize> = (0..prepared.len()).filter(|&i| prepared[i].point.backend == backend).collect();
        if rows.is_empty() {
            continue;
        }
        let pick = |keep: &dyn Fn(usize) -> bool| rows.iter().copied().filter(|&i| keep(i)).collect::<Vec<usize>>();
        let problem = Problem { prepared, rows: rows.clone(), seed };
        let (whole, spread) = problem.solve(PRIOR, STEPS);
        let mut of_folds = Vec::new();
        for fold in 0..FOLDS {
            let (seen, held) = (pick(&|i| fold_of[i] != fold), pick(&|i| fold_of[i] == fold));
            if held.is_empty() {
                continue;
            }
            let (values, _) = Problem { prepared, rows: seen, seed }.solve(whole, FOLD_STEPS);
            let found = Factors::from_values(values);
            let predicted: Vec<Prediction> = held.par_iter().map(|&i| prepared[i].predict(&found, seed)).collect();
            held.iter().zip(predicted).for_each(|(&i, p)| by_workload[i] = p);
            of_folds.push(found);
        }
        let mut sources: Vec<&str> = rows.iter().map(|&i| &*prepared[i].point.source).collect();
        sources.sort_unstable();
        sources.dedup();
        for &name in sources.iter().filter(|_| sources.len() > 1) {
            let (seen, held) =
                (pick(&|i| prepared[i].point.source != name), pick(&|i| prepared[i].point.source == name));
            let (values, _) = Problem { prepared, rows: seen, seed }.solve(whole, FOLD_STEPS);
            let found = Factors::from_values(values);
            let predicted: Vec<Prediction> = held.par_iter().map(|&i| prepared[i].predict(&found, seed)).collect();
            held.iter().zip(predicted).for_each(|(&i, p)| by_source[i] = Some(p));
        }
        let left = |of: &dyn Fn(&Prediction, &Point) -> f64| {
            Residual::of(rows.iter().map(|&i| of(&by_workload[i], prepared[i].point)).collect())
        };
        let own = BackendCalibration {
            points: rows.len(),
            factors: Factors::from_values(whole.map(|v| rounded(v, 4))),
            standard_error: Factors::from_values(spread.map(|v| rounded(v, 4))),
            ttft: left(&|p, point| (point.ttft_ms / p.ttft_ms).ln()),
            tpot: left(&|p, point| (point.tpot_ms / p.tpot_ms).ln()),
        };
        match backend {
            Backend::Vllm => calibration.vllm = Some(own),
            Backend::Sglang => calibration.sglang = Some(own),
            Backend::Trtllm => calibration.trtllm = Some(own),
        }
        folds.push((backend, of_folds));
    }
    Fitted { calibration, by_workload, by_source, folds }
}

/// Predictions by the calibration itself, which saw all points.
pub fn in_sample(prepared: &[Prepared<'_>], calibration: &Calibration, seed: u64) -> Vec<Prediction> {
    super::replay::predict_all(prepared, &|backend| factors(Some(calibration), backend), seed)
}

/// Deals groups (of equal keys) to [`FOLDS`] parts: the largest first, each to the part with the
/// fewest points so far.
fn deal<K: Ord + Copy>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let keys: Vec<K> = keys.collect();
    let mut groups: Vec<(usize, K)> = Vec::new();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    for key in sorted {
        match groups.last_mut() {
            Some((count, last)) if *last == key => *count += 1,
            _ => groups.push((1, key)),
        }
    }
    groups.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut sizes = [0; FOLDS];
    let dealt: Vec<(K, usize)> = groups
        .into_iter()
        .map(|(count, key)| {
            let fold = (0..FOLDS).min_by_key(|&f| (sizes[f], f)).expect("there are parts");
            sizes[fold] += count;
            (key, fold)
        })
        .collect();
    let fold_of = |key: &K| dealt.iter().find(|(k, _)| k == key).expect("every key was dealt").1;
    keys.iter().map(fold_of).collect()
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

impl Residual {
    fn of(mut left: Vec<f64>) -> Residual {
        left.retain(|v| v.is_finite());
        left.sort_by(f64::total_cmp);
        let at = |level: f64| match left.len() {
            0 => 0.0,
            n => left[((n - 1) as f64 * level).round() as usize],
        };
        let quantiles = [0.05, 0.25, 0.5, 0.75, 0.95].map(|level| rounded(at(level), 4));
        Residual { sigma: rounded((at(0.84) - at(0.16)) / 2.0, 4), quantiles }
    }
}

struct Problem<'a> {
    prepared: &'a [Prepared<'a>],
    rows: Vec<usize>,
    seed: u64,
}

impl Problem<'_> {
    /// Residuals `ln(predicted / measured)` of TPOT and TTFT over [`TURN`], at each of some values.
    fn residuals(&self, at: &[Vector]) -> Vec<Vec<[f64; 2]>> {
        let all: Vec<[f64; 2]> = (0..at.len() * self.rows.len())
            .into_par_iter()
            .map(|job| {
                let (values, row) = (at[job / self.rows.len()], self.rows[job % self.rows.len()]);
                let prepared = &self.prepared[row];
                let predicted = prepared.predict(&Factors::from_values(values), self.seed);
                let point = prepared.point;
                [(predicted.tpot_ms / point.tpot_ms).ln() / TURN[0], (predicted.ttft_ms / point.ttft_ms).ln() / TURN[1]]
            })
            .collect();
        all.chunks(self.rows.len()).map(<[_]>::to_vec).collect()
    }

    fn cost(residuals: &[[f64; 2]], at: &Vector) -> f64 {
        let loss = |r: f64| if r.is_finite() { 2.0 * ((1.0 + r * r).sqrt() - 1.0) } else { 0.0 };
        let data: f64 = residuals.iter().flatten().map(|&r| loss(r)).sum();
        data + (0..N).map(|k| ((at[k] - PRIOR[k]) / PRIOR_SPREAD[k]).powi(2)).sum::<f64>()
    }

    /// The best values and their standard errors.
    fn solve(&self, start: Vector, steps: usize) -> (Vector, Vector) {
        // Without points the prior stands.
        if self.rows.is_empty() {
            return (PRIOR, PRIOR_SPREAD);
        }
        let mut at = start;
        let mut spread = PRIOR_SPREAD;
        for _ in 0..steps {
            let mut asked = vec![at];
            for k in 0..N {
                let mut moved = at;
                moved[k] += DIFFERENCE[k];
                asked.push(moved);
            }
            let answers = self.residuals(&asked);
            let now = &answers[0];
            // Normal equations of the reweighted squares, and the prior's.
            let mut normal = [[0.0; N]; N];
            let mut right = [0.0; N];
            for k in 0..N {
                let weight = PRIOR_SPREAD[k].powi(-2);
                normal[k][k] += weight;
                right[k] += weight * (PRIOR[k] - at[k]);
            }
            for row in 0..now.len() {
                for side in 0..2 {
                    let r = now[row][side];
                    if !r.is_finite() {
                        continue;
                    }
                    let weight = 1.0 / (1.0 + r * r).sqrt();
                    let slope: Vector = std::array::from_fn(|k| (answers[k + 1][row][side] - r) / DIFFERENCE[k]);
                    if slope.iter().any(|s| !s.is_finite()) {
                        continue;
                    }
                    for i in 0..N {
                        right[i] -= weight * slope[i] * r;
                        for j in 0..N {
                            normal[i][j] += weight * slope[i] * slope[j];
                        }
                    }
                }
            }
            let inverse = inverted(normal);
            spread = std::array::from_fn(|k| inverse[k][k].max(0.0).sqrt());
            let step: Vector = std::array::from_fn(|i| (0..N).map(|j| inverse[i][j] * right[j]).sum());
            let tried =
                SHARES.map(|share| -> Vector { std::array::from_fn(|k| (at[k] + share * step[k]).max(LEAST[k])) });
            let costs: Vec<f64> = self.residuals(&tried).iter().zip(&tried).map(|(r, v)| Self::cost(r, v)).collect();
            let best = (0..SHARES.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).expect("some are tried");
            if costs[best] >= Self::cost(now, &at) * (1.0 - 1e-4) {
                break;
            }
            at = tried[best];
        }
        (at, spread)
    }
}

/// The inverse of a symmetric positive definite matrix, by Gauss-Jordan elimination.
pub(super) fn inverted<const M: usize>(mut matrix: [[f64; M]; M]) -> [[f64; M]; M] {
    let mut inverse = [[0.0; M]; M];
    for (k, row) in inverse.iter_mut().enumerate() {
        row[k] = 1.0;
    }
    for k in 0..M {
        let pivot = matrix[k][k];
        for j in 0..M {
            matrix[k][j] /= pivot;
            inverse[k][j] /= pivot;
        }
        for i in (0..M).filter(|&i| i != k) {
            let factor = matrix[i][k];
            for j in 0..M {
                matrix[i][j] -= factor * matrix[k][j];
                inverse[i][j] -= factor * inverse[k][j];
            }
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix: [[f64; N]; N] = std::array::from_fn(|i| {
            std::array::from_fn(|j| if i == j { 5.0 + i as f64 } else { 1.0 / (1.0 + i.abs_diff(j) as f64) })
        });
        let inverse = inverted(matrix);
        for (i, row) in matrix.iter().enumerate() {
            for j in 0..N {
                let product: f64 = row.iter().zip(&inverse).map(|(m, of)| m * of[j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn workloads_are_dealt_whole_and_evenly() {
        let keys = [1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 1];
        let folds = deal(keys.iter().copied());
        for (a, b) in keys.iter().zip(&folds) {
            assert!(keys.iter().zip(&folds).all(|(k, f)| k != a || f == b));
        }
        assert_eq!(folds.iter().max(), Some(&4));
    }
}
