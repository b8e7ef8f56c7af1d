//! Numbers and names as people read them.

use crate::twin::metrics::{METRICS, MetricInfo};

/// A number with four significant digits, no exponent between 1e-4 and 1e9, thousands in groups, and
/// no trailing zeros: `1,235`, `61.43`, `0.01234`, `-`, `inf`.
pub fn significant(value: f64) -> String {
    if value.is_nan() {
        return "-".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3 - magnitude as i32).max(0) as usize;
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let grouped = grouped(whole);
    let sign = if value < 0.0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// A value with its unit; ratios as percentages.
pub(crate) fn with_unit(metric: usize, value: f64) -> String {
    let MetricInfo { unit, .. } = METRICS[metric];
    if value.is_nan() {
        return "-".into();
    }
    match unit {
        "ratio" => format!("{} %", significant(value * 100.0)),
        "count" => significant(value),
        _ => format!("{} {unit}", significant(value)),
    }
}

/// A relative change in percent with its sign: `+12.3 %`.
pub(crate) fn change(from: f64, to: f64) -> String {
    let percent = (to / from - 1.0) * 100.0;
    match percent.abs() {
        p if p.is_nan() => "-".into(),
        p if p < 0.05 => "±0 %".into(),
        p if p < 100.0 => format!("{percent:+.1} %"),
        _ => format!("×{}", significant(to / from)),
    }
}

/// A share in percent: `12.3 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The name of a metric as a title, such as `TTFT p90` for `ttft_p90_ms`; the unit is not in it.
pub fn metric_label(metric: usize) -> String {
    let name = METRICS[metric].name;
    const FAMILIES: [(&str, &str); 6] = [
        ("ttft_", "TTFT"),
        ("itl_", "ITL"),
        ("tpot_", "TPOT"),
        ("e2e_", "End-to-end latency"),
        ("queue_", "Queue wait"),
        ("tier_wait_", "Wait for host or disk"),
    ];
    if let Some((family, statistic)) =
        FAMILIES.iter().find_map(|(prefix, family)| Some((family, name.strip_prefix(prefix)?.split('_').next()?)))
    {
        return format!("{family} {statistic}");
    }
    match name {
        "output_tokens_per_s" => "Output throughput".into(),
        "output_tokens_per_s_per_gpu" => "Output throughput per GPU".into(),
        "input_tokens_per_s" => "Input throughput".into(),
        "tokens_per_s_per_user" => "Speed per user".into(),
        "requests_per_s" => "Request throughput".into(),
        "goodput_rps" => "Goodput".into(),
        "goodput_tokens_per_s" => "Goodput in tokens".into(),
        "sla_attainment" => "SLA attainment".into(),
        "gpu_hours" => "GPU time".into(),
        "cost_usd" => "Cost".into(),
        "usd_per_mtok_output" => "Cost per million output tokens".into(),
        "usd_per_kreq_good" => "Cost per thousand good requests".into(),
        "gpus_mean" => "GPUs, mean".into(),
        "gpus_peak" => "GPUs, peak".into(),
        "kv_util_mean" => "KV cache use, mean".into(),
        "duration_s" => "Duration".into(),
        "host_transfer_gb" => "KV moved, GPU and host".into(),
        "disk_transfer_gb" => "KV moved, host and disk".into(),
        other => {
            let words = other.replace('_', " ");
            let mut letters = words.chars();
            letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
        }
    }
}

/// The name of a metric within a sentence: `cost per million output tokens`, `TTFT p90`.
pub fn metric_phrase(metric: usize) -> String {
    let label = metric_label(metric);
    let is_acronym = label.chars().nth(1).is_some_and(char::is_uppercase);
    let mut letters = label.chars();
    match letters.next() {
        Some(first) if !is_acronym => first.to_lowercase().collect::<String>() + letters.as_str(),
        _ => label,
    }
}

/// A count with its thousands in groups.
pub fn count(n: usize) -> String {
    grouped(&n.to_string())
}

/// A count of things: `1 candidate`, `12,031 requests`.
pub fn counted(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::metrics::index_of;

    #[test]
    fn four_digits_are_enough() {
        for (value, expected) in [
            (0.0, "0"),
            (1234.6, "1,235"),
            (999_999.4, "999,999"),
            (1_234_567.0, "1,234,567"),
            (61.4321, "61.43"),
            (60.0, "60"),
            (0.012345, "0.01235"),
            (-4.1, "-4.1"),
            (9.9999, "10"),
            (1e12, "1.000e12"),
            (f64::NAN, "-"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(significant(value), expected, "{value}");
        }
    }

    #[test]
    fn phrases_fit_into_sentences() {
        let phrase = |name: &str| metric_phrase(index_of(name).unwrap());
        assert_eq!(phrase("ttft_p90_ms"), "TTFT p90");
        assert_eq!(phrase("usd_per_mtok_output"), "cost per million output tokens");
        assert_eq!(phrase("gpus_mean"), "GPUs, mean");
        assert_eq!(phrase("e2e_p90_ms"), "end-to-end latency p90");
        assert_eq!(phrase("tier_wait_p90_ms"), "wait for host or disk p90");
        assert_eq!(count(12_031), "12,031");
    }

    #[test]
    fn changes_read_as_changes() {
        assert_eq!(change(100.0, 82.0), "-18.0 %");
        assert_eq!(change(100.0, 100.01), "±0 %");
        assert_eq!(change(100.0, 350.0), "×3.5");
        assert_eq!(change(0.0, 0.0), "-");
    }

    #[test]
    fn every_metric_has_a_title_of_its_own() {
        let mut labels: Vec<String> = (0..METRICS.len()).map(metric_label).collect();
        assert_eq!(labels[index_of("ttft_p90_ms").unwrap()], "TTFT p90");
        assert_eq!(labels[index_of("prefix_reuse_ratio").unwrap()], "Prefix reuse ratio");
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), METRICS.len());
    }
}
