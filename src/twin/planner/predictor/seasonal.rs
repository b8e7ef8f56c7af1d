//! As one season ago, scaled by how the level has changed since: a seasonal forecast with a
//! multiplicative level.

use super::Predictor;

/// Most by which a season may be scaled, up or down: a level near zero says little.
const MOST_SCALED: f64 = 4.0;

/// The series so far and the length of its season.
#[derive(Debug)]
pub struct Seasonal {
    season: usize,
    values: Vec<f64>,
}

impl Seasonal {
    /// With a season of so many windows, at least 1.
    pub fn new(season: usize) -> Self {
        Seasonal { season: season.max(1), values: Vec::new() }
    }

    /// Mean of the `count` values that end before `end`.
    fn mean(&self, end: usize, count: usize) -> f64 {
        self.values[end - count..end].iter().sum::<f64>() / count as f64
    }
}

impl Predictor for Seasonal {
    fn observe(&mut self, value: f64) {
        self.values.push(value);
    }

    fn predict(&self) -> Option<f64> {
        let n = self.values.len();
        // Without a whole season behind it, the last value is all that is known.
        if n <= self.season {
            return self.values.last().copied();
        }
        let same_phase = self.values[n - self.season];
        // The level now against that at the same phases one season ago.
        let count = (n - self.season).min(self.season);
        let (now, then) = (self.mean(n, count), self.mean(n - self.season, count));
        let scale = if then > 0.0 { (now / then).clamp(1.0 / MOST_SCALED, MOST_SCALED) } else { 1.0 };
        Some(same_phase * scale)
    }
}
