//! The serving twin: a discrete-event simulation of a serving deployment on a virtual clock.

pub mod bounds;
pub mod cases;
pub mod cluster;
pub mod deployment;
pub mod engine;
pub mod histogram;
pub mod kv;
pub mod metrics;
pub mod metrics_reference;
pub mod outcome;
pub mod planner;
pub mod request;
pub mod router;
pub mod tally;

pub use deployment::{Deployment, Role, Topology};
pub use outcome::{Outcome, RequestRecord, Status};

use crate::workload::Workload;

/// Simulates one deployment under one workload. Pure: no file, no clock, no thread, no global; the
/// same arguments give the same outcome, bit for bit. `per_request` keeps a record of every request.
pub fn simulate(deployment: &Deployment, workload: &Workload, seed: u64, per_request: bool) -> Outcome {
    let seeded = deployment.with_draws_of(seed);
    let deployment = seeded.as_ref().unwrap_or(deployment);
    simulate_placed(deployment, workload, policies(deployment, seed), per_request)
}

/// [`simulate`], ended early when `watch` says so.
///
/// # Errors
/// The best case that the simulation then still had.
pub fn simulate_watched(
    deployment: &Deployment,
    workload: &Workload,
    seed: u64,
    watch: &mut dyn bounds::Watch,
) -> Result<Outcome, bounds::BestCase> {
    let seeded = deployment.with_draws_of(seed);
    let deployment = seeded.as_ref().unwrap_or(deployment);
    cluster::simulate_watched(deployment, workload, policies(deployment, seed), Vec::new(), watch)
}

fn policies(deployment: &Deployment, seed: u64) -> Vec<Box<dyn router::Policy>> {
    let pools = deployment.topology.pools();
    pools.iter().map(|&(role, _)| router::policy(&deployment.router, role, seed)).collect()
}

/// [`simulate`] with placement policies of the caller's own instead of `deployment.router`, one for
/// each of [`Topology::pools`]: a cost function under study, or placements recorded elsewhere.
pub fn simulate_placed(
    deployment: &Deployment,
    workload: &Workload,
    policies: Vec<Box<dyn router::Policy>>,
    per_request: bool,
) -> Outcome {
    cluster::simulate(deployment, workload, policies, Vec::new(), per_request)
}
