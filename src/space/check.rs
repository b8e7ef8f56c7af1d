//! The document against the schema: unknown keys, types, ranges, what is missing and what does not
//! apply. Rules that span several keys are in [`super::sections`].

use std::collections::{BTreeMap, BTreeSet};

use super::nearest::{list, nearest};
use super::scalar::{self, Rule};
use super::schema::{self, Fallback, KEYS, KNOBS, Kind, SECTIONS};
use super::source::{Finding, Sources, Span};
use super::tree::{Entry, Node, Raw, join};
use super::{Value, schema::Key};

/// A checked value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub value: Value,
    pub span: Span,
}

/// What the document says, key by key.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    values: BTreeMap<&'static str, Found>,
    /// Keys and sections that were given, legal or not, and where the key stands.
    given: BTreeMap<String, Span>,
    /// Sections that were given as tables.
    tables: BTreeSet<String>,
    /// Values of kinds that are no scalars, for those who know them.
    pub metric_lists: BTreeMap<&'static str, Node>,
    /// Lists of shares.
    pub shares: BTreeMap<&'static str, Vec<f64>>,
    /// `faults.events`, unchecked.
    pub fault_events: Option<Node>,
    /// `[knobs]`, unchecked.
    pub knobs: Vec<Entry>,
    /// `[constraints]`, unchecked.
    pub constraints: Vec<Entry>,
}

impl Checked {
    /// Where a key or section was given.
    pub fn place(&self, path: &str) -> Option<Span> {
        self.given.get(path).copied()
    }

    /// Where a key's value stands, if it was given and is legal, else its section, else the top.
    pub fn span(&self, path: &str) -> Span {
        if let Some(found) = self.values.get(path) {
            return found.span;
        }
        let mut at = path;
        loop {
            if let Some(span) = self.place(at) {
                return span;
            }
            let Some((parent, _)) = at.rsplit_once('.') else { return Span::TOP };
            at = parent;
        }
    }

    /// The value given, if legal.
    pub fn given(&self, path: &str) -> Option<&Found> {
        self.values.get(path)
    }

    /// The value given, else the default of the schema.
    pub fn value(&self, path: &str) -> Option<Value> {
        if let Some(found) = self.values.get(path) {
            return Some(found.value.clone());
        }
        match schema::key(path)?.fallback {
            Fallback::Value(literal) => Some(literal.into()),
            _ => None,
        }
    }

    pub fn int(&self, path: &str) -> Option<i64> {
        match self.value(path) {
            Some(Value::Int(v)) => Some(v),
            _ => None,
        }
    }

    /// An integer that the schema bounds to 32 bits.
    pub fn u32(&self, path: &str) -> Option<u32> {
        self.int(path).and_then(|v| u32::try_from(v).ok())
    }

    pub fn real(&self, path: &str) -> Option<f64> {
        match self.value(path) {
            Some(Value::Real(v)) => Some(v),
            _ => None,
        }
    }

    pub fn text(&self, path: &str) -> Option<String> {
        match self.value(path) {
            Some(Value::Text(v)) => Some(v),
            _ => None,
        }
    }

    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.value(path) {
            Some(Value::Bool(v)) => Some(v),
            _ => None,
        }
    }
}

/// Checks the whole document but `[knobs]` and `[constraints]`.
pub(crate) fn check(root: &[Entry], needs_objectives: bool, sources: &mut Sources) -> Checked {
    let mut checked = Checked::default();
    for entry in root {
        let known = SECTIONS.iter().any(|s| s.path == entry.key);
        match &entry.node.raw {
            Raw::Table(inner) if known => {
                checked.given.insert(entry.key.clone(), entry.key_span);
                checked.tables.insert(entry.key.clone());
                match entry.key.as_str() {
                    "knobs" => checked.knobs = inner.clone(),
                    "constraints" => checked.constraints = inner.clone(),
                    _ => check_table(inner, &entry.key, &mut checked, sources),
                }
            }
            raw if known => {
                let what = format!("`{}` must be a table, not {}", entry.key, raw.type_words());
                let remedy = format!("write `[{}]` and its keys on the lines below", entry.key);
                sources.error(entry.node.span, &entry.key, Finding::new(what, "", remedy));
                checked.given.insert(entry.key.clone(), entry.key_span);
            }
            _ => unknown_section(entry, sources),
        }
    }
    check_missing(&mut checked, needs_objectives, sources);
    checked
}

