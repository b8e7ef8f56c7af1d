//! The document as a tree of values that know where they were written.

use std::fmt::Write;

use toml::de::{DeTable, DeValue};

use super::error::MOST_ERRORS;
use super::source::{Finding, Source, Sources, Span};
use super::{Value, schema};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub raw: Raw,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as written.
    HugeInt(String),
    Real(f64),
    Text(String),
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

impl Raw {
    /// Its TOML type, with an article.
    pub fn type_words(&self) -> &'static str {
        match self {
            Raw::Bool(_) => "a boolean",
            Raw::Int(_) | Raw::HugeInt(_) => "an integer",
            Raw::Real(_) => "a number",
            Raw::Text(_) => "a string",
            Raw::Date(_) => "a date",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }

    fn from_toml(value: &DeValue<'_>, source: usize) -> Raw {
        match value {
            DeValue::Boolean(v) => Raw::Bool(*v),
            DeValue::Integer(v) => {
                i64::from_str_radix(v.as_str(), v.radix()).map_or_else(|_| Raw::HugeInt(v.to_string()), Raw::Int)
            }
            // The parser has checked the syntax, so this cannot fail; too large a value is infinite.
            DeValue::Float(v) => Raw::Real(v.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::String(v) => Raw::Text(v.to_string()),
            DeValue::Datetime(v) => Raw::Date(v.to_string()),
            DeValue::Array(items) => Raw::List(
                items
                    .iter()
                    .map(|item| Node {
                        span: Span::new(source, item.span()),
                        raw: Raw::from_toml(item.get_ref(), source),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Raw::Table(entries(table, source)),
        }
    }
}

fn entries(table: &DeTable<'_>, source: usize) -> Vec<Entry> {
    table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: Span::new(source, key.span()),
            node: Node { span: Span::new(source, value.span()), raw: Raw::from_toml(value.get_ref(), source) },
        })
        .collect()
}

/// Parses the text of source 0; every syntax error is recorded, the first of each line.
pub(crate) fn parse_file(sources: &mut Sources) -> Vec<Entry> {
    let text = sources.all[0].text.clone();
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut last_line = 0;
    for error in errors.iter().take(MOST_ERRORS) {
        let range = error.span().unwrap_or(text.len()..text.len());
        let (line, _) = sources.all[0].line_column(range.start);
        // One slip often confuses the parser for the rest of its line.
        if line != last_line {
            let path = field_at(&text, range.start);
            let span = Span::new(0, range);
            sources.error(span, &path, syntax_finding(error));
        }
        last_line = line;
    }
    entries(table.get_ref(), 0)
}

/// The field that a syntax error is about, as far as its line and the heading above it tell.
fn field_at(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = text[start..].lines().next().unwrap_or("").trim();
    let heading = |line: &str| line.trim_matches(['[', ']', ' ']).to_owned();
    if line.starts_with('[') {
        return heading(line);
    }
    let section = before[..start].lines().rev().find(|l| l.starts_with('[')).map(heading).unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) => join(&section, key.trim()),
        None => section,
    }
}

fn syntax_finding(error: &toml::de::Error) -> Finding {
    let message = error.message();
    if message.starts_with("duplicate key") {
        return Finding::new(
            "this key is given twice",
            "TOML allows a key once in a table, and a table once in a file",
            "keep one of the two; a dotted key and a `[table]` of the same name count as the same",
        );
    }
    let remedy = if message.contains("string") {
        "close the quotes, and put text in \"double quotes\""
    } else {
        "write `key = value` lines under `[section]` headings; `servescout schema` and docs/space.md list them all"
    };
    Finding::new(format!("not valid TOML: {message}"), "", remedy)
}

/// Lays one `--set path=value` over the document.
///
/// The value is TOML; a bare word that is not (`kv`, `../trace.jsonl`) is taken as a string. A
/// knob's name may do without `knobs.`.
pub(crate) fn apply_override(root: &mut Vec<Entry>, text: &str, sources: &mut Sources) {
    sources.all.push(Source { name: "--set".into(), text: text.to_owned() });
    let source = sources.all.len() - 1;
    let parsed = match DeTable::parse(text) {
        Ok(table) => Ok(entries(table.get_ref(), source)),
        Err(error) => with_bare_word(text, source).ok_or(error),
    };
    let mut parsed = match parsed {
        Ok(parsed) if parsed.len() == 1 && !text.trim_start().starts_with('[') => parsed,
        Ok(_) => {
            let finding = Finding::new(
                "an override is one `name=value`",
                "",
                "write one --set per setting, such as --set search.budget=100",
            );
            return sources.error(Span::new(source, 0..text.len()), "", finding);
        }
        Err(error) => {
            let range = error.span().unwrap_or(0..text.len());
            let finding = Finding::new(
                format!("not an override: {}", error.message()),
                "an override is `name=value`, the value in TOML",
                "write --set 'engine.max_num_seqs=[64, 128]' or --set search.budget=100",
            );
            return sources.error(Span::new(source, range), "", finding);
        }
    };
    let mut entry = parsed.remove(0);
    if schema::is_knob_group(&entry.key) {
        let (key_span, span) = (entry.key_span, entry.node.span);
        entry = Entry { key: "knobs".into(), key_span, node: Node { span, raw: Raw::Table(vec![entry]) } };
    }
    overlay(root, entry, "", sources);
}

