//! The command line: a file per subcommand, each with its arguments and a `run`, and no logic that
//! the library could have.
//!
//! Help, manual pages, completions and `docs/cli.md` all come from the one definition in [`Cli`].

pub mod bench;
mod bench_search;
pub mod catalog;
pub mod check;
pub mod compare;
pub mod completions;
pub mod error;
pub mod exit;
pub mod explain;
pub mod fidelity;
pub mod html;
pub mod man;
pub mod manifests;
pub mod plot;
mod progress;
pub mod reference;
pub mod replay;
mod report;
pub mod schema;
pub mod search;
pub mod shortlist;
pub mod terminal;
pub mod timing;
pub mod trace;
pub mod validate;
mod warm_start;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use error::CliError;
pub use exit::Exit;

/// Exit codes, in the help of the root command and in the manual.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the machine refused (disk, permissions while writing, memory)
  2  the user's mistake: nothing was done, the message says what to write instead
  3  done, but no candidate keeps every constraint
  130, 143  stopped by Ctrl-C or SIGTERM after the batch in flight; `search --resume` continues";

/// Find the LLM-serving configurations worth renting a GPU for
///
/// Reads a search space, simulates each candidate deployment on a serving twin over all cores, keeps
/// the cost-latency Pareto frontier, and writes a shortlist of configurations worth measuring on GPUs.
#[derive(Parser, Debug)]
#[command(name = "servescout", version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Search(search::SearchArgs),
    Replay(replay::ReplayArgs),
    Check(check::CheckArgs),
    Shortlist(shortlist::ShortlistArgs),
    Explain(explain::ExplainArgs),
    Plot(plot::PlotArgs),
    Report(html::ReportArgs),
    Manifests(manifests::ManifestsArgs),
    Validate(validate::ValidateArgs),
    Compare(compare::CompareArgs),
    Trace(trace::TraceArgs),
    Catalog(catalog::CatalogArgs),
    Timing(timing::TimingArgs),
    Fidelity(fidelity::FidelityArgs),
    Bench(bench::BenchArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// A study's file and what is laid over it: the same for every command that reads one.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Lay a value over the file: `--set aggregated.tp=2`, `--set 'engine.max_num_seqs=[64, 128]'`,
    /// `--set workload.limit=500`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How servers differ from the pass times, in place of the file's `timing.calibration`: none,
    /// default, or a file that `validate` wrote
    #[arg(long, value_name = "none|default|FILE", value_parser = NonEmptyStringValueParser::new())]
    pub calibration: Option<String>,
}

impl Overrides {
    /// Everything as `KEY=VALUE`.
    pub fn all(&self) -> Vec<String> {
        let mut all = self.set.clone();
        let quoted = |name: &String| toml::Value::String(name.clone()).to_string();
        all.extend(self.calibration.as_ref().map(|name| format!("timing.calibration={}", quoted(name))));
        all
    }

    /// Whether nothing is laid over the file.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.calibration.is_none()
    }
}

/// The definition that everything about the command line is made from.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs what the command line asks for.
///
/// # Errors
/// The user's mistake, or a failure of the machine; nothing is printed to standard output then
/// except what was complete before.
pub fn run(line: &Cli) -> Result<Exit, CliError> {
    match &line.command {
        Command::Search(args) => search::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Check(args) => check::run(args),
        Command::Shortlist(args) => shortlist::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Report(args) => html::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Manifests(args) => manifests::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Catalog(args) => {
            let mut text = Vec::new();
            catalog::run(args, &mut text).map_err(|e| CliError::Failure(e.to_string()))?;
            terminal::emit(text)
        }
        Command::Timing(args) => {
            let mut text = Vec::new();
            timing::run(args, &mut text)?;
            terminal::emit(text)
        }
        Command::Fidelity(args) => fidelity::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_help() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "`{path}` has no description");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "`{path}`: `{}` has no help", arg.get_id());
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        check(&definition(), "servescout");
    }
}
