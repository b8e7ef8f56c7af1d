//! The flags of a worker, and the knobs for which an engine has none.

use super::Checkpoint;
use crate::catalog::{Backend, Dtype};
use crate::space::Study;
use crate::twin::deployment::{Admission, EngineConfig, Pool, Preemption, Role, WaitingOrder};

/// What the flags belong to, for the head of each file.
pub(super) fn flags_of(backend: Backend) -> &'static str {
    match backend {
        Backend::Vllm => "vLLM 0.11 and later (`vllm serve --help=all`)",
        Backend::Sglang => "SGLang 0.5 (`python -m sglang.launch_server --help`)",
        Backend::Trtllm => "TensorRT-LLM",
    }
}

/// A worker's model and engine flags; the model itself is the first flag (`--model`, `--model-path`).
/// `blocks` limits the KV pool to that of the candidate, where it was asked for.
pub(super) fn engine_flags(study: &Study, checkpoint: &Checkpoint, pool: &Pool, blocks: bool) -> Vec<String> {
    match pool.engine.backend {
        Backend::Vllm => vllm(study, checkpoint, pool, blocks),
        Backend::Sglang => sglang(study, checkpoint, pool, blocks),
        Backend::Trtllm => Vec::new(),
    }
}

/// Flags under construction.
struct Flags(Vec<String>);

impl Flags {
    fn set(&mut self, flag: &str, value: impl ToString) {
        self.0.push(flag.into());
        self.0.push(value.to_string());
    }

    fn switch(&mut self, flag: &str) {
        self.0.push(flag.into());
    }
}

fn vllm(study: &Study, checkpoint: &Checkpoint, pool: &Pool, blocks: bool) -> Vec<String> {
    let engine = &pool.engine;
    let mut flags = Flags(Vec::new());
    flags.set("--model", &checkpoint.name);
    flags.set("--tensor-parallel-size", tp(pool));
    if engine.attention_dp > 1 {
        flags.set("--data-parallel-size", engine.attention_dp);
    }
    if checkpoint.quantizes {
        flags.set("--quantization", "fp8");
    }
    if study.kv_dtype == Dtype::Fp8 {
        flags.set("--kv-cache-dtype", "fp8");
    }
    flags.set("--block-size", engine.block_size);
    if blocks {
        flags.set("--num-gpu-blocks-override", engine.gpu_blocks);
    }
    flags.set("--max-num-seqs", engine.max_num_seqs);
    flags.set("--max-num-batched-tokens", engine.max_num_batched_tokens);
    if let Some(tokens) = engine.max_model_len {
        flags.set("--max-model-len", tokens);
    }
    if let Some(share) = study.gpu_memory_utilization {
        flags.set("--gpu-memory-utilization", share);
    }
    flags.switch(if engine.prefix_caching { "--enable-prefix-caching" } else { "--no-enable-prefix-caching" });
    flags.switch(if engine.chunked_prefill { "--enable-chunked-prefill" } else { "--no-enable-chunked-prefill" });
    flags.0
}

fn sglang(study: &Study, checkpoint: &Checkpoint, pool: &Pool, blocks: bool) -> Vec<String> {
    let engine = &pool.engine;
    let mut flags = Flags(Vec::new());
    flags.set("--model-path", &checkpoint.name);
    // With attention data parallelism SGLang's `tp` counts the GPUs of all ranks.
    flags.set("--tp-size", pool.gpus_per_worker);
    if engine.attention_dp > 1 {
        flags.set("--dp-size", engine.attention_dp);
        flags.switch("--enable-dp-attention");
    }
    if checkpoint.quantizes {
        flags.set("--quantization", "fp8");
    }
    if study.kv_dtype == Dtype::Fp8 {
        flags.set("--kv-cache-dtype", "fp8_e4m3");
    }
    flags.set("--page-size", engine.block_size);
    if blocks {
        flags.set("--max-total-tokens", u64::from(engine.gpu_blocks) * u64::from(engine.block_size));
    }
    flags.set("--max-running-requests", engine.max_num_seqs);
    let chunk = if engine.chunked_prefill { i64::from(engine.max_num_batched_tokens) } else { -1 };
    flags.set("--chunked-prefill-size", chunk);
    flags.set("--max-prefill-tokens", engine.max_prefill_tokens);
    flags.set("--schedule-conservativeness", engine.schedule_conservativeness);
    flags.set("--schedule-policy", if engine.waiting_order == WaitingOrder::LongestPrefix { "lpm" } else { "fcfs" });
    if let Some(tokens) = engine.max_model_len {
        flags.set("--context-length", tokens);
    }
    if let Some(share) = study.gpu_memory_utilization {
        flags.set("--mem-fraction-static", share);
    }
    if !engine.prefix_caching {
        flags.switch("--disable-radix-cache");
    }
    flags.0
}

