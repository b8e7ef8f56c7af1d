//! How long does a forward pass take?
//!
//! Engines decide what is in a pass ([`PassLoad`]); a [`Timing`] says how long it takes. A run of
//! decode-only passes with constant membership has a closed form ([`DecodeRun`]), which lets the
//! engines advance thousands of passes in one step.

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
    /// Size of the worker's KV pool in tokens.
    pub kv_pool_tokens: u64,
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

/// A pass-time model for one worker shape. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Timing {
    /// Placeholder until the kinds land.
    Fixed { prefill_ms: f64, decode_ms: f64 },
}
