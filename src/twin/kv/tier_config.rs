//! What a deployment's KV tiers below GPU memory are.

/// Tiers of one worker, or of the cluster where they are shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierConfig {
    /// Bytes of one KV block over all GPUs of a worker.
    pub block_bytes: f64,
    /// Host memory (G2).
    pub host: Tier,
    /// Disk (G3), read and written through host memory.
    pub disk: Option<Tier>,
}

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tier {
    /// Blocks that it holds: per worker, or altogether where it is shared.
    pub blocks: u32,
    /// Whether all workers have it together.
    pub shared: bool,
    /// How fast it is read and written, each by itself.
    pub rates: LinkRates,
}

/// How fast one direction of a link is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkRates {
    /// GB/s of one worker; 0 for no limit.
    pub gbps: f64,
    /// GB/s of all workers together, for a tier that they share; 0 for no limit.
    pub shared_gbps: Option<f64>,
    /// Until the first byte of a transfer, ms.
    pub latency_ms: f64,
}
