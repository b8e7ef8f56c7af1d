//! The next window is as the last one.

use super::Predictor;

/// The last value.
#[derive(Debug, Default)]
pub struct Constant(Option<f64>);

impl Predictor for Constant {
    fn observe(&mut self, value: f64) {
        self.0 = Some(value);
    }

    fn predict(&self) -> Option<f64> {
        self.0
    }
}
