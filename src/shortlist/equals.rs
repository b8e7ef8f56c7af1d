//! Candidates with the very same predictions, such as two limits that the traffic never reaches: the
//! one to measure is that which bears other pass times and other traffic best.

use serde::{Deserialize, Serialize};

use super::assess::{Assessor, Verdict};
use super::select::Selection;
use super::words::percent;
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::space::{Candidate, Study};

/// Most candidates that are compared for one place.
const MOST: usize = 4;
/// Most draws that they are compared in: all meet the same ones, so that few tell them apart.
const DRAWS: usize = 16;
/// Constraints broken by shares of their bounds that differ by less are broken alike.
const ALIKE: f64 = 0.01;

/// A candidate that takes the place of one with the same predictions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Preferred {
    pub id: String,
    /// The one whose place it takes.
    pub to: String,
    /// Candidates that were compared, these two among them.
    pub compared: usize,
    pub draws: usize,
    pub bears: Bearing,
    /// What the one whose place it takes does.
    pub bore: Bearing,
}

/// How a candidate does over draws of pass times and traffic.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Bearing {
    /// Mean over the draws of the shares of their bounds by which it breaks constraints, summed; `null`
    /// when some draw leaves nothing to measure.
    pub violation: Option<f64>,
    /// Draws in which none of the compared beats it: by better objectives where both keep the
    /// constraints, else by breaking them less.
    pub unbeaten: usize,
}

impl Bearing {
    /// Less is better.
    fn rank(&self) -> (u64, std::cmp::Reverse<usize>) {
        // Past 2^53 steps of a percent nothing is told apart, and what has no measure is last.
        let steps = self.violation.map_or(u64::MAX, |violation| (violation / ALIKE).round() as u64);
        (steps, std::cmp::Reverse(self.unbeaten))
    }
}

impl Preferred {
    /// Why, in a sentence.
    pub(super) fn sentence(&self) -> String {
        let Preferred { to, draws, bears, bore, .. } = self;
        let place = format!("Takes the place of {to}, found first with the very same predictions: ");
        if bears.rank().0 == bore.rank().0 {
            let (unbeaten, first) = (bears.unbeaten, bore.unbeaten);
            return format!(
                "{place}of {draws} draws of pass times and traffic it is unbeaten in {unbeaten}, {to} in {first}."
            );
        }
        let broken =
            |bearing: &Bearing| bearing.violation.map_or("beyond measure".into(), |v| format!("by {}", percent(v)));
        let (own, first) = (broken(bears), broken(bore));
        format!(
            "{place}over {draws} draws of pass times and traffic it breaks the constraints {own} of their bounds on average, {to} {first}."
        )
    }
}

/// Other rows, simulated to the end, with the very objectives and constrained metrics of a feasible one.
fn equals<'a>(study: &'a Study, evaluations: &'a [&Evaluation], row: usize) -> impl Iterator<Item = usize> + 'a {
    let own = evaluations[row];
    let is_equal = move |other: &Evaluation| {
        let mut constrained = study.constraints.iter().map(|c| c.metric);
        other.objectives == own.objectives
            && other.is_feasible()
            && constrained.all(|metric| other.metrics[metric] == own.metrics[metric])
    };
    (0..evaluations.len()).filter(move |&other| other != row && own.is_feasible() && is_equal(evaluations[other]))
}

impl Assessor<'_> {
    /// For each chosen row, the one of its equals that breaks the constraints least over some draws, or
    /// breaks them as little and is beaten least. The chosen one stays where none is better.
    pub(crate) fn preferred(&self, run: &RunData, selection: &Selection, draws: usize) -> Vec<Preferred> {
        let evaluations = run.evaluations();
        let is_chosen = |row: usize| selection.chosen.iter().any(|chosen| chosen.row == row);
        let one = |row: usize| {
            let others: Vec<usize> = equals(self.study, &evaluations, row).filter(|&other| !is_chosen(other)).collect();
            let step = others.len().div_ceil(MOST - 1).max(1);
            let rows: Vec<usize> = std::iter::once(row).chain(others.into_iter().step_by(step)).collect();
            if rows.len() < 2 {
                return None;
            }
            let candidates: Vec<&Candidate> = rows.iter().map(|&row| &evaluations[row].candidate).collect();
            let bearings = self.bearings(&candidates, draws.min(DRAWS));
            let best = (0..rows.len()).min_by_key(|&index| bearings[index].rank()).filter(|&best| best > 0)?;
            let id = |index: usize| self.study.space.id(candidates[index]);
            Some(Preferred {
                id: id(best),
                to: id(0),
                compared: rows.len(),
                draws: draws.min(DRAWS),
                bears: bearings[best],
                bore: bearings[0],
            })
        };
        selection.chosen.iter().filter_map(|chosen| one(chosen.row)).collect()
    }

    fn bearings(&self, candidates: &[&Candidate], draws: usize) -> Vec<Bearing> {
        let drawn = self.draws(candidates, draws);
        let verdicts: Vec<Vec<Verdict>> =
            drawn.iter().map(|row| row.iter().map(|v| Verdict::of(self.study, v)).collect()).collect();
        let one = |index: usize| {
            let violation = verdicts.iter().map(|row| row[index].violation).sum::<f64>() / draws as f64;
            let is_unbeaten = |row: &&Vec<Verdict>| !row.iter().any(|other| other.beats(&row[index]));
            Bearing {
                violation: Some(violation).filter(|v| v.is_finite()),
                unbeaten: verdicts.iter().filter(is_unbeaten).count(),
            }
        };
        (0..candidates.len()).map(one).collect()
    }
}

/// Puts those that are preferred into their places; each then stands for the one that it replaces.
pub(crate) fn prefer(run: &RunData, selection: &mut Selection, preferred: &[Preferred]) {
    if preferred.is_empty() {
        return;
    }
    let evaluations = run.evaluations();
    let id = |row: usize| run.study.space.id(&evaluations[row].candidate);
    for chosen in &mut selection.chosen {
        let first = id(chosen.row);
        let Some(choice) = preferred.iter().find(|choice| choice.to == first) else { continue };
        let Some(row) = equals(&run.study, &evaluations, chosen.row).find(|&other| id(other) == choice.id) else {
            continue;
        };
        chosen.merged.retain(|&other| other != row);
        chosen.merged.insert(0, chosen.row);
        chosen.row = row;
    }
}
