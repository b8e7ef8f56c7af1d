//! How many KV tokens fit beside a model.
//!
//! The budget is that of NVIDIA AI Configurator 0.12.0: a fraction of the GPU's memory, less
//! weights, activations, NCCL buffers and what the runtime itself takes. Constants are its own.

use super::WorkerShape;
use crate::catalog::Backend;
use crate::units::BYTES_PER_GIB;

/// What fits on one GPU of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct KvCapacity {
    /// Tokens of KV cache of the worker. Ranks split or replicate heads, so each holds its part of
    /// every token.
    pub kv_tokens: u64,
    /// Bytes of KV cache per token on one GPU.
    pub kv_bytes_per_token: f64,
    /// Memory of the GPU, GiB.
    pub memory_gib: f64,
    /// Fraction of it that the engine may use (of what is free beside everything else: TRT-LLM).
    pub memory_fraction: f64,
    pub weights_gib: f64,
    pub activations_gib: f64,
    /// CUDA context, graphs and runtime.
    pub runtime_gib: f64,
    /// NCCL buffers.
    pub communication_gib: f64,
    /// What sliding-window layers hold, for [`WINDOW_SEQS`] sequences.
    pub window_gib: f64,
    /// What is left for the cache.
    pub kv_gib: f64,
    max_num_batched_tokens: u32,
    of_free: bool,
}

impl KvCapacity {
    /// The sum in words.
    pub fn arithmetic(&self) -> String {
        let KvCapacity { memory_fraction: fraction, memory_gib, kv_bytes_per_token: per_token, window_gib, .. } = self;
        let window = if *window_gib > 0.0 { format!(" - windowed layers {window_gib:.2}") } else { String::new() };
        let parts = format!(
            "weights {:.2}, activations {:.2} at {} tokens, runtime {:.2}, NCCL {:.2}",
            self.weights_gib,
            self.activations_gib,
            self.max_num_batched_tokens,
            self.runtime_gib,
            self.communication_gib
        );
        let sum = if self.of_free {
            format!("{fraction} x ({memory_gib:.1} GiB - [{parts}]){window}")
        } else {
            format!("{fraction} x {memory_gib:.1} GiB - [{parts}]{window}")
        };
        format!(
            "per GPU: {sum} = {:.2} GiB for KV cache, at {per_token:.0} B per token = {} tokens",
            self.kv_gib, self.kv_tokens
        )
    }
}

/// Sequences for which sliding-window layers keep their window: the engines' default
/// `max_num_seqs`.
pub const WINDOW_SEQS: u32 = 256;

const MIB: f64 = 1_048_576.0;

/// Tokens of KV cache that a worker has when its engine starts.
///
/// `memory_fraction` is `gpu_memory_utilization` (vLLM, default 0.92), `mem_fraction_static`
/// (SGLang, 0.88) or `free_gpu_memory_fraction` (TRT-LLM, 0.9 of what weights and activations
/// leave).
///
/// # Errors
/// When the shape is impossible, the fraction is not in (0, 1], or less than one token fits; the
/// message carries the arithmetic.
pub fn kv_capacity(
    shape: &WorkerShape,
    max_num_batched_tokens: u32,
    memory_fraction: Option<f64>,
) -> Result<KvCapacity, String> {
    capacity(shape, max_num_batched_tokens, memory_fraction, false)
}

/// As [`kv_capacity`], but leaving out the language-model head of mixture-of-experts models, as
/// AI Configurator does: for comparison with it.
///
/// # Errors
/// As [`kv_capacity`].
pub fn kv_capacity_aic_parity(
    shape: &WorkerShape,
    max_num_batched_tokens: u32,
    memory_fraction: Option<f64>,
) -> Result<KvCapacity, String> {
    capacity(shape, max_num_batched_tokens, memory_fraction, true)
}

/// Bytes of weights on one rank. `aic_parity` leaves out the head of a mixture of experts.
fn weight_bytes(shape: &WorkerShape, aic_parity: bool) -> f64 {
    let p = shape.model.rank_parameters(shape.tp);
    let (dense, expert) = (shape.dtype.dense_bytes(), shape.dtype.expert_bytes());
    let head = if shape.model.tied_embeddings || (aic_parity && shape.model.moe.is_some()) { 0.0 } else { p.lm_head };
    dense * (f64::from(shape.model.layers) * p.attention + p.dense_layers * p.dense_ffn + p.moe_layers * p.shared)
        + expert * p.moe_layers * p.experts
        + 2.0 * (p.moe_layers * p.router + p.embedding + head)
}

/// Peak bytes of activations on one rank in a pass of `max_tokens`: so many times the width of
/// the attention output, by tensor-parallel size.
fn activation_bytes(shape: &WorkerShape, max_tokens: u32) -> f64 {
    let moe = shape.model.moe.is_some();
    let by_tp = match (shape.backend, moe) {
        (Backend::Sglang, false) => [14.0, 8.5, 6.5, 6.5],
        (Backend::Sglang, true) => [28.0, 17.0, 13.0, 13.0],
        (_, false) => [11.0, 6.5, 5.0, 5.0],
        (_, true) => [22.0, 13.0, 10.0, 10.0],
    };
    let widths = by_tp[shape.tp.ilog2().min(3) as usize];
    let attention_width = f64::from(shape.model.heads) * f64::from(shape.model.head_dim);
    let (floor, margin) = if shape.backend == Backend::Sglang { (90.0 * MIB, 1.15) } else { (70.0 * MIB, 1.0) };
    (2.0 * f64::from(max_tokens) * attention_width * widths).max(floor) * margin
}

fn capacity(
    shape: &WorkerShape,
    max_num_batched_tokens: u32,
    memory_fraction: Option<f64>,
    aic_parity: bool,
) -> Result<KvCapacity, String> {
    shape.check()?;
    let sglang = shape.backend == Backend::Sglang;
    let of_free = shape.backend == Backend::Trtllm;
    let fraction = memory_fraction.unwrap_or(match shape.backend {
        Backend::Vllm => 0.92,
        Backend::Sglang => 0.88,
        Backend::Trtllm => 0.9,
    });
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(format!("the memory fraction must be above 0 and at most 1, not {fraction}"));
    }
    let memory = shape.gpu.memory_gib * BYTES_PER_GIB;
    let weights = weight_bytes(shape, aic_parity);
    let activations = activation_bytes(shape, max_num_batched_tokens);
    let runtime = 3.5 * BYTES_PER_GIB * if sglang { 1.2 } else { 1.0 };
    let communication = match shape.tp {
        1 => 0.0,
        2 => 342.0 * MIB,
        _ => 392.0 * MIB,
    };
    let window = f64::from(WINDOW_SEQS) * shape.kv_window_bytes_per_seq();
    let beside = weights + activations + runtime + communication;
    let budget = if of_free { fraction * (memory - beside) } else { fraction * memory - beside } - window;
    let per_token = shape.kv_bytes_per_token();
    let gib = |bytes: f64| bytes / BYTES_PER_GIB;
    let capacity = KvCapacity {
        kv_tokens: (budget / per_token).floor().max(0.0) as u64,
        kv_bytes_per_token: per_token,
        memory_gib: gib(memory),
        memory_fraction: fraction,
        weights_gib: gib(weights),
        activations_gib: gib(activations),
        runtime_gib: gib(runtime),
        communication_gib: gib(communication),
        window_gib: gib(window),
        kv_gib: gib(budget),
        max_num_batched_tokens,
        of_free,
    };
    if budget < per_token {
        return Err(format!("{} does not fit: {}", shape.label(), capacity.arithmetic()));
    }
    Ok(capacity)
}