fn check_table(table: &[Entry], section: &str, checked: &mut Checked, sources: &mut Sources) {
    for entry in table {
        let path = join(section, &entry.key);
        let (key, sub) = (schema::key(&path), schema::section(&path));
        if key.is_some() || sub.is_some() {
            checked.given.insert(path.clone(), entry.key_span);
        }
        match (key, sub, &entry.node.raw) {
            (_, Some(_), Raw::Table(inner)) => {
                checked.tables.insert(path.clone());
                check_table(inner, &path, checked, sources);
            }
            (Some(key), ..) => check_key(key, &entry.node, table, checked, sources),
            (None, Some(sub), raw) => {
                let what = format!("`{path}` must be a table, not {}", raw.type_words());
                sources.error(entry.node.span, &path, Finding::new(what, sub.doc, table_example(&path)));
            }
            (None, None, _) => unknown_key(entry, section, sources),
        }
    }
}

fn check_key(key: &'static Key, node: &Node, table: &[Entry], checked: &mut Checked, sources: &mut Sources) {
    if let Kind::Metrics = key.kind {
        checked.metric_lists.insert(key.path, node.clone());
        return;
    }
    if let Kind::Shares = key.kind {
        if let Some(shares) = shares(key, node, sources) {
            checked.shares.insert(key.path, shares);
        }
        return;
    }
    if let Kind::Faults = key.kind {
        checked.fault_events = Some(node.clone());
        return;
    }
    let kind = match key.kind {
        Kind::Name(c) if c.label_beside.is_some_and(|other| table.iter().any(|e| e.key == other)) => Kind::Label,
        kind => kind,
    };
    let rule = Rule { path: key.path, kind, fallback: key.fallback, unit: key.unit, doc: key.doc };
    if let Some(value) = scalar::check(node, rule, sources) {
        checked.values.insert(key.path, Found { value, span: node.span });
    }
}

/// A list of numbers from 0 to 1.
fn shares(key: &'static Key, node: &Node, sources: &mut Sources) -> Option<Vec<f64>> {
    let rule = Rule { path: key.path, kind: key.kind, fallback: key.fallback, unit: key.unit, doc: key.doc };
    let items = match &node.raw {
        Raw::List(items) if !items.is_empty() => items,
        raw => {
            let what = format!("`{}` must be {}, not {}", key.path, scalar::type_words(key.kind), raw.type_words());
            let what = if matches!(raw, Raw::List(_)) { format!("`{}` is an empty list", key.path) } else { what };
            let remedy = format!("write for example {} = [0.85, 0.3], or leave it out", key.name());
            sources.error(node.span, key.path, Finding::new(what, key.doc, remedy));
            return None;
        }
    };
    let mut shares = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", key.path);
        let kind = Kind::Real { min: 0.0, max: 1.0, open: false };
        shares.push(scalar::check(item, Rule { path: &path, kind, ..rule }, sources)?.as_f64()?);
    }
    Some(shares)
}

fn table_example(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let keys: Vec<String> = schema::keys_of(path).map(|k| format!("{} = ..", k.name())).collect();
    format!("write {name} = {{ {} }}", keys.join(", "))
}

