//! From values to pixels along one axis, and where its ticks are.

/// The values an axis spans and how it spreads them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    /// Ends, as logarithms to base 10 when `log`.
    low: f64,
    high: f64,
    /// Whether equal steps are equal ratios.
    pub log: bool,
    /// Pixels of `low` and `high`.
    from: f64,
    to: f64,
}

/// A tick: its value, and its label when it has one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub label: Option<String>,
}

/// Share of the axis left free at either end.
const MARGIN: f64 = 0.06;

impl Axis {
    /// An axis over `low..=high` with a margin, from pixel `from` to pixel `to`. A range without
    /// extent is widened. `log` needs positive values, and becomes linear where they are not.
    pub fn new(low: f64, high: f64, log: bool, from: f64, to: f64) -> Axis {
        let log = log && low > 0.0;
        let (mut a, mut b) = if log { (low.log10(), high.log10()) } else { (low, high) };
        if b - a <= 1e-9 * a.abs().max(1e-9) {
            let half = if log { 0.25 } else { (a.abs() * 0.25).max(0.5) };
            (a, b) = (a - half, b + half);
        }
        let margin = (b - a) * MARGIN;
        // Quantities that cannot be negative do not get a negative margin.
        let floor = if !log && low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Axis { low: (a - margin).max(floor), high: b + margin, log, from, to }
    }

    /// A linear axis that begins at exactly `low`.
    pub fn starting_at(low: f64, high: f64, from: f64, to: f64) -> Axis {
        let high = if high > low { high } else { low + 1.0 };
        Axis { low, high: high + (high - low) * MARGIN, log: false, from, to }
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    /// Pixel of a value; values beyond the ends are moved to them.
    pub fn pixel(&self, value: f64) -> f64 {
        let share = (self.scaled(value) - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Whether a value lies between the ends.
    pub fn shows(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&self.scaled(value))
    }

    /// Ticks within the axis, ascending.
    pub fn ticks(&self) -> Vec<Tick> {
        if self.log { self.log_ticks() } else { linear_ticks(self.low, self.high) }
    }

    /// Every digit of every decade is a tick; the wider the axis, the fewer have labels.
    fn log_ticks(&self) -> Vec<Tick> {
        let labelled: &[u32] = match self.high - self.low {
            decades if decades > 4.0 => &[1],
            decades if decades > 2.2 => &[1, 3],
            decades if decades > 1.0 => &[1, 2, 5],
            decades if decades > 0.55 => &[1, 2, 3, 5, 7],
            // Less than a factor of 3.5 is nearly linear.
            _ => return linear_ticks(10f64.powf(self.low), 10f64.powf(self.high)),
        };
        let mut ticks = Vec::new();
        let exponents = self.low.floor() as i32..=self.high.ceil() as i32;
        // Beyond some twenty decades even powers of ten would crowd.
        let stride = ((exponents.end() - exponents.start()) / 12 + 1).max(1);
        for exponent in exponents.filter(|e| e.rem_euclid(stride) == 0) {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if self.shows(value) {
                    let label = labelled.contains(&digit).then(|| tick_label(value, value));
                    ticks.push(Tick { value, label });
                }
            }
        }
        ticks
    }
}

/// Round steps of 1, 2, 2.5 or 5 times a power of ten, about six of them.
fn linear_ticks(low: f64, high: f64) -> Vec<Tick> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0].into_iter().map(|m| m * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let values = (first..=last).map(|n| n as f64 * step);
    values.map(|value| Tick { value, label: Some(tick_label(value, step)) }).collect()
}

/// A tick's label, with as many decimals as a step needs: digits as they are up to 10,000, then
/// `20k`, `3M`.
pub(crate) fn tick_label(value: f64, step: f64) -> String {
    let (divisor, suffix) = match value.abs() {
        v if v >= 1e15 || (v > 0.0 && v < 1e-5) => return format!("{value:.0e}"),
        v if v >= 1e12 => (1e12, "T"),
        v if v >= 1e9 => (1e9, "G"),
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    // One more than the step's leading digit, for 2.5; zeros at the end go.
    let decimals = (1.0 - (step.abs() / divisor).log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{:.decimals$}", value / divisor);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let text = if text == "-0" { "0" } else { text };
    match (suffix, text.split_once('.').map_or(text, |(whole, _)| whole).len()) {
        ("", 4) => format!("{},{}{suffix}", &text[..1], &text[1..]),
        _ => format!("{text}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().filter_map(|t| t.label).collect()
    }

    #[test]
    fn labels_are_round() {
        assert_eq!(labels(&Axis::new(0.0, 100.0, false, 0.0, 1.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::new(100.0, 5000.0, true, 0.0, 1.0)), ["100", "200", "500", "1,000", "2,000", "5,000"]);
        assert_eq!(labels(&Axis::new(1.0, 1e6, true, 0.0, 1.0)), ["1", "10", "100", "1,000", "10k", "100k", "1M"]);
        assert_eq!(labels(&Axis::new(0.0, 1.2, false, 0.0, 1.0)), ["0", "0.25", "0.5", "0.75", "1", "1.25"]);
        assert_eq!(tick_label(12_500.0, 2500.0), "12.5k");
        assert_eq!(tick_label(-2500.0, 500.0), "-2500");
    }

    #[test]
    fn labels_of_one_axis_are_few_and_differ() {
        let ranges = [(0.8, 1.1), (3.0, 3.0), (0.0, 0.0), (-5.0, 2.0), (1e-3, 2e-3), (1234.0, 1236.0), (1.0, 1e15)];
        for (low, high) in ranges.into_iter().chain([(99_990.0, 100_010.0), (0.00011, 0.00012), (1e-9, 1e20)]) {
            for log in [false, true] {
                let mut found = labels(&Axis::new(low, high, log, 0.0, 1000.0));
                let count = found.len();
                assert!((2..=16).contains(&count), "{low}..{high} log {log}: {found:?}");
                found.dedup();
                assert_eq!(found.len(), count, "{low}..{high} log {log}: {found:?}");
            }
        }
    }

    #[test]
    fn values_keep_their_order_and_stay_within() {
        let axis = Axis::new(10.0, 1000.0, true, 100.0, 500.0);
        assert!(axis.pixel(10.0) > 100.0 && axis.pixel(1000.0) < 500.0);
        assert!((axis.pixel(100.0) - 300.0).abs() < 1e-9);
        assert_eq!(axis.pixel(0.0), 100.0);
        assert_eq!(axis.pixel(1e9), 500.0);
        assert!(!axis.shows(1e9) && axis.shows(100.0));
        assert_eq!(Axis::new(0.0, 5.0, false, 0.0, 1.0).pixel(0.0), 0.0, "no negative margin below zero");
    }
}
