//! What can be wrong with a workload. Each error says where, what, why, and what to write instead.

use std::io;
use std::path::{Path, PathBuf};

/// A workload that cannot be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A trace that cannot be replayed as it stands.
    #[error("{}", located(path, *line, field.as_deref(), why, help))]
    Trace {
        path: PathBuf,
        /// Line from 1; `None` when the whole file is meant.
        line: Option<u64>,
        /// The field of the row, when one is to blame.
        field: Option<String>,
        why: String,
        help: String,
    },
    /// A setting out of its range.
    #[error("{place}: `{field}` {why}\n  help: {help}")]
    Setting {
        /// `workload` or `synthetic workload`.
        place: &'static str,
        field: &'static str,
        why: String,
        help: String,
    },
    /// The system failed while a trace was being read.
    #[error("{}: reading failed: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The output exists already.
    #[error("{}: exists already\n  help: give another --out, or --force to replace it", path.display())]
    Exists { path: PathBuf },
    /// The output cannot be put there.
    #[error("{}: {why}\n  help: {help}", path.display())]
    Output { path: PathBuf, why: String, help: String },
    /// The system failed while a trace was being written.
    #[error("{}: writing failed: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl WorkloadError {
    /// The process's exit code: 2 for the user's mistakes, 1 for failures of the system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Trace { .. } | Self::Setting { .. } | Self::Exists { .. } | Self::Output { .. } => 2,
            Self::Read { .. } | Self::Write { .. } => 1,
        }
    }

    /// Line of the trace to blame, from 1.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::Trace { line, .. } => *line,
            _ => None,
        }
    }

    /// Field of the row, or setting, to blame.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Trace { field, .. } => field.as_deref(),
            Self::Setting { field, .. } => Some(field),
            _ => None,
        }
    }

    /// An error about a whole trace file.
    pub(crate) fn file(path: &Path, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Trace { path: path.to_path_buf(), line: None, field: None, why: why.into(), help: help.into() }
    }

    pub(crate) fn setting(field: &'static str, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Setting { place: "workload", field, why: why.into(), help: help.into() }
    }
}

fn located(path: &Path, line: Option<u64>, field: Option<&str>, why: &str, help: &str) -> String {
    let line = line.map_or(String::new(), |line| format!(":{line}"));
    let field = field.map_or(String::new(), |field| format!("`{field}` "));
    format!("{}{line}: {field}{why}\n  help: {help}", path.display())
}

/// What is wrong with one row; the reader adds the file and the line.
#[derive(Debug)]
pub(crate) struct Fault {
    pub field: Option<String>,
    pub why: String,
    pub help: String,
}

impl Fault {
    pub fn field(field: impl Into<String>, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { field: Some(field.into()), why: why.into(), help: help.into() }
    }

    pub fn row(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { field: None, why: why.into(), help: help.into() }
    }

    pub fn at(self, path: &Path, line: u64) -> WorkloadError {
        let Self { field, why, help } = self;
        WorkloadError::Trace { path: path.to_path_buf(), line: Some(line), field, why, help }
    }
}
