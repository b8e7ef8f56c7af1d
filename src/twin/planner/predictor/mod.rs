//! Forecasts of the next window from those before it: one file per method (`semantics` 8.7).

mod constant;
mod holt;
mod kalman;
mod seasonal;

use super::config::PredictorKind;

/// A method of foretelling a series one step ahead.
pub trait Predictor: std::fmt::Debug {
    /// Takes in the next value of the series.
    fn observe(&mut self, value: f64);
    /// The value expected next; `None` before the first.
    fn predict(&self) -> Option<f64>;
}

/// A predictor of a quantity that is never negative.
#[derive(Debug)]
pub struct Forecast(Box<dyn Predictor>);

impl Forecast {
    /// Of this kind, with no history.
    pub fn new(kind: PredictorKind) -> Self {
        Forecast(match kind {
            PredictorKind::Constant => Box::<constant::Constant>::default(),
            PredictorKind::Holt => Box::<holt::Holt>::default(),
            PredictorKind::Kalman => Box::<kalman::Kalman>::default(),
            PredictorKind::Seasonal { windows } => Box::new(seasonal::Seasonal::new(windows as usize)),
        })
    }

    /// Takes in the next value of the series.
    pub fn observe(&mut self, value: f64) {
        self.0.observe(value);
    }

    /// The value expected next, at least 0; `None` before the first.
    pub fn predict(&self) -> Option<f64> {
        self.0.predict().map(|v| v.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [PredictorKind; 4] =
        [PredictorKind::Constant, PredictorKind::Holt, PredictorKind::Kalman, PredictorKind::Seasonal { windows: 12 }];

    /// Mean absolute error one step ahead over the second half of a series.
    fn error(kind: PredictorKind, series: &[f64]) -> f64 {
        let mut forecast = Forecast::new(kind);
        let mut sum = 0.0;
        for (i, &value) in series.iter().enumerate() {
            if i >= series.len() / 2 {
                sum += (forecast.predict().unwrap() - value).abs();
            }
            forecast.observe(value);
        }
        sum / (series.len() - series.len() / 2) as f64
    }

    #[test]
    fn a_constant_series_is_foretold_as_itself() {
        for kind in KINDS {
            assert!(error(kind, &[7.0; 60]) < 1e-9, "{kind:?}");
            assert_eq!(Forecast::new(kind).predict(), None, "{kind:?}");
        }
    }

    #[test]
    fn trends_and_seasons_are_found_by_those_who_look_for_them() {
        let ramp: Vec<f64> = (0..60).map(|i| 10.0 + 3.0 * f64::from(i)).collect();
        assert!((error(PredictorKind::Constant, &ramp) - 3.0).abs() < 1e-9);
        assert!(error(PredictorKind::Holt, &ramp) < 0.1);
        assert!(error(PredictorKind::Kalman, &ramp) < 0.1);
        let waves: Vec<f64> =
            (0..96).map(|i| 100.0 + 80.0 * (f64::from(i) * std::f64::consts::TAU / 12.0).sin()).collect();
        assert!(error(PredictorKind::Seasonal { windows: 12 }, &waves) < 1e-6);
        assert!(error(PredictorKind::Constant, &waves) > 20.0);
    }

    #[test]
    fn nothing_negative_is_foretold() {
        for kind in KINDS {
            let mut forecast = Forecast::new(kind);
            for i in 0..40 {
                forecast.observe(f64::from(20 - i).max(0.0) * 5.0);
                assert!(forecast.predict().unwrap() >= 0.0, "{kind:?}");
            }
        }
    }
}
