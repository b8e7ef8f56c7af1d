//! Metrics as tables for people.

use crate::shortlist::{metric_label, significant};
use crate::space::Constraint;
use crate::twin::metrics::{METRICS, Metrics};

/// Statistics that share a row, in the order of their columns.
const STATISTICS: [&str; 5] = ["mean", "p50", "p90", "p95", "p99"];

/// The metrics with their units: one row per latency with its statistics side by side, then the
/// others a line each. Metrics that do not apply are shown as `-`.
pub fn metrics(metrics: &Metrics) -> String {
    let mut out = format!("{:<28}", "latency, ms");
    out.extend(STATISTICS.iter().map(|s| format!("{s:>12}")));
    out.push('\n');
    for family in families() {
        let mut line = format!("{:<28}", family_label(family));
        for statistic in STATISTICS {
            let name = format!("{family}_{statistic}_ms");
            let value = METRICS.iter().position(|m| m.name == name).map(|i| metrics.values[i]);
            line.push_str(&format!("{:>12}", value.map_or(String::new(), significant)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    for (index, info) in METRICS.iter().enumerate().filter(|(_, info)| family_of(info.name).is_none()) {
        let (label, value) = (metric_label(index), significant(metrics.values[index]));
        out.push_str(&format!("{label:<40}{value:>12}  {}\n", info.unit));
    }
    out
}

/// One line per bound of the study's constraints; empty without constraints.
pub fn constraints(constraints: &[Constraint], metrics: &Metrics) -> String {
    let mut out = String::new();
    for constraint in constraints {
        let value = metrics.values[constraint.metric];
        let name = METRICS[constraint.metric].name;
        let bounds = [constraint.min.map(|b| format!(">= {b}")), constraint.max.map(|b| format!("<= {b}"))];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect();
        let verdict = if constraint.violation(value) == 0.0 { "holds" } else { "BROKEN" };
        out.push_str(&format!("\nconstraint {name} {}: {} {verdict}", bounds.join(" and "), significant(value)));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// A length of time in the unit that suits it.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s.is_nan() => "-".into(),
        s if s < 1.0 => format!("{} ms", significant(s * 1e3)),
        s if s < 300.0 => format!("{} s", significant(s)),
        s if s < 10_800.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// The latency that a metric is a statistic of, such as `ttft` of `ttft_p90_ms`.
fn family_of(name: &'static str) -> Option<&'static str> {
    let (family, statistic) = name.strip_suffix("_ms")?.rsplit_once('_')?;
    STATISTICS.contains(&statistic).then_some(family)
}

fn families() -> Vec<&'static str> {
    let mut families: Vec<&'static str> = METRICS.iter().filter_map(|m| family_of(m.name)).collect();
    families.dedup();
    families
}

fn family_label(family: &str) -> String {
    let first = METRICS.iter().position(|m| family_of(m.name) == Some(family)).map(metric_label).unwrap_or_default();
    first.trim_end_matches(" mean").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::metrics::{METRIC_COUNT, index_of};

    #[test]
    fn every_metric_is_shown_once() {
        let mut values = [f64::NAN; METRIC_COUNT];
        for (index, value) in values.iter_mut().enumerate() {
            *value = 1000.0 + index as f64;
        }
        let text = metrics(&Metrics { values });
        for index in 0..METRIC_COUNT {
            assert_eq!(text.matches(&significant(values[index])).count(), 1, "{}: {text}", METRICS[index].name);
        }
    }

    #[test]
    fn a_broken_constraint_says_so() {
        let mut values = [1.0; METRIC_COUNT];
        let metric = index_of("ttft_p99_ms").unwrap();
        values[metric] = 5000.0;
        let bound = |max| [Constraint { metric, min: None, max: Some(max) }];
        let metrics = Metrics { values };
        assert!(constraints(&bound(4000.0), &metrics).contains("ttft_p99_ms <= 4000: 5,000 BROKEN"));
        assert!(constraints(&bound(6000.0), &metrics).contains("holds"));
        assert_eq!(constraints(&[], &metrics), "");
    }

    #[test]
    fn durations_have_the_unit_that_suits() {
        assert_eq!(
            [0.25, 12.0, 3537.0, 90_000.0].map(duration),
            ["250 ms", "12 s", "59 min", "25.0 h"].map(String::from)
        );
    }
}
