//! Placement of requests on workers: one trait, a file per policy.

pub mod kv;
mod least_loaded;
mod power_of_two;
mod random;
mod round_robin;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::cluster::Fleet;
use super::deployment::{Role, RouterConfig, RouterPolicy};
use super::engine::{Core, Engine};
use super::request::RequestState;
use crate::workload::prefix::BlockPaths;

/// What a policy sees.
pub struct View<'a> {
    /// All workers, brought up to the present when the policy asks for it.
    pub fleet: &'a Fleet,
    /// Which of them the policy places requests on.
    pub role: Role,
    pub paths: &'a BlockPaths,
    pub states: &'a [RequestState],
    pub now_ms: f64,
}

impl<'a> View<'a> {
    /// Where a request may be placed now, ascending: worker ids, or with attention data parallelism
    /// the targets of their ranks ([`Fleet::targets`]). Everything that a policy is told or decides
    /// about a worker is about one of these.
    pub fn candidates(&self) -> &'a [usize] {
        self.fleet.targets(self.role)
    }

    /// The worker of a candidate that is not removed.
    pub fn engine(&self, candidate: usize) -> &'a dyn Engine {
        self.fleet.engine(self.fleet.split(candidate).0)
    }

    /// The scheduler state and cache of a candidate that is not removed.
    pub fn core(&self, candidate: usize) -> &'a Core {
        let (worker, rank) = self.fleet.split(candidate);
        self.fleet.engine(worker).rank(rank)
    }
}

/// What a policy decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It goes to this worker, one of the candidates.
    Worker(usize),
    /// The policy keeps it until [`Policy::release`] gives it back.
    Queued,
    /// It is refused.
    Rejected,
}

/// A placement policy for the workers of one role. It keeps its own books from what it is told.
///
/// Workers are named by their ids, which grow over time and are never reused; those at the start are
/// announced by [`Policy::worker_ready`] like all others. After every hook the cluster asks
/// [`Policy::release`] until it has no more, provided that something is queued.
pub trait Policy {
    /// Decides about a request that reached this role now. There is at least one candidate.
    fn place(&mut self, request: u32, view: &View) -> Placement;
    /// Whether [`Policy::place`] depends on what happened before; else all requests can be placed
    /// before anything runs.
    fn watches_requests(&self) -> bool {
        true
    }
    /// Whether it reads the workers' caches, which then must be up to date.
    fn reads_caches(&self) -> bool {
        false
    }
    /// A request it placed emitted its first token: on a prefill worker, its prompt is complete.
    fn first_token(&mut self, _request: u32, _worker: usize, _view: &View) {}
    /// A request it placed left its worker: completed, rejected, or handed over.
    fn ended(&mut self, _request: u32, _worker: usize, _view: &View) {}
    /// A request it placed comes back from a worker that died; it will be placed again.
    fn withdrawn(&mut self, request: u32, worker: usize, view: &View) {
        self.ended(request, worker, view);
    }
    /// A worker takes requests from now on.
    fn worker_ready(&mut self, _worker: usize, _view: &View) {}
    /// A worker takes no more requests.
    fn worker_draining(&mut self, _worker: usize, _view: &View) {}
    /// A worker and its cache are gone; it has drained or died before, and none of its requests is left.
    fn worker_removed(&mut self, _worker: usize, _view: &View) {}
    /// Requests it keeps.
    fn queued(&self) -> usize {
        0
    }
    /// A queued request whose time has come, with where it goes (not [`Placement::Queued`]). There is
    /// at least one candidate.
    fn release(&mut self, _view: &View) -> Option<(u32, Placement)> {
        None
    }
    /// When [`Policy::release`] has to be asked even if nothing happens; later than now, asked after
    /// placements and releases while something is queued.
    fn wake_ms(&self) -> f64 {
        f64::INFINITY
    }
}

/// The policy of a deployment for workers of a role.
pub fn policy(config: &RouterConfig, role: Role, requests: usize, seed: u64) -> Box<dyn Policy> {
    let rng = stream(seed, role);
    match config.policy {
        RouterPolicy::RoundRobin => Box::new(round_robin::RoundRobin::default()),
        RouterPolicy::Random => Box::new(random::Random::new(rng)),
        RouterPolicy::LeastLoaded => Box::new(least_loaded::LeastLoaded::new(rng)),
        RouterPolicy::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(rng)),
        RouterPolicy::Kv => Box::new(kv::Kv::new(config.clone(), requests, rng)),
    }
}

/// A router's own random stream, so that other draws do not shift it.
fn stream(seed: u64, role: Role) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match role {
        Role::Aggregated => 1,
        Role::Prefill => 2,
        Role::Decode => 3,
    });
    rng
}

/// Requests in flight per worker, by id.
#[derive(Debug, Default)]
struct InFlight(Vec<u32>);

impl InFlight {
    fn worker_ready(&mut self, worker: usize) {
        self.0.resize(self.0.len().max(worker + 1), 0);
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
