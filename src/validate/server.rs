//! How the server of a measured point was set up, as far as its source says.

use super::points::{Client, Point};
use crate::catalog::{Attention, Backend, Dtype};

/// Settings that decide what is in a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// Whose scheduler it is. SGLang with `enable_mixed_chunk` fills passes as vLLM does.
    pub scheduler: Backend,
    pub max_num_batched_tokens: u32,
    pub block_size: u32,
    /// Whether the next pass is scheduled while one runs (vLLM's asynchronous scheduling, the
    /// overlap schedulers of the others).
    pub schedules_ahead: bool,
    /// Tokens between two messages to the client: the first message waits for as many.
    pub stream_interval: u32,
}

/// Tokens that AI Configurator's generator of launch files adds to the prompt length for an
/// aggregated worker's token budget: 1500, and the batch size that it plans for (rule
/// `agg max_num_tokens = max_batch_size + isl + 1500` of its vLLM and TRT-LLM backends; 128 is its
/// batch size where none is asked for).
const GENERATED_MARGIN: u32 = 1500 + 128;

/// The server of a point.
///
/// InferenceMAX/InferenceX publishes its launch scripts: a budget of 8192 tokens, asynchronous
/// scheduling, no prefix cache. The gap-analysis runs were deployed with the launch files that AI
/// Configurator generates; its SGLang files ask for mixed chunks since the versions that were not
/// measured as one wave. TRT-LLM's sweeps of dense models at 1024/1024 on fewer than 8 GPUs report
/// a TTFT that is later by 20 decode passes on both GPUs and in both formats (and no other sweep
/// does): they streamed every 20 tokens.
pub fn server(point: &Point) -> Server {
    let generated = point.source == "gap";
    let is_one_wave = point.client == Client::OneWave;
    let budget = if generated && point.backend != Backend::Sglang { point.isl + GENERATED_MARGIN } else { 8192 };
    let streams_in_chunks = point.source == "inferencex"
        && point.backend == Backend::Trtllm
        && point.model.moe.is_none()
        && (point.isl, point.osl) == (1024, 1024)
        && point.tp < 8;
    Server {
        scheduler: match point.backend {
            Backend::Sglang if generated && !is_one_wave => Backend::Vllm,
            other => other,
        },
        max_num_batched_tokens: budget.max(point.concurrency + 64),
        block_size: match point.backend {
            Backend::Vllm => 16,
            Backend::Sglang => 1,
            Backend::Trtllm => 32,
        },
        schedules_ahead: point.backend != Backend::Vllm
            || point.source == "inferencex"
            || !is_before(&point.backend_version, ASYNC_BY_DEFAULT),
        stream_interval: if streams_in_chunks { 20 } else { 1 },
    }
}

/// vLLM schedules asynchronously by default from this version on.
const ASYNC_BY_DEFAULT: [u32; 2] = [0, 14];

/// Whether a version is known and lower.
fn is_before(version: &str, bound: [u32; 2]) -> bool {
    let mut parts = version.split('.').map(|p| p.parse::<u32>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => [major, minor] < bound,
        _ => false,
    }
}

/// Formats of a point: weights, KV cache, and the quantisation in the words of the measured tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Formats {
    pub dtype: Dtype,
    pub kv_dtype: Dtype,
    pub quant: String,
}

/// The formats that the labels of a point stand for. `quant_variant` has a part for the weights
/// (`bf16`, `block`, `static`, `nvfp4`, `w4a8`; `auto` and `ckpt` for the checkpoint's own, `label`
/// for the precision as written) and may end in `kvbf16` or `kvfp8`. Quantised weights bring an
/// 8-bit cache unless it says otherwise.
pub fn formats(point: &Point) -> Formats {
    let variant = &*point.quant_variant;
    let is_mxfp4 = point.model.dtype == Dtype::Mxfp4;
    let names_bf16 = variant == "bf16" || (point.precision.is_empty() && !variant.starts_with("fp"));
    let (dtype, weights) = match (variant, &*point.precision) {
        _ if is_mxfp4 && variant.contains("w4a8") => (Dtype::Mxfp4, "mxfp4_mxfp8"),
        _ if is_mxfp4 => (Dtype::Mxfp4, "mxfp4"),
        _ if names_bf16 => (Dtype::Bf16, "bf16"),
        (_, "fp4") => (Dtype::Nvfp4, "nvfp4"),
        (v, _) if v.contains("static") => (Dtype::Fp8, "fp8_static"),
        (v, _) if v.contains("block") => (Dtype::Fp8, "fp8_block"),
        (v, _) if v.starts_with("auto") && point.model.moe.is_some() => (Dtype::Fp8, "fp8_block"),
        (v, _) if v.starts_with("ckpt") => (Dtype::Fp8, "fp8_static"),
        _ => (Dtype::Fp8, "fp8"),
    };
    let kv_fp8 = if variant.ends_with("kvbf16") {
        false
    } else {
        variant.ends_with("kvfp8") || !matches!(weights, "bf16" | "mxfp4")
    };
    let by_default = !matches!(weights, "bf16" | "mxfp4" | "mxfp4_mxfp8");
    let suffix = match (kv_fp8, by_default) {
        (true, false) => "_kvfp8",
        (false, true) => "_kvbf16",
        _ => "",
    };
    let kv_dtype = if kv_fp8 { Dtype::Fp8 } else { Dtype::Bf16 };
    Formats { dtype, kv_dtype, quant: format!("{weights}{suffix}") }
}

/// Shapes that the twin does not have, in words.
pub fn unsupported(point: &Point) -> Option<String> {
    if point.attention_dp > 1 {
        return Some(format!("attention data parallelism of {} is not simulated", point.attention_dp));
    }
    if point.moe_tp > 1 && point.moe_ep > 1 {
        return Some(format!("experts split {} ways within groups of {} have no tables", point.moe_tp, point.moe_ep));
    }
    if point.model.moe.is_some() && point.moe_tp * point.moe_ep != point.tp {
        return Some(format!(
            "TP {} with experts over {} x {} GPUs: the row contradicts itself",
            point.tp, point.moe_tp, point.moe_ep
        ));
    }
    if matches!(point.model.attention, Attention::Mla { .. }) && point.tp > point.gpu.link_domain {
        return Some(format!("TP {} spans servers", point.tp));
    }
    None
}
