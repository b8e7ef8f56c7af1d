//! From the `kv.*` knobs to the tiers below GPU memory.

use super::deploy::{Picks, Refusal, RefusalCode, refuse};
use crate::timing::WorkerShape;
use crate::twin::deployment::Role;
use crate::twin::kv::tier::{LinkRates, Tier, TierConfig};
use crate::units::BYTES_PER_GIB;

/// The tiers of a candidate's workers of a role and shape; none where it has no host memory for KV, and for
/// decode workers, whose prompts come from others.
///
/// # Errors
/// Limits, when a tier is too small for a single block.
pub(super) fn of(pick: &Picks<'_>, role: Role, shape: &WorkerShape) -> Result<Option<TierConfig>, Refusal> {
    let host_gib = pick.real("kv.host_gib");
    if host_gib == 0.0 || !pick.flag("engine.prefix_caching") || role == Role::Decode {
        return Ok(None);
    }
    let ranks = format!("{}.attention_dp", role.name());
    for (knob, most) in [(&*ranks, 1), ("engine.speculative_tokens", 0)] {
        let value = pick.u32(knob);
        // Prefill workers draft nothing.
        if value > most && (knob == ranks || role == Role::Aggregated) {
            let reason = format!(
                "kv.host_gib = {host_gib} with {knob} = {value}: tiers are simulated for workers of one rank that draft nothing"
            );
            return refuse(RefusalCode::Limits, reason);
        }
    }
    let block_size = pick.u32("engine.block_size");
    // Every rank copies its own part.
    let block_bytes = shape.kv_bytes_per_token() * f64::from(shape.tp) * f64::from(block_size);
    let tier = |name: &str, gib: f64| {
        let blocks = (gib * BYTES_PER_GIB / block_bytes).min(f64::from(u32::MAX >> 1)) as u32;
        if blocks == 0 {
            let reason = format!(
                "kv.{name}_gib = {gib} holds no block: {block_size} tokens of KV over {} GPUs are {block_bytes:.0} bytes",
                shape.tp
            );
            return refuse(RefusalCode::Limits, reason);
        }
        let shared = pick.text(&format!("kv.{name}_scope")) == "cluster";
        let rates = LinkRates {
            gbps: pick.real(&format!("kv.{name}_gbps")),
            shared_gbps: shared.then(|| pick.real(&format!("kv.{name}_shared_gbps"))),
            latency_ms: pick.real(&format!("kv.{name}_latency_ms")),
        };
        Ok(Tier { blocks, shared, rates })
    };
    let disk_gib = pick.real("kv.disk_gib");
    Ok(Some(TierConfig {
        block_bytes,
        host: tier("host", host_gib)?,
        disk: if disk_gib == 0.0 { None } else { Some(tier("disk", disk_gib)?) },
    }))
}
