//! Formulas in `[knobs]`: each is read once here, so that what is wrong in it is pointed at.

use super::domains::Given;
use super::nearest::{list, nearest};
use super::schema::{COEFFICIENTS, Kind};
use super::source::{Finding, Sources, Span};
use super::{Value, schema};
use crate::twin::router::formula::{Formula, TERMS};

/// Records what is wrong with the formulas among the knobs: their grammar, and names that are neither
/// terms nor coefficients.
pub(crate) fn check(given: &[Given], spoiled: &[&str], sources: &mut Sources) {
    let coefficient = |name: &str| format!("{COEFFICIENTS}.{name}");
    let has = |name: &str| {
        let full = coefficient(name);
        given.iter().any(|g| g.row.name == full) || spoiled.contains(&full.as_str())
    };
    for knob in given.iter().filter(|g| matches!(g.row.kind, Kind::Formula)) {
        let path = format!("knobs.{}", knob.row.name);
        for (value, span) in &knob.values {
            let Value::Text(text) = value else { continue };
            let formula = match Formula::parse(text) {
                Ok(formula) => formula,
                Err(error) => {
                    let at = place(sources, *span, text, error.at);
                    sources.error(at, &path, Finding::new(error.what, "", error.remedy));
                    continue;
                }
            };
            for (name, range) in formula.names().iter().filter(|(name, _)| !has(name)) {
                let terms = TERMS.iter().map(|t| t.name);
                let named = given.iter().filter_map(|g| g.row.name.strip_prefix(COEFFICIENTS)?.strip_prefix('.'));
                let remedy = match nearest(name, terms.clone().chain(named)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if schema::knob(&coefficient(name)).is_some() => {
                        format!("give it values: {} = [0.5, 1.0]", coefficient(name))
                    }
                    None => "give it another name".to_owned(),
                };
                let what = format!("`{name}` is neither a term nor a coefficient");
                let why = format!("the terms are {}", list(&terms.collect::<Vec<_>>()));
                let at = place(sources, *span, text, range.clone());
                sources.error(at, &path, Finding::new(what, why, remedy));
            }
        }
    }
}

/// Whether a formula names the coefficient with this full name.
pub(crate) fn names(formula: &str, coefficient: &str) -> bool {
    let name = coefficient.strip_prefix(COEFFICIENTS).and_then(|n| n.strip_prefix('.'));
    Formula::parse(formula).is_ok_and(|f| f.names().iter().any(|(n, _)| Some(n.as_str()) == name))
}

/// The place in the source of a part of a text that was written within `span`; the whole of it where
/// escapes make the two differ.
fn place(sources: &Sources, span: Span, text: &str, part: std::ops::Range<usize>) -> Span {
    let written = sources.all[span.source].text.get(span.start..span.end).unwrap_or("");
    match written.find(text) {
        Some(at) if !text.is_empty() => {
            let start = span.start + at + part.start;
            Span { source: span.source, start, end: span.start + at + part.end.max(part.start) }
        }
        _ => span,
    }
}
