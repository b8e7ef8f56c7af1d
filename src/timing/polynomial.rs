//! The peer's default pass time: two polynomials that know neither model nor GPU (semantics 9.2).

use super::load::{DecodeRun, PassLoad, passes_up_to};

// prefill ms = P2 n^2 + P1 n + P0 over n new tokens; decode ms = D2 u^2 + D1 u + D0 over the share
// u of the KV pool that decoding sequences fill. The peer floors the decode time at 1 ms; on
// [0, 1] the polynomial rises from 5.74 ms, so the floor never acts.
const P2: f64 = 4.209989e-7;
const P1: f64 = 1.518344e-2;
const P0: f64 = 16.50142;
const D2: f64 = -25.74;
const D1: f64 = 54.01;
const D0: f64 = 5.74;

/// Duration of a pass, ms: prefill and decode terms add without overlap.
///
/// With `floor_means` the prefill term sees what the peer's does: the number of sequences times
/// the difference of the integer-floored means of length and prefix.
#[inline]
pub(super) fn pass_ms(load: &PassLoad, floor_means: bool) -> f64 {
    let new_tokens = if floor_means { floored_new_tokens(load) } else { load.new_tokens };
    prefill_ms(new_tokens) + decode_ms(load.decode_seqs, load.decode_context_tokens, load.kv_pool_tokens)
}

/// The longest exact piece: until the decoding sequences fill the pool.
#[inline]
pub(super) fn decode_run(seqs: u32, context_tokens: u64, kv_pool_tokens: u64) -> DecodeRun {
    let base_ms = decode_ms(seqs, context_tokens, kv_pool_tokens);
    if seqs == 0 || context_tokens >= kv_pool_tokens {
        return DecodeRun::constant(base_ms);
    }
    let pool = kv_pool_tokens as f64;
    let (share, step) = (context_tokens as f64 / pool, f64::from(seqs) / pool);
    DecodeRun {
        base_ms,
        slope_ms: (2.0 * D2 * share + D1) * step,
        curve_ms: D2 * step * step,
        passes: passes_up_to(kv_pool_tokens, context_tokens, seqs),
    }
}

fn floored_new_tokens(load: &PassLoad) -> u64 {
    let count = u64::from(load.prefill_seqs);
    if count == 0 {
        return 0;
    }
    count * ((load.prefix_tokens + load.new_tokens) / count - load.prefix_tokens / count)
}

fn prefill_ms(new_tokens: u64) -> f64 {
    if new_tokens == 0 {
        return 0.0;
    }
    let n = new_tokens as f64;
    P2 * n * n + P1 * n + P0
}

fn decode_ms(seqs: u32, context_tokens: u64, kv_pool_tokens: u64) -> f64 {
    if seqs == 0 {
        return 0.0;
    }
    // A pool of no tokens counts as full.
    let share = (context_tokens as f64 / kv_pool_tokens.max(1) as f64).min(1.0);
    let share = if kv_pool_tokens == 0 { 1.0 } else { share };
    D2 * share * share + D1 * share + D0
}
