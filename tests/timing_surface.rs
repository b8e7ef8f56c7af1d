//! The embedded surfaces against the measured grids they were distilled from.

use crate::reference;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use reference::Row;
use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::surface::{distill, library};
use servescout::timing::{PassLoad, SurfaceOptions, Timing, TimingSpec, WorkerShape};

const SYSTEMS: [&str; 3] = ["h100_sxm", "h200_sxm", "b200_sxm"];
const POOL: u64 = 1 << 24;

fn shape_of(row: &Row) -> WorkerShape {
    let (dtype, kv_dtype) = reference::formats(row.text("quant"));
    WorkerShape {
        model: catalog::model(row.text("hf_path")).unwrap().clone(),
        gpu: catalog::gpu(row.text("system")).unwrap().clone(),
        backend: reference::backend(row.text("backend")),
        dtype,
        kv_dtype,
        tp: row.int("tp"),
    }
}

fn options_of(row: &Row, aic_parity: bool) -> SurfaceOptions {
    SurfaceOptions {
        aic_parity,
        host_ms: Some(0.0),
        expert_parallel: (!row.text("moe_mode").is_empty()).then_some(row.text("moe_mode") == "ep"),
        quant: Some(row.text("quant").into()),
    }
}

/// The timing that a row was measured with.
fn timing_of(row: &Row, aic_parity: bool) -> Timing {
    let timing = TimingSpec::Surface(options_of(row, aic_parity)).build(&shape_of(row)).unwrap();
    assert_eq!(timing.provenance().estimated, None);
    timing
}

fn grid_load(row: &Row) -> PassLoad {
    let batch: u32 = row.int("batch");
    if row.text("phase") == "decode" {
        return PassLoad::decode(batch, u64::from(batch) * row.int::<u64>("context"), POOL);
    }
    (0..batch).fold(PassLoad::default(), |load, _| load.with_prefill(row.int("isl"), row.int("prefix"), true))
}

/// Errors, sorted.
#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    fn push(&mut self, ours: f64, theirs: f64) {
        self.0.push((ours / theirs - 1.0).abs());
    }

    fn quantile(&mut self, q: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[((self.0.len() - 1) as f64 * q) as usize]
    }
}

/// Runs over every grid and returns the errors by phase.
fn grid_errors(aic_parity: bool) -> Option<BTreeMap<String, Errors>> {
    let mut errors = BTreeMap::<String, Errors>::new();
    for system in SYSTEMS {
        for backend in ["vllm", "sglang"] {
            let csv = reference::read_csv(&format!("timing/{system}_{backend}.csv.gz"))?;
            let mut timings = BTreeMap::new();
            for row in csv.iter() {
                let key = ["model", "quant", "tp", "moe_mode"].map(|c| row.text(c));
                let timing = timings.entry(key).or_insert_with(|| timing_of(&row, aic_parity));
                let ours = timing.pass_ms(&grid_load(&row));
                errors.entry(row.text("phase").into()).or_default().push(ours, row.real("latency_ms"));
            }
        }
    }
    Some(errors)
}

#[test]
fn in_parity_the_grids_are_met() {
    let Some(mut errors) = grid_errors(true) else { return };
    assert_eq!(errors.len(), 2);
    for (phase, errors) in &mut errors {
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| 100.0 * errors.quantile(q));
        println!("{phase}: {} points, median {median:.4}%, p99 {p99:.3}%, worst {max:.2}%", errors.0.len());
        assert!(errors.0.len() > 60_000);
        assert!(median < 0.1 && p99 < 2.0 && max < 12.0, "{phase}: median {median}%, p99 {p99}%, worst {max}%");
    }
}

/// Not a bound on accuracy but on how much the monotone default departs from the raw tables.
#[test]
fn by_default_the_grids_are_not_exceeded_by_more_than_padding() {
    let Some(mut errors) = grid_errors(false) else { return };
    for (phase, errors) in &mut errors {
        let [median, p90, p99] = [0.5, 0.9, 0.99].map(|q| 100.0 * errors.quantile(q));
        println!("{phase}: median {median:.4}%, p90 {p90:.3}%, p99 {p99:.2}%");
        assert!(median < 0.5 && p90 < 15.0, "{phase}: median {median}%, p90 {p90}%");
    }
}

