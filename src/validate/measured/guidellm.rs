//! GuideLLM's `benchmarks.json`: one run per benchmark, statistics of its successful requests.

use std::path::Path;

use serde_json::Value as Json;

use super::{Content, Format, Measurement, number};
use crate::twin::metrics::Metric;

pub(super) struct Benchmarks;

/// GuideLLM's latencies, how many ms their unit has, and ours: what it calls inter-token latency is
/// the time per output token after the first.
const LATENCIES: [(&str, f64, &str); 3] =
    [("time_to_first_token_ms", 1.0, "ttft"), ("inter_token_latency_ms", 1.0, "tpot"), ("request_latency", 1e3, "e2e")];
const STATISTICS: [(&str, &str); 5] = [
    ("mean", "mean"),
    ("median", "p50"),
    ("percentiles.p90", "p90"),
    ("percentiles.p95", "p95"),
    ("percentiles.p99", "p99"),
];

impl Format for Benchmarks {
    fn name(&self) -> &'static str {
        "GuideLLM's benchmarks.json"
    }

    fn is(&self, content: &Content<'_>) -> bool {
        matches!(content, Content::Object(o) if o.get("benchmarks").is_some_and(Json::is_array))
    }

    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String> {
        let Content::Object(object) = content else { return Err("is no JSON object".into()) };
        let benchmarks = object["benchmarks"].as_array().filter(|b| !b.is_empty());
        let benchmarks = benchmarks.ok_or("`benchmarks` is empty")?;
        let several = benchmarks.len() > 1;
        let read = |(index, benchmark): (usize, &Json)| {
            let mut found = one(file, self.name(), benchmark).map_err(|e| format!("benchmarks[{index}]: {e}"))?;
            if several {
                found.label = format!("{} benchmarks[{index}]", file.display());
            }
            Ok(found)
        };
        benchmarks.iter().enumerate().map(read).collect()
    }
}

fn one(file: &Path, format: &'static str, benchmark: &Json) -> Result<Measurement, String> {
    let metrics = benchmark.get("metrics").filter(|m| m.is_object()).ok_or("has no `metrics`")?;
    let mut found = Measurement::new(file, format);
    for (theirs, scale, ours) in LATENCIES {
        for (field, statistic) in STATISTICS {
            let value = number(metrics, &format!("{theirs}.successful.{field}"))?;
            found.set_latency(ours, statistic, value.map(|v| v * scale));
        }
    }
    let mean = |name: &str| number(metrics, &format!("{name}.successful.mean"));
    found.set(Metric::RequestsPerS, mean("requests_per_second")?);
    found.set(Metric::OutputTokensPerS, mean("output_tokens_per_second")?);
    let count = |group: &str| -> Result<Option<f64>, String> {
        Ok(match number(metrics, &format!("request_totals.{group}"))? {
            Some(total) => Some(total),
            None => number(metrics, &format!("request_latency.{group}.count"))?,
        })
    };
    found.facts.completed = count("successful")?;
    let failed = [count("errored")?, count("incomplete")?];
    found.facts.failed = failed.iter().any(Option::is_some).then(|| failed.iter().flatten().sum());
    found.facts.input_mean = mean("prompt_token_count")?;
    found.facts.output_mean = mean("output_token_count")?;
    found.set(Metric::Completed, found.facts.completed);
    Ok(found)
}
