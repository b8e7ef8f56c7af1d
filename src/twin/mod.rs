//! The serving twin: a discrete-event simulation of a serving deployment on a virtual clock.

mod cluster;
pub mod deployment;
pub mod engine;
pub mod histogram;
pub mod kv;
pub mod metrics;
pub mod outcome;
pub mod request;
pub mod router;
pub mod tally;

pub use deployment::Deployment;
pub use outcome::{Outcome, RequestRecord, Status};

use crate::workload::Workload;

/// Simulates one deployment under one workload. Pure: no file, no clock, no thread, no global; the
/// same arguments give the same outcome, bit for bit. `per_request` keeps a record of every request.
pub fn simulate(deployment: &Deployment, workload: &Workload, seed: u64, per_request: bool) -> Outcome {
    cluster::simulate(deployment, workload, seed, per_request)
}
