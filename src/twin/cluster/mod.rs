//! The cluster: workers, routers and controllers on one virtual clock.
//!
//! # Time
//!
//! Events at one instant are settled in this order: what ended passes made visible (by worker, then
//! in the order of the worker's own doing), deaths, workers that become ready, KV that arrives, what a
//! worker does between passes to hand requests over, arrivals, the start of new passes, and last the
//! controllers, which so see a settled cluster. Equal events are first in, first out. Workers run lazily: a worker is advanced only when it has something to decide, when a
//! request reaches it, or when somebody reads its cache. When nothing that happens can change an
//! arrival or a placement, every request is placed first and each worker then runs to its end by
//! itself.
//!
//! # Parts
//!
//! * [`fleet`]: the workers through their lives, and what they cost. Ids are never reused.
//! * [`Controller`]: something with instants of its own (a planner, faults) that acts on the cluster by
//!   [`Cluster::scale_to`], [`Cluster::drain`], [`Cluster::kill`] and [`Cluster::start_worker`].
//! * [`Policy`]: each role has its own instance. It sees the workers of its role that
//!   take requests, in ascending order of id. A request for which there is no such worker waits for
//!   the next one that becomes ready; one that the policy keeps queued is asked for after every hook.
//!
//! Every request ends exactly once, completed or rejected; the simulation is over when all have.

mod arrivals;
mod control;
mod event;
pub mod fleet;
mod handoff;
mod links;
mod local;
mod outcome;
mod run;
mod wakes;
mod watched;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use arrivals::Arrivals;
pub use control::Controller;
use event::{At, Event};
pub use fleet::{Fleet, State, Worker};

use super::bounds::{BestCase, Watch};
use super::deployment::{Deployment, Role};
use super::kv::tier::Tiers;
use super::outcome::{Outcome, Status};
use super::request::Requests;
use super::router::{Policy, View};
use crate::workload::prefix::BlockPaths;
use crate::workload::{Load, Workload};
use watched::Watcher;

/// What places requests on the workers of one role.
struct Stage {
    policy: Box<dyn Policy>,
    /// Requests that no worker was there for.
    parked: VecDeque<u32>,
    /// When the policy may release a queued request by itself.
    wake_ms: f64,
}

/// A running simulation.
pub struct Cluster<'a> {
    /// The workers.
    pub fleet: Fleet,
    /// The requests, by index in the workload, and the tallies.
    pub requests: Requests<'a>,
    /// Prefix identities of the requests.
    pub paths: Arc<BlockPaths>,
    deployment: &'a Deployment,
    stages: [Option<Stage>; Role::COUNT],
    /// Requests whose arrival is known, by time, session and turn.
    arrivals: Arrivals,
    events: BinaryHeap<Reverse<At<Event>>>,
    /// Events scheduled so far.
    sequence: u64,
    /// Sessions not yet started, in closed loop.
    next_session: usize,
    /// Requests not ended.
    left: usize,
    /// What every request takes on its way to the engine and back, ms.
    request_ms: f64,
    /// Time of the event under way, ms.
    now_ms: f64,
    /// Requests on their way between workers, where the deployment is disaggregated.
    handoffs: Option<handoff::Handoffs>,
    scale_events: u64,
    /// Killed workers whose last pass is in flight.
    dying: Vec<usize>,
    controllers: Vec<Box<dyn Controller>>,
    /// A router or a controller follows what becomes of requests.
    is_heard: bool,
    watcher: Option<Watcher<'a>>,
}

/// Simulates a deployment whose requests `policies` place, one for each of its pools in their order,
/// and on which `controllers` act.
pub fn simulate(
    deployment: &Deployment,
    workload: &Workload,
    policies: Vec<Box<dyn Policy>>,
    controllers: Vec<Box<dyn Controller>>,
    per_request: bool,
) -> Outcome {
    let mut cluster = Cluster::new(deployment, workload, policies, controllers);
    cluster.run();
    cluster.outcome(per_request)
}

/// As [`simulate`], but ends early when `watch` says so.
///
/// # Errors
/// The best case that the simulation then still had.
pub fn simulate_watched<'a>(
    deployment: &'a Deployment,
    workload: &'a Workload,
    policies: Vec<Box<dyn Policy>>,
    controllers: Vec<Box<dyn Controller>>,
    watch: &'a mut dyn Watch,
) -> Result<Outcome, BestCase> {
    let mut cluster = Cluster::new(deployment, workload, policies, controllers);
    cluster.watcher = Some(Watcher::new(watch, workload.requests.len()));
    cluster.run();
    match cluster.watcher.take().and_then(|watcher| watcher.ended) {
        Some(best) => Err(best),
        None => Ok(cluster.outcome(false)),
    }
}

/// What a policy sees.
fn view<'a>(fleet: &'a Fleet, role: Role, paths: &'a BlockPaths, requests: &'a Requests<'_>, now_ms: f64) -> View<'a> {
    View { fleet, role, workload: requests.workload, paths, states: &requests.states, tiers: &requests.tiers, now_ms }
}

/// A request's place among arrivals.
fn arrival(workload: &Workload, ms: f64, request: u32) -> At<u32> {
    let r = &workload.requests[request as usize];
    At { ms, rank: u64::from(r.session) << 32 | u64::from(r.turn), what: request }
}

