//! The workers of a cluster through their lives: starting, active, draining, removed.
//!
//! Worker ids count up over the whole simulation and are never reused. GPU time is charged for
//! workers that start, serve or drain.

use std::sync::Arc;

use super::wakes::Wakes;
use crate::twin::deployment::{Deployment, Pool, Role};
use crate::twin::engine::{Core, Engine, engine};
use crate::twin::router::Policy;
use crate::workload::prefix::BlockPaths;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Paid for, takes no requests yet.
    Starting,
    Active,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Gone: drained, cancelled before it was ready, or dead.
    Removed,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    pub role: Role,
    pub state: State,
    /// When it began to start, ms.
    pub since_ms: f64,
    /// Until when its GPUs are paid for on its account, ms: infinite while they are.
    until_ms: f64,
    /// Its scheduler and cache; none once it is removed.
    pub(super) engine: Option<Box<dyn Engine>>,
}

impl Worker {
    /// Whether its GPUs are paid for on its account: a dead one's are its replacement's.
    pub fn is_charged(&self) -> bool {
        self.until_ms == f64::INFINITY
    }
}

/// What all workers of a role have in common.
#[derive(Debug)]
pub(super) struct Mould {
    pub role: Role,
    pool: Pool,
    /// Its router reads caches.
    pub journaled: bool,
    /// It hears of them late.
    tells_each_pass: bool,
    segments: usize,
    pass_by_pass: bool,
    peer_compat: bool,
    recomputes_free: bool,
}

impl Mould {
    pub fn new(role: Role, pool: &Pool, policy: &dyn Policy, paths: &Arc<BlockPaths>, deployment: &Deployment) -> Self {
        Mould {
            role,
            pool: pool.clone(),
            journaled: policy.reads_caches(),
            tells_each_pass: policy.hears_late(),
            segments: paths.segments(),
            pass_by_pass: deployment.pass_by_pass,
            peer_compat: deployment.peer_compat,
            recomputes_free: deployment.peer_compat && role == Role::Decode && !deployment.topology.prefills_locally(),
        }
    }

    fn engine(&self, id: usize) -> Box<dyn Engine> {
        engine(id, &self.pool.engine, |config| {
            let mut core = Core::new(config, &self.pool.timing, self.segments, self.journaled, self.pass_by_pass);
            core.peer_compat = self.peer_compat;
            core.tells_each_pass = self.tells_each_pass;
            core.role = self.role;
            core.worker = id as u32;
            core.recomputes_free = self.recomputes_free;
            core
        })
    }
}

/// A change of what is paid for.
#[derive(Clone, Copy, Debug)]
struct Change {
    at_ms: f64,
    gpus: u32,
    kv_blocks: u64,
}

/// Place of a state in which GPUs are paid for.
fn charged_state(state: State) -> Option<usize> {
    match state {
        State::Starting => Some(0),
        State::Active => Some(1),
        State::Draining => Some(2),
        State::Removed => None,
    }
}

/// All workers there ever were, by id.
#[derive(Debug, Default)]
pub struct Fleet {
    workers: Vec<Worker>,
    moulds: Vec<Mould>,
    /// Ids of workers that take requests, per role, ascending.
    active: [Vec<usize>; Role::COUNT],
    /// Where their requests may go, one for each of their ranks, ascending.
    targets: [Vec<usize>; Role::COUNT],
    /// The worker of each of those.
    target_workers: [Vec<usize>; Role::COUNT],
    /// Most ranks of any worker: the number of one's targets.
    stride: usize,
    /// Ids of workers that have an engine, ascending.
    pub(super) live: Vec<usize>,
    /// When each worker must be advanced next, by id.
    pub(super) wakes: Wakes,
    /// GPUs in each state by role, and the GPU time that they have spent there until `spent_until_ms`.
    in_state: [[u32; 3]; Role::COUNT],
    spent: [[f64; 3]; Role::COUNT],
    spent_until_ms: f64,
    /// GPUs and KV blocks provisioned from a time on; the first entry is at 0.
    provisioned: Vec<Change>,
}

impl Fleet {
    pub(super) fn new(moulds: Vec<Mould>) -> Self {
        let start = Change { at_ms: 0.0, gpus: 0, kv_blocks: 0 };
        let stride = moulds.iter().map(|m| m.pool.engine.attention_dp.max(1)).max().unwrap_or(1) as usize;
        Fleet { stride, moulds, provisioned: vec![start], ..Default::default() }
    }