/// What is required and not there, and what is there and does not apply.
fn check_missing(checked: &mut Checked, needs_objectives: bool, sources: &mut Sources) {
    for section in SECTIONS {
        let parent = section.path.rsplit_once('.').map(|(parent, _)| parent);
        let required = match section.path {
            "objectives" => needs_objectives,
            _ => !section.optional && parent.is_none_or(|p| checked.tables.contains(p)),
        };
        if required && checked.place(section.path).is_none() {
            let keys: Vec<&str> =
                schema::keys_of(section.path).filter(|k| k.fallback == Fallback::Required).map(Key::name).collect();
            let keys = if keys.is_empty() { String::new() } else { format!(" with {}", list(&keys)) };
            let span = parent.map_or(Span::TOP, |p| checked.span(p));
            let what = format!("the section `[{}]` is missing", section.path);
            let finding = Finding::new(what, section.doc, format!("add `[{}]`{keys}", section.path));
            sources.error(span, section.path, finding);
        }
    }
    for key in KEYS {
        let section = key.section();
        if !checked.tables.contains(section) {
            continue;
        }
        let applies = key.when.is_none_or(|w| {
            // An illegal choice has its own error; what hangs on it is not judged.
            let illegal = checked.place(w.key).is_some() && checked.given(w.key).is_none();
            illegal || checked.text(w.key).is_some_and(|v| w.is.contains(&v.as_str()))
        });
        match (applies, checked.place(key.path)) {
            (true, None)
                if key.fallback == Fallback::Required && key.when.is_none_or(|w| checked.text(w.key).is_some()) =>
            {
                let what = format!("`{}` is missing", key.path);
                let remedy = format!("add a line `{} = ..` to `[{section}]`", key.name());
                sources.error(checked.span(section), key.path, Finding::new(what, key.doc, remedy));
            }
            (false, Some(span)) => {
                let when = key.when.expect("a key that does not apply has a condition");
                let what = format!("`{}` does not apply here", key.path);
                let why = format!(
                    "it means something only when `{}` is {}, and that is \"{}\"",
                    when.key,
                    when.is.join(" or "),
                    checked.text(when.key).unwrap_or_default()
                );
                let remedy = format!("remove it, or set {} = \"{}\"", when.key, when.is[0]);
                sources.error(span, key.path, Finding::new(what, why, remedy));
            }
            _ => {}
        }
    }
}

fn unknown_section(entry: &Entry, sources: &mut Sources) {
    let name = entry.key.as_str();
    let tops: Vec<&str> = SECTIONS.iter().map(|s| s.path).filter(|p| !p.contains('.')).collect();
    let groups = schema::knob_groups();
    let (what, remedy) = if schema::is_knob_group(name) {
        (format!("`{name}` is no section, but a group of knobs"), format!("put it under `[knobs]`: `[knobs.{name}]`"))
    } else if let Some(key) = KEYS.iter().find(|k| k.name() == name && !matches!(entry.node.raw, Raw::Table(_))) {
        let what = format!("`{name}` stands outside of any section");
        (what, format!("put it under `[{}]`", key.section()))
    } else {
        let what = format!("there is no section `{name}`");
        let remedy = match (nearest(name, tops.iter().copied()), nearest(name, groups.iter().copied())) {
            (Some(near), _) => format!("did you mean `[{near}]`?"),
            (None, Some(group)) => format!("did you mean `[knobs.{group}]`?"),
            (None, None) => format!("the sections are {}", list(&tops)),
        };
        (what, remedy)
    };
    sources.error(entry.key_span, name, Finding::new(what, "", remedy));
}

fn unknown_key(entry: &Entry, section: &str, sources: &mut Sources) {
    let name = entry.key.as_str();
    let here: Vec<&str> = schema::keys_of(section)
        .map(Key::name)
        .chain(
            SECTIONS
                .iter()
                .filter_map(|s| s.path.strip_prefix(section)?.strip_prefix('.'))
                .filter(|p| !p.contains('.')),
        )
        .collect();
    let elsewhere = KEYS.iter().find(|k| k.name() == name);
    let knob = KNOBS.iter().find(|k| k.name.rsplit('.').next() == Some(name));
    let remedy = match (nearest(name, here.iter().copied()), elsewhere, knob) {
        (Some(near), ..) => format!("did you mean `{near}`?"),
        (None, Some(key), _) => format!("`{name}` belongs to `[{}]`", key.section()),
        (None, None, Some(knob)) => {
            format!("its keys are {}; `{}` is a knob, to be written under `[knobs]`", list(&here), knob.name)
        }
        (None, None, None) => format!("the keys of `[{section}]` are {}", list(&here)),
    };
    let path = join(section, name);
    let what = format!("`[{section}]` has no key `{name}`");
    sources.error(entry.key_span, &path, Finding::new(what, "", remedy));
}
