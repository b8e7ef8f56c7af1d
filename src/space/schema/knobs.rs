//! The knobs, in dependency order: a condition refers to an earlier row.

use super::planner::PLANNER;
use super::pools::POOLS;
use super::tiers::TIERS;
use super::{Active, Fallback, Kind, KnobRow, Literal};

const AGGREGATED: &[Active] = &[Active::Is("deployment.mode", &["aggregated"])];
/// A router has a choice only among several workers.
const ROUTED: &[Active] = &[Active::Several("aggregated.workers")];
const KV_ROUTED: &[Active] = &[Active::Is("router.policy", &["kv"])];
/// Policies that compare costs.
const COST_ROUTED: &[Active] = &[Active::Is("router.policy", &["kv", "lmetric", "expression"])];
/// The credit is for cached prefixes, and part of the prefill term: it means nothing when there are
/// none, or when that term has no weight.
const CREDITED: &[Active] = &[
    Active::Is("router.policy", &["kv"]),
    Active::On("engine.prefix_caching"),
    Active::NotZero("router.prefill_load_scale"),
];
const DECAYED: &[Active] = &[
    Active::Is("router.policy", &["kv"]),
    Active::On("engine.prefix_caching"),
    Active::NotZero("router.prefill_load_scale"),
    Active::NotZero("router.overlap_credit"),
];

/// So do those for what lies below the GPU.
const HOST_CREDITED: &[Active] = &[
    Active::NotZero("kv.host_gib"),
    Active::Is("router.policy", &["kv"]),
    Active::NotZero("router.prefill_load_scale"),
];
const DISK_CREDITED: &[Active] = &[
    Active::NotZero("kv.disk_gib"),
    Active::Is("router.policy", &["kv"]),
    Active::NotZero("router.prefill_load_scale"),
];

/// What an engine's setting applies to, where each pool of a disaggregated deployment may have its own.
const fn shared(own: &'static [&'static str]) -> Active {
    Active::IsUnlessGiven("deployment.mode", &["aggregated"], own)
}

pub(super) const DEFAULT: KnobRow = KnobRow {
    name: "",
    kind: Kind::Bool,
    power_of_two: false,
    log: false,
    fallback: Fallback::Required,
    unit: "",
    block: "",
    active: &[],
    doc: "",
};

/// Largest number of sequences, tokens and blocks that a knob takes: far beyond any worker, and
/// small enough that products stay within the twin's integers.
pub(super) const MANY: i64 = 1 << 24;

/// Every knob that this version simulates.
pub const KNOBS: &[KnobRow] = &joined::<
    { SHAPE.len() + POOLS.len() + ENGINE.len() + TIERS.len() + ROUTER.len() + PLANNER.len() },
>([SHAPE, POOLS, ENGINE, TIERS, ROUTER, PLANNER]);

const fn joined<const N: usize>(parts: [&[KnobRow]; 6]) -> [KnobRow; N] {
    let mut rows = [DEFAULT; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            rows[at] = parts[part][i];
            i += 1;
            at += 1;
        }
        part += 1;
    }
    rows
}

