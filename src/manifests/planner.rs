//! The planner of a candidate as the configuration of Dynamo's planner (`PlannerConfig`, Dynamo 1.3).
//!
//! Its throughput loop, load loop, targets and thresholds are the ones that the twin simulates after
//! it; what only the twin has (guards, two of the predictors, headroom) is named.

use serde_json::{Map, Value};

use super::backend;
use super::scripts::is_aggregated;
use crate::twin::Deployment;
use crate::twin::deployment::{Role, Topology};
use crate::twin::planner::{PlannerConfig, PredictorKind, ScalingPolicy, Thresholds};
use crate::units::MS_PER_S;

/// What Dynamo's planner is told, and what it cannot be told.
#[derive(Debug, Default)]
pub(super) struct Planner {
    /// The value of `--config`; `None` where the number of workers is fixed.
    pub config: Option<String>,
    pub gaps: Vec<String>,
}

/// Knobs that [`planner`] expresses, or says it cannot.
pub(super) const EXPRESSED: &[&str] = &[
    "planner.policy",
    "planner.load_interval_s",
    "planner.throughput_interval_s",
    "planner.thresholds",
    "planner.prefill_up",
    "planner.prefill_down",
    "planner.decode_up",
    "planner.decode_down",
    "planner.ttft_ms",
    "planner.itl_ms",
    "planner.sensitivity",
    "planner.predictor",
    "planner.season_s",
    "planner.headroom",
    "planner.min_workers",
    "planner.max_workers",
    "planner.startup_s",
    "planner.cooldown_s",
    "planner.confirm_up",
    "planner.confirm_down",
    "planner.wait_for_starting",
];

/// The configuration for the planner of a deployment.
pub(super) fn planner(deployment: &Deployment) -> Planner {
    let (topology, Some(config)) = (&deployment.topology, &deployment.planner) else { return Planner::default() };
    let mut out = Settings { fields: Map::new(), gaps: Vec::new() };
    let is_aggregated = is_aggregated(topology);
    out.set("environment", "kubernetes");
    out.set("backend", backend(topology).name());
    out.set("mode", if is_aggregated { "agg" } else { "disagg" });
    for (role, pool) in topology.pools() {
        let field = if role == Role::Prefill { "prefill_engine_num_gpu" } else { "decode_engine_num_gpu" };
        out.set(field, pool.gpus_per_worker);
    }
    out.policy(config, is_aggregated);
    out.bounds(config, topology);
    if config.startup_ms > 0.0 {
        out.gap(format!(
            "planner.startup_s = {}: a property of the cluster, not a setting",
            config.startup_ms / MS_PER_S
        ));
    }
    out.guards(config);
    Planner { config: Some(Value::Object(out.fields).to_string()), gaps: out.gaps }
}

/// Fields and gaps as they are found.
struct Settings {
    fields: Map<String, Value>,
    gaps: Vec<String>,
}

