//! `[knobs]`: lists, ranges and pinned values become finite domains.

use super::nearest::{list, nearest};
use super::ranges::{Range, levels};
use super::scalar::{self, Rule};
use super::schema::{self, COEFFICIENTS, Fallback, KNOBS, Kind, KnobRow};
use super::source::{Finding, Sources, Span};
use super::tree::{Entry, Node, Raw, join};
use super::{Domain, Value};
use crate::units::shown;

/// Most levels of one knob.
pub const MAX_LEVELS: usize = 10_000;
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
    if schema::is_knob_group(name) || name.starts_with(COEFFICIENTS) {
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
    if name.starts_with(COEFFICIENTS) {
        let why = "a coefficient's name is letters, digits and `_`, and no term, function or keyword of a formula";
        return Finding::new(what, why, format!("write {COEFFICIENTS}.w = [0.5, 1.0], with a name of your own for w"));
    }
    let names: Vec<&str> = KNOBS.iter().map(|k| k.name).collect();
    if schema::is_knob_group(name) {
        let members: Vec<&str> = names.iter().copied().filter(|n| n.starts_with(&format!("{name}."))).collect();
        let what = format!("`{name}` is a group of knobs, not a knob");
        return Finding::new(what, "", format!("its knobs are {}", list(&members)));
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
        // An end has no default, whatever the knob has.
        let path = format!("{path}.{name}");
        scalar::check(&entry.node, Rule { fallback: Fallback::Required, ..rule(row, &path) }, sources)?.as_f64()
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
        _ => Kind::Real { min: least, max: scalar::UNBOUNDED, open: true },
    };
    scalar::check(node, Rule { path: &path, kind, fallback: Fallback::Required, unit: "", doc }, sources)?.as_f64()
}

pub(super) fn too_many(path: &str, count: f64) -> Finding {
    let what = format!("`{path}` has {} levels, more than {MAX_LEVELS}", shown(count));
    Finding::new(what, "every level is a candidate of its own", "give a larger step, or log = true")
}

#[cfg(test)]
mod tests {
    use super::super::ranges::REAL_LEVELS;
    use super::super::source::Source;
    use super::super::tree;
    use super::*;

    /// The levels of one knob as written, or the first error.
    fn domain(line: &str) -> Result<Domain, String> {
        let mut sources = Sources::new(Source { name: "test".into(), text: line.into() });
        let root = tree::parse_file(&mut sources);
        let knobs = given(&root, &mut sources);
        match knobs.given.first() {
            Some(knob) if sources.error_count() == 0 => Ok(knob.domain()),
            _ => {
                let (errors, _) = sources.finish();
                Err(format!("{} | {} | {}", errors[0].what, errors[0].note, errors[0].remedy))
            }
        }
    }

    fn levels(line: &str) -> Vec<f64> {
        domain(line).unwrap().values.iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn lists_are_sorted_where_order_means_anything() {
        assert_eq!(levels("engine.max_num_seqs = [256, 64, 128]"), [64.0, 128.0, 256.0]);
        let policies = domain("router.policy = [\"kv\", \"random\"]").unwrap();
        assert_eq!(policies.values, [Value::Text("kv".into()), Value::Text("random".into())]);
        assert!(!policies.ordered && !policies.log);
    }

    #[test]
    fn one_value_is_pinned() {
        assert_eq!(domain("engine.prefix_caching = false").unwrap().values, [Value::Bool(false)]);
        assert_eq!(domain("router.temperature = 1").unwrap().values, [Value::Real(1.0)], "an integer for a real");
        assert_eq!(domain("router.temperature = -0.0").unwrap().values[0].to_string(), "0", "one zero, one id");
    }

    #[test]
    fn integer_ranges_enumerate() {
        assert_eq!(levels("aggregated.workers = { min = 1, max = 4 }"), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(levels("aggregated.workers = { min = 2, max = 10, step = 4 }"), [2.0, 6.0, 10.0]);
        assert_eq!(levels("aggregated.workers = { min = 3, max = 3 }"), [3.0]);
    }

    #[test]
    fn logarithmic_ranges_have_equal_ratios() {
        assert_eq!(
            levels("engine.max_num_seqs = { min = 16, max = 128, log = true }"),
            [16.0, 20.0, 25.0, 32.0, 40.0, 51.0, 64.0, 81.0, 102.0, 128.0],
            "three levels to each factor of two"
        );
        assert_eq!(
            levels("engine.max_num_seqs = { min = 1, max = 8, log = true }"),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            "levels that round alike are one"
        );
        assert_eq!(levels("engine.max_num_seqs = { min = 16, max = 256, log = true, step = 4 }"), [16.0, 64.0, 256.0]);
        let reals = domain("router.temperature = { min = 0.01, max = 1.0, log = true }").unwrap();
        assert_eq!((reals.values.len(), reals.log), (REAL_LEVELS, true));
        assert_eq!((&reals.values[0], &reals.values[50]), (&Value::Real(0.01), &Value::Real(0.1)));
    }

    #[test]
    fn real_ranges_carry_no_binary_noise() {
        let steps = levels("router.temperature = { min = 0.0, max = 1.0, step = 0.1 }");
        assert_eq!(steps, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
        let hundredths = levels("router.temperature = { min = 0.0, max = 1.0 }");
        assert_eq!((hundredths.len(), hundredths[29]), (REAL_LEVELS, 0.29));
    }

    #[test]
    fn ranges_of_powers_of_two_take_only_these() {
        assert_eq!(levels("aggregated.tp = { min = 1, max = 8 }"), [1.0, 2.0, 4.0, 8.0]);
        assert!(domain("aggregated.tp = { min = 1, max = 6 }").unwrap_err().contains("write max = 4 or max = 8"));
        assert!(domain("aggregated.tp = { min = 1, max = 8, step = 3 }").unwrap_err().contains("takes no step"));
    }

    #[test]
    fn values_can_ask_for_a_logarithmic_scale() {
        assert!(domain("router.temperature = { values = [0.1, 1.0], log = true }").unwrap().log);
        assert!(!domain("router.temperature = { values = [0.0, 1.0], log = true }").unwrap().log, "0 has no logarithm");
        assert!(domain("engine.max_num_seqs = [64, 128]").unwrap().log, "the schema says so of this knob");
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (line, expected) in [
            ("aggregated.workers = { min = 1, max = 10, step = 4 }", "write max = 9 or max = 13"),
            ("engine.max_num_seqs = { min = 16, max = 100, log = true, step = 2 }", "write max = 64 or max = 128"),
            ("engine.max_num_seqs = { min = 16, max = 64, log = true, step = 1 }", "write 2 or more"),
            ("aggregated.workers = { min = 1, max = 60000 }", "has 60000 levels"),
            ("engine.max_num_seqs = { values = [64], min = 1 }", "`min` means nothing beside `values`"),
            ("engine.max_num_seqs = { values = 64 }", "must be a list"),
            ("engine.max_num_seqs = [[64]]", "must be an integer, not a list"),
            ("router.temperature = { min = nan, max = 1.0 }", "must be a finite number"),
            ("router.temperature = [0.5, 0.50]", "lists 0.5 twice"),
            ("engine.max_num_seqs = 2024-01-01", "must be an integer, not a date"),
            ("engine = 3", "`engine` is a group of knobs"),
            ("tp = [1, 2]", "did you mean `aggregated.tp`?"),
            ("engine.budget = 3", "write `budget` under `[search]`"),
        ] {
            let error = domain(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
