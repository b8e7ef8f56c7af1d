//! The command line: a file per subcommand, each with its arguments and a `run`.

pub mod catalog;
pub mod timing;
pub mod trace;
