//! The serving twin: a discrete-event simulation of a serving deployment on a virtual clock.

pub mod deployment;
pub mod metrics;
pub mod outcome;

pub use deployment::Deployment;
pub use outcome::{Outcome, RequestRecord, Status};

use crate::workload::Workload;

/// Simulates one deployment under one workload. Pure: no file, no clock, no thread, no global; the
/// same arguments give the same outcome, bit for bit.
pub fn simulate(_deployment: &Deployment, _workload: &Workload, _seed: u64, _per_request: bool) -> Outcome {
    unimplemented!("arrives with the engine")
}
