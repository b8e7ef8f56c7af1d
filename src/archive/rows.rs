//! The rows of a file of evaluations, read back: nothing in it is trusted, and nothing in it may take
//! memory out of proportion to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;

use super::batch::{Of, RUN_KEY, damaged};
use super::seal::{self, Seal};
use super::volume::BATCH_KEY;
use super::{ArchiveError, Damage};
use crate::decoding::{UNFOLDING, guarded, most_unfolded, pages};
use crate::search::{Evaluation, Fidelity};
use crate::space::{Candidate, Study};
use crate::twin::metrics::METRIC_COUNT;

/// Rows decoded at a time.
const AT_ONCE: usize = 1024;
/// Encodings that our files have: plain, dictionary (of either version), runs.
const ENCODINGS: [usize; 4] = [0, 2, 3, 8];

/// Footer and rows of a file of evaluations that begins with batch `index` and `says` to hold what its
/// name says.
///
/// # Errors
/// As [`Batch::read`](super::Batch::read).
pub(super) fn read_rows(
    path: &Path,
    index: u32,
    says: &str,
    of: Of<'_>,
) -> Result<(HashMap<String, String>, Vec<Evaluation>), ArchiveError> {
    let foreign = |why: String| damaged(path, index, Damage::Foreign, why);
    let torn = |why: String| damaged(path, index, Damage::Torn, why);
    let bytes = std::fs::read(path).map_err(ArchiveError::io("read", path))?;
    match seal::check(&bytes) {
        Seal::Whole => {}
        Seal::Absent if bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1") => {
            return Err(foreign("has no seal: it was written by another program, or altered".into()));
        }
        Seal::Broken | Seal::Absent => {
            return Err(torn("is cut short or altered: it does not match its own checksum".into()));
        }
    }
    let bytes = Bytes::from(bytes);
    let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())
        .map_err(|e| torn(format!("is not a whole Parquet file ({e})")))?;
    let entries = metadata.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let footer: HashMap<String, String> =
        entries.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
    if footer.get(RUN_KEY).map(String::as_str) != Some(of.fingerprint) {
        return Err(foreign("was written by another run than the one in manifest.toml".into()));
    }
    if footer.get(BATCH_KEY).map(String::as_str) != Some(says) {
        let number = footer.get(BATCH_KEY).map_or("no batch", String::as_str);
        return Err(foreign(format!("holds batch {number}, but its name says batch {says}")));
    }
    if metadata.schema().fields() != of.columns.schema().fields() {
        return Err(foreign("has other columns than this study".into()));
    }
    let limits = Limits::of(bytes.len(), of.study);
    limits.check_pages(&bytes, &metadata).map_err(foreign)?;
    let options = ArrowReaderOptions::new().with_schema(Arc::new(with_views(metadata.schema())));
    let metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)
        .map_err(|e| torn(format!("cannot be decoded ({e})")))?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata).with_batch_size(AT_ONCE).build();
    let mut reader = reader.map_err(|e| torn(format!("cannot be decoded ({e})")))?;
    // A seal says that the bytes are as they were written, not who wrote them: the decoder trusts them
    // more than that, and panics on some that were made to fit.
    let mut next = || guarded(|| reader.next());
    let mut left = limits.most;
    let mut evaluations = Vec::new();
    while let Some(record) = next().ok_or_else(|| torn("cannot be decoded".into()))? {
        let record = record.map_err(|e| torn(format!("cannot be decoded ({e})")))?;
        left = limits.keep(left, &record).map_err(foreign)?;
        append(&mut evaluations, &record, of).map_err(torn)?;
    }
    Ok((footer, evaluations))
}

/// The same columns with texts as views: rows that have the same text refer to one copy of it.
fn with_views(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Utf8View),
        _ => field.as_ref().clone(),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// Adds the rows of a record.
