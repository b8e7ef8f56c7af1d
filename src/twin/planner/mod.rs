//! The planner: how many workers there should be, decided at ticks from what the cluster shows.
//!
//! One next tick, two cadences (`semantics` 8.2): the load loop looks at queues and passes of this
//! moment and moves a pool by one worker; the throughput loop forecasts the demand of the next window
//! and wants the workers that it needs. Under [`ScalingPolicy::Hybrid`] the second sets the fewest
//! workers that the first may leave. Guards against flapping, bounds and the GPU budget come last.
//!
//! It decides about workers active and starting (the target); starting, cancelling and draining
//! them is the cluster's.

mod bounds;
pub mod config;
mod load;
mod pass_model;
pub mod predictor;
mod regression;
mod scaler;
pub mod snapshot;

pub use config::{PlannerConfig, PredictorKind, ScalingPolicy, Thresholds};
pub use pass_model::Limits;
pub use scaler::Scaler;
pub use snapshot::{PoolState, Snapshot, Traffic, WorkerLoad};

use crate::timing::Timing;
use crate::twin::deployment::Role;
use crate::twin::engine::last_pass::PassSample;
use crate::units::MS_PER_S;
use load::Wish;
use pass_model::{Demand, PassModel, Targets};
use predictor::Forecast;

/// Ticks of both loops closer than this fall together, ms.
const MERGE_MS: f64 = 500.0;
/// Half-life of the requests whose mean lengths and prefix hits the load loop goes by, ms.
const MEMORY_MS: f64 = 60_000.0;

/// A pool as the planner has to know it.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    pub role: Role,
    pub gpus_per_worker: u32,
    /// Ranks of attention data parallelism in each worker: limits are a rank's.
    pub ranks: u32,
    pub limits: Limits,
    pub timing: Timing,
}

/// What the planner decided at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Workers wanted, active and starting, for each pool; `None` to leave it as it is.
    pub targets: Vec<Option<u32>>,
    /// When to ask again, ms.
    pub next_tick_ms: f64,
}

/// One pool and what the planner remembers of it.
#[derive(Debug)]
struct Pool {
    role: Role,
    gpus_per_worker: u32,
    ranks: u32,
    model: PassModel,
    /// Fewest workers that the throughput loop allows.
    floor: u32,
    /// Load decisions in a row that wanted the same.
    wish: Wish,
    wished: u32,
    /// When its target last changed, ms.
    changed_ms: f64,
}

/// Forecasts of the next window: requests, their lengths, their prefix hits.
#[derive(Debug)]
struct Forecasts {
    arrived: Forecast,
    input: Forecast,
    output: Forecast,
    hit_rate: Forecast,
}

/// The planner of one cluster.
#[derive(Debug)]
pub struct Planner {
    config: PlannerConfig,
    pools: Vec<Pool>,
    next_load_ms: f64,
    next_throughput_ms: f64,
    last_tick_ms: f64,
    /// Traffic since the throughput loop's last decision.
    window: Traffic,
    /// Traffic, weighted by how recent it is.
    recent: Traffic,
    forecasts: Forecasts,
}

impl Planner {
    /// A planner that starts at time 0.
    pub fn new(config: &PlannerConfig, pools: &[PoolSpec]) -> Self {
        let policy = config.policy;
        let never = f64::INFINITY;
        let pool = |spec: &PoolSpec| Pool {
            role: spec.role,
            gpus_per_worker: spec.gpus_per_worker,
            ranks: spec.ranks,
            model: PassModel::new(spec.role, spec.limits, &spec.timing),
            floor: 0,
            wish: Wish::Keep,
            wished: 0,
            changed_ms: f64::NEG_INFINITY,
        };
        let forecast = || Forecast::new(config.predictor);
        Planner {
            pools: pools.iter().map(pool).collect(),
            next_load_ms: if policy.has_load_loop() { config.load_interval_ms } else { never },
            next_throughput_ms: if policy.has_throughput_loop() { config.throughput_interval_ms } else { never },
            last_tick_ms: 0.0,
            window: Traffic::default(),
            recent: Traffic::default(),
            forecasts: Forecasts { arrived: forecast(), input: forecast(), output: forecast(), hit_rate: forecast() },
            config: config.clone(),
        }
    }

    /// When it first wants to be asked, ms.
    pub fn next_tick_ms(&self) -> f64 {
        self.next_load_ms.min(self.next_throughput_ms)
    }

    /// Decides.
    pub fn tick(&mut self, snapshot: &Snapshot) -> Plan {
        let now_ms = snapshot.now_ms;
        let kept = 0.5f64.powf(snapshot.traffic.duration_ms / MEMORY_MS);
        self.recent = self.recent.scaled(kept);
        self.recent.add(&snapshot.traffic);
        self.window.add(&snapshot.traffic);
        self.learn(snapshot);
        let mut wanted: Vec<u32> = snapshot.pools.iter().map(PoolState::target).collect();
        if self.next_load_ms <= now_ms + MERGE_MS {
            for (at, state) in snapshot.pools.iter().enumerate() {
                wanted[at] = self.by_load(at, state, now_ms);
            }
            self.next_load_ms = now_ms + self.config.load_interval_ms;
        }
        if self.next_throughput_ms <= now_ms + MERGE_MS {
            if let Some(needed) = self.by_forecast() {
                for ((pool, wanted), needed) in self.pools.iter_mut().zip(&mut wanted).zip(needed) {
                    pool.floor = needed;
                    if self.config.policy == ScalingPolicy::Predictive {
                        let cools = needed < *wanted && now_ms - pool.changed_ms < self.config.cooldown_ms;
                        *wanted = if cools { *wanted } else { needed };
                    }
                }
            }
            self.window = Traffic::default();
            self.next_throughput_ms = now_ms + self.config.throughput_interval_ms;
        }
        self.last_tick_ms = now_ms;
        for ((pool, wanted), state) in self.pools.iter().zip(&mut wanted).zip(&snapshot.pools) {
            *wanted = (*wanted).max(pool.floor);
            // Nothing that runs shows the load of what cannot run yet.
            if *wanted == 0 && (state.unplaced > 0 || snapshot.traffic.arrived > 0.0) {
                *wanted = 1;
            }
        }
        let targets = bounds::apply(&self.config, &self.gpus_per_worker(), &snapshot.pools, &wanted);
        for (at, (&target, state)) in targets.iter().zip(&snapshot.pools).enumerate() {
            if target != state.target() {
                self.pools[at].changed_ms = now_ms;
            }
        }
        let targets = targets.iter().zip(&snapshot.pools).map(|(&t, s)| (t != s.target()).then_some(t)).collect();
        Plan { targets, next_tick_ms: self.next_tick_ms() }
    }

