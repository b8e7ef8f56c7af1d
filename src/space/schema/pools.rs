//! Knobs of a disaggregated deployment: its two pools, what they set otherwise than `engine.*`, and the
//! way of the KV between them.

use super::knobs::{DEFAULT, MANY};
use super::{Active, Fallback, Kind, KnobRow, Literal};
use crate::twin::deployment::LocalPrefill;

const DISAGGREGATED: &[Active] = &[Active::Is("deployment.mode", &["disaggregated"])];
/// Short prompts may be computed where they are decoded.
const LOCAL: &[Active] = &[DISAGGREGATED[0], Active::NotZero("decode.local_prefill_tokens")];
/// Transfers take time by their size.
const LIMITED: &[Active] = &[DISAGGREGATED[0], Active::NotZeroIfGiven("transfer.gbps")];

/// A setting of one pool that goes before that of `engine`.
const fn own(name: &'static str, engine: &'static str, unit: &'static str, doc: &'static str) -> KnobRow {
    KnobRow {
        name,
        kind: Kind::Int { min: 1, max: MANY },
        log: true,
        fallback: Fallback::Unset(engine),
        unit,
        block: "limits",
        active: DISAGGREGATED,
        doc,
        ..DEFAULT
    }
}

const fn tp(name: &'static str, doc: &'static str) -> KnobRow {
    KnobRow {
        name,
        kind: Kind::Int { min: 1, max: 1024 },
        power_of_two: true,
        log: true,
        unit: "GPUs",
        block: "shape",
        active: DISAGGREGATED,
        doc,
        ..DEFAULT
    }
}

const fn attention_dp(name: &'static str, doc: &'static str) -> KnobRow {
    KnobRow { fallback: Fallback::Value(Literal::Int(1)), unit: "ranks", ..tp(name, doc) }
}

const fn workers(name: &'static str, doc: &'static str) -> KnobRow {
    KnobRow {
        name,
        kind: Kind::Int { min: 1, max: 65_536 },
        log: true,
        unit: "workers",
        block: "split",
        active: DISAGGREGATED,
        doc,
        ..DEFAULT
    }
}

/// The rows, after the mode and before those of `engine`.
pub(super) const POOLS: &[KnobRow] = &[
    tp(
        "prefill.tp",
        "Tensor-parallel size of the workers that compute prompts: GPUs per worker, or per rank with `prefill.attention_dp`.",
    ),
    attention_dp(
        "prefill.attention_dp",
        "Attention data parallelism of the workers that compute prompts, as `aggregated.attention_dp`.",
    ),
    workers("prefill.workers", "Number of workers that compute prompts and hand their KV over."),
    own(
        "prefill.gpu_blocks",
        "`engine.gpu_blocks`",
        "blocks",
        "KV blocks on each worker that computes prompts; those of complete prompts stay taken until a decode worker has them.",
    ),
    own(
        "prefill.max_num_seqs",
        "`engine.max_num_seqs`",
        "sequences",
        "Most sequences that a worker that computes prompts runs at once.",
    ),
    own(
        "prefill.max_num_batched_tokens",
        "`engine.max_num_batched_tokens`",
        "tokens",
        "Most tokens in one pass of a worker that computes prompts.",
    ),
    tp(
        "decode.tp",
        "Tensor-parallel size of the workers that generate: GPUs per worker, or per rank with `decode.attention_dp`.",
    ),
    attention_dp(
        "decode.attention_dp",
        "Attention data parallelism of the workers that generate, as `aggregated.attention_dp`.",
    ),
    workers("decode.workers", "Number of workers that generate from prompts computed elsewhere."),
    own("decode.gpu_blocks", "`engine.gpu_blocks`", "blocks", "KV blocks on each worker that generates."),
    own(
        "decode.max_num_seqs",
        "`engine.max_num_seqs`",
        "sequences",
        "Most sequences that a worker that generates runs at once, those included that it keeps room for.",
    ),
    own(
        "decode.max_num_batched_tokens",
        "`engine.max_num_batched_tokens`",
        "tokens",
        "Most tokens in one pass of a worker that generates.",
    ),
    KnobRow {
        name: "decode.local_prefill_tokens",
        kind: Kind::Int { min: 0, max: MANY },
        fallback: Fallback::Value(Literal::Int(LocalPrefill::OFF.below_tokens as i64)),
        unit: "tokens",
        block: "split",
        active: DISAGGREGATED,
        doc: "Conditional disaggregation: a prompt with fewer tokens than this besides those cached on a decode worker is computed there, and no KV is sent; 0 sends every prompt to a prefill worker. Of the decode workers the one with the longest cached prefix is asked, among equals the one with the fewest requests.",
        ..DEFAULT
    },
    KnobRow {
        name: "decode.local_prefill_share",
        kind: Kind::Real { min: 0.0, max: 1.0, open: true },
        fallback: Fallback::Value(Literal::Real(LocalPrefill::OFF.most_of_prompt)),
        block: "split",
        active: LOCAL,
        doc: "A prompt is computed on a decode worker only if no more than this share of it is not cached there.",
        ..DEFAULT
    },
    KnobRow {
        name: "decode.local_prefill_kv_share",
        kind: Kind::Real { min: 0.0, max: 1.0, open: true },
        fallback: Fallback::Value(Literal::Real(LocalPrefill::OFF.most_kv)),
        block: "split",
        active: LOCAL,
        doc: "A prompt is computed on a decode worker only while no more than this share of that worker's KV blocks is in use.",
        ..DEFAULT
    },
    KnobRow {
        name: "transfer.gbps",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        log: true,
        fallback: Fallback::Unset("50, a network card of 400 Gb/s; no limit under `twin.peer_compat`"),
        unit: "GB/s",
        block: "split",
        active: DISAGGREGATED,
        doc: "Bandwidth of each worker's link, out and in, over which the KV of a prompt goes to the decode worker, in 1e9 bytes per second; 0 for no limit. The bytes are those of the model's KV cache, copies of heads that tensor parallelism makes sent once.",
        ..DEFAULT
    },
    KnobRow {
        name: "transfer.latency_ms",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "ms",
        block: "split",
        active: DISAGGREGATED,
        doc: "Time from the start of a transfer to its first byte.",
        ..DEFAULT
    },
    KnobRow {
        name: "transfer.charge",
        kind: Kind::Choice { legal: &["destination_missing", "full_prompt"] },
        fallback: Fallback::Value(Literal::Text("destination_missing")),
        block: "split",
        active: LIMITED,
        doc: "What is sent: the KV of the prompt's blocks that the decode worker has not in its cache, or of the whole prompt.",
        ..DEFAULT
    },
    KnobRow {
        name: "transfer.contention",
        fallback: Fallback::Value(Literal::Bool(true)),
        block: "split",
        active: LIMITED,
        doc: "Whether transfers out of, or into, the same worker share its link in equal parts; else each has it to itself.",
        ..DEFAULT
    },
];
