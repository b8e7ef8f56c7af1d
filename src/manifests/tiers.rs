//! KV tiers of a candidate as settings of what starts its workers.
//!
//! vLLM under Dynamo has KVBM for them (host memory and disk, sizes by environment), vLLM alone its own
//! offloading (host memory), SGLang its hierarchical cache (host memory, per rank).

use crate::catalog::Backend;
use crate::twin::deployment::{EngineConfig, Pool, Role};
use crate::twin::kv::tier::{Tier, TierConfig};
use crate::units::{BYTES_PER_GB, BYTES_PER_GIB};

const KVBM: &str = r#"{"kv_connector":"DynamoConnector","kv_connector_module_path":"kvbm.vllm_integration.connector","kv_role":"kv_both"}"#;

/// Of a prefill worker, which hands its prompts over besides.
const KVBM_AND_NIXL: &str = r#"{"kv_connector":"PdConnector","kv_connector_module_path":"kvbm.vllm_integration.connector","kv_role":"kv_both","kv_connector_extra_config":{"connectors":[{"kv_connector":"DynamoConnector","kv_connector_module_path":"kvbm.vllm_integration.connector","kv_role":"kv_both"},{"kv_connector":"NixlConnector","kv_role":"kv_both"}]}}"#;

/// What a worker is told of its tiers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TierSettings {
    /// What transfers KV, in the place of what else would.
    pub connector: Option<&'static str>,
    pub flags: Vec<String>,
    pub env: Vec<(&'static str, String)>,
}

fn bytes(tiers: &TierConfig, tier: &Tier) -> f64 {
    f64::from(tier.blocks) * tiers.block_bytes
}

/// Whole units, as settings take them.
fn whole(bytes: f64, unit: f64) -> String {
    (bytes / unit).round().max(1.0).to_string()
}

fn hierarchical(pool: &Pool, tiers: &TierConfig) -> Vec<String> {
    let per_rank = bytes(tiers, &tiers.host) / f64::from(pool.gpus_per_worker);
    [
        "--enable-hierarchical-cache",
        "--hicache-size",
        &whole(per_rank, BYTES_PER_GB),
        "--hicache-write-policy",
        "write_through",
    ]
    .map(String::from)
    .to_vec()
}

/// Of a worker under Dynamo.
pub(super) fn under_dynamo(role: Role, pool: &Pool) -> TierSettings {
    let Some(tiers) = &pool.engine.tiers else { return TierSettings::default() };
    match pool.engine.backend {
        Backend::Vllm => {
            let mut env = vec![("DYN_KVBM_CPU_CACHE_GB", whole(bytes(tiers, &tiers.host), BYTES_PER_GB))];
            if let Some(disk) = &tiers.disk {
                env.push(("DYN_KVBM_DISK_CACHE_GB", whole(bytes(tiers, disk), BYTES_PER_GB)));
                // Else it writes only what was found twice.
                env.push(("DYN_KVBM_DISABLE_DISK_OFFLOAD_FILTER", "true".into()));
            }
            let connector = if role == Role::Prefill { KVBM_AND_NIXL } else { KVBM };
            TierSettings { connector: Some(connector), flags: Vec::new(), env }
        }
        Backend::Sglang => TierSettings { flags: hierarchical(pool, tiers), ..TierSettings::default() },
        Backend::Trtllm => TierSettings::default(),
    }
}

/// Of a server alone.
pub(super) fn alone(pool: &Pool) -> Vec<String> {
    let Some(tiers) = &pool.engine.tiers else { return Vec::new() };
    match pool.engine.backend {
        Backend::Vllm => {
            let size = whole(bytes(tiers, &tiers.host), BYTES_PER_GIB);
            ["--kv-offloading-backend", "native", "--kv-offloading-size", &size].map(String::from).to_vec()
        }
        Backend::Sglang => hierarchical(pool, tiers),
        Backend::Trtllm => Vec::new(),
    }
}

/// What these settings do not say; a sentence each.
pub(super) fn gaps(engine: &EngineConfig) -> Vec<String> {
    let Some(tiers) = &engine.tiers else { return Vec::new() };
    let mut gaps = Vec::new();
    for (name, tier) in [("host", Some(&tiers.host)), ("disk", tiers.disk.as_ref())] {
        if tier.is_some_and(|t| t.shared) {
            gaps.push(format!(
                "kv.{name}_scope = cluster: the files give each worker a tier of its own, of the size of the one that all share in the simulation"
            ));
        }
    }
    match engine.backend {
        Backend::Vllm => {
            gaps.push("kv.host_gib in serve.sh: --kv-offloading-size needs vLLM 0.12 or later".into());
            if tiers.disk.is_some() {
                gaps.push("kv.disk_gib in serve.sh: vLLM's own offloading has no disk; dynamo.yaml has".into());
            }
        }
        _ if tiers.disk.is_some() => gaps.push(
            "kv.disk_gib: SGLang's storage behind host memory has no limit of its size; see --hicache-storage-backend"
                .into(),
        ),
        _ => {}
    }
    gaps
}

/// Knobs that these settings express, or [`gaps`] names.
pub(super) const EXPRESSED: &[&str] = &["kv.host_gib", "kv.disk_gib", "kv.host_scope", "kv.disk_scope"];
