//! What is derived from the schema: `docs/space.md` and the JSON Schema.

use std::path::Path;

use serde_json::Value as Json;
use servescout::space;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_reference_is_current() {
    let path = root().join("docs/space.md");
    let wanted = space::reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/space.md is not what the schema says; run UPDATE_DOCS=1 cargo test --test it space_docs"
    );
}

/// Why a value does not keep a schema: the part of JSON Schema that the schema of spaces uses.
fn fault(schema: &Json, value: &Json, at: &str) -> Option<String> {
    let no = |why: String| Some(format!("{at}: {why}"));
    let schema = match schema {
        Json::Bool(true) => return None,
        Json::Bool(false) => return no("not allowed here".into()),
        other => other,
    };
    let holds = |s: &Json| fault(s, value, at).is_none();
    for (keyword, rule) in schema.as_object().unwrap() {
        let number = || value.as_f64().zip(rule.as_f64());
        let fine = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" | "pattern" | "minLength" | "then"
            | "else" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                "number" => value.is_number(),
                other => panic!("unknown type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => number().is_none_or(|(v, r)| v >= r),
            "maximum" => number().is_none_or(|(v, r)| v <= r),
            "exclusiveMinimum" => number().is_none_or(|(v, r)| v > r),
            "minItems" => value.as_array().is_none_or(|v| v.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|v| v.len() as u64 <= rule.as_u64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|v| v.len() as u64 >= rule.as_u64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|v| (1..v.len()).all(|i| !v[..i].contains(&v[i]))),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(fault) = fault(rule, item, &format!("{at}[{i}]")) {
                        return Some(fault);
                    }
                }
                true
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if let Some(fault) = rule.get(name).and_then(|rule| fault(rule, inner, &format!("{at}.{name}"))) {
                        return Some(fault);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let others = value.as_object().into_iter().flatten().filter(|(k, _)| !known.contains_key(*k));
                for (name, inner) in others {
                    if let Some(fault) = fault(rule, inner, &format!("{at}.{name}")) {
                        return Some(fault);
                    }
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|k| value.as_object().is_none_or(|v| v.contains_key(k.as_str().unwrap()))),
            "anyOf" => rule.as_array().unwrap().iter().any(holds),
            "oneOf" => rule.as_array().unwrap().iter().filter(|s| holds(s)).count() == 1,
            "allOf" => match rule.as_array().unwrap().iter().find_map(|s| fault(s, value, at)) {
                Some(fault) => return Some(fault),
                None => true,
            },
            "not" => !holds(rule),
            "if" => match schema.get(if holds(rule) { "then" } else { "else" }).and_then(|s| fault(s, value, at)) {
                Some(fault) => return Some(fault),
                None => true,
            },
            other => panic!("the check does not know {other}"),
        };
        if !fine {
            return no(format!("{keyword} {rule}"));
        }
    }
    None
}

fn read(path: &Path) -> Json {
    let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn the_json_schema_accepts_the_shipped_spaces() {
    let schema = space::json_schema();
    for entry in root().join("search-spaces").read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fault(&schema, &read(&path), ""), None, "{}", path.display());
    }
    for name in ["base", "everything"] {
        assert_eq!(
            fault(&schema, &read(&root().join(format!("tests/fixtures/spaces/{name}.toml"))), ""),
            None,
            "{name}"
        );
    }
}

#[test]
fn the_json_schema_refuses_what_an_editor_can_see() {
    let schema = space::json_schema();
    for name in [
        "unknown_section",
        "unknown_key",
        "unknown_knob",
        "mode_is_unknown",
        "empty_list",
        "range_without_max",
        "range_key",
        "range_of_names",
        "duplicate_value",
        "wrong_type",
        "wrong_type_in_list",
        "out_of_range",
        "tp_not_a_power_of_two",
        "unknown_metric",
        "wrong_unit",
        "constraint_without_bound",
        "constraint_is_a_number",
        "no_source",
        "two_sources",
        "speedup_of_closed_loop",
        "key_does_not_apply",
        "missing_key",
        "missing_section",
        "strategy_is_unknown",
    ] {
        let path = root().join(format!("tests/fixtures/spaces/{name}.toml"));
        assert!(fault(&schema, &read(&path), "").is_some(), "{name} passes");
    }
}
