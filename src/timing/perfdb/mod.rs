//! Pass times out of the measured operator tables of an installed `aiconfigurator-core`.
//!
//! * [`PerfDb`]: the tables of one GPU, backend and version, read from Parquet as needed.
//! * [`Composition`]: the operators of one worker's pass put together, exactly as AI Configurator
//!   does; slow (microseconds a pass), for comparison and for making surfaces.
//! * [`import`]: a worker's composition at knots, kept between runs ([`cache`]); [`timing`] expands
//!   them, or composes pass by pass in parity ([`Exact`]).
//! * [`mod@format`]: number formats by the names that the tables use.
//!
//! The rules (which rows count, how values between and beyond measured points are found) are those
//! of AI Configurator 0.12.0; formulas in `docs/timing.md`. Nothing of the database is copied
//! except what the user's own surfaces are made from.

mod attention;
pub mod cache;
mod comm;
mod compose;
mod exact;
pub mod format;
mod gemm;
mod grid;
mod mla;
mod moe;
mod provide;
mod rows;
mod surfaces;
mod system;

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use compose::Composition;
pub use exact::Exact;
pub use provide::{Choice, Imported, PerfDbOptions, choices, import, open, timing};

use crate::catalog::Backend;
use attention::Attention;
use comm::AllReduces;
use format::Format;
use gemm::{Products, Scales};
use mla::{Absorbing, Latent};
use moe::Experts;
use rows::Rows;
use system::System;

/// A table of the database: family (a directory) and file name.
#[derive(Clone, Copy, Debug)]
struct Table {
    family: &'static str,
    name: &'static str,
    integers: &'static [&'static str],
    texts: &'static [&'static str],
}

const ATTENTION_INTEGERS: &[&str] =
    &["num_heads", "num_key_value_heads", "head_dim", "window_size", "batch_size", "isl", "step"];
const ATTENTION_TEXTS: &[&str] = &["attn_dtype", "kv_cache_dtype", "kernel_source"];
const GEMM: Table = Table { family: "gemm", name: "gemm_perf", integers: &["m", "n", "k"], texts: &["gemm_dtype"] };
const PREFILL: Table =
    Table { family: "attention", name: "context_attention_perf", integers: ATTENTION_INTEGERS, texts: ATTENTION_TEXTS };
const DECODE: Table = Table { name: "generation_attention_perf", ..PREFILL };
const ALL_REDUCE: Table = Table {
    family: "comm",
    name: "custom_allreduce_perf",
    integers: &["num_gpus", "message_size"],
    texts: &["kernel_source"],
};
const MOE: Table = Table {
    family: "moe",
    name: "moe_perf",
    integers: &["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"],
    texts: &["moe_dtype", "distribution", "kernel_source"],
};
const COMPUTE_SCALE: Table =
    Table { family: "quantize", name: "computescale_perf", integers: &["m", "k"], texts: &["quant_dtype"] };
const SCALE_MATRIX: Table = Table { name: "scale_matrix_perf", ..COMPUTE_SCALE };
const MLA_PREFILL_MODULE: Table = Table {
    family: "mla",
    name: "mla_context_module_perf",
    integers: &["num_heads", "batch_size", "isl", "step"],
    texts: &["mla_dtype", "kv_cache_dtype", "gemm_type"],
};
const MLA_DECODE_MODULE: Table = Table { name: "mla_generation_module_perf", ..MLA_PREFILL_MODULE };
const MLA_PREFILL: Table =
    Table { name: "context_mla_perf", texts: &["mla_dtype", "kv_cache_dtype"], ..MLA_PREFILL_MODULE };
const MLA_DECODE: Table = Table { name: "generation_mla_perf", ..MLA_PREFILL };
const MLA_PRODUCTS: Table = Table {
    family: "mla_bmm",
    name: "mla_bmm_perf",
    integers: &["num_heads", "num_tokens"],
    texts: &["bmm_dtype", "op_name"],
};
/// Every table that pass times are made from.
const TABLES: [Table; 12] = [
    GEMM,
    PREFILL,
    DECODE,
    ALL_REDUCE,
    MOE,
    COMPUTE_SCALE,
    SCALE_MATRIX,
    MLA_PREFILL_MODULE,
    MLA_DECODE_MODULE,
    MLA_PREFILL,
    MLA_DECODE,
    MLA_PRODUCTS,
];

/// The measured tables of one GPU under one backend; each is read when first asked for.
#[derive(Debug)]
pub struct PerfDb {
    systems: PathBuf,
    /// Version of the package, `unknown` where it does not say.
    package: String,
    gpu: String,
    backend: Backend,
    version: String,
    system: System,
    gemm: OnceLock<Result<Vec<Rows>, String>>,
    prefill: OnceLock<Result<Attention, String>>,
    decode: OnceLock<Result<Attention, String>>,
    all_reduces: OnceLock<Result<AllReduces, String>>,
    experts: OnceLock<Result<Experts, String>>,
}

/// The directory `systems` of an installed package, out of that directory itself, the package, or
/// the `site-packages` or virtual environment that holds it.
///
/// # Errors
/// When none of these is there; says what was looked for.
pub fn locate(directory: &Path) -> Result<PathBuf, String> {
    let is_systems = |path: &Path| path.join("data").is_dir() && path.join("query_versions.yaml").is_file();
    let mut candidates =
        vec![directory.to_owned(), directory.join("systems"), directory.join("aiconfigurator_core/systems")];
    for library in fs::read_dir(directory.join("lib")).into_iter().flatten().flatten() {
        candidates.push(library.path().join("site-packages/aiconfigurator_core/systems"));
    }
    candidates.iter().find(|path| is_systems(path)).cloned().ok_or_else(|| {
        format!(
            "{} is no installed aiconfigurator-core: neither it, nor systems or aiconfigurator_core/systems in it, \
             holds query_versions.yaml and data (find it with: python -c \"import aiconfigurator_core as a; print(a.__path__[0])\")",
            directory.display()
        )
    })
}

