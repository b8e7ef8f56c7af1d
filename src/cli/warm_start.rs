//! `search --warm-start RUN`: the candidates that a search begins with, kept in its run directory so
//! that it can be resumed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CliError, terminal};
use crate::archive::{ArchiveError, RunDir};
use crate::search::warm::carry_over;
use crate::shortlist;
use crate::space::{Candidate, Study};

/// The file in a run directory.
const FILE: &str = "warm-start.json";

/// What the file says.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    /// Name of the run that the candidates are from.
    run: String,
    /// Levels of each candidate's knobs; null where a knob has no meaning.
    candidates: Vec<Vec<Option<u32>>>,
}

/// The frontier of a run, then its shortlist, carried over into the study's space.
pub(super) fn candidates(from: &Path, study: &Study) -> Result<(String, Vec<Candidate>), CliError> {
    let data = RunDir::open(from)?.load()?;
    let evaluations = data.evaluations();
    let picks = shortlist::build(&data, data.study.shortlist_size).picks;
    let rows = data.frontier().into_iter().chain(picks.iter().map(|p| p.row));
    let mut carried: Vec<Candidate> = Vec::new();
    let mut lost = Vec::new();
    for row in rows {
        match carry_over(&data.study.space, &evaluations[row].candidate, &study.space) {
            Ok(candidate) if !carried.contains(&candidate) => carried.push(candidate),
            Ok(_) => {}
            Err((knob, value)) => lost.push(format!("{knob} = {value}")),
        }
    }
    lost.sort_unstable();
    lost.dedup();
    if !lost.is_empty() {
        terminal::note(&format_args!(
            "note: candidates that this space does not have are left out: {}",
            lost.join(", ")
        ));
    }
    if carried.is_empty() {
        let what = format!("{}: no candidate of its frontier or shortlist is in this space", from.display());
        return Err(CliError::user(what, "leave out --warm-start, or search a space that has the same knobs"));
    }
    Ok((data.run.name, carried))
}

/// The file that keeps them in a run directory: its name and content.
pub(super) fn file(name: &str, candidates: &[Candidate]) -> Result<(&'static str, Vec<u8>), CliError> {
    let level = |&level: &u32| (level != Candidate::ABSENT).then_some(level);
    let begun = Begun {
        run: name.into(),
        candidates: candidates.iter().map(|c| c.levels.iter().map(level).collect()).collect(),
    };
    let text = serde_json::to_string(&begun).map_err(|e| CliError::Failure(e.to_string()))?;
    Ok((FILE, (text + "\n").into_bytes()))
}

/// Those that a run to resume began with; none where it began cold.
pub(super) fn stored(run: &Path, study: &Study) -> Result<Vec<Candidate>, CliError> {
    let path = run.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(ArchiveError::io("read", &path))?;
    let damaged = |why: String| {
        CliError::user(format!("{}: {why}", path.display()), "put it back as the search wrote it, or start a new run")
    };
    let begun: Begun = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    let candidate = |levels: Vec<Option<u32>>| {
        let levels = levels.into_iter().map(|l| l.unwrap_or(Candidate::ABSENT)).collect();
        let candidate = Candidate { levels };
        if study.space.contains(&candidate) {
            Ok(candidate)
        } else {
            Err(damaged("has a candidate of another space".into()))
        }
    };
    begun.candidates.into_iter().map(candidate).collect()
}
