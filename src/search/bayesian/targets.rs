//! What the surrogates learn: objectives in units of the present front, compressed beyond it.

use crate::frontier::{Scale, is_finite};
use crate::search::memory::{Known, Memory};

/// Beyond this many units an objective counts by its logarithm, and not at all beyond [`WORST`]:
/// overload makes values that would rule any mean.
const KNEE: f64 = 1.2;
const WORST: f64 = 4.0;
/// "Near the front" is below this in every objective, widened until [`NEAR_LEAST`] are.
const NEAR: f64 = 1.3;
const NEAR_LEAST: usize = 16;
/// "Beyond an end of the front" allows one objective up to this.
const BEYOND: f64 = 2.2;
/// The front spans at least this share of the way from the best to the median value.
const LEAST_SPAN: f64 = 0.2;

/// Everything known, in common units.
pub(super) struct Targets {
    pub m: usize,
    /// Compressed objectives of each known candidate; of one without values, the worst.
    pub values: Vec<f64>,
    /// Whether it has values.
    pub is_valued: Vec<bool>,
    /// Whether it keeps every constraint and lies near the front in every objective.
    pub is_near: Vec<bool>,
    /// The same with one objective allowed to go beyond the front's end, for each objective: a
    /// better end of the front may lie there.
    pub is_beyond: Vec<bool>,
    /// How much a candidate must improve in every objective to be on the front; 0 on it.
    pub behind: Vec<f64>,
    /// The front's points.
    pub front: Vec<f64>,
}

impl Targets {
    /// `None` before anything has finite objectives.
    pub fn of(memory: &Memory) -> Option<Self> {
        let m = memory.objectives();
        let known = memory.known();
        // Before anything is feasible, the least violation is what a front is made of.
        let valued: Vec<&Known> = known.iter().filter(|k| is_finite(&k.objectives)).collect();
        if valued.is_empty() {
            return None;
        }
        let units = Units::of(memory, &valued);
        let mut raw = Vec::with_capacity(known.len() * m);
        for k in known {
            match is_finite(&k.objectives) {
                true => raw.extend(units.apply(&k.objectives)),
                false => raw.extend(std::iter::repeat_n(f64::INFINITY, m)),
            }
        }
        let front: Vec<f64> = memory.front().points().chunks_exact(m).flat_map(|p| units.apply(p)).collect();
        let row = |i: usize| &raw[i * m..][..m];
        let usable: Vec<bool> = known.iter().map(Known::is_usable).collect();
        let worst_of: Vec<f64> =
            (0..known.len()).map(|i| row(i).iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
        let mut sorted: Vec<f64> = (0..known.len()).filter(|&i| usable[i]).map(|i| worst_of[i]).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let near = sorted.get(NEAR_LEAST - 1).or(sorted.last()).map_or(NEAR, |v| v.max(NEAR));
        let is_near = (0..known.len()).map(|i| usable[i] && worst_of[i] <= near).collect();
        let is_within = |(i, end): (usize, usize)| {
            let limit = |k| if k == end { near.max(BEYOND) } else { near };
            usable[i] && row(i).iter().enumerate().all(|(k, &v)| v <= limit(k))
        };
        let is_beyond = (0..known.len()).flat_map(|i| (0..m).map(move |end| (i, end))).map(is_within).collect();
        let values: Vec<f64> = raw.iter().map(|&v| compress(v)).collect();
        let compressed_front: Vec<f64> = front.iter().map(|&v| compress(v)).collect();
        let behind = values.chunks_exact(m).map(|v| distance_behind(v, &compressed_front, m)).collect();
        let is_valued = known.iter().map(|k| is_finite(&k.objectives)).collect();
        Some(Targets { m, values, is_valued, is_near, is_beyond, behind, front })
    }

    /// Those that have values, the nearest to the front first.
    pub fn nearest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.behind.len()).filter(|&i| self.is_valued[i]).collect();
        order.sort_by(|&a, &b| self.behind[a].total_cmp(&self.behind[b]));
        order
    }

    /// The compressed objectives of one known candidate.
    pub fn row(&self, place: usize) -> &[f64] {
        &self.values[place * self.m..][..self.m]
    }
}

/// The least that must be taken off every objective of a point for the front not to dominate it;
/// 0 where it is not dominated, or there is no front.
pub(super) fn distance_behind(point: &[f64], front: &[f64], m: usize) -> f64 {
    let of = |f: &[f64]| point.iter().zip(f).map(|(p, f)| p - f).fold(f64::INFINITY, f64::min);
    front.chunks_exact(m).map(of).fold(0.0, f64::max)
}

fn compress(v: f64) -> f64 {
    if v <= KNEE { v } else { (KNEE + (1.0 + v - KNEE).ln()).min(WORST) }
}

/// A scale, zero and unit per objective.
struct Units {
    scales: Vec<Scale>,
    low: Vec<f64>,
    width: Vec<f64>,
}

impl Units {
    fn of(memory: &Memory, valued: &[&Known]) -> Self {
        let m = memory.objectives();
        let mut units = Units { scales: Vec::new(), low: Vec::new(), width: Vec::new() };
        let front = memory.front().points();
        for k in 0..m {
            let column: Vec<f64> = if front.is_empty() {
                valued.iter().map(|v| v.objectives[k]).collect()
            } else {
                front.iter().skip(k).step_by(m).copied().collect()
            };
            let scale = Scale::of(column.iter().copied());
            let scaled = column.iter().map(|&v| scale.apply(v));
            let (low, high) = scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let mut all: Vec<f64> = valued.iter().map(|v| scale.apply(v.objectives[k])).collect();
            let (_, median, _) = all.select_nth_unstable_by(valued.len() / 2, f64::total_cmp);
            let least = if median.is_finite() { LEAST_SPAN * (*median - low) } else { 0.0 };
            let width = (high - low).max(least);
            units.scales.push(scale);
            units.low.push(low);
            units.width.push(if width > 0.0 { width } else { 1e-9 * low.abs().max(1.0) });
        }
        units
    }

    fn apply(&self, point: &[f64]) -> Vec<f64> {
        let of = |(k, &v): (usize, &f64)| (self.scales[k].apply(v) - self.low[k]) / self.width[k];
        point.iter().enumerate().map(of).collect()
    }
}