impl Settings {
    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.fields.insert(field.into(), value.into());
    }

    fn gap(&mut self, gap: String) {
        self.gaps.push(gap);
    }

    /// A field that takes whole numbers from 1.
    fn whole(&mut self, field: &str, knob: &str, value: f64) {
        let taken = value.round().max(1.0);
        if taken != value {
            self.gap(format!(
                "{knob}: Dynamo's planner takes whole numbers, {field} = {taken} is not the {value} that was simulated"
            ));
        }
        self.set(field, taken as u64);
    }

    fn policy(&mut self, config: &PlannerConfig, is_aggregated: bool) {
        if config.policy == ScalingPolicy::Load {
            self.thresholds(config, is_aggregated);
        } else {
            self.set("optimization_target", "sla");
            self.set("ttft_ms", config.ttft_ms);
            self.set("itl_ms", config.itl_ms);
        }
        let (load, throughput) = (config.policy.has_load_loop(), config.policy.has_throughput_loop());
        self.set("enable_load_scaling", load);
        self.set("enable_throughput_scaling", throughput);
        if load {
            let seconds = config.load_interval_ms / MS_PER_S;
            self.whole("load_adjustment_interval_seconds", "planner.load_interval_s", seconds);
        }
        if load && config.policy != ScalingPolicy::Load {
            self.whole("load_scaling_down_sensitivity", "planner.sensitivity", percent(config.sensitivity));
        }
        // Its throughput loop refuses to run without a profile.
        self.set("pre_deployment_sweeping_mode", if throughput { "rapid" } else { "none" });
        if throughput {
            let seconds = config.throughput_interval_ms / MS_PER_S;
            self.whole("throughput_adjustment_interval_seconds", "planner.throughput_interval_s", seconds);
            self.gap("planner.policy: the throughput loop of Dynamo's planner needs pass times that Dynamo's profiler measured or estimated (profile_results_dir); none are in these files".into());
            self.predictor(config);
        }
    }

    fn thresholds(&mut self, config: &PlannerConfig, is_aggregated: bool) {
        let thresholds = &config.thresholds;
        if *thresholds == Thresholds::THROUGHPUT || *thresholds == Thresholds::LATENCY {
            let name = if *thresholds == Thresholds::LATENCY { "latency" } else { "throughput" };
            return self.set("optimization_target", name);
        }
        self.set("optimization_target", "load");
        if is_aggregated {
            self.gap(format!(
                "planner.prefill_up = {}, planner.prefill_down = {}: Dynamo's planner looks at KV use alone where workers prefill and decode",
                thresholds.prefill_up, thresholds.prefill_down
            ));
        } else {
            for (field, share) in [
                ("prefill_scale_up_queue_tokens", thresholds.prefill_up),
                ("prefill_scale_down_queue_tokens", thresholds.prefill_down),
            ] {
                self.set(field, (share * f64::from(config.context_tokens)).ceil() as u64);
            }
        }
        for (field, knob, share) in [
            ("decode_scale_up_kv_rate", "planner.decode_up", thresholds.decode_up),
            ("decode_scale_down_kv_rate", "planner.decode_down", thresholds.decode_down),
        ] {
            if share > 1.0 {
                self.gap(format!("{knob} = {share}: Dynamo's planner takes no more than 100 %"));
            }
            self.set(field, percent(share.min(1.0)));
        }
    }

    fn predictor(&mut self, config: &PlannerConfig) {
        let (name, is_another) = match config.predictor {
            PredictorKind::Constant => ("constant", false),
            PredictorKind::Kalman => ("kalman", false),
            PredictorKind::Holt => ("kalman", true),
            PredictorKind::Seasonal { .. } => ("prophet", true),
        };
        self.set("load_predictor", name);
        if is_another {
            self.gap(format!("planner.predictor: Dynamo's planner has no such predictor; the file asks for `{name}`, the nearest, which was NOT what was simulated"));
        }
        if config.headroom > 0.0 {
            self.gap(format!("planner.headroom = {}: Dynamo's planner adds none", config.headroom));
        }
    }

    fn bounds(&mut self, config: &PlannerConfig, topology: &Topology) {
        if config.min_workers == 0 {
            self.gap(
                "planner.min_workers = 0: that Dynamo's planner starts a worker again from none was not tried".into(),
            );
        }
        self.set("min_endpoint", config.min_workers);
        let pools = topology.pools();
        let most = |gpus: u32| config.max_workers.saturating_mul(gpus);
        let budget = match pools[..] {
            // One pool's bound is a budget.
            [(_, pool)] => config.max_gpus.min(most(pool.gpus_per_worker)),
            _ => {
                let binds = pools.iter().any(|(_, pool)| most(pool.gpus_per_worker) < config.max_gpus);
                if binds {
                    self.gap(format!("planner.max_workers = {}: Dynamo's planner bounds the GPUs of both pools together, not the workers of each", config.max_workers));
                }
                config.max_gpus
            }
        };
        self.set("max_gpu_budget", budget);
    }

    fn guards(&mut self, config: &PlannerConfig) {
        let plain = PlannerConfig::default();
        let seconds = config.cooldown_ms / MS_PER_S;
        for (knob, value, is_plain) in [
            ("planner.cooldown_s", seconds.to_string(), config.cooldown_ms == plain.cooldown_ms),
            ("planner.confirm_up", config.confirm_up.to_string(), config.confirm_up == plain.confirm_up),
            ("planner.confirm_down", config.confirm_down.to_string(), config.confirm_down == plain.confirm_down),
            (
                "planner.wait_for_starting",
                config.wait_for_starting.to_string(),
                config.wait_for_starting == plain.wait_for_starting,
            ),
        ] {
            if !is_plain {
                self.gap(format!("{knob} = {value}: Dynamo's planner has no such guard"));
            }
        }
    }
}

/// A share as percent, without what binary fractions add (0.07 is 7).
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}