#[test]
fn in_parity_mixed_passes_are_met() {
    let Some(csv) = reference::read_csv("timing/mixed_reference.csv.gz") else { return };
    let mut errors = Errors::default();
    for row in csv.iter() {
        let mut load = PassLoad::default().with_prefill(row.int("ctx_tokens"), 0, true);
        load.decode_seqs = row.int("gen_tokens");
        load.decode_context_tokens = u64::from(load.decode_seqs) * row.int::<u64>("decode_context");
        load.sampled_seqs += load.decode_seqs;
        errors.push(timing_of(&row, true).pass_ms(&load), row.real("latency_ms"));
    }
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| 100.0 * errors.quantile(q));
    println!("{} points, median {median:.4}%, p99 {p99:.3}%, worst {max:.2}%", errors.0.len());
    assert!(errors.0.len() > 20_000 && median < 0.1 && p99 < 2.0, "median {median}%, p99 {p99}%, worst {max}%");
}

#[test]
fn the_embedded_tables_are_what_the_database_gives() {
    let Some(directory) = std::env::var_os("AICONFIGURATOR_CORE").filter(|d| !d.is_empty()) else {
        println!("skipped: AICONFIGURATOR_CORE does not name an installed aiconfigurator-core");
        return;
    };
    let (library, _) = distill::from_database(directory.as_ref()).unwrap();
    assert!(
        library.pack().unwrap() == library::embedded().pack().unwrap(),
        "stale: run `servescout timing distill DIR src/timing/data/surfaces.bin`"
    );
}

fn worker(model: &str, gpu: &str, backend: Backend, dtype: Dtype, kv_dtype: Dtype, tp: u32) -> WorkerShape {
    WorkerShape {
        model: catalog::model(model).unwrap().clone(),
        gpu: catalog::gpu(gpu).unwrap().clone(),
        backend,
        dtype,
        kv_dtype,
        tp,
    }
}

fn default_timing(shape: &WorkerShape) -> Timing {
    TimingSpec::default().build(shape).unwrap()
}

#[test]
fn formats_choose_the_tables_and_the_provenance_names_them() {
    use Backend::{Sglang, Trtllm, Vllm};
    use Dtype::{Bf16, Fp8, Nvfp4};
    let label = |model, gpu, backend, dtype, kv, tp| {
        let p = default_timing(&worker(model, gpu, backend, dtype, kv, tp)).provenance();
        format!("{}: {}", p.kind, p.label)
    };
    let (dense, small, large) = ("Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B");
    assert_eq!(label(dense, "h100", Vllm, Bf16, Bf16, 2), "surface: measured: vllm 0.24.0 bf16");
    assert_eq!(label(dense, "h100", Vllm, Fp8, Fp8, 2), "surface: measured: vllm 0.24.0 fp8_static");
    assert_eq!(
        label(dense, "h100", Vllm, Fp8, Bf16, 2),
        "surface: measured: vllm 0.24.0 fp8_static; attention of vllm bf16"
    );
    assert_eq!(label(dense, "h100", Sglang, Fp8, Fp8, 2), "surface: measured: sglang 0.5.14 fp8_block");
    assert_eq!(
        label("meta-llama/Llama-3.1-70B", "b200", Vllm, Fp8, Bf16, 4),
        "surface: measured: vllm 0.24.0 fp8_static; attention of vllm bf16"
    );
    // Where vLLM's block table is the bad one and there is no other, SGLang's stands in.
    assert_eq!(
        label(small, "b200", Vllm, Fp8, Fp8, 2),
        "surface: measured: sglang 0.5.14 fp8_block, experts split; attention of vllm fp8_block"
    );
    assert_eq!(label(large, "h200", Vllm, Fp8, Fp8, 4), "surface: measured: vllm 0.24.0 fp8_block, experts split");
    // Splitting 768 over 4 GPUs breaks blocks of 128, so whole experts were measured.
    assert!(label(small, "h200", Vllm, Fp8, Fp8, 4).contains("experts whole"));
    assert!(label(large, "b200", Sglang, Nvfp4, Fp8, 4).contains("sglang 0.5.14 nvfp4, experts split"));
    assert_eq!(label(dense, "h100", Trtllm, Fp8, Fp8, 2), "surface: measured: trtllm 1.3.0rc20 fp8_block");
    assert!(label(large, "h100", Trtllm, Fp8, Bf16, 8).contains("trtllm 1.3.0rc20 fp8_block, experts whole"));
    assert!(label("MiniMaxAI/MiniMax-M2.5", "b200", Vllm, Fp8, Fp8, 4).contains("vllm 0.24.0 fp8, experts split"));
    assert!(label("openai/gpt-oss-120b", "h200", Vllm, Dtype::Mxfp4, Fp8, 2).contains("vllm 0.24.0 mxfp4"));
    assert!(label("openai/gpt-oss-120b", "b200", Trtllm, Dtype::Mxfp4, Fp8, 1).contains("mxfp4_mxfp8_kvfp8"));
    // Blocks of 128 do not divide this model's experts by 8.
    let split = SurfaceOptions { expert_parallel: Some(false), ..SurfaceOptions::default() };
    let minimax =
        TimingSpec::Surface(split).build(&worker("MiniMaxAI/MiniMax-M2.5", "h200", Vllm, Fp8, Fp8, 8)).unwrap();
    assert_eq!(minimax.provenance().label, "measured: vllm 0.24.0 fp8, experts split");
    for estimated in
        [label(dense, "a100", Vllm, Bf16, Bf16, 2), label("deepseek-ai/DeepSeek-V3", "h200", Vllm, Fp8, Fp8, 8)]
    {
        assert!(estimated.starts_with("roofline: estimated, +-40%"), "{estimated}");
    }
}

