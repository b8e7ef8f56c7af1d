//! `servescout bench search`: how much of a known frontier each strategy finds.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::{CliError, Exit, terminal};
use crate::plot::{SharesCurve, draw_shares};
use crate::search::benchmark::{Benchmark, Look, Shares};
use crate::search::instances::Instance;
use crate::search::problems::Problem;
use crate::search::tabular::{Columns, Table};
use crate::search::{Evaluate, STRATEGIES};

#[derive(Args, Debug)]
pub struct SearchArgs {
    /// A built-in problem: one of serving's kind (chat, agents, batch) or a standard function; may
    /// be given several times [default: chat, agents and batch, unless --table is given]
    #[arg(long = "problem", value_name = "NAME", value_parser = PossibleValuesParser::new(problem_names()))]
    problems: Vec<String>,
    /// Objectives of chat, agents and batch: cost and latency, or throughput too
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    objectives: u8,
    /// Other traffic for chat, agents and batch, by number; 0 is that they are named for
    #[arg(long, value_name = "N", default_value_t = 0)]
    variant: u64,
    /// An exhaustive table of configurations, as Parquet: knobs (null: absent) and objectives; or a
    /// directory of such files, as a run of the strategy `grid` leaves in `evaluations`
    #[arg(long, value_name = "FILE.parquet", requires = "minimize")]
    table: Option<PathBuf>,
    /// The table's knobs, separated by commas [default: every column that is not minimised]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "table")]
    knobs: Vec<String>,
    /// The table's objectives, separated by commas, all minimised
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "table")]
    minimize: Vec<String>,
    /// A column that says how far a row breaks its constraints: 0 where it keeps them, infinite or
    /// null where it was refused
    #[arg(long, value_name = "COLUMN", requires = "table")]
    violation: Option<String>,
    /// Measure the table's objectives on a logarithmic scale where they share a sign (the built-in
    /// problems have scales of their own)
    #[arg(long, requires = "table")]
    log: bool,
    /// A strategy; may be given several times [default: all but grid]
    #[arg(long = "strategy", value_name = "NAME", value_parser = PossibleValuesParser::new(STRATEGIES.iter().map(|(name, _)| *name)))]
    strategies: Vec<String>,
    /// Numbers of distinct evaluations after which to look, separated by commas; the largest is the
    /// budget
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [50, 100, 200, 400, 800], value_parser = clap::value_parser!(u32).range(1..))]
    evaluations: Vec<u32>,
    /// Also say how many evaluations it took to find these shares of the true hypervolume, separated
    /// by commas
    #[arg(long, value_name = "SHARE,..", value_delimiter = ',', value_parser = share)]
    reach: Vec<f64>,
    /// Runs of each strategy, with the seeds 1, 2, ...
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Candidates per batch
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Also draw the medians over the numbers of evaluations into this file; for one problem
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|v| *v > 0.0 && *v < 1.0);
    share.ok_or_else(|| "a share lies between 0 and 1, such as 0.95".to_owned())
}

fn problem_names() -> Vec<&'static str> {
    Instance::ALL.iter().map(|i| i.name()).chain(Problem::ALL.iter().map(|p| p.name())).collect()
}

/// Measures and prints.
///
/// # Errors
/// A table that cannot be read or is no search problem.
pub(super) fn run(args: &SearchArgs) -> Result<Exit, CliError> {
    let problems = args.problems()?;
    if let Some(file) = &args.plot {
        if file.extension().is_none_or(|e| e != "svg") {
            return Err(CliError::user(format!("{} names no SVG", file.display()), "end the name in .svg"));
        }
        if problems.len() != 1 {
            return Err(CliError::user(
                format!("a figure shows one problem, and there are {}", problems.len()),
                "name one with --problem or --table",
            ));
        }
    }
    let strategies: Vec<&str> = if args.strategies.is_empty() {
        STRATEGIES.iter().map(|(name, _)| *name).filter(|name| *name != "grid").collect()
    } else {
        args.strategies.iter().map(String::as_str).collect()
    };
    let mut evaluations: Vec<usize> = args.evaluations.iter().map(|&n| n as usize).collect();
    evaluations.sort_unstable();
    evaluations.dedup();
    let look = Look { evaluations, levels: args.reach.clone(), batch: args.batch as usize };
    let mut measured = Vec::new();
    for problem in &problems {
        let mut rows = Vec::new();
        for strategy in &strategies {
            let shares = problem
                .run_over_seeds(strategy, args.seeds.into(), &look)
                .map_err(|e| CliError::User(e.to_string()))?;
            rows.push((*strategy, shares));
        }
        measured.push((problem, rows));
    }
    if let (Some(file), Some((problem, rows))) = (&args.plot, measured.first()) {
        draw(problem, rows, args.seeds, file)?;
    }
    let text = if args.json {
        json_of(&measured, args.batch, args.seeds)
    } else {
        measured.iter().map(|(problem, rows)| table(problem, rows)).collect::<Vec<_>>().join("\n")
    };
    terminal::emit(text)
}

