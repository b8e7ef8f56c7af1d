//! One batch of evaluations as one Parquet file, and back.
//!
//! The footer carries the run's fingerprint, the batch number, the strategy and the file's own
//! checksum, so that what is read is what was written, by this run, and in its place.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::seal::{self, Seal};
use super::{ArchiveError, Columns, Damage};
use crate::search::{Evaluation, Fidelity};
use crate::space::{Candidate, Study};
use crate::twin::metrics::METRIC_COUNT;

/// Footer keys.
const RUN_KEY: &str = "servescout.run";
const BATCH_KEY: &str = "servescout.batch";
const STRATEGY_KEY: &str = "servescout.strategy";

/// Evaluations committed together, in candidate order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Position in the run, from 0.
    pub index: u32,
    /// The strategy that asked for it.
    pub strategy: String,
    pub evaluations: Vec<Evaluation>,
}

impl Batch {
    /// The file's name within `evaluations/`.
    pub(crate) fn file_name(index: u32) -> String {
        format!("batch-{index:06}.parquet")
    }

    /// The number in a name made by [`Batch::file_name`].
    pub(crate) fn parse_file_name(name: &str) -> Option<u32> {
        name.strip_prefix("batch-")?
            .strip_suffix(".parquet")?
            .parse()
            .ok()
            .filter(|&index| Self::file_name(index) == name)
    }

    /// The Parquet bytes: the same for the same batch, always.
    ///
    /// # Errors
    /// `Unstorable` when an evaluation's metrics or objectives are not the study's.
    pub(crate) fn to_parquet(
        &self,
        study: &Study,
        columns: &Columns,
        fingerprint: &str,
    ) -> Result<Vec<u8>, ArchiveError> {
        for evaluation in &self.evaluations {
            check_storable(study, evaluation)?;
        }
        let rows: Vec<&Evaluation> = self.evaluations.iter().collect();
        let batches = vec![self.index; rows.len()];
        let strategies = vec![self.strategy.as_str(); rows.len()];
        let record = record_batch(study, columns, &batches, &strategies, &rows)?;
        let footer = [
            (RUN_KEY, fingerprint.to_string()),
            (BATCH_KEY, self.index.to_string()),
            (STRATEGY_KEY, self.strategy.clone()),
            seal::open_entry(),
        ];
        let bytes = parquet_bytes(&record, &footer)?;
        seal::seal(bytes).ok_or_else(|| ArchiveError::Unstorable("the Parquet footer has no place for the seal".into()))
    }

    /// Reads a batch file and checks that it is whole, of this run and in its place.
    ///
    /// # Errors
    /// `Damaged` with the remedy; `Io` when the file cannot be opened.
    pub(crate) fn read(
        path: &Path,
        index: u32,
        study: &Study,
        columns: &Columns,
        fingerprint: &str,
    ) -> Result<Batch, ArchiveError> {
        let damaged = |damage, why: String| ArchiveError::Damaged {
            damage,
            path: path.to_path_buf(),
            why,
            remedy: format!(
                "delete it and every batch file after it, then continue the run with --resume: batch {index} and later ones are simulated again"
            ),
        };
        let torn = |why: String| damaged(Damage::Torn, why);
        let bytes = std::fs::read(path).map_err(ArchiveError::io("read", path))?;
        match seal::check(&bytes) {
            Seal::Whole => {}
            Seal::Absent if bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") => {
                return Err(damaged(
                    Damage::Foreign,
                    "has no seal: it was written by another program, or altered".into(),
                ));
            }
            Seal::Broken | Seal::Absent => {
                return Err(torn("is cut short or altered: it does not match its own checksum".into()));
            }
        }
        let file = File::open(path).map_err(ArchiveError::io("open", path))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| torn(format!("is not a whole Parquet file ({e})")))?;
        let footer: HashMap<String, String> = builder
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
            .collect();
        if footer.get(RUN_KEY).map(String::as_str) != Some(fingerprint) {
            return Err(damaged(Damage::Foreign, "was written by another run than the one in manifest.toml".into()));
        }
        if footer.get(BATCH_KEY) != Some(&index.to_string()) {
            let number = footer.get(BATCH_KEY).map_or("no batch", String::as_str);
            return Err(damaged(Damage::Foreign, format!("holds batch {number}, but its name says batch {index}")));
        }
        if builder.schema().fields() != columns.schema().fields() {
            return Err(damaged(Damage::Foreign, "has other columns than this study".into()));
        }
        let reader = builder.build().map_err(|e| torn(format!("cannot be decoded ({e})")))?;
        let strategy = footer.get(STRATEGY_KEY).cloned().unwrap_or_default();
        let mut batch = Batch { index, strategy, evaluations: Vec::new() };
        // A seal says that the bytes are as they were written, not who wrote them: the decoder trusts them
        // more than that, and panics on some that were made to fit.
        let records = catch_unwind(AssertUnwindSafe(|| reader.collect::<Result<Vec<_>, _>>()))
            .map_err(|_| torn("cannot be decoded".into()))?
            .map_err(|e| torn(format!("cannot be decoded ({e})")))?;
        for record in records {
            batch.append(&record, study, columns).map_err(torn)?;
        }
        Ok(batch)
    }

    fn append(&mut self, record: &RecordBatch, study: &Study, columns: &Columns) -> Result<(), String> {
        let space = &study.space;
        let column = |position: usize| record.column(position);
        let named = |name: &str| record.column_by_name(name).ok_or(format!("has no column `{name}`"));
        let mut levels: Vec<Vec<Option<u32>>> = Vec::with_capacity(space.knobs.len());
        for knob in 0..space.knobs.len() {
            levels.push(columns.knob_levels(space, knob, column(columns.first_knob() + knob)));
        }
        let ids = named("id")?.as_string::<i32>();
        let violations = named("violation")?.as_primitive::<Float64Type>();
        let reasons = named("reason")?.as_string::<i32>();
        let fidelities = named("fidelity")?.as_string::<i32>();
        for row in 0..record.num_rows() {
            let mut candidate = Candidate { levels: vec![Candidate::ABSENT; space.knobs.len()].into() };
            for (knob, column) in levels.iter().enumerate() {
                let level = column[row].ok_or_else(|| {
                    format!("has a value of `{}` that the search space does not have", space.knobs[knob].name)
                })?;
                candidate.levels[knob] = level;
            }
            let id = space.id(&candidate);
            if ids.value(row) != id {
                return Err(format!("has a row {} whose knobs are those of {id}", ids.value(row)));
            }
            let metrics: Vec<f64> = (0..METRIC_COUNT)
                .map(|metric| {
                    let cells = column(columns.first_metric() + metric).as_primitive::<Float64Type>();
                    if cells.is_null(row) { f64::NAN } else { cells.value(row) }
                })
                .collect();
            self.evaluations.push(Evaluation {
                candidate,
                objectives: study.objective_values(&metrics),
                violation: violations.value(row),
                metrics,
                reason: (!reasons.is_null(row)).then(|| reasons.value(row).to_string()),
                fidelity: fidelity_named(fidelities.value(row))?,
                half_widths: columns.half_widths(record, row),
            });
        }
        Ok(())
    }
}

