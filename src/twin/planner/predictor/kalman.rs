//! A Kalman filter over a local linear trend, with the peer's variances (`semantics` 8.7).

use super::Predictor;

/// Variance that each step adds to level and to trend.
const STEP_VARIANCE: [f64; 2] = [1.0, 0.1];
/// Variance of one observation.
const NOISE: f64 = 10.0;
/// Variance of level and trend before the first observation.
const FIRST_VARIANCE: f64 = 1000.0;
/// Observations before its forecast is trusted; the last value until then.
const FEWEST: usize = 5;

/// The filter: level and trend with their covariance, after the last observation.
#[derive(Debug)]
pub struct Kalman {
    seen: usize,
    last: f64,
    level: f64,
    trend: f64,
    /// Variance of level, covariance, variance of trend.
    variance: [f64; 3],
}

impl Default for Kalman {
    fn default() -> Self {
        Kalman { seen: 0, last: 0.0, level: 0.0, trend: 0.0, variance: [FIRST_VARIANCE, 0.0, FIRST_VARIANCE] }
    }
}

impl Predictor for Kalman {
    fn observe(&mut self, value: f64) {
        if self.seen == 0 {
            self.level = value;
        } else {
            let [ll, lt, tt] = self.variance;
            let (ll, lt, tt) = (ll + 2.0 * lt + tt + STEP_VARIANCE[0], lt + tt, tt + STEP_VARIANCE[1]);
            let level = self.level + self.trend;
            let gain = [ll / (ll + NOISE), lt / (ll + NOISE)];
            let surprise = value - level;
            self.level = level + gain[0] * surprise;
            self.trend += gain[1] * surprise;
            self.variance = [(1.0 - gain[0]) * ll, (1.0 - gain[0]) * lt, tt - gain[1] * lt];
        }
        self.seen += 1;
        self.last = value;
    }

    fn predict(&self) -> Option<f64> {
        match self.seen {
            0 => None,
            1..FEWEST => Some(self.last),
            _ => Some(self.level + self.trend),
        }
    }
}
