//! The run directory: what a search leaves behind, and what everything after it is computed from.
//!
//! ```text
//! results/<name>-<utc>/  manifest.toml             space, seed, version, trace SHA-256, host, times
//!                        evaluations/batch-*.parquet   one row per candidate, one file per batch,
//!                        evaluations/batches-*.parquet or for many small batches together
//!                        frontier.{csv,parquet}    the non-dominated feasible candidates
//! ```
//!
//! Every file is written beside its place, synced and renamed into it ([`files::write_atomic`]), so
//! a kill at any instant loses at most the batch in flight. Reading trusts nothing: a batch file
//! that is torn, belongs to another run or is missing is named with the remedy ([`ArchiveError`]).
//! Identical runs leave identical bytes in every file but `manifest.toml`.

mod batch;
mod clock;
mod columns;
mod csv;
mod error;
mod files;
mod listing;
mod lock;
mod manifest;
mod requests;
mod rows;
mod run_dir;
mod seal;
mod table;
mod timeline;
mod volume;

pub use batch::Batch;
pub use clock::{Utc, default_run_path};
pub use columns::{Columns, knob_unit};
pub use csv::Csv;
pub use error::{ArchiveError, Damage};
pub use files::write_atomic;
pub(crate) use files::{commit_temporary, temporary_name};
pub use manifest::{Manifest, Run, Session, WorkloadEntry};
pub use requests::{RequestRow, requests_jsonl, requests_parquet};
pub use run_dir::{RunData, RunDir, Setup};
pub use table::Table;
pub use timeline::timeline_parquet;