fn tp(pool: &Pool) -> u32 {
    pool.gpus_per_worker / pool.engine.attention_dp.max(1)
}

/// What a worker of this role is told besides, under Dynamo; `connector` transfers KV in the place of NIXL
/// alone.
pub(super) fn role_flags(backend: Backend, role: Role, connector: Option<&str>, publishes: bool) -> Vec<String> {
    let mut flags = Flags(Vec::new());
    let mode = match role {
        Role::Aggregated => None,
        Role::Prefill => Some("prefill"),
        Role::Decode => Some("decode"),
    };
    if let Some(mode) = mode {
        flags.set("--disaggregation-mode", mode);
        if backend != Backend::Vllm {
            flags.set("--disaggregation-transfer-backend", "nixl");
        }
    }
    let hands_over = mode.is_some() && backend == Backend::Vllm;
    let nixl = hands_over.then_some(r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#);
    if let Some(connector) = connector.or(nixl) {
        flags.set("--kv-transfer-config", connector);
    }
    if publishes {
        let events = match backend {
            Backend::Vllm => {
                r#"{"publisher":"zmq","topic":"kv-events","endpoint":"tcp://*:20080","enable_kv_cache_events":true}"#
            }
            _ => r#"{"publisher":"zmq","topic":"kv-events","endpoint":"tcp://*:20080"}"#,
        };
        flags.set("--kv-events-config", events);
    }
    flags.0
}

/// Settings of an engine that its server has no flag for, or does otherwise; a sentence each.
pub(super) fn engine_gaps(engine: &EngineConfig) -> Vec<String> {
    let mut gaps = Vec::new();
    if let Some(speculation) = &engine.speculation {
        let tokens = speculation.tokens;
        gaps.push(match engine.backend {
            Backend::Vllm => format!(
                "engine.speculative_tokens = {tokens}: add --speculative-config with your drafting method and \"num_speculative_tokens\": {tokens}; without it the server does not draft"
            ),
            _ => format!("engine.speculative_tokens = {tokens}: set up drafting yourself; the server here does not draft"),
        });
    }
    match engine.backend {
        Backend::Vllm => {
            if engine.preemption == Preemption::Fifo {
                gaps.push("engine.preemption = fifo: vLLM has no flag for it, it preempts the last admitted".into());
            }
            if engine.admission == Admission::WholeSequence && engine.chunked_prefill {
                gaps.push("engine.admission = whole_sequence: vLLM has no flag for it, it asks for blocks of the first chunk only; simulate first_chunk to see whether that matters".into());
            }
            if !matches!(engine.block_size, 16 | 32 | 64 | 128) {
                gaps.push(format!(
                    "engine.block_size = {}: vLLM's attention kernels take 16, 32, 64 or 128; the server may refuse to start",
                    engine.block_size
                ));
            }
        }
        Backend::Sglang => {
            if engine.prefill_decode_interval > 0 {
                gaps.push(format!(
                    "engine.prefill_decode_interval = {}: SGLang's server has no such flag, it prefills as soon as it can",
                    engine.prefill_decode_interval
                ));
            }
        }
        Backend::Trtllm => {}
    }
    gaps
}

/// Whether a knob of a pool, or of all engines, is among those that these flags express or say they cannot.
pub(super) fn is_expressed(knob: &str) -> bool {
    let parts = knob.split_once('.');
    parts.is_some_and(|(of, leaf)| {
        ["engine", "aggregated", "prefill", "decode", "deployment"].contains(&of) && EXPRESSED.contains(&leaf)
    })
}

/// Knobs of engines and pools that [`engine_flags`] or [`engine_gaps`] express, by the part of their
/// name after the dot.
const EXPRESSED: &[&str] = &[
    "mode",
    "backend",
    "tp",
    "workers",
    "attention_dp",
    "block_size",
    "gpu_blocks",
    "max_num_seqs",
    "max_num_batched_tokens",
    "prefix_caching",
    "chunked_prefill",
    "preemption",
    "admission",
    "waiting_order",
    "max_prefill_tokens",
    "schedule_conservativeness",
    "prefill_decode_interval",
    "speculative_tokens",
    "max_model_len",
];
