//! The importer against the passes that AI Configurator's own engine answers.
//!
//! Needs an installed aiconfigurator-core, named by the environment variable `AICONFIGURATOR_CORE`
//! (its directory, or the virtual environment it is in); skips, saying so, without.

use crate::reference;

use std::path::{Path, PathBuf};

use reference::Row;
use servescout::catalog;
use servescout::timing::perfdb::{self, PerfDbOptions};
use servescout::timing::{PassLoad, SurfaceOptions, Timing, TimingSpec, WorkerShape};

/// The database, or nothing where it is not installed.
fn systems() -> Option<PathBuf> {
    let Some(directory) = std::env::var_os("AICONFIGURATOR_CORE").filter(|d| !d.is_empty()) else {
        println!("skipped: AICONFIGURATOR_CORE does not name an installed aiconfigurator-core");
        return None;
    };
    Some(perfdb::locate(directory.as_ref()).unwrap())
}

/// The quantisation of a row in the tables' words. The grids call a checkpoint with scales plain
/// fp8 where it has no other.
fn quant<'a>(row: &Row<'a>) -> &'a str {
    match (row.text("hf_path"), row.text("quant")) {
        ("nvidia/Llama-3.1-70B-Instruct-FP8", "fp8") => "fp8_static",
        (_, quant) => quant,
    }
}

/// The worker of a row, and its timing as a user asks for it.
fn timing(systems: &Path, row: &Row, aic_parity: bool) -> Timing {
    let (dtype, kv_dtype) = reference::formats(row.text("quant"));
    let shape = WorkerShape {
        model: catalog::model(row.text("hf_path")).unwrap().clone(),
        gpu: catalog::gpu(row.text("system")).unwrap().clone(),
        backend: reference::backend(row.text("backend")),
        dtype,
        kv_dtype,
        tp: row.int("tp"),
    };
    let surface = SurfaceOptions {
        aic_parity,
        host_ms: Some(0.0),
        expert_parallel: (!row.text("moe_mode").is_empty()).then(|| row.text("moe_mode") == "ep"),
        quant: Some(quant(row).into()),
    };
    let spec = TimingSpec::PerfDb(PerfDbOptions { path: systems.to_owned(), version: None, surface });
    let timing = spec.build(&shape).unwrap();
    let provenance = timing.provenance();
    let expected = format!("measured: {} {}", row.text("backend"), row.text("version"));
    assert_eq!((provenance.kind, provenance.estimated), ("perfdb", None));
    assert!(provenance.label.starts_with(&expected) && provenance.source.contains("Apache-2.0"), "{provenance:?}");
    timing
}

fn load(row: &Row) -> PassLoad {
    let batch: u32 = row.int("batch");
    if row.text("phase") == "decode" {
        return PassLoad::decode(batch, u64::from(batch) * row.int::<u64>("context"), 1 << 24);
    }
    (0..batch).fold(PassLoad::default(), |load, _| load.with_prefill(row.int("isl"), row.int("prefix"), true))
}

#[test]
fn the_grids_are_met_exactly() {
    let Some(systems) = systems() else { return };
    // Every point takes half a minute in a debug build; the release test takes them all.
    let stride = if cfg!(debug_assertions) { 23 } else { 1 };
    let (mut worst, mut count) = (0.0f64, 0);
    let mut far = Vec::new();
    for system in ["h100_sxm", "h200_sxm", "b200_sxm"] {
        for backend in ["vllm", "sglang"] {
            let Some(csv) = reference::read_csv(&format!("timing/{system}_{backend}.csv.gz")) else { return };
            let mut made = std::collections::BTreeMap::new();
            for row in csv.iter().step_by(stride) {
                let key = ["hf_path", "quant", "tp", "moe_mode"].map(|c| row.text(c).to_owned());
                let timing = made.entry(key.clone()).or_insert_with(|| timing(&systems, &row, true));
                let (ours, theirs) = (timing.pass_ms(&load(&row)), row.real("latency_ms"));
                // The reference is rounded to 1e-5 ms.
                let error = ((ours - theirs).abs() - 5.1e-6).max(0.0) / theirs;
                if error > 1e-5 {
                    far.push(format!(
                        "{system} {backend} {key:?} {} b{} {}+{} c{}: {ours} not {theirs}",
                        row.text("phase"),
                        row.text("batch"),
                        row.text("isl"),
                        row.text("prefix"),
                        row.text("context")
                    ));
                }
                worst = worst.max(error);
                count += 1;
            }
        }
    }
    println!("{count} points, worst {worst:.2e}, {} beyond 1e-5", far.len());
    assert!(far.is_empty(), "{} of {count}, worst {worst:.2e}:\n{}", far.len(), far[..far.len().min(20)].join("\n"));
}

/// Random points between and beyond the measured ones, for models and backends that the grids do
/// not have; `tests/fixtures/timing/README.md` says how they were made.
#[test]
fn points_off_the_grids_are_met_exactly() {
    let Some(systems) = systems() else { return };
    let csv = reference::csv(include_str!("fixtures/timing/aic-engine.csv").to_owned());
    let mut made = std::collections::BTreeMap::new();
    let (mut worst, mut count, mut far) = (0.0f64, 0, std::collections::BTreeMap::<_, Vec<String>>::new());
    for row in csv.iter() {
        let key = ["system", "backend", "hf_path", "quant", "tp", "moe_mode"].map(|c| row.text(c).to_owned());
        let timing = made.entry(key.clone()).or_insert_with(|| timing(&systems, &row, true));
        let (ours, theirs) = (timing.pass_ms(&load(&row)), row.real("latency_ms"));
        let error = (ours / theirs - 1.0).abs();
        if error > 1e-5 {
            let at = ["phase", "batch", "isl", "prefix", "context"].map(|c| row.text(c)).join(" ");
            far.entry(key).or_default().push(format!("{at}: {ours:.6} not {theirs}"));
        }
        worst = worst.max(error);
        count += 1;
    }
    println!("{count} points of {} configurations, worst {worst:.2e}", made.len());
    for (key, points) in &far {
        println!("{key:?}: {} points, such as {}", points.len(), points[0]);
    }
    assert!(far.is_empty(), "{} of {} configurations are off", far.len(), made.len());
}
