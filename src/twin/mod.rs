//! The serving twin: a discrete-event simulation of a serving deployment on a virtual clock.

pub mod bounds;
pub mod cases;
pub mod cluster;
pub mod deployment;
pub mod engine;
pub mod faults;
pub mod histogram;
pub mod kv;
pub mod metrics;
pub mod metrics_reference;
pub mod outcome;
pub(crate) mod pages;
pub mod planner;
pub mod request;
pub mod router;
pub mod tally;
pub mod timeline;

pub use deployment::{Deployment, Role, Topology};
pub use outcome::{Outcome, RequestRecord, Status};

use crate::workload::Workload;

/// Simulates one deployment under one workload. Pure: no file, no clock, no thread, no global; the
/// same arguments give the same outcome, bit for bit. `per_request` keeps a record of every request.
pub fn simulate(deployment: &Deployment, workload: &Workload, seed: u64, per_request: bool) -> Outcome {
    let seeded = deployment.with_draws_of(seed);
    let deployment = seeded.as_ref().unwrap_or(deployment);
    simulate_placed(deployment, workload, policies(deployment, seed), seed, per_request)
}

/// [`simulate`], with a row for each pool and each interval of what the cluster looked like.
pub fn simulate_traced(
    deployment: &Deployment,
    workload: &Workload,
    seed: u64,
    per_request: bool,
    interval_ms: f64,
) -> (Outcome, Vec<timeline::TimelineRow>) {
    let seeded = deployment.with_draws_of(seed);
    let deployment = seeded.as_ref().unwrap_or(deployment);
    let rows = std::rc::Rc::default();
    let mut controllers = controllers(deployment, seed);
    // The last: it sees what the others did.
    controllers.push(Box::new(timeline::Recorder::new(deployment, interval_ms, std::rc::Rc::clone(&rows))));
    let outcome = cluster::simulate(deployment, workload, policies(deployment, seed), controllers, per_request);
    (outcome, rows.take())
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
    let controllers = controllers(deployment, seed);
    cluster::simulate_watched(deployment, workload, policies(deployment, seed), controllers, watch)
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
    seed: u64,
    per_request: bool,
) -> Outcome {
    cluster::simulate(deployment, workload, policies, controllers(deployment, seed), per_request)
}

/// What acts on a deployment's workers: faults, then the planner, who so sees what is left.
fn controllers(deployment: &Deployment, seed: u64) -> Vec<Box<dyn cluster::Controller>> {
    let mut controllers: Vec<Box<dyn cluster::Controller>> = Vec::new();
    if !deployment.faults.is_empty() {
        controllers.push(Box::new(faults::Faults::new(&deployment.faults, seed)));
    }
    if let Some(config) = &deployment.planner {
        controllers.push(Box::new(planner::Scaler::new(config, deployment)));
    }
    controllers
}
