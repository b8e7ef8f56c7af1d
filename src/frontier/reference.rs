//! The reference point by rule, and the scaling that makes objectives comparable.
//!
//! The rule: take the front; put each objective on a logarithmic scale when the front's values
//! share a sign and an order of magnitude or six (costs, latencies; a maximised throughput comes negated and is negative), else on
//! a linear one; scale so that the front spans 0 to 1; the reference point is 1.1 in each.
//! A hypervolume in these units is at most 1.1 to the power of the number of objectives, does not
//! depend on units, and can be compared between runs that record the same [`Reference`].

use super::{hypervolume, is_finite, nondominated, rows};

/// How far the reference point lies beyond the worst of the front, in units of the front's range.
pub const MARGIN: f64 = 0.1;

/// The scale on which an objective is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    Linear,
    /// `ln(v)`, for positive values.
    Log,
    /// `-ln(-v)`, for negative values: a maximised positive metric.
    NegatedLog,
}

impl Scale {
    /// The value on this scale; infinite where the value has the wrong sign.
    pub fn apply(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => {
                if value > 0.0 {
                    value.ln()
                } else {
                    f64::NEG_INFINITY
                }
            }
            Scale::NegatedLog => {
                if value < 0.0 {
                    -(-value).ln()
                } else {
                    f64::INFINITY
                }
            }
        }
    }

    /// The value of which this is the scaled form.
    pub fn invert(self, scaled: f64) -> f64 {
        match self {
            Scale::Linear => scaled,
            Scale::Log => scaled.exp(),
            Scale::NegatedLog => -(-scaled).exp(),
        }
    }

    /// The logarithm where all values share a sign and lie within a factor of a million of each
    /// other (a smaller value is a zero in disguise), else the linear scale.
    pub fn of(values: impl Iterator<Item = f64>) -> Scale {
        const WIDEST: f64 = 1e6;
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > 0.0 && high <= low * WIDEST {
            Scale::Log
        } else if high < 0.0 && low >= high * WIDEST {
            Scale::NegatedLog
        } else {
            Scale::Linear
        }
    }
}

/// The units in which hypervolume is measured, and so the reference point.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// One scale per objective.
    pub scales: Vec<Scale>,
    /// Scaled value that becomes 0, per objective: the front's best.
    pub ideal: Vec<f64>,
    /// Scaled value that becomes 1, per objective: the front's worst.
    pub nadir: Vec<f64>,
}

impl Reference {
    /// By the rule, from feasible points (dominated ones do not matter). `None` when no point is
    /// finite. An objective in which the whole front agrees gets a range of 1e-9 of its size.
    pub fn by_rule(points: &[f64], m: usize) -> Option<Self> {
        let front: Vec<f64> =
            nondominated(points, m).into_iter().flat_map(|i| &points[i * m..][..m]).copied().collect();
        let column = |k: usize| front.iter().skip(k).step_by(m).copied();
        Self::new(&front, m, (0..m).map(|k| Scale::of(column(k))).collect())
    }

    /// From the best and worst of a front on given scales. `None` for an empty front.
    pub fn new(front: &[f64], m: usize, scales: Vec<Scale>) -> Option<Self> {
        if rows(front, m) == 0 {
            return None;
        }
        let mut ideal = Vec::with_capacity(m);
        let mut nadir = Vec::with_capacity(m);
        for (k, scale) in scales.iter().enumerate() {
            let scaled = front.iter().skip(k).step_by(m).map(|&v| scale.apply(v));
            let (low, high) = scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            ideal.push(low);
            nadir.push(if high > low { high } else { low + 1e-9 * low.abs().max(1.0) });
        }
        Some(Reference { scales, ideal, nadir })
    }

    /// Number of objectives.
    pub fn objectives(&self) -> usize {
        self.scales.len()
    }

    /// A point in normalised units: 0 is the front's best, 1 its worst.
    pub fn normalise(&self, point: &[f64]) -> Vec<f64> {
        let scaled = self.scales.iter().zip(point).map(|(s, &v)| s.apply(v));
        scaled
            .zip(self.ideal.iter().zip(&self.nadir))
            .map(|(v, (ideal, nadir))| (v - ideal) / (nadir - ideal))
            .collect()
    }

    /// The reference point in the objectives' own units.
    pub fn point(&self) -> Vec<f64> {
        let range = self.ideal.iter().zip(&self.nadir);
        self.scales.iter().zip(range).map(|(s, (low, high))| s.invert(high + MARGIN * (high - low))).collect()
    }

    /// Hypervolume of a set of points in normalised units.
    pub fn hypervolume(&self, points: &[f64]) -> f64 {
        let m = self.objectives();
        let normalised: Vec<f64> =
            points.chunks_exact(m).filter(|p| is_finite(p)).flat_map(|p| self.normalise(p)).collect();
        hypervolume(&normalised, m, &vec![1.0 + MARGIN; m])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_spans_the_unit_box_on_its_scales() {
        // Cost positive, throughput maximised (negated), margin of either sign.
        let points = [1.0, -100.0, -1.0, 10.0, -1000.0, 1.0, 50.0, -10.0, 2.0];
        let reference = Reference::by_rule(&points, 3).unwrap();
        assert_eq!(reference.scales, [Scale::Log, Scale::NegatedLog, Scale::Linear]);
        let expected = [0.0, 1.0, 0.0];
        for (a, b) in reference.normalise(&points[..3]).iter().zip(expected) {
            assert!((a - b).abs() < 1e-12);
        }
        for (a, b) in reference.normalise(&reference.point()).iter().zip([1.1; 3]) {
            assert!((a - b).abs() < 1e-12, "the reference point lies at 1.1");
        }
    }

    #[test]
    fn a_single_point_has_the_whole_margin() {
        let reference = Reference::by_rule(&[2.0, 3.0], 2).unwrap();
        let volume = reference.hypervolume(&[2.0, 3.0]);
        assert!((volume - 1.21).abs() < 1e-6, "{volume}");
        assert_eq!(Reference::by_rule(&[f64::NAN, 1.0], 2), None);
    }

    #[test]
    fn hypervolume_does_not_depend_on_units() {
        let points = [1.0, 9.0, 3.0, 4.0, 8.0, 2.0];
        let scaled: Vec<f64> = points.chunks(2).flat_map(|p| [p[0] * 1000.0, p[1] * 3.6]).collect();
        let volume = |p: &[f64]| Reference::by_rule(p, 2).unwrap().hypervolume(p);
        assert!((volume(&points) - volume(&scaled)).abs() < 1e-12);
    }
}