/// Mode, backend, and the pool of an aggregated deployment.
const SHAPE: &[KnobRow] = &[
    KnobRow {
        name: "deployment.mode",
        kind: Kind::Choice { legal: &["aggregated", "disaggregated"] },
        fallback: Fallback::Value(Literal::Text("aggregated")),
        block: "shape",
        doc: "Whether every worker both prefills and decodes, or some compute prompts and hand them over to others that generate. Both in a list are searched in one study.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.backend",
        kind: Kind::Choice { legal: &["vllm", "sglang", "trtllm"] },
        fallback: Fallback::Value(Literal::Text("vllm")),
        block: "shape",
        doc: "Serving engine whose scheduler is simulated.",
        ..DEFAULT
    },
    KnobRow {
        name: "aggregated.tp",
        kind: Kind::Int { min: 1, max: 1024 },
        power_of_two: true,
        log: true,
        unit: "GPUs",
        block: "shape",
        active: AGGREGATED,
        doc: "Tensor-parallel size: GPUs per worker, or per rank with `aggregated.attention_dp`.",
        ..DEFAULT
    },
    KnobRow {
        name: "aggregated.attention_dp",
        kind: Kind::Int { min: 1, max: 1024 },
        power_of_two: true,
        log: true,
        fallback: Fallback::Value(Literal::Int(1)),
        unit: "ranks",
        block: "shape",
        active: AGGREGATED,
        doc: "Attention data parallelism: ranks of `aggregated.tp` GPUs each within a worker, with a scheduler and a KV cache of their own, that step together at the pace of the slowest. A rank is timed and sized like a worker of its own: exchange of tokens between ranks, and expert weights spread over them, are not modelled.",
    },
    KnobRow {
        name: "aggregated.workers",
        kind: Kind::Int { min: 1, max: 65_536 },
        log: true,
        unit: "workers",
        block: "split",
        active: AGGREGATED,
        doc: "Number of workers; under a planner, at the start.",
        ..DEFAULT
    },
];

/// The engines' settings and the routers'.
const ENGINE: &[KnobRow] = &[
    KnobRow {
        name: "engine.block_size",
        kind: Kind::Int { min: 1, max: 65_536 },
        log: true,
        fallback: Fallback::Value(Literal::Int(64)),
        unit: "tokens",
        block: "limits",
        doc: "Tokens per KV block.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.gpu_blocks",
        kind: Kind::Int { min: 1, max: MANY },
        log: true,
        fallback: Fallback::Unset("as many as the memory model says fit beside weights and activations"),
        unit: "blocks",
        block: "limits",
        active: &[shared(&["prefill.gpu_blocks", "decode.gpu_blocks"])],
        doc: "KV blocks on each worker.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.max_num_seqs",
        kind: Kind::Int { min: 1, max: MANY },
        log: true,
        fallback: Fallback::Value(Literal::Int(256)),
        unit: "sequences",
        block: "limits",
        active: &[shared(&["prefill.max_num_seqs", "decode.max_num_seqs"])],
        doc: "Most sequences that a worker runs at once.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.max_num_batched_tokens",
        kind: Kind::Int { min: 1, max: MANY },
        log: true,
        fallback: Fallback::Value(Literal::Int(8192)),
        unit: "tokens",
        block: "limits",
        active: &[shared(&["prefill.max_num_batched_tokens", "decode.max_num_batched_tokens"])],
        doc: "Most tokens in one pass, decoding sequences and prefill chunks together (SGLang: the chunk size).",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.prefix_caching",
        fallback: Fallback::Value(Literal::Bool(true)),
        block: "limits",
        doc: "Whether KV blocks of finished requests serve later ones with the same prefix.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.chunked_prefill",
        fallback: Fallback::Value(Literal::Bool(true)),
        block: "limits",
        doc: "Whether a prompt may be computed over several passes; else it waits for a pass that holds all of it.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.preemption",
        kind: Kind::Choice { legal: &["lifo", "fifo"] },
        fallback: Fallback::Value(Literal::Text("lifo")),
        block: "limits",
        active: &[Active::Is("engine.backend", &["vllm"])],
        doc: "Which running request loses its KV blocks when they run out: the last admitted, or the first.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.admission",
        kind: Kind::Choice { legal: &["whole_sequence", "first_chunk"] },
        fallback: Fallback::Value(Literal::Text("whole_sequence")),
        block: "limits",
        active: &[
            Active::Is("engine.backend", &["vllm"]),
            Active::On("engine.chunked_prefill"),
            Active::Is("engine.preemption", &["lifo"]),
        ],
        doc: "What a waiting request must find free: blocks for its whole prompt, or, as in vLLM's own allocator, for the chunk computed in this pass.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.waiting_order",
        kind: Kind::Choice { legal: &["fifo", "longest_prefix"] },
        fallback: Fallback::Value(Literal::Text("fifo")),
        block: "limits",
        active: &[Active::Is("engine.backend", &["sglang"]), Active::On("engine.prefix_caching")],
        doc: "Which waiting request is prefilled next: the first come, or the one with the longest cached prefix.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.max_prefill_tokens",
        kind: Kind::Int { min: 1, max: MANY },
        log: true,
        fallback: Fallback::Value(Literal::Int(16_384)),
        unit: "tokens",
        block: "limits",
        active: &[Active::Is("engine.backend", &["sglang"])],
        doc: "Most new prompt tokens in one prefill pass.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.schedule_conservativeness",
        kind: Kind::Real { min: 0.0, max: 100.0, open: true },
        log: true,
        fallback: Fallback::Value(Literal::Real(1.0)),
        block: "limits",
        active: &[Active::Is("engine.backend", &["sglang"])],
        doc: "Scales the share of output still to come that admission reserves memory for.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.prefill_decode_interval",
        kind: Kind::Int { min: 0, max: MANY },
        fallback: Fallback::Value(Literal::Int(0)),
        unit: "passes",
        block: "limits",
        active: &[Active::Is("engine.backend", &["sglang"])],
        doc: "Decode passes that must follow a prefill pass before the next one, while sequences decode.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.speculative_tokens",
        kind: Kind::Int { min: 0, max: 16 },
        fallback: Fallback::Value(Literal::Int(0)),
        unit: "tokens",
        block: "limits",
        active: &[Active::Is("engine.backend", &["vllm", "trtllm"])],
        doc: "Tokens drafted for every sequence in each decode pass and verified in it (speculative decoding, see `[speculation]`); 0 for none.",
        ..DEFAULT
    },
    KnobRow {
        name: "engine.max_model_len",
        kind: Kind::Int { min: 2, max: 1 << 30 },
        log: true,
        fallback: Fallback::Unset("no bound besides the KV pool"),
        unit: "tokens",
        block: "limits",
        doc: "Longest sequence; longer prompts are rejected and counted as rejected.",
        ..DEFAULT
    },
];

