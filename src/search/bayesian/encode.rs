//! Candidates as rows of numbers for the surrogates.
//!
//! An ordered knob is one column, on a logarithmic scale where its values are positive and spread;
//! a zero among such values ("off") stands one step below the least and is marked in a column of
//! its own. An unordered knob is one column per level. A knob that is absent stands at the middle of
//! its column, and a column that tells present from absent keeps it apart from candidates that
//! have the knob at that value; such a column is shared by knobs with the same conditions, and left
//! out where an unordered knob's columns say the same.

use crate::search::Features;
use crate::search::draw::Sobol;
use crate::search::sizes::Sizes;
use crate::space::{Candidate, Domain, Knob, Space};

/// Values whose largest is more than this many times the least are put on a logarithmic scale.
const SPREAD: f64 = 3.0;
/// Sobol points by which the ranges of outside features are found.
const SAMPLE: usize = 256;

/// Turns candidates into rows.
pub(super) struct Encoder<'a> {
    parts: Vec<Part>,
    features: Option<(Source<'a>, Vec<Range>)>,
    /// The length scale that each column has, by number.
    groups: Vec<usize>,
}

/// Who knows more of a candidate than its knobs.
enum Source<'a> {
    Given(&'a dyn Features),
    Names(Sizes),
}

impl Source<'_> {
    fn features(&self, candidate: &Candidate) -> Option<Vec<f64>> {
        match self {
            Source::Given(features) => features.features(candidate),
            Source::Names(sizes) => sizes.features(candidate),
        }
    }
}

enum Part {
    /// Where each level of an ordered knob stands.
    Scale { knob: usize, at: Vec<f64> },
    /// One column that is 1 at one level.
    Level { knob: usize, level: u32 },
    /// 1 where the knob is absent.
    Absent { knob: usize },
}

/// An outside feature's scale.
#[derive(Clone, Copy)]
struct Range {
    log: bool,
    low: f64,
    width: f64,
}

impl<'a> Encoder<'a> {
    pub fn new(space: &Space, features: Option<&'a dyn Features>, seed: u64) -> Self {
        let mut parts = Vec::new();
        let mut groups = Vec::new();
        let mut group = 0;
        let mut add = |part: Part, opens: bool| {
            group += usize::from(opens && !parts.is_empty());
            groups.push(group);
            parts.push(part);
        };
        for (index, knob) in space.knobs.iter().enumerate() {
            let levels = knob.domain.values.len();
            if levels > 1 && knob.domain.ordered {
                let (at, has_off) = coordinates(&knob.domain);
                add(Part::Scale { knob: index, at }, true);
                if has_off {
                    add(Part::Level { knob: index, level: 0 }, true);
                }
            } else if levels > 1 {
                // Of two levels one column tells all.
                let columns = if levels == 2 && knob.conditions.is_empty() { 1 } else { levels };
                for level in 0..columns {
                    add(Part::Level { knob: index, level: level as u32 }, level == 0);
                }
            }
            let first_so = space.knobs[..index].iter().all(|k| k.conditions != knob.conditions);
            if first_so && !knob.conditions.is_empty() && !is_told_by_names(space, knob) {
                add(Part::Absent { knob: index }, true);
            }
        }
        let source = features.map(Source::Given).or_else(|| Sizes::of(space).map(Source::Names));
        let features = source.map(|source| {
            let ranges = ranges(space, &source, seed);
            (source, ranges)
        });
        if let Some((_, ranges)) = &features {
            let next = groups.last().map_or(0, |g| g + 1);
            groups.extend((0..ranges.len()).map(|k| next + k));
        }
        Encoder { parts, features, groups }
    }

    /// The length scale of each column, by number.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// The row of a candidate; `None` when the features say that it would be refused.
    pub fn row(&self, candidate: &Candidate) -> Option<Vec<f64>> {
        let mut row: Vec<f64> = self.parts.iter().map(|part| part.of(candidate)).collect();
        if let Some((features, ranges)) = &self.features {
            let values = features.features(candidate)?;
            row.extend(values.iter().zip(ranges).map(|(&v, range)| range.of(v)));
        }
        Some(row)
    }
}

impl Part {
    fn of(&self, candidate: &Candidate) -> f64 {
        match self {
            Part::Scale { knob, at } => match candidate.levels[*knob] {
                Candidate::ABSENT => 0.5,
                level => at[level as usize],
            },
            Part::Level { knob, level } => f64::from(u8::from(candidate.levels[*knob] == *level)),
            Part::Absent { knob } => f64::from(u8::from(candidate.levels[*knob] == Candidate::ABSENT)),
        }
    }
}

impl Range {
    /// In [0, 1] over the sample; what is not finite stands in the middle.
    fn of(self, value: f64) -> f64 {
        let scaled = if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let at = (scaled - self.low) / self.width;
        if at.is_finite() { at.clamp(-0.5, 1.5) } else { 0.5 }
    }
}

/// Whether unordered knobs alone decide if a knob is present.
fn is_told_by_names(space: &Space, knob: &Knob) -> bool {
    knob.conditions.iter().all(|c| !space.knobs[c.knob].domain.ordered)
}

/// Where each level stands in [0, 1], and whether the first is an "off" apart from the rest.
fn coordinates(domain: &Domain) -> (Vec<f64>, bool) {
    let values: Vec<f64> = domain.values.iter().enumerate().map(|(i, v)| v.as_f64().unwrap_or(i as f64)).collect();
    let positive = &values[usize::from(values[0] == 0.0)..];
    let is_spread = positive.len() > 1 && positive[0] > 0.0 && positive[positive.len() - 1] > SPREAD * positive[0];
    let has_off = values[0] == 0.0 && is_spread;
    let mut at = values.clone();
    if is_spread || (domain.log && values[0] > 0.0) {
        for v in &mut at[usize::from(has_off)..] {
            *v = v.ln();
        }
        if has_off {
            at[0] = 2.0 * at[1] - at[2];
        }
    }
    let (low, high) = (at[0], at[at.len() - 1]);
    (at.iter().map(|v| (v - low) / (high - low)).collect(), has_off)
}

/// The scale of each feature over a sample of the space.
fn ranges(space: &Space, features: &Source<'_>, seed: u64) -> Vec<Range> {
    let mut sobol = Sobol::new(space, seed);
    let rows: Vec<Vec<f64>> = (0..SAMPLE).filter_map(|_| features.features(&sobol.next(space))).collect();
    let count = rows.first().map_or(0, Vec::len);
    (0..count)
        .map(|k| {
            let column = || rows.iter().map(|r| r[k]).filter(|v| v.is_finite());
            let bounds = |values: &mut dyn Iterator<Item = f64>| {
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
            };
            let (low, high) = bounds(&mut column());
            let log = low > 0.0 && high > SPREAD * low;
            let (low, high) = if log { (low.ln(), high.ln()) } else { (low, high) };
            Range { log, low, width: if high > low { high - low } else { 1.0 } }
        })
        .collect()
}
