//! `servescout trace`: look at, make, cut and convert traces.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::{CliError, Exit, terminal};
use crate::workload::spec::{Arrivals, DEFAULT_BLOCK_TOKENS, Lengths, SyntheticSpec, Window};
use crate::workload::{self, Loaded, SliceOptions, SourceSpec, WorkloadError, WorkloadSpec};

/// Look at, make, cut and convert traces.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum TraceCommand {
    /// Rates, lengths, burstiness and the reuse that an endless cache would give
    Stats(StatsArgs),
    /// Make a synthetic trace
    Generate(GenerateArgs),
    /// Cut a part out of a trace, or sort it
    Slice(SliceArgs),
    /// Rewrite an Azure, BurstGPT or Vidur CSV trace as Mooncake JSON Lines
    Convert(ConvertArgs),
}

#[derive(Args, Clone, Debug)]
struct StatsArgs {
    /// Trace: Mooncake JSON Lines, or an Azure, BurstGPT or Vidur CSV
    file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Tokens per hash id
    #[arg(long, default_value_t = DEFAULT_BLOCK_TOKENS)]
    block_tokens: u32,
}

#[derive(Args, Clone, Debug)]
struct GenerateArgs {
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Sessions to make
    #[arg(long)]
    sessions: u32,
    /// Turns per session; each prompt contains the turns before it
    #[arg(long, default_value_t = 1)]
    turns: u32,
    /// How sessions arrive
    #[arg(long, value_enum, default_value_t = Process::Poisson)]
    arrivals: Process,
    /// Mean sessions per second (all but burst)
    #[arg(long)]
    rate: Option<f64>,
    /// Variation of the gaps between arrivals; 1 is Poisson (gamma)
    #[arg(long)]
    burstiness: Option<f64>,
    /// How far the rate swings, 0 to 1 of its mean (diurnal)
    #[arg(long)]
    swing: Option<f64>,
    /// Period of the swing, seconds (diurnal)
    #[arg(long)]
    period_s: Option<f64>,
    /// New prompt tokens of each turn, and their standard deviation
    #[arg(long, value_name = "MEAN[:STD]")]
    input: MeanStd,
    /// Output tokens of each turn, and their standard deviation
    #[arg(long, value_name = "MEAN[:STD]")]
    output: MeanStd,
    /// Distribution of lengths that have a standard deviation [default: lognormal]
    #[arg(long, value_enum)]
    lengths: Option<LengthLaw>,
    /// Mean think time between turns, ms (exponential)
    #[arg(long, default_value_t = 0.0)]
    think_ms: f64,
    /// Tokens that all prompts share, whole blocks
    #[arg(long, default_value_t = 0)]
    common_prefix: u32,
    /// Groups of sessions that share a further prefix
    #[arg(long, default_value_t = 0)]
    groups: u32,
    /// Tokens that the sessions of a group share, whole blocks
    #[arg(long, default_value_t = 0)]
    group_prefix: u32,
    /// Tokens per hash id
    #[arg(long, default_value_t = DEFAULT_BLOCK_TOKENS)]
    block_tokens: u32,
    /// Seed of the generator: the same one gives the same trace
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

#[derive(Args, Clone, Debug)]
struct SliceArgs {
    /// Trace of any known format
    input: PathBuf,
    /// Mooncake JSON Lines to write, the first arrival at 0
    #[arg(long)]
    out: PathBuf,
    /// Keep sessions that start at this second or later
    #[arg(long)]
    start_s: Option<f64>,
    /// Keep sessions that start before this second
    #[arg(long)]
    end_s: Option<f64>,
    /// Read only the first rows of the file
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Sort sessions by arrival
    #[arg(long)]
    sort: bool,
    /// Tokens per hash id
    #[arg(long, default_value_t = DEFAULT_BLOCK_TOKENS)]
    block_tokens: u32,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

#[derive(Args, Clone, Debug)]
struct ConvertArgs {
    /// Trace of any known format
    input: PathBuf,
    /// Mooncake JSON Lines to write, the first arrival at 0
    #[arg(long)]
    out: PathBuf,
    /// Sort sessions by arrival
    #[arg(long)]
    sort: bool,
    /// Tokens per hash id
    #[arg(long, default_value_t = DEFAULT_BLOCK_TOKENS)]
    block_tokens: u32,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Burst,
    Constant,
    Poisson,
    Gamma,
    Diurnal,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum LengthLaw {
    Normal,
    Lognormal,
}

/// `MEAN` or `MEAN:STD`, tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
struct MeanStd {
    mean: f64,
    std: Option<f64>,
}

impl FromStr for MeanStd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<f64>().map_err(|_| format!("{part:?} is not a number of tokens"));
        let (mean, std) = match text.split_once(':') {
            Some((mean, std)) => (number(mean)?, Some(number(std)?)),
            None => (number(text)?, None),
        };
        if std.is_none() && (mean.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&mean)) {
            return Err("a fixed length is a whole number of tokens".to_owned());
        }
        Ok(Self { mean, std })
    }
}

impl MeanStd {
    fn lengths(self, law: LengthLaw) -> Lengths {
        match (self.std, law) {
            (None, _) => Lengths::Fixed(self.mean as u32),
            (Some(std), LengthLaw::Normal) => Lengths::Normal { mean: self.mean, std },
            (Some(std), LengthLaw::Lognormal) => Lengths::LogNormal { mean: self.mean, std },
        }
    }
}

/// Runs the subcommand: results go to standard output, notes to standard error.
///
/// # Errors
/// As [`run_to`]; when standard output cannot be written.
pub fn run(args: &TraceArgs) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    run_to(args, &mut text)?;
    terminal::emit(text)
}

