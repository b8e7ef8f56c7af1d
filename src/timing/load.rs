//! What is in a pass, and the closed form of a run of decode passes.

/// What one forward pass of one worker holds. Sums run over the sequences in the pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PassLoad {
    /// Sequences with prompt tokens in this pass.
    pub prefill_seqs: u32,
    /// New prompt tokens computed in this pass.
    pub new_tokens: u64,
    /// Prompt tokens already in the KV cache for those sequences (cache hits and earlier chunks).
    pub prefix_tokens: u64,
    /// Sum of squares of (prefix + new) over prefill sequences: causal-attention work.
    pub context_sq: f64,
    /// Sum of squares of prefix over prefill sequences.
    pub prefix_sq: f64,
    /// Sequences that decode one token.
    pub decode_seqs: u32,
    /// Sum over decoding sequences of their length (prompt and generated tokens so far).
    pub decode_context_tokens: u64,
    /// Sequences whose logits are sampled in this pass (decoding ones and finished prefills).
    pub sampled_seqs: u32,
    /// Tokens verified for decoding sequences besides the one that each decodes (speculative
    /// decoding). They are computed with, but read no KV cache of their own.
    pub draft_tokens: u64,
    /// Size of the worker's KV pool in tokens.
    pub kv_pool_tokens: u64,
}

impl PassLoad {
    /// A pass that only decodes: `seqs` sequences whose lengths sum to `context_tokens`.
    pub fn decode(seqs: u32, context_tokens: u64, kv_pool_tokens: u64) -> PassLoad {
        PassLoad {
            decode_seqs: seqs,
            decode_context_tokens: context_tokens,
            sampled_seqs: seqs,
            kv_pool_tokens,
            ..PassLoad::default()
        }
    }

    /// The pass with one more sequence in prefill: `new` prompt tokens after `prefix` cached ones.
    #[must_use]
    pub fn with_prefill(mut self, new: u32, prefix: u32, sampled: bool) -> PassLoad {
        let context = f64::from(new) + f64::from(prefix);
        self.prefill_seqs += 1;
        self.new_tokens += u64::from(new);
        self.prefix_tokens += u64::from(prefix);
        self.context_sq += context * context;
        self.prefix_sq += f64::from(prefix) * f64::from(prefix);
        self.sampled_seqs += u32::from(sampled);
        self
    }
}

/// Durations of the next decode-only passes at constant membership:
/// pass `k` (from 0) takes `base + slope k + curve k^2` ms, valid for `k < passes`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeRun {
    /// Duration of the first pass, ms.
    pub base_ms: f64,
    /// Linear growth per pass, ms.
    pub slope_ms: f64,
    /// Quadratic growth per pass squared, ms.
    pub curve_ms: f64,
    /// How many passes this piece covers; at least 1.
    pub passes: u64,
}

impl DecodeRun {
    /// Passes of one duration, for ever.
    pub(super) fn constant(base_ms: f64) -> DecodeRun {
        DecodeRun { base_ms, slope_ms: 0.0, curve_ms: 0.0, passes: u64::MAX }
    }
}

/// How many passes start with a context sum of at most `limit`, when the first starts at
/// `context_tokens` and each adds `seqs` tokens. At least 1.
pub(super) fn passes_up_to(limit: u64, context_tokens: u64, seqs: u32) -> u64 {
    match (limit.checked_sub(context_tokens), seqs) {
        (None, _) => 1,
        (_, 0) => u64::MAX,
        (Some(room), _) => room / u64::from(seqs) + 1,
    }
}
