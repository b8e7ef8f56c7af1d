//! What a model is, as far as serving cost is concerned.

use std::borrow::Cow;

use serde::Serialize;

use super::Dtype;

/// A decoder-only transformer. Sizes are of the whole model, before tensor parallelism.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSpec {
    /// Repository name, such as `Qwen/Qwen3-32B`.
    pub name: Cow<'static, str>,
    /// Other repositories with the same architecture (quantised or instruction-tuned).
    pub aliases: Cow<'static, [&'static str]>,
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads (grouped-query attention); equal to `heads` under latent attention.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Inner width of a dense feed-forward layer (gate and up are each this wide).
    pub ffn: u32,
    pub vocab: u32,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Whether the language-model head shares the embedding's weights.
    pub tied_embeddings: bool,
    pub attention: Attention,
    /// Experts; `None` for a dense model.
    pub moe: Option<MoeSpec>,
    /// Longest sequence the model is made for, tokens.
    pub max_context: u32,
    /// Format of the weights in the named repository.
    pub dtype: Dtype,
    /// Where the figures come from.
    pub source: Cow<'static, str>,
}

/// How a layer attends, which decides the bytes of KV cache per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attention {
    /// Grouped queries over the whole context.
    Gqa,
    /// Grouped queries; some layers see only the most recent tokens.
    SlidingWindow {
        /// Tokens that a windowed layer sees.
        window_tokens: u32,
        /// How many of the layers are windowed.
        windowed_layers: u32,
    },
    /// Multi-head latent attention: one compressed vector per token serves all heads.
    Mla {
        /// Rank of the query compression.
        q_rank: u32,
        /// Width of the cached latent.
        kv_rank: u32,
        /// Width of the rotary key that is cached beside the latent.
        rope_dim: u32,
        /// Width of the part of a head's key without position.
        nope_dim: u32,
        /// Width of a head's value.
        value_dim: u32,
    },
}

/// Mixture-of-experts feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MoeSpec {
    /// Routed experts per layer.
    pub experts: u32,
    /// Experts that each token visits.
    pub top_k: u32,
    /// Inner width of one routed expert.
    pub expert_ffn: u32,
    /// Inner width of all shared experts together; 0 for none.
    pub shared_ffn: u32,
    /// Leading layers that have a dense feed-forward of width [`ModelSpec::ffn`] instead.
    pub dense_layers: u32,
}

/// Parameters that one tensor-parallel rank holds. Heads and inner widths are divided, key-value
/// heads are replicated once there are more ranks than heads, norms are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankParameters {
    /// Projections of one attention layer.
    pub attention: f64,
    /// One dense feed-forward layer.
    pub dense_ffn: f64,
    /// Layers with a dense feed-forward.
    pub dense_layers: f64,
    /// All routed experts of one layer.
    pub experts: f64,
    /// Shared experts of one layer.
    pub shared: f64,
    /// Router of one layer.
    pub router: f64,
    /// Layers with experts.
    pub moe_layers: f64,
    /// Token embedding.
    pub embedding: f64,
    /// Language-model head, also when it shares the embedding's weights.
    pub lm_head: f64,
}

impl ModelSpec {
    /// Parameters on one of `tp` ranks.
    pub fn rank_parameters(&self, tp: u32) -> RankParameters {
        let ranks = f64::from(tp);
        let hidden = f64::from(self.hidden);
        let heads = f64::from(self.heads) / ranks;
        let head_dim = f64::from(self.head_dim);
        let attention = match self.attention {
            Attention::Gqa | Attention::SlidingWindow { .. } => {
                let kv_heads = f64::from(self.kv_heads.div_ceil(tp));
                hidden * head_dim * (heads + 2.0 * kv_heads) + heads * head_dim * hidden
            }
            Attention::Mla { q_rank, kv_rank, rope_dim, nope_dim, value_dim } => {
                let [q_rank, kv_rank, rope, nope, value] =
                    [q_rank, kv_rank, rope_dim, nope_dim, value_dim].map(f64::from);
                hidden * (q_rank + kv_rank + rope)
                    + q_rank * heads * (nope + rope)
                    + kv_rank * heads * (nope + value)
                    + heads * value * hidden
            }
        };
        let gated = |inner: u32| 3.0 * hidden * f64::from(inner) / ranks;
        let moe = self.moe.unwrap_or(MoeSpec {
            experts: 0,
            top_k: 0,
            expert_ffn: 0,
            shared_ffn: 0,
            dense_layers: self.layers,
        });
        let vocabulary = f64::from(self.vocab.div_ceil(tp)) * hidden;
        RankParameters {
            attention,
            dense_ffn: gated(self.ffn),
            dense_layers: f64::from(moe.dense_layers),
            experts: f64::from(moe.experts) * gated(moe.expert_ffn),
            shared: gated(moe.shared_ffn),
            router: f64::from(moe.experts) * hidden,
            moe_layers: f64::from(self.layers - moe.dense_layers),
            embedding: vocabulary,
            lm_head: vocabulary,
        }
    }

