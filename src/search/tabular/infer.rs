//! The space that a table's columns span.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use rustc_hash::FxHashMap;

use super::{Column, TableError};
use crate::space::{Candidate, Condition, Domain, Knob, Space, Value};

/// The space, and one level per knob and row.
pub(super) fn infer_space(path: &Path, columns: &[Column]) -> Result<(Space, Vec<u32>), TableError> {
    let n = columns[0].cells.len();
    // A condition refers to an earlier knob: knobs come as soon as those before them tell when they
    // are there, the ones that are there most often first.
    let domains = columns.iter().map(|column| {
        domain(column).ok_or_else(|| TableError::Shape {
            path: path.into(),
            why: format!("column `{}` mixes numbers and text, or holds nothing but nulls", column.name),
        })
    });
    let mut left: Vec<(&Column, (Domain, Vec<u32>))> =
        columns.iter().zip(domains.collect::<Result<Vec<_>, _>>()?).collect();
    left.sort_by_key(|(column, _)| column.cells.iter().filter(|v| v.is_none()).count());
    let mut knobs: Vec<Knob> = Vec::new();
    // The levels of each knob, by row.
    let mut levels: Vec<Vec<u32>> = Vec::new();
    while !left.is_empty() {
        let explained = left.iter().enumerate().find_map(|(at, (_, (_, own)))| Some((at, conditions(&levels, own)?)));
        let Some((at, conditions)) = explained else {
            // No other knob tells when it is there, so that a knob of its own does.
            let (column, _) = &left[0];
            levels.push(column.cells.iter().map(|cell| u32::from(cell.is_some())).collect());
            knobs.push(Knob {
                name: format!("{} is set", column.name),
                domain: Domain { values: vec![Value::Bool(false), Value::Bool(true)], ordered: false, log: false },
                conditions: Vec::new(),
                block: block(&column.name),
            });
            continue;
        };
        let (Column { name, .. }, (domain, own)) = left.remove(at);
        knobs.push(Knob { name: name.clone(), domain, conditions, block: block(name) });
        levels.push(own);
    }
    let rows = (0..n).flat_map(|row| levels.iter().map(move |own| own[row])).collect();
    Ok((Space { knobs }, rows))
}

fn block(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The distinct values, numbers ascending, the rest in order of appearance; and the level of each cell.
fn domain(column: &Column) -> Option<(Domain, Vec<u32>)> {
    let cells = || column.cells.iter().flatten();
    let ordered = cells().all(|v| matches!(v, Value::Int(_) | Value::Real(_)));
    let mut kinds = cells().map(std::mem::discriminant);
    let first = kinds.next()?;
    if !ordered && kinds.any(|kind| kind != first) {
        return None;
    }
    let mut values: Vec<Value> = Vec::new();
    let mut levels: Vec<u32>;
    if ordered {
        values.extend(cells().cloned());
        values.sort_by(order);
        values.dedup_by(|a, b| order(a, b).is_eq());
        let level = |v: &Value| values.partition_point(|other| order(other, v).is_lt()) as u32;
        levels = column.cells.iter().map(|cell| cell.as_ref().map_or(Candidate::ABSENT, level)).collect();
    } else {
        let mut known: FxHashMap<String, u32> = FxHashMap::default();
        levels = Vec::with_capacity(column.cells.len());
        for cell in &column.cells {
            levels.push(cell.as_ref().map_or(Candidate::ABSENT, |value| {
                *known.entry(value.to_string()).or_insert_with(|| {
                    values.push(value.clone());
                    values.len() as u32 - 1
                })
            }));
        }
    }
    Some((Domain { values, ordered, log: false }, levels))
}

/// By value; whole numbers exactly, however large.
fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        // Cells that are no number are absent.
        _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    }
}

