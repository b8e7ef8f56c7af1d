//! Every kind of timing: the peer's micro-scenarios, the closed form of decode runs, and that
//! tensor parallelism, batch and context matter where they should.

use proptest::prelude::*;
use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::{PassLoad, Timing, TimingSpec, WorkerShape};

const POOL: u64 = 16_384 * 64;

fn shape(model: &str, gpu: &str, backend: Backend, dtype: Dtype, tp: u32) -> WorkerShape {
    let kv_dtype = if dtype == Dtype::Fp8 { Dtype::Fp8 } else { Dtype::Bf16 };
    WorkerShape {
        model: catalog::model(model).unwrap().clone(),
        gpu: catalog::gpu(gpu).unwrap().clone(),
        backend,
        dtype,
        kv_dtype,
        tp,
    }
}

fn prefill(new: u32, prefix: u32) -> PassLoad {
    PassLoad { kv_pool_tokens: POOL, ..PassLoad::default() }.with_prefill(new, prefix, true)
}

fn assert_ms(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 5e-4, "{actual} is not {expected}");
}

/// Semantics section 13, S1 to S5.
#[test]
fn polynomial_reproduces_the_micro_scenarios() {
    for floor_means in [false, true] {
        let timing = Timing::Polynomial { floor_means };
        let decode = |context: u64| timing.pass_ms(&PassLoad::decode(1, context, POOL));
        let first = timing.pass_ms(&prefill(1024, 0));
        assert_ms(first, 32.4907);
        let tokens = [1025, 1026, 1027].map(decode);
        assert_ms(first + tokens[0], 38.2835);
        assert_ms(first + tokens[0] + tokens[1], 44.0763);
        assert_ms(first + tokens.iter().sum::<f64>(), 49.8692);

        let chunks = [prefill(8192, 0), prefill(8192, 8192), prefill(3616, 16_384)].map(|l| timing.pass_ms(&l));
        assert_ms(chunks[0], 169.137);
        assert_ms(chunks[1], 169.137);
        assert_ms(chunks[2], 76.909);
        assert_ms(timing.pass_ms(&prefill(20_000, 0)), 488.570);

        assert_ms(timing.pass_ms(&prefill(1000, 0).with_prefill(3000, 0, true)), 83.971);
        assert_ms(timing.pass_ms(&prefill(64, 960)), 17.4749);

        let mut mixed = prefill(1024, 0);
        mixed.decode_seqs = 8;
        mixed.decode_context_tokens = 16_000;
        assert_ms(timing.pass_ms(&mixed), 39.049);
    }
}

#[test]
fn floored_means_lose_what_the_peer_loses() {
    let load = prefill(1001, 3).with_prefill(1000, 2, true);
    let ms = |floor_means| Timing::Polynomial { floor_means }.pass_ms(&load);
    // 2 x (floor(2006 / 2) - floor(5 / 2)) = 2002 tokens instead of 2001.
    assert_ms(ms(true) - ms(false), 1.518344e-2 + 4.209989e-7 * (2002.0 * 2002.0 - 2001.0 * 2001.0));
}

#[test]
fn empty_passes_take_no_time() {
    for timing in every_kind() {
        assert_eq!(timing.pass_ms(&PassLoad { kv_pool_tokens: POOL, ..PassLoad::default() }), 0.0, "{timing:?}");
    }
}

#[test]
fn fixed_adds_its_two_terms() {
    let timing = Timing::Fixed { prefill_ms: 20.0, decode_ms: 3.0 };
    let mut mixed = prefill(5, 0);
    assert_eq!(timing.pass_ms(&mixed), 20.0);
    mixed.decode_seqs = 2;
    assert_eq!(timing.pass_ms(&mixed), 23.0);
    assert!(
        TimingSpec::Fixed { prefill_ms: -1.0, decode_ms: 1.0 }
            .build(&shape("Qwen/Qwen3-32B", "h100", Backend::Vllm, Dtype::Bf16, 1))
            .is_err()
    );
}

