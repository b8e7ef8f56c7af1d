//! Knobs, domains, conditions and candidates: the part of the space that knows nothing of serving.
//!
//! Every domain is finite: a candidate is one level index per knob, [`Candidate::ABSENT`] where the
//! knob has no meaning under the candidate's other choices. Two candidates that differ only in
//! absent knobs are one (see [`Space::canonical`]).

use std::fmt;

/// A knob's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Real(v) => write!(f, "{v}"),
            Value::Text(v) => f.write_str(v),
        }
    }
}

impl Value {
    /// The value as a number, where it is one (booleans are 0 and 1).
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Bool(v) => Some(f64::from(u8::from(*v))),
            Value::Int(v) => Some(*v as f64),
            Value::Real(v) => Some(*v),
            Value::Text(_) => None,
        }
    }
}

/// The finite set of values a knob can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// At least one value, no duplicates; ascending when `ordered`.
    pub values: Vec<Value>,
    /// Whether neighbouring levels are alike (numbers), or levels are mere names.
    pub ordered: bool,
    /// Whether distance between numeric values is best measured on a logarithmic scale.
    pub log: bool,
}

/// A knob means something only while an earlier knob has one of the given levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Index of the earlier knob.
    pub knob: usize,
    /// Levels of that knob under which this one is active.
    pub levels: Vec<u32>,
}

/// One dimension of the space.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// Full dotted name, such as `engine.max_num_seqs`.
    pub name: String,
    /// What it can be.
    pub domain: Domain,
    /// Active when all of these hold; each refers to an earlier knob.
    pub conditions: Vec<Condition>,
    /// Knobs of one block interact and are best moved together (`shape`, `split`, `limits`,
    /// `router`, `planner`, `tiers`): used by coordinate descent.
    pub block: String,
}

/// A point of the space: one level per knob.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    /// Level index per knob, or [`Candidate::ABSENT`].
    pub levels: Box<[u32]>,
}

impl Candidate {
    /// The level of a knob that has no meaning here.
    pub const ABSENT: u32 = u32::MAX;
}

/// A space of candidates.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Space {
    /// In dependency order: a condition refers to an earlier knob only.
    pub knobs: Vec<Knob>,
}

impl Space {
    /// Whether knob `index` is active given the levels of the knobs before it.
    pub fn is_active(&self, index: usize, levels: &[u32]) -> bool {
        self.knobs[index].conditions.iter().all(|c| c.levels.contains(&levels[c.knob]))
    }

    /// The canonical form: inactive knobs become absent, absent active ones take their first
    /// level, levels past the end are clamped to the last.
    pub fn canonical(&self, levels: &[u32]) -> Candidate {
        let mut out = vec![Candidate::ABSENT; self.knobs.len()].into_boxed_slice();
        for (index, knob) in self.knobs.iter().enumerate() {
            if self.is_active(index, &out) {
                let last = knob.domain.values.len() as u32 - 1;
                let level = levels[index];
                out[index] = if level == Candidate::ABSENT { 0 } else { level.min(last) };
            }
        }
        Candidate { levels: out }
    }

    /// The candidate at a point of the unit cube, one coordinate in [0, 1) per knob.
    pub fn from_unit(&self, point: &[f64]) -> Candidate {
        let levels: Vec<u32> =
            self.knobs.iter().zip(point).map(|(k, &x)| (x * k.domain.values.len() as f64) as u32).collect();
        self.canonical(&levels)
    }

    /// The value of a knob in a candidate, `None` where it is absent.
    pub fn value(&self, candidate: &Candidate, knob: usize) -> Option<&Value> {
        let level = candidate.levels[knob];
        (level != Candidate::ABSENT).then(|| &self.knobs[knob].domain.values[level as usize])
    }

    /// Index of the knob with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.knobs.iter().position(|k| k.name == name)
    }

    /// Number of distinct canonical candidates, as a float because it may be huge.
    pub fn size(&self) -> f64 {
        fn count(space: &Space, index: usize, levels: &mut Vec<u32>) -> f64 {
            if index == space.knobs.len() {
                return 1.0;
            }
            if !space.is_active(index, levels) {
                levels.push(Candidate::ABSENT);
                let n = count(space, index + 1, levels);
                levels.pop();
                return n;
            }
            let gates = space.knobs[index + 1..].iter().any(|k| k.conditions.iter().any(|c| c.knob == index));
            let n = space.knobs[index].domain.values.len() as u32;
            let mut total = 0.0;
            for level in 0..if gates { n } else { 1 } {
                levels.push(level);
                total += count(space, index + 1, levels);
                levels.pop();
            }
            if gates { total } else { total * f64::from(n) }
        }
        count(self, 0, &mut Vec::with_capacity(self.knobs.len()))
    }
}
