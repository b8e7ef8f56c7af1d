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

fn middle(bucket: usize) -> f64 {
    let low = f64::from_bits((bucket as u64 + LOWEST) << SHIFT);
    let high = f64::from_bits((bucket as u64 + LOWEST + 1) << SHIFT);
    0.5 * (low + high)
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

    fn spread(&mut self, from: u64, to: u64, first: usize, last: usize, ms: impl Fn(u64) -> f64 + Copy, weight: u64) {
        if first == last {
            self.counts[first] += (to - from) * weight;
            return;
        }
        let middle = from + (to - from) / 2;
        self.spread(from, middle, first, bucket(ms(middle - 1)), ms, weight);
        self.spread(middle, to, bucket(ms(middle)), last, ms, weight);
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
        let ms = |k: u64| 5.0 + 0.01 * k as f64;
        let (mut one, mut run) = (Histogram::default(), Histogram::default());
        let mut sum = 0.0;
        for k in 3..900 {
            one.add(ms(k), 7);
            sum += ms(k);
        }
        run.add_run(3, 900, ms, sum, 7);
        assert_eq!(one.counts, run.counts);
        assert_eq!(one.total(), run.total());
        assert!((one.mean() - run.mean()).abs() < 1e-9);
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
