//! Engines: what is in a pass, when it starts, and which KV blocks it holds.
//!
//! An engine owns one worker's admission, batching, KV blocks and tokens. It is advanced lazily:
//! [`Engine::run`] does every pass that starts before an instant, jumping over runs of decode-only
//! passes in closed form.

pub mod core;
pub mod decode;
pub mod sglang;
pub mod vllm;

pub use core::{Core, Engine};

use crate::catalog::Backend;

/// An idle worker with the scheduler of its backend.
pub fn engine(core: Core) -> Box<dyn Engine> {
    match core.config.backend {
        Backend::Vllm | Backend::Trtllm => Box::new(vllm::Vllm::new(core)),
        Backend::Sglang => Box::new(sglang::Sglang::new(core)),
    }
}
