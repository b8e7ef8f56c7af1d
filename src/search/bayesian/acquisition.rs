//! Expected hypervolume improvement.
//!
//! The region that the front does not dominate, up to the reference point, is cut into boxes; the
//! volume that a point adds is the sum over the boxes of the product, over the objectives, of the
//! length of the box beyond the point. With independent normal predictions the expectation of each
//! length is closed (Emmerich, Deutz, Yang et al.), so two and three objectives are exact; a front
//! of `n` points makes `n + 1` boxes in two dimensions and at most `3 n + 1` in three. From four
//! objectives up, the volume added by an optimistic point (mean less a share of the deviation)
//! stands in.

use crate::frontier::hypervolume::exclusive_volume;
use crate::frontier::nondominated;

/// The optimistic point, from four objectives up, lies this many deviations below the mean.
const OPTIMISM: f64 = 0.6;

/// What can be added to a front.
pub(super) struct Improvement {
    m: usize,
    reference: Vec<f64>,
    front: Vec<f64>,
    /// Distinct coordinates of box corners, per objective, ascending; the first is minus infinity.
    edges: Vec<Vec<f64>>,
    boxes: Vec<[Side; 3]>,
}

/// One side of a box, as indices of edges.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    low: u32,
    high: u32,
}

impl Improvement {
    /// Over a front (dominated points and those beyond the reference do not matter).
    pub fn new(points: &[f64], m: usize, reference: &[f64]) -> Self {
        let inside: Vec<f64> =
            points.chunks_exact(m).filter(|p| p.iter().zip(reference).all(|(p, r)| p < r)).flatten().copied().collect();
        let front: Vec<f64> =
            nondominated(&inside, m).into_iter().flat_map(|i| &inside[i * m..][..m]).copied().collect();
        let raw = match m {
            2 => boxes_2d(&front, reference),
            3 => boxes_3d(&front, reference),
            _ => Vec::new(),
        };
        let mut edges: Vec<Vec<f64>> = vec![Vec::new(); m.min(3)];
        for sides in &raw {
            for (edge, &(low, high)) in edges.iter_mut().zip(sides) {
                edge.extend([low, high]);
            }
        }
        for edge in &mut edges {
            edge.sort_unstable_by(f64::total_cmp);
            edge.dedup();
        }
        let index = |k: usize, v: f64| edges[k].partition_point(|e| *e < v) as u32;
        let boxes = raw
            .iter()
            .map(|sides| {
                let mut out = [Side::default(); 3];
                for k in 0..m.min(3) {
                    out[k] = Side { low: index(k, sides[k].0), high: index(k, sides[k].1) };
                }
                out
            })
            .collect();
        Improvement { m, reference: reference.to_vec(), front, edges, boxes }
    }

    /// The expected gain of a point with independent normal objectives.
    pub fn expected(&self, mean: &[f64], deviation: &[f64]) -> f64 {
        if self.m > 3 || self.m == 1 {
            let point: Vec<f64> = mean.iter().zip(deviation).map(|(m, s)| m - OPTIMISM * s).collect();
            return exclusive_volume(&point, self.front.chunks_exact(self.m), &self.reference);
        }
        // Expected length below each edge and beyond the point.
        let below: Vec<Vec<f64>> = (0..self.m)
            .map(|k| self.edges[k].iter().map(|&edge| expected_shortfall(edge, mean[k], deviation[k])).collect())
            .collect();
        let length = |k: usize, side: Side| below[k][side.high as usize] - below[k][side.low as usize];
        match self.m {
            2 => self.boxes.iter().map(|b| length(0, b[0]) * length(1, b[1])).sum(),
            _ => self.boxes.iter().map(|b| length(0, b[0]) * length(1, b[1]) * length(2, b[2])).sum(),
        }
    }
}

/// `E[max(edge - Y, 0)]` for a normal `Y`.
fn expected_shortfall(edge: f64, mean: f64, deviation: f64) -> f64 {
    if edge == f64::NEG_INFINITY {
        return 0.0;
    }
    let z = (edge - mean) / deviation;
    if z > 8.0 {
        return edge - mean;
    }
    if z < -8.0 {
        return 0.0;
    }
    let density = (-0.5 * z * z).exp() * 0.398_942_280_401_432_7;
    ((edge - mean) * normal_cdf(z) + deviation * density).max(0.0)
}

/// The normal distribution function, to 7e-8 (Abramowitz and Stegun, 26.2.17).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = 0.398_942_280_401_432_7 * (-0.5 * z * z).exp() * poly;
    if z > 0.0 { 1.0 - tail } else { tail }
}

const OPEN: f64 = f64::NEG_INFINITY;

