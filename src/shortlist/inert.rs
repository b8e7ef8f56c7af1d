//! Knobs that changed nothing: found by comparing candidates that differ in one knob only.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;

use crate::search::Evaluation;
use crate::space::Study;

/// Fewer comparisons than this say too little to call a knob inert.
const LEAST_COMPARISONS: usize = 3;

/// A knob that changed no outcome wherever that could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InertKnob {
    pub name: String,
    /// Pairs of candidates that differ in this knob only; all metrics agree in every one.
    pub comparisons: usize,
}

/// The knobs that never changed any metric, in the order of the space.
///
/// Candidates that differ in one knob only are compared, bit by bit, in every metric. A knob that no
/// such pair shows, or fewer than three, is not judged; nor is one with a single value, nor one that
/// gates others (its neighbours differ in more than it).
pub fn inert_knobs(study: &Study, evaluations: &[&Evaluation]) -> Vec<InertKnob> {
    let simulated: Vec<&Evaluation> = evaluations.iter().copied().filter(|e| e.is_whole()).collect();
    let knobs = study.space.knobs.par_iter().enumerate();
    knobs
        .filter(|(_, knob)| knob.domain.values.len() > 1)
        .filter_map(|(index, knob)| {
            let comparisons = agreeing_pairs(&simulated, index)?;
            let enough = comparisons >= LEAST_COMPARISONS;
            enough.then(|| InertKnob { name: knob.name.clone(), comparisons })
        })
        .collect()
}

/// How many candidates agree in all metrics with an earlier one that differs in one knob only;
/// `None` as soon as two disagree.
fn agreeing_pairs(simulated: &[&Evaluation], knob: usize) -> Option<usize> {
    // Of a million rows no copies are made to look them up by.
    let others = |row: usize| {
        let levels = &simulated[row].candidate.levels;
        (&levels[..knob], &levels[knob + 1..])
    };
    let hash = |row: usize| FxBuildHasher.hash_one(others(row));
    let mut first_of: HashTable<usize> = HashTable::new();
    let mut pairs = 0;
    for (row, evaluation) in simulated.iter().enumerate() {
        if evaluation.candidate.levels[knob] == crate::space::Candidate::ABSENT {
            continue;
        }
        let is_alike = |&other: &usize| others(other) == others(row);
        let first = *first_of.entry(hash(row), is_alike, |&other| hash(other)).or_insert(row).get();
        if first != row {
            let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            if !simulated[first].metrics.iter().zip(&evaluation.metrics).all(same) {
                return None;
            }
            pairs += 1;
        }
    }
    Some(pairs)
}
