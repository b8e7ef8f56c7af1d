//! The worker whose passes are timed.

use crate::catalog::{Attention, Backend, Dtype, GpuSpec, ModelSpec};

/// One worker: a model on `tp` GPUs under a serving engine.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerShape {
    pub model: ModelSpec,
    pub gpu: GpuSpec,
    pub backend: Backend,
    /// Format of the weights.
    pub dtype: Dtype,
    /// Format of the KV cache.
    pub kv_dtype: Dtype,
    /// Tensor-parallel size: GPUs of the worker.
    pub tp: u32,
}

impl WorkerShape {
    /// Whether such a worker can be built.
    ///
    /// # Errors
    /// Names the figure that does not divide, the format that the cache cannot have, or the link
    /// that the group would outgrow.
    pub fn check(&self) -> Result<(), String> {
        self.model.check().map_err(|e| format!("model {}: {e}", self.model.name))?;
        let (tp, model) = (self.tp, &self.model);
        if tp == 0 {
            return Err("tp must be at least 1".into());
        }
        if tp > self.gpu.link_domain {
            return Err(format!(
                "tp {tp} spans servers: {} links {} GPUs, and tensor parallelism beyond that is not modelled",
                self.gpu.name, self.gpu.link_domain
            ));
        }
        if !model.heads.is_multiple_of(tp) {
            return Err(format!("tp {tp} does not divide the {} attention heads of {}", model.heads, model.name));
        }
        if let Some(moe) = model.moe
            && !moe.expert_ffn.is_multiple_of(tp)
            && !moe.experts.is_multiple_of(tp)
        {
            return Err(format!(
                "tp {tp} divides neither the expert width {} nor the {} experts of {}",
                moe.expert_ffn, moe.experts, model.name
            ));
        }
        if self.kv_dtype.kv_bytes().is_none() {
            return Err(format!("a KV cache is bf16 or fp8, not {}", self.kv_dtype.name()));
        }
        Ok(())
    }

    /// Bytes of KV cache on one rank for each token of context, over the layers that keep all of
    /// it. GQA: a key and a value for each of the rank's heads (heads are replicated once there are
    /// more ranks than heads). MLA: one latent and one rotary key, on every rank.
    pub fn kv_bytes_per_token(&self) -> f64 {
        let windowed = match self.model.attention {
            Attention::SlidingWindow { windowed_layers, .. } => windowed_layers,
            _ => 0,
        };
        f64::from(self.model.layers - windowed) * self.kv_bytes_per_layer_token()
    }

    /// Bytes of KV cache on one rank that each sequence holds in its windowed layers once it is
    /// longer than the window; 0 without a sliding window.
    pub fn kv_window_bytes_per_seq(&self) -> f64 {
        match self.model.attention {
            Attention::SlidingWindow { window_tokens, windowed_layers } => {
                f64::from(window_tokens) * f64::from(windowed_layers) * self.kv_bytes_per_layer_token()
            }
            _ => 0.0,
        }
    }

    /// Bytes of KV cache on one rank for one token in one layer.
    pub(super) fn kv_bytes_per_layer_token(&self) -> f64 {
        let elements = match self.model.attention {
            Attention::Mla { kv_rank, rope_dim, .. } => kv_rank + rope_dim,
            _ => 2 * self.model.kv_heads.div_ceil(self.tp) * self.model.head_dim,
        };
        f64::from(elements) * f64::from(self.kv_dtype.kv_bytes().unwrap_or(2))
    }

    /// The shape in a few words, for messages.
    pub fn label(&self) -> String {
        let WorkerShape { model, gpu, backend, dtype, kv_dtype, tp } = self;
        format!("{} {} (KV {}) on {} x {}, {}", model.name, dtype.name(), kv_dtype.name(), tp, gpu.name, backend.name())
    }
}