/// The conditions on earlier knobs, given by their levels, under which a knob is there: the fewest that explain
/// every row.
fn conditions(earlier: &[Vec<u32>], own: &[u32]) -> Option<Vec<Condition>> {
    let is_there = |row: usize| own[row] != Candidate::ABSENT;
    if (0..own.len()).all(is_there) {
        return Some(Vec::new());
    }
    let seen = |levels: &Vec<u32>| {
        let there = (0..own.len()).filter(|&row| is_there(row)).map(|row| levels[row]);
        there.collect::<BTreeSet<u32>>()
    };
    let mut conditions: Vec<(usize, BTreeSet<u32>)> = earlier.iter().map(seen).enumerate().collect();
    let explains = |conditions: &[(usize, BTreeSet<u32>)]| {
        (0..own.len())
            .all(|row| conditions.iter().all(|(knob, seen)| seen.contains(&earlier[*knob][row])) == is_there(row))
    };
    if !explains(&conditions) {
        return None;
    }
    for at in (0..conditions.len()).rev() {
        let dropped = conditions.remove(at);
        if !explains(&conditions) {
            conditions.insert(at, dropped);
        }
    }
    Some(conditions.into_iter().map(|(knob, seen)| Condition { knob, levels: seen.into_iter().collect() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, cells: &[Option<Value>]) -> Column {
        Column { name: name.into(), cells: cells.to_vec() }
    }

    fn text(value: &str) -> Option<Value> {
        Some(Value::Text(value.into()))
    }

    #[test]
    fn a_knob_depends_on_those_that_tell_when_it_is_there() {
        let tiers = column("tier.gib", &[None, Some(Value::Int(8)), None, Some(Value::Int(2))]);
        let kinds = column("tier.kind", &[text("off"), text("host"), text("off"), text("host")]);
        let sizes =
            column("size", &[Some(Value::Int(1)), Some(Value::Int(1)), Some(Value::Int(2)), Some(Value::Int(2))]);
        let (space, levels) = infer_space(Path::new("t"), &[tiers, kinds, sizes]).unwrap();
        let names: Vec<&str> = space.knobs.iter().map(|knob| knob.name.as_str()).collect();
        assert_eq!(names, ["tier.kind", "size", "tier.gib"]);
        assert_eq!(space.knobs[2].conditions, [Condition { knob: 0, levels: vec![1] }]);
        assert_eq!(space.knobs[2].block, "tier");
        let absent = Candidate::ABSENT;
        assert_eq!(levels, [0, 0, absent, 1, 0, 1, 0, 1, absent, 1, 1, 0]);
    }

    #[test]
    fn a_knob_that_is_absent_at_will_has_a_switch() {
        let limit = column("limit", &[None, Some(Value::Int(8)), None, Some(Value::Int(2))]);
        let kinds = column("kind", &[text("a"), text("a"), text("b"), text("b")]);
        let (space, levels) = infer_space(Path::new("t"), &[limit, kinds]).unwrap();
        let names: Vec<&str> = space.knobs.iter().map(|knob| knob.name.as_str()).collect();
        assert_eq!(names, ["kind", "limit is set", "limit"]);
        assert_eq!(space.knobs[2].conditions, [Condition { knob: 1, levels: vec![1] }]);
        let absent = Candidate::ABSENT;
        assert_eq!(levels, [0, 0, absent, 0, 1, 1, 1, 0, absent, 1, 1, 0]);
    }

    #[test]
    fn whole_numbers_are_told_apart_however_large() {
        let large = 1i64 << 53;
        let cells = [large + 1, large, large + 1].map(|v| Some(Value::Int(v)));
        let (domain, levels) = domain(&column("seed", &cells)).unwrap();
        assert_eq!(domain.values, [Value::Int(large), Value::Int(large + 1)]);
        assert_eq!(levels, [1, 0, 1]);
    }

    #[test]
    fn numbers_and_text_do_not_mix() {
        assert!(domain(&column("mixed", &[text("a"), Some(Value::Int(1))])).is_none());
        assert!(domain(&column("empty", &[None, None])).is_none());
    }
}
