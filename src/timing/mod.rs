//! How long does a forward pass take?
//!
//! Engines decide what is in a pass ([`PassLoad`]); a [`Timing`] says how long it takes. A run of
//! decode-only passes with constant membership has a closed form ([`DecodeRun`]), which lets the
//! engines advance thousands of passes in one step.
//!
//! A [`TimingSpec`] is what the user asks for, a [`WorkerShape`] what it is asked of;
//! [`TimingSpec::build`] makes the timing. [`memory::kv_capacity`] says how many KV tokens fit.

pub mod calibration;
mod factors;
mod host;
mod load;
pub mod memory;
pub mod perfdb;
mod polynomial;
pub mod roofline;
mod shape;
mod spec;
pub mod surface;

use std::sync::Arc;

pub use calibration::Calibration;
pub use factors::{Corrected, PassFactors};
pub use host::{default_host_ms, measured_host_ms};
pub use load::{DecodeRun, PassLoad};
pub use perfdb::PerfDbOptions;
pub use roofline::Roofline;
pub use shape::WorkerShape;
pub use spec::TimingSpec;
pub use surface::{Surface, SurfaceOptions};

/// A pass-time model for one worker shape. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Timing {
    /// The peer's default polynomials, which know neither model nor GPU. With `floor_means` the
    /// prefill term is given integer-floored means, as the peer does, instead of the new tokens.
    Polynomial { floor_means: bool },
    /// Every pass that prefills takes `prefill_ms`, every pass that decodes `decode_ms`, both the
    /// sum.
    Fixed { prefill_ms: f64, decode_ms: f64 },
    /// From architecture and data sheet.
    Roofline(Arc<Roofline>),
    /// From measured tables.
    Surface(Arc<Surface>),
    /// Another, corrected by how servers differ from it.
    Corrected(Arc<Corrected>),
    /// From the user's measured tables, operator by operator.
    Exact(Arc<perfdb::Exact>),
    /// Another, with every pass this many times as long: a worker that is slow.
    Slowed { timing: Arc<Timing>, factor: f64 },
}

/// What a timing rests on, for manifests and reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// Kind of timing, as in TOML.
    pub kind: &'static str,
    /// In a few words, such as `estimated, +-25%`.
    pub label: String,
    /// Where the figures come from.
    pub source: String,
    /// Where nothing was measured: the estimate's typical error, percent.
    pub estimated: Option<f64>,
}

impl Timing {
    /// Duration of a pass, ms: a prefill part when there are new tokens, a decode part when
    /// sequences decode.
    #[inline]
    pub fn pass_ms(&self, load: &PassLoad) -> f64 {
        match self {
            Timing::Polynomial { floor_means } => polynomial::pass_ms(load, *floor_means),
            Timing::Fixed { prefill_ms, decode_ms } => {
                let prefill = if load.new_tokens > 0 { *prefill_ms } else { 0.0 };
                let decode = if load.decode_seqs > 0 { *decode_ms } else { 0.0 };
                prefill + decode
            }
            Timing::Roofline(roofline) => roofline.pass_ms(load),
            Timing::Surface(surface) => surface.pass_ms(load),
            Timing::Corrected(corrected) => corrected.pass_ms(load),
            Timing::Exact(exact) => exact.pass_ms(load),
            Timing::Slowed { timing, factor } => factor * timing.pass_ms(load),
        }
    }

    /// Durations of the decode-only passes that follow when `seqs` sequences, whose lengths sum to
    /// `context_tokens` before the first of them, each gain a token per pass. For every
    /// `k < passes` the piece equals [`pass_ms`](Timing::pass_ms) of
    /// `PassLoad::decode(seqs, context_tokens + k * seqs, kv_pool_tokens)` to 1e-12 relative.
    #[inline]
    pub fn decode_run(&self, seqs: u32, context_tokens: u64, kv_pool_tokens: u64) -> DecodeRun {
        match self {
            Timing::Polynomial { .. } => polynomial::decode_run(seqs, context_tokens, kv_pool_tokens),
            Timing::Fixed { decode_ms, .. } => DecodeRun::constant(if seqs > 0 { *decode_ms } else { 0.0 }),
            Timing::Roofline(roofline) => roofline.decode_run(seqs, context_tokens),
            Timing::Surface(surface) => surface.decode_run(seqs, context_tokens),
            Timing::Corrected(corrected) => corrected.decode_run(seqs, context_tokens, kv_pool_tokens),
            Timing::Exact(exact) => exact.decode_run(seqs, context_tokens),
            Timing::Slowed { timing, factor } => {
                let run = timing.decode_run(seqs, context_tokens, kv_pool_tokens);
                DecodeRun {
                    base_ms: factor * run.base_ms,
                    slope_ms: factor * run.slope_ms,
                    curve_ms: factor * run.curve_ms,
                    passes: run.passes,
                }
            }
        }
    }

    /// The timing with corrections. A measured surface takes them into its tables.
    #[must_use]
    pub fn corrected(self, factors: PassFactors) -> Timing {
        if let Timing::Surface(surface) = &self
            && let Some(corrected) = surface.corrected(&factors)
        {
            return Timing::Surface(Arc::new(corrected));
        }
        Timing::Corrected(Arc::new(Corrected::new(self, factors)))
    }

    /// What every request takes outside passes, ms: part of its time to first token and of its
    /// end-to-end latency. 0 unless a calibration says otherwise.
    pub fn request_ms(&self) -> f64 {
        match self {
            Timing::Surface(surface) => surface.request_ms(),
            Timing::Corrected(corrected) => corrected.request_ms(),
            _ => 0.0,
        }
    }

    /// What the durations rest on.
    pub fn provenance(&self) -> Provenance {
        match self {
            Timing::Polynomial { .. } => Provenance {
                kind: "polynomial",
                label: "synthetic, independent of model and GPU".into(),
                source: "default polynomial of NVIDIA Dynamo's mocker".into(),
                estimated: None,
            },
            Timing::Fixed { .. } => Provenance {
                kind: "fixed",
                label: "synthetic, the same for every pass".into(),
                source: "the user's durations".into(),
                estimated: None,
            },
            Timing::Roofline(roofline) => roofline.provenance(),
            Timing::Surface(surface) => surface.provenance(),
            Timing::Corrected(corrected) => corrected.provenance(),
            Timing::Exact(exact) => exact.provenance(),
            Timing::Slowed { timing, .. } => timing.provenance(),
        }
    }
}
