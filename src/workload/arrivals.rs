//! Arrival processes of the generator.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma};

use super::builder::MAX_MS;
use super::error::WorkloadError;
use super::spec::Arrivals;
use super::synthetic::{microseconds, wrong};
use crate::units::MS_PER_S;

/// Arrival instants of `count` sessions, ms, not decreasing, the first at 0.
pub(super) fn instants(arrivals: Arrivals, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<f64>, WorkloadError> {
    let mut instants = match arrivals {
        Arrivals::Burst => vec![0.0; count],
        Arrivals::Constant { rate_per_s } => {
            let gap = mean_gap_ms(rate_per_s)?;
            (0..count).map(|index| index as f64 * gap).collect()
        }
        Arrivals::Poisson { rate_per_s } => {
            let mean = mean_gap_ms(rate_per_s)?;
            after_gaps(count, || -> f64 { mean * <Exp1 as Distribution<f64>>::sample(&Exp1, rng) })
        }
        Arrivals::Gamma { rate_per_s, burstiness } => {
            let mean = mean_gap_ms(rate_per_s)?;
            // The coefficient of variation of a gamma law is 1 / sqrt(shape), its mean shape x scale.
            let variance = burstiness * burstiness;
            let law = Some(burstiness).filter(|b| (0.01..=100.0).contains(b));
            let law = law.and_then(|_| Gamma::new(1.0 / variance, mean * variance).ok()).ok_or_else(|| {
                let help = "give 0.01 to 100; 1 is Poisson, and `constant` has no variation at all";
                wrong("burstiness", format!("is {burstiness}"), help)
            })?;
            after_gaps(count, || law.sample(rng))
        }
        Arrivals::Diurnal { rate_per_s, swing, period_s } => thinned(count, rate_per_s, swing, period_s, rng)?,
    };
    if instants.last().is_some_and(|&last| !(last <= MAX_MS)) {
        return Err(wrong("rate_per_s", "is so low that arrivals go beyond 2^53 ms", "give a higher rate"));
    }
    let first = instants.first().copied().unwrap_or(0.0);
    for instant in &mut instants {
        *instant = microseconds(*instant - first);
    }
    Ok(instants)
}

fn mean_gap_ms(rate_per_s: f64) -> Result<f64, WorkloadError> {
    if rate_per_s > 0.0 && rate_per_s.is_finite() {
        return Ok(MS_PER_S / rate_per_s);
    }
    Err(wrong("rate_per_s", format!("is {rate_per_s}"), "give a positive number of sessions per second"))
}

fn after_gaps(count: usize, mut gap: impl FnMut() -> f64) -> Vec<f64> {
    let mut now = 0.0;
    let mut next = |index| {
        if index > 0 {
            now += gap();
        }
        now
    };
    (0..count).map(&mut next).collect()
}

/// A Poisson process whose rate swings as a sine, by thinning (Lewis and Shedler, 1979): candidates
/// come at the peak rate and are kept with the chance of the rate at their instant over the peak.
fn thinned(
    count: usize,
    rate_per_s: f64,
    swing: f64,
    period_s: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<f64>, WorkloadError> {
    if !(0.0..=1.0).contains(&swing) {
        return Err(wrong("swing", format!("is {swing}"), "give 0 (constant rate) to 1 (the trough is silent)"));
    }
    if !(period_s > 0.0 && period_s.is_finite()) {
        return Err(wrong("period_s", format!("is {period_s}"), "give a positive number of seconds; a day has 86400"));
    }
    let gap = mean_gap_ms(rate_per_s)? / (1.0 + swing);
    let mut instants = Vec::with_capacity(count);
    let mut now = 0.0;
    // Beyond MAX_MS the caller refuses anyway, and the sine means nothing.
    while instants.len() < count && now <= MAX_MS {
        now += gap * <Exp1 as Distribution<f64>>::sample(&Exp1, rng);
        let rate_over_mean = 1.0 + swing * (TAU * now / (period_s * MS_PER_S)).sin();
        if rng.random::<f64>() * (1.0 + swing) < rate_over_mean {
            instants.push(now);
        }
    }
    instants.resize(count, f64::INFINITY);
    Ok(instants)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const COUNT: usize = 20_000;

    fn drawn(arrivals: Arrivals) -> Vec<f64> {
        instants(arrivals, COUNT, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    /// Mean and coefficient of variation of the gaps.
    fn gaps(instants: &[f64]) -> (f64, f64) {
        let gaps: Vec<f64> = instants.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_variation_asked_for() {
        let rate_per_s = 4.0;
        let cases = [
            (Arrivals::Constant { rate_per_s }, 0.0),
            (Arrivals::Poisson { rate_per_s }, 1.0),
            (Arrivals::Gamma { rate_per_s, burstiness: 3.0 }, 3.0),
            (Arrivals::Gamma { rate_per_s, burstiness: 0.2 }, 0.2),
            (Arrivals::Diurnal { rate_per_s, swing: 0.0, period_s: 60.0 }, 1.0),
        ];
        for (arrivals, variation) in cases {
            let instants = drawn(arrivals);
            assert_eq!(instants[0], 0.0);
            assert!(instants.windows(2).all(|w| w[0] <= w[1]), "{arrivals:?}");
            let (mean, cv) = gaps(&instants);
            // Five standard errors of the mean, and what 20,000 draws pin of the variation.
            let tolerance = 5.0 * variation / (COUNT as f64).sqrt() + 1e-6;
            assert!((mean / 250.0 - 1.0).abs() < tolerance, "{arrivals:?}: mean gap {mean} ms");
            assert!((cv - variation).abs() < 0.08 * variation + 1e-6, "{arrivals:?}: variation {cv}");
        }
        assert!(drawn(Arrivals::Burst).iter().all(|&t| t == 0.0));
    }

    #[test]
    fn a_diurnal_rate_swings_with_its_period() {
        let instants = drawn(Arrivals::Diurnal { rate_per_s: 10.0, swing: 0.8, period_s: 100.0 });
        let mut by_quarter = [0.0; 4];
        for t in &instants {
            by_quarter[((t / 25_000.0) as usize) % 4] += 1.0 / COUNT as f64;
        }
        // The mean of 1 + 0.8 sin over a quarter: 1 + 0.8 x 2 / pi in the upper two.
        let expected = [0.25 * 1.509, 0.25 * 1.509, 0.25 * 0.491, 0.25 * 0.491];
        for (share, expected) in by_quarter.iter().zip(expected) {
            assert!((share - expected).abs() < 0.02, "{by_quarter:?} for {expected:?}");
        }
    }

    #[test]
    fn impossible_processes_are_errors() {
        let rate_per_s = 1.0;
        let wrong = [
            (Arrivals::Poisson { rate_per_s: 0.0 }, "rate_per_s"),
            (Arrivals::Constant { rate_per_s: f64::NAN }, "rate_per_s"),
            (Arrivals::Poisson { rate_per_s: 1e-300 }, "rate_per_s"),
            (Arrivals::Diurnal { rate_per_s: 1e-300, swing: 1.0, period_s: 1.0 }, "rate_per_s"),
            (Arrivals::Gamma { rate_per_s, burstiness: 0.0 }, "burstiness"),
            (Arrivals::Gamma { rate_per_s, burstiness: f64::INFINITY }, "burstiness"),
            (Arrivals::Diurnal { rate_per_s, swing: 1.5, period_s: 60.0 }, "swing"),
            (Arrivals::Diurnal { rate_per_s, swing: 0.5, period_s: 0.0 }, "period_s"),
        ];
        for (arrivals, field) in wrong {
            let error = instants(arrivals, 10, &mut ChaCha8Rng::seed_from_u64(1)).unwrap_err();
            assert_eq!(error.field(), Some(field), "{arrivals:?}: {error}");
        }
    }
}
