//! Ranges become levels: even steps, equal ratios, powers of two.

use super::domains::{MAX_LEVELS, too_many};
use super::schema::{Kind, KnobRow};
use super::source::{Finding, Span};
use super::tree::join;

/// Levels of a range of reals without a step.
pub const REAL_LEVELS: usize = 101;
/// Levels per factor of two of a logarithmic range of integers without a step.
pub const LEVELS_PER_OCTAVE: f64 = 3.0;

/// A range after its ends were checked.
pub(super) struct Range<'a> {
    pub path: &'a str,
    pub span: Span,
    pub min: f64,
    pub max: f64,
    /// Step or factor, and where it stands.
    pub step: Option<(f64, Span)>,
    pub log: bool,
}

pub(super) type Refused = (Span, String, Finding);

/// The levels of a range, ascending. Integers are exact in a float: the schema keeps them small.
pub(super) fn levels(range: &Range<'_>, row: &KnobRow, min_span: Span) -> Result<Vec<f64>, Refused> {
    let &Range { path, span, min, max, step, log } = range;
    let refuse = |span: Span, name: &str, finding: Finding| Err((span, join(path, name), finding));
    let integer = matches!(row.kind, Kind::Int { .. });
    if min > max {
        let what = format!("the range of `{path}` is reversed: min = {min} is above max = {max}");
        return refuse(span, "min", Finding::new(what, "", format!("write {{ min = {max}, max = {min} }}")));
    }
    if log && min <= 0.0 {
        let what = format!("`{path}` cannot be logarithmic from min = {min}");
        let why = "0 and below have no logarithm";
        return refuse(min_span, "min", Finding::new(what, why, "raise min above 0, or remove log = true"));
    }
    if row.power_of_two {
        return powers_of_two(range).map_err(|(name, finding)| (span, join(path, name), finding));
    }
    let count = match (step, log) {
        _ if min == max => 1.0,
        (Some((step, _)), false) => (max - min) / step + 1.0,
        (Some((step, _)), true) => (max / min).ln() / step.ln() + 1.0,
        (None, false) if integer => max - min + 1.0,
        (None, true) if integer => (LEVELS_PER_OCTAVE * (max / min).log2()).ceil() + 1.0,
        (None, _) => REAL_LEVELS as f64,
    };
    if let Some((step, step_span)) = step {
        let at = |n: f64| if log { clean(min * step.powf(n)) } else { clean(min + step * n) };
        let whole = count.round();
        if (count - whole).abs() > 1e-9 * count {
            let (below, above) = (at(count.floor() - 1.0), at(count.ceil() - 1.0));
            let what = format!("the steps of `{path}` do not land on max = {max}");
            let why = format!("from {min} they go to {below} and {above}");
            return refuse(step_span, "step", Finding::new(what, why, format!("write max = {below} or max = {above}")));
        }
    }
    let count = count.round();
    if count > MAX_LEVELS as f64 {
        return Err((span, path.to_owned(), too_many(path, count)));
    }
    let last = count as usize - 1;
    let mut levels: Vec<f64> = (0..=last)
        .map(|i| {
            let share = i as f64 / (last as f64).max(1.0);
            let level = match i {
                0 => min,
                _ if i == last => max,
                _ if log => min * (max / min).powf(share),
                _ => min + (max - min) * share,
            };
            if integer { level.round() } else { clean(level) }
        })
        .collect();
    levels.dedup();
    Ok(levels)
}

/// The powers of two from min to max, both of which must be such.
fn powers_of_two(range: &Range<'_>) -> Result<Vec<f64>, (&'static str, Finding)> {
    let &Range { path, min, max, step, .. } = range;
    for (name, end) in [("min", min), ("max", max)] {
        if end.log2().fract() != 0.0 {
            let below = end.log2().floor().exp2();
            let what = format!("`{path}.{name}` = {end} is not a power of two");
            let why = "a range of this knob takes the powers of two from min to max";
            return Err((name, Finding::new(what, why, format!("write {name} = {below} or {name} = {}", 2.0 * below))));
        }
    }
    if step.is_some_and(|(step, _)| step != 2.0) {
        let what = format!("`{path}` takes no step");
        return Err((
            "step",
            Finding::new(what, "a range of this knob takes the powers of two from min to max", "remove step"),
        ));
    }
    Ok((min.log2() as i32..=max.log2() as i32).map(|p| f64::from(p).exp2()).collect())
}

/// A level without the noise of binary fractions: 12 significant digits.
fn clean(v: f64) -> f64 {
    format!("{v:.11e}").parse().unwrap_or(v)
}
