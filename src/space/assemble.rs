//! From the knobs that were given to the space: defaults filled in, conditions resolved to levels.

use super::domains::{GivenKnobs, domain_of};
use super::schema::{Active, COEFFICIENT, Fallback, KNOBS, Kind, KnobRow};
use super::source::{Finding, Sources, Span};
use super::{Candidate, Condition, Knob, Space, Value, formulas};

/// The space, and for each of its knobs whether the user gave it.
///
/// Knobs are in the order of the schema, whatever the order of the file. Conditions that always
/// hold are left out.
pub(crate) fn assemble(knobs: &GivenKnobs, section: Span, sources: &mut Sources) -> (Space, Vec<bool>) {
    let mut space = Space::default();
    let mut is_given = Vec::new();
    // Knobs that are absent from every candidate.
    let mut never = Vec::new();
    let mut coefficients: Vec<&KnobRow> =
        knobs.given.iter().map(|g| g.row).filter(|r| r.active == COEFFICIENT.active).collect();
    coefficients.sort_unstable_by_key(|r| r.name);
    for row in KNOBS.iter().chain(coefficients) {
        let conditions = conditions(row, &space, &never);
        let user = knobs.given.iter().find(|g| g.row.name == row.name);
        let domain = match (user, row.fallback) {
            (Some(user), _) => user.domain(),
            (None, Fallback::Value(literal)) => domain_of(row, vec![literal.into()], false),
            (None, Fallback::Unset(_)) => continue,
            (None, Fallback::Required) => {
                if conditions.is_some() && !knobs.spoiled.contains(&row.name) {
                    missing(row, section, sources);
                }
                continue;
            }
        };
        if let (Some(user), None) = (user, &conditions) {
            let conditions: Vec<String> = row.active.iter().map(Active::words).collect();
            let what = format!("`{}` means nothing in this space", row.name);
            let why = format!("it acts only when {}, which no candidate is", conditions.join(" and "));
            let finding = Finding::new(what, why, "remove it, or widen the knob that it depends on");
            sources.warn(user.key_span, &format!("knobs.{}", row.name), finding);
        }
        never.push(conditions.is_none());
        let conditions = conditions.unwrap_or_else(|| vec![Condition { knob: 0, levels: Vec::new() }]);
        space.knobs.push(Knob { name: row.name.into(), domain, conditions, block: row.block.into() });
        is_given.push(user.is_some());
    }
    (space, is_given)
}

/// How a condition of the schema stands in a space.
enum Resolved {
    Always,
    Never,
    Sometimes(Condition),
}

fn holds(active: &Active, row: &KnobRow, value: &Value) -> bool {
    match (active, value) {
        (Active::NamedBy(_), Value::Text(formula)) => formulas::names(formula, row.name),
        _ => active.holds(Some(value)),
    }
}

/// Whether some candidate has a planner.
fn may_plan(space: &Space) -> bool {
    let off = Value::Text("off".into());
    space.find("planner.policy").is_some_and(|k| space.knobs[k].domain.values.iter().any(|v| *v != off))
}

fn resolve(active: &Active, row: &KnobRow, space: &Space, never: &[bool]) -> Resolved {
    // What a planner may change is not decided by how it starts.
    if matches!(active, Active::Several(_)) && may_plan(space) {
        return Resolved::Always;
    }
    if let Active::IsOrGiven(_, _, other) = active
        && space.find(other).is_some_and(|k| !never[k])
    {
        return Resolved::Always;
    }
    if let Active::IsUnlessGiven(_, _, others) = active
        && !others.iter().all(|other| space.find(other).is_some_and(|k| !never[k]))
    {
        return Resolved::Always;
    }
    let holds_if_absent = active.holds(None);
    let Some(knob) = space.find(active.knob()) else {
        return if holds_if_absent { Resolved::Always } else { Resolved::Never };
    };
    let values = &space.knobs[knob].domain.values;
    let may_be_absent = !space.knobs[knob].conditions.is_empty();
    let mut levels: Vec<u32> =
        (0..values.len()).filter(|&l| !never[knob] && holds(active, row, &values[l])).map(|l| l as u32).collect();
    if levels.len() == values.len() && (!may_be_absent || holds_if_absent) {
        return Resolved::Always;
    }
    if may_be_absent && holds_if_absent {
        levels.push(Candidate::ABSENT);
    }
    if levels.is_empty() { Resolved::Never } else { Resolved::Sometimes(Condition { knob, levels }) }
}

/// The conditions of a knob; `None` when they never hold together.
fn conditions(row: &KnobRow, space: &Space, never: &[bool]) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for active in row.active {
        match resolve(active, row, space, never) {
            Resolved::Always => {}
            Resolved::Never => return None,
            Resolved::Sometimes(condition) => conditions.push(condition),
        }
    }
    Some(conditions)
}

fn missing(row: &KnobRow, section: Span, sources: &mut Sources) {
    let what = format!("the knob `{}` is missing", row.name);
    let short = row.name;
    let shown = match row.kind {
        _ if row.power_of_two => "[1, 2, 4, 8]",
        Kind::Formula => "\"max(0, prefill_blocks - overlap_blocks) + decode_blocks\"",
        Kind::Real { .. } => "[500, 2000]",
        _ => "{ min = 1, max = 16 }",
    };
    let remedy = format!("add `{short} = {shown}`, or one value to pin it, to `[knobs]`");
    sources.error(section, &format!("knobs.{short}"), Finding::new(what, row.doc, remedy));
}

/// A knob's values as the user might have written them: one value, a list, or a range with dots.
pub(crate) fn values_words(values: &[Value]) -> String {
    let shown: Vec<String> = values.iter().map(Value::to_toml).collect();
    match shown.as_slice() {
        [only] => only.clone(),
        [first, second, .., last] if shown.len() > 8 => format!("[{first}, {second}, .., {last}]"),
        all => format!("[{}]", all.join(", ")),
    }
}
