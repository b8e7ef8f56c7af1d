//! Knobs that the user names: the coefficients of the router's formula.

use std::sync::Mutex;

use super::{Active, Fallback, Kind, KnobRow};
use crate::space::scalar::UNBOUNDED;
use crate::twin::router::formula::{FUNCTIONS, Term};

/// The group of these knobs.
pub const COEFFICIENTS: &str = "router.coefficients";

/// What the schema says of each.
pub const COEFFICIENT: KnobRow = KnobRow {
    name: "router.coefficients.NAME",
    kind: Kind::Real { min: -UNBOUNDED, max: UNBOUNDED, open: false },
    power_of_two: false,
    log: false,
    fallback: Fallback::Unset("there is none"),
    unit: "",
    block: "router",
    active: &[Active::NamedBy("router.expression")],
    doc: "A number that the formula calls NAME; any number of them.",
};

/// The row of the coefficient with this full name; `None` where it can be none.
///
/// Rows have static lifetimes, so those of coefficients are made once per name and kept for good: a
/// program reads a handful of names.
pub(super) fn row(full: &str) -> Option<&'static KnobRow> {
    static ROWS: Mutex<Vec<&'static KnobRow>> = Mutex::new(Vec::new());
    let name = full.strip_prefix(COEFFICIENTS)?.strip_prefix('.')?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || name == "_" || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    if Term::named(name).is_some() || FUNCTIONS.iter().any(|f| f.0 == name) {
        return None;
    }
    // A keyword of the expressions' grammar would never be read as a name.
    syn::parse_str::<syn::Ident>(name).ok()?;
    let mut rows = ROWS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(row) = rows.iter().find(|r| r.name == full) {
        return Some(row);
    }
    let row: &'static KnobRow = Box::leak(Box::new(KnobRow { name: full.to_owned().leak(), ..COEFFICIENT }));
    rows.push(row);
    Some(row)
}
