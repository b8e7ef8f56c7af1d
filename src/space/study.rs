//! A study: everything a search-space TOML says, checked and typed.

use std::path::{Path, PathBuf};

use super::error::SpaceError;
use super::schema::{self, Active};
use super::tree::{self, Entry, Raw};
use super::{Candidate, Space, Value, deploy};
use crate::catalog::{Dtype, GpuSpec, ModelSpec};
use crate::timing::{Calibration, Timing, TimingSpec, WorkerShape};
use crate::twin::deployment::Sla;
use crate::twin::faults::FaultConfig;
use crate::workload::{Load, SourceSpec, Workload, WorkloadSpec};

/// A checked search-space TOML.
#[derive(Clone, Debug)]
pub struct Study {
    /// `[study] name`, safe as a file name.
    pub name: String,
    /// `[study] seed`.
    pub seed: u64,
    /// The file it was read from; `None` for text.
    pub path: Option<PathBuf>,
    /// The TOML as the user wrote it; with `--set` overrides, rewritten with them in their places
    /// and without its comments.
    pub text: String,
    /// The knobs, pinned ones included (a domain of one value).
    pub space: Space,
    /// For each knob of `space`, whether the user gave it; the others have their defaults.
    pub is_given: Vec<bool>,
    /// `[model]`, out of the catalogue or described.
    pub model: ModelSpec,
    /// Number format of the weights.
    pub dtype: Dtype,
    /// Number format of the KV cache.
    pub kv_dtype: Dtype,
    /// `[hardware] gpu`.
    pub gpu: GpuSpec,
    /// `[hardware] max_gpus`.
    pub max_gpus: u32,
    /// The user's price, else the catalogue's.
    pub usd_per_gpu_hour: f64,
    /// `[hardware] gpu_memory_utilization`; `None` for the backend's own default.
    pub gpu_memory_utilization: Option<f64>,
    /// `[workload]`, with the trace's path made relative to the current directory, or absolute.
    pub workload: WorkloadSpec,
    /// `[timing]`.
    pub timing: TimingSpec,
    /// `[timing] calibration`: how servers differ from it.
    pub calibration: Option<Calibration>,
    /// The file that it was read from; `None` where it is the default, or none.
    pub calibration_file: Option<PathBuf>,
    /// `[speculation]`: acceptance rates and the cost of drafting.
    pub speculation: (Vec<f64>, f64),
    /// `[twin] peer_compat`.
    pub peer_compat: bool,
    /// `[twin] pass_by_pass`.
    pub pass_by_pass: bool,
    /// Two or three for a search; may be empty for a replay.
    pub objectives: Vec<Objective>,
    pub constraints: Vec<Constraint>,
    /// What goes wrong, `[faults]`.
    pub faults: FaultConfig,
    /// Bounds of a good request, `[sla]`.
    pub sla: Sla,
    pub search: SearchSpec,
    /// `[shortlist] size`.
    pub shortlist_size: usize,
    /// `[shortlist] draws`.
    pub shortlist_draws: usize,
    /// What is legal but probably not meant.
    pub warnings: Vec<SpaceError>,
    /// What was written, overrides included.
    pub(crate) document: Vec<Entry>,
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
    /// Simulations per candidate, with other seeds each; objectives are their means.
    pub replicates: usize,
    /// Look through windows of the trace first; `None`: where the workload is long.
    pub ladder: Option<bool>,
    /// Share of the workload that the windows hold together, warm-up included.
    pub ladder_share: f64,
    /// End simulations early that cannot matter any more.
    pub early_abort: bool,
    /// Simulations over which the hypervolume must have grown; `None`: never ends for that.
    pub stagnation_window: Option<usize>,
    /// Growth that counts, as a share of the hypervolume.
    pub stagnation_gain: f64,
    /// Wall time after which a run ends with the batch in flight, s.
    pub max_wall_s: Option<f64>,
}

impl SearchSpec {
    /// Requests from which looks through windows pay by themselves.
    const LONG: usize = 50_000;

    /// Whether candidates are looked at through windows first: as asked, or else in open loop where
    /// the workload is long.
    pub fn uses_ladder(&self, workload: &Workload) -> bool {
        let can = workload.load == Load::Open;
        can && self.ladder.unwrap_or(self.replicates == 1 && workload.requests.len() >= Self::LONG)
    }
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

impl Study {
    /// The objectives out of a run's metrics (in the order of [`crate::twin::metrics::METRICS`]),
    /// all to be minimised: a maximised one comes negated.
    pub fn objective_values(&self, metrics: &[f64]) -> Vec<f64> {
        self.objectives.iter().map(|o| if o.maximize { -metrics[o.metric] } else { metrics[o.metric] }).collect()
    }

    /// The timing of a worker: `[timing]`, under the factors of its calibration where there is one.
    /// Engines are taken to schedule ahead, as current ones do.
    ///
    /// # Errors
    /// As [`TimingSpec::build`]; when the calibration has nothing on the worker's backend.
    pub fn build_timing(&self, shape: &WorkerShape) -> Result<Timing, String> {
        let Some(calibration) = &self.calibration else { return self.timing.build(shape) };
        let own = calibration
            .of(shape.backend)
            .ok_or_else(|| format!("the calibration has no [{}]", shape.backend.name()))?;
        self.timing.build_corrected(shape, own.factors.of_passes(shape, true))
    }