/// Runs the subcommand with its results going to `out`.
pub fn run_to(args: &TraceArgs, out: &mut dyn Write) -> Result<(), WorkloadError> {
    let mut print = |text: &str| {
        out.write_all(text.as_bytes())
            .map_err(|source| WorkloadError::Write { path: PathBuf::from("standard output"), source })
    };
    match &args.command {
        TraceCommand::Stats(args) => {
            let block_tokens = args.block_tokens;
            let source = SourceSpec::Trace { path: args.file.clone(), block_tokens };
            let loaded = workload::load_with_notes(&WorkloadSpec::new(source))?;
            notes(&loaded);
            let stats = workload::stats(&loaded.workload);
            print(&if args.json { json(&stats) } else { stats.to_string() })
        }
        TraceCommand::Generate(args) => {
            let workload = workload::generate_file(&args.spec()?, &args.out, args.force).map_err(as_option)?;
            print(&workload::stats(&workload).to_string())
        }
        TraceCommand::Slice(args) => {
            let window = (args.start_s.is_some() || args.end_s.is_some())
                .then(|| Window { start_s: args.start_s.unwrap_or(0.0), end_s: args.end_s.unwrap_or(f64::INFINITY) });
            let limit = args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
            let options = SliceOptions { block_tokens: args.block_tokens, limit, sort: args.sort, window };
            print(&written(&workload::slice_file(&args.input, &args.out, &options, args.force)?))
        }
        TraceCommand::Convert(args) => {
            let block_tokens = args.block_tokens;
            let options = SliceOptions { block_tokens, limit: None, sort: args.sort, window: None };
            print(&written(&workload::slice_file(&args.input, &args.out, &options, args.force)?))
        }
    }
}

impl GenerateArgs {
    /// The generator's settings; an option that its arrival process does not use is an error.
    fn spec(&self) -> Result<SyntheticSpec, WorkloadError> {
        let process = self.arrivals;
        let option = |name: &'static str, value: Option<f64>, of: &[Process]| match (of.contains(&process), value) {
            (true, Some(value)) => Ok(value),
            (false, None) => Ok(0.0),
            (true, None) => Err(wrong(name, format!("is missing: {process} arrivals need it"), "give it a value")),
            (false, Some(_)) => Err(wrong(name, format!("does nothing with {process} arrivals"), "leave it out")),
        };
        use Process::{Burst, Constant, Diurnal, Gamma, Poisson};
        let rate_per_s = option("--rate", self.rate, &[Constant, Poisson, Gamma, Diurnal])?;
        let burstiness = option("--burstiness", self.burstiness, &[Gamma])?;
        let swing = option("--swing", self.swing, &[Diurnal])?;
        let period_s = option("--period-s", self.period_s, &[Diurnal])?;
        let arrivals = match process {
            Burst => Arrivals::Burst,
            Constant => Arrivals::Constant { rate_per_s },
            Poisson => Arrivals::Poisson { rate_per_s },
            Gamma => Arrivals::Gamma { rate_per_s, burstiness },
            Diurnal => Arrivals::Diurnal { rate_per_s, swing, period_s },
        };
        if self.think_ms != 0.0 && self.turns == 1 {
            return Err(wrong("--think-ms", "does nothing with one turn", "give --turns 2 or more, or leave it out"));
        }
        if self.lengths.is_some() && self.input.std.is_none() && self.output.std.is_none() {
            return Err(wrong("--lengths", "does nothing with fixed lengths", "give --input or --output as MEAN:STD"));
        }
        let law = self.lengths.unwrap_or(LengthLaw::Lognormal);
        Ok(SyntheticSpec {
            seed: self.seed,
            sessions: self.sessions,
            turns: self.turns,
            arrivals,
            input_tokens: self.input.lengths(law),
            output_tokens: self.output.lengths(law),
            think_ms: self.think_ms,
            common_prefix_tokens: self.common_prefix,
            prefix_groups: self.groups,
            group_prefix_tokens: self.group_prefix,
            block_tokens: self.block_tokens,
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Burst => "burst",
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Gamma => "gamma",
            Self::Diurnal => "diurnal",
        })
    }
}

fn wrong(field: &'static str, why: impl Into<String>, help: impl Into<String>) -> WorkloadError {
    WorkloadError::Setting { place: "trace generate", field, why: why.into(), help: help.into() }
}

/// The same error about the option that gave the setting.
fn as_option(error: WorkloadError) -> WorkloadError {
    match error {
        WorkloadError::Setting { field, why, help, .. } => {
            let option = match field {
                "sessions" => "--sessions",
                "turns" => "--turns",
                "rate_per_s" => "--rate",
                "burstiness" => "--burstiness",
                "swing" => "--swing",
                "period_s" => "--period-s",
                "input_tokens" => "--input",
                "output_tokens" => "--output",
                "think_ms" => "--think-ms",
                "common_prefix_tokens" => "--common-prefix",
                "prefix_groups" => "--groups",
                "group_prefix_tokens" => "--group-prefix",
                "block_tokens" => "--block-tokens",
                other => other,
            };
            wrong(option, why, help)
        }
        error => error,
    }
}

fn written(loaded: &Loaded) -> String {
    notes(loaded);
    workload::stats(&loaded.workload).to_string()
}

fn notes(loaded: &Loaded) {
    for note in &loaded.notes {
        super::terminal::note(&format_args!("note: {note}"));
    }
}

fn json(stats: &workload::TraceStats) -> String {
    // Plain numbers and strings cannot fail to serialise.
    serde_json::to_string_pretty(stats).map_or_else(|e| e.to_string(), |text| text + "\n")
}
