//! `[knobs]`: lists, ranges and pinned values become finite domains.

use super::nearest::{list, nearest};
use super::scalar::{self, Rule};
use super::schema::{self, Fallback, KNOBS, Kind, KnobRow};
use super::source::{Finding, Sources, Span};
use super::tree::{Entry, Node, Raw, join};
use super::{Domain, Value};

/// Most levels of one knob.
pub const MAX_LEVELS: usize = 10_000;
/// Levels of a range of reals without a step.
pub const REAL_LEVELS: usize = 101;
/// Levels per factor of two of a logarithmic range of integers without a step.
pub const LEVELS_PER_OCTAVE: f64 = 3.0;

/// A knob that the user gave.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub row: &'static KnobRow,
    /// Values in the order of the domain, each with its place.
    pub values: Vec<(Value, Span)>,
    /// Whether the user asked for a logarithmic scale.
    pub log: bool,
    /// Where the name stands.
    pub key_span: Span,
}

impl Given {
    pub fn domain(&self) -> Domain {
        domain_of(self.row, self.values.iter().map(|(v, _)| v.clone()).collect(), self.log)
    }
}

/// The domain of a knob with these values, in their order.
pub(crate) fn domain_of(row: &KnobRow, values: Vec<Value>, log: bool) -> Domain {
    let ordered = matches!(row.kind, Kind::Int { .. } | Kind::Real { .. });
    let all_positive = values.iter().all(|v| v.as_f64().is_some_and(|v| v > 0.0));
    Domain { log: ordered && all_positive && (log || row.log), values, ordered }
}

/// `[knobs]` as given.
#[derive(Debug, Default)]
pub(crate) struct GivenKnobs {
    /// Knobs with legal values, in the order of the file.
    pub given: Vec<Given>,
    /// Knobs that are there with illegal values or under a misspelled name: wrong, but not missing.
    pub spoiled: Vec<&'static str>,
}

/// Every knob that the user gave; what is illegal is recorded.
pub(crate) fn given(knobs: &[Entry], sources: &mut Sources) -> GivenKnobs {
    let mut found = GivenKnobs::default();
    walk(knobs, "", &mut found, sources);
    found
}

fn walk(entries: &[Entry], prefix: &str, found: &mut GivenKnobs, sources: &mut Sources) {
    for entry in entries {
        let name = join(prefix, &entry.key);
        let path = format!("knobs.{name}");
        if let Some(row) = schema::knob(&name) {
            if found.given.iter().any(|g| g.row.name == row.name) {
                let finding = Finding::new(format!("`{path}` is given twice"), "", "keep one of the two");
                sources.error(entry.key_span, &path, finding);
            } else if let Some((values, log)) = values_of(&entry.node, row, &path, sources) {
                found.given.push(Given { row, values, log, key_span: entry.key_span });
            } else {
                found.spoiled.push(row.name);
            }
        } else if let (true, Raw::Table(inner)) = (schema::is_knob_group(&name), &entry.node.raw) {
            walk(inner, &name, found, sources);
        } else {
            let what = format!("there is no knob `{name}`");
            let near = meant(&name);
            found.spoiled.extend(near);
            let finding = match near {
                Some(near) => Finding::new(what, "", format!("did you mean `{near}`?")),
                None => unknown(&name, &entry.node, what),
            };
            sources.error(entry.key_span, &path, finding);
        }
    }
}

/// The knob that an unknown name was probably meant to be: a similar name, or one that ends alike.
fn meant(name: &str) -> Option<&'static str> {
    if schema::is_later_knob(name) || schema::is_knob_group(name) {
        return None;
    }
    let last_part = |full: &'static str| full.rsplit('.').next().unwrap_or(full);
    let last = name.rsplit('.').next().unwrap_or(name);
    let ends_with = |part: &str| KNOBS.iter().map(|k| k.name).find(|n| last_part(n) == part);
    nearest(name, KNOBS.iter().map(|k| k.name))
        .or_else(|| ends_with(last))
        .or_else(|| ends_with(nearest(last, KNOBS.iter().map(|k| last_part(k.name)))?))
}

