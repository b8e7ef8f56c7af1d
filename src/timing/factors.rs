//! Pass times corrected by physical factors.

use super::load::{DecodeRun, PassLoad};
use super::{Provenance, Timing};

/// Corrections of pass times. A pass that only decodes takes `host + decode x D`, `D` being what the
/// tables say. A pass `M` that prefills takes `host + prompt_host + decode x D + prefill x (M - D)`,
/// where `D` is the pass of its decoding sequences alone: prompts pay for what they add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassFactors {
    /// Of what prompts add to a pass.
    pub prefill: f64,
    /// Of passes that only decode.
    pub decode: f64,
    /// What the host adds to every pass, ms.
    pub host_ms: f64,
    /// What the host adds to a pass that prefills, ms: it is not launched as one CUDA graph.
    pub prompt_host_ms: f64,
    /// From a client's sending to the engine and back, ms: no part of any pass, but of the time to
    /// first token and of the end-to-end latency.
    pub request_ms: f64,
}

impl PassFactors {
    /// The factors in words, for the provenance of a timing.
    pub fn words(&self) -> String {
        let PassFactors { prefill, decode, host_ms, prompt_host_ms, request_ms } = self;
        format!(
            "calibrated: prefill x {prefill}, decode x {decode}, host {host_ms} ms a pass and {prompt_host_ms} ms more with prompts, {request_ms} ms a request"
        )
    }
}

/// A timing and the factors by which servers differ from it.
#[derive(Clone, Debug)]
pub struct Corrected {
    inner: Timing,
    factors: PassFactors,
}

impl Corrected {
    /// `inner` corrected.
    pub fn new(inner: Timing, factors: PassFactors) -> Corrected {
        Corrected { inner, factors }
    }

    /// As [`Timing::pass_ms`].
    #[inline]
    pub fn pass_ms(&self, load: &PassLoad) -> f64 {
        let f = &self.factors;
        let decoding = if load.decode_seqs > 0 {
            let alone = PassLoad::decode(load.decode_seqs, load.decode_context_tokens, load.kv_pool_tokens);
            self.inner.pass_ms(&PassLoad { draft_tokens: load.draft_tokens, ..alone })
        } else {
            0.0
        };
        if load.new_tokens == 0 {
            return if load.decode_seqs > 0 { f.host_ms + f.decode * decoding } else { 0.0 };
        }
        let added = self.inner.pass_ms(load) - decoding;
        f.host_ms + f.prompt_host_ms + f.decode * decoding + f.prefill * added
    }

    /// As [`Timing::decode_run`].
    #[inline]
    pub fn decode_run(&self, seqs: u32, context_tokens: u64, kv_pool_tokens: u64) -> DecodeRun {
        let run = self.inner.decode_run(seqs, context_tokens, kv_pool_tokens);
        if seqs == 0 {
            return run;
        }
        let f = &self.factors;
        DecodeRun {
            base_ms: f.host_ms + f.decode * run.base_ms,
            slope_ms: f.decode * run.slope_ms,
            curve_ms: f.decode * run.curve_ms,
            passes: run.passes,
        }
    }

    /// As [`Timing::provenance`].
    pub fn provenance(&self) -> Provenance {
        let inner = self.inner.provenance();
        Provenance { label: format!("{}; {}", inner.label, self.factors.words()), ..inner }
    }

    /// Time of a request outside passes, ms.
    pub(super) fn request_ms(&self) -> f64 {
        self.factors.request_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn prompts_pay_for_what_they_add() {
        let inner = Timing::Polynomial { floor_means: false };
        let factors = PassFactors { prefill: 1.5, decode: 0.9, host_ms: 2.0, prompt_host_ms: 3.0, request_ms: 0.0 };
        let corrected = Timing::Corrected(Arc::new(Corrected::new(inner.clone(), factors)));
        let decode = PassLoad::decode(8, 8000, 100_000);
        let mixed = decode.with_prefill(1000, 0, true);
        let (d, m) = (inner.pass_ms(&decode), inner.pass_ms(&mixed));
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(corrected.pass_ms(&decode), 2.0 + 0.9 * d);
        near(corrected.pass_ms(&mixed), 5.0 + 0.9 * d + 1.5 * (m - d));
        near(corrected.pass_ms(&PassLoad::default()), 0.0);
        let run = corrected.decode_run(8, 8000, 100_000);
        for k in [0, 1, run.passes.min(40) - 1] {
            let closed = run.base_ms + run.slope_ms * k as f64 + run.curve_ms * (k * k) as f64;
            near(closed, corrected.pass_ms(&PassLoad::decode(8, 8000 + 8 * k, 100_000)));
        }
    }
}