/// One timing of every kind and attention.
fn every_kind() -> Vec<Timing> {
    let mut timings = vec![
        Timing::Polynomial { floor_means: false },
        Timing::Polynomial { floor_means: true },
        Timing::Fixed { prefill_ms: 20.0, decode_ms: 3.0 },
    ];
    let shapes = [
        shape("Qwen/Qwen3-32B", "h100_sxm", Backend::Vllm, Dtype::Fp8, 2),
        shape("Qwen/Qwen3-235B-A22B", "b200_sxm", Backend::Sglang, Dtype::Fp8, 4),
        shape("openai/gpt-oss-120b", "h200_sxm", Backend::Vllm, Dtype::Mxfp4, 2),
        shape("deepseek-ai/DeepSeek-V3", "gb200", Backend::Trtllm, Dtype::Fp8, 8),
    ];
    for shape in &shapes {
        for spec in [TimingSpec::Roofline, TimingSpec::default()] {
            timings.push(spec.build(shape).unwrap());
        }
    }
    timings
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The closed form is the pass time, to 1e-12, at every pass that it claims.
    #[test]
    fn decode_runs_equal_their_passes(
        seqs in 0u32..2000,
        mean in 0u64..140_000,
        ragged in 0u64..2000,
        pool in 0u64..4_000_000,
        far in 0.0f64..1.0,
    ) {
        let context = mean * u64::from(seqs) + ragged.min(u64::from(seqs));
        for timing in every_kind() {
            let run = timing.decode_run(seqs, context, pool);
            prop_assert!(run.passes >= 1);
            let last = run.passes.min(1_000_000) - 1;
            for k in [0, 1, (last as f64 * far) as u64, last] {
                let k = k.min(last);
                let closed = run.base_ms + run.slope_ms * k as f64 + run.curve_ms * (k * k) as f64;
                let direct = timing.pass_ms(&PassLoad::decode(seqs, context + k * u64::from(seqs), pool));
                prop_assert!(
                    (closed - direct).abs() <= 1e-12 * direct.abs(),
                    "{:?}: pass {} of {}: {} is not {}", timing.provenance(), k, run.passes, closed, direct
                );
            }
        }
    }

    /// Pieces are as long as is exact: the polynomial's ends where the pool is full, the
    /// roofline's at the window, and there is no end otherwise.
    #[test]
    fn pieces_end_only_at_kinks(seqs in 1u32..500, mean in 1u64..2000) {
        let context = mean * u64::from(seqs);
        let full = Timing::Polynomial { floor_means: false }.decode_run(seqs, context, POOL);
        if context >= POOL {
            prop_assert_eq!(full.passes, u64::MAX);
        } else {
            let last = context + (full.passes - 1) * u64::from(seqs);
            prop_assert!(last <= POOL && last + u64::from(seqs) > POOL);
        }
        let dense = TimingSpec::Roofline.build(&shape("Qwen/Qwen3-32B", "h100", Backend::Vllm, Dtype::Bf16, 1)).unwrap();
        prop_assert_eq!(dense.decode_run(seqs, context, POOL).passes, u64::MAX);
        let windowed = TimingSpec::Roofline.build(&shape("openai/gpt-oss-120b", "h100", Backend::Vllm, Dtype::Mxfp4, 1)).unwrap();
        let passes = windowed.decode_run(seqs, context, POOL).passes;
        prop_assert_eq!(passes, if mean < 128 { 128 - mean + 1 } else { u64::MAX });
    }
}

#[test]
fn tensor_parallelism_batch_and_context_matter_to_the_roofline() {
    let at = |tp, load: PassLoad| {
        TimingSpec::Roofline
            .build(&shape("Qwen/Qwen3-32B", "h100_sxm", Backend::Vllm, Dtype::Bf16, tp))
            .unwrap()
            .pass_ms(&load)
    };
    let decode = |batch: u32, mean: u64| PassLoad::decode(batch, u64::from(batch) * mean, POOL);
    for tp in [1, 2, 4] {
        assert!(at(2 * tp, decode(8, 1024)) < 0.8 * at(tp, decode(8, 1024)), "tp {tp} halves most of a decode pass");
        assert!(at(2 * tp, prefill(4096, 0)) < 0.8 * at(tp, prefill(4096, 0)), "tp {tp} halves most of a prefill");
    }
    assert!(at(2, decode(64, 1024)) > 1.05 * at(2, decode(8, 1024)));
    assert!(at(2, decode(64, 8192)) > 1.5 * at(2, decode(64, 1024)));
    assert!(at(2, prefill(2048, 30_000)) > 1.2 * at(2, prefill(2048, 0)));
}

#[test]
fn impossible_shapes_are_refused() {
    let mut shape = shape("Qwen/Qwen3-32B", "h100_sxm", Backend::Vllm, Dtype::Bf16, 3);
    let refusal = |shape: &WorkerShape| TimingSpec::Roofline.build(shape).unwrap_err();
    assert!(refusal(&shape).contains("64 attention heads"));
    shape.tp = 16;
    assert!(refusal(&shape).contains("spans servers"));
    shape.tp = 2;
    shape.kv_dtype = Dtype::Nvfp4;
    assert!(refusal(&shape).contains("KV cache"));
}

#[test]
fn timings_are_shared_between_threads() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug>() {}
    is_shareable::<Timing>();
    assert!(size_of::<Timing>() <= 24, "a clone copies {} bytes", size_of::<Timing>());
}