#[test]
fn a_renamed_architecture_finds_its_tables_and_a_changed_one_does_not() {
    let mut shape = worker("Qwen/Qwen3-32B", "h100", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 2);
    shape.model.name = "me/tuned".into();
    assert_eq!(default_timing(&shape).provenance().kind, "surface");
    shape.model.layers = 65;
    let estimated = default_timing(&shape).provenance();
    assert!(estimated.estimated.is_some() && estimated.label.starts_with("estimated, +-"), "{}", estimated.label);
}

#[test]
fn equal_shapes_share_one_table() {
    let shape = worker("Qwen/Qwen3-32B", "h100", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 2);
    match (default_timing(&shape), default_timing(&shape)) {
        (Timing::Surface(a), Timing::Surface(b)) => assert!(std::sync::Arc::ptr_eq(&a, &b)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_short_suffix_pays_for_the_cache_it_reads() {
    let shape = worker("meta-llama/Llama-3.1-8B", "h100", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 1);
    let suffix = PassLoad::default().with_prefill(16, 32_768, true);
    let alone = PassLoad::default().with_prefill(16, 0, true);
    let parity =
        TimingSpec::Surface(SurfaceOptions { aic_parity: true, ..SurfaceOptions::default() }).build(&shape).unwrap();
    let default = default_timing(&shape);
    // The source makes reading 32k tokens of cache nearly free; one decoding sequence pays 2 ms.
    assert!(parity.pass_ms(&suffix) - parity.pass_ms(&alone) < 0.5);
    assert!(default.pass_ms(&suffix) - default.pass_ms(&alone) > 1.0);
}

#[test]
fn host_time_is_added_once_to_every_pass() {
    let shape = worker("meta-llama/Llama-3.1-8B", "h100", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 1);
    let with = |host_ms| {
        TimingSpec::Surface(SurfaceOptions { host_ms: Some(host_ms), ..SurfaceOptions::default() })
            .build(&shape)
            .unwrap()
    };
    let mut mixed = PassLoad::default().with_prefill(100, 0, true);
    for load in [PassLoad::decode(3, 1000, POOL), mixed, {
        mixed.decode_seqs = 5;
        mixed.decode_context_tokens = 5000;
        mixed
    }] {
        assert!((with(1.5).pass_ms(&load) - with(0.0).pass_ms(&load) - 1.5).abs() < 1e-9);
    }
    assert_eq!(with(1.5).pass_ms(&PassLoad::default()), 0.0);
    let refusal =
        TimingSpec::Surface(SurfaceOptions { host_ms: Some(f64::NAN), ..SurfaceOptions::default() }).build(&shape);
    assert!(refusal.unwrap_err().contains("host_ms"));
}

/// A timing of every measured configuration, as the options choose.
fn measured_timings(aic_parity: bool) -> Vec<Timing> {
    let mut timings = Vec::new();
    for c in &library::embedded().configurations {
        let (dtype, kv_dtype) = reference::formats(&c.quant);
        let shape = worker(&c.model, &c.system, Backend::parse(&c.backend).unwrap(), dtype, kv_dtype, c.tp.into());
        let options = SurfaceOptions {
            aic_parity,
            host_ms: None,
            expert_parallel: match c.moe {
                library::MoeLayout::Dense => None,
                layout => Some(layout == library::MoeLayout::ExpertParallel),
            },
            quant: Some(c.quant.clone()),
        };
        timings.push(TimingSpec::Surface(options).build(&shape).unwrap());
    }
    timings
}

#[test]
fn closed_forms_hold_for_every_measured_configuration() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for timing in measured_timings(true).iter().chain(&measured_timings(false)) {
        for _ in 0..40 {
            let cases = (1u32..1500, 1u64..150_000, 0u64..1500, 0.0f64..1.0);
            let (seqs, mean, ragged, far) = cases.new_tree(&mut runner).unwrap().current();
            let context = mean * u64::from(seqs) + ragged % u64::from(seqs);
            let run = timing.decode_run(seqs, context, POOL);
            assert!(run.passes >= 1);
            let last = run.passes.min(1 << 20) - 1;
            for k in [0, (last as f64 * far) as u64, last] {
                let direct = timing.pass_ms(&PassLoad::decode(seqs, context + k * u64::from(seqs), POOL));
                let closed = run.base_ms + run.slope_ms * k as f64 + run.curve_ms * (k * k) as f64;
                assert!(
                    (closed - direct).abs() <= 1e-12 * direct,
                    "{:?} {seqs} x {mean}, pass {k}",
                    timing.provenance().label
                );
            }
        }
    }
}

#[test]
fn more_work_never_takes_less_time_by_default() {
    for timing in measured_timings(false) {
        let label = timing.provenance().label;
        let mut last = 0.0;
        for new in (1..20_000).step_by(7) {
            let ms = timing.pass_ms(&PassLoad::default().with_prefill(new, 0, true));
            assert!(ms >= last - 1e-6 * ms, "{label}: prefill of {new}");
            last = ms;
        }
        for context in [20u64, 500, 3000, 40_000] {
            let mut last = 0.0;
            for seqs in 1..1100 {
                let ms = timing.pass_ms(&PassLoad::decode(seqs, context * u64::from(seqs), POOL));
                assert!(ms >= last - 1e-6 * ms, "{label}: {seqs} x {context}");
                last = ms;
            }
        }
        for seqs in [1u32, 7, 60, 700] {
            let mut last = 0.0;
            for context in (1..140_000u64).step_by(373) {
                let ms = timing.pass_ms(&PassLoad::decode(seqs, context * u64::from(seqs), POOL));
                assert!(ms >= last - 1e-6 * ms, "{label}: {seqs} x {context}");
                last = ms;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Mixed passes cost at least what their parts cost alone in attention, and no pass is free.
    #[test]
    fn mixed_passes_are_never_cheaper_than_their_prefill(
        new in 1u32..8192, prefix in 0u32..30_000, seqs in 1u32..256, mean in 1u64..8000,
    ) {
        let shape = worker("Qwen/Qwen3-32B", "h200", Backend::Vllm, Dtype::Fp8, Dtype::Fp8, 2);
        let timing = default_timing(&shape);
        let prefill = PassLoad::default().with_prefill(new, prefix, true);
        let mut mixed = prefill;
        mixed.decode_seqs = seqs;
        mixed.sampled_seqs += seqs;
        mixed.decode_context_tokens = mean * u64::from(seqs);
        prop_assert!(timing.pass_ms(&mixed) > timing.pass_ms(&prefill));
        prop_assert!(timing.pass_ms(&prefill) > 0.0);
    }
}
