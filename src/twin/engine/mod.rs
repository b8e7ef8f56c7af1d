//! Engines: what is in a pass, when it starts, and which KV blocks it holds.
//!
//! An engine owns one worker's admission, batching, KV blocks and tokens. It is advanced lazily:
//! [`Engine::run`] does every pass that starts before an instant, jumping over runs of decode-only
//! passes in closed form.

pub mod core;
pub mod decode;
pub mod group;
pub mod handoff;
pub mod last_pass;
pub mod restore;
pub mod sglang;
pub mod speculation;
pub mod vllm;

pub use core::{Core, Engine};

use super::deployment::EngineConfig;
use crate::catalog::Backend;

/// What SGLang scales its conservativeness by under attention data parallelism (`semantics` 3.1).
const SGLANG_DP_CONSERVATIVENESS: f64 = 0.3;

/// An idle worker with the scheduler of its backend, one for each rank; `core` makes the state of a
/// rank, `id` tells workers apart.
pub fn engine(id: usize, config: &EngineConfig, core: impl Fn(&EngineConfig) -> Core) -> Box<dyn Engine> {
    let ranks = config.attention_dp.max(1);
    if ranks == 1 {
        return rank(id as u64, core(config));
    }
    let mut config = config.clone();
    if config.backend == Backend::Sglang {
        config.max_num_batched_tokens = (config.max_num_batched_tokens / ranks).max(1);
        config.schedule_conservativeness *= SGLANG_DP_CONSERVATIVENESS;
    }
    let first = id as u64 * u64::from(ranks);
    Box::new(group::Group::new((0..u64::from(ranks)).map(|r| rank(first + r, core(&config))).collect()))
}

fn rank(number: u64, mut core: Core) -> Box<dyn Engine> {
    if core.config.backend == Backend::Sglang {
        return Box::new(sglang::Sglang::new(core));
    }
    if let Some(speculation) = core.config.speculation.clone().filter(|s| s.tokens > 0) {
        core.decode.speculate(speculation::Speculating::new(speculation, core.config.block_size, number));
    }
    Box::new(vllm::Vllm::new(core))
}
