//! The models that the catalogue knows, from the `config.json` of their public repositories.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Attention, Dtype, ModelSpec, MoeSpec, nearest};

const LATENT: Attention = Attention::Mla { q_rank: 1536, kv_rank: 512, rope_dim: 64, nope_dim: 128, value_dim: 128 };

fn named(name: &'static str, aliases: &'static [&'static str], source: &'static str) -> ModelSpec {
    ModelSpec {
        name: Cow::Borrowed(name),
        aliases: Cow::Borrowed(aliases),
        source: Cow::Borrowed(source),
        layers: 0,
        hidden: 0,
        heads: 0,
        kv_heads: 0,
        head_dim: 128,
        ffn: 0,
        vocab: 0,
        qk_norm: false,
        tied_embeddings: false,
        attention: Attention::Gqa,
        moe: None,
        max_context: 0,
        dtype: Dtype::Bf16,
    }
}

static MODELS: LazyLock<[ModelSpec; 10]> = LazyLock::new(|| {
    [
        ModelSpec {
            layers: 64,
            hidden: 5120,
            heads: 64,
            kv_heads: 8,
            ffn: 25_600,
            vocab: 151_936,
            qk_norm: true,
            max_context: 40_960,
            ..named(
                "Qwen/Qwen3-32B",
                &["Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8-Static-PerTensor"],
                "config.json of huggingface Qwen/Qwen3-32B",
            )
        },
        ModelSpec {
            layers: 48,
            hidden: 2048,
            heads: 32,
            kv_heads: 4,
            ffn: 6144,
            vocab: 151_936,
            qk_norm: true,
            moe: Some(MoeSpec { experts: 128, top_k: 8, expert_ffn: 768, shared_ffn: 0, dense_layers: 0 }),
            max_context: 40_960,
            ..named("Qwen/Qwen3-30B-A3B", &["Qwen/Qwen3-30B-A3B-FP8"], "config.json of huggingface Qwen/Qwen3-30B-A3B")
        },
        ModelSpec {
            layers: 94,
            hidden: 4096,
            heads: 64,
            kv_heads: 4,
            ffn: 12_288,
            vocab: 151_936,
            qk_norm: true,
            moe: Some(MoeSpec { experts: 128, top_k: 8, expert_ffn: 1536, shared_ffn: 0, dense_layers: 0 }),
            max_context: 40_960,
            ..named(
                "Qwen/Qwen3-235B-A22B",
                &["Qwen/Qwen3-235B-A22B-FP8", "nvidia/Qwen3-235B-A22B-NVFP4"],
                "config.json of huggingface Qwen/Qwen3-235B-A22B",
            )
        },
        ModelSpec {
            layers: 32,
            hidden: 4096,
            heads: 32,
            kv_heads: 8,
            ffn: 14_336,
            vocab: 128_256,
            max_context: 131_072,
            ..named(
                "meta-llama/Llama-3.1-8B",
                &[
                    "meta-llama/Meta-Llama-3.1-8B",
                    "meta-llama/Llama-3.1-8B-Instruct",
                    "meta-llama/Meta-Llama-3.1-8B-Instruct",
                    "nvidia/Llama-3.1-8B-Instruct-FP8",
                ],
                "config.json of huggingface meta-llama/Llama-3.1-8B",
            )
        },
        ModelSpec {
            layers: 80,
            hidden: 8192,
            heads: 64,
            kv_heads: 8,
            ffn: 28_672,
            vocab: 128_256,
            max_context: 131_072,
            ..named(
                "meta-llama/Llama-3.1-70B",
                &[
                    "meta-llama/Meta-Llama-3.1-70B",
                    "meta-llama/Llama-3.1-70B-Instruct",
                    "meta-llama/Meta-Llama-3.1-70B-Instruct",
                    "nvidia/Llama-3.1-70B-Instruct-FP8",
                    "meta-llama/Llama-3.3-70B-Instruct",
                    "nvidia/Llama-3.3-70B-Instruct-FP8",
                ],
                "config.json of huggingface meta-llama/Llama-3.1-70B",
            )
        },
        ModelSpec {
            layers: 36,
            hidden: 2880,
            heads: 64,
            kv_heads: 8,
            head_dim: 64,
            vocab: 201_088,
            attention: Attention::SlidingWindow { window_tokens: 128, windowed_layers: 18 },
            moe: Some(MoeSpec { experts: 128, top_k: 4, expert_ffn: 2880, shared_ffn: 0, dense_layers: 0 }),
            max_context: 131_072,
            dtype: Dtype::Mxfp4,
            ..named("openai/gpt-oss-120b", &[], "config.json of huggingface openai/gpt-oss-120b")
        },
        ModelSpec {
            layers: 24,
            hidden: 2880,
            heads: 64,
            kv_heads: 8,
            head_dim: 64,
            vocab: 201_088,
            attention: Attention::SlidingWindow { window_tokens: 128, windowed_layers: 12 },
            moe: Some(MoeSpec { experts: 32, top_k: 4, expert_ffn: 2880, shared_ffn: 0, dense_layers: 0 }),
            max_context: 131_072,
            dtype: Dtype::Mxfp4,
            ..named("openai/gpt-oss-20b", &[], "config.json of huggingface openai/gpt-oss-20b")
        },
        ModelSpec {
            layers: 61,
            hidden: 7168,
            heads: 128,
            kv_heads: 128,
            ffn: 18_432,
            vocab: 129_280,
            attention: LATENT,
            moe: Some(MoeSpec { experts: 256, top_k: 8, expert_ffn: 2048, shared_ffn: 2048, dense_layers: 3 }),
            max_context: 163_840,
            dtype: Dtype::Fp8,
            ..named(
                "deepseek-ai/DeepSeek-V3",
                &["deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528"],
                "config.json of huggingface deepseek-ai/DeepSeek-V3 (multi-token-prediction layer left out)",
            )
        },
        ModelSpec {
            layers: 61,
            hidden: 7168,
            heads: 64,
            kv_heads: 64,
            ffn: 18_432,
            vocab: 163_840,
            attention: LATENT,
            moe: Some(MoeSpec { experts: 384, top_k: 8, expert_ffn: 2048, shared_ffn: 2048, dense_layers: 1 }),
            max_context: 131_072,
            dtype: Dtype::Fp8,
            ..named(
                "moonshotai/Kimi-K2-Instruct",
                &["moonshotai/Kimi-K2-Base", "moonshotai/Kimi-K2"],
                "config.json of huggingface moonshotai/Kimi-K2-Instruct",
            )
        },
        ModelSpec {
            layers: 62,
            hidden: 3072,
            heads: 48,
            kv_heads: 8,
            vocab: 200_064,
            qk_norm: true,
            moe: Some(MoeSpec { experts: 256, top_k: 8, expert_ffn: 1536, shared_ffn: 0, dense_layers: 0 }),
            max_context: 196_608,
            dtype: Dtype::Fp8,
            ..named(
                "MiniMaxAI/MiniMax-M2.5",
                &["MiniMaxAI/MiniMax-M2", "MiniMaxAI/MiniMax-M2.1"],
                "config.json of huggingface MiniMaxAI/MiniMax-M2.5 (multi-token-prediction modules left out)",
            )
        },
    ]
});

/// Every model of the catalogue.
pub fn models() -> &'static [ModelSpec] {
    &*MODELS
}

/// The model with this name or alias, ignoring case.
pub fn model(name: &str) -> Option<&'static ModelSpec> {
    let is = |candidate: &str| candidate.eq_ignore_ascii_case(name);
    MODELS.iter().find(|m| is(&m.name) || m.aliases.iter().any(|a| is(a)))
}

/// The catalogue name closest to a mistyped one.
pub fn nearest_model(name: &str) -> &'static str {
    nearest(name, MODELS.iter().map(|m| m.name.as_ref())).expect("the catalogue has models")
}
