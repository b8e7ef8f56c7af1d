//! Pass time from a model's architecture and a GPU's data sheet: for what nobody measured.
//!
//! Every matrix product takes the longer of reading its weights and doing its arithmetic; what
//! streams past (activations, KV cache, all-reduces) and a fixed cost per layer are added. At a
//! fixed decode batch the time is piecewise linear in context: the only kink is where
//! sliding-window layers stop growing.

pub mod coefficients;

use super::load::{DecodeRun, PassLoad, passes_up_to};
use super::{Provenance, WorkerShape};
use crate::catalog::{Attention, Dtype};
pub use coefficients::Coefficients;

/// A matrix product over all layers: reading weights takes `read_ms`, each token's arithmetic
/// `token_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Product {
    read_ms: f64,
    token_ms: f64,
}

impl Product {
    #[inline]
    fn ms(self, tokens: f64) -> f64 {
        self.read_ms.max(self.token_ms * tokens)
    }
}

/// A worker's roofline, all rates folded into milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Attention projections, dense feed-forwards, shared experts.
    dense: Product,
    /// Routed experts; reading is scaled by the share that is visited.
    experts: Product,
    /// Logarithm of the chance that a token leaves one expert alone; 0 without experts.
    ln_expert_missed: f64,
    lm_head: Product,
    /// Per pass.
    fixed_ms: f64,
    /// Per token: activations, all-reduces.
    token_ms: f64,
    /// Per pass that decodes.
    decode_ms: f64,
    /// Per decoding sequence.
    decode_seq_ms: f64,
    /// Per token of context of decoding sequences, in layers that see all of it.
    decode_context_ms: f64,
    /// Per token in the windows of decoding sequences.
    decode_window_ms: f64,
    /// Tokens that a windowed layer sees; 0 without.
    window_tokens: u64,
    /// Per pass that prefills.
    prefill_ms: f64,
    /// Per squared token of causal attention, in layers that see all of it.
    prefill_square_ms: f64,
    /// The same in windowed layers.
    prefill_window_square_ms: f64,
    /// Per token of context that a prefill reads.
    prefill_context_ms: f64,
    /// Error to expect, percent.
    error_percent: f64,
    /// Why there is no measurement, where that is known.
    reason: Option<String>,
}

impl Roofline {
    /// The roofline of a worker under the coefficients of its format; `host_ms` is what the host
    /// adds to every pass. The shape is taken as checked.
    pub fn new(shape: &WorkerShape, host_ms: f64) -> Roofline {
        let mut roofline = Roofline::with_coefficients(shape, Coefficients::of(shape));
        roofline.fixed_ms += host_ms;
        roofline
    }

    /// The roofline of a worker under given coefficients, without host time.
    pub fn with_coefficients(shape: &WorkerShape, c: &Coefficients) -> Roofline {
        let (model, gpu) = (&shape.model, &shape.gpu);
        let p = model.rank_parameters(shape.tp);
        let layers = f64::from(model.layers);
        let read_ms = |bytes: f64, share: f64| bytes / (gpu.hbm_tbps * 1e12 * share) * 1e3;
        let flop_ms = |flops: f64, dtype: Dtype, share: f64| flops / (gpu.tflops(dtype) * 1e12 * share) * 1e3;
        // MXFP4 is a format of experts: what is beside them computes in bfloat16.
        let dense_dtype = if shape.dtype == Dtype::Mxfp4 { Dtype::Bf16 } else { shape.dtype };

        let dense_weights = layers * p.attention + p.dense_layers * p.dense_ffn + p.moe_layers * p.shared;
        let router = p.moe_layers * p.router;
        let dense = Product {
            read_ms: read_ms(dense_weights * shape.dtype.dense_bytes() + 2.0 * router, c.weight_bandwidth),
            token_ms: flop_ms(2.0 * dense_weights, dense_dtype, c.dense_compute)
                + flop_ms(2.0 * router, Dtype::Bf16, c.dense_compute),
        };
        let expert_weights = p.moe_layers * p.experts;
        let visited = model.moe.map_or(0.0, |m| f64::from(m.top_k) / f64::from(m.experts));
        let experts = Product {
            read_ms: read_ms(expert_weights * shape.dtype.expert_bytes(), c.expert_bandwidth),
            token_ms: flop_ms(2.0 * expert_weights * visited, shape.dtype, c.expert_compute),
        };
        let lm_head = Product {
            read_ms: read_ms(2.0 * p.lm_head, c.weight_bandwidth),
            token_ms: flop_ms(2.0 * p.lm_head, Dtype::Bf16, c.dense_compute),
        };

        // Two all-reduces per layer, one after the embedding; each moves 2 (tp - 1) / tp of its
        // bytes through every link.
        let allreduces = if shape.tp > 1 { 2.0 * layers + 1.0 } else { 0.0 };
        let crossings = 2.0 * f64::from(shape.tp - 1) / f64::from(shape.tp);
        let hidden_bytes = 2.0 * f64::from(model.hidden);
        let (link_share, allreduce_us) = match gpu.nvlink_gbps {
            Some(_) => (c.link_bandwidth, c.allreduce_us),
            None => coefficients::pcie_allreduce(shape.tp),
        };
        let link_ms = |bytes: f64| bytes / (gpu.link_gbps() * 1e9 * link_share) * 1e3;

        let heads = f64::from(model.heads) / f64::from(shape.tp);
        let (window_tokens, windowed) = match model.attention {
            Attention::SlidingWindow { window_tokens, windowed_layers } => {
                (u64::from(window_tokens), f64::from(windowed_layers))
            }
            _ => (0, 0.0),
        };
        let full = layers - windowed;
        // Multiply-adds of one query head with one key and its value: in a prompt heads are
        // expanded; in decode latent attention works on the latent itself.
        let (prompt_width, decode_width) = match model.attention {
            Attention::Mla { kv_rank, rope_dim, nope_dim, value_dim, .. } => {
                (f64::from(nope_dim + rope_dim + value_dim), f64::from(2 * kv_rank + rope_dim))
            }
            _ => (2.0 * f64::from(model.head_dim), 2.0 * f64::from(model.head_dim)),
        };
        let kv_read_ms = read_ms(shape.kv_bytes_per_layer_token(), c.kv_bandwidth);
        let decode_token_ms = kv_read_ms.max(flop_ms(2.0 * heads * decode_width, Dtype::Bf16, c.attention_compute));
        // Half of the square is causally masked: 2 flops x 1/2.
        let square_ms = flop_ms(heads * prompt_width, Dtype::Bf16, c.attention_compute);

        Roofline {
            dense,
            experts,
            ln_expert_missed: if model.moe.is_some() { (1.0 - visited).ln() } else { 0.0 },
            lm_head,
            fixed_ms: (layers * c.layer_us + p.moe_layers * c.expert_layer_us + allreduces * allreduce_us) / 1e3,
            token_ms: layers * read_ms(c.token_traffic * hidden_bytes, 1.0)
                + allreduces * link_ms(crossings * hidden_bytes),
            decode_ms: layers * c.decode_layer_us / 1e3,
            decode_seq_ms: layers * c.decode_seq_us / 1e3,
            decode_context_ms: full * decode_token_ms,
            decode_window_ms: windowed * decode_token_ms,
            window_tokens,
            prefill_ms: layers * c.prefill_layer_us / 1e3,
            prefill_square_ms: full * square_ms,
            prefill_window_square_ms: windowed * square_ms,
            prefill_context_ms: layers * kv_read_ms,
            error_percent: coefficients::error_percent(shape),
            reason: None,
        }
    }

