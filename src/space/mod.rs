//! The search space: knobs with finite, ordered or unordered domains, conditions under which a
//! knob means anything, and candidates as one level per knob.

mod assemble;
mod check;
pub mod deploy;
mod domains;
pub mod enumerate;
pub mod error;
mod faults;
mod formulas;
mod goals;
pub mod identity;
mod json_schema;
pub mod knob;
mod nearest;
pub mod parse;
mod planner;
mod pools;
mod ranges;
mod reference;
mod requests;
mod scalar;
pub mod schema;
mod sections;
mod source;
pub mod study;
pub mod survey;
mod tiers;
mod tree;

pub use deploy::{Deployer, Refusal, RefusalCode};
pub use error::{Snippet, SpaceError, SpaceErrors};
pub use json_schema::json_schema;
pub use knob::{Candidate, Condition, Domain, Knob, Space, Value};
pub use parse::{load, load_replay, parse, parse_replay};
pub use reference::reference_markdown;
pub use study::{Constraint, KnobSummary, Objective, SearchSpec, Study};
