//! `[objectives]` and `[constraints]`: what is wanted of a deployment.

use super::check::Checked;
use super::nearest::{did_you_mean, nearest, one_of};
use super::sections::sla;
use super::source::{Finding, Sources, Span};
use super::tree::{Entry, Node, Raw};
use super::{Constraint, Objective};
use crate::twin::metrics::{self, METRICS, Metric};

/// Fewest objectives of a search: with one there is nothing to trade off.
pub const MIN_OBJECTIVES: usize = 2;
/// Most objectives of a search: beyond, nearly every candidate is on the frontier.
pub const MAX_OBJECTIVES: usize = 4;
/// Metrics that count good requests and so need `[sla]`.
const NEEDS_SLA: [Metric; 4] =
    [Metric::GoodputRps, Metric::GoodputTokensPerS, Metric::SlaAttainment, Metric::UsdPerKreqGood];

/// The metric of this name, if it exists and `[sla]` has what it needs.
fn metric(name: &str, span: Span, path: &str, checked: &Checked, sources: &mut Sources) -> Option<usize> {
    let Some(index) = metrics::index_of(name) else {
        let names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
        let what = format!("there is no metric `{name}`");
        let remedy = match nearest(name, names.iter().copied()) {
            Some(_) => did_you_mean(name, &names),
            None => format!("{}; docs/metrics.md defines them all", same_family(name, &names)),
        };
        sources.error(span, path, Finding::new(what, "names carry the statistic and the unit", remedy));
        return None;
    };
    if NEEDS_SLA.iter().any(|m| *m as usize == index) && sla(checked).is_empty() {
        let what = format!("`{name}` counts good requests, but `[sla]` does not say what is good");
        let finding = Finding::new(what, METRICS[index].definition, "add `[sla]` with ttft_ms, tpot_ms or e2e_ms");
        sources.error(span, path, finding);
        return None;
    }
    Some(index)
}

/// Metrics that begin like `name` (`ttft`: all of TTFT), or all of them.
fn same_family(name: &str, names: &[&str]) -> String {
    let stem = name.split('_').next().unwrap_or(name);
    let family: Vec<&str> = names.iter().copied().filter(|n| n.split('_').next() == Some(stem)).collect();
    one_of(if family.is_empty() { names } else { &family })
}

/// `[objectives]`: minimised ones first, each in the order written.
pub(crate) fn objectives(checked: &Checked, is_search: bool, sources: &mut Sources) -> Vec<Objective> {
    let mut found: Vec<Objective> = Vec::new();
    let before = sources.error_count();
    for (path, maximize) in [("objectives.minimize", false), ("objectives.maximize", true)] {
        let Some(node) = checked.metric_lists.get(path) else { continue };
        for (index, (name, span)) in names(node, path, sources).into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(metric) = metric(&name, span, &path, checked, sources) else { continue };
            match found.iter().find(|o| o.metric == metric) {
                None => found.push(Objective { metric, maximize }),
                Some(first) => {
                    let what = if first.maximize == maximize {
                        format!("`{name}` is listed twice")
                    } else {
                        format!("`{name}` is to be both minimized and maximized")
                    };
                    sources.error(span, &path, Finding::new(what, "", "remove one of the two"));
                }
            }
        }
    }
    let count = found.len();
    let is_given = checked.place("objectives").is_some();
    let wrong = (is_search && count < MIN_OBJECTIVES) || count > MAX_OBJECTIVES;
    if is_given && wrong && sources.error_count() == before {
        let what = format!("a search has {MIN_OBJECTIVES} to {MAX_OBJECTIVES} objectives, and this one has {count}");
        let why = "a frontier trades objectives off against each other; with too many, nearly everything is on it";
        let remedy = if count < MIN_OBJECTIVES {
            "list another metric, such as minimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]"
        } else {
            "turn some of them into `[constraints]`"
        };
        sources.error(checked.span("objectives"), "objectives", Finding::new(what, why, remedy));
    }
    found
}

