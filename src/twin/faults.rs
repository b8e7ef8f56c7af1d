//! Faults: workers that die or slow down, at given times or by seeded chance.
//!
//! A worker that dies finishes the pass it is in and nothing after it; its KV is lost, its requests
//! are tried again elsewhere ([`FaultConfig::retries`]), and a replacement starts in its place
//! ([`FaultConfig::restart_ms`]), whose GPUs are paid for meanwhile. A slow worker takes a multiple of
//! the usual time for each pass that starts while it is slow.
//!
//! Each worker has a random stream of its own, named by its id: another number of workers, or
//! another policy, does not shift when the third worker dies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rustc_hash::FxHashMap;

use super::cluster::{Cluster, Controller, State};

/// Streams of workers begin here: those below belong to others.
const FIRST_STREAM: u64 = 1 << 32;

/// What can go wrong. The default is that nothing does.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultConfig {
    /// Mean time from when a worker becomes ready until it dies, exponential, ms; `None` for never.
    pub mtbf_ms: Option<f64>,
    /// Time from a death until the replacement takes requests, ms; `None` for no replacement.
    pub restart_ms: Option<f64>,
    /// Times that a request whose worker died is tried again before it has failed.
    pub retries: u32,
    /// Whether a retried request keeps the tokens already streamed, whose KV is computed again with
    /// the prompt's; else it starts over, and its first token is that of the last try.
    pub keep_tokens: bool,
    /// Mean time between slowdowns of one worker, exponential, ms; `None` for never.
    pub slow_every_ms: Option<f64>,
    /// How much longer passes take during slowdowns by chance.
    pub slow_factor: f64,
    /// How long they last, ms.
    pub slow_ms: f64,
    /// Faults at given times.
    pub events: Vec<FaultEvent>,
}

impl Default for FaultConfig {
    fn default() -> Self {
        FaultConfig {
            mtbf_ms: None,
            restart_ms: Some(60_000.0),
            retries: 3,
            keep_tokens: false,
            slow_every_ms: None,
            slow_factor: 2.0,
            slow_ms: 60_000.0,
            events: Vec::new(),
        }
    }
}

impl FaultConfig {
    /// Whether nothing ever goes wrong.
    pub fn is_empty(&self) -> bool {
        self.mtbf_ms.is_none() && self.slow_every_ms.is_none() && self.events.is_empty()
    }
}

/// One fault at a given time; nothing happens if the worker is not there then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultEvent {
    pub at_ms: f64,
    /// Id of the worker: those at the start count from 0, later ones follow as they are started.
    pub worker: u32,
    pub kind: FaultKind,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    Death,
    /// Its passes take `factor` times as long for so many ms.
    Slow {
        factor: f64,
        for_ms: f64,
    },
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Fault(FaultKind),
    /// A slowdown by chance, after which the next is drawn.
    SlowByChance,
    /// A slowdown is over.
    Recovery,
}

/// The controller that makes faults happen.
#[derive(Debug)]
pub struct Faults {
    config: FaultConfig,
    seed: u64,
    /// (time as ordered bits, sequence) of what is due, into `dues`.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// Worker and what happens to it, in the order in which it became known.
    dues: Vec<(u32, Due)>,
    /// Generators of workers that may still be slowed down by chance.
    streams: FxHashMap<u32, ChaCha8Rng>,
    /// When each slow worker recovers, ms.
    slow_until: FxHashMap<u32, f64>,
}

impl Faults {
    /// Of a study's seed.
    pub fn new(config: &FaultConfig, seed: u64) -> Self {
        let mut faults = Faults {
            config: config.clone(),
            seed,
            queue: BinaryHeap::new(),
            dues: Vec::new(),
            streams: FxHashMap::default(),
            slow_until: FxHashMap::default(),
        };
        for event in &config.events {
            faults.push(event.at_ms, event.worker, Due::Fault(event.kind));
        }
        faults
    }

    fn push(&mut self, at_ms: f64, worker: u32, due: Due) {
        // Times are not negative: their bits are in their order.
        self.queue.push(Reverse((at_ms.max(0.0).to_bits(), self.dues.len())));
        self.dues.push((worker, due));
    }

    fn happen(&mut self, now_ms: f64, worker: u32, due: Due, cluster: &mut Cluster) {
        if cluster.fleet.state(worker as usize).is_none_or(|s| s == State::Removed) {
            return;
        }
        match due {
            Due::Fault(FaultKind::Death) => cluster.kill(worker as usize, self.config.restart_ms, now_ms),
            Due::Fault(FaultKind::Slow { factor, for_ms }) => self.slow(now_ms, worker, factor, for_ms, cluster),
            Due::SlowByChance => {
                self.slow(now_ms, worker, self.config.slow_factor, self.config.slow_ms, cluster);
                self.draw_slowdown(now_ms + self.config.slow_ms, worker);
            }
            Due::Recovery => {
                if self.slow_until.get(&worker).is_some_and(|&until| until <= now_ms) {
                    self.slow_until.remove(&worker);
                    cluster.set_pace(worker as usize, 1.0, now_ms);
                }
            }
        }
    }

    /// The latest slowdown of a worker counts, for as long as it lasts.
    fn slow(&mut self, now_ms: f64, worker: u32, factor: f64, for_ms: f64, cluster: &mut Cluster) {
        cluster.set_pace(worker as usize, factor, now_ms);
        self.slow_until.insert(worker, now_ms + for_ms);
        self.push(now_ms + for_ms, worker, Due::Recovery);
    }

    fn draw_slowdown(&mut self, from_ms: f64, worker: u32) {
        let (Some(mean_ms), Some(rng)) = (self.config.slow_every_ms, self.streams.get_mut(&worker)) else { return };
        let wait: f64 = Exp1.sample(rng);
        self.push(from_ms + mean_ms * wait, worker, Due::SlowByChance);
    }
}

impl Controller for Faults {
    fn next_ms(&self) -> f64 {
        self.queue.peek().map_or(f64::INFINITY, |Reverse((bits, _))| f64::from_bits(*bits))
    }

    fn act(&mut self, now_ms: f64, cluster: &mut Cluster) {
        while self.next_ms() <= now_ms {
            let Some(Reverse((_, index))) = self.queue.pop() else { return };
            let (worker, due) = self.dues[index];
            self.happen(now_ms, worker, due, cluster);
        }
    }

    fn worker_ready(&mut self, now_ms: f64, worker: usize, _cluster: &Cluster) {
        let worker = worker as u32;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(FIRST_STREAM + u64::from(worker));
        // Drawn in any case, so that slowdowns do not depend on whether there are deaths.
        let life: f64 = Exp1.sample(&mut rng);
        if let Some(mean_ms) = self.config.mtbf_ms {
            self.push(now_ms + mean_ms * life, worker, Due::Fault(FaultKind::Death));
        }
        self.streams.insert(worker, rng);
        self.draw_slowdown(now_ms, worker);
    }
}
