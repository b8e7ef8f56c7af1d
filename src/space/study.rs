//! A study: everything a search-space TOML says, checked and typed.

use std::path::PathBuf;

use super::Space;
use crate::twin::deployment::Sla;
use crate::workload::WorkloadSpec;

/// A checked search-space TOML.
#[derive(Clone, Debug)]
pub struct Study {
    /// `[study] name`, safe as a file name.
    pub name: String,
    /// `[study] seed`.
    pub seed: u64,
    /// The file it was read from; `None` for text.
    pub path: Option<PathBuf>,
    /// The TOML as the user wrote it, with `--set` overrides applied.
    pub text: String,
    /// The knobs, pinned ones included (a domain of one value).
    pub space: Space,
    pub workload: WorkloadSpec,
    /// Two or more for a search; may be empty for a replay.
    pub objectives: Vec<Objective>,
    pub constraints: Vec<Constraint>,
    /// Bounds of a good request, `[sla]`.
    pub sla: Sla,
    /// `[hardware] max_gpus`.
    pub max_gpus: u32,
    pub usd_per_gpu_hour: f64,
    pub search: SearchSpec,
    /// `[shortlist] size`.
    pub shortlist_size: usize,
}

/// A metric to minimise or maximise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Index into [`crate::twin::metrics::METRICS`].
    pub metric: usize,
    pub maximize: bool,
}

/// A bound on a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constraint {
    /// Index into [`crate::twin::metrics::METRICS`].
    pub metric: usize,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// `[search]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpec {
    /// `coordinate`, `genetic`, `sobol`, `random`, `grid`, ...
    pub strategy: String,
    /// Most simulations.
    pub budget: usize,
    /// Candidates per batch; part of the study, not of the machine.
    pub batch: usize,
}

impl Constraint {
    /// 0 when it holds, else by how much relative to the bound; infinite for a missing value.
    pub fn violation(&self, value: f64) -> f64 {
        if value.is_nan() {
            return f64::INFINITY;
        }
        let over = |excess: f64, bound: f64| if excess > 0.0 { excess / bound.abs().max(1e-9) } else { 0.0 };
        self.max.map_or(0.0, |m| over(value - m, m)) + self.min.map_or(0.0, |m| over(m - value, m))
    }
}