/// Systems (GPUs) that the database has tables of.
pub fn systems_in(systems: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(systems.join("data"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_some()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

impl PerfDb {
    /// The tables of a GPU under a backend, in a given version or the database's current one.
    /// `systems` as found by [`locate`].
    ///
    /// # Errors
    /// When the database does not know the GPU or the backend, or has no tables of the version.
    pub fn open(systems: &Path, gpu: &str, backend: Backend, version: Option<&str>) -> Result<PerfDb, String> {
        let known = systems_in(systems);
        if !known.iter().any(|name| name == gpu) {
            return Err(format!("the database has no tables of {gpu}; it has {}", known.join(", ")));
        }
        let system = System::read(systems, gpu)?;
        let version = match version {
            Some(version) => version.to_owned(),
            None => system::current_version(systems, gpu, backend)?,
        };
        let db = PerfDb {
            systems: systems.to_owned(),
            package: package_version(systems),
            gpu: gpu.to_owned(),
            backend,
            version,
            system,
            gemm: OnceLock::new(),
            prefill: OnceLock::new(),
            decode: OnceLock::new(),
            all_reduces: OnceLock::new(),
            experts: OnceLock::new(),
        };
        let newest = db.files(GEMM);
        if newest.is_empty() {
            return Err(format!("the database has no {} tables of {gpu} up to version {}", backend.name(), db.version));
        }
        Ok(db)
    }

    /// Version of the backend.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Name of the GPU.
    pub fn gpu(&self) -> &str {
        &self.gpu
    }

    /// The backend.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Version of the package that the tables came with.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The files that answers can depend on, in a fixed order.
    pub fn sources(&self) -> Vec<PathBuf> {
        let description = ["query_versions.yaml", "attention_lane_defaults.yaml", &format!("{}.yaml", self.gpu)]
            .map(|name| self.systems.join(name));
        description.into_iter().filter(|p| p.is_file()).chain(TABLES.iter().flat_map(|t| self.files(*t))).collect()
    }

    /// A table's files: of this version, then of older ones, which fill its gaps.
    fn files(&self, table: Table) -> Vec<PathBuf> {
        let family = self.systems.join("data").join(&self.gpu).join(table.family).join(self.backend.name());
        let mut versions: Vec<String> = fs::read_dir(&family)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|v| system::compare_versions(v, &self.version) != Ordering::Greater)
            .collect();
        versions.sort_by(|a, b| system::compare_versions(b, a));
        let file = |v: String| family.join(v).join(format!("{}.parquet", table.name));
        versions.into_iter().map(file).filter(|path| path.is_file()).collect()
    }

    fn rows(&self, table: Table) -> Result<Vec<Rows>, String> {
        self.files(table).iter().map(|path| Rows::read(path, table.integers, table.texts)).collect()
    }

    fn products(&self, format: Format) -> Result<Products, String> {
        let rows = self.gemm.get_or_init(|| self.rows(GEMM)).as_ref().map_err(Clone::clone)?;
        Products::new(rows, format, &self.system)
    }

    /// The quantising steps that checkpoints with scales save: of every input, and of inputs that
    /// are 8-bit already.
    fn scales(&self) -> Result<[Option<Scales>; 2], String> {
        Ok([Scales::new(&self.rows(COMPUTE_SCALE)?, false), Scales::new(&self.rows(SCALE_MATRIX)?, true)])
    }

    fn attention(&self, is_prefill: bool) -> Result<&Attention, String> {
        let (cell, table) = if is_prefill { (&self.prefill, PREFILL) } else { (&self.decode, DECODE) };
        let build = || {
            let lane = system::default_lane(&self.systems, self.backend, &self.version, self.system.sm)?;
            Ok(Attention::new(is_prefill, &self.rows(table)?, lane.as_deref()))
        };
        cell.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// Latent attention: whole modules, or bare kernels.
    fn latent(&self, is_prefill: bool, is_module: bool) -> Result<Latent, String> {
        let table = match (is_prefill, is_module) {
            (true, true) => MLA_PREFILL_MODULE,
            (false, true) => MLA_DECODE_MODULE,
            (true, false) => MLA_PREFILL,
            (false, false) => MLA_DECODE,
        };
        Ok(Latent::new(is_prefill, is_module, &self.rows(table)?))
    }

    fn absorbing(&self) -> Result<Absorbing, String> {
        Ok(Absorbing::new(&self.rows(MLA_PRODUCTS)?))
    }

    fn all_reduces(&self) -> Result<&AllReduces, String> {
        self.all_reduces.get_or_init(|| Ok(AllReduces::new(&self.rows(ALL_REDUCE)?))).as_ref().map_err(Clone::clone)
    }

    fn experts(&self) -> Result<&Experts, String> {
        self.experts.get_or_init(|| Ok(Experts::new(&self.rows(MOE)?))).as_ref().map_err(Clone::clone)
    }
}

/// Out of the package's metadata beside it.
fn package_version(systems: &Path) -> String {
    let site = systems.parent().and_then(Path::parent);
    let infos = site.and_then(|site| fs::read_dir(site).ok()).into_iter().flatten().flatten();
    infos
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find_map(|name| Some(name.strip_prefix("aiconfigurator_core-")?.strip_suffix(".dist-info")?.to_owned()))
        .unwrap_or_else(|| "unknown".into())
}
