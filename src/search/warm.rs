//! A search that begins where another ended: candidates are carried over into this space and
//! evaluated first.

use std::collections::VecDeque;

use super::{Evaluation, Strategy};
use crate::space::{Candidate, Domain, Space, Value};

/// Asks for given candidates first, then for what another strategy proposes, which learns both.
pub struct Warm<'a> {
    first: VecDeque<Candidate>,
    inner: Box<dyn Strategy + 'a>,
    is_first: bool,
}

impl<'a> Warm<'a> {
    /// Name under which the first candidates are recorded.
    pub const NAME: &'static str = "warm-start";

    /// `first`, in this order, then `inner`.
    pub fn new(first: Vec<Candidate>, inner: Box<dyn Strategy + 'a>) -> Warm<'a> {
        Warm { first: first.into(), inner, is_first: false }
    }
}

impl Strategy for Warm<'_> {
    fn name(&self) -> &'static str {
        if self.is_first { Warm::NAME } else { self.inner.name() }
    }

    fn ask(&mut self, n: usize) -> Vec<Candidate> {
        self.is_first = !self.first.is_empty();
        if self.is_first { self.first.drain(..n.min(self.first.len())).collect() } else { self.inner.ask(n) }
    }

    fn tell(&mut self, evaluations: &[Evaluation]) {
        self.inner.tell(evaluations);
    }
}

/// A candidate of one space in another: every knob by its name, with the same value, or the nearest
/// where values are numbers. Knobs that the other space does not have are left out, new ones take their
/// first value.
///
/// # Errors
/// The first knob whose value the space does not have, with that value.
pub fn carry_over(from: &Space, candidate: &Candidate, to: &Space) -> Result<Candidate, (String, Value)> {
    let given = |name: &str| from.find(name).and_then(|knob| from.value(candidate, knob));
    let mut missing = vec![None; to.knobs.len()];
    let levels: Vec<u32> = to
        .knobs
        .iter()
        .enumerate()
        .map(|(index, knob)| match given(&knob.name) {
            None => Candidate::ABSENT,
            Some(value) => nearest(&knob.domain, value).unwrap_or_else(|| {
                missing[index] = Some(value.clone());
                0
            }),
        })
        .collect();
    let found = to.canonical(&levels);
    // A value that the space lacks does not matter where the knob means nothing.
    let lost = missing
        .into_iter()
        .enumerate()
        .find(|(index, lost)| lost.is_some() && found.levels[*index] != Candidate::ABSENT);
    match lost {
        Some((index, Some(value))) => Err((to.knobs[index].name.clone(), value)),
        _ => Ok(found),
    }
}

/// The level with a value; of numbers the nearest.
fn nearest(domain: &Domain, value: &Value) -> Option<u32> {
    if let Some(level) = domain.values.iter().position(|v| v == value) {
        return Some(level as u32);
    }
    let scale = |v: &Value| v.as_f64().map(|x| if domain.log && x > 0.0 { x.ln() } else { x });
    let wanted = scale(value).filter(|_| domain.ordered && !matches!(value, Value::Bool(_)))?;
    let distance = |v: &Value| scale(v).map_or(f64::INFINITY, |x| (x - wanted).abs());
    let best = domain.values.iter().enumerate().min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)))?;
    Some(best.0 as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Knob;

    fn knob(name: &str, values: Vec<Value>, ordered: bool) -> Knob {
        Knob {
            name: name.into(),
            domain: Domain { values, ordered, log: false },
            conditions: vec![],
            block: "b".into(),
        }
    }

    fn ints(values: &[i64]) -> Vec<Value> {
        values.iter().map(|v| Value::Int(*v)).collect()
    }

    fn texts(values: &[&str]) -> Vec<Value> {
        values.iter().map(|v| Value::Text((*v).into())).collect()
    }

    #[test]
    fn numbers_go_to_the_nearest_and_names_only_to_themselves() {
        let from = Space { knobs: vec![knob("a", ints(&[1, 9]), true), knob("p", texts(&["kv", "random"]), false)] };
        let to = Space {
            knobs: vec![
                knob("p", texts(&["kv"]), false),
                knob("new", ints(&[5, 6]), true),
                knob("a", ints(&[2, 8]), true),
            ],
        };
        let kv = from.canonical(&[1, 0]);
        assert_eq!(carry_over(&from, &kv, &to), Ok(to.canonical(&[0, 0, 1])));
        let random = from.canonical(&[1, 1]);
        assert_eq!(carry_over(&from, &random, &to), Err(("p".into(), Value::Text("random".into()))));
    }
}
