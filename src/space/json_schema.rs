//! The schema of the search-space TOML as a JSON Schema, for completion and checks in editors.

use serde_json::{Map, Value as Json, json};

use super::schema::{self, COEFFICIENT, COEFFICIENTS, Fallback, KNOBS, Key, Kind, KnobRow, SECTIONS};
use super::{Value, goals};
use crate::twin::metrics::METRICS;

/// A JSON Schema (draft 2020-12) of the search-space TOML.
///
/// It says what an editor can check; rules over several tables (a trace that must exist, steps that
/// must land) are the parser's.
pub fn json_schema() -> Json {
    let mut root = table("");
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Servescout search space");
    root
}

/// The table with this path: the whole document for the empty path.
fn table(path: &str) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in schema::keys_of(path) {
        properties.insert(key.name().into(), key_schema(key));
        if key.fallback == Fallback::Required && key.when.is_none() {
            required.push(key.name());
        }
    }
    for section in SECTIONS {
        let Some(name) = child_name(section.path, path) else { continue };
        let mut inner = match section.path {
            "knobs" => knobs(),
            "constraints" => constraints(),
            other => table(other),
        };
        inner["description"] = json!(section.doc);
        if let Some(scalar) = properties.remove(name) {
            inner = json!({ "anyOf": [scalar, inner], "description": section.doc });
        } else if !section.optional {
            required.push(name);
        }
        properties.insert(name.into(), inner);
    }
    let mut out = object(properties);
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    let mut rules = conditions(path);
    match path {
        "workload" => {
            rules.push(json!({ "oneOf": [{ "required": ["trace"] }, { "required": ["synthetic"] }] }));
            rules.push(json!({ "not": { "required": ["speedup", "concurrency"] } }));
        }
        "model" => rules.push(json!({ "anyOf": [{ "required": ["name"] }, { "required": ["architecture"] }] })),
        _ => {}
    }
    if !rules.is_empty() {
        out["allOf"] = json!(rules);
    }
    out
}

/// The last part of `section`, if it lies directly in `parent`.
fn child_name(section: &'static str, parent: &str) -> Option<&'static str> {
    match section.rsplit_once('.') {
        None if parent.is_empty() => Some(section),
        Some((in_section, name)) if in_section == parent => Some(name),
        _ => None,
    }
}

fn object(properties: Map<String, Json>) -> Json {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// What is required, or out of place, under some choice of another key of the same table.
fn conditions(path: &str) -> Vec<Json> {
    let mut rules = Vec::new();
    for key in schema::keys_of(path) {
        let Some(when) = key.when else { continue };
        let other = when.key.rsplit('.').next().unwrap_or(when.key);
        let mut chosen = json!({ "properties": { other: { "enum": when.is } } });
        let default = schema::key(when.key).map(|k| k.fallback);
        let by_default =
            matches!(default, Some(Fallback::Value(v)) if when.is.contains(&Value::from(v).to_string().as_str()));
        if !by_default {
            chosen["required"] = json!([other]);
        }
        let mut rule = json!({ "if": chosen, "else": { "properties": { key.name(): false } } });
        if key.fallback == Fallback::Required {
            rule["then"] = json!({ "required": [key.name()] });
        }
        rules.push(rule);
    }
    rules
}

fn key_schema(key: &Key) -> Json {
    let mut out = scalar(key.kind);
    describe(&mut out, key.doc, key.unit, key.fallback);
    out
}

/// Description and default of a key or knob.
fn describe(out: &mut Json, doc: &str, unit: &str, fallback: Fallback) {
    let unit = if unit.is_empty() { String::new() } else { format!(" Unit: {unit}.") };
    let unset = match fallback {
        Fallback::Unset(words) => format!(" Without it: {words}."),
        _ => String::new(),
    };
    out["description"] = json!(format!("{doc}{unit}{unset}"));
    if let Fallback::Value(literal) = fallback {
        out["default"] = json_value(&literal.into());
    }
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Bool(v) => json!(v),
        Value::Int(v) => json!(v),
        Value::Real(v) => json!(v),
        Value::Text(v) => json!(v),
    }
}

fn scalar(kind: Kind) -> Json {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Real { min, max, open } => {
            let least = if open { "exclusiveMinimum" } else { "minimum" };
            json!({ "type": "number", least: min, "maximum": max })
        }
        Kind::Choice { legal } => json!({ "type": "string", "enum": legal }),
        // Aliases, and labels of described models, are legal too.
        Kind::Name(catalogue) => json!({ "type": "string", "examples": (catalogue.names)() }),
        Kind::FileName => json!({ "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$" }),
        Kind::Formula => json!({ "type": "string", "minLength": 1 }),
        Kind::Label => json!({ "type": "string", "minLength": 1 }),
        Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Shares => {
            let share = json!({ "type": "number", "minimum": 0, "maximum": 1 });
            json!({ "type": "array", "minItems": 1, "items": share })
        }
        Kind::Faults => {
            let number = |doc: &str| json!({ "type": "number", "minimum": 0, "description": doc });
            json!({ "type": "array", "items": {
                "type": "object",
                "properties": {
                    "at_s": number("When, s."),
                    "worker": json!({ "type": "integer", "minimum": 0, "description": "Which worker, from 0." }),
                    "slow": json!({ "type": "number", "minimum": 1, "description": "How many times as long passes take." }),
                    "for_s": number("How long, s."),
                },
                "required": ["at_s", "worker"],
                "additionalProperties": false,
            } })
        }
        Kind::Metrics => {
            let names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
            let most = goals::MAX_OBJECTIVES;
            json!({ "type": "array", "uniqueItems": true, "maxItems": most, "items": { "type": "string", "enum": names } })
        }
    }
}

