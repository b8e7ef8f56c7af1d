//! The error model: how servers that were measured differ from what the tables and the twin say.
//!
//! Physical factors only, per backend and not per model: the time of passes that prefill and of
//! passes that decode, what the host adds to a pass, what the front end adds to a request. Beside
//! them stands what is left: the spread of measurements around calibrated predictions, from which
//! intervals are made. `servescout fidelity FILE.csv --fit OUT.toml` makes such a file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{PassFactors, WorkerShape};
use crate::catalog::Backend;

/// Version of the file format.
pub const VERSION: u32 = 1;

/// A calibration file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of the format, 1.
    pub version: u32,
    /// What it was fitted on, and how.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm: Option<BackendCalibration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sglang: Option<BackendCalibration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trtllm: Option<BackendCalibration>,
}

/// How servers of one backend differ from the tables.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackendCalibration {
    /// Measured points behind it.
    pub points: usize,
    pub factors: Factors,
    /// Standard error of each factor.
    pub standard_error: Factors,
    /// Time to first token: what is left, as the natural logarithm of measured over predicted.
    pub ttft: Residual,
    /// Time per output token: the same.
    pub tpot: Residual,
}

/// The physical factors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Factors {
    /// Of passes that prefill, dense models.
    pub prefill: f64,
    /// Of passes that prefill, mixtures of experts: their tokens meet experts unevenly.
    pub expert_prefill: f64,
    /// Of passes that decode.
    pub decode: f64,
    /// What the host adds to a pass while it schedules ahead, ms.
    pub host_ms: f64,
    /// What the host adds to a pass when it schedules between passes, ms.
    pub sync_host_ms: f64,
    /// What the host adds to a pass that prefills, ms.
    pub prompt_host_ms: f64,
    /// From a client's sending to the engine and from the engine back to the client, ms.
    pub request_ms: f64,
}

/// What is left of the logarithm of measured over predicted, in predictions of points that the fit
/// had not seen.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Spread, as if normal: half the width of the middle 68%.
    pub sigma: f64,
    /// Quantiles at 5, 25, 50, 75 and 95%.
    pub quantiles: [f64; 5],
}

/// A predicted latency that residuals are known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Time to first token.
    Prefill,
    /// Time per output token.
    Decode,
}

/// The levels of [`Residual::quantiles`].
const LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

impl Factors {
    /// Tables as they are.
    pub const NONE: Factors = Factors {
        prefill: 1.0,
        expert_prefill: 1.0,
        decode: 1.0,
        host_ms: 0.0,
        sync_host_ms: 0.0,
        prompt_host_ms: 0.0,
        request_ms: 0.0,
    };
    /// Names, in the order of [`Factors::values`].
    pub const NAMES: [&str; 7] =
        ["prefill", "expert_prefill", "decode", "host_ms", "sync_host_ms", "prompt_host_ms", "request_ms"];

    /// The factors in order.
    pub fn values(&self) -> [f64; 7] {
        let Factors { prefill, expert_prefill, decode, host_ms, sync_host_ms, prompt_host_ms, request_ms } = *self;
        [prefill, expert_prefill, decode, host_ms, sync_host_ms, prompt_host_ms, request_ms]
    }

    /// The factors from [`Factors::values`].
    pub fn from_values(values: [f64; 7]) -> Factors {
        let [prefill, expert_prefill, decode, host_ms, sync_host_ms, prompt_host_ms, request_ms] = values;
        Factors { prefill, expert_prefill, decode, host_ms, sync_host_ms, prompt_host_ms, request_ms }
    }

    /// What they make of the passes of a worker; `schedules_ahead` unless the engine schedules only
    /// when the pass before is complete.
    pub fn of_passes(&self, shape: &WorkerShape, schedules_ahead: bool) -> PassFactors {
        PassFactors {
            prefill: if shape.model.moe.is_some() { self.expert_prefill } else { self.prefill },
            decode: self.decode,
            host_ms: if schedules_ahead { self.host_ms } else { self.sync_host_ms },
            prompt_host_ms: self.prompt_host_ms,
            request_ms: self.request_ms,
        }
    }
}