fn unknown(name: &str, node: &Node, what: String) -> Finding {
    let names: Vec<&str> = KNOBS.iter().map(|k| k.name).collect();
    if schema::is_knob_group(name) {
        let members: Vec<&str> = names.iter().copied().filter(|n| n.starts_with(&format!("{name}."))).collect();
        let what = format!("`{name}` is a group of knobs, not a knob");
        return Finding::new(what, "", format!("its knobs are {}", list(&members)));
    }
    if schema::is_later_knob(name) {
        let what = format!("`{name}` is known, but this version does not simulate it yet");
        return Finding::new(what, "it is refused rather than ignored", "remove it");
    }
    let groups = schema::knob_groups();
    if let (Raw::Table(_), Some(group)) = (&node.raw, nearest(name, groups.iter().copied())) {
        return Finding::new(what, "", format!("did you mean `{group}`?"));
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let remedy = match schema::KEYS.iter().find(|k| k.name() == last) {
        Some(key) => format!("it is no knob: write `{}` under `[{}]`", key.name(), key.section()),
        None => format!("the knobs are {}", list(&names)),
    };
    Finding::new(what, "", remedy)
}

type Values = (Vec<(Value, Span)>, bool);

/// The values of one knob and whether it asks for a logarithmic scale; `None` after recording why
/// there are none.
fn values_of(node: &Node, row: &'static KnobRow, path: &str, sources: &mut Sources) -> Option<Values> {
    let (mut values, log) = match &node.raw {
        Raw::List(items) => (list_values(items, node.span, row, path, sources)?, false),
        Raw::Table(entries) => match entries.iter().find(|e| e.key == "values") {
            Some(list) => (explicit_values(entries, list, row, path, sources)?, flag(entries, path, sources)?),
            None => range_values(entries, node.span, row, path, sources)?,
        },
        _ => (vec![(scalar(node, row, path, sources)?, node.span)], false),
    };
    values.sort_by(|(a, _), (b, _)| match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    Some((values, log))
}

fn rule<'a>(row: &'static KnobRow, path: &'a str) -> Rule<'a> {
    Rule { path, kind: row.kind, fallback: row.fallback, unit: row.unit, doc: row.doc }
}

fn scalar(node: &Node, row: &'static KnobRow, path: &str, sources: &mut Sources) -> Option<Value> {
    let value = scalar::check(node, rule(row, path), sources)?;
    if let (true, Value::Int(v)) = (row.power_of_two, &value)
        && !v.unsigned_abs().is_power_of_two()
    {
        let below = 1i64 << v.ilog2();
        let what = format!("`{path}` = {v} is not a power of two");
        let why = "engines split heads and matrices over 1, 2, 4, 8, ... GPUs";
        sources.error(node.span, path, Finding::new(what, why, format!("write {below} or {}", 2 * below)));
        return None;
    }
    Some(value)
}

fn list_values(
    items: &[Node],
    span: Span,
    row: &'static KnobRow,
    path: &str,
    sources: &mut Sources,
) -> Option<Vec<(Value, Span)>> {
    if items.is_empty() {
        let remedy = "list at least one value, or remove the line to take the default";
        sources.error(span, path, Finding::new(format!("`{path}` has no values"), row.doc, remedy));
        return None;
    }
    if items.len() > MAX_LEVELS {
        sources.error(span, path, too_many(path, items.len() as f64));
        return None;
    }
    let mut values: Vec<(Value, Span)> = Vec::with_capacity(items.len());
    let mut complete = true;
    for (index, item) in items.iter().enumerate() {
        let item_path = format!("{path}[{index}]");
        match scalar(item, row, &item_path, sources) {
            Some(value) if values.iter().any(|(v, _)| *v == value) => {
                let what = format!("`{path}` lists {} twice", value.to_toml());
                sources.error(item.span, &item_path, Finding::new(what, "", "remove one of the two"));
                complete = false;
            }
            Some(value) => values.push((value, item.span)),
            None => complete = false,
        }
    }
    complete.then_some(values)
}

fn explicit_values(
    entries: &[Entry],
    list: &Entry,
    row: &'static KnobRow,
    path: &str,
    sources: &mut Sources,
) -> Option<Vec<(Value, Span)>> {
    check_range_keys(entries, &["values", "log"], "beside `values`", path, sources)?;
    let path = format!("{path}.values");
    match &list.node.raw {
        Raw::List(items) => list_values(items, list.node.span, row, &path, sources),
        raw => {
            let what = format!("`{path}` must be a list, not {}", raw.type_words());
            sources.error(list.node.span, &path, Finding::new(what, "", "write values = [.., ..]"));
            None
        }
    }
}

fn check_range_keys(entries: &[Entry], legal: &[&str], place: &str, path: &str, sources: &mut Sources) -> Option<()> {
    let mut fine = Some(());
    for entry in entries.iter().filter(|e| !legal.contains(&e.key.as_str())) {
        let what = format!("`{}` means nothing {place}", entry.key);
        let remedy = match nearest(&entry.key, legal.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a knob is a list, { min, max, step, log }, { values = [..], log }, or one value".to_owned(),
        };
        sources.error(entry.key_span, &join(path, &entry.key), Finding::new(what, "", remedy));
        fine = None;
    }
    fine
}

/// `log = true` or `false`; false where it is not given.
fn flag(entries: &[Entry], path: &str, sources: &mut Sources) -> Option<bool> {
    let Some(entry) = entries.iter().find(|e| e.key == "log") else { return Some(false) };
    let path = format!("{path}.log");
    let rule = Rule {
        path: &path,
        kind: Kind::Bool,
        fallback: Fallback::Required,
        unit: "",
        doc: "whether levels are spaced evenly on a logarithmic scale",
    };
    match scalar::check(&entry.node, rule, sources)? {
        Value::Bool(v) => Some(v),
        _ => None,
    }
}

/// A range after its ends were checked.
struct Range<'a> {
    path: &'a str,
    span: Span,
    min: f64,
    max: f64,
    step: Option<(f64, Span)>,
    log: bool,
}

fn range_values(
    entries: &[Entry],
    span: Span,
    row: &'static KnobRow,
    path: &str,
    sources: &mut Sources,
) -> Option<Values> {
    check_range_keys(entries, &["min", "max", "step", "log"], "in a range", path, sources)?;
    let get = |name: &str| entries.iter().find(|e| e.key == name);
    if !matches!(row.kind, Kind::Int { .. } | Kind::Real { .. }) {
        let what = format!("`{path}` is {}, which has no range", scalar::type_words(row.kind));
        sources.error(span, path, Finding::new(what, row.doc, "write a list of values"));
        return None;
    }
    // The place of a range is its table; of a table under a heading, its first key.
    let span = if span.start < span.end { span } else { entries.first()?.key_span };
    let (Some(min), Some(max)) = (get("min"), get("max")) else {
        let what = format!("the range of `{path}` has no `{}`", if get("min").is_none() { "min" } else { "max" });
        sources.error(span, path, Finding::new(what, "", "write { min = .., max = .. }"));
        return None;
    };
    let end = |entry: &Entry, name: &str, sources: &mut Sources| {
        scalar::check(&entry.node, rule(row, &format!("{path}.{name}")), sources)?.as_f64()
    };
    let ends = (end(min, "min", sources), end(max, "max", sources));
    let log = flag(entries, path, sources)?;
    let step = match get("step") {
        Some(entry) => Some((step_of(&entry.node, row, log, path, sources)?, entry.node.span)),
        None => None,
    };
    let (Some(min_value), Some(max_value)) = ends else { return None };
    let range = Range { path, span, min: min_value, max: max_value, step, log };
    let levels = match levels(&range, row, min.node.span) {
        Ok(levels) => levels,
        Err((span, path, finding)) => {
            sources.error(span, &path, finding);
            return None;
        }
    };
    let value = |v: f64| match row.kind {
        Kind::Int { .. } => Value::Int(v as i64),
        _ => Value::Real(v),
    };
    Some((levels.into_iter().map(|v| (value(v), span)).collect(), log))
}

fn step_of(node: &Node, row: &'static KnobRow, log: bool, path: &str, sources: &mut Sources) -> Option<f64> {
    let path = format!("{path}.step");
    let least = if log { 1.0 } else { 0.0 };
    let doc = if log { "the factor from one level to the next" } else { "the distance from one level to the next" };
    let kind = match row.kind {
        Kind::Int { max, .. } => Kind::Int { min: least as i64 + 1, max },
        _ => Kind::Real { min: least, max: 1e15, open: true },
    };
    scalar::check(node, Rule { path: &path, kind, fallback: Fallback::Required, unit: "", doc }, sources)?.as_f64()
}

type Refused = (Span, String, Finding);

/// The levels of a range, ascending. Integers are exact in a float: the schema keeps them small.
fn levels(range: &Range<'_>, row: &KnobRow, min_span: Span) -> Result<Vec<f64>, Refused> {
    let &Range { path, span, min, max, step, log } = range;
    let refuse = |span: Span, name: &str, finding: Finding| Err((span, join(path, name), finding));
    let integer = matches!(row.kind, Kind::Int { .. });
    if min > max {
        let what = format!("the range of `{path}` is reversed: min = {min} is above max = {max}");
        return refuse(span, "min", Finding::new(what, "", format!("write {{ min = {max}, max = {min} }}")));
    }
    if log && min <= 0.0 {
        let what = format!("`{path}` cannot be logarithmic from min = {min}");
        let why = "0 and below have no logarithm";
        return refuse(min_span, "min", Finding::new(what, why, "raise min above 0, or remove log = true"));
    }
    if row.power_of_two {
        return powers_of_two(range).map_err(|(name, finding)| (span, join(path, name), finding));
    }
    let count = match (step, log) {
        _ if min == max => 1.0,
        (Some((step, _)), false) => (max - min) / step + 1.0,
        (Some((step, _)), true) => (max / min).ln() / step.ln() + 1.0,
        (None, false) if integer => max - min + 1.0,
        (None, true) if integer => (LEVELS_PER_OCTAVE * (max / min).log2()).ceil() + 1.0,
        (None, _) => REAL_LEVELS as f64,
    };
    if let Some((step, step_span)) = step {
        let at = |n: f64| if log { clean(min * step.powf(n)) } else { clean(min + step * n) };
        let whole = count.round();
        if (count - whole).abs() > 1e-9 * count {
            let (below, above) = (at(count.floor() - 1.0), at(count.ceil() - 1.0));
            let what = format!("the steps of `{path}` do not land on max = {max}");
            let why = format!("from {min} they go to {below} and {above}");
            return refuse(step_span, "step", Finding::new(what, why, format!("write max = {below} or max = {above}")));
        }
    }
    let count = count.round();
    if count > MAX_LEVELS as f64 {
        return Err((span, path.to_owned(), too_many(path, count)));
    }
    let last = count as usize - 1;
    let mut levels: Vec<f64> = (0..=last)
        .map(|i| {
            let share = i as f64 / (last as f64).max(1.0);
            let level = match i {
                0 => min,
                _ if i == last => max,
                _ if log => min * (max / min).powf(share),
                _ => min + (max - min) * share,
            };
            if integer { level.round() } else { clean(level) }
        })
        .collect();
    levels.dedup();
    Ok(levels)
}

/// The powers of two from min to max, both of which must be such.
fn powers_of_two(range: &Range<'_>) -> Result<Vec<f64>, (&'static str, Finding)> {
    let &Range { path, min, max, step, .. } = range;
    for (name, end) in [("min", min), ("max", max)] {
        if end.log2().fract() != 0.0 {
            let below = end.log2().floor().exp2();
            let what = format!("`{path}.{name}` = {end} is not a power of two");
            let why = "a range of this knob takes the powers of two from min to max";
            return Err((name, Finding::new(what, why, format!("write {name} = {below} or {name} = {}", 2.0 * below))));
        }
    }
    if step.is_some_and(|(step, _)| step != 2.0) {
        let what = format!("`{path}` takes no step");
        return Err((
            "step",
            Finding::new(what, "a range of this knob takes the powers of two from min to max", "remove step"),
        ));
    }
    Ok((min.log2() as i32..=max.log2() as i32).map(|p| f64::from(p).exp2()).collect())
}

fn too_many(path: &str, count: f64) -> Finding {
    let what = format!("`{path}` has {count:.0} levels, more than {MAX_LEVELS}");
    Finding::new(what, "every level is a candidate of its own", "give a larger step, or log = true")
}

/// A level without the noise of binary fractions: 12 significant digits.
fn clean(v: f64) -> f64 {
    format!("{v:.11e}").parse().unwrap_or(v)
}