impl<'a> Cluster<'a> {
    fn new(
        deployment: &'a Deployment,
        workload: &'a Workload,
        policies: Vec<Box<dyn Policy>>,
        controllers: Vec<Box<dyn Controller>>,
    ) -> Self {
        let pools = deployment.topology.pools();
        let (_, pool) = pools[0];
        let paths = workload.paths(pool.engine.block_size);
        let mut stages = [const { None }; Role::COUNT];
        let mut moulds = Vec::new();
        for (&(role, pool), policy) in pools.iter().zip(policies) {
            moulds.push(fleet::Mould::new(role, pool, &*policy, &paths, deployment));
            stages[role as usize] = Some(Stage { policy, parked: VecDeque::new(), wake_ms: f64::INFINITY });
        }
        let sessions = match workload.load {
            Load::Open => workload.sessions(),
            Load::Closed { concurrency } => workload.sessions().min(concurrency as usize),
        };
        let first = (0..sessions).map(|session| {
            let request = workload.session(session)[0];
            let at_ms = match workload.load {
                Load::Open => workload.requests[request as usize].arrival_ms,
                Load::Closed { .. } => 0.0,
            };
            arrival(workload, at_ms, request)
        });
        let arrivals = Arrivals::new(first.collect());
        let watches = stages.iter().flatten().any(|stage| stage.policy.watches_requests());
        let is_heard = watches || !controllers.is_empty();
        let mut cluster = Cluster {
            fleet: Fleet::new(moulds),
            requests: Requests::new(workload, pool.engine.max_model_len),
            request_ms: pool.timing.request_ms(),
            paths,
            deployment,
            stages,
            arrivals,
            events: BinaryHeap::new(),
            sequence: 0,
            next_session: sessions,
            left: workload.requests.len(),
            now_ms: 0.0,
            handoffs: handoff::Handoffs::new(deployment, workload.requests.len()),
            scale_events: 0,
            dying: Vec::new(),
            controllers,
            is_heard,
            watcher: None,
        };
        cluster.requests.tiers = Tiers::new(pool.engine.tiers, cluster.paths.segments(), workload.requests.len());
        for (role, pool) in pools {
            for _ in 0..pool.workers {
                let id = cluster.fleet.add(role, State::Active, 0.0);
                cluster.tell(0.0, role, |policy, view| {
                    view.fleet.targets_of(id).for_each(|t| policy.worker_ready(t, view))
                });
                cluster.with_controllers(|cluster, controller| controller.worker_ready(0.0, id, cluster));
            }
        }
        cluster
    }

    fn run(&mut self) {
        if self.places_ahead() {
            self.run_workers_apart();
        } else {
            self.run_events();
        }
        let has_ended_early = self.watcher.as_ref().is_some_and(|w| w.ended.is_some());
        if cfg!(debug_assertions) && !has_ended_early {
            self.check();
        }
    }

    /// The deployment that is simulated.
    pub fn deployment(&self) -> &'a Deployment {
        self.deployment
    }

    /// Requests that have not ended, those that have not arrived included.
    pub fn requests_left(&self) -> usize {
        self.left
    }

    fn stage(&mut self, role: Role) -> &mut Stage {
        self.stages[role as usize].as_mut().expect("a policy for every pool")
    }

    /// Whether nothing that happens can change an arrival or a placement.
    fn places_ahead(&self) -> bool {
        let workload = self.requests.workload;
        let aggregated = self.stages[Role::Aggregated as usize].is_some();
        let apart = aggregated && !self.requests.tiers.are_shared();
        apart && !self.is_heard && !workload.has_turns() && workload.load == Load::Open
    }

    fn schedule(&mut self, at_ms: f64, request: u32) {
        self.arrivals.push(arrival(self.requests.workload, at_ms, request));
    }

    fn schedule_event(&mut self, at_ms: f64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(At { ms: at_ms, rank: event.rank(self.sequence), what: event }));
    }

    /// Tells a role's policy something, and places what it then releases.
    fn tell(&mut self, now_ms: f64, role: Role, hook: impl FnOnce(&mut dyn Policy, &View)) {
        let Some(stage) = &mut self.stages[role as usize] else { return };
        let view = view(&self.fleet, role, &self.paths, &self.requests, now_ms);
        hook(&mut *stage.policy, &view);
        if stage.policy.queued() > 0 {
            self.release(now_ms, role);
        }
    }

    /// Places requests that a policy had queued for as long as it lets any go.
    fn release(&mut self, now_ms: f64, role: Role) {
        loop {
            if self.fleet.active(role).is_empty() {
                break;
            }
            self.bring_caches_up_to(now_ms, role);
            let Some(stage) = &mut self.stages[role as usize] else { return };
            let view = view(&self.fleet, role, &self.paths, &self.requests, now_ms);
            match stage.policy.release(&view) {
                Some((request, placement)) => self.settle(now_ms, request, placement),
                None => break,
            }
        }
        // Where nobody takes requests, the next worker that is ready asks again.
        let takes_any = !self.fleet.active(role).is_empty();
        let stage = self.stage(role);
        stage.wake_ms = if takes_any && stage.policy.queued() > 0 { stage.policy.wake_ms() } else { f64::INFINITY };
    }

    /// Every request has ended, and every worker has all its blocks back. In debug builds only: a
    /// release build counts what is left as unfinished.
    fn check(&mut self) {
        for (index, state) in self.requests.states.iter().enumerate() {
            assert_ne!(state.status, Status::Unfinished, "work left but no event: request {index}");
        }
        for &worker in &self.fleet.live {
            let engine = self.fleet.engine(worker);
            for core in (0..engine.ranks()).map(|rank| engine.rank(rank)) {
                assert_eq!((core.in_flight(), core.kv.active(), core.decode.seqs()), (0, 0, 0));
                core.kv.check();
            }
        }
        let (gpu_ms, ..) = self.fleet.used(0.0, 1e9);
        let lived_ms = self.fleet.lived(0.0, 1e9);
        assert!((gpu_ms - lived_ms).abs() <= 1e-9 * gpu_ms, "{gpu_ms} GPU ms charged, {lived_ms} lived");
        self.requests.tiers.check(&self.paths);
    }
}
