//! Engines: what is in a pass, when it starts, and which KV blocks it holds.
//!
//! An engine owns one worker's admission, batching, KV blocks and tokens. It is advanced lazily:
//! [`vllm::Vllm::run`] does every pass that starts before an instant, jumping over runs of
//! decode-only passes in closed form.

pub mod decode;
pub mod vllm;