    /// The same, saying why there is nothing better.
    pub(super) fn because(self, reason: String) -> Roofline {
        Roofline { reason: Some(reason), ..self }
    }

    /// What the durations rest on.
    pub fn provenance(&self) -> Provenance {
        Provenance {
            kind: "roofline",
            label: match &self.reason {
                None => format!("estimated, +-{}%", self.error_percent),
                Some(reason) => format!("estimated, +-{}% ({reason})", self.error_percent),
            },
            source: "model architecture and GPU data sheet; efficiencies fitted to tables derived from NVIDIA AI \
                     Configurator 0.12.0 (Apache-2.0)"
                .into(),
            estimated: Some(self.error_percent),
        }
    }

    /// Duration of a pass, ms; 0 when nothing is in it.
    #[inline]
    pub fn pass_ms(&self, load: &PassLoad) -> f64 {
        let tokens = load.new_tokens + u64::from(load.decode_seqs) + load.draft_tokens;
        if tokens == 0 {
            return 0.0;
        }
        self.products_ms(tokens, load.sampled_seqs)
            + self.prefill_attention_ms(load)
            + self.decode_attention_ms(load.decode_seqs, load.decode_context_tokens)
    }

    /// The longest exact piece: up to the window where there is one and it is not yet full, else
    /// without end.
    #[inline]
    pub fn decode_run(&self, seqs: u32, context_tokens: u64) -> DecodeRun {
        if seqs == 0 {
            return DecodeRun::constant(0.0);
        }
        let base_ms = self.products_ms(u64::from(seqs), seqs) + self.decode_attention_ms(seqs, context_tokens);
        let window = self.window_tokens * u64::from(seqs);
        let growing = f64::from(seqs) * self.decode_context_ms;
        let (slope_ms, passes) = if context_tokens < window {
            (growing + f64::from(seqs) * self.decode_window_ms, passes_up_to(window, context_tokens, seqs))
        } else {
            (growing, u64::MAX)
        };
        DecodeRun { base_ms, slope_ms, curve_ms: 0.0, passes }
    }

    /// Everything but attention over the cache.
    pub(super) fn products_ms(&self, tokens: u64, sampled: u32) -> f64 {
        let x = tokens as f64;
        let visited = 1.0 - (self.ln_expert_missed * x).exp();
        let experts = (self.experts.read_ms * visited).max(self.experts.token_ms * x);
        let lm_head = if sampled > 0 { self.head_ms(sampled) } else { 0.0 };
        self.fixed_ms + self.dense.ms(x) + experts + lm_head + self.token_ms * x
    }

    /// The language-model head, for one sampled sequence or more.
    pub(super) fn head_ms(&self, sampled: u32) -> f64 {
        self.lm_head.ms(f64::from(sampled))
    }

    pub(super) fn prefill_attention_ms(&self, load: &PassLoad) -> f64 {
        if load.new_tokens == 0 {
            return 0.0;
        }
        let square = load.context_sq - load.prefix_sq;
        // A token of a windowed layer meets at most the window: twice that in units of the square.
        let windowed = square.min(2.0 * self.window_tokens as f64 * load.new_tokens as f64);
        let arithmetic = self.prefill_square_ms * square + self.prefill_window_square_ms * windowed;
        let reading = self.prefill_context_ms * (load.new_tokens + load.prefix_tokens) as f64;
        self.prefill_ms + arithmetic.max(reading)
    }

    pub(super) fn decode_attention_ms(&self, seqs: u32, context_tokens: u64) -> f64 {
        if seqs == 0 {
            return 0.0;
        }
        let windowed = context_tokens.min(self.window_tokens * u64::from(seqs));
        self.decode_ms
            + self.decode_seq_ms * f64::from(seqs)
            + self.decode_context_ms * context_tokens as f64
            + self.decode_window_ms * windowed as f64
    }
}
