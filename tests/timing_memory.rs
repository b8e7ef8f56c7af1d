//! KV capacity against AI Configurator's own figures, and refusals.

use crate::reference;

use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::WorkerShape;
use servescout::timing::memory::{kv_capacity, kv_capacity_aic_parity};

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

/// Every row of the reference: the same capacity to the token, or the same refusal.
#[test]
fn capacity_agrees_with_ai_configurator() {
    let Some(rows) = reference::read_csv("timing/kv_capacity.csv.gz") else { return };
    let mut compared = 0;
    let mut mismatches = Vec::new();
    for row in rows.iter() {
        let quant = row.text("quant");
        let (dtype, kv_dtype) = reference::formats(quant);
        let shape = worker(
            row.text("hf_path"),
            row.text("system"),
            reference::backend(row.text("backend")),
            dtype,
            kv_dtype,
            row.int("tp"),
        );
        let ours = kv_capacity_aic_parity(&shape, row.int("max_num_tokens"), Some(row.real("memory_fraction")));
        compared += 1;
        let label = format!("{} {quant} {}", shape.label(), row.text("moe_mode"));
        match ours {
            Ok(c) if row.text("kv_capacity_tokens").is_empty() || row.int::<u64>("kv_capacity_tokens") == 0 => {
                mismatches.push(format!("{label}: {} tokens, theirs refused", c.kv_tokens))
            }
            Ok(c) if c.kv_tokens.abs_diff(row.int("kv_capacity_tokens")) > 1 => mismatches.push(format!(
                "{label}: {} tokens, theirs {} (weights {:.4} GB, theirs {:.4})",
                c.kv_tokens,
                row.text("kv_capacity_tokens"),
                c.weights_gib * 1.073741824,
                row.real("weights_bytes") / 1e9
            )),
            Err(e) if row.text("note").starts_with("native") => mismatches.push(format!("{label}: {e}")),
            _ => {}
        }
    }
    assert!(compared > 370, "{compared} rows");
    assert!(mismatches.is_empty(), "{} of {compared}:\n{}", mismatches.len(), mismatches.join("\n"));
}

#[test]
fn what_does_not_fit_is_refused_with_its_arithmetic() {
    let refusal = kv_capacity(
        &worker("Qwen/Qwen3-235B-A22B", "h100_sxm", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 4),
        8192,
        None,
    )
    .unwrap_err();
    assert!(
        refusal.contains("does not fit") && refusal.contains("weights") && refusal.contains("80.0 GiB"),
        "{refusal}"
    );
    let fraction =
        kv_capacity(&worker("Qwen/Qwen3-32B", "h200", Backend::Vllm, Dtype::Fp8, Dtype::Fp8, 1), 8192, Some(1.5))
            .unwrap_err();
    assert!(fraction.contains("memory fraction"), "{fraction}");
}

#[test]
fn bytes_per_token_follow_the_attention() {
    let bytes = |model, kv, tp| worker(model, "gb200", Backend::Vllm, Dtype::Fp8, kv, tp).kv_bytes_per_token();
    // 2 x 8 heads x 128 x 64 layers x 2 bytes, split over ranks until each has one head.
    assert_eq!(bytes("Qwen/Qwen3-32B", Dtype::Bf16, 1), 262_144.0);
    assert_eq!(bytes("Qwen/Qwen3-32B", Dtype::Bf16, 8), 32_768.0);
    assert_eq!(bytes("Qwen/Qwen3-32B", Dtype::Bf16, 16), 32_768.0);
    // (512 + 64) x 61 layers, whatever the number of ranks.
    assert_eq!(bytes("deepseek-ai/DeepSeek-V3", Dtype::Bf16, 1), 70_272.0);
    assert_eq!(bytes("deepseek-ai/DeepSeek-V3", Dtype::Fp8, 8), 35_136.0);
    // Only the 18 layers that see everything: 2 x 8 x 64 x 18 x 2.
    assert_eq!(bytes("openai/gpt-oss-120b", Dtype::Bf16, 1), 36_864.0);
    assert_eq!(
        worker("openai/gpt-oss-120b", "gb200", Backend::Vllm, Dtype::Mxfp4, Dtype::Bf16, 1).kv_window_bytes_per_seq(),
        128.0 * 36_864.0
    );
}

#[test]
fn capacity_is_what_the_fraction_leaves() {
    let shape = worker("Qwen/Qwen3-32B", "h200", Backend::Vllm, Dtype::Fp8, Dtype::Fp8, 2);
    let c = kv_capacity(&shape, 8192, Some(0.9)).unwrap();
    let sum = c.weights_gib + c.activations_gib + c.runtime_gib + c.communication_gib + c.window_gib + c.kv_gib;
    assert!((sum - 0.9 * c.memory_gib).abs() < 1e-9);
    assert!(c.arithmetic().contains(&format!("{} tokens", c.kv_tokens)), "{}", c.arithmetic());
    // More tokens per pass leave less; a mixture's head is counted outside parity.
    assert!(kv_capacity(&shape, 16_384, Some(0.9)).unwrap().kv_tokens < c.kv_tokens);
    let moe = worker("Qwen/Qwen3-30B-A3B", "h200", Backend::Vllm, Dtype::Bf16, Dtype::Bf16, 1);
    let (ours, parity) = (kv_capacity(&moe, 8192, None).unwrap(), kv_capacity_aic_parity(&moe, 8192, None).unwrap());
    assert!((ours.weights_gib - parity.weights_gib - 151_936.0 * 2048.0 * 2.0 / 1_073_741_824.0).abs() < 1e-9);
}
