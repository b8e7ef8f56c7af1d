//! Servescout finds, before anyone rents a GPU, which LLM-serving configurations are worth renting one for.
//!
//! The tour, in the order in which data flows. Each module may use only the ones above it
//! (`tests/layering.rs` keeps it so):
//!
//! * [`units`]: conversions and number formats.
//! * [`decoding`]: decoders of others, whose panics are errors.
//! * [`frontier`]: dominance, exact hypervolume, crowding: pure geometry of objective vectors.
//! * [`catalog`]: models and GPUs as data, each figure with its source.
//! * [`workload`]: requests from a trace or a generator, parsed once and shared by all simulations.
//! * [`timing`]: how long one forward pass takes, and how many KV tokens fit.
//! * [`twin`]: the serving twin, `simulate(&Deployment, &Workload, ..) -> Outcome`.
//! * [`space`]: the search-space TOML: knobs, domains, conditions, candidates, deployments.
//! * [`search`]: strategies that ask for candidates and are told results; the parallel driver.
//! * [`evaluator`]: simulates the candidates of a study; where the space and the twin meet the search.
//! * [`archive`]: the run directory, Parquet in and out, resume.
//! * [`shortlist`]: the few candidates worth GPU hours.
//! * [`manifests`]: what starts and measures a shortlisted candidate.
//! * [`plot`]: figures, SVG and PNG.
//! * [`report`]: a run as one HTML page.
//! * [`validate`]: predictions held against measurements on real GPUs.
//! * [`compare`]: two runs side by side.
//! * [`cli`]: one file per subcommand.

#![forbid(unsafe_code)]

pub mod archive;
pub mod catalog;
pub mod cli;
pub mod compare;
pub mod decoding;
pub mod evaluator;
pub mod frontier;
pub mod manifests;
pub mod plot;
pub mod report;
pub mod search;
pub mod shortlist;
pub mod space;
pub mod timing;
pub mod twin;
pub mod units;
pub mod validate;
pub mod workload;
