//! The event loop: arrivals, placements, passes and their visible edges on one virtual clock.
//!
//! Events at one instant are settled in this order: what passes made visible, by worker, then
//! arrivals, then the start of new passes; equal events are first in, first out. Workers run lazily: a worker is
//! advanced only when it has something to decide, when a request reaches it, or when somebody reads
//! its cache. When nothing that happens can change an arrival or a placement, every request is
//! placed first and each worker then runs to its end by itself.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::deployment::{Deployment, Pool, Topology};
use super::engine::{Core, Engine, engine};
use super::outcome::{Outcome, RequestRecord, Status};
use super::request::{EdgeKind, Requests};
use super::router::{Policy, View};
use super::tally::{ClusterUse, metrics};
use crate::workload::prefix::BlockPaths;
use crate::workload::{Load, Workload};

/// A point on the virtual clock in a total order with what happens there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct At<T> {
    ms: f64,
    /// Breaks ties: smaller first.
    rank: u64,
    what: T,
}

impl<T: PartialEq> Eq for At<T> {}

impl<T: PartialEq> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: PartialEq> Ord for At<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ms.total_cmp(&other.ms).then(self.rank.cmp(&other.rank))
    }
}

struct Cluster<'a> {
    workers: Vec<Box<dyn Engine>>,
    policy: Box<dyn Policy>,
    paths: Arc<BlockPaths>,
    requests: Requests<'a>,
    /// Requests whose arrival is known, by (time, session, turn).
    arrivals: BinaryHeap<Reverse<At<u32>>>,
    /// What passes in flight will make visible.
    edges: BinaryHeap<Reverse<At<(u32, EdgeKind)>>>,
    /// Edges taken over from each worker.
    edges_seen: Vec<u64>,
    /// Sessions not yet started, in closed loop.
    next_session: usize,
    wakes: Vec<f64>,
}

/// Simulates an aggregated deployment whose requests `policy` places.
pub fn simulate(deployment: &Deployment, workload: &Workload, policy: Box<dyn Policy>, per_request: bool) -> Outcome {
    let Topology::Aggregated(pool) = &deployment.topology;
    let mut cluster = Cluster::new(deployment, pool, workload, policy);
    if cluster.policy.watches_requests() || workload.has_turns() || workload.load != Load::Open {
        cluster.run_events();
    } else {
        cluster.run_workers_apart();
    }
    if cfg!(debug_assertions) {
        cluster.check();
    }
    cluster.outcome(deployment, pool, per_request)
}

impl<'a> Cluster<'a> {
    fn new(deployment: &Deployment, pool: &Pool, workload: &'a Workload, policy: Box<dyn Policy>) -> Self {
        let paths = workload.paths(pool.engine.block_size);
        let worker = |_| {
            let journaled = policy.reads_caches();
            let mut core = Core::new(&pool.engine, &pool.timing, paths.segments(), journaled, deployment.pass_by_pass);
            core.peer_compat = deployment.peer_compat;
            engine(core)
        };
        let mut cluster = Cluster {
            workers: (0..pool.workers).map(worker).collect(),
            wakes: vec![f64::INFINITY; pool.workers as usize],
            policy,
            paths,
            requests: Requests::new(workload, pool.engine.max_model_len),
            arrivals: BinaryHeap::new(),
            edges: BinaryHeap::new(),
            edges_seen: vec![0; pool.workers as usize],
            next_session: 0,
        };
        let first = match workload.load {
            Load::Open => workload.sessions(),
            Load::Closed { concurrency } => workload.sessions().min(concurrency as usize),
        };
        for session in 0..first {
            let request = workload.session(session)[0];
            let at = match workload.load {
                Load::Open => workload.requests[request as usize].arrival_ms,
                Load::Closed { .. } => 0.0,
            };
            cluster.schedule(at, request);
        }
        cluster.next_session = first;
        cluster
    }

