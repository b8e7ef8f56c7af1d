//! What a cluster looked like over time: a row for each pool and interval.

use std::cell::RefCell;
use std::rc::Rc;

use super::cluster::{Cluster, Controller, State};
use super::deployment::{Deployment, Role};

/// One pool over one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineRow {
    pub role: Role,
    /// The interval, ms; the first begins with the first arrival, the last ends with the last request.
    pub from_ms: f64,
    pub to_ms: f64,
    /// GPUs of workers that were starting, serving and leaving: means over the interval, so that times its
    /// length they are GPU time.
    pub gpus_starting: f64,
    pub gpus_active: f64,
    pub gpus_draining: f64,
    /// At its end: requests that no worker runs, at the router and on workers, those included that wait for
    /// room on a decode worker.
    pub queued: u32,
    /// At its end: requests that run.
    pub running: u32,
    /// At its end: share of the KV blocks of active and leaving workers that requests hold.
    pub kv_util: f64,
    /// Requests that arrived at the deployment during it (the same for each pool, as all below).
    pub arrived: u32,
    /// Requests that ended.
    pub ended: u32,
    /// Of requests whose first token came during it, ms; NaN where none did.
    pub ttft_mean_ms: f64,
    pub ttft_p90_ms: f64,
}

/// Looks at a cluster at the end of every interval.
#[derive(Debug)]
pub(super) struct Recorder {
    rows: Rc<RefCell<Vec<TimelineRow>>>,
    roles: Vec<Role>,
    interval_ms: f64,
    /// None before the first arrival.
    from_ms: Option<f64>,
    /// GPU time of each pool by state until then, GPU ms.
    spent: Vec<[f64; 3]>,
    arrived: u32,
    ended: u32,
    ttfts: Vec<f64>,
}

impl Recorder {
    pub fn new(deployment: &Deployment, interval_ms: f64, rows: Rc<RefCell<Vec<TimelineRow>>>) -> Self {
        let roles: Vec<Role> = deployment.topology.pools().iter().map(|&(role, _)| role).collect();
        let spent = vec![[0.0; 3]; roles.len()];
        Recorder { rows, roles, interval_ms, from_ms: None, spent, arrived: 0, ended: 0, ttfts: Vec::new() }
    }

    fn close_interval(&mut self, to_ms: f64, cluster: &Cluster) {
        let Some(from_ms) = self.from_ms.replace(to_ms) else { return };
        self.ttfts.sort_by(f64::total_cmp);
        let tokens = self.ttfts.len();
        let mean = self.ttfts.iter().sum::<f64>() / tokens as f64;
        let p90 = (tokens * 9).div_ceil(10).checked_sub(1).map_or(f64::NAN, |at| self.ttfts[at]);
        for (&role, before) in self.roles.iter().zip(&mut self.spent) {
            let spent = cluster.fleet.gpu_ms_by_state(role, to_ms);
            let length_ms = to_ms - from_ms;
            let gpus = |at: usize| if length_ms > 0.0 { (spent[at] - before[at]) / length_ms } else { 0.0 };
            let [gpus_starting, gpus_active, gpus_draining] = [gpus(0), gpus(1), gpus(2)];
            *before = spent;
            let load = Load::of(role, cluster);
            self.rows.borrow_mut().push(TimelineRow {
                role,
                from_ms,
                to_ms,
                gpus_starting,
                gpus_active,
                gpus_draining,
                queued: load.queued,
                running: load.running,
                kv_util: if load.blocks > 0 { load.held as f64 / load.blocks as f64 } else { 0.0 },
                arrived: self.arrived,
                ended: self.ended,
                ttft_mean_ms: mean,
                ttft_p90_ms: p90,
            });
        }
        self.ttfts.clear();
        (self.arrived, self.ended) = (0, 0);
    }
}

/// What a pool has to do.
#[derive(Debug, Default)]
struct Load {
    queued: u32,
    running: u32,
    held: u64,
    blocks: u64,
}

impl Load {
    fn of(role: Role, cluster: &Cluster) -> Self {
        let fleet = &cluster.fleet;
        let mut load = Load {
            queued: (cluster.unplaced(role) + cluster.wanting_room(role)) as u32,
            running: cluster.in_last_pass(role) as u32,
            ..Default::default()
        };
        for id in fleet.ids(role, State::Active).chain(fleet.ids(role, State::Draining)) {
            let engine = fleet.engine(id);
            for core in (0..engine.ranks()).map(|rank| engine.rank(rank)) {
                load.running += core.running.len() as u32;
                load.queued += (core.in_flight() - core.running.len()) as u32;
                load.held += u64::from(core.kv.active());
                load.blocks += u64::from(core.kv.total());
            }
        }
        load
    }
}

impl Controller for Recorder {
    fn next_ms(&self) -> f64 {
        self.from_ms.map_or(f64::INFINITY, |from_ms| from_ms + self.interval_ms)
    }

    fn act(&mut self, now_ms: f64, cluster: &mut Cluster) {
        for role in self.roles.clone() {
            let busy: Vec<usize> =
                cluster.fleet.ids(role, State::Active).chain(cluster.fleet.ids(role, State::Draining)).collect();
            for id in busy {
                cluster.catch_up(id, now_ms);
            }
        }
        self.close_interval(now_ms, cluster);
    }

    fn arrived(&mut self, now_ms: f64, _request: u32, cluster: &Cluster) {
        self.arrived += 1;
        if self.from_ms.is_none() {
            self.from_ms = Some(now_ms);
            for (&role, spent) in self.roles.iter().zip(&mut self.spent) {
                *spent = cluster.fleet.gpu_ms_by_state(role, now_ms);
            }
        }
    }

    fn first_token(&mut self, now_ms: f64, request: u32, cluster: &Cluster) {
        let state = &cluster.requests.states[request as usize];
        // Not the token after a retry: that is no first one.
        if state.first_token_ms == now_ms {
            self.ttfts.push(now_ms - state.arrival_ms);
        }
    }

    fn ended(&mut self, now_ms: f64, _request: u32, cluster: &Cluster) {
        self.ended += 1;
        if cluster.requests_left() == 0 {
            self.close_interval(now_ms, cluster);
        }
    }
}