/// `name=word`, where the word is no TOML value.
fn with_bare_word(text: &str, source: usize) -> Option<Vec<Entry>> {
    let (name, word) = text.split_once('=')?;
    let start = text.len() - word.trim_start().len();
    let word = word.trim();
    let bare = !word.is_empty() && !word.contains(|c: char| c.is_control() || "\"'[]{}#,=".contains(c));
    // A number is never a bare word: `64k` and `1e` are slips, not names.
    if !bare || word.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) {
        return None;
    }
    let table = format!("{name}=0");
    let mut parsed = entries(DeTable::parse(&table).ok()?.get_ref(), source);
    let word = Node { span: Span::new(source, start..start + word.len()), raw: Raw::Text(word.to_owned()) };
    replace_leaf(&mut parsed.first_mut()?.node, word);
    Some(parsed)
}

fn replace_leaf(node: &mut Node, leaf: Node) {
    match &mut node.raw {
        Raw::Table(inner) if !inner.is_empty() => replace_leaf(&mut inner[0].node, leaf),
        _ => *node = leaf,
    }
}

/// Puts one entry, a single path down to a value, in its place in a table.
fn overlay(table: &mut Vec<Entry>, mut entry: Entry, prefix: &str, sources: &mut Sources) {
    let path = join(prefix, &entry.key);
    let Some(existing) = table.iter_mut().find(|e| e.key == entry.key) else {
        table.push(entry);
        return;
    };
    // A table of one entry is a path that goes on; an inline table in the value replaces.
    let goes_on = matches!(&entry.node.raw, Raw::Table(inner) if inner.len() == 1 && !is_inline(&entry.node, sources));
    match (&mut existing.node.raw, goes_on) {
        (Raw::Table(inner), true) => {
            if let Raw::Table(mut rest) = entry.node.raw {
                overlay(inner, rest.remove(0), &path, sources);
            }
        }
        (_, true) => {
            let finding = Finding::new(
                format!("`{path}` holds {}, not a table", existing.node.raw.type_words()),
                "the file gives it another form than this override continues",
                format!("replace it whole: --set '{path}={{ min = .., max = .. }}'"),
            );
            sources.error(entry.key_span, &path, finding);
        }
        _ => {
            std::mem::swap(&mut existing.node, &mut entry.node);
            existing.key_span = entry.key_span;
        }
    }
}

/// Whether a table was written in braces.
fn is_inline(node: &Node, sources: &Sources) -> bool {
    sources.all[node.span.source].text.get(node.span.start..).is_some_and(|t| t.starts_with('{'))
}

/// `prefix.key`, or `key` at the top.
pub(crate) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// Sets the value at a dotted path of existing tables, or adds its last key.
pub(crate) fn set(root: &mut Vec<Entry>, path: &str, raw: Raw) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let position = root.iter().position(|e| e.key == first).unwrap_or_else(|| {
        let node = Node { span: Span::TOP, raw: Raw::Table(Vec::new()) };
        root.push(Entry { key: first.to_owned(), key_span: Span::TOP, node });
        root.len() - 1
    });
    let node = &mut root[position].node;
    match rest {
        None => node.raw = raw,
        Some(rest) => {
            if !matches!(node.raw, Raw::Table(_)) {
                node.raw = Raw::Table(Vec::new());
            }
            if let Raw::Table(inner) = &mut node.raw {
                set(inner, rest, raw);
            }
        }
    }
}

/// The tree as TOML: sections as `[headings]`, knobs as dotted keys, everything else inline.
pub(crate) fn write(root: &[Entry]) -> String {
    let mut out = String::new();
    for entry in root {
        match &entry.node.raw {
            Raw::Table(inner) => write_section(&mut out, &quote_key(&entry.key), &entry.key, inner),
            raw => {
                let _ = writeln!(out, "{} = {}", quote_key(&entry.key), inline(raw));
            }
        }
    }
    out
}

fn write_section(out: &mut String, heading: &str, path: &str, entries: &[Entry]) {
    let is_heading = |e: &Entry| matches!(e.node.raw, Raw::Table(_)) && schema::section(&join(path, &e.key)).is_some();
    let (headings, lines): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|e| is_heading(e) && path != "knobs");
    if !lines.is_empty() || headings.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "[{heading}]");
    }
    for entry in lines {
        let key = quote_key(&entry.key);
        match &entry.node.raw {
            Raw::Table(knobs) if path == "knobs" => {
                for knob in knobs {
                    let _ = writeln!(out, "{key}.{} = {}", quote_key(&knob.key), inline(&knob.node.raw));
                }
            }
            raw => {
                let _ = writeln!(out, "{key} = {}", inline(raw));
            }
        }
    }
    for entry in headings {
        if let Raw::Table(inner) = &entry.node.raw {
            let heading = format!("{heading}.{}", quote_key(&entry.key));
            write_section(out, &heading, &join(path, &entry.key), inner);
        }
    }
}

fn inline(raw: &Raw) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match raw {
        Raw::Bool(v) => v.to_string(),
        Raw::Int(v) => v.to_string(),
        Raw::HugeInt(v) | Raw::Date(v) => v.clone(),
        Raw::Real(v) => Value::Real(*v).to_toml(),
        Raw::Text(v) => Value::Text(v.clone()).to_toml(),
        Raw::List(items) => format!("[{}]", joined(items.iter().map(|i| inline(&i.raw)).collect())),
        Raw::Table(entries) => {
            let pairs = entries.iter().map(|e| format!("{} = {}", quote_key(&e.key), inline(&e.node.raw)));
            format!("{{ {} }}", joined(pairs.collect()))
        }
    }
}

fn quote_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { Value::Text(key.to_owned()).to_toml() }
}