/// The strings of a list and their places.
fn names(node: &Node, path: &str, sources: &mut Sources) -> Vec<(String, Span)> {
    let Raw::List(items) = &node.raw else {
        let what = format!("`{path}` must be a list of metric names, not {}", node.raw.type_words());
        let remedy = match &node.raw {
            Raw::Text(name) => format!("write [\"{name}\"]"),
            _ => "write for example [\"usd_per_mtok_output\", \"ttft_p90_ms\"]".into(),
        };
        sources.error(node.span, path, Finding::new(what, "", remedy));
        return Vec::new();
    };
    let mut names = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match &item.raw {
            Raw::Text(name) => names.push((name.clone(), item.span)),
            raw => {
                let what = format!("a metric is a name, not {}", raw.type_words());
                sources.error(item.span, &format!("{path}[{index}]"), Finding::new(what, "", "write it in quotes"));
            }
        }
    }
    names
}

/// `[constraints]`, in the order written.
pub(crate) fn constraints(checked: &Checked, sources: &mut Sources) -> Vec<Constraint> {
    let mut found = Vec::new();
    for entry in &checked.constraints {
        let path = format!("constraints.{}", entry.key);
        let metric = metric(&entry.key, entry.key_span, &path, checked, sources);
        if let (Some((min, max)), Some(metric)) = (bounds(entry, metric, &path, sources), metric) {
            found.push(Constraint { metric, min, max });
        }
    }
    found
}

type Bounds = (Option<f64>, Option<f64>);

fn bounds(entry: &Entry, metric: Option<usize>, path: &str, sources: &mut Sources) -> Option<Bounds> {
    let side = if metric.is_some_and(|m| METRICS[m].higher_is_better) { "min" } else { "max" };
    let Raw::Table(entries) = &entry.node.raw else {
        let what = format!("`{path}` must be a table of bounds, not {}", entry.node.raw.type_words());
        let bound = match &entry.node.raw {
            Raw::Int(v) => v.to_string(),
            Raw::Real(v) if v.is_finite() => v.to_string(),
            _ => "..".into(),
        };
        sources.error(entry.node.span, path, Finding::new(what, "", format!("write {{ {side} = {bound} }}")));
        return None;
    };
    let (mut min, mut max) = (None, None);
    let mut fine = true;
    for bound in entries {
        let bound_path = format!("{path}.{}", bound.key);
        let slot = match bound.key.as_str() {
            "min" => &mut min,
            "max" => &mut max,
            other => {
                let what = format!("a constraint has no `{other}`");
                let finding = Finding::new(what, "it has `min`, `max`, or both", did_you_mean(other, &["min", "max"]));
                sources.error(bound.key_span, &bound_path, finding);
                fine = false;
                continue;
            }
        };
        *slot = match bound.node.raw {
            Raw::Int(v) => Some((v as f64, bound.node.span)),
            Raw::Real(v) if v.is_finite() => Some((v, bound.node.span)),
            _ => {
                let what = format!("`{bound_path}` must be a finite number");
                sources.error(bound.node.span, &bound_path, Finding::new(what, "", format!("write {side} = 4000")));
                fine = false;
                continue;
            }
        };
    }
    match (min, max) {
        (None, None) if fine => {
            let what = format!("`{path}` has neither `min` nor `max`");
            let finding = Finding::new(what, "it would hold for every candidate", format!("write {{ {side} = .. }}"));
            sources.error(entry.key_span, path, finding);
            return None;
        }
        (Some((low, _)), Some((high, span))) if low > high => {
            let what = format!("no value keeps `{path}`: min = {low} is above max = {high}");
            sources.error(span, path, Finding::new(what, "", format!("write {{ min = {high}, max = {low} }}")));
            return None;
        }
        _ => {}
    }
    fine.then_some((min.map(|b| b.0), max.map(|b| b.0)))
}
