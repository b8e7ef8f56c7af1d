//! Measurements of benchmarks, converted by the metric contract.
//!
//! A file per format, each a `Format`: AIPerf's summary and its rows per request, vLLM's
//! `bench serve`, GuideLLM, and a CSV of one's own. What is converted to what stands in
//! `docs/metrics.md`.

mod aiperf;
mod aiperf_rows;
mod guidellm;
mod plain;
mod vllm;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::twin::metrics::{METRIC_COUNT, Metric, index_of};

/// One benchmark run.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The file, and where in it when it has several.
    pub label: String,
    pub file: PathBuf,
    /// Name of the format.
    pub format: &'static str,
    /// What the file says about whose configuration it is.
    pub whose: Whose,
    /// Values in the order of [`METRICS`](crate::twin::metrics::METRICS); NaN where there is none.
    pub values: [f64; METRIC_COUNT],
    pub facts: Facts,
}

/// Whose measurement it is, by the file itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whose {
    /// Id of a candidate.
    pub id: Option<String>,
    /// Knobs with their values.
    pub knobs: Vec<(String, String)>,
}

/// What decides whether a run can be compared; absent where the file does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Requests that ended well.
    pub completed: Option<f64>,
    /// Requests that failed, or were cut off.
    pub failed: Option<f64>,
    /// Mean prompt and output lengths, tokens.
    pub input_mean: Option<f64>,
    pub output_mean: Option<f64>,
    /// How late the client sent, 99th percentile, ms.
    pub lag_p99_ms: Option<f64>,
    /// Mean difference between asked and generated output lengths, percent.
    pub output_off_percent: Option<f64>,
    /// What the tool itself says against the run.
    pub objections: Vec<String>,
}

impl Measurement {
    fn new(file: &Path, format: &'static str) -> Measurement {
        Measurement {
            label: file.display().to_string(),
            file: file.to_owned(),
            format,
            whose: Whose::default(),
            values: [f64::NAN; METRIC_COUNT],
            facts: Facts::default(),
        }
    }

    /// A value by metric; NaN where the run has none.
    pub fn get(&self, metric: Metric) -> f64 {
        self.values[metric as usize]
    }

    fn set(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            self.values[metric as usize] = value;
        }
    }

    /// Sets `<family>_<statistic>_ms`.
    fn set_latency(&mut self, family: &str, statistic: &str, ms: Option<f64>) {
        let metric = index_of(&format!("{family}_{statistic}_ms"));
        if let (Some(metric), Some(ms)) = (metric, ms.filter(|v| v.is_finite())) {
            self.values[metric] = ms;
        }
    }
}

/// A format of benchmark results.
trait Format {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Whether a JSON document, or the first line of another file, is of this format.
    fn is(&self, content: &Content<'_>) -> bool;
    /// The runs in it.
    ///
    /// # Errors
    /// What is wrong, with its place in the file.
    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String>;
}

/// A file's content as far as every format wants to know it.
enum Content<'a> {
    /// One JSON object.
    Object(Json),
    /// One JSON object a line: the first, and all of the text.
    Lines(Json, &'a str),
    /// Something else.
    Text(&'a str),
}

impl Content<'_> {
    fn of(text: &str) -> Content<'_> {
        if let Ok(whole) = serde_json::from_str::<Json>(text)
            && whole.is_object()
            && text.trim_start().starts_with('{')
        {
            // A file of one line may be either: rows say so themselves.
            return if whole.get("metadata").is_some_and(Json::is_object)
                && whole.get("metrics").is_some_and(Json::is_object)
            {
                Content::Lines(whole, text)
            } else {
                Content::Object(whole)
            };
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        match serde_json::from_str::<Json>(first) {
            Ok(row) if row.is_object() => Content::Lines(row, text),
            _ => Content::Text(text),
        }
    }
}

/// Largest file of results; those with a row per request have tens of MiB.
const MOST_BYTES: u64 = 1 << 29;

const FORMATS: [&dyn Format; 5] =
    [&aiperf::Summary, &aiperf_rows::Rows, &vllm::BenchServe, &guidellm::Benchmarks, &plain::Csv];

/// Reads a file of measurements, whatever its format.
///
/// # Errors
/// When it cannot be read, is of no known format, or contradicts its format; the message names the
/// file and the place.
pub fn read(file: &Path) -> Result<Vec<Measurement>, String> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    opened.map_err(|e| format!("{shown}: {e}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{shown}: has more than {} MiB: results have a few", MOST_BYTES >> 20));
    }
    // An object takes some 600 bytes of memory, whatever is in it.
    if bytes.iter().filter(|&&b| b == b'{').count() > 1000 + bytes.len() / 13 {
        return Err(format!("{shown}: is objects with next to nothing in them, not results"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| format!("{shown}: is no UTF-8 text: byte {} begins no character", e.utf8_error().valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(format!("{shown}: is empty"));
    }
    let content = Content::of(text);
    let Some(format) = FORMATS.iter().find(|format| format.is(&content)) else {
        let names: Vec<&str> = FORMATS.iter().map(|f| f.name()).collect();
        let mut why = format!("{shown}: is none of: {}", names.join("; "));
        if let (Err(error), true) = (serde_json::from_str::<Json>(text), text.trim_start().starts_with('{')) {
            why.push_str(&format!(" (as JSON: {error})"));
        }
        return Err(why);
    };
    let found = format.read(file, &content).map_err(|e| format!("{shown}: {}: {e}", format.name()))?;
    if found.iter().all(|m| m.values.iter().all(|v| v.is_nan())) {
        return Err(format!("{shown}: {}: has none of the metrics that are predicted", format.name()));
    }
    Ok(found)
}

/// A number of an object that may be absent.
///
/// # Errors
/// When it is there and no number, or negative.
fn number(object: &Json, path: &str) -> Result<Option<f64>, String> {
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer(&pointer) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Number(n)) => match n.as_f64() {
            Some(v) if v >= 0.0 && v.is_finite() => Ok(Some(v)),
            _ => Err(format!("`{path}` is {n}: it must be 0 or more")),
        },
        Some(other) => Err(format!("`{path}` is {}, not a number", kind(other))),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// How many ms a unit of time has.
fn ms_per(unit: &str) -> Option<f64> {
    match unit {
        "ns" | "nanoseconds" => Some(1e-6),
        "us" | "microseconds" => Some(1e-3),
        "ms" | "milliseconds" => Some(1.0),
        "s" | "sec" | "seconds" => Some(1e3),
        _ => None,
    }
}

/// Mean and nearest-rank percentiles of a sample into `<family>_*_ms`, as the twin's own are.
fn set_statistics(measurement: &mut Measurement, family: &str, mut values: Vec<f64>) {
    values.retain(|v| v.is_finite());
    if values.is_empty() {
        return;
    }
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    measurement.set_latency(family, "mean", Some(mean));
    for (statistic, q) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let at = crate::twin::tally::rank(values.len(), q);
        measurement.set_latency(family, statistic, Some(values[at]));
    }
}
