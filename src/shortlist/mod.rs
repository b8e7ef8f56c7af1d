//! The few candidates whose measurement on GPUs is worth most.
//!
//! Not the top of a sorted list. Frontier members that pay for an imperceptible gain are dropped and
//! near-duplicates merged; from the rest come the knee, the best of each objective, then what adds
//! most hypervolume to the picks so far, with deployment shapes that are not yet represented
//! preferred; one place is kept for another kind of deployment that misses the frontier by little,
//! as a hedge against the twin's error. When nothing is feasible: the nearest misses, marked as such.
//! Where some have the very same predictions, the one that holds best under drawn pass times and traffic.
//! The list is shorter than asked for when there is no more that is worth telling apart.
//!
//! [`build`] chooses and explains, [`write()`] leaves `shortlist.{md,json,csv}` and one directory
//! per entry, [`render_terminal`] prints the table.

mod assess;
mod equals;
mod errors;
mod explain;
mod forest;
mod importance;
mod inert;
mod json;
mod markdown;
mod misses;
mod record;
mod robust;
mod select;
mod shape;
mod table;
mod why;
mod why_markdown;
mod words;
mod write;

pub use assess::{Assessed, Assessor, BLOCKS, BoundChance, CHANCE, Interval, Values};
pub use equals::Preferred;
pub use errors::TimingErrors;
pub use explain::{Explained, Phases, Rival, Step};
pub use importance::{KnobImportance, ObjectiveImportance, knob_importance};
pub use inert::{InertKnob, inert_knobs};
pub use json::shortlist_json as to_json;
pub use markdown::escape_markdown;
pub(crate) use markdown::{overview_cells, shown_metrics};
pub use misses::{Blocker, blockers};
pub use record::{Assessment, DRAWS, Wish, assessed, recorded};
pub use robust::{ChosenByWorst, Robust, Scenario, WorstCase};
pub use select::{Role, Selection};
pub(crate) use shape::shape_words;
pub use shape::{Shape, shape_of};
pub use table::{render_frontier, render_terminal};
pub use why_markdown::render_explained;
pub(crate) use why_markdown::{rival_words, step_cells};
pub(crate) use words::with_unit;
pub use words::{count, counted, metric_label, metric_phrase, significant};
pub use write::{directory_name as entry_directory, recorded_size, write};

use crate::archive::RunData;
use crate::search::Fidelity;
use crate::space::Constraint;
use crate::twin::metrics::METRICS;

/// A ranked choice of candidates from one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortlist {
    /// In the order in which they are worth measuring.
    pub picks: Vec<Pick>,
    /// Most entries that were asked for.
    pub size: usize,
    /// Whether the picks keep every constraint; else they are the nearest misses.
    pub feasible: bool,
    /// Share of the frontier's hypervolume that the picks cover together; `None` without a frontier.
    pub coverage: Option<f64>,
    pub counts: Counts,
    /// What made candidates infeasible, the most frequent first.
    pub blockers: Vec<Blocker>,
    /// Knobs that changed no outcome.
    pub inert: Vec<InertKnob>,
    /// What was simulated for it, where anything was.
    pub assessment: Option<Assessment>,
}

impl Shortlist {
    /// What was simulated for an entry beyond its one simulation.
    pub fn assessed(&self, pick: &Pick) -> Option<&Assessed> {
        self.assessment.as_ref()?.of(&pick.id)
    }
}

/// How many candidates there were at each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub evaluated: usize,
    /// Refused before simulation.
    pub refused: usize,
    /// Not simulated to the end, because a look through windows or a part of the simulation was
    /// enough.
    pub spared: usize,
    /// Simulated, but outside a constraint.
    pub infeasible: usize,
    pub feasible: usize,
    pub frontier: usize,
    /// Frontier members that are worth telling apart.
    pub distinct: usize,
}

impl Counts {
    /// Those that were spared, as the end of a list; empty for none.
    pub(crate) fn spared_words(&self) -> String {
        if self.spared == 0 { String::new() } else { format!(", {} not simulated to the end", count(self.spared)) }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// From 1.
    pub rank: usize,
    /// Index into [`RunData::evaluations`].
    pub row: usize,
    /// The candidate's id.
    pub id: String,
    /// Why it is here, the most telling first; never empty.
    pub roles: Vec<Role>,
    /// Share of the frontier's hypervolume that it added to the picks chosen before it.
    pub gain: f64,
    /// Ids of frontier members that gain next to nothing on it, for which it stands.
    pub stands_for: Vec<String>,
    /// The one with the same predictions whose place it took, if any.
    pub preferred: Option<Preferred>,
    /// One per constraint of the study, in its order.
    pub margins: Vec<Margin>,
    /// Why it was chosen, in sentences.
    pub why: String,
}

/// How far a value is from one side of a constraint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Index into [`METRICS`].
    pub metric: usize,
    pub value: f64,
    pub bound: f64,
    /// Whether the bound is a maximum (else a minimum).
    pub is_max: bool,
    /// Room left relative to the bound: negative when it is broken, NaN when the value is missing.
    pub room: f64,
}

