//! The search space: knobs with finite, ordered or unordered domains, conditions under which a
//! knob means anything, and candidates as one level per knob.

mod assemble;
mod check;
mod domains;
pub mod enumerate;
pub mod error;
pub mod identity;
pub mod knob;
mod nearest;
pub mod parse;
mod scalar;
pub mod schema;
mod sections;
mod source;
pub mod study;
mod tree;

pub use error::{SpaceError, SpaceErrors};
pub use knob::{Candidate, Condition, Domain, Knob, Space, Value};
pub use parse::{load, load_replay, parse, parse_replay};
pub use study::{Constraint, KnobSummary, Objective, SearchSpec, Study};