    /// Whether a pass through both takes the same work: equal but for names, format of the
    /// published weights, longest context and source.
    pub fn same_architecture(&self, other: &ModelSpec) -> bool {
        let sizes = |m: &ModelSpec| [m.layers, m.hidden, m.heads, m.kv_heads, m.head_dim, m.ffn, m.vocab];
        // The width of dense layers is idle where every layer has experts.
        let idle_ffn = |m: &ModelSpec| m.moe.is_some_and(|moe| moe.dense_layers == 0);
        let ffn_matters = !(idle_ffn(self) && idle_ffn(other));
        let [mut a, mut b] = [sizes(self), sizes(other)];
        if !ffn_matters {
            (a[5], b[5]) = (0, 0);
        }
        a == b && self.qk_norm == other.qk_norm && self.attention == other.attention && self.moe == other.moe
    }

    /// All parameters of the model (norms aside).
    pub fn parameters(&self) -> f64 {
        self.count(1.0)
    }

    /// Parameters that one token uses: all but the experts it does not visit.
    pub fn active_parameters(&self) -> f64 {
        self.count(self.moe.map_or(1.0, |m| f64::from(m.top_k) / f64::from(m.experts)))
    }

    fn count(&self, expert_share: f64) -> f64 {
        let p = self.rank_parameters(1);
        f64::from(self.layers) * p.attention
            + p.dense_layers * p.dense_ffn
            + p.moe_layers * (expert_share * p.experts + p.shared + p.router)
            + p.embedding
            + if self.tied_embeddings { 0.0 } else { p.lm_head }
    }

    /// Whether the sizes are usable together; for architectures that a user describes.
    ///
    /// # Errors
    /// Says which field is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab", self.vocab),
            ("max_context", self.max_context),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{field} must be at least 1"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("heads ({}) must be a multiple of kv_heads ({})", self.heads, self.kv_heads));
        }
        if let Attention::SlidingWindow { window_tokens, windowed_layers } = self.attention
            && (window_tokens == 0 || windowed_layers > self.layers)
        {
            return Err(format!(
                "a sliding window needs window_tokens of at least 1 and windowed_layers of at most {} (layers); got {window_tokens} and {windowed_layers}",
                self.layers
            ));
        }
        if let Attention::Mla { q_rank, kv_rank, rope_dim, nope_dim, value_dim } = self.attention
            && [q_rank, kv_rank, rope_dim, nope_dim, value_dim].contains(&0)
        {
            return Err("latent attention needs q_rank, kv_rank, rope_dim, nope_dim and value_dim of at least 1".into());
        }
        let dense_layers = self.moe.map_or(self.layers, |m| m.dense_layers);
        if dense_layers > 0 && self.ffn == 0 {
            return Err("ffn must be at least 1 in a model with dense feed-forward layers".into());
        }
        if let Some(moe) = self.moe {
            if moe.top_k == 0 || moe.top_k > moe.experts || moe.expert_ffn == 0 {
                return Err(format!(
                    "a mixture of experts needs 1 <= top_k <= experts and expert_ffn of at least 1; got top_k {}, experts {}, expert_ffn {}",
                    moe.top_k, moe.experts, moe.expert_ffn
                ));
            }
            if moe.dense_layers > self.layers {
                return Err(format!("dense_layers ({}) must not exceed layers ({})", moe.dense_layers, self.layers));
            }
        }
        Ok(())
    }
}
