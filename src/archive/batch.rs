//! One batch of evaluations as one Parquet file, and back.
//!
//! The footer carries the run's fingerprint, the batch number, the strategy and the file's own
//! checksum, so that what is read is what was written, by this run, and in its place.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::rows::read_rows;
use super::volume::BATCH_KEY;
use super::{ArchiveError, Columns, Damage, seal};
use crate::search::Evaluation;
use crate::space::identity::Ids;
use crate::space::{Candidate, Study};
use crate::twin::metrics::METRIC_COUNT;

/// Footer keys.
pub(super) const RUN_KEY: &str = "servescout.run";
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
        sealed(parquet_bytes(&record, &footer)?)
    }

    /// Reads a batch file and checks that it is whole, of this run and in its place.
    ///
    /// # Errors
    /// `Damaged` with the remedy; `Io` when the file cannot be opened.
    pub(crate) fn read(path: &Path, index: u32, of: Of<'_>) -> Result<Batch, ArchiveError> {
        let (mut footer, evaluations) = read_rows(path, index, &index.to_string(), of)?;
        let strategy = footer.remove(STRATEGY_KEY).unwrap_or_default();
        Ok(Batch { index, strategy, evaluations })
    }
}

/// What a file of evaluations is of.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub study: &'a Study,
    pub columns: &'a Columns,
    pub ids: &'a Ids,
    pub fingerprint: &'a str,
}

/// The error of a file that cannot be trusted, whose first batch is `index`.
pub(super) fn damaged(path: &Path, index: u32, damage: Damage, why: String) -> ArchiveError {
    ArchiveError::Damaged {
        damage,
        path: path.to_path_buf(),
        why,
        remedy: format!(
            "delete it and every batch file after it, then continue the run with --resume: batch {index} and later ones are simulated again"
        ),
    }
}

/// A file's bytes with the seal in its place.
pub(super) fn sealed(bytes: Vec<u8>) -> Result<Vec<u8>, ArchiveError> {
    seal::seal(bytes).ok_or_else(|| ArchiveError::Unstorable("the Parquet footer has no place for the seal".into()))
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
