//! `manifest.toml`: what a run was asked and under which conditions it ran.
//!
//! The only file of a run that may differ between identical runs: it holds host, dates and wall
//! times.

use serde::{Deserialize, Serialize};
use std::path::Path;

use super::{ArchiveError, write_atomic};

/// Layout of the run directory; raised when an older program could misread it.
pub(crate) const FORMAT: u32 = 1;

/// The manifest of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout version.
    pub format: u32,
    pub run: Run,
    pub workload: WorkloadEntry,
    pub timing: TimingEntry,
    pub space: SpaceEntry,
    /// One per process that worked on the run: the first, and one for every `--resume`.
    #[serde(default)]
    pub sessions: Vec<Session>,
}

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `[study] name`.
    pub name: String,
    /// Version of the program that made the run.
    pub servescout: String,
    pub seed: u64,
    pub strategy: String,
    /// Most simulations.
    pub budget: usize,
    /// Candidates per batch.
    pub batch: usize,
    /// What every batch file of the run carries: a SHA-256 of all that its rows depend on.
    pub fingerprint: String,
    /// Reference point of the hypervolume, in the objectives' order, all to be minimised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_point: Option<Vec<f64>>,
    /// Number of batches when the run was complete; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_batches: Option<u32>,
}

/// `[workload]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadEntry {
    /// File name or generator.
    pub source: String,
    /// SHA-256 of the trace's bytes, or of the generator's settings.
    pub sha256: String,
    pub requests: usize,
}

/// `[timing]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingEntry {
    /// Where pass times come from, a line each.
    pub provenance: Vec<String>,
}

/// `[space]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpaceEntry {
    /// The file it was read from, as seen from the run directory (absolute where they share no
    /// more than the root): relative paths in `toml` start at its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The search space as the user wrote it, overrides applied.
    pub toml: String,
}

/// One process's work on the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// RFC 3339.
    pub started_utc: String,
    /// Absent when the process was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_utc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// Candidates evaluated in this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<usize>,
    /// Batches that lay there when the session began.
    pub batches_before: u32,
    /// Threads that simulate.
    pub threads: usize,
    /// Cores that the operating system offers.
    pub cores: usize,
    pub os: String,
    pub arch: String,
}

impl Manifest {
    /// Reads a run's manifest.
    ///
    /// # Errors
    /// `NotARun` when there is none, it does not parse, or its layout is another.
    pub(crate) fn read(directory: &Path) -> Result<Manifest, ArchiveError> {
        let not_a_run = |why: String| ArchiveError::NotARun { path: directory.to_path_buf(), why };
        let path = directory.join("manifest.toml");
        if !path.is_file() {
            return Err(not_a_run("it has no manifest.toml".into()));
        }
        let text = std::fs::read_to_string(&path).map_err(ArchiveError::io("read", &path))?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|e| not_a_run(format!("its manifest.toml does not parse: {e}")))?;
        if manifest.format != FORMAT {
            return Err(not_a_run(format!(
                "its layout is format {}, this program reads format {FORMAT}; use servescout {}",
                manifest.format, manifest.run.servescout
            )));
        }
        Ok(manifest)
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), ArchiveError> {
        let body = toml::to_string_pretty(self).map_err(|e| ArchiveError::Unstorable(format!("manifest: {e}")))?;
        let text =
            format!("# A servescout run. Of its files, only this one may differ between identical runs.\n\n{body}");
        write_atomic(&directory.join("manifest.toml"), text.as_bytes())
    }
}