    /// Every worker that some candidate may have: each backend with each tensor-parallel size.
    pub fn worker_shapes(&self) -> Vec<WorkerShape> {
        let levels =
            |is: fn(&str) -> bool| self.space.knobs.iter().filter(move |k| is(&k.name)).flat_map(|k| &k.domain.values);
        let mut shapes: Vec<WorkerShape> = Vec::new();
        for name in levels(|n| n == "engine.backend") {
            for tp in levels(|n| n.ends_with(".tp")) {
                let shape = WorkerShape {
                    model: self.model.clone(),
                    gpu: self.gpu.clone(),
                    backend: deploy::backend(&name.to_string()),
                    dtype: self.dtype,
                    kv_dtype: self.kv_dtype,
                    tp: deploy::as_u32(tp),
                };
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
        }
        shapes
    }

    /// A search space with one candidate: this study with every active knob pinned, ready for
    /// `replay` from a file in `directory` (which decides the relative path of the trace).
    /// `[search]` and `[shortlist]` are left out, the price is written down.
    pub fn candidate_toml(&self, candidate: &Candidate, directory: &Path) -> String {
        let mut document: Vec<Entry> = self
            .document
            .iter()
            .filter(|e| !["search", "shortlist", "knobs"].contains(&e.key.as_str()))
            .cloned()
            .collect();
        tree::set(&mut document, "study.name", Raw::Text(self.name.clone()));
        tree::set(&mut document, "hardware.usd_per_gpu_hour", Raw::Real(self.usd_per_gpu_hour));
        if let SourceSpec::Trace { path, .. } = &self.workload.source {
            tree::set(&mut document, "workload.trace", Raw::Text(relative_path(path, directory)));
        }
        if let TimingSpec::PerfDb(options) = &self.timing {
            tree::set(&mut document, "timing.path", Raw::Text(relative_path(&options.path, directory)));
        }
        if let Some(file) = &self.calibration_file {
            tree::set(&mut document, "timing.calibration", Raw::Text(relative_path(file, directory)));
        }
        format!("{}\n{}", tree::write(&document), self.space.to_toml(candidate))
    }

    /// The space's knobs for `check` and reports, in order.
    pub fn knob_summaries(&self) -> Vec<KnobSummary<'_>> {
        let mut summaries = Vec::new();
        for (knob, &is_given) in self.space.knobs.iter().zip(&self.is_given) {
            let row = schema::knob(&knob.name);
            let is_never = knob.conditions.iter().any(|c| c.levels.is_empty());
            let matters = |a: &&Active| knob.conditions.iter().any(|c| self.space.knobs[c.knob].name == a.knob());
            let conditions = row.map_or(&[][..], |r| r.active).iter().filter(|a| is_never || matters(a));
            summaries.push(KnobSummary {
                name: &knob.name,
                values: &knob.domain.values,
                unit: row.map_or("", |r| r.unit),
                is_given,
                active_when: conditions.map(Active::words).collect(),
            });
        }
        summaries
    }
}

/// One knob as `check` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnobSummary<'a> {
    pub name: &'a str,
    pub values: &'a [Value],
    /// Unit of the values; empty for none.
    pub unit: &'static str,
    /// Whether the user gave it, or it has its default.
    pub is_given: bool,
    /// Conditions in words; empty when it is always active.
    pub active_when: Vec<String>,
}

/// `file` as seen from `directory`, with `/` between its parts; absolute where they have nothing
/// but the root in common.
pub(crate) fn relative_path(file: &Path, directory: &Path) -> String {
    let absolute = |p: &Path| p.canonicalize().or_else(|_| std::path::absolute(p)).unwrap_or_else(|_| p.to_path_buf());
    let (file, directory) = (absolute(file), absolute(directory));
    let common = file.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    if common <= 1 {
        return file.to_string_lossy().into_owned();
    }
    let up = directory.components().skip(common).map(|_| "..".to_owned());
    let down = file.components().skip(common).map(|c| c.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_climb_to_the_common_directory() {
        let rel = |file: &str, directory: &str| relative_path(Path::new(file), Path::new(directory));
        assert_eq!(rel("/nowhere/a/t.jsonl", "/nowhere/a/r/s"), "../../t.jsonl");
        assert_eq!(rel("/nowhere/a/t.jsonl", "/nowhere/b"), "../a/t.jsonl");
        assert_eq!(rel("/nowhere/t.jsonl", "/elsewhere/b"), "/nowhere/t.jsonl");
    }

    #[test]
    fn violations_are_relative_and_missing_values_infinite() {
        let constraint = Constraint { metric: 0, min: Some(10.0), max: Some(20.0) };
        assert_eq!(constraint.violation(15.0), 0.0);
        assert_eq!(constraint.violation(30.0), 0.5);
        assert_eq!(constraint.violation(5.0), 0.5);
        assert_eq!(constraint.violation(f64::NAN), f64::INFINITY);
    }
}