    fn gpus_per_worker(&self) -> Vec<u32> {
        self.pools.iter().map(|p| p.gpus_per_worker).collect()
    }

    /// Takes in each worker's last pass, when it ended since the tick before.
    fn learn(&mut self, snapshot: &Snapshot) {
        for (pool, state) in self.pools.iter_mut().zip(&snapshot.pools) {
            let is_new = |p: &PassSample| p.end_ms > self.last_tick_ms;
            let passes: Vec<PassSample> = state.active.iter().filter_map(|w| w.last_pass).filter(is_new).collect();
            pool.model.learn(&passes);
        }
    }

    /// Workers that load wants, after the guards.
    fn by_load(&mut self, at: usize, state: &PoolState, now_ms: f64) -> u32 {
        let target = state.target();
        if self.config.wait_for_starting && state.starting > 0 {
            return target;
        }
        let wish = if state.active.is_empty() { Wish::Keep } else { self.wish(at, state) };
        let pool = &mut self.pools[at];
        pool.wished = if wish == pool.wish { pool.wished.saturating_add(1) } else { 1 };
        pool.wish = wish;
        match wish {
            Wish::More if pool.wished >= self.config.confirm_up => {
                pool.wished = 0;
                target + 1
            }
            Wish::Fewer if pool.wished >= self.config.confirm_down => {
                if now_ms - pool.changed_ms < self.config.cooldown_ms {
                    return target;
                }
                pool.wished = 0;
                target.saturating_sub(1)
            }
            _ => target,
        }
    }

    fn wish(&self, at: usize, state: &PoolState) -> Wish {
        let is_idle = state.is_idle();
        let wish = self.wish_of_load(at, state);
        // The last worker goes only when there is nothing to do.
        if state.target() == 1 && is_idle && self.recent.arrived < 1.0 {
            return Wish::Fewer;
        }
        match wish {
            Wish::Fewer if state.target() == 1 => Wish::Keep,
            wish => wish,
        }
    }

    fn wish_of_load(&self, at: usize, state: &PoolState) -> Wish {
        let pool = &self.pools[at];
        if self.config.policy == ScalingPolicy::Load {
            return load::by_thresholds(pool.role, &pool.model.limits, &self.config.thresholds, &state.active);
        }
        // Lengths are not known before something has arrived; outputs not before something ended.
        let Some(input) = self.recent.mean_input() else { return Wish::Keep };
        if state.is_idle() {
            return Wish::Fewer;
        }
        let demand = Demand {
            input,
            output: self.recent.mean_output().unwrap_or(0.0),
            hit_rate: self.recent.hit_rate().unwrap_or(0.0),
        };
        load::by_sla(pool.role, &pool.model, &demand, &self.targets(), self.config.sensitivity, &state.active)
    }

    fn targets(&self) -> Targets {
        Targets { ttft_ms: self.config.ttft_ms, itl_ms: self.config.itl_ms }
    }

    /// Workers that the forecast demand needs in each pool; `None` while there is no forecast.
    fn by_forecast(&mut self) -> Option<Vec<u32>> {
        let Forecasts { arrived, input, output, hit_rate } = &mut self.forecasts;
        // The silence before the first request says nothing about the load to come.
        if self.window.arrived > 0.0 || arrived.predict().is_some() {
            arrived.observe(self.window.arrived);
        }
        // A window without requests does not change what they are like.
        for (forecast, value) in
            [(input, self.window.mean_input()), (output, self.window.mean_output()), (hit_rate, self.window.hit_rate())]
        {
            if let Some(value) = value {
                forecast.observe(value);
            }
        }
        let Forecasts { arrived, input, output, hit_rate } = &self.forecasts;
        let rps = arrived.predict()? * MS_PER_S / self.config.throughput_interval_ms;
        let demand = Demand {
            input: input.predict()?,
            output: output.predict()?,
            hit_rate: hit_rate.predict().unwrap_or(0.0).min(1.0),
        };
        let wanted_rps = rps * (1.0 + self.config.headroom);
        let needed = |pool: &Pool| {
            let (capacity_rps, fewest) = pool.model.capacity(&demand, &self.targets())?;
            if wanted_rps <= 0.0 {
                return Some(0);
            }
            let capacity_rps = capacity_rps * f64::from(pool.ranks);
            Some(((wanted_rps / capacity_rps).ceil() as u32).max(fewest).max(1))
        };
        self.pools.iter().map(needed).collect()
    }
}