    /// A worker that was ever there.
    pub fn worker(&self, id: usize) -> &Worker {
        &self.workers[id]
    }

    /// The state of a worker; none before it was started.
    pub fn state(&self, id: usize) -> Option<State> {
        self.workers.get(id).map(|w| w.state)
    }

    /// The scheduler and cache of a worker that is not removed.
    pub fn engine(&self, id: usize) -> &dyn Engine {
        self.workers[id].engine.as_deref().expect("a worker that is not removed")
    }

    pub(super) fn engine_mut(&mut self, id: usize) -> &mut Box<dyn Engine> {
        self.workers[id].engine.as_mut().expect("a worker that is not removed")
    }

    /// Ids of the workers of a role that take requests, ascending.
    pub fn active(&self, role: Role) -> &[usize] {
        &self.active[role as usize]
    }

    /// Where requests of a role may go, ascending: the ranks of the workers that take requests. A worker
    /// without attention data parallelism has one, and where none has more, targets are worker ids.
    pub fn targets(&self, role: Role) -> &[usize] {
        &self.targets[role as usize]
    }

    /// The worker of each target of a role.
    pub fn target_workers(&self, role: Role) -> &[usize] {
        &self.target_workers[role as usize]
    }

    /// The targets of one worker.
    pub fn targets_of(&self, id: usize) -> impl Iterator<Item = usize> + use<> {
        let ranks = self.pool(self.workers[id].role).map_or(1, |p| p.engine.attention_dp.max(1)) as usize;
        let first = id * self.stride;
        first..first + ranks
    }

    /// The target that is this rank of a worker.
    pub fn target(&self, id: usize, rank: usize) -> usize {
        id * self.stride + rank
    }

    /// Worker and rank of a target.
    pub fn split(&self, target: usize) -> (usize, usize) {
        if self.stride == 1 { (target, 0) } else { (target / self.stride, target % self.stride) }
    }

    fn renew_targets(&mut self, role: Role) {
        let active = std::mem::take(&mut self.active[role as usize]);
        let mut targets = std::mem::take(&mut self.targets[role as usize]);
        targets.clear();
        active.iter().for_each(|&id| targets.extend(self.targets_of(id)));
        self.target_workers[role as usize] = targets.iter().map(|&target| self.split(target).0).collect();
        (self.active[role as usize], self.targets[role as usize]) = (active, targets);
    }

    /// Ids of the workers of a role in a state other than [`State::Removed`], ascending.
    pub fn ids(&self, role: Role, state: State) -> impl DoubleEndedIterator<Item = usize> {
        self.live.iter().copied().filter(move |&id| self.workers[id].role == role && self.workers[id].state == state)
    }

    /// Workers of a role that serve or soon will: what a scaling target is compared with.
    pub fn provisioned(&self, role: Role) -> usize {
        self.ids(role, State::Starting).count() + self.ids(role, State::Active).count()
    }

    /// The pool that workers of a role are made from.
    pub fn pool(&self, role: Role) -> Option<&Pool> {
        self.moulds.iter().find(|m| m.role == role).map(|m| &m.pool)
    }

    /// GPUs paid for now.
    pub fn gpus(&self) -> u32 {
        self.provisioned.last().map_or(0, |c| c.gpus)
    }

    /// Adds a worker in the given state (starting or active); its id.
    pub(super) fn add(&mut self, role: Role, state: State, now_ms: f64) -> usize {
        let mould = self.moulds.iter().find(|m| m.role == role).expect("a pool for every role that is scaled");
        let id = self.workers.len();
        let engine = mould.engine(id);
        let (gpus, blocks) = (mould.pool.gpus_per_worker, mould.pool.kv_blocks_per_worker());
        self.workers.push(Worker { role, state, since_ms: now_ms, until_ms: f64::INFINITY, engine: Some(engine) });
        self.live.push(id);
        if state == State::Active {
            // The highest id: what is known of the others stays as it is.
            self.active[role as usize].push(id);
            for target in self.targets_of(id) {
                self.targets[role as usize].push(target);
                self.target_workers[role as usize].push(id);
            }
        }
        let last = *self.provisioned.last().expect("starts with an entry");
        self.provision(now_ms, last.gpus + gpus, last.kv_blocks + blocks);
        self.shift(role, None, Some(state), gpus, now_ms);
        id
    }

