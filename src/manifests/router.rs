//! The router of a candidate as environment variables of Dynamo's frontend.

use crate::twin::deployment::{QueueOrder, RouterAdmission, RouterConfig, RouterPolicy};

/// Environment of the frontend, and what it cannot say.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub env: Vec<(&'static str, String)>,
    pub gaps: Vec<String>,
    /// Whether workers must publish what they cache.
    pub reads_caches: bool,
}

/// The variables of a router; `named` says whether the candidate has a knob, so that settings without
/// meaning in it are left alone.
pub(super) fn router(config: &RouterConfig, named: &dyn Fn(&str) -> bool) -> Router {
    let mut out = Router::default();
    let mode = match config.policy {
        RouterPolicy::RoundRobin => "round-robin",
        RouterPolicy::Random => "random",
        RouterPolicy::LeastLoaded => "least-loaded",
        RouterPolicy::PowerOfTwo => "power-of-two",
        RouterPolicy::Kv => "kv",
        RouterPolicy::Lmetric | RouterPolicy::TwoTier | RouterPolicy::Expression(_) => {
            out.gaps.push("router.policy: Dynamo's frontend has no setting for this cost function; the file asks for `kv`, the nearest that reads caches, which was NOT what was simulated".into());
            "kv"
        }
    };
    out.reads_caches = mode == "kv";
    out.env.push(("DYN_ROUTER_MODE", mode.into()));
    if out.reads_caches {
        out.env.push(("DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT", real(config.overlap_credit)));
        out.env.push(("DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT_DECAY", real(config.overlap_decay)));
        out.env.push(("DYN_ROUTER_PREFILL_LOAD_SCALE", real(config.prefill_load_scale)));
        for (knob, name, weight) in [
            ("router.host_hit_weight", "DYN_ROUTER_HOST_CACHE_HIT_WEIGHT", config.host_hit_weight),
            ("router.disk_hit_weight", "DYN_ROUTER_DISK_CACHE_HIT_WEIGHT", config.disk_hit_weight),
        ] {
            if named(knob) {
                out.env.push((name, real(weight)));
                if weight > 1.0 {
                    out.gaps.push(format!("{knob} = {weight}: Dynamo's frontend may take no more than 1"));
                }
            }
        }
        out.env.push(("DYN_ROUTER_DECODE_ACTIVE_REQUEST_WEIGHT", real(config.decode_request_weight)));
        out.env.push(("DYN_ROUTER_TEMPERATURE", real(config.temperature)));
        out.env.push(("DYN_ROUTER_USE_KV_EVENTS", "true".into()));
        // Its default has changed between versions.
        let threshold = config.queue_threshold.map_or("None".into(), real);
        out.env.push(("DYN_ROUTER_QUEUE_THRESHOLD", threshold));
        if config.prefill_load_model {
            out.env.push(("DYN_ROUTER_PREFILL_LOAD_MODEL", "aic".into()));
        }
    } else if let Some(threshold) = config.queue_threshold {
        out.gaps.push(format!(
            "router.queue_threshold = {threshold}: only Dynamo's `kv` mode queues at the router, `{mode}` does not"
        ));
    }
    if named("router.queue_policy") {
        match (config.queue_order, out.reads_caches) {
            (QueueOrder::Fcfs, true) => out.env.push(("DYN_ROUTER_QUEUE_POLICY", "fcfs".into())),
            (QueueOrder::Wspt, true) => out.env.push(("DYN_ROUTER_QUEUE_POLICY", "wspt".into())),
            (QueueOrder::Lcfs, true) => {
                out.gaps.push("router.queue_policy = lcfs: Dynamo's frontend takes fcfs and wspt only".into());
            }
            (_, false) => {}
        }
    }
    if let Some(ttl_s) = config.session_affinity_ttl_s {
        if ttl_s >= 1.0 && ttl_s.fract() == 0.0 {
            out.env.push(("DYN_ROUTER_SESSION_AFFINITY_TTL_SECS", real(ttl_s)));
            out.gaps.push(
                "router.session_affinity_ttl_s: holds only for requests that carry the header X-Dynamo-Session-ID"
                    .into(),
            );
        } else {
            out.gaps.push(format!("router.session_affinity_ttl_s = {ttl_s}: Dynamo takes whole seconds from 1"));
        }
    }
    if config.admission != RouterAdmission::Off {
        out.gaps.push(format!(
            "router.admission, router.admission_ttft_ms = {}: Dynamo's frontend has no admission by projected time to first token",
            config.admission_ttft_ms
        ));
    }
    if config.kv_event_lag_ms > 0.0 {
        out.gaps.push(format!(
            "router.kv_event_lag_ms = {}: a property of the network, not a setting",
            config.kv_event_lag_ms
        ));
    }
    out
}

/// A number as Python's `float` reads it, without a point where it is whole.
fn real(value: f64) -> String {
    value.to_string()
}

/// Knobs that [`router`] expresses, or says it cannot.
pub(super) const EXPRESSED: &[&str] = &[
    "router.policy",
    "router.expression",
    "router.prefill_load_scale",
    "router.overlap_credit",
    "router.overlap_decay",
    "router.decode_request_weight",
    "router.host_hit_weight",
    "router.disk_hit_weight",
    "router.temperature",
    "router.prefill_load_model",
    "router.kv_event_lag_ms",
    "router.session_affinity_ttl_s",
    "router.queue_threshold",
    "router.admission",
    "router.admission_ttft_ms",
    "router.queue_policy",
];
