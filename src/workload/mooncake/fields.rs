//! The fields of a Mooncake row: those read, those that must not be ignored, and the rest.

use crate::workload::error::Fault;

/// A field that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Timestamp,
    Delay,
    Input,
    Output,
    HashIds,
    Session,
    /// Exact output tokens: the twin models times, which depend on how many there are.
    OutputIds,
    /// Queue priority: the routers and engines here are first come, first served.
    Priority,
    StrictPriority,
    /// Queue class, as priorities.
    PolicyClass,
    /// Names the request; nothing here refers to it.
    RequestId,
}

/// The field of a name, aliases included (those that Dynamo's loader has).
pub(super) fn field(name: &str) -> Option<(Field, &'static str)> {
    Some(match name {
        "timestamp" => (Field::Timestamp, "timestamp"),
        "created_time" => (Field::Timestamp, "created_time"),
        "delay" => (Field::Delay, "delay"),
        "delay_ms" => (Field::Delay, "delay_ms"),
        "input_length" => (Field::Input, "input_length"),
        "input_tokens" => (Field::Input, "input_tokens"),
        "output_length" => (Field::Output, "output_length"),
        "output_tokens" => (Field::Output, "output_tokens"),
        "hash_ids" => (Field::HashIds, "hash_ids"),
        "session_id" => (Field::Session, "session_id"),
        "output_token_ids" => (Field::OutputIds, "output_token_ids"),
        "priority" => (Field::Priority, "priority"),
        "strict_priority" => (Field::StrictPriority, "strict_priority"),
        "policy_class" => (Field::PolicyClass, "policy_class"),
        "request_id" => (Field::RequestId, "request_id"),
        _ => return None,
    })
}

const NAMES: [&str; 15] = [
    "timestamp",
    "created_time",
    "delay",
    "delay_ms",
    "input_length",
    "input_tokens",
    "output_length",
    "output_tokens",
    "hash_ids",
    "session_id",
    "output_token_ids",
    "priority",
    "strict_priority",
    "policy_class",
    "request_id",
];

/// Fields of related formats whose loss would change what is replayed.
const REFUSED: [(&[&str], &str, &str); 4] = [
    (
        &[
            "wait_for",
            "branches",
            "prefix_reset",
            "tool_wait_ms",
            "tool_events",
            "dependencies",
            "play_id",
            "not_before_ms",
            "schema",
        ],
        "belongs to an agentic graph, which is more than a session of turns",
        "flatten the graph into sessions (`session_id` and `delay`) and leave the field out",
    ),
    (
        &["text_input", "messages", "payload"],
        "gives the prompt as text, which needs the model's tokenizer",
        "tokenize it and give `input_length` and `hash_ids` instead",
    ),
    (
        &["chat_id", "parent_chat_id"],
        "belongs to a Qwen-Bailian trace: its timestamps are seconds and its turns are linked by chat ids",
        "rewrite the rows with `timestamp` in ms and `session_id`, and say block_tokens = 16",
    ),
    (
        &["block_size", "trace_block_size"],
        "sets the tokens per hash id row by row, which is not supported",
        "leave it out and say it once: block_tokens = N",
    ),
];

/// What a field that is not read does.
#[derive(Clone, Debug)]
enum Rule {
    Harmless,
    Refused {
        why: &'static str,
        help: &'static str,
    },
    Misspelt(&'static str),
    /// One field too many: see [`MAX_IGNORED`].
    TooMany,
}

/// Different unknown fields that a trace may have; a file with more is something else.
const MAX_IGNORED: usize = 64;

impl Rule {
    fn of(name: &str) -> Self {
        if let Some((_, why, help)) = REFUSED.iter().find(|(names, ..)| names.contains(&name)) {
            return Self::Refused { why, help };
        }
        let lower = name.to_ascii_lowercase();
        let near = NAMES.iter().find(|known| distance(&lower, known) <= if known.len() < 8 { 1 } else { 2 });
        near.map_or(Self::Harmless, |known| Self::Misspelt(known))
    }
}

/// Fields met that are not read, with the number of rows in which they said something.
#[derive(Default)]
pub(super) struct Ignored {
    fields: Vec<(String, Rule, u64)>,
}

impl Ignored {
    /// Index of a field that is not in [`field`].
    pub fn index(&mut self, name: &str) -> usize {
        self.fields.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
            let rule = if self.fields.len() < MAX_IGNORED { Rule::of(name) } else { Rule::TooMany };
            self.fields.push((name.to_owned(), rule, 0));
            self.fields.len() - 1
        })
    }

    /// Counts a row in which a field is ignored; a fault when ignoring it would change the replay.
    /// `empty` is a value that says nothing: null, false, 0, "", [] or {}.
    pub fn meet(&mut self, index: usize, empty: bool) -> Result<(), Fault> {
        let (name, rule, rows) = &mut self.fields[index];
        match rule {
            Rule::Misspelt(known) => Err(Fault::field(
                name.as_str(),
                "is not a field of a row",
                format!("write `{known}`, if that is meant"),
            )),
            Rule::TooMany => {
                let why = format!("brings the unknown fields of the trace to more than {MAX_IGNORED}");
                Err(Fault::row(why, "check that this is a Mooncake trace; drop the fields that it needs not"))
            }
            Rule::Refused { why, help } if !empty => Err(Fault::field(name.as_str(), *why, *help)),
            _ => {
                *rows += u64::from(!empty);
                Ok(())
            }
        }
    }

    /// Counts a row in which a known field without effect said something.
    pub fn note(&mut self, name: &'static str) {
        match self.fields.iter_mut().find(|(known, ..)| known == name) {
            Some((.., rows)) => *rows += 1,
            None => self.fields.push((name.to_owned(), Rule::Harmless, 1)),
        }
    }

    /// A sentence for each ignored field.
    pub fn notes(&self) -> Vec<String> {
        let said = self.fields.iter().filter(|(.., rows)| *rows > 0);
        said.map(|(name, _, rows)| {
            let why = match field(name).map(|(field, _)| field) {
                Some(Field::OutputIds) => "times depend on how many output tokens there are, not on which",
                Some(Field::Priority | Field::StrictPriority | Field::PolicyClass) => {
                    "queues are first come, first served"
                }
                _ => "not a field that the replay knows",
            };
            format!("`{name}` is ignored ({rows} rows): {why}")
        })
        .collect()
    }
}

/// Levenshtein distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_field_and_no_other_field_is_near_it() {
        for name in NAMES {
            assert_eq!(field(name).map(|(_, n)| n), Some(name));
        }
        for harmless in ["model", "type", "user", "trace_id", "extra", "tools", "turn", "ttft", "id"] {
            assert!(matches!(Rule::of(harmless), Rule::Harmless), "{harmless}");
        }
        for (typo, meant) in [("sesion_id", "session_id"), ("Timestamp", "timestamp"), ("dealy", "delay_ms")] {
            match Rule::of(typo) {
                Rule::Misspelt(known) => assert_eq!(known, meant),
                Rule::Harmless => assert_eq!(typo, "dealy", "two edits in five letters are another word"),
                rule => panic!("{typo}: {rule:?}"),
            }
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
