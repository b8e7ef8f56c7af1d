//! Placement of requests on workers.
//!
//! The cluster talks to a [`Policy`]; what it gets is a [`Router`]: books of what was placed where and of
//! what is cached there (`ledger`), a gate that lets requests wait or refuses them (`gate`), session
//! affinity, and a [`Chooser`] that picks a candidate from the [`Facts`]. Each way to choose is a file:
//! most are a [`Cost`] whose least wins. A new cost function is one new file and a line in [`policy`],
//! or no code at all: a formula in the search space ([`formula`]).

mod affinity;
mod choose;
mod facts;
pub mod formula;
mod gate;
mod kv;
mod least_loaded;
mod ledger;
mod lmetric;
mod power_of_two;
mod prefill;
mod random;
mod round_robin;
mod route;
mod rows;
mod two_tier;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::cluster::Fleet;
use super::deployment::{Role, RouterConfig, RouterPolicy};
use super::engine::{Core, Engine};
use super::kv::tier::Tiers;
use super::request::RequestState;
use crate::workload::Workload;
use crate::workload::prefix::BlockPaths;

pub use choose::{Cheapest, Chooser, Cost};
pub use facts::{Facts, Needs};
pub use kv::Kv;
pub use prefill::prefill_ms;
pub use route::Router;

/// What a policy sees.
pub struct View<'a> {
    /// All workers, brought up to the present when the policy asks for it.
    pub fleet: &'a Fleet,
    /// Which of them the policy places requests on.
    pub role: Role,
    pub workload: &'a Workload,
    pub paths: &'a BlockPaths,
    pub states: &'a [RequestState],
    /// KV tiers below GPU memory, brought up to the present with the caches.
    pub tiers: &'a Tiers,
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
    /// Whether it learns of changes to the caches later than they happen.
    fn hears_late(&self) -> bool {
        false
    }
    /// A request was placed on this worker without it.
    fn placed(&mut self, _request: u32, _worker: usize, _view: &View) {}
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
    /// What it counted.
    fn summary(&self) -> Summary {
        Summary::default()
    }
    /// When [`Policy::release`] has to be asked even if nothing happens; later than now, asked after
    /// placements and releases while something is queued.
    fn wake_ms(&self) -> f64 {
        f64::INFINITY
    }
}

/// What a router has to say at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests refused.
    pub refused: u64,
    /// Prompt blocks that some other candidate held beyond the chosen one, as far as the router knew.
    pub missed_blocks: u64,
    /// Prompt blocks of the requests placed by a router that reads caches.
    pub prompt_blocks: u64,
}

impl Summary {
    /// Of two routers together.
    pub fn and(self, other: Summary) -> Summary {
        Summary {
            refused: self.refused + other.refused,
            missed_blocks: self.missed_blocks + other.missed_blocks,
            prompt_blocks: self.prompt_blocks + other.prompt_blocks,
        }
    }
}

/// The policy of a deployment for workers of a role.
pub fn policy(config: &RouterConfig, role: Role, seed: u64) -> Box<dyn Policy> {
    let rng = stream(seed, role);
    let temperature = config.temperature;
    let own = config.decode_policy.as_ref().filter(|_| role == Role::Decode);
    let chooser: Box<dyn Chooser> = match own.unwrap_or(&config.policy) {
        RouterPolicy::RoundRobin => Box::new(round_robin::RoundRobin::default()),
        RouterPolicy::Random => Box::new(random::Random::new(rng)),
        RouterPolicy::LeastLoaded => Box::new(Cheapest::new(least_loaded::LeastLoaded, 0.0, rng)),
        RouterPolicy::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(rng)),
        RouterPolicy::Kv => Box::new(Cheapest::new(Kv::new(config), temperature, rng)),
        RouterPolicy::Lmetric => Box::new(Cheapest::new(lmetric::Lmetric::new(role), temperature, rng)),
        RouterPolicy::TwoTier => Box::new(two_tier::TwoTier),
        RouterPolicy::Expression(program) => Box::new(Cheapest::new(program.clone(), temperature, rng)),
    };
    Box::new(Router::new(chooser, config, role))
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
