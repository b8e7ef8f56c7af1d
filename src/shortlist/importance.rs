//! Which knobs matter: permutation importance of each knob for each objective, over a run.

use super::forest::{Dependence, Table, dependence};
use crate::archive::RunData;
use crate::frontier::Scale;
use crate::search::Evaluation;
use crate::space::Candidate;

/// More rows than this are thinned evenly: the answer does not change, the time does.
const MOST_ROWS: usize = 4000;
/// Fewer feasible candidates than this say too little, and infeasible ones are looked at too.
const ENOUGH_FEASIBLE: usize = 60;

/// What the knobs explain of one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveImportance {
    /// Index into the study's objectives.
    pub objective: usize,
    /// Share of the objective's variance (of its logarithm, where it has one sign) that the knobs
    /// predict on candidates that were held out; near 1 is good, below a half is not to be trusted.
    pub explained: f64,
    /// Share of that variance that a knob causes, alone or together with others, per knob of `knobs`:
    /// where knobs act together, these add up to more than one.
    pub importance: Vec<f64>,
}

/// Importance of the knobs that vary.
#[derive(Clone, Debug, PartialEq)]
pub struct KnobImportance {
    /// Names of the knobs with more than one value among the candidates looked at.
    pub knobs: Vec<String>,
    pub objectives: Vec<ObjectiveImportance>,
    /// Candidates looked at.
    pub candidates: usize,
    /// Whether they are the feasible ones only.
    pub feasible_only: bool,
}

/// Importance of every knob for every objective, or `None` when the run has too few candidates or
/// no objective that varies. Feasible candidates are looked at, or all simulated ones where few are
/// feasible: outside the constraints, overload drowns what the knobs do within them.
pub fn knob_importance(run: &RunData) -> Option<KnobImportance> {
    let study = &run.study;
    let evaluations: Vec<&Evaluation> = run.evaluations().into_iter().filter(|e| e.is_whole()).collect();
    let is_finite = |e: &&&Evaluation| e.objectives.iter().all(|v| v.is_finite());
    let feasible: Vec<&Evaluation> =
        evaluations.iter().filter(is_finite).copied().filter(|e| e.is_feasible()).collect();
    let feasible_only = feasible.len() >= ENOUGH_FEASIBLE;
    let rows = if feasible_only { feasible } else { evaluations.iter().filter(is_finite).copied().collect() };
    let stride = rows.len().div_ceil(MOST_ROWS).max(1);
    let rows: Vec<&Evaluation> = rows.into_iter().step_by(stride).collect();

    // Absent is a level of its own, below all others.
    let level = |e: &Evaluation, knob: usize| match e.candidate.levels[knob] {
        Candidate::ABSENT => 0,
        level => level + 1,
    };
    let all: Vec<Vec<u32>> =
        (0..study.space.knobs.len()).map(|knob| rows.iter().map(|e| level(e, knob)).collect()).collect();
    // A pinned knob is absent or not as its gate has it, and would take the credit for that.
    let is_free = |knob: usize| study.space.knobs[knob].domain.values.len() > 1;
    let varies = |knob: usize| all[knob].windows(2).any(|pair| pair[0] != pair[1]);
    let varying: Vec<usize> = (0..all.len()).filter(|&knob| is_free(knob) && varies(knob)).collect();
    let features: Vec<Vec<u32>> = varying.iter().map(|&knob| all[knob].clone()).collect();
    let mut objectives = Vec::new();
    for objective in 0..study.objectives.len() {
        let values = rows.iter().map(|e| e.objectives[objective]);
        let scale = Scale::of(values.clone());
        let outcome: Vec<f64> = values.map(|v| scale.apply(v)).collect();
        let table = Table { features: &features, outcome: &outcome };
        if let Some(Dependence { explained, importance }) = dependence(&table, objective as u64) {
            objectives.push(ObjectiveImportance { objective, explained, importance });
        }
    }
    let knobs = varying.iter().map(|&knob| study.space.knobs[knob].name.clone()).collect();
    (!objectives.is_empty()).then_some(KnobImportance { knobs, objectives, candidates: rows.len(), feasible_only })
}
