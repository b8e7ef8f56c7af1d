//! Mooncake JSON Lines, with Dynamo's sessions, delays and alias fields.
//!
//! One row per request: `{"timestamp": 27482, "input_length": 6955, "output_length": 52,
//! "hash_ids": [46, 47, ...]}`, times in ms, one hash id per `block_tokens` prompt tokens begun.
//!
//! * A row without `session_id` is a session of one turn. Rows of one session, in file order, are
//!   its turns; a later turn is sent its `delay` after the turn before is complete. Without
//!   `delay`, the difference of their timestamps; without those, at once.
//! * `input_length` may be left out (all that the hash ids hold), `hash_ids` too (a prompt that
//!   shares nothing).
//! * `created_time`, `input_tokens`, `output_tokens`, `delay_ms` are aliases. null is absent.
//! * `output_token_ids` is ignored, because times depend on how many tokens there are and not on
//!   which; `priority`, `strict_priority` and `policy_class` are ignored with a note, because
//!   queues here are first come, first served. Unknown fields are ignored with a note, unless they
//!   belong to a related format in which they change the meaning, or look like a misspelling.
//!
//! The rows of Dynamo's `mooncake-delta` carry the new part of a prompt only and cannot be told
//! from full ones by looking: convert such a trace before replaying it.

mod fields;
mod row;
mod values;

use self::row::RowText;
use super::builder::{Builder, Row};
use super::error::Fault;
use super::lines::Line;

/// Reads rows in file order.
#[derive(Default)]
pub(crate) struct MooncakeReader {
    row: RowText,
}

impl MooncakeReader {
    /// Takes one line.
    pub fn line(&mut self, line: &Line<'_>, builder: &mut Builder) -> Result<(), Fault> {
        let parsed = self.row.read(line.text, line.terminated, builder)?;
        let row = Row {
            line: line.number,
            timestamp_ms: parsed.timestamp_ms,
            delay_ms: parsed.delay_ms,
            session: parsed.session,
            input_tokens: parsed.input_tokens,
            output_tokens: parsed.output_tokens,
            has_ids: parsed.has_ids,
        };
        builder.push(row, line.bytes)
    }

    /// What was ignored, in sentences.
    pub fn notes(&self) -> Vec<String> {
        self.row.ignored.notes()
    }
}
