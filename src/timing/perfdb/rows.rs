//! Reading the columns that are needed out of a Parquet table.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Type;
use parquet::file::metadata::ParquetMetaData;

use crate::decoding::{UNFOLDING, guarded, most_unfolded, pages};

/// Columns that older tables lack: nothing was windowed then, and one kernel was measured.
const OPTIONAL: [&str; 2] = ["window_size", "kernel_source"];

/// Most names in one column; the database's have tens.
const MOST_TEXTS: usize = 4096;

/// Some columns of a table. Text is coded by its place in a list of distinct names.
#[derive(Debug, Default)]
pub struct Rows {
    integers: HashMap<&'static str, Vec<u32>>,
    codes: HashMap<&'static str, Vec<u16>>,
    names: HashMap<&'static str, Vec<String>>,
    /// Durations, ms.
    pub latency: Vec<f64>,
}

impl Rows {
    /// Reads integer and text columns, and `latency`.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a column; names file and column.
    pub fn read(path: &Path, integers: &[&'static str], texts: &[&'static str]) -> Result<Rows, String> {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = File::open(path).map_err(|e| at(&e))?;
        let pages_of = file.try_clone().map_err(|e| at(&e))?;
        let bytes = file.metadata().map_err(|e| at(&e))?.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| at(&e))?;
        let wanted: Vec<&str> = integers.iter().chain(texts).copied().chain(["latency"]).collect();
        let schema = builder.schema().clone();
        let has = |name: &str| schema.column_with_name(name).is_some();
        if let Some(missing) = wanted.iter().find(|name| !has(name) && !OPTIONAL.contains(name)) {
            return Err(at(&format!("there is no column {missing}")));
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().copied().filter(|name| has(name)));
        let at_once = rows_at_once(&pages_of, bytes, builder.metadata(), &mask).map_err(|e| at(&e))?;
        let mut reader = builder.with_projection(mask).with_batch_size(at_once).build().map_err(|e| at(&e))?;
        let mut rows = Rows::default();
        // The decoder panics on some files that were altered.
        while let Some(batch) = guarded(|| reader.next()).ok_or_else(|| at(&"cannot be decoded"))? {
            let batch = batch.map_err(|e| at(&e))?;
            // Measured durations do not compress to less than a byte: more rows than that are one row,
            // repeated to fill memory.
            if (rows.len() + batch.num_rows()) as u64 > bytes {
                return Err(at(&format!("has more rows than its {bytes} bytes can measure")));
            }
            let column = |name: &str| batch.column_by_name(name).expect("checked and projected");
            for &name in integers {
                if !has(name) {
                    let column = rows.integers.entry(name).or_default();
                    column.resize(column.len() + batch.num_rows(), 0);
                    continue;
                }
                let values = as_integers(column(name)).map_err(|e| at(&format!("column {name}: {e}")))?;
                rows.integers.entry(name).or_default().extend(values);
            }
            for &name in texts {
                let names = rows.names.entry(name).or_default();
                let codes = rows.codes.entry(name).or_default();
                if !has(name) {
                    *names = vec![String::new()];
                    codes.resize(codes.len() + batch.num_rows(), 0);
                    continue;
                }
                append_texts(column(name), names, codes).map_err(|e| at(&format!("column {name}: {e}")))?;
            }
            match column("latency").as_primitive_opt::<Float64Type>() {
                Some(values) => rows.latency.extend(values.values()),
                None => return Err(at(&"column latency: not 64-bit floats")),
            }
        }
        Ok(rows)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.latency.len()
    }

    /// A column of integers that was asked for.
    pub fn integers(&self, name: &str) -> &[u32] {
        self.integers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The text of a row in a column that was asked for.
    pub fn text(&self, name: &str, row: usize) -> &str {
        &self.names[name][usize::from(self.codes[name][row])]
    }
}

/// Rows to decode at a time, so few that a long text that all of them refer to does not unfold to more
/// than the file may. What the pages of the columns that are read say of themselves is checked first.
fn rows_at_once(
    file: &File,
    file_bytes: u64,
    metadata: &ParquetMetaData,
    wanted: &ProjectionMask,
) -> Result<usize, String> {
    let mut longest = 1;
    let at_once = pages::at_once(
        file,
        metadata,
        |column| wanted.leaf_included(column),
        |chunk, pages| {
            if pages.has(pages::DELTA_BYTE_ARRAY) {
                let name = chunk.column_path();
                return Err(format!("column {name}: in encoding DELTA_BYTE_ARRAY; write it with a dictionary"));
            }
            if chunk.column_type() == Type::BYTE_ARRAY {
                longest = longest.max(pages.largest).max(pages.dictionary);
            }
            Ok(())
        },
    )?;
    if at_once > most_unfolded(file_bytes) {
        return Err(format!("says that it unfolds to {at_once} bytes, more than {UNFOLDING} times its {file_bytes}"));
    }
    match most_unfolded(file_bytes) / longest {
        0 => Err(format!("has texts of {longest} bytes, more than {UNFOLDING} times its {file_bytes} bytes")),
        rows => Ok(rows.min(65_536) as usize),
    }
}

