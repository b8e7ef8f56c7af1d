//! Knobs, domains, conditions and candidates: the part of the space that knows nothing of serving.
//!
//! Counting, listing and neighbours are in [`super::enumerate`], names and ids in
//! [`super::identity`].
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
    /// Levels of that knob under which this one is active; [`Candidate::ABSENT`] among them when it
    /// is active while that knob is absent.
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

    /// Whether `candidate` is a point of this space: canonical, every level within its domain.
    pub fn contains(&self, candidate: &Candidate) -> bool {
        candidate.levels.len() == self.knobs.len() && self.canonical(&candidate.levels) == *candidate
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A small random space: up to six knobs of up to four levels, each perhaps conditional on an
    /// earlier one.
    pub(crate) fn any_space() -> impl Strategy<Value = Space> {
        let knob = (1usize..5, any::<bool>(), proptest::option::of((any::<prop::sample::Index>(), any::<[bool; 5]>())));
        proptest::collection::vec(knob, 1..7).prop_map(|knobs| {
            let mut space = Space::default();
            for (index, (levels, ordered, condition)) in knobs.into_iter().enumerate() {
                let conditions = condition
                    .filter(|_| index > 0)
                    .map(|(earlier, holds)| {
                        let knob = earlier.index(index);
                        let count = space.knobs[knob].domain.values.len() as u32;
                        let mut levels: Vec<u32> = (0..count).filter(|&l| holds[l as usize]).collect();
                        levels.extend(holds[4].then_some(Candidate::ABSENT));
                        Condition { knob, levels }
                    })
                    .into_iter()
                    .collect();
                let values = (0..levels as i64).map(|v| self::Value::Int(10 * v)).collect();
                space.knobs.push(Knob {
                    name: format!("group.knob{index}"),
                    domain: Domain { values, ordered, log: false },
                    conditions,
                    block: "limits".into(),
                });
            }
            space
        })
    }

    /// A random space and raw levels for it, absent and out of range ones among them.
    pub(crate) fn any_levels() -> impl Strategy<Value = (Space, Vec<u32>)> {
        any_space().prop_flat_map(|space| {
            let level = prop_oneof![4 => 0u32..4, 1 => Just(Candidate::ABSENT), 1 => any::<u32>()];
            let levels = proptest::collection::vec(level, space.knobs.len());
            (Just(space), levels)
        })
    }

    proptest! {
        #[test]
        fn canonical_is_idempotent((space, levels) in any_levels()) {
            let once = space.canonical(&levels);
            prop_assert_eq!(&space.canonical(&once.levels), &once);
            prop_assert!(space.contains(&once));
        }

        #[test]
        fn candidates_that_differ_in_absent_knobs_only_are_one(
            (space, levels) in any_levels(),
            other in proptest::collection::vec(any::<u32>(), 7),
        ) {
            let canonical = space.canonical(&levels);
            let mut meddled = levels.clone();
            for (i, level) in meddled.iter_mut().enumerate() {
                if canonical.levels[i] == Candidate::ABSENT {
                    *level = other[i];
                }
            }
            prop_assert_eq!(space.canonical(&meddled), canonical);
        }

        #[test]
        fn unit_points_cover_the_domain((space, _) in any_levels(), x in 0.0f64..1.0) {
            let candidate = space.from_unit(&vec![x; space.knobs.len()]);
            prop_assert!(space.contains(&candidate));
        }
    }

    #[test]
    fn a_knob_can_be_active_while_another_is_absent() {
        let knob = |conditions| Knob {
            name: "k".into(),
            domain: Domain { values: vec![self::Value::Int(1), self::Value::Int(2)], ordered: true, log: false },
            conditions,
            block: "shape".into(),
        };
        let space = Space {
            knobs: vec![
                knob(vec![]),
                knob(vec![Condition { knob: 0, levels: vec![1] }]),
                knob(vec![Condition { knob: 1, levels: vec![1, Candidate::ABSENT] }]),
            ],
        };
        let absent = Candidate::ABSENT;
        assert_eq!(*space.canonical(&[0, 1, 1]).levels, [0, absent, 1]);
        assert_eq!(*space.canonical(&[1, 0, 1]).levels, [1, 0, absent]);
        assert_eq!(space.size(), 2.0 + 1.0 + 2.0);
    }
}
