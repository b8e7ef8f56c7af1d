//! The planner at work on a cluster: shows it what there is at each tick, and does what it decides.

use super::snapshot::{PoolState, Snapshot, Traffic, WorkerLoad};
use super::{Limits, Planner, PlannerConfig, PoolSpec};
use crate::catalog::Backend;
use crate::twin::cluster::{Cluster, Controller, State};
use crate::twin::deployment::{Deployment, Pool, Role};
use crate::twin::engine::Core;
use crate::twin::engine::last_pass::PassSample;
use crate::twin::outcome::Status;
use crate::twin::request::RequestState;

/// The controller that scales pools.
#[derive(Debug)]
pub struct Scaler {
    planner: Planner,
    /// In the order of the planner's pools.
    roles: Vec<Role>,
    startup_ms: f64,
    /// Since the tick before.
    traffic: Traffic,
    ticked_ms: f64,
    next_ms: f64,
}

impl Scaler {
    /// For the pools of a deployment.
    pub fn new(config: &PlannerConfig, deployment: &Deployment) -> Self {
        let pools = deployment.topology.pools();
        let specs: Vec<PoolSpec> = pools.iter().map(|&(role, pool)| spec(role, pool, config)).collect();
        let planner = Planner::new(config, &specs);
        Scaler {
            next_ms: planner.next_tick_ms(),
            planner,
            roles: pools.iter().map(|&(role, _)| role).collect(),
            startup_ms: config.startup_ms,
            traffic: Traffic::default(),
            ticked_ms: 0.0,
        }
    }

    fn pool(&self, role: Role, now_ms: f64, cluster: &mut Cluster) -> PoolState {
        let active: Vec<usize> = cluster.fleet.active(role).to_vec();
        for &worker in &active {
            cluster.catch_up(worker, now_ms);
        }
        let fleet = &cluster.fleet;
        let states = &cluster.requests.states;
        // A dead worker's GPUs are already those of its replacement.
        let draining: Vec<usize> = fleet.ids(role, State::Draining).collect();
        let leaving = draining.iter().filter(|&&id| fleet.worker(id).is_charged()).count();
        let in_flight: usize = active.iter().chain(&draining).map(|&id| fleet.engine(id).in_flight()).sum();
        PoolState {
            starting: fleet.ids(role, State::Starting).count() as u32,
            draining: leaving as u32,
            active: active.iter().map(|&id| load(role, id, now_ms, cluster, states)).collect(),
            unplaced: cluster.unplaced(role) as u32,
            in_flight: in_flight as u32,
        }
    }
}

fn spec(role: Role, pool: &Pool, config: &PlannerConfig) -> PoolSpec {
    let engine = &pool.engine;
    let pool_tokens = f64::from(engine.gpu_blocks) * f64::from(engine.block_size);
    let ranks = engine.attention_dp.max(1);
    // SGLang cuts one budget for a worker into its ranks' chunks.
    let share = if engine.backend == Backend::Sglang { ranks } else { 1 };
    PoolSpec {
        role,
        gpus_per_worker: pool.gpus_per_worker,
        ranks,
        limits: Limits {
            max_num_batched_tokens: f64::from((engine.max_num_batched_tokens / share).max(1)),
            max_num_seqs: engine.max_num_seqs,
            pool_tokens,
            context_tokens: f64::from(config.context_tokens).min(pool_tokens),
        },
        timing: pool.timing.clone(),
    }
}

/// What one worker has to do: the mean over its ranks, and the last pass of the rank that had the most
/// in it, whose pace is the worker's.
fn load(role: Role, id: usize, now_ms: f64, cluster: &Cluster, states: &[RequestState]) -> WorkerLoad {
    let engine = cluster.fleet.engine(id);
    let mut load = WorkerLoad {
        worker: id as u32,
        queued_prefill_tokens: 0.0,
        decode_context: 0.0,
        queued_decode_tokens: 0.0,
        last_pass: None,
    };
    for core in (0..engine.ranks()).map(|rank| engine.rank(rank)) {
        add_load(role, core, states, &mut load);
        let pass = core.last_passes.ended_by(now_ms);
        let work = |p: Option<PassSample>| p.map(|p| (p.end_ms, p.prefill_tokens, p.decode_context));
        if work(pass) > work(load.last_pass) {
            load.last_pass = pass;
        }
    }
    let ranks = engine.ranks() as f64;
    load.queued_prefill_tokens /= ranks;
    load.decode_context /= ranks;
    load.queued_decode_tokens /= ranks;
    load
}

fn add_load(role: Role, core: &Core, states: &[RequestState], load: &mut WorkerLoad) {
    let state = |request: u32| &states[request as usize];
    let left = |request: u32| f64::from(state(request).known() - state(request).computed);
    for request in core.queued() {
        // What has been generated is waited for by somebody who is already reading.
        if role == Role::Decode || state(request).generated > 0 {
            load.queued_decode_tokens += f64::from(state(request).known());
        } else {
            load.queued_prefill_tokens += left(request);
        }
    }
    // Their prompts came from elsewhere.
    load.queued_decode_tokens += core.prebuilt.iter().map(|&r| f64::from(state(r).known())).sum::<f64>();
    // All that run decode, but for prompts that are being computed.
    if core.running.len() > core.decode.seqs() as usize {
        let cut = core.running.iter().filter(|&&r| !state(r).decoding).map(|&r| left(r)).sum::<f64>();
        load.queued_prefill_tokens += cut;
    }
    load.decode_context += core.decode.context() as f64;
}

impl Controller for Scaler {
    fn next_ms(&self) -> f64 {
        self.next_ms
    }

    fn act(&mut self, now_ms: f64, cluster: &mut Cluster) {
        self.traffic.duration_ms = now_ms - self.ticked_ms;
        let pools = self.roles.iter().map(|&role| self.pool(role, now_ms, cluster)).collect();
        let plan = self.planner.tick(&Snapshot { now_ms, pools, traffic: std::mem::take(&mut self.traffic) });
        self.ticked_ms = now_ms;
        self.next_ms = plan.next_tick_ms;
        for (&role, target) in self.roles.iter().zip(&plan.targets) {
            if let Some(target) = *target {
                cluster.scale_to(role, target as usize, self.startup_ms, now_ms);
            }
        }
    }

    fn arrived(&mut self, _now_ms: f64, request: u32, cluster: &Cluster) {
        self.traffic.arrived += 1.0;
        self.traffic.input_tokens += f64::from(cluster.requests.states[request as usize].input_tokens);
    }

    fn ended(&mut self, _now_ms: f64, request: u32, cluster: &Cluster) {
        let state = &cluster.requests.states[request as usize];
        if state.status == Status::Completed {
            self.traffic.completed += 1.0;
            self.traffic.output_tokens += f64::from(state.output_tokens);
            self.traffic.completed_input_tokens += f64::from(state.input_tokens);
            self.traffic.reused_tokens += f64::from(state.reused);
        }
    }
}
