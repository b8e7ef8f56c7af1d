//! The keys of `[model]` and its sub-tables.

use super::row::{DEFAULT, REQUIRED, TOKENS, choice, flag, int, value, when};
use super::{Catalogue, Fallback, Key, Kind, Literal};
use crate::catalog;

/// Most widths, layers and heads of an architecture.
const SIZE: i64 = 1 << 24;
const ATTENTION: &str = "model.architecture.attention.kind";
const WINDOWED: &[&str] = &["sliding_window"];
const LATENT: &[&str] = &["mla"];

pub(super) const MODEL: &[Key] = &[
    Key {
        path: "model.name",
        kind: Kind::Name(Catalogue {
            what: "model",
            names: || catalog::models().iter().map(|m| m.name.as_ref()).collect(),
            has: |name| catalog::model(name).is_some(),
            label_beside: Some("architecture"),
        }),
        fallback: Fallback::Unset("needed unless `[model.architecture]` is given"),
        doc: "A model of the catalogue (`servescout catalog models`), or a label for `[model.architecture]`.",
        ..DEFAULT
    },
    choice(
        "model.dtype",
        &["bf16", "fp8", "nvfp4", "mxfp4"],
        Fallback::Unset("the format of the named repository; `bf16` for an architecture"),
        "Number format of the weights.",
    ),
    choice("model.kv_dtype", &["bf16", "fp8"], value(Literal::Text("bf16")), "Number format of the KV cache."),
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
];
