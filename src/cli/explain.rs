//! `servescout explain`: one candidate of a run, by simulating what is next to it.

use std::path::PathBuf;

use clap::Args;

use super::shortlist::{Rebuilt, rebuild, workloads};
use super::{CliError, Exit, terminal};
use crate::archive::{RunData, RunDir};
use crate::shortlist::{self, Assessor, Shortlist};
use crate::space::identity;

/// Explain one candidate of a run: what one step in each knob changes, where its requests' time
/// goes, what came nearest to it
///
/// The candidate and each of its one-step changes are simulated, unless the run has done so.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The candidate: its id, the beginning of it, or its rank on the shortlist
    #[arg(value_name = "ID")]
    id: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Simulates and prints.
///
/// # Errors
/// The user's mistake when RUN is no run directory, its trace is gone or has changed, or ID is none of
/// its candidates.
pub fn run(args: &ExplainArgs) -> Result<Exit, CliError> {
    let Rebuilt { data, shortlist } = rebuild(&args.run, None)?;
    let row = args.row(&data, &shortlist)?;
    let (workload, replicates) = workloads(&args.run, &data)?;
    let assessor = Assessor::new(&data.study, &workload, &replicates, data.run.seed);
    RunDir::open(&args.run)?.check_timing(&assessor.timing_provenance())?;
    let explained = assessor.explain(&data, row);
    if args.json {
        let text = serde_json::to_string_pretty(&explained).map_err(|e| CliError::Failure(e.to_string()))?;
        return terminal::emit(text + "\n");
    }
    let assessed = shortlist.assessment.as_ref().and_then(|a| a.of(&explained.id));
    terminal::emit(shortlist::render_explained(&data.study, &explained, assessed))
}

impl ExplainArgs {
    /// The row of the candidate that is meant.
    fn row(&self, data: &RunData, shortlist: &Shortlist) -> Result<usize, CliError> {
        let shown = self.run.display();
        let id = self.id.as_str();
        // What is enough of an id is longer than any rank.
        if let Some(rank) = id.parse::<usize>().ok().filter(|_| id.len() < identity::ID_DIGITS_ENOUGH) {
            let pick = shortlist.picks.iter().find(|pick| pick.rank == rank);
            return pick.map(|pick| pick.row).ok_or_else(|| {
                let what = format!("{shown}: the shortlist has {} entries, not {rank}", shortlist.picks.len());
                CliError::user(what, "give the rank of one of them, or an id")
            });
        }
        let evaluations = data.evaluations();
        let told = data.study.space.ids();
        let ids = evaluations.iter().enumerate().map(|(row, e)| (told.text(&e.candidate), row));
        let row = identity::by_prefix(ids, id).map_err(|what| {
            CliError::user(format!("{shown}: {what}"), "ids are in shortlist.md, frontier.csv and report.html")
        })?;
        if evaluations[row].is_refused() {
            let reason = evaluations[row].reason.as_deref().unwrap_or("it was refused");
            return Err(CliError::user(
                format!("{shown}: {id} cannot be deployed: {reason}"),
                "explain one that was simulated",
            ));
        }
        Ok(row)
    }
}
