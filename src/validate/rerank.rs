//! The frontier of a run under a calibration: what may have moved onto it is simulated again.
//!
//! Begun with the old frontier, the shortlist and a sample of everything. How far metrics move is seen
//! on those; a candidate that would be outside a constraint, or behind the new frontier, even if it
//! moved as favourably as any of its kind has (and a little more), is left. The others are simulated,
//! which says more of how far metrics move, until none is left that could matter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use crate::archive::RunData;
use crate::frontier::{Front, weakly_dominates};
use crate::search::{Evaluate, Evaluation};
use crate::shortlist::shape_of;
use crate::space::{self, SpaceErrors, Study};

/// Candidates simulated together.
const BATCH: usize = 32;
/// Candidates of the first sample, evenly over the archive.
const SAMPLE: usize = 24;
/// How much further than any seen a candidate may move: a share of its value.
const SLACK: f64 = 0.1;
/// Fewest of a kind that say how far its metrics move; fewer count with all.
const KIND: usize = 4;

/// What was simulated again.
#[derive(Clone, Debug)]
pub struct Reranked {
    /// In the order of simulation: rows of the old archive, and their new evaluations.
    pub batches: Vec<Vec<(usize, Evaluation)>>,
    /// Candidates of the archive that could be simulated.
    pub eligible: usize,
}

impl Reranked {
    /// Everything that was simulated again.
    pub fn all(&self) -> impl Iterator<Item = &(usize, Evaluation)> {
        self.batches.iter().flatten()
    }
}

/// The study of a run under the calibration in a file.
///
/// # Errors
/// As for a search space: the file cannot be read, or lacks a backend of the space.
pub fn study_under(study: &Study, calibration: &Path) -> Result<Study, SpaceErrors> {
    let name = calibration.to_string_lossy().into_owned();
    let set = format!("timing.calibration={}", toml::Value::String(name));
    space::parse(&study.text, study.path.as_deref(), &[set])
}

/// Simulates again whatever may be on the frontier; `first` rows are always among it.
pub fn rerank(run: &RunData, evaluate: &dyn Evaluate, first: &[usize]) -> Reranked {
    let evaluations = run.evaluations();
    let eligible: Vec<usize> = (0..evaluations.len()).filter(|&row| !evaluations[row].is_refused()).collect();
    let study = &run.study;
    let kinds: Vec<Vec<String>> = evaluations.iter().map(|e| shape_of(&study.space, &e.candidate).kind).collect();
    let mut next: BTreeSet<usize> = run.frontier().into_iter().chain(first.iter().copied()).collect();
    next.extend(eligible.iter().step_by(eligible.len().div_ceil(SAMPLE).max(1)));
    next.retain(|row| !evaluations[*row].is_refused());
    let mut done: BTreeMap<usize, Evaluation> = BTreeMap::new();
    let mut batches = Vec::new();
    while !next.is_empty() {
        let rows: Vec<usize> = next.iter().copied().collect();
        let new: Vec<(usize, Evaluation)> =
            rows.par_iter().map(|&row| (row, evaluate.evaluate(&evaluations[row].candidate))).collect();
        done.extend(new.iter().cloned());
        batches.push(new);
        let moves = Moves::seen(study, &evaluations, &kinds, &done);
        let mut front = Front::new(study.objectives.len());
        for (row, evaluation) in done.iter().filter(|(_, e)| e.is_feasible()) {
            front.insert(&evaluation.objectives, *row);
        }
        let mut could: Vec<usize> = eligible
            .iter()
            .copied()
            .filter(|row| !done.contains_key(row) && moves.could_matter(study, evaluations[*row], &kinds[*row], &front))
            .collect();
        could.sort_by(|&a, &b| evaluations[a].violation.total_cmp(&evaluations[b].violation).then(a.cmp(&b)));
        next = could.into_iter().take(BATCH).collect();
    }
    Reranked { batches, eligible: eligible.len() }
}

/// Least and greatest ratio of new to old, of each metric that decides.
type Ranges = BTreeMap<usize, (f64, f64)>;

/// How far metrics moved on what was simulated again, by kind of deployment and over all.
struct Moves {
    by_kind: BTreeMap<Vec<String>, Ranges>,
    all: Ranges,
}

impl Moves {
    fn seen(study: &Study, old: &[&Evaluation], kinds: &[Vec<String>], done: &BTreeMap<usize, Evaluation>) -> Moves {
        let metrics: BTreeSet<usize> =
            study.objectives.iter().map(|o| o.metric).chain(study.constraints.iter().map(|c| c.metric)).collect();
        let ranges = |rows: &[usize]| -> Ranges {
            let of = |&metric: &usize| {
                let ratio =
                    |row: &usize| done[row].metrics.get(metric).zip(old[*row].metrics.get(metric)).map(|(n, o)| n / o);
                let seen = rows.iter().filter_map(ratio).filter(|r| r.is_finite() && *r > 0.0);
                (metric, seen.fold((1.0f64, 1.0f64), |(low, high), r| (low.min(r), high.max(r))))
            };
            metrics.iter().map(of).collect()
        };
        let rows: Vec<usize> = done.keys().copied().collect();
        let mut of_kind: BTreeMap<&Vec<String>, Vec<usize>> = BTreeMap::new();
        rows.iter().for_each(|&row| of_kind.entry(&kinds[row]).or_default().push(row));
        let known = of_kind.into_iter().filter(|(_, rows)| rows.len() >= KIND);
        Moves { by_kind: known.map(|(kind, rows)| (kind.clone(), ranges(&rows))).collect(), all: ranges(&rows) }
    }

    /// Whether a candidate could be feasible and on the frontier, had it moved as favourably as any.
    fn could_matter(&self, study: &Study, old: &Evaluation, kind: &[String], front: &Front) -> bool {
        let ranges = self.by_kind.get(kind).unwrap_or(&self.all);
        let span = |metric: usize| {
            let (low, high) = ranges.get(&metric).copied().unwrap_or((1.0, 1.0));
            let value = old.metrics.get(metric).copied().unwrap_or(f64::NAN);
            (value * low * (1.0 - SLACK), value * high * (1.0 + SLACK))
        };
        let could_hold = study.constraints.iter().all(|constraint| {
            let (low, high) = span(constraint.metric);
            // What was not known may be anything.
            constraint.max.is_none_or(|most| low.is_nan() || low <= most)
                && constraint.min.is_none_or(|least| high.is_nan() || high >= least)
        });
        let best: Vec<f64> = study
            .objectives
            .iter()
            .map(|objective| {
                let (low, high) = span(objective.metric);
                let best = if objective.maximize { -high } else { low };
                if best.is_nan() { f64::NEG_INFINITY } else { best }
            })
            .collect();
        could_hold && !front.points().chunks_exact(best.len().max(1)).any(|point| weakly_dominates(point, &best))
    }
}