impl Margin {
    /// The margins of a constraint, one per bound that it has.
    pub fn of(constraint: &Constraint, metrics: &[f64]) -> Vec<Margin> {
        let metric = constraint.metric;
        let value = metrics.get(metric).copied().unwrap_or(f64::NAN);
        let margin = |bound: f64, is_max: bool| {
            let room = if is_max { bound - value } else { value - bound };
            Margin { metric, value, bound, is_max, room: room / bound.abs().max(1e-9) }
        };
        let max = constraint.max.map(|bound| margin(bound, true));
        let min = constraint.min.map(|bound| margin(bound, false));
        max.into_iter().chain(min).collect()
    }

    /// Whether the bound holds.
    pub fn holds(&self) -> bool {
        self.room >= 0.0
    }

    /// The metric's name.
    pub fn name(&self) -> &'static str {
        METRICS[self.metric].name
    }
}

/// Chooses up to `size` candidates and explains each; nothing is simulated. Of candidates with the very
/// same predictions it takes the one found first.
pub fn build(run: &RunData, size: usize) -> Shortlist {
    preferring(run, select(run, size), size, &[])
}

/// What [`build`] chooses.
pub(crate) fn select(run: &RunData, size: usize) -> Selection {
    let evaluations = run.evaluations();
    let frontier = run.frontier();
    if frontier.is_empty() {
        misses::nearest(&run.study, &evaluations, size)
    } else {
        select::from_frontier(&run.study, &evaluations, &frontier, size)
    }
}

/// A choice explained, with those in it that are preferred to their equals.
pub(crate) fn preferring(run: &RunData, mut selection: Selection, size: usize, preferred: &[Preferred]) -> Shortlist {
    equals::prefer(run, &mut selection, preferred);
    from_selection(run, &selection, size, false, preferred)
}

/// The choice by worst cases, out of what was simulated for it.
pub(crate) fn listed(run: &RunData, robust: &Robust, size: usize) -> Shortlist {
    let evaluations = run.evaluations();
    let ids = run.study.space.ids();
    let rows: rustc_hash::FxHashMap<_, usize> =
        evaluations.iter().enumerate().map(|(row, e)| (ids.of(&e.candidate), row)).collect();
    let row_of = |id: &String| rows.get(id.as_bytes()).copied();
    let chosen = robust.chosen.iter().filter_map(|chosen| {
        Some(select::Chosen {
            row: row_of(&chosen.id)?,
            roles: chosen.roles.clone(),
            gain: chosen.gain,
            merged: chosen.stands_for.iter().filter_map(row_of).collect(),
        })
    });
    let chosen: Vec<select::Chosen> = chosen.collect();
    let distinct = chosen.len();
    from_selection(run, &Selection { chosen, distinct, coverage: None }, size, true, &[])
}

fn from_selection(
    run: &RunData,
    selection: &Selection,
    size: usize,
    by_worst_case: bool,
    preferred: &[Preferred],
) -> Shortlist {
    let evaluations = run.evaluations();
    let frontier = run.frontier();
    let feasible = evaluations.iter().filter(|e| e.is_feasible()).count();
    let refused = evaluations.iter().filter(|e| e.is_refused()).count();
    let spared = evaluations.iter().filter(|e| e.fidelity != Fidelity::Full).count();
    let counts = Counts {
        evaluated: evaluations.len(),
        refused,
        infeasible: evaluations.len() - feasible - refused - spared,
        spared,
        feasible,
        frontier: frontier.len(),
        distinct: selection.distinct,
    };
    let mut picks: Vec<Pick> = Vec::with_capacity(selection.chosen.len());
    for (index, chosen) in selection.chosen.iter().enumerate() {
        let metrics = &evaluations[chosen.row].metrics;
        let id = run.study.space.id(&evaluations[chosen.row].candidate);
        picks.push(Pick {
            rank: index + 1,
            row: chosen.row,
            preferred: preferred.iter().find(|choice| choice.id == id).cloned(),
            id,
            roles: chosen.roles.clone(),
            gain: chosen.gain,
            stands_for: chosen.merged.iter().map(|&r| run.study.space.id(&evaluations[r].candidate)).collect(),
            margins: run.study.constraints.iter().flat_map(|c| Margin::of(c, metrics)).collect(),
            why: String::new(),
        });
    }
    let whys: Vec<String> =
        (0..picks.len()).map(|i| why::explain(run, &evaluations, &picks, i, by_worst_case)).collect();
    for (pick, why) in picks.iter_mut().zip(whys) {
        pick.why = why;
    }
    Shortlist {
        picks,
        size,
        feasible: !frontier.is_empty(),
        coverage: selection.coverage,
        counts,
        blockers: blockers(&run.study, &evaluations),
        inert: inert_knobs(&run.study, &evaluations),
        assessment: None,
    }
}
