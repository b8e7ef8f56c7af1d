//! Which timing the user asked for, and how it is built for a worker.

use std::sync::Arc;

use super::default_host_ms;
use super::perfdb::{self, PerfDbOptions};
use super::roofline::Roofline;
use super::surface::{self, SurfaceOptions};
use super::{PassFactors, Timing, WorkerShape};
use crate::catalog::Backend;

/// A kind of timing and its settings: `[timing]` of a search space.
#[derive(Clone, Debug, PartialEq)]
pub enum TimingSpec {
    /// The peer's polynomial; see [`Timing::Polynomial`].
    Polynomial { floor_means: bool },
    /// The same duration for every pass; see [`Timing::Fixed`].
    Fixed { prefill_ms: f64, decode_ms: f64 },
    /// From architecture and data sheet, with [`default_host_ms`].
    Roofline,
    /// From measured tables; where there are none an estimate, which the provenance then says.
    Surface(SurfaceOptions),
    /// From the measured tables of the user's own database; an estimate for workers that they do not
    /// cover, which the provenance then says.
    PerfDb(PerfDbOptions),
}

impl Default for TimingSpec {
    fn default() -> Self {
        TimingSpec::Surface(SurfaceOptions::default())
    }
}

impl TimingSpec {
    /// The name of the kind in TOML.
    pub fn name(&self) -> &'static str {
        match self {
            TimingSpec::Polynomial { .. } => "polynomial",
            TimingSpec::Fixed { .. } => "fixed",
            TimingSpec::Roofline => "roofline",
            TimingSpec::Surface(_) => "surface",
            TimingSpec::PerfDb(_) => "perfdb",
        }
    }

    /// The timing of one worker.
    ///
    /// # Errors
    /// When the shape is impossible ([`WorkerShape::check`]), a fixed duration is negative or not a
    /// number, or the database of a `perfdb` cannot be read.
    pub fn build(&self, shape: &WorkerShape) -> Result<Timing, String> {
        shape.check()?;
        match self {
            &TimingSpec::Polynomial { floor_means } => Ok(Timing::Polynomial { floor_means }),
            &TimingSpec::Fixed { prefill_ms, decode_ms } => {
                check_ms("prefill_ms", prefill_ms)?;
                check_ms("decode_ms", decode_ms)?;
                Ok(Timing::Fixed { prefill_ms, decode_ms })
            }
            TimingSpec::Roofline => Ok(Timing::Roofline(Arc::new(Roofline::new(shape, self.host_ms(shape.backend))))),
            TimingSpec::Surface(options) => {
                check_ms("host_ms", options.host_ms.unwrap_or(0.0))?;
                match surface::surface(shape, options)? {
                    Some(surface) => Ok(Timing::Surface(surface)),
                    None => Ok(self.estimate(shape, options, None)),
                }
            }
            TimingSpec::PerfDb(options) => {
                check_ms("host_ms", options.surface.host_ms.unwrap_or(0.0))?;
                Ok(perfdb::timing(shape, options)?
                    .unwrap_or_else(|reason| self.estimate(shape, &options.surface, Some(reason))))
            }
        }
    }
}

impl TimingSpec {
    /// The timing of a worker that was not measured: from its nearest relative, else from
    /// architecture and data sheet.
    fn estimate(&self, shape: &WorkerShape, options: &SurfaceOptions, reason: Option<String>) -> Timing {
        if let Some(surface) = surface::estimated(shape, options, reason.as_deref()) {
            return Timing::Surface(surface);
        }
        let roofline = Roofline::new(shape, self.host_ms(shape.backend));
        Timing::Roofline(Arc::new(match reason {
            None => roofline,
            Some(reason) => roofline.because(reason),
        }))
    }

    /// Host time that a pass of this backend's workers has of its own, ms.
    pub fn host_ms(&self, backend: Backend) -> f64 {
        match self {
            TimingSpec::Surface(options) => options.host_ms(backend),
            TimingSpec::PerfDb(options) => options.surface.host_ms(backend),
            TimingSpec::Roofline => default_host_ms(backend),
            TimingSpec::Polynomial { .. } | TimingSpec::Fixed { .. } => 0.0,
        }
    }

    /// The timing of one worker under the factors of a calibration, which also say all that the host
    /// adds: measured tables and the roofline are then taken without host time of their own.
    ///
    /// # Errors
    /// As [`TimingSpec::build`].
    pub fn build_corrected(&self, shape: &WorkerShape, factors: PassFactors) -> Result<Timing, String> {
        let bare = |surface: &SurfaceOptions| SurfaceOptions { host_ms: Some(0.0), ..surface.clone() };
        let timing = match self {
            TimingSpec::Roofline => {
                shape.check()?;
                Timing::Roofline(Arc::new(Roofline::new(shape, 0.0)))
            }
            TimingSpec::Surface(options) => TimingSpec::Surface(bare(options)).build(shape)?,
            TimingSpec::PerfDb(options) => {
                let surface = bare(&options.surface);
                TimingSpec::PerfDb(PerfDbOptions { surface, ..options.clone() }).build(shape)?
            }
            TimingSpec::Polynomial { .. } | TimingSpec::Fixed { .. } => self.build(shape)?,
        };
        Ok(timing.corrected(factors))
    }
}

fn check_ms(name: &str, ms: f64) -> Result<(), String> {
    if ms >= 0.0 && ms.is_finite() {
        return Ok(());
    }
    Err(format!("{name} must be a number of milliseconds, 0 or more, not {ms}"))
}
