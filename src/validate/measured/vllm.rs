//! `vllm bench serve --save-result`: one object; latencies in ms by name, lists in seconds.

use std::path::Path;

use serde_json::Value as Json;

use super::{Content, Format, Measurement, number, set_statistics};
use crate::twin::metrics::Metric;

pub(super) struct BenchServe;

/// Latencies of vLLM and ours. What it calls TPOT is ours too; its ITL are single gaps, as ours.
const LATENCIES: [(&str, &str); 4] = [("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2el", "e2e")];
const STATISTICS: [(&str, &str); 5] =
    [("mean", "mean"), ("median", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")];

impl Format for BenchServe {
    fn name(&self) -> &'static str {
        "vLLM's `bench serve --save-result`"
    }

    fn is(&self, content: &Content<'_>) -> bool {
        let is = |o: &Json| o.get("total_output_tokens").is_some() && o.get("mean_ttft_ms").is_some();
        matches!(content, Content::Object(o) if is(o))
    }

    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String> {
        let Content::Object(object) = content else { return Err("is no JSON object".into()) };
        let mut found = Measurement::new(file, self.name());
        // The lists of `--save-detailed` give every percentile; the named ones are vLLM's own.
        set_statistics(&mut found, "ttft", seconds(object, "ttfts")?);
        set_statistics(&mut found, "itl", seconds(object, "itls")?);
        for (theirs, ours) in LATENCIES {
            for (prefix, statistic) in STATISTICS {
                found.set_latency(ours, statistic, number(object, &format!("{prefix}_{theirs}_ms"))?);
            }
        }
        let completed = number(object, "completed")?;
        let per_request = |total: Option<f64>| total.zip(completed).filter(|(_, n)| *n > 0.0).map(|(t, n)| t / n);
        let (input, output) = (number(object, "total_input_tokens")?, number(object, "total_output_tokens")?);
        let duration = number(object, "duration")?;
        found.facts.completed = completed;
        found.facts.failed = number(object, "failed")?;
        found.facts.input_mean = per_request(input);
        found.facts.output_mean = per_request(output);
        found.set(Metric::Completed, completed);
        found.set(Metric::DurationS, duration);
        found.set(Metric::RequestsPerS, number(object, "request_throughput")?);
        found.set(Metric::GoodputRps, number(object, "request_goodput")?);
        found.set(Metric::OutputTokensPerS, number(object, "output_throughput")?);
        found.set(Metric::InputTokensPerS, input.zip(duration).filter(|(_, s)| *s > 0.0).map(|(t, s)| t / s));
        Ok(vec![found])
    }
}

/// A list of seconds, or of lists of them, in ms.
fn seconds(object: &Json, name: &str) -> Result<Vec<f64>, String> {
    fn collect(value: &Json, name: &str, out: &mut Vec<f64>) -> Result<(), String> {
        match value {
            Json::Array(items) => items.iter().try_for_each(|item| collect(item, name, out)),
            Json::Number(n) => {
                out.extend(n.as_f64().map(|s| s * 1e3));
                Ok(())
            }
            Json::Null => Ok(()),
            other => Err(format!("`{name}` holds {}, not numbers", super::kind(other))),
        }
    }
    let mut out = Vec::new();
    collect(object.get(name).unwrap_or(&Json::Null), name, &mut out)?;
    Ok(out)
}
