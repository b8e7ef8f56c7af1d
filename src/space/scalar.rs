//! One value against one row of the schema.

use super::Value;
use super::nearest::{did_you_mean, list, one_of};
use super::schema::{Fallback, Kind};
use super::source::{Finding, Sources};
use super::tree::{Node, Raw};
use crate::units::shown;

/// A bound of reals that is no rule but keeps sums finite; not shown.
pub(crate) const UNBOUNDED: f64 = 1e15;

/// What the schema says of a value, whether of a key or of a knob.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    /// Full path for messages.
    pub path: &'a str,
    pub kind: Kind,
    pub fallback: Fallback,
    pub unit: &'a str,
    pub doc: &'a str,
}

/// The value, checked against its kind; `None` after recording what is wrong with it.
pub(crate) fn check(node: &Node, rule: Rule<'_>, sources: &mut Sources) -> Option<Value> {
    match value(&node.raw, rule) {
        Ok(value) => Some(value),
        Err(finding) => {
            sources.error(node.span, rule.path, finding);
            None
        }
    }
}

fn value(raw: &Raw, rule: Rule<'_>) -> Result<Value, Finding> {
    let path = rule.path;
    if let Raw::HugeInt(digits) = raw
        && matches!(rule.kind, Kind::Int { .. } | Kind::Real { .. })
    {
        let what = format!("`{path}` = {digits} does not fit in a 64-bit integer");
        return Err(Finding::new(what, range_words(rule), bound(digits.starts_with('-'), rule)));
    }
    match (rule.kind, raw) {
        (Kind::Bool, Raw::Bool(v)) => Ok(Value::Bool(*v)),
        (Kind::Int { min, max }, Raw::Int(v)) if (min..=max).contains(v) => Ok(Value::Int(*v)),
        (Kind::Int { .. }, Raw::Int(v)) => Err(out_of_range(*v as f64, rule)),
        (Kind::Int { .. }, Raw::Real(v)) if v.fract() == 0.0 && v.abs() < 1e15 => {
            let what = format!("`{path}` must be an integer, not {v:?}");
            Err(Finding::new(what, rule.doc, format!("write {v:.0}")))
        }
        (Kind::Real { .. }, Raw::Real(v)) if !v.is_finite() => {
            let what = format!("`{path}` must be a finite number, not {v}");
            Err(Finding::new(what, range_words(rule), example(rule)))
        }
        (Kind::Real { .. }, Raw::Real(v)) => real(*v, rule),
        (Kind::Real { .. }, Raw::Int(v)) => real(*v as f64, rule),
        (Kind::Choice { legal }, Raw::Text(v)) => choice(v, legal, rule),
        (Kind::Name(catalogue), Raw::Text(v)) if (catalogue.has)(v) => Ok(Value::Text(v.clone())),
        (Kind::Name(catalogue), Raw::Text(v)) => {
            let names = (catalogue.names)();
            let what = format!("the catalogue has no {} `{v}`", catalogue.what);
            Err(Finding::new(what, "", did_you_mean(v, &names)))
        }
        (Kind::Label, Raw::Text(v)) if !v.trim().is_empty() && !v.contains(char::is_control) => {
            Ok(Value::Text(v.clone()))
        }
        (Kind::Label, Raw::Text(_)) => Err(Finding::new(format!("`{path}` is no label"), rule.doc, example(rule))),
        (Kind::FileName, Raw::Text(v)) => file_name(v, rule),
        (Kind::Path, Raw::Text(v)) if v.is_empty() || v.contains('\0') => {
            Err(Finding::new(format!("`{path}` is no path"), rule.doc, example(rule)))
        }
        // What is in it is checked where its place is known.
        (Kind::Path | Kind::Formula, Raw::Text(v)) => Ok(Value::Text(v.clone())),
        (kind, raw) => Err(wrong_type(kind, raw, rule)),
    }
}

fn real(v: f64, rule: Rule<'_>) -> Result<Value, Finding> {
    let Kind::Real { min, max, open } = rule.kind else { unreachable!("called for reals only") };
    if v < min || v > max || (open && v == min) {
        return Err(out_of_range(v, rule));
    }
    // Adding 0 makes one zero of the two, so that one value has one name.
    Ok(Value::Real(v + 0.0))
}

fn choice(v: &str, legal: &[&str], rule: Rule<'_>) -> Result<Value, Finding> {
    let path = rule.path;
    if legal.contains(&v) {
        return Ok(Value::Text(v.to_owned()));
    }
    let what = format!("`{path}` cannot be \"{v}\"");
    Err(Finding::new(what, format!("it is one of {}", list(legal)), did_you_mean(v, legal)))
}

/// Longest `study.name`, in characters.
const NAME_LENGTH: usize = 64;

/// Whether a character may be part of a file name everywhere.
fn is_file_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn file_name(v: &str, rule: Rule<'_>) -> Result<Value, Finding> {
    let fault = if v.is_empty() {
        "is empty".to_owned()
    } else if v.chars().count() > NAME_LENGTH {
        format!("has {} characters, more than {NAME_LENGTH}", v.chars().count())
    } else if let Some(c) = v.chars().find(|c| !is_file_character(*c)) {
        format!("holds {c:?}")
    } else if v.starts_with(['.', '-']) {
        "begins with a point or a dash".to_owned()
    } else {
        return Ok(Value::Text(v.to_owned()));
    };
    let what = format!("`{}` {fault}", rule.path);
    let why =
        "it becomes the name of a directory: letters, digits, `.`, `_` and `-`, beginning with a letter, digit or `_`";
    Err(Finding::new(what, why, format!("write name = \"{}\"", to_file_name(v))))
}