impl SearchArgs {
    fn problems(&self) -> Result<Vec<Benchmark>, CliError> {
        let mut problems = Vec::new();
        if let Some(path) = &self.table {
            let user = |e: crate::search::tabular::TableError| CliError::User(e.to_string());
            let columns = Columns {
                knobs: self.knobs.clone(),
                minimize: self.minimize.clone(),
                violation: self.violation.clone(),
            };
            let table = Table::read(path, &columns).map_err(user)?;
            if !(1..=4).contains(&table.objectives()) {
                return Err(CliError::user(
                    format!("{} objectives are too many for an exact hypervolume of a table", table.objectives()),
                    "name one to four columns with --minimize",
                ));
            }
            let name = path.file_stem().map_or_else(|| "table".into(), |s| s.to_string_lossy().into_owned());
            problems.push(Benchmark::table(&name, table, self.log));
        }
        let defaults = if self.table.is_none() { Instance::ALL.map(Instance::name).to_vec() } else { Vec::new() };
        let named = self.problems.iter().map(String::as_str);
        let names: Vec<&str> = if self.problems.is_empty() { defaults } else { named.collect() };
        for name in names {
            let instance = Instance::ALL.into_iter().find(|i| i.name() == name);
            let standard = Problem::ALL.into_iter().find(|p| p.name() == name);
            problems.extend(instance.map(|i| Benchmark::instance(i, self.objectives.into(), self.variant)));
            problems.extend(standard.map(Benchmark::standard));
        }
        Ok(problems)
    }
}

fn draw(problem: &Benchmark, rows: &[(&str, Shares)], seeds: u32, file: &Path) -> Result<(), CliError> {
    let curve = |(strategy, shares): &(&str, Shares)| SharesCurve {
        name: (*strategy).to_owned(),
        points: shares.look.evaluations.iter().zip(&shares.quartiles).map(|(&n, q)| (n as f64, q[1])).collect(),
    };
    let curves: Vec<SharesCurve> = rows.iter().map(curve).collect();
    let note = format!("{}, median of {seeds} seeds", configurations(problem));
    draw_shares(&format!("How soon strategies find the frontier of {}", problem.name()), &note, &curves, file)?;
    Ok(())
}

fn configurations(problem: &Benchmark) -> String {
    let (known, size) = (problem.known(), problem.size());
    let of = if known < size { format!(" of a space of {size:.0}") } else { String::new() };
    format!("{known:.0} configurations{of}")
}

fn table(problem: &Benchmark, rows: &[(&str, Shares)]) -> String {
    let mut text = format!(
        "{}: {}, true hypervolume {:.5}; share found, median (quartiles)\n\n",
        problem.name(),
        configurations(problem),
        problem.truth()
    );
    let _ = write!(text, "{:<12}", "strategy");
    if let Some((_, Shares { look, .. })) = rows.first() {
        look.evaluations.iter().for_each(|n| text.push_str(&format!(" {n:>20}")));
        look.levels.iter().for_each(|level| text.push_str(&format!(" {:>18}", format!("to {level}"))));
    }
    let _ = writeln!(text, " {:>8}", "s a run");
    for (strategy, shares) in rows {
        let _ = write!(text, "{strategy:<12}");
        for [low, median, high] in &shares.quartiles {
            let _ = write!(text, " {:>20}", format!("{median:.3} ({low:.3}-{high:.3})"));
        }
        for [low, median, high] in &shares.reached {
            let n = |n: &Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
            let _ = write!(text, " {:>18}", format!("{} ({}-{})", n(median), n(low), n(high)));
        }
        let _ = writeln!(text, " {:>8.2}", shares.seconds);
    }
    for (strategy, shares) in rows {
        let wanted = shares.look.evaluations.iter().copied().max().unwrap_or(0);
        if (shares.evaluations as f64) < problem.known().min(wanted as f64) {
            let _ = writeln!(
                text,
                "{strategy} ended after {} of {wanted} evaluations in a run: what it proposed besides is refused or not in the table",
                shares.evaluations
            );
        }
    }
    text
}

fn json_of(measured: &[(&Benchmark, Vec<(&str, Shares)>)], batch: u32, seeds: u32) -> String {
    let problems: Vec<_> = measured
        .iter()
        .map(|(problem, rows)| {
            let strategies: Vec<_> = rows
                .iter()
                .map(|(strategy, shares)| {
                    let after: Vec<_> = shares
                        .look
                        .evaluations
                        .iter()
                        .zip(&shares.quartiles)
                        .map(|(n, [low, median, high])| json!({ "evaluations": n, "q1": low, "median": median, "q3": high }))
                        .collect();
                    let reached: Vec<_> = shares
                        .look
                        .levels
                        .iter()
                        .zip(&shares.reached)
                        .map(|(level, [low, median, high])| json!({ "share": level, "q1": low, "median": median, "q3": high }))
                        .collect();
                    let fewest = shares.evaluations;
                    json!({ "strategy": strategy, "fewest_evaluations": fewest, "shares": after, "reached": reached, "seconds_per_run": shares.seconds })
                })
                .collect();
            json!({
                "problem": problem.name(),
                "configurations": problem.known(),
                "space_size": problem.size(),
                "true_hypervolume": problem.truth(),
                "strategies": strategies,
            })
        })
        .collect();
    format!("{}\n", json!({ "seeds": seeds, "batch": batch, "problems": problems }))
}
