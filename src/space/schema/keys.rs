//! The sections and their keys.

use super::{Catalogue, Fallback, Key, Kind, Literal, Section, When};
use crate::catalog;

const fn section(path: &'static str, optional: bool, doc: &'static str) -> Section {
    Section { path, optional, doc }
}

/// Every section and sub-table, in the order of the documentation.
pub const SECTIONS: &[Section] = &[
    section("study", true, "What this study is called, and the seed of everything random in it."),
    section("model", false, "The model that is served: a name of the catalogue, or an architecture."),
    section(
        "model.architecture",
        true,
        "A model that the catalogue does not have; the figures are those of its `config.json`.",
    ),
    section(
        "model.architecture.attention",
        true,
        "How its layers attend, which decides the bytes of KV cache per token.",
    ),
    section("model.architecture.moe", true, "Its experts; leave it out for a dense model."),
    section("hardware", false, "The GPUs, how many there are, and what they cost."),
    section("workload", false, "The requests: exactly one of `trace` and `[workload.synthetic]`."),
    section("workload.window", true, "Keep only sessions that start within a window of the trace."),
    section("workload.synthetic", true, "Requests from a seeded generator."),
    section("workload.synthetic.arrivals", false, "When sessions start."),
    section(
        "workload.synthetic.input_tokens",
        true,
        "Distribution of new prompt tokens per turn; a number is a fixed length.",
    ),
    section(
        "workload.synthetic.output_tokens",
        true,
        "Distribution of generated tokens per turn; a number is a fixed length.",
    ),
    section("timing", true, "How long a forward pass takes."),
    section("twin", true, "How the simulation works."),
    section("knobs", false, "What is searched: a list, a range, or one value per knob."),
    section("objectives", true, "The metrics to trade off, two or three in all."),
    section(
        "constraints",
        true,
        "Bounds on metrics, `metric = { min = .., max = .. }`: a candidate outside is infeasible.",
    ),
    section("sla", true, "Bounds that a good request keeps; goodput and attainment count by them."),
    section("search", true, "How the budget of simulations is spent."),
    section("shortlist", true, "How many configurations are worth measuring on GPUs."),
];

const DEFAULT: Key = Key { path: "", kind: Kind::Bool, fallback: Fallback::Required, unit: "", when: None, doc: "" };
const OPTIONAL: Fallback = Fallback::Unset("no bound");
/// Most tokens in one length.
const TOKENS: i64 = 1 << 28;

const fn int(path: &'static str, min: i64, max: i64, fallback: Fallback, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Int { min, max }, fallback, unit, doc, ..DEFAULT }
}

/// A real number above 0.
const fn positive(path: &'static str, fallback: Fallback, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Real { min: 0.0, max: 1e15, open: true }, fallback, unit, doc, ..DEFAULT }
}

/// A real number from 0.
const fn not_negative(path: &'static str, fallback: Fallback, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Real { min: 0.0, max: 1e15, open: false }, fallback, unit, doc, ..DEFAULT }
}

const fn flag(path: &'static str, fallback: Fallback, doc: &'static str) -> Key {
    Key { path, kind: Kind::Bool, fallback, doc, ..DEFAULT }
}

const fn choice(
    path: &'static str,
    legal: &'static [&'static str],
    later: &'static [&'static str],
    fallback: Fallback,
    doc: &'static str,
) -> Key {
    Key { path, kind: Kind::Choice { legal, later }, fallback, doc, ..DEFAULT }
}

const fn value(literal: Literal) -> Fallback {
    Fallback::Value(literal)
}