fn as_integers(array: &ArrayRef) -> Result<Vec<u32>, String> {
    let narrow = |v: i64| u32::try_from(v).map_err(|_| format!("{v} is out of range"));
    if array.null_count() > 0 {
        return Err("has nulls".into());
    }
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().values().iter().map(|&v| narrow(v)).collect(),
        DataType::Int32 => array.as_primitive::<Int32Type>().values().iter().map(|&v| narrow(v.into())).collect(),
        other => Err(format!("{other} are no integers")),
    }
}

fn append_texts(array: &ArrayRef, names: &mut Vec<String>, codes: &mut Vec<u16>) -> Result<(), String> {
    let mut last = 0;
    let mut push = |text: Option<&str>| {
        let text = text.unwrap_or("");
        // Neighbours mostly have the same name.
        if names.get(last).is_none_or(|name| name != text) {
            last = names.iter().position(|name| name == text).unwrap_or_else(|| {
                // One more than may be is enough to say so.
                if names.len() <= MOST_TEXTS {
                    names.push(text.to_owned());
                }
                names.len() - 1
            });
        }
        codes.push(last as u16);
    };
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().for_each(&mut push),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().for_each(&mut push),
        other => return Err(format!("{other} is no text")),
    }
    if names.len() > MOST_TEXTS { Err(format!("more than {MOST_TEXTS} distinct texts")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Encoding;
    use parquet::file::properties::WriterProperties;

    use super::*;

    #[test]
    fn long_texts_are_decoded_a_few_rows_at_a_time() {
        for (length, at_once) in [(10, 65_536), (30_000, 1000)] {
            let rows = 1000;
            let text = "x".repeat(length);
            let texts = StringArray::from_iter_values((0..rows).map(|_| &text));
            let columns = [
                ("name", Arc::new(texts) as ArrayRef),
                ("latency", Arc::new(Float64Array::from_iter_values((0..rows).map(f64::from))) as ArrayRef),
            ];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            let bytes = writer.close().map(|_| file.as_file().metadata().unwrap().len()).unwrap();
            let builder = ParquetRecordBatchReaderBuilder::try_new(file.reopen().unwrap()).unwrap();
            let told = rows_at_once(file.as_file(), bytes, builder.metadata(), &ProjectionMask::all()).unwrap();
            assert!(told * length < 50 * bytes as usize + (16 << 20) && told <= at_once, "{told} rows");
            assert!(told > 300, "{told} rows");
            let read = Rows::read(file.path(), &[], &["name"]).unwrap();
            assert_eq!((read.len(), read.text("name", 999)), (1000, text.as_str()));
        }
    }

    /// The decoder would make room for what the header of a page says before it looks at the page.
    #[test]
    fn a_page_that_says_it_is_larger_than_the_file_can_be_is_refused() {
        let latency = Float64Array::from_iter_values((0..150_000).map(f64::from));
        let batch = RecordBatch::try_from_iter([("latency", Arc::new(latency) as ArrayRef)]).unwrap();
        let plain =
            WriterProperties::builder().set_dictionary_enabled(false).set_data_page_row_count_limit(200_000).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(plain)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            Rows::read(file.path(), &[], &[]).map(|rows| rows.len())
        };
        assert_eq!(read(&bytes), Ok(150_000));
        // The first page begins after `PAR1`: its kind, and its size unfolded in four bytes of seven bits.
        assert_eq!(bytes[4..7], [0x15, 0, 0x15]);
        assert!(bytes[7..10].iter().all(|byte| byte & 0x80 != 0) && bytes[10] & 0x80 == 0);
        bytes[7..11].copy_from_slice(&[0xfe, 0xff, 0xff, 0x7f]);
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("unfolds to 134217727 bytes, more than 50 times"), "{error}");
    }

    #[test]
    fn texts_that_are_beginnings_of_others_are_refused() {
        let texts = StringArray::from_iter_values((0..100).map(|n| format!("text {n}")));
        let latency = Float64Array::from_iter_values((0..100).map(f64::from));
        let columns = [("name", Arc::new(texts) as ArrayRef), ("latency", Arc::new(latency) as ArrayRef)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        let properties = properties.set_column_encoding("name".into(), Encoding::DELTA_BYTE_ARRAY).build();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let error = Rows::read(file.path(), &[], &["name"]).unwrap_err();
        assert!(error.contains("column \"name\": in encoding DELTA_BYTE_ARRAY"), "{error}");
        // A column that nobody asks for may be as it is.
        assert_eq!(Rows::read(file.path(), &[], &[]).unwrap().len(), 100);
    }
}