    fn schedule(&mut self, at_ms: f64, request: u32) {
        let r = &self.requests.workload.requests[request as usize];
        let rank = u64::from(r.session) << 32 | u64::from(r.turn);
        self.arrivals.push(Reverse(At { ms: at_ms, rank, what: request }));
    }

    /// Places every request first, then runs each worker by itself: its caches stay warm in ours.
    fn run_workers_apart(&mut self) {
        while let Some(Reverse(At { ms, what: request, .. })) = self.arrivals.pop() {
            self.place(ms, request);
        }
        for worker in &mut self.workers {
            worker.run(f64::INFINITY, &self.paths, &mut self.requests);
        }
    }

    fn run_events(&mut self) {
        self.requests.edges = Some(Vec::new());
        loop {
            let edge = self.edges.peek().map_or(f64::INFINITY, |e| e.0.ms);
            let arrival = self.arrivals.peek().map_or(f64::INFINITY, |a| a.0.ms);
            let (worker, wake, ends_run) = self.next_wake();
            let now = edge.min(arrival).min(wake);
            if now == f64::INFINITY {
                return;
            }
            if wake == now && ends_run {
                self.advance(worker, now);
            } else if edge == now {
                let Some(Reverse(At { what: (request, kind), .. })) = self.edges.pop() else { return };
                self.see(now, request, kind);
            } else if arrival == now {
                let Some(Reverse(At { what: request, .. })) = self.arrivals.pop() else { return };
                let worker = self.place(now, request);
                self.refresh(worker);
            } else {
                self.advance(worker, now.next_up());
            }
        }
    }

    /// The worker with the earliest wake, and whether a run of passes that began before ends there:
    /// what that makes visible comes before anything else at that time.
    fn next_wake(&self) -> (usize, f64, bool) {
        let mut next = (0, f64::INFINITY, false);
        for (worker, &wake) in self.wakes.iter().enumerate() {
            if wake < next.1 || (wake == next.1 && !next.2 && wake < f64::INFINITY) {
                let ends_run = self.workers[worker].core().now_ms < wake;
                if wake < next.1 || ends_run {
                    next = (worker, wake, ends_run);
                }
            }
        }
        next
    }

    fn advance(&mut self, worker: usize, until_ms: f64) {
        self.workers[worker].run(until_ms, &self.paths, &mut self.requests);
        self.refresh(worker);
    }

    /// Takes over a worker's new edges and the time of its next decision.
    fn refresh(&mut self, worker: usize) {
        if let Some(edges) = &mut self.requests.edges {
            for edge in edges.drain(..) {
                // By worker, then in the order of the worker's own doing.
                let rank = (worker as u64) << 40 | self.edges_seen[worker];
                self.edges.push(Reverse(At { ms: edge.at_ms, rank, what: (edge.request, edge.kind) }));
                self.edges_seen[worker] += 1;
            }
            self.wakes[worker] = self.workers[worker].wake_ms(&self.requests);
        }
    }

    fn place(&mut self, now_ms: f64, request: u32) -> usize {
        self.requests.states[request as usize].arrival_ms = now_ms;
        if self.policy.reads_caches() {
            for worker in 0..self.workers.len() {
                if self.workers[worker].core().may_change_before(now_ms) {
                    self.advance(worker, now_ms);
                }
            }
        }
        let view = View { workers: &self.workers, paths: &self.paths, states: &self.requests.states, now_ms };
        let worker = self.policy.place(request, &view);
        self.requests.states[request as usize].worker = worker as u32;
        if self.requests.edges.is_some() {
            self.advance(worker, now_ms);
        }
        self.workers[worker].push(now_ms, request);
        worker
    }

    /// What a pass made visible: the router's books, the session's next turn, the client's next slot.
    fn see(&mut self, now_ms: f64, request: u32, kind: EdgeKind) {
        let worker = self.requests.states[request as usize].worker as usize;
        let view = View { workers: &self.workers, paths: &self.paths, states: &self.requests.states, now_ms };
        match kind {
            EdgeKind::FirstToken => self.policy.first_token(request, worker, &view),
            EdgeKind::Ended => {
                self.policy.ended(request, worker, &view);
                self.follow_up(now_ms, request);
            }
        }
    }

