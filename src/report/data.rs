//! What the page's script works on: candidates with their knobs and metrics, as compact JSON.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value as Json, json};

use crate::archive::{RunData, knob_unit};
use crate::search::Evaluation;
use crate::shortlist::{Shortlist, metric_label, shape_words, shown_metrics};
use crate::space::Candidate;
use crate::twin::metrics::METRICS;

/// Most candidates in a page: with all their columns they stay well below a megabyte and a half.
const MOST: usize = 6000;
/// Longest reason that is shown, characters.
const LONGEST_REASON: usize = 160;

/// Candidates of a page.
pub(super) struct Rows {
    /// Rows of the run, in the order of the page.
    pub shown: Vec<usize>,
    /// How many the run has that were simulated.
    pub simulated: usize,
}

impl Rows {
    /// All that were simulated whole; of more than fit, the shortlist, the frontier, and evenly of
    /// the feasible and the infeasible ones, three to one.
    pub fn of(evaluations: &[&Evaluation], frontier: &[usize], shortlist: &Shortlist) -> Rows {
        let whole: Vec<usize> = (0..evaluations.len()).filter(|&row| evaluations[row].is_whole()).collect();
        let simulated = whole.len();
        if simulated <= MOST {
            return Rows { shown: whole, simulated };
        }
        let mut kept: FxHashSet<usize> = shortlist.picks.iter().map(|pick| pick.row).collect();
        kept.extend(evenly(frontier, MOST / 2));
        let (feasible, infeasible): (Vec<usize>, Vec<usize>) =
            whole.into_iter().filter(|row| !kept.contains(row)).partition(|&row| evaluations[row].is_feasible());
        let left = MOST - kept.len();
        let share = (left / 4).max(left.saturating_sub(feasible.len())).min(infeasible.len());
        kept.extend(evenly(&infeasible, share));
        kept.extend(evenly(&feasible, left - share));
        let mut shown: Vec<usize> = kept.into_iter().collect();
        shown.sort_unstable();
        Rows { shown, simulated }
    }
}

fn evenly(rows: &[usize], most: usize) -> impl Iterator<Item = usize> {
    let n = rows.len().min(most);
    (0..n).map(move |i| rows[i * rows.len() / n])
}

/// A number with five significant digits; `null` for what JSON cannot say.
fn number(value: f64) -> Json {
    if !value.is_finite() {
        return Json::Null;
    }
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 { json!(rounded as i64) } else { json!(rounded) }
}

/// The whole object.
pub(super) fn json(run: &RunData, shortlist: &Shortlist, rows: &Rows) -> Json {
    let study = &run.study;
    let evaluations = run.evaluations();
    // An entry that took the place of a member has the very same values: nothing dominates it.
    let preferred = shortlist.picks.iter().filter(|pick| pick.preferred.is_some()).map(|pick| pick.row);
    let frontier: FxHashSet<usize> = run.frontier().into_iter().chain(preferred).collect();
    let place: FxHashMap<usize, usize> = rows.shown.iter().enumerate().map(|(place, &row)| (row, place)).collect();
    let shown = shown_metrics(study);
    let metrics = shown.iter().map(|&m| {
        let info = &METRICS[m];
        json!({ "name": info.name, "label": metric_label(m), "unit": info.unit, "higher": info.higher_is_better })
    });
    let knobs = study.space.knobs.iter().map(|knob| {
        let values: Vec<String> = knob.domain.values.iter().map(ToString::to_string).collect();
        json!({ "name": knob.name, "unit": knob_unit(&knob.name), "values": values })
    });
    let position = |metric: usize| shown.iter().position(|&m| m == metric);
    let objectives = study.objectives.iter().map(|o| json!({ "metric": position(o.metric), "maximize": o.maximize }));
    let mut reasons = Map::new();
    let lines: Vec<Json> = rows
        .shown
        .iter()
        .enumerate()
        .map(|(place, &row)| {
            let evaluation = evaluations[row];
            let state = if frontier.contains(&row) { 1 } else { 2 * i32::from(!evaluation.is_feasible()) };
            if let Some(reason) = evaluation.reason.as_ref().filter(|_| state == 2) {
                reasons.insert(place.to_string(), reason.chars().take(LONGEST_REASON).collect::<String>().into());
            }
            let level = |&level: &u32| if level == Candidate::ABSENT { json!(-1) } else { json!(level) };
            let levels: Vec<Json> = evaluation.candidate.levels.iter().map(level).collect();
            let values: Vec<Json> = shown.iter().map(|&m| number(evaluation.metrics[m])).collect();
            json!([
                study.space.id(&evaluation.candidate),
                shape_words(&study.space, &evaluation.candidate),
                state,
                levels,
                values
            ])
        })
        .collect();
    let picks =
        shortlist.picks.iter().filter_map(|pick| Some(json!({ "row": place.get(&pick.row)?, "rank": pick.rank })));
    let ids: FxHashMap<String, usize> = rows
        .shown
        .iter()
        .enumerate()
        .map(|(place, &row)| (study.space.id(&evaluations[row].candidate), place))
        .collect();
    let mut intervals = Map::new();
    for assessed in shortlist.assessment.iter().flat_map(|a| &a.candidates) {
        let Some(place) = ids.get(&assessed.id) else { continue };
        let known = shown.iter().enumerate().filter_map(|(index, &metric)| {
            let interval = assessed.interval(metric)?;
            Some((index.to_string(), json!([number(interval.low), number(interval.high), number(interval.median)])))
        });
        let metrics: Map<String, Json> = known.collect();
        let own =
            json!({ "feasible": number(assessed.feasible), "frontier": number(assessed.frontier), "metrics": metrics });
        intervals.insert(place.to_string(), own);
    }
    json!({
        "metrics": metrics.collect::<Vec<_>>(),
        "knobs": knobs.collect::<Vec<_>>(),
        "objectives": objectives.collect::<Vec<_>>(),
        "rows": lines,
        "picks": picks.collect::<Vec<_>>(),
        "intervals": intervals,
        "reasons": reasons,
    })
}

/// JSON that can stand within a script element: nothing in it ends the element or begins another.
pub(super) fn embeddable(json: &Json) -> String {
    let text = json.to_string();
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.1 + 0.2, 123_456.0, 8.0, f64::NAN].map(|v| number(v).to_string()),
            ["0.3", "123460", "8", "null"]
        );
    }

    #[test]
    fn nothing_ends_the_script() {
        let text = embeddable(&json!("</script><!-- & \u{2028}"));
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "</script><!-- & \u{2028}");
    }
}
