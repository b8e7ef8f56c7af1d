//! Pass time from measured tables: `tokens + sampling + context attention + decode attention`.
//!
//! * [`library`]: the measured tables and how they are packed into the binary;
//!   [`distill`] makes them from decomposed surfaces.
//! * `select`: which tables answer for a worker.
//! * [`relative`]: which tables stand for a worker that was not measured.
//! * `tables`: the tables expanded for asking, one shared copy per worker shape.

mod cells;
pub mod distill;
pub mod library;
pub mod parts;
pub mod relative;
mod select;
mod tables;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

pub use tables::Surface;

use super::{WorkerShape, default_host_ms};
use crate::catalog::Backend;
use library::MoeLayout;
use select::Selection;
pub(super) use tables::Expansion;

/// Settings of `kind = "surface"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SurfaceOptions {
    /// Answer exactly as AI Configurator composes its tables: durations may fall as batches grow,
    /// passes of decode are not padded to CUDA-graph sizes, a short suffix ignores the KV cache it
    /// reads, mixtures of experts skip the language-model head when they prefill.
    pub aic_parity: bool,
    /// What the host adds to every pass, ms; `None` takes [`default_host_ms`], or 0 under
    /// `aic_parity`.
    pub host_ms: Option<f64>,
    /// Layout of experts; `None` prefers splitting every expert over all GPUs, the engines'
    /// default, and takes whole experts where only that was measured.
    pub expert_parallel: Option<bool>,
    /// Quantisation in the source's words, such as `fp8_block`, to override the choice made from
    /// the worker's formats.
    pub quant: Option<String>,
}

impl SurfaceOptions {
    /// What the host adds to every pass of a worker under this backend, ms.
    pub fn host_ms(&self, backend: Backend) -> f64 {
        self.host_ms.unwrap_or(if self.aic_parity { 0.0 } else { default_host_ms(backend) })
    }

    fn layouts(&self) -> &'static [MoeLayout] {
        match self.expert_parallel {
            None => &[MoeLayout::TensorParallel, MoeLayout::ExpertParallel],
            Some(false) => &[MoeLayout::TensorParallel],
            Some(true) => &[MoeLayout::ExpertParallel],
        }
    }
}

/// The surface of a worker, `Ok(None)` where nothing was measured for it. Equal questions share
/// one copy.
///
/// # Errors
/// When the options name a quantisation that was not measured for the worker.
pub fn surface(shape: &WorkerShape, options: &SurfaceOptions) -> Result<Option<Arc<Surface>>, String> {
    let library = library::embedded();
    let Some(selection) = select::select(library, shape, options.layouts(), options.quant.as_deref()) else {
        return match &options.quant {
            None => Ok(None),
            Some(quant) => Err(format!(
                "quantisation {quant} was not measured for {}; measured: {}",
                shape.label(),
                match select::quantisations(library, shape) {
                    none if none.is_empty() => "nothing".to_string(),
                    some => some.join(", "),
                }
            )),
        };
    };
    Ok(Some(shared(selection, shape.backend, options)))
}

/// The one copy of a selection's tables under these options.
fn shared(selection: Selection, backend: Backend, options: &SurfaceOptions) -> Arc<Surface> {
    type Key = (Selection, Backend, bool, u64);
    static SHARED: LazyLock<Mutex<BTreeMap<Key, Arc<Surface>>>> = LazyLock::new(Mutex::default);

    let aic_parity = options.aic_parity;
    let host_ms = options.host_ms(backend);
    let key = (selection, backend, aic_parity, host_ms.to_bits());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let surface = shared.entry(key).or_insert_with(|| {
        let parts = library::embedded().parts(selection);
        Arc::new(Surface::expand(&parts, &Expansion { kind: "surface", aic_parity, host_ms, backend, estimated: None }))
    });
    Arc::clone(surface)
}

/// The surface of a worker that was not measured, from its nearest measured relative; `None` where
/// there is none better than the roofline, and in parity with the source. `reason` says why there is
/// no measurement, where that is known.
pub(super) fn estimated(shape: &WorkerShape, options: &SurfaceOptions, reason: Option<&str>) -> Option<Arc<Surface>> {
    if options.aic_parity || options.quant.is_some() {
        return None;
    }
    type Key = (String, u64);
    static SHARED: LazyLock<Mutex<BTreeMap<Key, Option<Arc<Surface>>>>> = LazyLock::new(Mutex::default);

    let host_ms = options.host_ms(shape.backend);
    let key = (format!("{shape:?} {:?} {reason:?}", options.expert_parallel), host_ms.to_bits());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let made = shared.entry(key).or_insert_with(|| {
        let library = library::embedded();
        let relative = relative::nearest(library, shape, options, |_| true)?;
        Some(Arc::new(relative::surface(library, &relative, shape, host_ms, reason)))
    });
    made.clone()
}
