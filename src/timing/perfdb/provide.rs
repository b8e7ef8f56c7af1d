//! From a worker to its timing: which tables stand for it, kept or made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::exact::Exact;
use super::format::{self, Quant};
use super::{Composition, PerfDb, cache, locate};
use crate::catalog::{Backend, Dtype};
use crate::timing::surface::parts::Parts;
use crate::timing::surface::{Expansion, Surface, SurfaceOptions};
use crate::timing::{Timing, WorkerShape};

/// Settings of `kind = "perfdb"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerfDbOptions {
    /// The installed `aiconfigurator-core`; see [`locate`].
    pub path: PathBuf,
    /// Version of the backend; `None` for the database's current one.
    pub version: Option<String>,
    /// As for surfaces. In parity passes are composed operator by operator.
    pub surface: SurfaceOptions,
}

/// What stands for a worker in a database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub quant: Quant,
    /// Whether every GPU holds whole experts.
    pub whole_experts: bool,
}

/// A worker's parts, and whether they were kept from before.
#[derive(Clone, Debug)]
pub struct Imported {
    pub parts: Parts,
    pub was_kept: bool,
    /// The file they are kept in.
    pub file: Option<PathBuf>,
    /// Why they could not be kept.
    pub not_kept: Option<String>,
}

/// An open database, shared within the process.
///
/// # Errors
/// As [`locate`] and [`PerfDb::open`].
pub fn open(path: &Path, gpu: &str, backend: Backend, version: Option<&str>) -> Result<Arc<PerfDb>, String> {
    type Key = (PathBuf, String, Backend, Option<String>);
    static OPEN: LazyLock<Mutex<BTreeMap<Key, Arc<PerfDb>>>> = LazyLock::new(Mutex::default);

    let systems = locate(path)?;
    let key = (systems.clone(), gpu.to_owned(), backend, version.map(str::to_owned));
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(db) = open.get(&key) {
        return Ok(Arc::clone(db));
    }
    let db = Arc::new(PerfDb::open(&systems, gpu, backend, version)?);
    open.insert(key, Arc::clone(&db));
    Ok(db)
}

/// What may stand for a worker, best first.
///
/// # Errors
/// When the options name a quantisation that there is not.
pub fn choices(shape: &WorkerShape, options: &SurfaceOptions) -> Result<Vec<Choice>, String> {
    let quants = match &options.quant {
        Some(name) => vec![Quant::parse(name).ok_or_else(|| {
            format!(
                "there is no quantisation {name}: it is one of {}, with _kvbf16 or _kvfp8 where the cache is not as usual",
                Quant::names().collect::<Vec<_>>().join(", ")
            )
        })?],
        None => {
            let named = format::variants(
                shape.backend,
                shape.dtype,
                shape.model.moe.is_some(),
                shape.gpu.fp4_tflops.is_some(),
            );
            let with_cache = |name: &&str| {
                let quant = Quant::parse(name).expect("a named format");
                Quant { kv_fp8: shape.kv_dtype == Dtype::Fp8, ..quant }
            };
            named.iter().map(with_cache).collect()
        }
    };
    let layouts: &[bool] = match (shape.model.moe.is_some() && shape.tp > 1, options.expert_parallel) {
        (false, _) | (true, Some(false)) => &[false],
        (true, None) => &[false, true],
        (true, Some(true)) => &[true],
    };
    Ok(quants
        .iter()
        .flat_map(|&quant| layouts.iter().map(move |&whole_experts| Choice { quant, whole_experts }))
        .collect())
}

/// A worker's parts under one choice: kept ones, else made and kept.
///
/// # Errors
/// When an operator of the worker was not measured.
pub fn import(db: &PerfDb, shape: &WorkerShape, choice: Choice) -> Result<Imported, String> {
    let file = cache::file(db, &question(db, shape, choice))?;
    if let Some(parts) = file.as_deref().and_then(cache::load) {
        return Ok(Imported { parts, was_kept: true, file, not_kept: None });
    }
    let parts =
        Composition::new(db, shape, choice.quant, choice.whole_experts)?.parts(label(db, shape, choice), source(db));
    let not_kept = file.as_deref().and_then(|f| cache::store(f, &parts).err()).map(|e| e.to_string());
    Ok(Imported { parts, was_kept: false, file, not_kept })
}