fn append(to: &mut Vec<Evaluation>, record: &RecordBatch, of: Of<'_>) -> Result<(), String> {
    let Of { study, columns, ids: ids_of, .. } = of;
    let (rows, knobs) = (record.num_rows(), study.space.knobs.len());
    let named = |name: &str| record.column_by_name(name).ok_or(format!("has no column `{name}`"));
    // Column by column into rows.
    let mut levels = vec![Candidate::ABSENT; rows * knobs];
    for (knob, spec) in study.space.knobs.iter().enumerate() {
        let cells = record.column(columns.first_knob() + knob);
        let put = |row: usize, level: u32| levels[row * knobs + knob] = level;
        columns
            .knob_levels(knob, cells, put)
            .ok_or_else(|| format!("has a value of `{}` that the search space does not have", spec.name))?;
    }
    let mut metrics = vec![f64::NAN; rows * METRIC_COUNT];
    for metric in 0..METRIC_COUNT {
        let cells = record.column(columns.first_metric() + metric).as_primitive::<Float64Type>();
        let places = metrics[metric..].iter_mut().step_by(METRIC_COUNT);
        if cells.null_count() == 0 {
            places.zip(cells.values()).for_each(|(place, value)| *place = *value);
        } else {
            places.zip(cells).for_each(|(place, value)| *place = value.unwrap_or(f64::NAN));
        }
    }
    let ids = named("id")?.as_string_view();
    let violations = named("violation")?.as_primitive::<Float64Type>();
    let reasons = named("reason")?.as_string_view();
    let fidelities = named("fidelity")?.as_string_view();
    to.reserve(rows);
    for row in 0..rows {
        let candidate = Candidate { levels: levels[row * knobs..][..knobs].into() };
        if ids.value(row).as_bytes() != ids_of.of(&candidate) {
            let (is, of) = (ids.value(row), study.space.id(&candidate));
            return Err(format!("has a row {} whose knobs are those of {of}", is.escape_debug()));
        }
        let metrics = metrics[row * METRIC_COUNT..][..METRIC_COUNT].to_vec();
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

/// What a file of evaluations may unfold to in memory.
struct Limits {
    file_bytes: usize,
    /// Bytes that all rows may take together.
    most: usize,
    /// Bytes of one row, but for its reason.
    row: usize,
}

impl Limits {
    fn of(file_bytes: usize, study: &Study) -> Limits {
        let numbers = METRIC_COUNT + 2 * study.objectives.len();
        let row = size_of::<Evaluation>() + 8 * numbers + size_of::<u32>() * study.space.knobs.len();
        Limits { file_bytes, most: most_unfolded(file_bytes as u64) as usize, row }
    }

    /// Refuses what no search writes before any of it is decoded: other codecs, other encodings, and
    /// pages that say they are larger than the file may unfold to.
    fn check_pages(&self, bytes: &Bytes, metadata: &ArrowReaderMetadata) -> Result<(), String> {
        let at_once = pages::at_once(
            bytes,
            metadata.metadata(),
            |_| true,
            |chunk, pages| {
                if chunk.compression() != Compression::SNAPPY {
                    let codec = chunk.compression();
                    return Err(format!("is compressed with {codec}, not Snappy: another program wrote it"));
                }
                match pages.encoding_beyond(&ENCODINGS) {
                    Some(encoding) => Err(format!("has values in encoding {encoding}: another program wrote it")),
                    None => Ok(()),
                }
            },
        )?;
        if at_once > self.most as u64 {
            return Err(self.out_of_proportion());
        }
        Ok(())
    }

    /// What is left of the room for rows after some more.
    fn keep(&self, left: usize, record: &RecordBatch) -> Result<usize, String> {
        let length = |texts: &StringViewArray| texts.iter().flatten().map(str::len).sum();
        let reasons: usize = record.column_by_name("reason").map_or(0, |texts| length(texts.as_string_view()));
        left.checked_sub(record.num_rows() * self.row + reasons).ok_or_else(|| self.out_of_proportion())
    }

    fn out_of_proportion(&self) -> String {
        format!("unfolds to more than {UNFOLDING} times its {} bytes: no search wrote it", self.file_bytes)
    }
}

fn fidelity_named(name: &str) -> Result<Fidelity, String> {
    let of_that_name = Fidelity::ALL.into_iter().find(|f| f.name() == name);
    of_that_name.ok_or_else(|| format!("has a row of fidelity `{}`, which is none", name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Encoding, ZstdLevel};
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

    use super::*;
    use crate::archive::{Batch, Columns};
    use crate::space::parse;

    /// A batch file in other clothes: the same rows, footer and a seal that holds.
    fn rewritten(bytes: &[u8], clothes: impl Fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder) -> Vec<u8> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).unwrap();
        let entries = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
        let (seal, open) = seal::open_entry();
        let footer = entries
            .into_iter()
            .filter(|entry| entry.key != "ARROW:schema")
            .map(|entry| if entry.key == seal { KeyValue::new(seal.to_string(), open.clone()) } else { entry });
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = clothes(properties.set_key_value_metadata(Some(footer.collect()))).build();
        let mut written = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut written, builder.schema().clone(), Some(properties)).unwrap();
        builder.build().unwrap().for_each(|record| writer.write(&record.unwrap()).unwrap());
        writer.close().unwrap();
        seal::seal(written).unwrap()
    }

    #[test]
    fn what_no_search_writes_is_refused_by_name_before_it_is_decoded() {
        let study = parse(include_str!("../../search-spaces/quickstart.toml"), None, &[]).unwrap();
        let (columns, ids) = (Columns::of(&study).unwrap(), study.space.ids());
        let of = Of { study: &study, columns: &columns, ids: &ids, fingerprint: "f" };
        let first = study.space.canonical(&vec![0; study.space.knobs.len()]);
        let evaluation = |candidate| Evaluation {
            candidate,
            objectives: vec![f64::NAN; study.objectives.len()],
            violation: f64::INFINITY,
            metrics: Vec::new(),
            reason: Some("too large".into()),
            fidelity: Fidelity::Full,
            half_widths: Vec::new(),
        };
        let others = study.space.one_step_neighbours(&first);
        let evaluations = std::iter::once(first).chain(others).map(evaluation).collect();
        let batch = Batch { index: 0, strategy: "grid".into(), evaluations };
        let bytes = batch.to_parquet(&study, &columns, "f").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            Batch::read(file.path(), 0, of).map_err(|e| e.to_string())
        };
        assert_eq!(read(&bytes).unwrap().evaluations.len(), batch.evaluations.len());
        let same = rewritten(&bytes, |as_it_is| as_it_is);
        assert_eq!(read(&same).unwrap().evaluations.len(), batch.evaluations.len(), "clothes of our own");
        for codec in [Compression::UNCOMPRESSED, Compression::ZSTD(ZstdLevel::default())] {
            let error = read(&rewritten(&bytes, |to| to.set_compression(codec))).unwrap_err();
            assert!(error.contains("not Snappy") && error.contains(&codec.to_string()), "{error}");
        }
        let prefixes = |to: WriterPropertiesBuilder| {
            to.set_dictionary_enabled(false).set_column_encoding("reason".into(), Encoding::DELTA_BYTE_ARRAY)
        };
        let error = read(&rewritten(&bytes, prefixes)).unwrap_err();
        assert!(error.contains("encoding DELTA_BYTE_ARRAY"), "{error}");
    }
}