fn fidelity_named(name: &str) -> Result<Fidelity, String> {
    let of_that_name = Fidelity::ALL.into_iter().find(|f| f.name() == name);
    of_that_name.ok_or_else(|| format!("has a row of fidelity `{}`, which is none", name.escape_debug()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Metrics and objectives must say the same, since only the metrics are stored.
fn check_storable(study: &Study, evaluation: &Evaluation) -> Result<(), ArchiveError> {
    let Evaluation { metrics, objectives, .. } = evaluation;
    if !metrics.is_empty() && metrics.len() != METRIC_COUNT {
        let n = metrics.len();
        return Err(ArchiveError::Unstorable(format!("an evaluation has {n} metrics, not {METRIC_COUNT}")));
    }
    let refused = [f64::NAN; METRIC_COUNT];
    let expected = study.objective_values(if metrics.is_empty() { &refused } else { metrics });
    let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    if objectives.len() != expected.len() || !objectives.iter().zip(&expected).all(|(a, b)| same(a, b)) {
        return Err(ArchiveError::Unstorable(format!(
            "objectives {objectives:?} are not those of the metrics, {expected:?}"
        )));
    }
    if evaluation.violation.is_nan() || evaluation.violation < 0.0 {
        return Err(ArchiveError::Unstorable(format!("a violation of {}", evaluation.violation)));
    }
    Ok(())
}

/// Rows of the archive's columns.
pub(crate) fn record_batch(
    study: &Study,
    columns: &Columns,
    batches: &[u32],
    strategies: &[&str],
    rows: &[&Evaluation],
) -> Result<RecordBatch, ArchiveError> {
    let space = &study.space;
    let candidates: Vec<&Candidate> = rows.iter().map(|e| &e.candidate).collect();
    let ids = candidates.iter().map(|c| space.id(c));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(Int64Array::from_iter_values(batches.iter().map(|&b| i64::from(b)))),
        Arc::new(StringArray::from_iter_values(strategies)),
    ];
    arrays.extend((0..space.knobs.len()).map(|knob| columns.knob_cells(space, knob, &candidates)));
    for metric in 0..METRIC_COUNT {
        let values = rows.iter().map(|e| e.metrics.get(metric).copied().filter(|v| !v.is_nan()));
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    arrays.push(Arc::new(Float64Array::from_iter_values(rows.iter().map(|e| e.violation))));
    arrays.push(Arc::new(rows.iter().map(|e| Some(e.is_feasible())).collect::<BooleanArray>()));
    arrays.push(Arc::new(rows.iter().map(|e| e.reason.as_deref()).collect::<StringArray>()));
    arrays.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|e| e.fidelity.name()))));
    for objective in 0..columns.objectives_with_intervals() {
        let values = rows.iter().map(|e| e.half_widths.get(objective).copied().filter(|v| !v.is_nan()));
        arrays.push(Arc::new(values.collect::<Float64Array>()));
    }
    RecordBatch::try_new(columns.schema(), arrays)
        .map_err(|e| ArchiveError::Unstorable(format!("rows do not fit the columns: {e}")))
}

/// A record batch as a Parquet file in memory, with footer entries. `created_by` is our own so that
/// the bytes depend on our version alone.
pub(crate) fn parquet_bytes(record: &RecordBatch, footer: &[(&str, String)]) -> Result<Vec<u8>, ArchiveError> {
    let schema: SchemaRef = record.schema();
    let properties = WriterProperties::builder()
        .set_created_by(concat!("servescout version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(
            footer.iter().map(|(key, value)| KeyValue::new(key.to_string(), value.clone())).collect(),
        ))
        .build();
    let mut bytes = Vec::new();
    let written = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).and_then(|mut writer| {
        writer.write(record)?;
        writer.close()
    });
    written.map_err(|e| ArchiveError::Unstorable(format!("Parquet writer: {e}")))?;
    Ok(bytes)
}