/// The timing of a worker out of a database. `Ok(Err(reason))` where it was not measured.
///
/// # Errors
/// When there is no such database, or the options name a quantisation that there is not or that was
/// not measured.
pub fn timing(shape: &WorkerShape, options: &PerfDbOptions) -> Result<Result<Timing, String>, String> {
    type Key = (String, bool, u64);
    static SHARED: LazyLock<Mutex<BTreeMap<Key, Result<Timing, String>>>> = LazyLock::new(Mutex::default);

    let systems = locate(&options.path)?;
    let surface = &options.surface;
    let choices = choices(shape, surface)?;
    let host_ms = surface.host_ms(shape.backend);
    let asked =
        format!("{} {:?} {} {choices:?} {}", systems.display(), options.version, shape.label(), architecture(shape));
    let key = (asked, surface.aic_parity, host_ms.to_bits());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = match shared.get(&key) {
        Some(known) => known.clone(),
        None => {
            let made = build(shape, options, &choices, host_ms);
            shared.insert(key, made.clone());
            made
        }
    };
    match known {
        Err(reason) if surface.quant.is_some() => Err(reason),
        other => Ok(other),
    }
}

fn build(shape: &WorkerShape, options: &PerfDbOptions, choices: &[Choice], host_ms: f64) -> Result<Timing, String> {
    let db = open(&options.path, &shape.gpu.name, shape.backend, options.version.as_deref())?;
    let mut reasons = Vec::new();
    for &choice in choices {
        let made = if options.surface.aic_parity {
            Composition::new(&db, shape, choice.quant, choice.whole_experts).map(|composition| {
                Timing::Exact(Arc::new(Exact::new(composition, host_ms, label(&db, shape, choice), source(&db))))
            })
        } else {
            import(&db, shape, choice).map(|imported| {
                let how =
                    Expansion { kind: "perfdb", aic_parity: false, host_ms, backend: shape.backend, estimated: None };
                Timing::Surface(Arc::new(Surface::expand(&imported.parts, &how)))
            })
        };
        match made {
            Ok(timing) => return Ok(timing),
            Err(reason) => reasons.push(format!("{}: {reason}", choice.quant.name())),
        }
    }
    reasons.dedup();
    Err(reasons.join("; "))
}

/// Everything about a worker that its parts depend on.
fn question(db: &PerfDb, shape: &WorkerShape, choice: Choice) -> String {
    format!(
        "{} {} {} tp {} {:?} {} {}",
        db.gpu(),
        db.backend().name(),
        db.version(),
        shape.tp,
        choice,
        db.package(),
        architecture(shape)
    )
}

/// The model without its names, which other models share.
fn architecture(shape: &WorkerShape) -> String {
    let model = &shape.model;
    let sizes = [model.layers, model.hidden, model.heads, model.kv_heads, model.head_dim, model.ffn, model.vocab];
    format!("{sizes:?} {} {:?} {:?}", model.qk_norm, model.attention, model.moe)
}

fn label(db: &PerfDb, shape: &WorkerShape, choice: Choice) -> String {
    let layout = match (shape.model.moe.is_some() && shape.tp > 1, choice.whole_experts) {
        (false, _) => "",
        (true, false) => ", experts split",
        (true, true) => ", experts whole",
    };
    format!("{} {} {}{layout}", db.backend().name(), db.version(), choice.quant.name())
}

fn source(db: &PerfDb) -> String {
    format!(
        "Made from the measured operator tables of the user's own aiconfigurator-core {} (NVIDIA AI Configurator, \
         https://github.com/ai-dynamo/aiconfigurator, Apache-2.0, Copyright NVIDIA CORPORATION & AFFILIATES), {} {} on {}",
        db.package(),
        db.backend().name(),
        db.version(),
        db.gpu()
    )
}
