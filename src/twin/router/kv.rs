//! KV-aware placement: the cheapest worker by outstanding prefill, cached prefix and active blocks.
//!
//! Cost in blocks (facts from the peer's router, NVIDIA Dynamo's `dynamo-kv-router`):
//! `scale x max(0, raw - credit) + decode + weight x active requests`, where `raw` is the worker's
//! outstanding prefill plus the whole prompt, `credit` the prompt blocks found on the worker's GPUs, worth
//! less the more prefill waits there, and those that follow in its host memory and on its disk, each with
//! its weight, and `decode` the distinct blocks active there once the request
//! joins.

use super::choose::Cost;
use super::facts::{Facts, Needs};
use crate::twin::deployment::RouterConfig;

/// The cost function.
#[derive(Clone, Debug)]
pub struct Kv {
    scale: f64,
    credit: f64,
    decay: f64,
    host_weight: f64,
    disk_weight: f64,
    request_weight: f64,
}

impl Kv {
    /// With the weights of a configuration.
    pub fn new(config: &RouterConfig) -> Self {
        Kv {
            scale: config.prefill_load_scale,
            credit: config.overlap_credit,
            decay: config.overlap_decay,
            host_weight: config.host_hit_weight,
            disk_weight: config.disk_hit_weight,
            request_weight: config.decode_request_weight,
        }
    }
}

impl Cost for Kv {
    /// Caches even without a credit: what a worker holds is not outstanding prefill.
    fn needs(&self) -> Needs {
        let tiers = self.host_weight > 0.0 || self.disk_weight > 0.0;
        Needs { caches: true, tiers, prefill: true, decode: true, ..Needs::default() }
    }

    fn costs(&mut self, facts: &Facts, costs: &mut Vec<f64>) {
        let prompt_blocks = facts.prompt_blocks.max(1.0);
        for at in 0..facts.candidates {
            let decay = 1.0 / (1.0 + self.decay * facts.excess_prefill_blocks[at] / prompt_blocks);
            let mut credit = self.credit * decay * facts.overlap_blocks[at];
            credit += self.host_weight * facts.host_blocks[at] + self.disk_weight * facts.disk_blocks[at];
            let prefill = self.scale * (facts.prefill_blocks[at] - credit).max(0.0);
            costs.push(prefill + facts.decode_blocks[at] + self.request_weight * facts.active_requests[at]);
        }
    }
}