    /// Moves a worker on in its life.
    pub(super) fn set_state(&mut self, id: usize, state: State, now_ms: f64) {
        let is_charged = self.workers[id].is_charged();
        let worker = &mut self.workers[id];
        let (role, before) = (worker.role, std::mem::replace(&mut worker.state, state));
        let active = &mut self.active[role as usize];
        if before == State::Active {
            active.retain(|&a| a != id);
        }
        if state == State::Active {
            let at = active.partition_point(|&a| a < id);
            active.insert(at, id);
        }
        self.renew_targets(role);
        if is_charged && before != State::Removed {
            let gpus = self.pool(role).map_or(0, |pool| pool.gpus_per_worker);
            self.shift(role, Some(before), Some(state), gpus, now_ms);
        }
        if state == State::Removed && before != State::Removed {
            self.workers[id].engine = None;
            self.wakes.set(id, f64::INFINITY, false);
            self.live.retain(|&l| l != id);
            self.hand_over(id, now_ms);
        }
    }

    /// A worker's GPUs are another's from now on, or given back.
    pub(super) fn hand_over(&mut self, id: usize, now_ms: f64) {
        if self.workers[id].is_charged() {
            self.workers[id].until_ms = now_ms;
            let pool = self.pool(self.workers[id].role).expect("workers come from pools");
            let (gpus, blocks) = (pool.gpus_per_worker, pool.kv_blocks_per_worker());
            let (role, state) = (self.workers[id].role, self.workers[id].state);
            let last = *self.provisioned.last().expect("starts with an entry");
            self.provision(now_ms, last.gpus - gpus, last.kv_blocks - blocks);
            self.shift(role, Some(state), None, gpus, now_ms);
        }
    }

    /// GPUs go from one state to another.
    fn shift(&mut self, role: Role, from: Option<State>, to: Option<State>, gpus: u32, now_ms: f64) {
        for role in Role::ALL {
            self.spent[role as usize] = self.gpu_ms_by_state(role, now_ms);
        }
        self.spent_until_ms = now_ms;
        if let Some(from) = from.and_then(charged_state) {
            self.in_state[role as usize][from] -= gpus;
        }
        if let Some(to) = to.and_then(charged_state) {
            self.in_state[role as usize][to] += gpus;
        }
    }

    /// GPU ms that workers of a role have been starting, active and draining until now. A dead worker's
    /// GPUs are its replacement's.
    pub fn gpu_ms_by_state(&self, role: Role, now_ms: f64) -> [f64; 3] {
        let since_ms = (now_ms - self.spent_until_ms).max(0.0);
        let (spent, gpus) = (&self.spent[role as usize], &self.in_state[role as usize]);
        std::array::from_fn(|state| spent[state] + f64::from(gpus[state]) * since_ms)
    }

    fn provision(&mut self, at_ms: f64, gpus: u32, kv_blocks: u64) {
        let last = self.provisioned.last_mut().expect("starts with an entry");
        if last.at_ms == at_ms {
            (last.gpus, last.kv_blocks) = (gpus, kv_blocks);
        } else {
            self.provisioned.push(Change { at_ms, gpus, kv_blocks });
        }
    }

    /// GPU ms over a time span as the sum over the lives of workers: what [`Fleet::used`] must be.
    pub(super) fn lived(&self, from_ms: f64, to_ms: f64) -> f64 {
        let gpu_ms = |w: &Worker| {
            let gpus = self.pool(w.role).map_or(0, |pool| pool.gpus_per_worker);
            f64::from(gpus) * (w.until_ms.min(to_ms) - w.since_ms.max(from_ms)).max(0.0)
        };
        self.workers.iter().map(gpu_ms).sum()
    }

    /// GPUs provisioned over a time span: GPU ms, KV block ms, and the most GPUs at once.
    pub(super) fn used(&self, from_ms: f64, to_ms: f64) -> (f64, f64, u32) {
        let (mut gpu_ms, mut block_ms, mut peak) = (0.0, 0.0, 0);
        for (index, change) in self.provisioned.iter().enumerate() {
            let until = self.provisioned.get(index + 1).map_or(to_ms, |next| next.at_ms.min(to_ms));
            let span = until - change.at_ms.max(from_ms);
            if span >= 0.0 {
                gpu_ms += f64::from(change.gpus) * span;
                block_ms += change.kv_blocks as f64 * span;
                peak = peak.max(change.gpus);
            }
        }
        (gpu_ms, block_ms, peak)
    }
}
