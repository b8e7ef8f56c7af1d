//! When nothing is feasible, or to say what made candidates infeasible: misses and their causes.

use std::collections::BTreeMap;

use super::Margin;
use super::select::{Chosen, Role, Selection};
use super::shape::shape_of;
use crate::search::Evaluation;
use crate::space::Study;
use crate::twin::metrics::METRICS;

/// One cause of infeasibility and how many candidates it hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The broken bound, such as `ttft_p99_ms ≤ 4,000 ms`, or the reason of a refusal with `#` for the
    /// numbers that differ.
    pub cause: String,
    /// Candidates that it hit; one candidate may be hit by several.
    pub candidates: usize,
    /// Whether it kept them from being simulated.
    pub is_refusal: bool,
}

/// The nearest misses: by total relative violation, one per deployment shape before any second.
pub(crate) fn nearest(study: &Study, evaluations: &[&Evaluation], size: usize) -> Selection {
    let mut rows: Vec<usize> = (0..evaluations.len())
        .filter(|&row| {
            let violation = evaluations[row].violation;
            violation.is_finite() && violation > 0.0 && evaluations[row].is_whole()
        })
        .collect();
    rows.sort_by(|&a, &b| evaluations[a].violation.total_cmp(&evaluations[b].violation).then(a.cmp(&b)));
    let mut shapes = std::collections::BTreeSet::new();
    let (mut first, mut further) = (Vec::new(), Vec::new());
    for &row in &rows {
        let is_new = shapes.insert(shape_of(&study.space, &evaluations[row].candidate));
        if is_new { &mut first } else { &mut further }.push(row);
    }
    let chosen = first.into_iter().chain(further).take(size);
    let miss = |row| Chosen { row, roles: vec![Role::NearestMiss], gain: 0.0, merged: Vec::new() };
    let mut chosen: Vec<Chosen> = chosen.map(miss).collect();
    chosen
        .sort_by(|a, b| evaluations[a.row].violation.total_cmp(&evaluations[b.row].violation).then(a.row.cmp(&b.row)));
    Selection { chosen, distinct: 0, coverage: None }
}

/// What made candidates infeasible, the most frequent first, equal ones by name.
pub fn blockers(study: &Study, evaluations: &[&Evaluation]) -> Vec<Blocker> {
    let mut counts: BTreeMap<(bool, String), usize> = BTreeMap::new();
    // Bounds are the same for all: they are put into words once.
    let mut broken: Vec<(Margin, usize)> = Vec::new();
    for evaluation in evaluations.iter().filter(|e| !e.is_feasible()) {
        if evaluation.is_refused() {
            let reason = evaluation.reason.as_deref().unwrap_or("refused without a reason");
            *counts.entry((true, without_numbers(reason))).or_default() += 1;
            continue;
        }
        for margin in study.constraints.iter().flat_map(|c| Margin::of(c, &evaluation.metrics)) {
            let is_it = |(m, _): &&mut (Margin, usize)| {
                (m.metric, m.is_max, m.bound) == (margin.metric, margin.is_max, margin.bound)
            };
            if margin.holds() {
                continue;
            }
            match broken.iter_mut().find(is_it) {
                Some((_, candidates)) => *candidates += 1,
                None => broken.push((margin, 1)),
            }
        }
    }
    for (margin, candidates) in broken {
        *counts.entry((false, bound_words(&margin))).or_default() += candidates;
    }
    let mut blockers: Vec<Blocker> =
        counts.into_iter().map(|((is_refusal, cause), candidates)| Blocker { cause, candidates, is_refusal }).collect();
    blockers.sort_by(|a, b| b.candidates.cmp(&a.candidates).then_with(|| a.cause.cmp(&b.cause)));
    blockers
}

/// A bound such as `ttft_p99_ms ≤ 4,000 ms`.
pub(crate) fn bound_words(margin: &Margin) -> String {
    let relation = if margin.is_max { "≤" } else { "≥" };
    let unit = METRICS[margin.metric].unit;
    format!("{} {relation} {} {unit}", margin.name(), super::significant(margin.bound))
}

/// A reason with every number replaced by `#`, so that reasons that differ only in numbers are one.
/// Digits within a name (`H200`, `p90`) stay.
fn without_numbers(reason: &str) -> String {
    let mut out = String::with_capacity(reason.len());
    let mut in_word = false;
    let mut in_number = false;
    for c in reason.chars() {
        if c.is_ascii_digit() && !in_word {
            if !in_number {
                out.push('#');
            }
            in_number = true;
            continue;
        }
        if in_number && matches!(c, '.' | ',' | '_') {
            continue;
        }
        in_number = false;
        in_word = c.is_alphanumeric() || c == '_';
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_are_one() {
        assert_eq!(without_numbers("needs 64 GPUs, max_gpus is 32"), "needs # GPUs, max_gpus is #");
        assert_eq!(without_numbers("weights need 61.4 GiB on an H200"), "weights need # GiB on an H200");
        assert_eq!(without_numbers("1,024 blocks"), "# blocks");
    }
}
