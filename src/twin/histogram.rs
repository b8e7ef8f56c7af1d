//! A mergeable histogram of times with logarithmic buckets, for samples too many to keep.
//!
//! Buckets split every octave into 512 equal parts, so a reported quantile is within 0.1% of the
//! true one; means are exact.

const SUB_BITS: u32 = 9;
const SHIFT: u32 = 52 - SUB_BITS;
/// Bits of 2^-14 ms, the lower edge of the first bucket: anything shorter counts there.
const LOWEST: u64 = (1023 - 14) << 52 >> SHIFT;
/// 2^-14 ms to 2^34 ms (200 days).
const BUCKETS: usize = 48 << SUB_BITS;

/// Times in ms with weights.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, sum: 0.0 }
    }
}

fn bucket(ms: f64) -> usize {
    ((ms.to_bits() >> SHIFT).saturating_sub(LOWEST) as usize).min(BUCKETS - 1)
}

/// The lower edge of a bucket.
fn low(bucket: usize) -> f64 {
    f64::from_bits((bucket as u64 + LOWEST) << SHIFT)
}

fn middle(bucket: usize) -> f64 {
    0.5 * (low(bucket) + low(bucket + 1))
}

impl Histogram {
    /// Adds `weight` samples of `ms` (not negative).
    #[inline]
    pub fn add(&mut self, ms: f64, weight: u64) {
        self.counts[bucket(ms)] += weight;
        self.total += weight;
        self.sum += ms * weight as f64;
    }

    /// Adds `weight` samples of each of `ms(from), .., ms(to - 1)`, whose sum is `sum`; `ms` must be
    /// monotone there. Costs a few steps per bucket touched, not per sample.
    #[inline]
    pub fn add_run(&mut self, from: u64, to: u64, ms: impl Fn(u64) -> f64 + Copy, sum: f64, weight: u64) {
        self.total += (to - from) * weight;
        self.sum += sum * weight as f64;
        self.spread(from, to, bucket(ms(from)), bucket(ms(to - 1)), ms, weight);
    }

    /// Bucket by bucket: where the samples leave one is foretold from how they begin in it, as they change
    /// almost evenly, and found by bisection where that is not it.
    fn spread(&mut self, from: u64, to: u64, first: usize, last: usize, ms: impl Fn(u64) -> f64 + Copy, weight: u64) {
        let (mut at, mut within) = (from, first);
        while within != last {
            let (here, step) = (ms(at), ms(at + 1) - ms(at));
            let edge = low(if step > 0.0 { within + 1 } else { within });
            let guess = at.saturating_add(((edge - here) / step) as u64).clamp(at + 1, to - 1);
            let (mut inside, mut outside) = (at, to - 1);
            for probe in [guess, guess + 1] {
                if inside < probe && probe < outside {
                    if bucket(ms(probe)) == within { inside = probe } else { outside = probe }
                }
            }
            while outside - inside > 1 {
                let middle = inside + (outside - inside) / 2;
                if bucket(ms(middle)) == within { inside = middle } else { outside = middle }
            }
            self.counts[within] += (outside - at) * weight;
            (at, within) = (outside, bucket(ms(outside)));
        }
        self.counts[last] += (to - at) * weight;
    }

    /// Number of samples.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Exact mean, NaN when empty.
    pub fn mean(&self) -> f64 {
        self.sum / self.total as f64
    }

    /// The sample above which there are `above` others, to within 0.1%; `None` when there are no
    /// more than those.
    pub fn from_the_top(&self, above: u64) -> Option<f64> {
        let mut seen = 0;
        self.counts.iter().enumerate().rev().find_map(|(index, &count)| {
            seen += count;
            (seen > above).then(|| middle(index))
        })
    }

    /// Nearest-rank quantile (`q` in 0..=1) to within 0.1%, NaN when empty.
    pub fn quantile(&self, q: f64) -> f64 {
        if self.total == 0 {
            return f64::NAN;
        }
        let rank = super::tally::rank(self.total as usize, q) as u64;
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > rank {
                return middle(index);
            }
        }
        unreachable!("counts add up to the total")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_like_single_samples() {
        let shapes = [
            (5.0, 0.01, 0.0),
            (5.0, 1e-6, 0.0),
            (50.0, -0.04, 0.0),
            (5.0, 0.01, -2e-6),
            (5.0, 0.0, 1e-4),
            (5.0, 0.0, 0.0),
            (1e-9, 1e-7, 0.0),
            (1.0, 7.0, 3.0),
        ];
        for (base, slope, curve) in shapes {
            let ms = |k: u64| base + k as f64 * (slope + k as f64 * curve);
            let (mut one, mut run) = (Histogram::default(), Histogram::default());
            let mut sum = 0.0;
            for k in 3..900 {
                one.add(ms(k), 7);
                sum += ms(k);
            }
            run.add_run(3, 900, ms, sum, 7);
            assert_eq!(one.counts, run.counts, "{base} {slope} {curve}");
            assert_eq!(one.total(), run.total());
            assert!((one.mean() - run.mean()).abs() < 1e-9 * one.mean());
        }
    }

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|v| h.add(f64::from(v), 1));
        for (q, exact) in [(0.5, 501.0), (0.9, 900.0), (0.99, 990.0)] {
            assert!((h.quantile(q) / exact - 1.0).abs() < 1e-3, "{q}: {}", h.quantile(q));
        }
        assert!(Histogram::default().quantile(0.5).is_nan());
    }
}