/// Planner or not, and the router.
const ROUTER: &[KnobRow] = &[
    KnobRow {
        name: "planner.policy",
        kind: Kind::Choice { legal: &["off", "load", "sla", "predictive", "hybrid"] },
        fallback: Fallback::Value(Literal::Text("off")),
        block: "planner",
        doc: "How workers are added and taken away: `load` by thresholds of queues and KV use; `sla` by TTFT and ITL as regressions of past passes foretell them; `predictive` by the workers that the forecast demand of the next window needs; `hybrid` by both, the forecast setting the fewest workers that `sla` may leave.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.policy",
        kind: Kind::Choice {
            legal: &[
                "round_robin",
                "random",
                "least_loaded",
                "power_of_two",
                "kv",
                "lmetric",
                "two_tier",
                "expression",
            ],
        },
        fallback: Fallback::Value(Literal::Text("round_robin")),
        block: "router",
        active: ROUTED,
        doc: "How requests are placed on workers; `kv` weighs cached prefixes against load, `lmetric` takes the least product of uncached prefill and active blocks, `two_tier` looks at caches while loads are even, `expression` takes the least value of a formula.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.expression",
        kind: Kind::Formula,
        block: "router",
        active: &[Active::Is("router.policy", &["expression"])],
        doc: "The cost of placing a request on a worker, as a formula: the worker with the least wins. Several formulas in a list are searched like any names.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.decode_policy",
        kind: Kind::Choice {
            legal: &["round_robin", "random", "least_loaded", "power_of_two", "kv", "lmetric", "two_tier"],
        },
        fallback: Fallback::Unset("`router.policy`"),
        block: "router",
        active: &[Active::Is("deployment.mode", &["disaggregated"])],
        doc: "How requests are placed on the workers that generate, where `router.policy` is for those that compute prompts. It looks at no cache: `kv` and `lmetric` take the worker with the fewest active blocks, `two_tier` the one with the fewest requests.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.prefill_load_scale",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(1.0)),
        block: "router",
        active: KV_ROUTED,
        doc: "Weight of prefill work (queued and new, less what is cached) against decode load.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.overlap_credit",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(1.0)),
        block: "router",
        active: CREDITED,
        doc: "Prefill blocks forgiven for each prefix block that the worker already holds.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.overlap_decay",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        block: "router",
        active: DECAYED,
        doc: "How fast the credit shrinks with the worker's prefill backlog beyond the least loaded worker's.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.host_hit_weight",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.75)),
        block: "router",
        active: HOST_CREDITED,
        doc: "Prefill blocks forgiven for each prefix block beyond those on the GPU that the worker has in host memory. The router knows what tiers hold without delay.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.disk_hit_weight",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.25)),
        block: "router",
        active: DISK_CREDITED,
        doc: "Prefill blocks forgiven for each prefix block beyond those on the GPU and in host memory that the worker has on disk.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.decode_request_weight",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "blocks",
        block: "router",
        active: KV_ROUTED,
        doc: "Cost of each request that is active on the worker.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.temperature",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        block: "router",
        active: COST_ROUTED,
        doc: "0 takes the cheapest worker; more samples from a softmax over costs scaled to their range.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.prefill_load_model",
        fallback: Fallback::Value(Literal::Bool(false)),
        block: "router",
        active: COST_ROUTED,
        doc: "Whether the prefill work that the router counts on a worker drains with time, at the speed predicted from pass times; else each prompt counts in full until its first token.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.kv_event_lag_ms",
        kind: Kind::Real { min: 0.0, max: 1e9, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "ms",
        block: "router",
        active: &[
            Active::Is("router.policy", &["kv", "lmetric", "two_tier", "expression"]),
            Active::On("engine.prefix_caching"),
        ],
        doc: "How long after the end of a pass the router learns what the pass cached or evicted.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.session_affinity_ttl_s",
        kind: Kind::Real { min: 0.0, max: 1e9, open: true },
        fallback: Fallback::Unset("no affinity"),
        unit: "s",
        block: "router",
        active: ROUTED,
        doc: "A session's next turn goes to the worker of the last one when it comes within this time.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.queue_threshold",
        kind: Kind::Real { min: 0.0, max: 1e9, open: false },
        fallback: Fallback::Unset("no queue at the router"),
        unit: "passes",
        block: "router",
        doc: "Requests wait at the router while every worker has more prefill tokens outstanding than this many times its `max_num_batched_tokens`.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.admission",
        kind: Kind::Choice { legal: &["off", "queue", "reject"] },
        fallback: Fallback::Value(Literal::Text("off")),
        block: "router",
        doc: "What happens to a request whose first token is projected to come later than `router.admission_ttft_ms` on every worker: nothing, it waits at the router, or it is refused.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.admission_ttft_ms",
        kind: Kind::Real { min: 0.0, max: 1e9, open: true },
        unit: "ms",
        log: true,
        block: "router",
        active: &[Active::Is("router.admission", &["queue", "reject"])],
        doc: "Bound on the projected time to first token: predicted prefill queued on a worker, and the request's own. A refusal also counts the time it has waited.",
        ..DEFAULT
    },
    KnobRow {
        name: "router.queue_policy",
        kind: Kind::Choice { legal: &["fcfs", "lcfs", "wspt"] },
        fallback: Fallback::Value(Literal::Text("fcfs")),
        block: "router",
        active: &[Active::IsOrGiven("router.admission", &["queue"], "router.queue_threshold")],
        doc: "Which of the requests that wait at the router is placed first: the first come, the last come, or the one with the fewest prompt tokens that no worker has cached.",
        ..DEFAULT
    },
];
