//! Passes composed operator by operator, as AI Configurator's own engine composes them.

use super::Composition;
use crate::timing::Provenance;
use crate::timing::load::{DecodeRun, PassLoad};

/// The pass times of one worker, exact in parity with the source: microseconds a query.
#[derive(Debug)]
pub struct Exact {
    composition: Composition,
    host_ms: f64,
    label: String,
    source: String,
}

impl Exact {
    pub(super) fn new(composition: Composition, host_ms: f64, label: String, source: String) -> Exact {
        Exact { composition, host_ms, label, source }
    }

    /// What the durations rest on.
    pub fn provenance(&self) -> Provenance {
        Provenance {
            kind: "perfdb",
            label: format!("measured: {}; AIC parity", self.label),
            source: self.source.clone(),
            estimated: None,
        }
    }

    /// Duration of a pass, ms; 0 when nothing is in it. Sequences count with their means, decoding
    /// ones with whole tokens, as in the source.
    pub fn pass_ms(&self, load: &PassLoad) -> f64 {
        let c = &self.composition;
        let decoding = f64::from(load.decode_seqs);
        if load.new_tokens == 0 && load.decode_seqs == 0 {
            return 0.0;
        }
        let mut ms = self.host_ms;
        if load.decode_seqs > 0 {
            let mean = (load.decode_context_tokens as f64 / decoding).floor();
            ms += c.decode_attention_ms(decoding, mean.max(1.0));
        }
        if load.new_tokens == 0 {
            return ms + c.decode_tokens_ms(decoding) + c.sampled_ms(decoding);
        }
        let seqs = f64::from(load.prefill_seqs.max(1));
        let (full, prefix) = ((load.new_tokens + load.prefix_tokens) as f64 / seqs, load.prefix_tokens as f64 / seqs);
        let share = 1.0 - (prefix / full) * (prefix / full);
        ms += c.tokens_ms(load.new_tokens as f64 + decoding)
            + c.prefill_attention_ms(seqs, full) * share
            + c.context_constant_ms();
        match (c.prefill_samples(), load.decode_seqs) {
            (false, _) => ms,
            (true, 0) => ms + c.sampled_ms(seqs),
            (true, _) => ms + c.sampled_ms(1.0),
        }
    }

    /// One pass: the durations of those that follow have no closed form.
    pub fn decode_run(&self, seqs: u32, context_tokens: u64) -> DecodeRun {
        let base_ms = self.pass_ms(&PassLoad::decode(seqs, context_tokens, 0));
        DecodeRun { base_ms, slope_ms: 0.0, curve_ms: 0.0, passes: if seqs == 0 { u64::MAX } else { 1 } }
    }
}