/// The nearest legal `study.name`; `study` when nothing is left.
pub(crate) fn to_file_name(text: &str) -> String {
    let dashed: String = text.chars().map(|c| if is_file_character(c) { c } else { '-' }).collect();
    let name: String = dashed.trim_matches(['.', '-']).chars().take(NAME_LENGTH).collect();
    if name.is_empty() { "study".into() } else { name }
}

fn wrong_type(kind: Kind, raw: &Raw, rule: Rule<'_>) -> Finding {
    let what = format!("`{}` must be {}, not {}", rule.path, type_words(kind), raw.type_words());
    let remedy = match (kind, raw) {
        (Kind::Int { .. } | Kind::Real { .. }, Raw::Text(v)) if v.trim().parse::<f64>().is_ok() => {
            format!("write {} without the quotes", v.trim())
        }
        (Kind::Bool, Raw::Text(v)) if v == "true" || v == "false" => format!("write {v} without the quotes"),
        _ => example(rule),
    };
    Finding::new(what, rule.doc, remedy)
}

fn out_of_range(v: f64, rule: Rule<'_>) -> Finding {
    let is_low = match rule.kind {
        Kind::Int { min, .. } => v < min as f64,
        Kind::Real { min, .. } => v <= min,
        _ => false,
    };
    Finding::new(format!("`{}` = {} is out of range", rule.path, shown(v)), range_words(rule), bound(is_low, rule))
}

/// The bound that a number is beyond, as a remedy.
fn bound(is_low: bool, rule: Rule<'_>) -> String {
    let without = match rule.fallback {
        Fallback::Value(literal) => format!("; left out, it is {}", Value::from(literal).to_toml()),
        _ => String::new(),
    };
    match (rule.kind, is_low) {
        (Kind::Int { min, .. }, true) => format!("write {min} or more{without}"),
        (Kind::Int { max, .. }, false) => format!("write {max} or less{without}"),
        (Kind::Real { min, open: true, .. }, true) => format!("write a number above {min}{without}"),
        (Kind::Real { min, .. }, true) => format!("write {min} or more{without}"),
        (Kind::Real { max, .. }, false) => format!("write {max} or less{without}"),
        _ => example(rule),
    }
}

/// The type a kind wants, with an article.
pub(crate) fn type_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "a boolean",
        Kind::Int { .. } => "an integer",
        Kind::Real { .. } => "a number",
        Kind::Choice { .. } | Kind::Name(_) | Kind::Label | Kind::FileName | Kind::Path | Kind::Formula => "a string",
        Kind::Metrics => "a list of metric names",
        Kind::Shares => "a list of numbers from 0 to 1",
        Kind::Faults => "a list of faults",
    }
}

/// The range of a kind in words, such as `from 1 to 64 GPUs`; the type where there is no range.
pub(crate) fn range_words(rule: Rule<'_>) -> String {
    let unit = if rule.unit.is_empty() { String::new() } else { format!(" {}", rule.unit) };
    match rule.kind {
        Kind::Int { min, max } => format!("it is an integer from {min} to {max}{unit}"),
        Kind::Real { min, max, open } if max >= UNBOUNDED => {
            format!("it is a number {} {min}{unit}", if open { "above" } else { "from" })
        }
        Kind::Real { min, max, open: true } => format!("it is a number above {min}, at most {max}{unit}"),
        Kind::Real { min, max, open: false } => format!("it is a number from {min} to {max}{unit}"),
        kind => format!("it is {}", type_words(kind)),
    }
}

/// Something legal to write instead.
fn example(rule: Rule<'_>) -> String {
    let name = rule.path.rsplit('.').next().unwrap_or(rule.path);
    let name = name.split('[').next().unwrap_or(name);
    if let Fallback::Value(literal) = rule.fallback {
        return format!("write for example {name} = {}, which it is when left out", Value::from(literal).to_toml());
    }
    let shown = match rule.kind {
        Kind::Bool => "true".to_owned(),
        Kind::Int { min, .. } => min.max(1).to_string(),
        Kind::Real { min, max, .. } => Value::Real(if max <= 1.0 { max / 2.0 } else { min.max(1.0) }).to_toml(),
        Kind::Choice { legal } => return one_of(legal),
        Kind::Name(catalogue) => return one_of(&(catalogue.names)()),
        Kind::Label => "\"my-model\"".to_owned(),
        Kind::FileName => "\"my-study\"".to_owned(),
        Kind::Path => "\"traces/my-trace.jsonl\"".to_owned(),
        Kind::Formula => "\"max(0, prefill_blocks - overlap_blocks) + decode_blocks\"".to_owned(),
        Kind::Metrics => "[\"usd_per_mtok_output\", \"ttft_p90_ms\"]".to_owned(),
        Kind::Shares => "[0.85, 0.3]".to_owned(),
        Kind::Faults => "[{ at_s = 600, worker = 2 }]".to_owned(),
    };
    format!("write for example {name} = {shown}")
}
