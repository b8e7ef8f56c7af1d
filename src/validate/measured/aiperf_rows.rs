//! AIPerf's `profile_export.jsonl`: a row per request, of which the statistics are made as the twin's.

use std::path::Path;

use serde_json::Value as Json;

use super::{Content, Format, Measurement, ms_per, number, set_statistics};
use crate::twin::metrics::Metric;

pub(super) struct Rows;

impl Format for Rows {
    fn name(&self) -> &'static str {
        "AIPerf's rows per request (profile_export.jsonl)"
    }

    fn is(&self, content: &Content<'_>) -> bool {
        matches!(content, Content::Lines(row, _) if row.get("metadata").is_some_and(Json::is_object) && row.get("metrics").is_some())
    }

    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String> {
        let Content::Lines(_, text) = content else { return Err("has no rows".into()) };
        let mut found = Measurement::new(file, self.name());
        let (mut ttft, mut tpot, mut e2e) = (Vec::new(), Vec::new(), Vec::new());
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let (mut first_ns, mut last_ns) = (f64::INFINITY, 0.0f64);
        let (mut completed, mut failed) = (0u64, 0u64);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = |why: String| format!("line {}: {why}", index + 1);
            let row: Json = serde_json::from_str(line).map_err(|e| at(e.to_string()))?;
            if row.pointer("/metadata/benchmark_phase").and_then(Json::as_str) == Some("warmup") {
                continue;
            }
            let cancelled = row.pointer("/metadata/was_cancelled") == Some(&Json::Bool(true));
            if row.get("error").is_some_and(|e| !e.is_null()) || cancelled {
                failed += 1;
                continue;
            }
            completed += 1;
            let ms = |name: &str| -> Result<Option<f64>, String> {
                let Some(value) = number(&row, &format!("metrics.{name}.value")).map_err(at)? else { return Ok(None) };
                let unit = row.pointer(&format!("/metrics/{name}/unit")).and_then(Json::as_str).unwrap_or_default();
                let scale =
                    ms_per(unit).ok_or_else(|| at(format!("`metrics.{name}.unit` is `{unit}`, no unit of time")))?;
                Ok(Some(value * scale))
            };
            ttft.extend(ms("time_to_first_token")?);
            tpot.extend(ms("inter_token_latency")?);
            e2e.extend(ms("request_latency")?);
            inputs.extend(number(&row, "metrics.input_sequence_length.value").map_err(at)?);
            outputs.extend(number(&row, "metrics.output_sequence_length.value").map_err(at)?);
            if let Some(start) = number(&row, "metadata.request_start_ns").map_err(at)? {
                first_ns = first_ns.min(start);
            }
            if let Some(end) = number(&row, "metadata.request_end_ns").map_err(at)? {
                last_ns = last_ns.max(end);
            }
        }
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        found.facts.completed = Some(completed as f64);
        found.facts.failed = Some(failed as f64);
        found.facts.input_mean = mean(&inputs);
        found.facts.output_mean = mean(&outputs);
        found.set(Metric::Completed, Some(completed as f64));
        let rates: Vec<f64> = tpot.iter().filter(|v| **v > 0.0).map(|v| 1e3 / v).collect();
        found.set(Metric::TokensPerSPerUser, mean(&rates));
        let seconds = (last_ns - first_ns) / 1e9;
        if seconds > 0.0 && seconds.is_finite() {
            found.set(Metric::DurationS, Some(seconds));
            found.set(Metric::RequestsPerS, Some(completed as f64 / seconds));
            found.set(Metric::OutputTokensPerS, (!outputs.is_empty()).then(|| outputs.iter().sum::<f64>() / seconds));
            found.set(Metric::InputTokensPerS, (!inputs.is_empty()).then(|| inputs.iter().sum::<f64>() / seconds));
        }
        set_statistics(&mut found, "ttft", ttft);
        set_statistics(&mut found, "tpot", tpot);
        set_statistics(&mut found, "e2e", e2e);
        Ok(vec![found])
    }
}
