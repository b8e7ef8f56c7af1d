//! One Mooncake row: a flat JSON object, read without building a tree.
//!
//! Hash ids go straight from the text into the builder, so a row costs no allocation.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::fields::{self, Field, Ignored};
use super::values::{IdsSeed, NameSeed, Unused, UnusedSeed, number};
use crate::workload::builder::Builder;
use crate::workload::error::Fault;

/// What a row says; reused from row to row.
#[derive(Default)]
pub(super) struct RowText {
    said: Said,
    /// The session's name, when one is said.
    session: String,
    /// Fields read over so far, in all rows.
    pub ignored: Ignored,
    /// The field being read, for errors of the JSON parser.
    reading: Option<&'static str>,
    fault: Option<Fault>,
}

/// The fields of one row.
#[derive(Clone, Copy, Default)]
struct Said {
    timestamp_ms: Option<f64>,
    delay_ms: Option<f64>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    has_ids: bool,
    has_session: bool,
    output_ids: Option<u64>,
    /// A bit per [`Field`] met.
    met: u32,
}

/// A row that holds together; its hash ids are in the builder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<'a> {
    pub timestamp_ms: Option<f64>,
    pub delay_ms: Option<f64>,
    pub session: Option<&'a str>,
    pub input_tokens: Option<u32>,
    pub output_tokens: u32,
    pub has_ids: bool,
}

impl RowText {
    /// Reads one row; hash ids are pushed to the builder. `terminated` is whether a line break
    /// follows it.
    pub fn read(&mut self, line: &str, terminated: bool, builder: &mut Builder) -> Result<Parsed<'_>, Fault> {
        self.said = Said::default();
        self.reading = None;
        let mut json = serde_json::Deserializer::from_str(line);
        let read = json.deserialize_any(RowVisitor { row: self, builder }).and_then(|()| json.end());
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        read.map_err(|e| self.syntax(&e, line, terminated))?;
        let said = self.said;
        let Some(output_tokens) = said.output_tokens else {
            return Err(Fault::field("output_length", "is missing", "give the number of tokens to generate"));
        };
        if let Some(ids) = said.output_ids.filter(|&ids| ids != u64::from(output_tokens)) {
            let why = format!("has {ids} ids, but `output_length` is {output_tokens}");
            return Err(Fault::field("output_token_ids", why, "make them agree, or leave `output_token_ids` out"));
        }
        Ok(Parsed {
            timestamp_ms: said.timestamp_ms,
            delay_ms: said.delay_ms,
            session: said.has_session.then_some(self.session.as_str()),
            input_tokens: said.input_tokens,
            output_tokens,
            has_ids: said.has_ids,
        })
    }

    /// An error of the JSON parser in the user's words.
    fn syntax(&self, error: &serde_json::Error, line: &str, terminated: bool) -> Fault {
        if error.is_eof() {
            let help = if !terminated {
                "the last line is cut off: fetch the file again, or delete the line"
            } else if matches!(line.trim(), "{" | "[") {
                "the file seems to be indented JSON; write one object per line, as jq -c does"
            } else {
                "write one JSON object per line"
            };
            return Fault::row("ends in the middle of a row", help);
        }
        let message = error.to_string();
        let why = message.split(" at line ").next().unwrap_or(&message);
        let why = format!("{why}, at column {}", error.column());
        let help = if error.is_data() {
            "a row looks like {\"timestamp\":0,\"input_length\":600,\"output_length\":50,\"hash_ids\":[1,2]}"
        } else {
            "write one JSON object per line (NaN and Infinity are not JSON numbers)"
        };
        match self.reading {
            Some(field) => Fault::field(field, format!("cannot be read: {why}"), help),
            None => Fault::row(format!("is not a row: {why}"), help),
        }
    }

    /// Reads the value of a field.
    fn value<'de, A: MapAccess<'de>>(
        &mut self,
        (field, name): (Field, &'static str),
        map: &mut A,
        builder: &mut Builder,
    ) -> Result<(), A::Error> {
        let bit = 1 << field as u32;
        if self.said.met & bit != 0 {
            let why = "is given twice in the row, perhaps under an alias";
            return self.take::<(), _>(Err(Fault::field(name, why, "keep one of them"))).map(drop);
        }
        self.said.met |= bit;
        match field {
            Field::Timestamp => {
                self.said.timestamp_ms = self.take(number(map)?.map(|n| n.instant_ms(name)).transpose())?;
            }
            Field::Delay => self.said.delay_ms = self.take(number(map)?.map(|n| n.duration_ms(name)).transpose())?,
            Field::Input => self.said.input_tokens = self.take(number(map)?.map(|n| n.tokens(name)).transpose())?,
            Field::Output => self.said.output_tokens = self.take(number(map)?.map(|n| n.tokens(name)).transpose())?,
            Field::HashIds => self.said.has_ids = map.next_value_seed(IdsSeed(builder))?,
            Field::Session => {
                self.said.has_session = map.next_value_seed(NameSeed(&mut self.session))?;
                if self.said.has_session && self.session.is_empty() {
                    let help = "name the session, or leave the field out for a request of its own";
                    return self.take(Err(Fault::field(name, "is empty", help)));
                }
            }
            Field::OutputIds => match map.next_value_seed(UnusedSeed)? {
                Unused::Nothing => {}
                Unused::Array(ids) => {
                    self.said.output_ids = Some(ids);
                    self.ignored.note(name);
                }
                Unused::Something => {
                    let fault = Fault::field(name, "is not an array", "give one id per output token, or leave it out");
                    return self.take(Err(fault));
                }
            },
            Field::Priority | Field::StrictPriority | Field::PolicyClass => {
                if map.next_value_seed(UnusedSeed)? != Unused::Nothing {
                    self.ignored.note(name);
                }
            }
            Field::RequestId => {
                map.next_value_seed(UnusedSeed)?;
            }
        }
        Ok(())
    }

    /// Keeps a fault aside, since the parser's errors are only text.
    fn take<T, E: Error>(&mut self, result: Result<T, Fault>) -> Result<T, E> {
        result.map_err(|fault| {
            self.fault = Some(fault);
            E::custom("a fault was kept aside")
        })
    }
}

struct RowVisitor<'a> {
    row: &'a mut RowText,
    builder: &'a mut Builder,
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { row, builder } = self;
        while let Some(key) = map.next_key_seed(KeySeed(&mut row.ignored))? {
            match key {
                Key::Field(field) => {
                    row.reading = Some(field.1);
                    row.value(field, &mut map, builder)?;
                }
                Key::Ignored(index) => {
                    let unused = map.next_value_seed(UnusedSeed)?;
                    let met = row.ignored.meet(index, unused == Unused::Nothing);
                    row.take(met)?;
                }
            }
            row.reading = None;
        }
        Ok(())
    }
}

enum Key {
    Field((Field, &'static str)),
    /// Index into [`Ignored`].
    Ignored(usize),
}

struct KeySeed<'a>(&'a mut Ignored);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Key, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
        Ok(fields::field(name).map_or_else(|| Key::Ignored(self.0.index(name)), Key::Field))
    }
}
