//! A cost function of the user's own: a formula over named terms, read once and evaluated for all
//! candidates at once.
//!
//! [`Formula::parse`] reads the text (with `syn`, whose expressions are Rust's: the usual operators and
//! precedence, and the place of what is wrong), [`Formula::bind`] fills in the coefficients, and the
//! [`Program`] that results is a [`Cost`](super::Cost). Nothing is parsed during a simulation.

mod parse;
mod program;
mod terms;

use std::ops::Range;

pub use program::Program;
pub use terms::{TERMS, Term, TermInfo};

use program::Op;

/// A formula, its coefficients still open.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    ops: Vec<FormulaOp>,
    /// Names that are no terms, with their first place in the text.
    names: Vec<(String, Range<usize>)>,
}

/// A step of the evaluation, on a stack.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FormulaOp {
    Op(Op),
    /// A coefficient, by its place among the names.
    Name(usize),
}

/// What is wrong with a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormulaError {
    /// Bytes of the text that are wrong.
    pub at: Range<usize>,
    pub what: String,
    pub remedy: String,
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// What is no formula, with its place.
    pub fn parse(text: &str) -> Result<Formula, FormulaError> {
        parse::parse(text)
    }

    /// Names that are no terms and must be coefficients, with their first place in the text.
    pub fn names(&self) -> &[(String, Range<usize>)] {
        &self.names
    }

    /// The terms it uses, each once, in the order of [`TERMS`].
    pub fn terms(&self) -> Vec<Term> {
        let uses = |term: Term| self.ops.contains(&FormulaOp::Op(Op::Term(term)));
        TERMS.iter().map(|info| info.term).filter(|&term| uses(term)).collect()
    }

    /// The formula with a value for each of its names.
    ///
    /// # Errors
    /// The first name that has no value.
    pub fn bind(&self, mut value: impl FnMut(&str) -> Option<f64>) -> Result<Program, String> {
        let ops = self.ops.iter().map(|op| match *op {
            FormulaOp::Op(op) => Ok(op),
            FormulaOp::Name(at) => {
                let name = &self.names[at].0;
                value(name).map(Op::Number).ok_or_else(|| name.clone())
            }
        });
        Ok(Program::new(ops.collect::<Result<Vec<Op>, String>>()?))
    }
}

/// Functions that a formula may call, with the number of their arguments (`usize::MAX`: two or more)
/// and their meaning.
pub const FUNCTIONS: &[(&str, usize, &str)] = &[
    ("min", usize::MAX, "the least of two or more"),
    ("max", usize::MAX, "the greatest of two or more"),
    ("abs", 1, "absolute value"),
    ("sqrt", 1, "square root"),
    ("exp", 1, "e to that power"),
    ("ln", 1, "natural logarithm"),
    ("floor", 1, "next integer below"),
    ("ceil", 1, "next integer above"),
    ("pow", 2, "`pow(a, b)`: a to the power b"),
    ("select", 3, "`select(c, a, b)`: a where c is not 0, else b"),
];