const fn when(key: Key, other: &'static str, is: &'static [&'static str]) -> Key {
    Key { when: Some(When { key: other, is }), ..key }
}

/// Widths, layers and heads of an architecture.
const SIZE: i64 = 1 << 24;
const ARRIVALS: &str = "workload.synthetic.arrivals.kind";
const ATTENTION: &str = "model.architecture.attention.kind";
const WINDOWED: &[&str] = &["sliding_window"];
const LATENT: &[&str] = &["mla"];
const REQUIRED: Fallback = Fallback::Required;

/// Every key of every section, knobs and metrics aside, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        path: "study.name",
        kind: Kind::FileName,
        fallback: Fallback::Unset("the file's name without `.toml`"),
        doc: "Names the run directory: letters, digits, `.`, `_` and `-`, at most 64 of them.",
        ..DEFAULT
    },
    int("study.seed", 0, i64::MAX, value(Literal::Int(0)), "", "Seed of the search and of the simulations' own draws."),
    Key {
        path: "model.name",
        kind: Kind::Name(Catalogue {
            what: "model",
            names: || catalog::models().iter().map(|m| m.name.as_ref()).collect(),
            has: |name| catalog::model(name).is_some(),
        }),
        fallback: Fallback::Unset("needed unless `[model.architecture]` is given"),
        doc: "A model of the catalogue (`servescout catalog models`), or a label for `[model.architecture]`.",
        ..DEFAULT
    },
    choice(
        "model.dtype",
        &["bf16", "fp8", "nvfp4", "mxfp4"],
        &[],
        Fallback::Unset("the format of the named repository; `bf16` for an architecture"),
        "Number format of the weights.",
    ),
    choice("model.kv_dtype", &["bf16", "fp8"], &[], value(Literal::Text("bf16")), "Number format of the KV cache."),
    int("model.architecture.layers", 1, SIZE, REQUIRED, "", "Transformer layers (`num_hidden_layers`)."),
    int("model.architecture.hidden", 1, SIZE, REQUIRED, "", "Width of the residual stream (`hidden_size`)."),
    int("model.architecture.heads", 1, SIZE, REQUIRED, "", "Query heads (`num_attention_heads`)."),
    int("model.architecture.kv_heads", 1, SIZE, REQUIRED, "", "Key-value heads (`num_key_value_heads`)."),
    int("model.architecture.head_dim", 1, SIZE, Fallback::Unset("hidden / heads"), "", "Width of a head (`head_dim`)."),
    int(
        "model.architecture.ffn",
        0,
        SIZE,
        REQUIRED,
        "",
        "Inner width of a dense feed-forward layer (`intermediate_size`); 0 when every layer has experts.",
    ),
    int("model.architecture.vocab", 1, SIZE, REQUIRED, "", "Vocabulary (`vocab_size`)."),
    int(
        "model.architecture.max_context",
        1,
        TOKENS,
        value(Literal::Int(131_072)),
        "tokens",
        "Longest sequence the model is made for (`max_position_embeddings`).",
    ),
    flag(
        "model.architecture.qk_norm",
        value(Literal::Bool(false)),
        "Whether queries and keys are normalised per head.",
    ),
    flag(
        "model.architecture.tied_embeddings",
        value(Literal::Bool(false)),
        "Whether the language-model head shares the embedding's weights (`tie_word_embeddings`).",
    ),
    choice(
        ATTENTION,
        &["gqa", "sliding_window", "mla"],
        &[],
        value(Literal::Text("gqa")),
        "Grouped queries, grouped queries with windowed layers, or multi-head latent attention.",
    ),
    when(
        int(
            "model.architecture.attention.window_tokens",
            1,
            TOKENS,
            REQUIRED,
            "tokens",
            "Tokens that a windowed layer sees (`sliding_window`).",
        ),
        ATTENTION,
        WINDOWED,
    ),
    when(
        int("model.architecture.attention.windowed_layers", 0, SIZE, REQUIRED, "", "How many layers are windowed."),
        ATTENTION,
        WINDOWED,
    ),
    when(
        int(
            "model.architecture.attention.q_rank",
            1,
            SIZE,
            REQUIRED,
            "",
            "Rank of the query compression (`q_lora_rank`).",
        ),
        ATTENTION,
        LATENT,
    ),
    when(
        int(
            "model.architecture.attention.kv_rank",
            1,
            SIZE,
            REQUIRED,
            "",
            "Width of the cached latent (`kv_lora_rank`).",
        ),
        ATTENTION,
        LATENT,
    ),
    when(
        int(
            "model.architecture.attention.rope_dim",
            1,
            SIZE,
            REQUIRED,
            "",
            "Width of the rotary key (`qk_rope_head_dim`).",
        ),
        ATTENTION,
        LATENT,
    ),
    when(
        int(
            "model.architecture.attention.nope_dim",
            1,
            SIZE,
            REQUIRED,
            "",
            "Width of a key's part without position (`qk_nope_head_dim`).",
        ),
        ATTENTION,
        LATENT,
    ),
    when(
        int("model.architecture.attention.value_dim", 1, SIZE, REQUIRED, "", "Width of a head's value (`v_head_dim`)."),
        ATTENTION,
        LATENT,
    ),
    int("model.architecture.moe.experts", 1, SIZE, REQUIRED, "", "Routed experts per layer (`num_experts`)."),
    int(
        "model.architecture.moe.top_k",
        1,
        SIZE,
        REQUIRED,
        "",
        "Experts that each token visits (`num_experts_per_tok`).",
    ),
    int(
        "model.architecture.moe.expert_ffn",
        1,
        SIZE,
        REQUIRED,
        "",
        "Inner width of one expert (`moe_intermediate_size`).",
    ),
    int(
        "model.architecture.moe.shared_ffn",
        0,
        SIZE,
        value(Literal::Int(0)),
        "",
        "Inner width of all shared experts together.",
    ),
    int(
        "model.architecture.moe.dense_layers",
        0,
        SIZE,
        value(Literal::Int(0)),
        "",
        "Leading layers with a dense feed-forward instead (`first_k_dense_replace`).",
    ),
    Key {
        path: "hardware.gpu",
        kind: Kind::Name(Catalogue {
            what: "GPU",
            names: || catalog::gpus().iter().map(|g| g.name.as_ref()).collect(),
            has: |name| catalog::gpu(name).is_some(),
        }),
        doc: "A GPU of the catalogue (`servescout catalog gpus`).",
        ..DEFAULT
    },
    int(
        "hardware.max_gpus",
        1,
        1 << 24,
        REQUIRED,
        "GPUs",
        "Most GPUs that a candidate may use; one that needs more is refused before it is simulated.",
    ),
    positive(
        "hardware.usd_per_gpu_hour",
        Fallback::Unset("the catalogue's dated list price"),
        "USD",
        "Your own price of one GPU for one hour.",
    ),
    Key {
        path: "hardware.gpu_memory_utilization",
        kind: Kind::Real { min: 0.0, max: 1.0, open: true },
        fallback: Fallback::Unset("the backend's own default"),
        doc: "Share of GPU memory that the engine may use for weights, activations and KV cache.",
        ..DEFAULT
    },
    Key {
        path: "workload.trace",
        kind: Kind::Path,
        fallback: Fallback::Unset("give this or `[workload.synthetic]`"),
        doc: "A trace file (Mooncake JSONL).",
        ..DEFAULT
    },
    int(
        "workload.trace_block_tokens",
        1,
        1 << 20,
        value(Literal::Int(512)),
        "tokens",
        "Tokens that one hash id of the trace stands for.",
    ),
    positive(
        "workload.speedup",
        value(Literal::Real(1.0)),
        "",
        "Divides arrival gaps and think times: 2 offers the trace at twice its rate. Open loop only.",
    ),
    int(
        "workload.concurrency",
        1,
        1 << 24,
        Fallback::Unset("open loop: requests arrive at their own times"),
        "requests",
        "Closed loop: this many requests (sessions, where they have several turns) are in flight at all times.",
    ),
    int("workload.limit", 1, 1 << 40, OPTIONAL, "rows", "Keep only the first rows."),
    flag(
        "workload.grows",
        Fallback::Unset("false for a trace, true for `[workload.synthetic]`"),
        "Whether a session's next prompt contains the tokens generated before it, so that their KV blocks are reused.",
    ),
    not_negative(
        "workload.window.start_s",
        value(Literal::Real(0.0)),
        "s",
        "Start of the window, from the first arrival, before `speedup`.",
    ),
    positive("workload.window.end_s", REQUIRED, "s", "End of the window, excluded."),
    int(
        "workload.synthetic.seed",
        0,
        i64::MAX,
        value(Literal::Int(0)),
        "",
        "Seed of the generator, apart from `study.seed` so that the workload stays when the search's seed changes.",
    ),
    int("workload.synthetic.sessions", 1, 10_000_000, REQUIRED, "sessions", "Number of sessions."),
    int(
        "workload.synthetic.turns",
        1,
        10_000,
        value(Literal::Int(1)),
        "turns",
        "Turns of each session; each prompt holds the whole conversation before it.",
    ),
    int(
        "workload.synthetic.input_tokens",
        1,
        TOKENS,
        REQUIRED,
        "tokens",
        "New prompt tokens of each turn: a number, or `{ kind, mean, std }`.",
    ),
    int(
        "workload.synthetic.output_tokens",
        1,
        TOKENS,
        REQUIRED,
        "tokens",
        "Generated tokens of each turn: a number, or `{ kind, mean, std }`.",
    ),
    not_negative(
        "workload.synthetic.think_ms",
        value(Literal::Real(0.0)),
        "ms",
        "Mean think time between turns, exponential; 0 for none.",
    ),
    int(
        "workload.synthetic.common_prefix_tokens",
        0,
        TOKENS,
        value(Literal::Int(0)),
        "tokens",
        "Tokens common to every prompt: a system prompt.",
    ),
    int(
        "workload.synthetic.prefix_groups",
        0,
        1 << 24,
        value(Literal::Int(0)),
        "groups",
        "Number of groups whose sessions share a further prefix.",
    ),
    int(
        "workload.synthetic.group_prefix_tokens",
        0,
        TOKENS,
        value(Literal::Int(0)),
        "tokens",
        "Tokens that the sessions of one group share after the common prefix.",
    ),
    int(
        "workload.synthetic.block_tokens",
        1,
        1 << 20,
        value(Literal::Int(64)),
        "tokens",
        "Tokens per hash id of the workload made: prefixes are shared in whole blocks of this size.",
    ),
    choice(
        ARRIVALS,
        &["burst", "constant", "poisson", "gamma", "diurnal"],
        &[],
        value(Literal::Text("poisson")),
        "The arrival process of sessions.",
    ),
    when(
        positive("workload.synthetic.arrivals.rate_per_s", REQUIRED, "sessions/s", "Mean rate."),
        ARRIVALS,
        &["constant", "poisson", "gamma", "diurnal"],
    ),
    when(
        positive(
            "workload.synthetic.arrivals.burstiness",
            REQUIRED,
            "",
            "Coefficient of variation of the gaps: 1 is Poisson, more is burstier.",
        ),
        ARRIVALS,
        &["gamma"],
    ),
    when(
        Key {
            path: "workload.synthetic.arrivals.swing",
            kind: Kind::Real { min: 0.0, max: 1.0, open: false },
            doc: "How far the rate swings about its mean, as a share of it.",
            ..DEFAULT
        },
        ARRIVALS,
        &["diurnal"],
    ),
    when(
        positive("workload.synthetic.arrivals.period_s", REQUIRED, "s", "Period of the swing."),
        ARRIVALS,
        &["diurnal"],
    ),
    choice(
        "workload.synthetic.input_tokens.kind",
        &["normal", "log_normal"],
        &[],
        value(Literal::Text("normal")),
        "Shape of the distribution; lengths are rounded and at least 1.",
    ),
    positive("workload.synthetic.input_tokens.mean", REQUIRED, "tokens", "Mean length."),
    not_negative(
        "workload.synthetic.input_tokens.std",
        REQUIRED,
        "tokens",
        "Standard deviation of the length (of a log-normal too, not of its logarithm).",
    ),
    choice(
        "workload.synthetic.output_tokens.kind",
        &["normal", "log_normal"],
        &[],
        value(Literal::Text("normal")),
        "Shape of the distribution; lengths are rounded and at least 1.",
    ),
    positive("workload.synthetic.output_tokens.mean", REQUIRED, "tokens", "Mean length."),
    not_negative(
        "workload.synthetic.output_tokens.std",
        REQUIRED,
        "tokens",
        "Standard deviation of the length (of a log-normal too, not of its logarithm).",
    ),
    choice(
        "timing.kind",
        &["roofline", "polynomial", "fixed"],
        &["surface", "perfdb"],
        value(Literal::Text("roofline")),
        "`roofline`: physics of the model on the GPU, an estimate; `polynomial`: the peer simulator's default, the same for every model, GPU and shape; `fixed`: constant times.",
    ),
    when(
        not_negative("timing.prefill_ms", REQUIRED, "ms", "Duration of the prefill part of a pass."),
        "timing.kind",
        &["fixed"],
    ),
    when(
        positive("timing.decode_ms", REQUIRED, "ms", "Duration of the decode part of a pass."),
        "timing.kind",
        &["fixed"],
    ),
    flag(
        "twin.peer_compat",
        value(Literal::Bool(false)),
        "Follow the peer simulator where this one is otherwise better, to compare request by request.",
    ),
    flag(
        "twin.pass_by_pass",
        value(Literal::Bool(false)),
        "Simulate every pass by itself: the slow reference, with the same results.",
    ),
    Key {
        path: "objectives.minimize",
        kind: Kind::Metrics,
        fallback: Fallback::Unset("none"),
        doc: "Metrics to make small.",
        ..DEFAULT
    },
    Key {
        path: "objectives.maximize",
        kind: Kind::Metrics,
        fallback: Fallback::Unset("none"),
        doc: "Metrics to make large.",
        ..DEFAULT
    },
    positive("sla.ttft_ms", OPTIONAL, "ms", "Longest time to first token of a good request."),
    positive("sla.tpot_ms", OPTIONAL, "ms", "Longest mean time per output token after the first of a good request."),
    positive("sla.e2e_ms", OPTIONAL, "ms", "Longest end-to-end latency of a good request."),
    choice(
        "search.strategy",
        &["coordinate", "genetic", "sobol", "random", "grid"],
        &["auto", "bayesian"],
        value(Literal::Text("coordinate")),
        "Who proposes candidates.",
    ),
    int("search.budget", 1, 100_000_000, value(Literal::Int(500)), "simulations", "Most simulations."),
    int(
        "search.batch",
        1,
        65_536,
        value(Literal::Int(16)),
        "candidates",
        "Candidates per batch: part of the study, not of the machine, so that results do not depend on the number of threads.",
    ),
    int("shortlist.size", 1, 1000, value(Literal::Int(6)), "configurations", "Most entries of the shortlist."),
];
