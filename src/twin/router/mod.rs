//! Placement of requests on workers: one trait, a file per policy.

pub mod kv;
mod least_loaded;
mod power_of_two;
mod random;
mod round_robin;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::deployment::{RouterConfig, RouterPolicy};
use super::engine::Engine;
use super::request::RequestState;
use crate::workload::prefix::BlockPaths;

/// What a policy sees when it places a request.
pub struct View<'a> {
    /// Workers, brought up to the present when the policy asks for it.
    pub workers: &'a [Box<dyn Engine>],
    pub paths: &'a BlockPaths,
    pub states: &'a [RequestState],
    pub now_ms: f64,
}

/// A placement policy. It keeps its own books from the edges it is told.
pub trait Policy {
    /// Chooses a worker for a request that arrives now.
    fn place(&mut self, request: u32, view: &View) -> usize;
    /// Whether [`Policy::place`] depends on what happened before; else all requests can be placed
    /// before anything runs.
    fn watches_requests(&self) -> bool {
        true
    }
    /// Whether it reads the workers' caches, which then must be up to date.
    fn reads_caches(&self) -> bool {
        false
    }
    /// A request it placed emitted its first token.
    fn first_token(&mut self, _request: u32, _worker: usize, _view: &View) {}
    /// A request it placed completed or was rejected.
    fn ended(&mut self, _request: u32, _worker: usize, _view: &View) {}
}

/// The policy of a deployment with this many workers.
pub fn policy(config: &RouterConfig, workers: usize, requests: usize, seed: u64) -> Box<dyn Policy> {
    match config.policy {
        RouterPolicy::RoundRobin => Box::new(round_robin::RoundRobin::new(workers)),
        RouterPolicy::Random => Box::new(random::Random::new(workers, stream(seed))),
        RouterPolicy::LeastLoaded => Box::new(least_loaded::LeastLoaded::new(workers, stream(seed))),
        RouterPolicy::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(workers, stream(seed))),
        RouterPolicy::Kv => Box::new(kv::Kv::new(config.clone(), workers, requests, stream(seed))),
    }
}

/// The router's own random stream, so that other draws do not shift it.
fn stream(seed: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    rng
}

/// Requests in flight per worker.
#[derive(Debug)]
struct InFlight(Vec<u32>);

impl InFlight {
    fn new(workers: usize) -> Self {
        InFlight(vec![0; workers])
    }

    /// The least loaded of some workers; ties go to a uniformly random one.
    fn least(&self, among: impl Iterator<Item = usize>, rng: &mut ChaCha8Rng) -> usize {
        argmin_random_tie(among.map(|w| (w, f64::from(self.0[w]))), rng)
    }
}

/// The item with the least cost; ties go to a uniformly random one. At least one item.
fn argmin_random_tie(items: impl Iterator<Item = (usize, f64)>, rng: &mut ChaCha8Rng) -> usize {
    use rand::RngExt;
    let (mut best, mut least, mut ties) = (0, f64::INFINITY, 0u32);
    for (item, cost) in items {
        if cost < least {
            (best, least, ties) = (item, cost, 1);
        } else if cost == least {
            ties += 1;
            if rng.random_range(0..ties) == 0 {
                best = item;
            }
        }
    }
    best
}
