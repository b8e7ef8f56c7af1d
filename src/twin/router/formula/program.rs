//! A compiled formula: steps on a stack whose entries are columns, one value per candidate.

use super::terms::{Term, Values};
use crate::twin::router::choose::Cost;
use crate::twin::router::facts::{Facts, Needs};

/// One step. Truth is 1, falsehood 0; anything but 0 counts as true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    Number(f64),
    Term(Term),
    Neg,
    Not,
    Abs,
    Sqrt,
    Exp,
    Ln,
    Floor,
    Ceil,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Min,
    Max,
    Pow,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
    Select,
}

impl Op {
    /// Entries it takes off the stack.
    pub fn takes(self) -> usize {
        match self {
            Op::Number(_) | Op::Term(_) => 0,
            Op::Neg | Op::Not | Op::Abs | Op::Sqrt | Op::Exp | Op::Ln | Op::Floor | Op::Ceil => 1,
            Op::Select => 3,
            _ => 2,
        }
    }

    /// The result for one candidate; arguments that it does not take are ignored.
    fn of(self, a: f64, b: f64, c: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Op::Number(v) => v,
            Op::Term(_) => f64::NAN,
            Op::Neg => -a,
            Op::Not => truth(a == 0.0),
            Op::Abs => a.abs(),
            Op::Sqrt => a.sqrt(),
            Op::Exp => a.exp(),
            Op::Ln => a.ln(),
            Op::Floor => a.floor(),
            Op::Ceil => a.ceil(),
            Op::Add => a + b,
            Op::Sub => a - b,
            Op::Mul => a * b,
            Op::Div => a / b,
            Op::Rem => a % b,
            Op::Min => a.min(b),
            Op::Max => a.max(b),
            Op::Pow => a.powf(b),
            Op::Lt => truth(a < b),
            Op::Le => truth(a <= b),
            Op::Gt => truth(a > b),
            Op::Ge => truth(a >= b),
            Op::Eq => truth(a == b),
            Op::Ne => truth(a != b),
            Op::And => truth(a != 0.0 && b != 0.0),
            Op::Or => truth(a != 0.0 || b != 0.0),
            Op::Select => {
                if a != 0.0 {
                    b
                } else {
                    c
                }
            }
        }
    }
}

/// A formula ready to be evaluated. A candidate for which it gives no number comes after all others.
#[derive(Clone, Debug)]
pub struct Program {
    ops: Vec<Op>,
    /// Columns, one after the other.
    stack: Vec<f64>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.ops == other.ops
    }
}

impl Program {
    /// `ops` leave exactly one entry on the stack. What does not depend on terms is computed now.
    pub(super) fn new(ops: Vec<Op>) -> Self {
        let mut folded: Vec<Op> = Vec::with_capacity(ops.len());
        for op in ops {
            let takes = op.takes();
            let from = folded.len().saturating_sub(takes);
            let mut numbers = [f64::NAN; 3];
            let all_numbers = takes > 0
                && folded.len() >= takes
                && folded[from..].iter().zip(&mut numbers).all(|(&arg, slot)| match arg {
                    Op::Number(v) => {
                        *slot = v;
                        true
                    }
                    _ => false,
                });
            if all_numbers {
                folded.truncate(from);
                folded.push(Op::Number(op.of(numbers[0], numbers[1], numbers[2])));
            } else {
                folded.push(op);
            }
        }
        Program { ops: folded, stack: Vec::new() }
    }

    /// Appends the value for each candidate.
    pub fn evaluate(&mut self, facts: &Facts, values: &mut Vec<f64>) {
        let n = facts.candidates;
        let stack = &mut self.stack;
        stack.clear();
        for &op in &self.ops {
            let base = stack.len() - op.takes() * n;
            match op {
                Op::Number(v) => stack.resize(base + n, v),
                Op::Term(term) => match term.values(facts) {
                    Values::All(v) => stack.resize(base + n, v),
                    Values::Each(column) => stack.extend_from_slice(column),
                },
                // The commonest ones as plain loops.
                Op::Add => binary(stack, base, n, |a, b| a + b),
                Op::Sub => binary(stack, base, n, |a, b| a - b),
                Op::Mul => binary(stack, base, n, |a, b| a * b),
                Op::Div => binary(stack, base, n, |a, b| a / b),
                Op::Max => binary(stack, base, n, f64::max),
                Op::Min => binary(stack, base, n, f64::min),
                Op::Select => {
                    for at in base..base + n {
                        stack[at] = op.of(stack[at], stack[at + n], stack[at + 2 * n]);
                    }
                    stack.truncate(base + n);
                }
                op if op.takes() == 1 => stack[base..].iter_mut().for_each(|a| *a = op.of(*a, 0.0, 0.0)),
                op => binary(stack, base, n, |a, b| op.of(a, b, 0.0)),
            }
        }
        debug_assert_eq!(stack.len(), n);
        values.extend(stack.iter().map(|&v| if v.is_nan() { f64::INFINITY } else { v }));
    }
}

/// Replaces the two columns from `base` on by one.
fn binary(stack: &mut Vec<f64>, base: usize, n: usize, f: impl Fn(f64, f64) -> f64) {
    let (left, right) = stack[base..].split_at_mut(n);
    for (a, &mut b) in left.iter_mut().zip(right) {
        *a = f(*a, b);
    }
    stack.truncate(base + n);
}

impl Cost for Program {
    fn needs(&self) -> Needs {
        let terms = self.ops.iter().filter_map(|op| if let Op::Term(term) = op { Some(term.needs()) } else { None });
        terms.fold(Needs::default(), Needs::or)
    }

    fn costs(&mut self, facts: &Facts, costs: &mut Vec<f64>) {
        self.evaluate(facts, costs);
    }
}
