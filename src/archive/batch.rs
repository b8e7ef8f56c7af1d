//! One batch of evaluations as one Parquet file, and back.
//!
//! The footer carries the run's fingerprint, the batch number, the strategy and the file's own
//! checksum, so that what is read is what was written, by this run, and in its place.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;

use super::seal::{self, Seal};
use super::volume::BATCH_KEY;
use super::{ArchiveError, Columns, Damage};
use crate::decoding::{UNFOLDING, guarded, most_unfolded};
use crate::search::{Evaluation, Fidelity};
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

/// Footer and rows of a file of evaluations that begins with batch `index` and `says` to hold what its
/// name says.
///
/// # Errors
/// As [`Batch::read`].
pub(super) fn read_rows(
    path: &Path,
    index: u32,
    says: &str,
    of: Of<'_>,
) -> Result<(HashMap<String, String>, Vec<Evaluation>), ArchiveError> {
    let damaged = |damage, why: String| damaged(path, index, damage, why);
    let torn = |why: String| damaged(Damage::Torn, why);
    let bytes = std::fs::read(path).map_err(ArchiveError::io("read", path))?;
    match seal::check(&bytes) {
        Seal::Whole => {}
        Seal::Absent if bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") => {
            return Err(damaged(Damage::Foreign, "has no seal: it was written by another program, or altered".into()));
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
    if footer.get(RUN_KEY).map(String::as_str) != Some(of.fingerprint) {
        return Err(damaged(Damage::Foreign, "was written by another run than the one in manifest.toml".into()));
    }
    if footer.get(BATCH_KEY).map(String::as_str) != Some(says) {
        let number = footer.get(BATCH_KEY).map_or("no batch", String::as_str);
        return Err(damaged(Damage::Foreign, format!("holds batch {number}, but its name says batch {says}")));
    }
    if builder.schema().fields() != of.columns.schema().fields() {
        return Err(damaged(Damage::Foreign, "has other columns than this study".into()));
    }
    let limits = Limits::of(bytes.len(), of.study);
    let at_once = limits.rows_at_once(builder.metadata()).map_err(|why| damaged(Damage::Foreign, why))?;
    let reader = builder.with_batch_size(at_once).build();
    let mut reader = reader.map_err(|e| torn(format!("cannot be decoded ({e})")))?;
    // A seal says that the bytes are as they were written, not who wrote them: the decoder trusts them
    // more than that, and panics on some that were made to fit.
    let mut next = || guarded(|| reader.next());
    let mut left = limits.most;
    let mut evaluations = Vec::new();
    while let Some(record) = next().ok_or_else(|| torn("cannot be decoded".into()))? {
        let record = record.map_err(|e| torn(format!("cannot be decoded ({e})")))?;
        left = limits.keep(left, &record).map_err(|why| damaged(Damage::Foreign, why))?;
        append(&mut evaluations, &record, of).map_err(torn)?;
    }
    Ok((footer, evaluations))
}

/// Adds the rows of a record.
fn append(to: &mut Vec<Evaluation>, record: &RecordBatch, of: Of<'_>) -> Result<(), String> {
    let Of { study, columns, ids: ids_of, .. } = of;
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
    let metrics: Vec<&Float64Array> =
        (0..METRIC_COUNT).map(|metric| column(columns.first_metric() + metric).as_primitive::<Float64Type>()).collect();
    to.reserve(record.num_rows());
    for row in 0..record.num_rows() {
        let mut candidate = Candidate { levels: vec![Candidate::ABSENT; space.knobs.len()].into() };
        for (knob, column) in levels.iter().enumerate() {
            let level = column[row].ok_or_else(|| {
                format!("has a value of `{}` that the search space does not have", space.knobs[knob].name)
            })?;
            candidate.levels[knob] = level;
        }
        if ids.value(row).as_bytes() != ids_of.of(&candidate) {
            let (is, of) = (ids.value(row), space.id(&candidate));
            return Err(format!("has a row {} whose knobs are those of {of}", is.escape_debug()));
        }
        let metric = |cells: &&Float64Array| if cells.is_null(row) { f64::NAN } else { cells.value(row) };
        let metrics: Vec<f64> = metrics.iter().map(metric).collect();
        to.push(Evaluation {
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

/// What a batch file may unfold to in memory.
struct Limits {
    file_bytes: usize,
    /// Bytes that all rows may take together.
    most: usize,
    /// Bytes of one row, but for its reason.
    row: usize,
}

impl Limits {
    /// Most that Snappy makes of a byte.
    const SNAPPY: usize = 22;

    fn of(file_bytes: usize, study: &Study) -> Limits {
        let numbers = METRIC_COUNT + 2 * study.objectives.len();
        let row = size_of::<Evaluation>() + 8 * numbers + size_of::<u32>() * study.space.knobs.len();
        Limits { file_bytes, most: most_unfolded(file_bytes as u64) as usize, row }
    }

    /// Rows to decode at a time, so few that even if all had the longest text they would not be too large.
    fn rows_at_once(&self, metadata: &ParquetMetaData) -> Result<usize, String> {
        let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        if let Some(other) = chunks.clone().find(|c| c.compression() != Compression::SNAPPY) {
            return Err(format!("is compressed with {}, not Snappy: another program wrote it", other.compression()));
        }
        let texts = chunks.filter(|c| c.column_type() == Type::BYTE_ARRAY);
        let longest = texts.map(|c| usize::try_from(c.compressed_size()).unwrap_or(0)).max().unwrap_or(0);
        Ok((self.most / (Self::SNAPPY * longest.max(1))).clamp(1, 1024))
    }

    /// What is left of the room for rows after some more.
    fn keep(&self, left: usize, record: &RecordBatch) -> Result<usize, String> {
        let reasons = record.column_by_name("reason").map_or(0, |texts| texts.as_string::<i32>().values().len());
        left.checked_sub(record.num_rows() * self.row + reasons).ok_or_else(|| {
            let Limits { file_bytes, .. } = self;
            format!("unfolds to more than {UNFOLDING} times its {file_bytes} bytes: no search wrote it")
        })
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
