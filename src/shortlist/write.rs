//! The shortlist's files in a run directory.

use std::fs;
use std::path::Path;

use super::json::{expected_json, shortlist_json};
use super::markdown::{markdown, roles_words};
use super::why_markdown::why_markdown;
use super::{Pick, Shortlist};
use crate::archive::{ArchiveError, Csv, RunData, Table, write_atomic};
use crate::twin::metrics::METRICS;

/// Name of an entry's directory within `shortlist/`.
pub fn directory_name(pick: &Pick) -> String {
    format!("{:02}-{}", pick.rank, pick.id)
}

/// Files that this module writes into an entry's directory.
const ENTRY_FILES: [&str; 3] = ["candidate.toml", "expected.json", "why.md"];

/// Writes `shortlist.{md,json,csv}` and `shortlist/NN-<id>/{candidate.toml,expected.json,why.md}` into
/// a run directory, and what was simulated for it. Entries of an earlier shortlist go, except files that others put there.
///
/// # Errors
/// `Io`, naming the file.
pub fn write(directory: &Path, run: &RunData, shortlist: &Shortlist) -> Result<(), ArchiveError> {
    let entries = directory.join("shortlist");
    fs::create_dir_all(&entries).map_err(ArchiveError::io("create", &entries))?;
    remove_stale(&entries, shortlist)?;
    for pick in &shortlist.picks {
        let entry = entries.join(directory_name(pick));
        fs::create_dir_all(&entry).map_err(ArchiveError::io("create", &entry))?;
        write_atomic(&entry.join("candidate.toml"), candidate_toml(run, pick, &entry).as_bytes())?;
        write_atomic(&entry.join("expected.json"), expected_json(run, shortlist, pick).as_bytes())?;
        let why = shortlist.assessment.as_ref().and_then(|assessment| why_markdown(run, pick, assessment));
        let path = entry.join("why.md");
        match why {
            Some(text) => write_atomic(&path, text.as_bytes())?,
            // It would be of another run or choice.
            None if path.is_file() => fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?,
            None => {}
        }
    }
    if let Some(assessment) = &shortlist.assessment {
        assessment.write(directory)?;
    }
    write_atomic(&directory.join("shortlist.csv"), csv(run, shortlist)?.as_bytes())?;
    write_atomic(&directory.join("shortlist.json"), shortlist_json(run, shortlist).as_bytes())?;
    write_atomic(&directory.join("shortlist.md"), markdown(run, shortlist).as_bytes())
}

/// Most entries that the shortlist in a run directory was asked for; `None` where there is none
/// that can be read, so that the study's own size applies.
pub fn recorded_size(directory: &Path) -> Option<usize> {
    let text = fs::read_to_string(directory.join("shortlist.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json.get("size")?.as_u64().and_then(|size| usize::try_from(size).ok())
}

/// A search space with one candidate, to be replayed from `directory`.
fn candidate_toml(run: &RunData, pick: &Pick, directory: &Path) -> String {
    let study = &run.study;
    let candidate = &run.evaluations()[pick.row].candidate;
    let feasibility = if run.evaluations()[pick.row].is_feasible() { "" } else { " It is NOT feasible." };
    format!(
        "# Candidate {} of {}: entry {} of the shortlist ({}).{feasibility}\n# Every knob is pinned, defaults included: `servescout replay candidate.toml` simulates it again.\n\n{}",
        pick.id,
        study.name,
        pick.rank,
        roles_words(study, pick),
        study.candidate_toml(candidate, directory)
    )
}

/// Removes our files of entries that are no longer on the list, and their directories when empty.
fn remove_stale(entries: &Path, shortlist: &Shortlist) -> Result<(), ArchiveError> {
    let current: Vec<String> = shortlist.picks.iter().map(directory_name).collect();
    let listed = fs::read_dir(entries).map_err(ArchiveError::io("list", entries))?;
    for entry in listed {
        let path = entry.map_err(ArchiveError::io("list", entries))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_entry = name.split_once('-').is_some_and(|(rank, id)| rank.parse::<usize>().is_ok() && !id.is_empty());
        if !is_entry || current.contains(&name) {
            continue;
        }
        for file in ENTRY_FILES.map(|file| path.join(file)).iter().filter(|file| file.is_file()) {
            fs::remove_file(file).map_err(ArchiveError::io("remove", file))?;
        }
        let is_empty = fs::read_dir(&path).is_ok_and(|mut left| left.next().is_none());
        if is_empty {
            fs::remove_dir(&path).map_err(ArchiveError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// `shortlist.csv`: rank, roles and room to each bound, then the archive's columns.
fn csv(run: &RunData, shortlist: &Shortlist) -> Result<String, ArchiveError> {
    let study = &run.study;
    let rows: Vec<usize> = shortlist.picks.iter().map(|pick| pick.row).collect();
    let table = Table::new(study, &run.batches, &rows)?;
    let bounds: Vec<String> = study
        .constraints
        .iter()
        .flat_map(|c| super::Margin::of(c, &[]))
        .map(|m| format!("room_{}_{}", m.name(), if m.is_max { "max" } else { "min" }))
        .collect();
    let header = table.header();
    let objectives: Vec<usize> = study.objectives.iter().map(|o| o.metric).collect();
    let names = objectives.iter().map(|&m| METRICS[m].name);
    let ends: Vec<String> = names.flat_map(|name| [format!("{name}_low"), format!("{name}_high")]).collect();
    let leading = ["rank", "roles", "hypervolume_gain", "p_feasible", "p_frontier"].into_iter();
    let leading = leading.chain(ends.iter().map(String::as_str)).chain(bounds.iter().map(String::as_str));
    let mut csv = Csv::new(leading.chain(header.iter().map(String::as_str)));
    for (index, pick) in shortlist.picks.iter().enumerate() {
        let roles: Vec<String> = pick.roles.iter().map(|role| role.tag(&study.objectives)).collect();
        let mut cells = vec![pick.rank.to_string(), Csv::text(&roles.join(" ")), Csv::number(pick.gain)];
        let assessed = shortlist.assessed(pick);
        let number = |value: Option<f64>| Csv::number(value.unwrap_or(f64::NAN));
        cells.extend([number(assessed.map(|a| a.feasible)), number(assessed.map(|a| a.frontier))]);
        for &metric in &objectives {
            let interval = assessed.and_then(|a| a.interval(metric));
            cells.extend([number(interval.map(|i| i.low)), number(interval.map(|i| i.high))]);
        }
        cells.extend(pick.margins.iter().map(|margin| Csv::number(margin.room)));
        cells.extend(table.cells(index));
        csv.row(cells);
    }
    Ok(csv.finish())
}
