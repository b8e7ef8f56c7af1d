//! The search space: knobs with finite, ordered or unordered domains, conditions under which a
//! knob means anything, and candidates as one level per knob.

pub mod enumerate;
pub mod identity;
pub mod knob;
pub mod study;

pub use knob::{Candidate, Condition, Domain, Knob, Space, Value};
pub use study::{Constraint, Objective, SearchSpec, Study};
