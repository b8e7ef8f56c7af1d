//! AIPerf's `profile_export_aiperf.json`, schemas 1.4 and 1.5: a metric is a key of the top level, its
//! unit is what `unit` says, and what does not apply is absent.

use std::path::Path;

use serde_json::Value as Json;

use super::{Content, Format, Measurement, ms_per, number};
use crate::twin::metrics::Metric;

pub(super) struct Summary;

/// AIPerf's latencies and ours.
const LATENCIES: [(&str, &str); 3] =
    [("time_to_first_token", "ttft"), ("inter_token_latency", "tpot"), ("request_latency", "e2e")];
/// AIPerf's statistics and ours.
const STATISTICS: [(&str, &str); 5] = [("avg", "mean"), ("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")];
/// Rates and shares, by their average.
const AVERAGES: [(&str, Metric); 5] = [
    ("output_token_throughput", Metric::OutputTokensPerS),
    ("output_token_throughput_per_user", Metric::TokensPerSPerUser),
    ("request_throughput", Metric::RequestsPerS),
    ("goodput", Metric::GoodputRps),
    ("good_request_fraction", Metric::SlaAttainment),
];

impl Format for Summary {
    fn name(&self) -> &'static str {
        "AIPerf's profile_export_aiperf.json"
    }

    fn is(&self, content: &Content<'_>) -> bool {
        matches!(content, Content::Object(o) if o.get("schema_version").is_some() && (o.get("aiperf_version").is_some() || o.get("request_latency").is_some()))
    }

    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String> {
        let Content::Object(object) = content else { return Err("is no JSON object".into()) };
        let version = object["schema_version"].as_str().unwrap_or_default();
        if !["1.4", "1.5"].contains(&version) {
            return Err(format!("schema_version {} is not known: 1.4 and 1.5 are", object["schema_version"]));
        }
        let mut found = Measurement::new(file, self.name());
        for (theirs, ours) in LATENCIES {
            let Some(unit) = unit(object, theirs)? else { continue };
            let scale = ms_per(unit).ok_or_else(|| format!("`{theirs}.unit` is `{unit}`, no unit of time"))?;
            for (field, statistic) in STATISTICS {
                let value = number(object, &format!("{theirs}.{field}"))?;
                found.set_latency(ours, statistic, value.map(|v| v * scale));
            }
        }
        for (theirs, metric) in AVERAGES {
            let unit = unit(object, theirs)?.unwrap_or_default();
            let per_ms = if unit.ends_with("/ms") { 1e3 } else { 1.0 };
            found.set(metric, number(object, &format!("{theirs}.avg"))?.map(|v| v * per_ms));
        }
        if let Some(unit) = unit(object, "benchmark_duration")? {
            let scale =
                ms_per(unit).ok_or_else(|| format!("`benchmark_duration.unit` is `{unit}`, no unit of time"))?;
            found.set(Metric::DurationS, number(object, "benchmark_duration.avg")?.map(|v| v * scale / 1e3));
        }
        let average = |name: &str| number(object, &format!("{name}.avg"));
        found.facts.completed = average("request_count")?;
        found.facts.failed = Some(average("error_request_count")?.unwrap_or(0.0));
        found.facts.input_mean = average("input_sequence_length")?;
        found.facts.output_mean = average("output_sequence_length")?;
        found.facts.lag_p99_ms = match unit(object, "replay_sched_lag_p99")? {
            Some(unit) => average("replay_sched_lag_p99")?.map(|v| v * ms_per(unit).unwrap_or(1.0)),
            None => number(object, "replay_sched_lag_p99").unwrap_or(None),
        };
        found.facts.output_off_percent = average("osl_mismatch_diff_pct")?;
        if object["is_complete"] == false {
            found.facts.objections.push("AIPerf says that it is not complete (is_complete)".into());
        }
        if object["was_cancelled"] == true {
            found.facts.objections.push("AIPerf was cancelled (was_cancelled)".into());
        }
        let degraded = &object["replay_sched_degraded"];
        if *degraded == true || degraded["avg"].as_f64().is_some_and(|v| v > 0.0) {
            found
                .facts
                .objections
                .push("AIPerf could not keep to the schedule of the trace (replay_sched_degraded)".into());
        }
        found.set(Metric::Completed, found.facts.completed);
        Ok(vec![found])
    }
}

/// The unit of a metric; `None` when the metric is absent.
fn unit<'a>(object: &'a Json, metric: &str) -> Result<Option<&'a str>, String> {
    match object.get(metric) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Object(entry)) => match entry.get("unit").and_then(Json::as_str) {
            Some(unit) => Ok(Some(unit)),
            None => Err(format!("`{metric}` has no `unit`")),
        },
        Some(Json::Number(_) | Json::Bool(_)) => Ok(None),
        Some(other) => Err(format!("`{metric}` is {}, not an object", super::kind(other))),
    }
}