    fn follow_up(&mut self, now_ms: f64, request: u32) {
        let workload = self.requests.workload;
        let r = &workload.requests[request as usize];
        if let Some(&next) = workload.session(r.session as usize).get(r.turn as usize + 1) {
            self.schedule(now_ms + workload.requests[next as usize].delay_ms, next);
        } else if workload.load != Load::Open && self.next_session < workload.sessions() {
            let first = workload.session(self.next_session)[0];
            self.next_session += 1;
            self.schedule(now_ms, first);
        }
    }

    /// Every request has ended, and every worker has all its blocks back. In debug builds only: a
    /// release build counts what is left as unfinished.
    fn check(&self) {
        for (index, state) in self.requests.states.iter().enumerate() {
            assert_ne!(state.status, Status::Unfinished, "work left but no event: request {index}");
        }
        for worker in &self.workers {
            let core = worker.core();
            assert_eq!((core.in_flight(), core.kv.active(), core.decode.seqs()), (0, 0, 0));
            core.kv.check();
        }
    }

    fn outcome(self, deployment: &Deployment, pool: &Pool, per_request: bool) -> Outcome {
        let states = &self.requests.states;
        let end = states.iter().map(|s| s.last_token_ms).filter(|t| !t.is_nan()).fold(0.0, f64::max);
        let measured_from_ms = self.requests.workload.measured_from_ms;
        let is_measured = |t: &f64| *t >= measured_from_ms;
        let start = states.iter().map(|s| s.arrival_ms).filter(is_measured).fold(f64::INFINITY, f64::min);
        let duration_ms = (end - start).max(0.0);
        let records: Vec<RequestRecord> =
            states.iter().zip(&self.requests.workload.requests).map(|(s, r)| s.record(r)).collect();
        let measured: Vec<RequestRecord>;
        let counted = if measured_from_ms > 0.0 {
            measured =
                records.iter().filter(|r| r.arrival_ms.is_nan() || is_measured(&r.arrival_ms)).cloned().collect();
            &measured
        } else {
            &records
        };
        let gpus = pool.workers * pool.gpus_per_worker;
        let cluster = ClusterUse {
            duration_ms,
            gpu_ms: f64::from(gpus) * duration_ms,
            gpus_peak: gpus,
            scale_events: 0,
            kv_blocks: u64::from(pool.workers) * u64::from(pool.engine.gpu_blocks),
            usd_per_gpu_hour: deployment.usd_per_gpu_hour,
        };
        let tally = &self.requests.tally;
        Outcome {
            metrics: metrics(counted, tally, &cluster, &deployment.sla),
            passes: tally.passes,
            steps: tally.steps,
            requests: per_request.then_some(records),
        }
    }
}

impl super::request::RequestState {
    fn record(&self, request: &crate::workload::Request) -> RequestRecord {
        let completed = self.status == Status::Completed;
        let ttft_ms = self.first_token_ms - self.arrival_ms;
        let e2e_ms = if completed && self.output_tokens > 0 { self.last_token_ms - self.arrival_ms } else { f64::NAN };
        let output_tokens = if completed { self.output_tokens } else { self.generated };
        RequestRecord {
            row: request.row,
            session: request.session,
            turn: request.turn,
            status: self.status,
            arrival_ms: self.arrival_ms,
            ttft_ms,
            e2e_ms,
            tpot_ms: if output_tokens > 1 { (e2e_ms - ttft_ms) / f64::from(output_tokens - 1) } else { f64::NAN },
            input_tokens: self.input_tokens,
            output_tokens,
            reused_tokens: self.reused,
            preemptions: self.preemptions,
            worker: self.worker,
            prefill_worker: u32::MAX,
            queue_ms: self.admitted_ms - self.arrival_ms,
            transfer_ms: f64::NAN,
        }
    }
}
