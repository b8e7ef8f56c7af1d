//! Short ways to write a row of the schema.

use super::{Fallback, Key, Kind, Literal, When};
use crate::space::scalar::UNBOUNDED;

/// What rows are built from: a required flag without a name.
pub(super) const DEFAULT: Key =
    Key { path: "", kind: Kind::Bool, fallback: Fallback::Required, unit: "", when: None, doc: "" };
pub(super) const OPTIONAL: Fallback = Fallback::Unset("no bound");
/// Most tokens in one length.
pub(super) const TOKENS: i64 = 1 << 28;

pub(super) const fn int(
    path: &'static str,
    min: i64,
    max: i64,
    fallback: Fallback,
    unit: &'static str,
    doc: &'static str,
) -> Key {
    Key { path, kind: Kind::Int { min, max }, fallback, unit, doc, ..DEFAULT }
}

/// A real number above 0.
pub(super) const fn positive(path: &'static str, fallback: Fallback, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Real { min: 0.0, max: UNBOUNDED, open: true }, fallback, unit, doc, ..DEFAULT }
}

/// A real number from 0.
pub(super) const fn not_negative(path: &'static str, fallback: Fallback, unit: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Real { min: 0.0, max: UNBOUNDED, open: false }, fallback, unit, doc, ..DEFAULT }
}

pub(super) const fn flag(path: &'static str, fallback: Fallback, doc: &'static str) -> Key {
    Key { path, kind: Kind::Bool, fallback, doc, ..DEFAULT }
}

pub(super) const fn choice(
    path: &'static str,
    legal: &'static [&'static str],
    fallback: Fallback,
    doc: &'static str,
) -> Key {
    Key { path, kind: Kind::Choice { legal }, fallback, doc, ..DEFAULT }
}

pub(super) const fn value(literal: Literal) -> Fallback {
    Fallback::Value(literal)
}

pub(super) const fn when(key: Key, other: &'static str, is: &'static [&'static str]) -> Key {
    Key { when: Some(When { key: other, is }), ..key }
}

pub(super) const REQUIRED: Fallback = Fallback::Required;
