//! How well the tables of a relative stand for a worker that was not measured.

use crate::reference;

use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::surface::library::{self, MoeLayout};
use servescout::timing::surface::relative;
use servescout::timing::{Roofline, SurfaceOptions, Timing, TimingSpec, WorkerShape};

/// Every worker that was measured, as the default options choose its tables.
fn measured() -> Vec<WorkerShape> {
    let mut shapes: Vec<WorkerShape> = Vec::new();
    for c in &library::embedded().configurations {
        let (dtype, kv_dtype) = reference::formats(&c.quant);
        let shape = WorkerShape {
            model: catalog::model(&c.model).unwrap().clone(),
            gpu: catalog::gpu(&c.system).unwrap().clone(),
            backend: Backend::parse(&c.backend).unwrap(),
            dtype,
            kv_dtype,
            tp: c.tp.into(),
        };
        // vLLM's block tables are flawed where per-tensor ones stand in for them.
        let flawed = c.backend == "vllm" && c.quant.starts_with("fp8_block") && c.moe == MoeLayout::Dense;
        if !flawed && !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

fn bare() -> SurfaceOptions {
    SurfaceOptions { host_ms: Some(0.0), ..SurfaceOptions::default() }
}

/// Errors of estimating `shape` from relatives that `may_stand`: logarithms of estimated over
/// measured, what was promised, and the same for the roofline alone. `None` without a relative.
fn errors(shape: &WorkerShape, may_stand: impl Fn(&WorkerShape) -> bool) -> Option<(Vec<f64>, f64, Vec<f64>)> {
    let truth = TimingSpec::Surface(bare()).build(shape).unwrap();
    if truth.provenance().estimated.is_some() {
        return None;
    }
    let relative = relative::nearest(library::embedded(), shape, &bare(), may_stand)?;
    let carried = Timing::Surface(relative::surface(library::embedded(), &relative, shape, 0.0, None).into());
    let roofline = Timing::Roofline(Roofline::new(shape, 0.0).into());
    let of = |timing: &Timing| {
        reference::loads().iter().map(|load| (timing.pass_ms(load) / truth.pass_ms(load)).ln()).collect()
    };
    Some((of(&carried), relative.astray, of(&roofline)))
}

/// A quantile of the absolute values.
fn quantile(errors: &[f64], level: f64) -> f64 {
    let mut sorted: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * level) as usize]
}

#[test]
fn estimates_from_relatives_are_as_good_as_stated() {
    type MayStand = fn(&WorkerShape, &WorkerShape) -> bool;
    let same_model = |a: &WorkerShape, b: &WorkerShape| b.model == a.model;
    // What may stand when something was not measured, and how many workers that leaves an estimate.
    let cases: [(&str, MayStand, usize); 3] = [
        ("another tensor-parallel size", |a, b| b.tp != a.tp && b.gpu == a.gpu && b.backend == a.backend, 300),
        ("another GPU", |a, b| b.gpu != a.gpu && b.tp == a.tp && b.backend == a.backend, 200),
        ("another GPU and size", |a, b| b.gpu != a.gpu && b.tp != a.tp && b.backend == a.backend, 10),
    ];
    let shapes = measured();
    for (name, may_stand, least) in cases {
        let (mut carried, mut roofline, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
        let mut workers = 0;
        for shape in &shapes {
            let allowed = |other: &WorkerShape| same_model(shape, other) && may_stand(shape, other);
            let Some((errors, astray, plain)) = errors(shape, allowed) else { continue };
            scaled.extend(errors.iter().map(|e| e / astray));
            carried.extend(errors);
            roofline.extend(plain);
            workers += 1;
        }
        assert!(workers >= least, "{name}: {workers} workers");
        let [median, p90] = [0.5, 0.9].map(|level| quantile(&carried, level));
        let [plain_median, plain_p90] = [0.5, 0.9].map(|level| quantile(&roofline, level));
        println!(
            "{name}: {workers} workers, median {median:.3}, 90% {p90:.3}, {:.2} of what is stated; roofline {plain_median:.3}, {plain_p90:.3}",
            quantile(&scaled, 0.9),
        );
        assert!(quantile(&scaled, 0.9) < 1.1, "{name}: nine of ten passes are not within what is stated");
        assert!(p90 < plain_p90, "{name}: the roofline alone does better");
    }
}

#[test]
fn the_nearest_relative_is_named_with_the_error_to_expect() {
    let shape = |model: &str, gpu: &str, tp| WorkerShape {
        model: catalog::model(model).unwrap().clone(),
        gpu: catalog::gpu(gpu).unwrap().clone(),
        backend: Backend::Vllm,
        dtype: Dtype::Bf16,
        kv_dtype: Dtype::Bf16,
        tp,
    };
    let nearest = |shape: &WorkerShape| relative::nearest(library::embedded(), shape, &bare(), |_| true);
    let five = shape("Qwen/Qwen3-32B", "h100", 16);
    let found = nearest(&five).unwrap();
    assert_eq!((found.shape.tp, &*found.shape.gpu.name, found.error_percent()), (8, "h100_sxm", 20.0));
    // Same generation as the B200 that was measured.
    let gb200 = shape("Qwen/Qwen3-32B", "gb200", 2);
    let said = TimingSpec::Surface(bare()).build(&gb200).unwrap().provenance();
    assert_eq!(said.estimated, Some(15.0));
    assert!(said.label.starts_with("estimated, +-15% (from Qwen/Qwen3-32B bf16"), "{}", said.label);
    assert!(said.label.contains("b200_sxm") && said.source.contains("AI Configurator"), "{}", said.label);
    // Other generations, other links and other attention are left to the roofline.
    assert_eq!(nearest(&shape("Qwen/Qwen3-32B", "l40s", 2)), None);
    assert_eq!(nearest(&shape("Qwen/Qwen3-32B", "a100", 2)), None);
    assert_eq!(nearest(&shape("deepseek-ai/DeepSeek-V3", "h200", 8)), None);
}
