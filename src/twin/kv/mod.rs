//! KV caches: the pool of GPU blocks of a worker, and the tiers below it.

pub mod pool;
pub mod tier;
mod tier_config;
mod tier_domain;
mod tier_link;
mod tier_store;
