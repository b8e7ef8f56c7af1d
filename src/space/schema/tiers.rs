//! The knobs of KV tiers below GPU memory.

use super::knobs::DEFAULT;
use super::{Active, Fallback, Kind, KnobRow, Literal};

/// Tiers keep prefixes.
const CACHED: &[Active] = &[Active::On("engine.prefix_caching")];
const HOST: &[Active] = &[Active::NotZero("kv.host_gib")];
const SHARED_HOST: &[Active] = &[Active::Is("kv.host_scope", &["cluster"])];
const DISK: &[Active] = &[Active::NotZero("kv.disk_gib")];
const SHARED_DISK: &[Active] = &[Active::Is("kv.disk_scope", &["cluster"])];

/// Host memory and disk.
pub(super) const TIERS: &[KnobRow] = &[
    KnobRow {
        name: "kv.host_gib",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "GiB",
        block: "tiers",
        active: CACHED,
        doc: "Host memory for KV: of each worker that computes prompts, or of all together where `kv.host_scope` says so; decode workers of a disaggregated deployment have none. Prompts are copied there once they are computed, and back when the GPU has evicted them; 0 for none.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.host_gbps",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(32.0)),
        unit: "GB/s",
        block: "tiers",
        active: HOST,
        doc: "Bandwidth between the GPUs of one worker and host memory, each way; 0 for no limit.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.host_latency_ms",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "ms",
        block: "tiers",
        active: HOST,
        doc: "Time to the first byte of a copy to or from host memory.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.host_scope",
        kind: Kind::Choice { legal: &["worker", "cluster"] },
        fallback: Fallback::Value(Literal::Text("worker")),
        block: "tiers",
        active: HOST,
        doc: "Whether each worker has the host memory for itself, or all workers share it and what one stored serves the others.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.host_shared_gbps",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(80.0)),
        unit: "GB/s",
        block: "tiers",
        active: SHARED_HOST,
        doc: "Bandwidth of shared host memory, each way, over all workers; 0 for no limit.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.disk_gib",
        kind: Kind::Real { min: 0.0, max: 1e9, open: false },
        fallback: Fallback::Value(Literal::Real(0.0)),
        unit: "GiB",
        block: "tiers",
        active: HOST,
        doc: "Disk for KV behind host memory: of each worker, or of all together where `kv.disk_scope` says so; 0 for none.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.disk_gbps",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(10.0)),
        unit: "GB/s",
        block: "tiers",
        active: DISK,
        doc: "Bandwidth between host memory and disk for one worker, each way; 0 for no limit.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.disk_latency_ms",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(0.1)),
        unit: "ms",
        block: "tiers",
        active: DISK,
        doc: "Time to the first byte read from or written to disk.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.disk_scope",
        kind: Kind::Choice { legal: &["worker", "cluster"] },
        fallback: Fallback::Value(Literal::Text("worker")),
        block: "tiers",
        active: DISK,
        doc: "Whether each worker has the disk for itself, or all workers share it.",
        ..DEFAULT
    },
    KnobRow {
        name: "kv.disk_shared_gbps",
        kind: Kind::Real { min: 0.0, max: 1e6, open: false },
        fallback: Fallback::Value(Literal::Real(80.0)),
        unit: "GB/s",
        block: "tiers",
        active: SHARED_DISK,
        doc: "Bandwidth of a shared disk, each way, over all workers; 0 for no limit.",
        ..DEFAULT
    },
];
