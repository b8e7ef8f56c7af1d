//! A CSV of one's own: a row per run, columns by the names of our metrics.
//!
//! Besides metrics: `candidate` (an id), knobs by their names (to find the candidate by them),
//! `requests`, `errors`, `input_tokens_mean`, `output_tokens_mean`, `sched_lag_p99_ms`.

use std::path::Path;

use super::{Content, Format, Measurement};
use crate::catalog::nearest;
use crate::twin::metrics::{METRICS, Metric, index_of};
use crate::validate::points::cells;

pub(super) struct Csv;

/// Columns that are no metric.
const OTHERS: [&str; 6] =
    ["candidate", "requests", "errors", "input_tokens_mean", "output_tokens_mean", "sched_lag_p99_ms"];

impl Format for Csv {
    fn name(&self) -> &'static str {
        "a CSV with our metrics as columns"
    }

    fn is(&self, content: &Content<'_>) -> bool {
        let Content::Text(text) = content else { return false };
        let header = cells(text.lines().next().unwrap_or_default());
        header.len() > 1 && header.iter().any(|name| index_of(name).is_some() || name == "candidate")
    }

    fn read(&self, file: &Path, content: &Content<'_>) -> Result<Vec<Measurement>, String> {
        let Content::Text(text) = content else { return Err("is no CSV".into()) };
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, header) = lines.next().ok_or("has no header")?;
        let names = cells(header);
        for name in &names {
            let known = index_of(name).is_some() || OTHERS.contains(&name.as_str()) || name.contains('.');
            if !known {
                let all = METRICS.iter().map(|m| m.name).chain(OTHERS);
                let near = nearest(name, all).unwrap_or("ttft_mean_ms");
                return Err(format!("line 1: column `{name}` is no metric and no knob: did you mean `{near}`?"));
            }
        }
        let mut found = Vec::new();
        for (index, line) in lines {
            let at = |why: String| format!("line {}: {why}", index + 1);
            let values = cells(line);
            if values.len() != names.len() {
                return Err(at(format!("has {} cells, but the header has {}", values.len(), names.len())));
            }
            let mut row = Measurement::new(file, self.name());
            row.label = format!("{} line {}", file.display(), index + 1);
            for (name, value) in names.iter().zip(&values).filter(|(_, value)| !value.is_empty()) {
                if name == "candidate" {
                    row.whose.id = Some(value.clone());
                    continue;
                }
                if index_of(name).is_none() && name.contains('.') {
                    row.whose.knobs.push((name.clone(), value.clone()));
                    continue;
                }
                let number: Option<f64> = value.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
                let number = number.ok_or_else(|| at(format!("`{name}` is `{value}`: write a number of 0 or more")))?;
                match name.as_str() {
                    "requests" => row.facts.completed = Some(number),
                    "errors" => row.facts.failed = Some(number),
                    "input_tokens_mean" => row.facts.input_mean = Some(number),
                    "output_tokens_mean" => row.facts.output_mean = Some(number),
                    "sched_lag_p99_ms" => row.facts.lag_p99_ms = Some(number),
                    metric => row.values[index_of(metric).expect("columns were checked")] = number,
                }
            }
            let completed = row.get(Metric::Completed);
            if row.facts.completed.is_none() && !completed.is_nan() {
                row.facts.completed = Some(completed);
            }
            found.push(row);
        }
        if found.is_empty() { Err("has no rows".into()) } else { Ok(found) }
    }
}
