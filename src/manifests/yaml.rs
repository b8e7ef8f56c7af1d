//! YAML that no reader takes for anything else: block style, every text in double quotes.
//!
//! Readers disagree on plain scalars (`no`, `1_000`, `2024-01-01`, `4e5`): Kubernetes reads YAML 1.1,
//! most libraries 1.2. In double quotes a text is a text for all of them.

use std::fmt::Write;

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Text(String),
    Int(i64),
    List(Vec<Yaml>),
    /// Keys are our own words, or names with `/` and `.` of the API.
    Map(Vec<(&'static str, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Yaml {
        Yaml::Text(text.into())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Yaml {
        Yaml::Text(text)
    }
}

impl From<u32> for Yaml {
    fn from(number: u32) -> Yaml {
        Yaml::Int(number.into())
    }
}

impl Yaml {
    /// A list of texts.
    pub fn texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Yaml {
        Yaml::List(texts.into_iter().map(|t| t.as_ref().into()).collect())
    }

    /// The text of the document, with a line break at its end.
    pub fn emit(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Yaml::Text(text) => {
                out.push_str(&quoted(text));
                out.push('\n');
            }
            Yaml::Int(number) => {
                let _ = writeln!(out, "{number}");
            }
            Yaml::List(items) if items.is_empty() => out.push_str("[]\n"),
            Yaml::Map(entries) if entries.is_empty() => out.push_str("{}\n"),
            Yaml::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    pad(out, indent, index);
                    out.push_str("- ");
                    item.write(out, indent + 2);
                }
            }
            Yaml::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    pad(out, indent, index);
                    out.push_str(key);
                    out.push(':');
                    if value.is_block() {
                        out.push('\n');
                        out.push_str(&" ".repeat(indent + 2));
                        value.write(out, indent + 2);
                    } else {
                        out.push(' ');
                        value.write(out, indent + 2);
                    }
                }
            }
        }
    }

    fn is_block(&self) -> bool {
        match self {
            Yaml::List(items) => !items.is_empty(),
            Yaml::Map(entries) => !entries.is_empty(),
            _ => false,
        }
    }
}

/// The first entry of a block continues a line that is already indented.
fn pad(out: &mut String, indent: usize, index: usize) {
    if index > 0 {
        out.push_str(&" ".repeat(indent));
    }
}

/// A double-quoted scalar.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if !is_printable(c) => {
                let code = u32::from(c);
                let _ = if code <= 0xffff { write!(out, "\\u{code:04x}") } else { write!(out, "\\U{code:08x}") };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a character may stand in a YAML stream as it is (YAML 1.2, 5.1), and shows.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A comment line that no text can break out of.
pub(super) fn comment(text: &str) -> String {
    let clean: String = text.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect();
    format!("# {clean}\n")
}

#[cfg(test)]
mod tests {
    use yaml_rust2::{Yaml as Read, YamlLoader};

    use super::*;

    fn read_back(text: &str) -> String {
        let document = Yaml::Map(vec![("a", Yaml::List(vec![Yaml::Map(vec![("b", text.into())])]))]);
        let parsed = YamlLoader::load_from_str(&document.emit()).expect("is YAML");
        match &parsed[0]["a"][0]["b"] {
            Read::String(found) => found.clone(),
            other => panic!("{text:?} became {other:?}"),
        }
    }

    #[test]
    fn hostile_texts_come_back() {
        for text in [
            "",
            "no",
            "1_000",
            "0x1f",
            "4e51234",
            "2024-01-01",
            "a: b # c",
            "- x",
            "\"q\" \\ 'r'",
            "two\nlines\n",
            "tab\there",
            "\u{7f}\u{85}\u{2028}\u{feff}\u{0}\u{1b}[31m",
            "ключ 🦀",
            "{{ .Values.x }}",
            "null",
            "~",
            " spaces ",
            "%TAG",
            "*a &b !c",
        ] {
            assert_eq!(read_back(text), text);
        }
    }

    #[test]
    fn empty_and_nested_blocks_are_read_back() {
        let nested = Yaml::Map(vec![
            ("none", Yaml::List(vec![])),
            (
                "spec",
                Yaml::Map(vec![
                    ("list", Yaml::List(vec![Yaml::texts(["x", "y"]), 3.into()])),
                    ("empty", Yaml::Map(vec![])),
                ]),
            ),
        ]);
        let parsed = &YamlLoader::load_from_str(&nested.emit()).unwrap()[0];
        assert_eq!(parsed["none"].as_vec().map(Vec::len), Some(0));
        assert_eq!(parsed["spec"]["list"][0][1].as_str(), Some("y"));
        assert_eq!(parsed["spec"]["list"][1].as_i64(), Some(3));
        assert!(parsed["spec"]["empty"].as_hash().is_some_and(|h| h.is_empty()));
    }

    #[test]
    fn a_comment_stays_one_line() {
        assert_eq!(comment("x\nkind: Pod\r\u{2028}y"), "# x kind: Pod  y\n");
    }
}
