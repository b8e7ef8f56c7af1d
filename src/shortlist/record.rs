//! What was simulated for a shortlist, kept beside it: `assessment.json`.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::assess::{Assessed, Assessor, BLOCKS, CHANCE};
use super::equals::Preferred;
use super::explain::Explained;
use super::robust::Robust;
use super::{Shortlist, listed, preferring, select};
use crate::archive::{ArchiveError, Damage, RunData, write_atomic};
use crate::space::Candidate;

/// Draws where nobody says how many.
pub const DRAWS: usize = 48;
/// Most further members of the frontier that are simulated beside the shortlist.
const MEMBERS: usize = 10;
/// Version of the file.
const FORMAT: u32 = 2;
const FILE: &str = "assessment.json";

/// Everything about a shortlist that takes simulations.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Assessment {
    pub format: u32,
    /// Fingerprint of the run that it is of.
    pub fingerprint: String,
    pub seed: u64,
    pub draws: usize,
    /// Blocks of time that the workload is resampled in.
    pub blocks: usize,
    /// Chance that an interval holds what is true.
    pub chance: f64,
    /// The error model of pass times, in a sentence.
    pub timing_errors: String,
    /// Entries that took the place of others with the same predictions; none in a choice by worst cases.
    pub preferred: Vec<Preferred>,
    /// Entries first, then their neighbours on the frontier.
    pub candidates: Vec<Assessed>,
    pub explained: Vec<Explained>,
    pub robust: Option<Robust>,
}

impl Assessment {
    /// The one in a run directory; `None` where there is none.
    ///
    /// # Errors
    /// `Io`; `Damaged` when it cannot be read, or is of another run or version.
    pub fn read(directory: &Path, run: &RunData) -> Result<Option<Assessment>, ArchiveError> {
        let path = directory.join(FILE);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(ArchiveError::io("read", &path))?,
        };
        let (damage, why) = match serde_json::from_slice::<Assessment>(&text) {
            Err(e) => (Damage::Torn, format!("does not read back: {e}")),
            Ok(read) if read.format != FORMAT => {
                (Damage::Foreign, format!("has format {}, this program reads {FORMAT}", read.format))
            }
            Ok(read) if read.fingerprint != run.run.fingerprint => (Damage::Foreign, "is of another run".into()),
            Ok(read) => return Ok(Some(read)),
        };
        let remedy =
            "make it again with `servescout shortlist RUN --draws N`, or remove it to do without intervals".into();
        Err(ArchiveError::Damaged { damage, path, why, remedy })
    }

    /// Writes it.
    ///
    /// # Errors
    /// `Io`, naming the file.
    pub fn write(&self, directory: &Path) -> Result<(), ArchiveError> {
        // Numbers are finite and keys are strings, so that serialising cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default() + "\n";
        write_atomic(&directory.join(FILE), text.as_bytes())
    }

    /// What is known of a candidate.
    pub fn of(&self, id: &str) -> Option<&Assessed> {
        self.candidates.iter().find(|c| c.id == id)
    }

    /// The explanation of a candidate.
    pub fn explanation(&self, id: &str) -> Option<&Explained> {
        self.explained.iter().find(|e| e.id == id)
    }
}

/// How a shortlist is to be assessed.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub size: usize,
    pub draws: usize,
    /// Choose by worst cases.
    pub robust: bool,
}

/// Chooses a shortlist and simulates what its entries' intervals, chances and explanations take.
pub fn assessed(run: &RunData, assessor: &Assessor, wish: Wish) -> Shortlist {
    let robust = (wish.robust && !run.frontier().is_empty()).then(|| assessor.robust(run, wish.size));
    let mut preferred = Vec::new();
    let mut shortlist = match &robust {
        Some(robust) => listed(run, robust, wish.size),
        None => {
            let selection = select(run, wish.size);
            preferred = assessor.preferred(run, &selection, wish.draws);
            preferring(run, selection, wish.size, &preferred)
        }
    };
    let evaluations = run.evaluations();
    let picks: Vec<&Candidate> = shortlist.picks.iter().map(|pick| &evaluations[pick.row].candidate).collect();
    let members = members(run, &shortlist);
    let members: Vec<&Candidate> = members.iter().map(|&row| &evaluations[row].candidate).collect();
    shortlist.assessment = Some(Assessment {
        format: FORMAT,
        fingerprint: run.run.fingerprint.clone(),
        seed: assessor.seed,
        draws: wish.draws,
        blocks: BLOCKS,
        chance: CHANCE,
        timing_errors: assessor.error_words().into(),
        preferred,
        candidates: assessor.assess(&picks, &members, wish.draws),
        explained: shortlist.picks.iter().map(|pick| assessor.explain(run, pick.row)).collect(),
        robust,
    });
    shortlist
}

/// The shortlist as it lies in a run directory: of the size given, else of its own, else of the
/// study's; with what was simulated for it.
///
/// # Errors
/// As [`Assessment::read`].
pub fn recorded(directory: &Path, run: &RunData, size: Option<usize>) -> Result<Shortlist, ArchiveError> {
    let assessment = Assessment::read(directory, run)?;
    let own = super::recorded_size(directory).unwrap_or(run.study.shortlist_size);
    let robust = assessment.as_ref().and_then(|a| a.robust.as_ref()).filter(|_| size.is_none_or(|s| s == own));
    let mut shortlist = match robust {
        Some(robust) => listed(run, robust, own),
        None => {
            let preferred = assessment.as_ref().map_or(&[][..], |a| &a.preferred);
            let size = size.unwrap_or(own);
            preferring(run, select(run, size), size, preferred)
        }
    };
    let is_robust = robust.is_some();
    shortlist.assessment = assessment.map(|a| Assessment { robust: a.robust.filter(|_| is_robust), ..a });
    Ok(shortlist)
}

/// Rows of further frontier members: those next to an entry, then others, evenly.
fn members(run: &RunData, shortlist: &Shortlist) -> Vec<usize> {
    let frontier = run.frontier();
    let is_listed = |row: &usize| shortlist.picks.iter().any(|pick| pick.row == *row);
    let places = frontier.iter().enumerate().filter(|(_, row)| is_listed(row)).map(|(place, _)| place);
    let beside = places.flat_map(|place| [place.wrapping_sub(1), place + 1]).filter_map(|p| frontier.get(p).copied());
    let step = frontier.len().div_ceil(MEMBERS).max(1);
    let mut members: Vec<usize> = Vec::new();
    for row in beside.chain(frontier.iter().copied().step_by(step)) {
        if !is_listed(&row) && !members.contains(&row) && members.len() < MEMBERS {
            members.push(row);
        }
    }
    members
}