impl Calibration {
    /// The calibration in the binary.
    pub fn embedded() -> Calibration {
        let text = include_str!("data/calibration.toml");
        Calibration::parse(text).expect("the embedded calibration is whole: a test reads it")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no calibration; the message names the file and the place.
    pub fn read(path: &Path) -> Result<Calibration, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Calibration::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// By name: `none`, `default`, or a file.
    ///
    /// # Errors
    /// As [`Calibration::read`].
    pub fn named(name: &str, base: Option<&Path>) -> Result<Option<Calibration>, String> {
        match name {
            "none" => Ok(None),
            "default" => Ok(Some(Calibration::embedded())),
            file => Calibration::read(&base.map_or_else(|| file.into(), |b| b.join(file))).map(Some),
        }
    }

    fn parse(text: &str) -> Result<Calibration, String> {
        let calibration: Calibration = toml::from_str(text).map_err(|e| e.to_string())?;
        if calibration.version != VERSION {
            return Err(format!("version {} of a calibration is not known: {VERSION} is", calibration.version));
        }
        for backend in Backend::ALL {
            let Some(own) = calibration.of(backend) else { continue };
            for (name, value) in Factors::NAMES.iter().zip(own.factors.values()) {
                let is_factor = !name.ends_with("_ms");
                if !value.is_finite() || value < 0.0 || (is_factor && value == 0.0) {
                    let legal = if is_factor { "above 0" } else { "0 or more" };
                    return Err(format!("{}.factors.{name} is {value}: it must be {legal}", backend.name()));
                }
            }
            for (name, left) in [("ttft", own.ttft), ("tpot", own.tpot)] {
                let sorted = left.quantiles.is_sorted() && left.quantiles.iter().all(|q| q.is_finite());
                if !(left.sigma >= 0.0 && left.sigma.is_finite() && sorted) {
                    return Err(format!("{}.{name}: sigma must be 0 or more, and quantiles rise", backend.name()));
                }
            }
        }
        Ok(calibration)
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers and texts are TOML")
    }

    /// What it says of a backend; `None` when no point of that backend was measured.
    pub fn of(&self, backend: Backend) -> Option<&BackendCalibration> {
        match backend {
            Backend::Vllm => self.vllm.as_ref(),
            Backend::Sglang => self.sglang.as_ref(),
            Backend::Trtllm => self.trtllm.as_ref(),
        }
    }

    /// A prediction's interval: where measurements lie with the given chance, by the residuals of
    /// the backend. `None` when no point of that backend was measured.
    pub fn interval(&self, backend: Backend, phase: Phase, predicted: f64, chance: f64) -> Option<(f64, f64)> {
        let own = self.of(backend)?;
        let left = match phase {
            Phase::Prefill => own.ttft,
            Phase::Decode => own.tpot,
        };
        let tail = (1.0 - chance.clamp(0.0, 1.0)) / 2.0;
        Some((predicted * left.quantile(tail).exp(), predicted * left.quantile(1.0 - tail).exp()))
    }
}

impl Residual {
    /// A quantile, linear between the known ones, and beyond them with the slope of a normal of the
    /// same spread.
    pub fn quantile(&self, level: f64) -> f64 {
        let normal = |p: f64| {
            // Beyond the known levels only; sigmas from the 95% point, by the logarithm of the odds.
            self.sigma * ((p / (1.0 - p)).ln() - (0.95f64 / 0.05).ln()) / 1.702
        };
        let level = level.clamp(0.001, 0.999);
        if level < LEVELS[0] {
            return self.quantiles[0] - normal(1.0 - level);
        }
        if level > LEVELS[4] {
            return self.quantiles[4] + normal(level);
        }
        let at = LEVELS.partition_point(|l| *l <= level).clamp(1, 4);
        let share = (level - LEVELS[at - 1]) / (LEVELS[at] - LEVELS[at - 1]);
        self.quantiles[at - 1] + share * (self.quantiles[at] - self.quantiles[at - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_calibration_is_whole() {
        let embedded = Calibration::embedded();
        assert_eq!(Calibration::parse(&embedded.to_toml()).unwrap(), embedded);
        for backend in Backend::ALL {
            let own = embedded.of(backend).unwrap();
            assert!(own.points > 10 && own.tpot.sigma < own.ttft.sigma, "{}", backend.name());
            let (low, high) = embedded.interval(backend, Phase::Decode, 20.0, 0.9).unwrap();
            assert!(low < 20.0 && high > 20.0, "{low} {high}");
            let (wider, _) = embedded.interval(backend, Phase::Decode, 20.0, 0.98).unwrap();
            assert!(wider < low);
        }
    }

    #[test]
    fn damaged_files_are_refused_with_their_place() {
        let good = Calibration::embedded().to_toml();
        let says = |from: &str, to: &str| Calibration::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(says("version = 1", "version = 7").contains("version 7"));
        assert!(says("version = 1", "version = 1\nhots = 2").contains("hots"));
        assert!(says("decode = ", "decode = -").contains("factors.decode"));
        assert!(Calibration::named("/nowhere.toml", None).unwrap_err().contains("/nowhere.toml"));
        assert_eq!(Calibration::named("none", None), Ok(None));
    }
}
