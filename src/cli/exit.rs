//! How a command that ran to its end went.

/// The end of a command that did what it was asked; see also [`super::CliError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 3: every result is there, and no candidate keeps every constraint.
    NothingFeasible,
    /// 128 + the signal's number, as shells have it: stopped after the batch in flight.
    Stopped { signal: u8 },
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::NothingFeasible => 3,
            Exit::Stopped { signal } => 128 + signal,
        }
    }
}