fn constraints() -> Json {
    let bounds = |m: &crate::twin::metrics::MetricInfo| {
        let bound = json!({ "type": "number", "description": m.unit });
        json!({
            "type": "object",
            "properties": { "min": bound, "max": bound },
            "additionalProperties": false,
            "minProperties": 1,
            "description": m.definition,
        })
    };
    object(METRICS.iter().map(|m| (m.name.to_owned(), bounds(m))).collect())
}

fn knobs() -> Json {
    let mut groups = Map::new();
    for group in schema::knob_groups() {
        let members: Map<String, Json> = KNOBS
            .iter()
            .filter_map(|k| Some((k.name.strip_prefix(group)?.strip_prefix('.')?.to_owned(), knob(k))))
            .collect();
        if !members.is_empty() {
            let mut members = members;
            if let Some(name) = COEFFICIENTS.strip_prefix(group).and_then(|n| n.strip_prefix('.')) {
                members.insert(name.into(), coefficients());
            }
            groups.insert(group.into(), object(members));
        }
    }
    object(groups)
}

fn coefficients() -> Json {
    json!({
        "type": "object",
        "properties": {},
        "additionalProperties": knob(&COEFFICIENT),
        "description": "Coefficients of the router's formula, by the names that it uses.",
    })
}

fn knob(row: &KnobRow) -> Json {
    let one = if row.power_of_two {
        let Kind::Int { max, .. } = row.kind else { unreachable!("only integers are powers of two") };
        let powers: Vec<i64> = (0..63).map(|p| 1 << p).filter(|p| *p <= max).collect();
        json!({ "type": "integer", "enum": powers })
    } else {
        scalar(row.kind)
    };
    let list = json!({ "type": "array", "items": one, "minItems": 1, "uniqueItems": true });
    let log = json!({ "type": "boolean", "default": false });
    let values = json!({
        "type": "object",
        "properties": { "values": list, "log": log },
        "required": ["values"],
        "additionalProperties": false,
    });
    let mut forms = vec![one.clone(), list, values];
    if matches!(row.kind, Kind::Int { .. } | Kind::Real { .. }) {
        let step = json!({ "type": "number", "exclusiveMinimum": 0 });
        forms.push(json!({
            "type": "object",
            "properties": { "min": one, "max": one, "step": step, "log": log },
            "required": ["min", "max"],
            "additionalProperties": false,
        }));
    }
    let mut out = json!({ "anyOf": forms });
    describe(&mut out, row.doc, row.unit, row.fallback);
    out
}

#[cfg(test)]
mod tests {
    use super::super::schema::KEYS;
    use super::*;

    /// Whether `path` leads to a property of the schema, through `anyOf` where a key has two forms.
    fn property<'a>(schema: &'a Json, path: &str) -> Option<&'a Json> {
        path.split('.').try_fold(schema, |at, name| {
            let forms = at["anyOf"].as_array().map_or(vec![at], |forms| forms.iter().collect());
            forms.into_iter().find_map(|form| form["properties"].get(name))
        })
    }

    #[test]
    fn every_key_and_knob_is_a_described_property() {
        let schema = json_schema();
        for path in KEYS.iter().map(|k| k.path.to_owned()).chain(KNOBS.iter().map(|k| format!("knobs.{}", k.name))) {
            let found = property(&schema, &path).unwrap_or_else(|| panic!("{path} is missing"));
            assert!(found["description"].is_string(), "{path} has no description");
        }
    }

    #[test]
    fn the_file_name_pattern_agrees_with_the_parser() {
        assert!(scalar(Kind::FileName)["pattern"].as_str().unwrap().contains("{0,63}"));
    }
}
