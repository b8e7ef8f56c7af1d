//! The KV cache of one worker.

pub mod pool;
