//! Holt's linear trend. The two smoothing constants are those of a grid that have foretold the
//! series best so far, so that nothing has to be tuned by hand.

use super::Predictor;

/// Grid of each smoothing constant: 0.1, 0.3, ... 0.9.
const STEPS: usize = 5;

/// Level and trend under one pair of smoothing constants.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    level: f64,
    trend: f64,
    /// Squared errors one step ahead, summed.
    error: f64,
}

/// Holt's linear trend.
#[derive(Debug, Default)]
pub struct Holt {
    seen: usize,
    lines: [[Line; STEPS]; STEPS],
}

fn constant(step: usize) -> f64 {
    0.1 + 0.2 * step as f64
}

impl Predictor for Holt {
    fn observe(&mut self, value: f64) {
        self.seen += 1;
        let seen = self.seen;
        for (i, row) in self.lines.iter_mut().enumerate() {
            for (j, line) in row.iter_mut().enumerate() {
                let before = *line;
                (line.level, line.trend) = match seen {
                    1 => (value, 0.0),
                    2 => (value, value - before.level),
                    _ => {
                        let expected = before.level + before.trend;
                        line.error += (value - expected).powi(2);
                        let level = expected + constant(i) * (value - expected);
                        (level, before.trend + constant(j) * (level - before.level - before.trend))
                    }
                };
            }
        }
    }

    fn predict(&self) -> Option<f64> {
        if self.seen == 0 {
            return None;
        }
        let best = self.lines.iter().flatten().min_by(|a, b| a.error.total_cmp(&b.error))?;
        Some(best.level + best.trend)
    }
}
