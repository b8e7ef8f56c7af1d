//! The planner of a candidate.

use super::deploy::{Deployer, Picks, Refusal, RefusalCode, refuse};
use crate::twin::deployment::Topology;
use crate::twin::planner::{PlannerConfig, PredictorKind, ScalingPolicy, Thresholds};
use crate::units::MS_PER_S;

impl Deployer<'_> {
    /// The planner of a candidate; `None` without one.
    pub(super) fn planner(&self, pick: &Picks<'_>, topology: &Topology) -> Result<Option<PlannerConfig>, Refusal> {
        let Some(policy) = scaling_policy(&pick.text("planner.policy")) else { return Ok(None) };
        let ms = |knob: &str| pick.real(knob) * MS_PER_S;
        let sla = &self.study.sla;
        let target = |knob: &str, bound: Option<f64>, default: f64| {
            pick.value(knob).and_then(|v| v.as_f64()).or(bound).unwrap_or(default)
        };
        let throughput_interval_ms = ms("planner.throughput_interval_s");
        let windows = (ms("planner.season_s") / throughput_interval_ms).round().clamp(1.0, f64::from(u32::MAX));
        let max_gpus = self.study.max_gpus;
        let config = PlannerConfig {
            policy,
            load_interval_ms: ms("planner.load_interval_s"),
            throughput_interval_ms,
            thresholds: match pick.text("planner.thresholds").as_str() {
                "custom" => Thresholds {
                    prefill_up: pick.real("planner.prefill_up"),
                    prefill_down: pick.real("planner.prefill_down"),
                    decode_up: pick.real("planner.decode_up"),
                    decode_down: pick.real("planner.decode_down"),
                },
                name => thresholds(name),
            },
            ttft_ms: target("planner.ttft_ms", sla.ttft_ms, 500.0),
            itl_ms: target("planner.itl_ms", sla.tpot_ms, 50.0),
            sensitivity: pick.real("planner.sensitivity"),
            predictor: predictor(&pick.text("planner.predictor"), windows as u32),
            headroom: pick.real("planner.headroom"),
            min_workers: pick.u32("planner.min_workers"),
            max_workers: pick.optional_u32("planner.max_workers").unwrap_or(u32::MAX),
            max_gpus,
            context_tokens: pick.optional_u32("engine.max_model_len").unwrap_or(self.study.model.max_context),
            startup_ms: ms("planner.startup_s"),
            cooldown_ms: ms("planner.cooldown_s"),
            confirm_up: pick.u32("planner.confirm_up"),
            confirm_down: pick.u32("planner.confirm_down"),
            wait_for_starting: pick.flag("planner.wait_for_starting"),
        };
        check(&config, topology)?;
        Ok(Some(config))
    }
}

/// What contradicts itself in a planner.
fn check(config: &PlannerConfig, topology: &Topology) -> Result<(), Refusal> {
    let PlannerConfig { min_workers: min, max_workers: max, max_gpus, .. } = *config;
    let limits = |reason: String| refuse(RefusalCode::Limits, reason);
    if min > max {
        return limits(format!("planner.min_workers = {min} is above planner.max_workers = {max}"));
    }
    for (role, pool) in topology.pools() {
        let (knob, workers) = (format!("{}.workers", role.name()), pool.workers);
        if workers < min {
            return limits(format!("{knob} = {workers} is below planner.min_workers = {min}"));
        }
        if workers > max {
            return limits(format!("{knob} = {workers} is above planner.max_workers = {max}"));
        }
    }
    let gpus: u64 = topology.pools().iter().map(|(_, pool)| u64::from(pool.gpus_per_worker)).sum();
    let fewest = u64::from(min) * gpus;
    if fewest > u64::from(max_gpus) {
        let reason = format!("planner.min_workers = {min} x {gpus} GPUs = {fewest}, max_gpus = {max_gpus}");
        return refuse(RefusalCode::GpuBudget, reason);
    }
    let (load, throughput) = (config.load_interval_ms / MS_PER_S, config.throughput_interval_ms / MS_PER_S);
    if config.policy == ScalingPolicy::Hybrid && load >= throughput {
        return limits(format!(
            "planner.load_interval_s = {load} is not below planner.throughput_interval_s = {throughput}: load decides between two forecasts"
        ));
    }
    let Thresholds { prefill_up, prefill_down, decode_up, decode_down } = config.thresholds;
    for (name, up, down) in [("prefill", prefill_up, prefill_down), ("decode", decode_up, decode_down)] {
        if down > up {
            return limits(format!("planner.{name}_down = {down} is above planner.{name}_up = {up}"));
        }
    }
    Ok(())
}

/// `None` for no planner.
fn scaling_policy(name: &str) -> Option<ScalingPolicy> {
    match name {
        "off" => None,
        "load" => Some(ScalingPolicy::Load),
        "sla" => Some(ScalingPolicy::Sla),
        "predictive" => Some(ScalingPolicy::Predictive),
        "hybrid" => Some(ScalingPolicy::Hybrid),
        other => panic!("the schema has a planner policy {other} that the twin has not"),
    }
}

fn thresholds(name: &str) -> Thresholds {
    match name {
        "throughput" => Thresholds::THROUGHPUT,
        "latency" => Thresholds::LATENCY,
        other => panic!("the schema has thresholds {other} that the twin has not"),
    }
}

fn predictor(name: &str, windows: u32) -> PredictorKind {
    match name {
        "constant" => PredictorKind::Constant,
        "holt" => PredictorKind::Holt,
        "kalman" => PredictorKind::Kalman,
        "seasonal" => PredictorKind::Seasonal { windows },
        other => panic!("the schema has a predictor {other} that the twin has not"),
    }
}