/// Vertical strips under the staircase.
fn boxes_2d(front: &[f64], reference: &[f64]) -> Vec<[(f64, f64); 3]> {
    let mut points: Vec<(f64, f64)> = front.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut boxes = Vec::with_capacity(points.len() + 1);
    let mut left = OPEN;
    let mut top = reference[1];
    for (x, y) in points {
        boxes.push([(left, x), (OPEN, top), (0.0, 0.0)]);
        (left, top) = (x, y);
    }
    boxes.push([(left, reference[0]), (OPEN, top), (0.0, 0.0)]);
    boxes.retain(|b| b[0].0 < b[0].1);
    boxes
}

/// A strip of the plane that no point below the present height dominates.
#[derive(Clone, Copy)]
struct Strip {
    left: f64,
    right: f64,
    top: f64,
    /// Height at which it took this form.
    since: f64,
}

/// A sweep over the third objective: each point narrows or lowers the strips it covers; a strip
/// that changes closes a box.
fn boxes_3d(front: &[f64], reference: &[f64]) -> Vec<[(f64, f64); 3]> {
    let mut points: Vec<&[f64]> = front.chunks_exact(3).collect();
    points.sort_by(|a, b| a[2].total_cmp(&b[2]));
    // Left to right, tops falling.
    let mut strips = vec![Strip { left: OPEN, right: reference[0], top: reference[1], since: OPEN }];
    let mut boxes = Vec::new();
    let mut close = |s: &Strip, at: f64| {
        if s.since < at && s.left < s.right {
            boxes.push([(s.left, s.right), (OPEN, s.top), (s.since, at)]);
        }
    };
    for p in points {
        let (x, y, z) = (p[0], p[1], p[2]);
        let first = strips.partition_point(|s| s.right <= x);
        let last = strips.partition_point(|s| s.top > y);
        if first >= last {
            continue;
        }
        let mut fresh = Vec::with_capacity(2);
        for strip in &strips[first..last] {
            close(strip, z);
        }
        let (head, tail) = (strips[first], strips[last - 1]);
        if head.left < x {
            fresh.push(Strip { left: head.left, right: x, top: head.top, since: z });
        }
        fresh.push(Strip { left: head.left.max(x), right: tail.right, top: y, since: z });
        strips.splice(first..last, fresh);
    }
    for strip in &strips {
        close(strip, reference[2]);
    }
    boxes
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::frontier::hypervolume;
    use crate::search::draw::rng;

    #[test]
    fn the_distribution_function_is_right() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_344_746), (-2.0, 0.022_750_132), (3.5, 0.999_767_371)] {
            assert!((normal_cdf(z) - p).abs() < 1e-7);
        }
    }

    /// With no spread, the expected gain is the gain; with some, it is the mean over many draws.
    #[test]
    fn the_expectation_is_exact() {
        let mut random = rng(5, "test", 0);
        for m in [2, 3] {
            let reference = vec![1.1; m];
            for n in [0, 1, 2, 7, 30] {
                let front: Vec<f64> = (0..n * m).map(|_| random.random::<f64>() * 1.2).collect();
                let improvement = Improvement::new(&front, m, &reference);
                let base = hypervolume(&front, m, &reference);
                let gain = |point: &[f64]| hypervolume(&[&front[..], point].concat(), m, &reference) - base;
                for _ in 0..5 {
                    let mean: Vec<f64> = (0..m).map(|_| random.random::<f64>()).collect();
                    let certain = improvement.expected(&mean, &vec![1e-9; m]);
                    assert!((certain - gain(&mean)).abs() < 1e-6, "{m} objectives, {n} points");
                }
                let mean = vec![0.4; m];
                let deviation = vec![0.2; m];
                let draws = 20_000;
                let mut normal = || {
                    let (u, v): (f64, f64) = (random.random(), random.random());
                    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
                };
                let drawn = (0..draws).map(|_| {
                    let point: Vec<f64> = mean.iter().zip(&deviation).map(|(m, s)| m + s * normal()).collect();
                    gain(&point)
                });
                let average = drawn.sum::<f64>() / f64::from(draws);
                let exact = improvement.expected(&mean, &deviation);
                assert!(
                    (average - exact).abs() < 0.01 * (0.1 + exact),
                    "{m} objectives, {n} points: {average} {exact}"
                );
            }
        }
    }

    #[test]
    fn boxes_grow_linearly_with_the_front() {
        let mut random = rng(5, "test", 1);
        let mut front = Vec::new();
        for _ in 0..400 {
            let v: Vec<f64> = (0..3).map(|_| -(1.0 - random.random::<f64>()).ln()).collect();
            let sum: f64 = v.iter().sum();
            front.extend(v.iter().map(|v| v / sum));
        }
        let improvement = Improvement::new(&front, 3, &[1.1; 3]);
        assert!(improvement.boxes.len() <= 3 * 400 + 1, "{}", improvement.boxes.len());
    }
}
