//! Why a command did not do what it was asked.

use std::fmt;

use super::timing::TimingError;
use crate::archive::ArchiveError;
use crate::plot::PlotError;
use crate::search::DriverError;
use crate::space::SpaceErrors;
use crate::workload::WorkloadError;

/// A failed command: what to print, and which exit code.
#[derive(Debug)]
pub enum CliError {
    /// Exit code 2: the message says what to write instead.
    User(String),
    /// Exit code 2: what is wrong with a search space, each with its place.
    Space(SpaceErrors),
    /// Exit code 1: the machine refused.
    Failure(String),
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::User(_) | CliError::Space(_) => 2,
            CliError::Failure(_) => 1,
        }
    }

    /// A mistake of the user: what is wrong, and what to write instead.
    pub fn user(what: impl fmt::Display, help: impl fmt::Display) -> CliError {
        CliError::User(format!("{what}\n  help: {help}"))
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::User(message) | CliError::Failure(message) => write!(f, "error: {message}"),
            // These head each of their messages themselves.
            CliError::Space(errors) => errors.fmt(f),
        }
    }
}

impl std::error::Error for CliError {}

impl From<SpaceErrors> for CliError {
    fn from(errors: SpaceErrors) -> Self {
        CliError::Space(errors)
    }
}

impl From<WorkloadError> for CliError {
    fn from(error: WorkloadError) -> Self {
        let message = error.to_string();
        if error.exit_code() == 2 { CliError::User(message) } else { CliError::Failure(message) }
    }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        let message = error.to_string();
        if error.is_user_mistake() { CliError::User(message) } else { CliError::Failure(message) }
    }
}

impl From<DriverError> for CliError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Mismatch { .. } => CliError::User(error.to_string()),
            DriverError::Sink { .. } | DriverError::Threads { .. } => CliError::Failure(error.to_string()),
        }
    }
}

impl From<PlotError> for CliError {
    fn from(error: PlotError) -> Self {
        match error {
            PlotError::File(error) => error.into(),
            PlotError::Draw(_) => CliError::Failure(error.to_string()),
        }
    }
}

impl From<TimingError> for CliError {
    fn from(error: TimingError) -> Self {
        match error {
            TimingError::Usage(message) => CliError::User(message),
            TimingError::Io(error) => CliError::Failure(error.to_string()),
        }
    }
}
