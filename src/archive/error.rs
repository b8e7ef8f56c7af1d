//! What can go wrong with a run directory, always with the file and the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::space::SpaceErrors;

/// How a batch file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Cut short or altered: it does not read back as it was written.
    Torn,
    /// Whole, but written by another run, another study or another version.
    Foreign,
    /// Not there although it must have been.
    Missing,
}

/// A failure to read or write a run directory.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The path is no run directory, or not one of this version's.
    #[error("{} is not a run directory: {why}", path.display())]
    NotARun { path: PathBuf, why: String },
    /// A new run would overwrite something.
    #[error("{} exists and is not empty: name another directory with --out, or continue that run with --resume", path.display())]
    Exists { path: PathBuf },
    /// Another process works on the run.
    #[error("{} is in use by process {holder}: wait until it ends, or stop it, then try again", path.display())]
    Locked { path: PathBuf, holder: String },
    /// A file of the run cannot be trusted.
    #[error("{}: {why}; {remedy}", path.display())]
    Damaged { damage: Damage, path: PathBuf, why: String, remedy: String },
    /// The run was made under other conditions than the ones at hand.
    #[error("{}: {why}", path.display())]
    Mismatch { path: PathBuf, why: String },
    /// The search space in the manifest is no longer one.
    #[error("the search space in {} has errors\n{errors}", path.display())]
    Space { path: PathBuf, errors: SpaceErrors },
    /// An evaluation or a space does not fit the archive's columns.
    #[error("cannot be archived: {0}")]
    Unstorable(String),
}

impl ArchiveError {
    /// Whether the user's request was at fault (exit code 2) rather than the machine (exit code 1).
    pub fn is_user_mistake(&self) -> bool {
        !matches!(self, ArchiveError::Io { .. } | ArchiveError::Unstorable(_))
    }

    /// Wraps an I/O error with what was being done to which path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ArchiveError {
        let path = path.into();
        move |source| ArchiveError::Io { action, path, source }
    }
}
