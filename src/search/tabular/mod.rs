//! An exhaustive table of configurations as a search problem: knobs and objectives are columns of
//! a Parquet file, and an evaluation is a look-up.

mod infer;

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rustc_hash::FxHashMap;

use self::infer::infer_space;
use super::{Evaluate, Evaluation};
use crate::decoding::{UNFOLDING, guarded, most_unfolded, pages};
use crate::space::{Candidate, Space, Value};

/// Most rows of a file: they are held in memory.
const MOST_ROWS: i64 = 10_000_000;

/// A table of every configuration of a space.
#[derive(Clone, Debug)]
pub struct Table {
    space: Space,
    minimize: Vec<String>,
    /// Row-major objectives, one row per configuration.
    objectives: Vec<f64>,
    /// How far each row breaks its constraints: 0 where it keeps them, infinite where it was
    /// refused; empty where the table has no constraints.
    violations: Vec<f64>,
    rows: FxHashMap<Candidate, u32>,
}

/// Which columns of a table are what.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The knobs; none for every column that is nothing else.
    pub knobs: Vec<String>,
    /// The objectives, all minimised.
    pub minimize: Vec<String>,
    /// How far a row breaks its constraints: 0 where it keeps them; infinite, or null, where it was
    /// refused and has no objectives.
    pub violation: Option<String>,
}

/// Why a table is no search problem.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not Parquet.
    #[error("cannot read {path} as Parquet: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    /// A named column is not there.
    #[error("{path} has no column `{name}`; its columns are {columns}")]
    NoColumn { path: PathBuf, name: String, columns: String },
    /// A cell is of no use in its place.
    #[error("{path}, row {row}, column `{name}`: {why}")]
    Cell { path: PathBuf, row: usize, name: String, why: String },
    /// The columns do not describe a space.
    #[error("{path}: {why}")]
    Shape { path: PathBuf, why: String },
}

impl Table {
    /// Reads a Parquet file, or all of a directory, in the order of their names. A null cell of a
    /// knob means that the knob is absent; under which levels of which other knobs it is absent is
    /// learnt from the rows, and where none tell, a knob `NAME is set` is added. Numbers become ordered
    /// knobs, text and booleans unordered ones; a knob's block is its name up to the first dot.
    pub fn read(path: &Path, columns: &Columns) -> Result<Table, TableError> {
        let shape = |why: &str| TableError::Shape { path: path.into(), why: why.into() };
        if columns.minimize.is_empty() {
            return Err(shape("no objective was named; name the columns to minimise"));
        }
        let mut read = read_columns(path, columns)?;
        let violation_column = columns.violation.as_ref().and_then(|_| read.pop());
        let (knob_columns, objective_columns) = read.split_at(read.len() - columns.minimize.len());
        let n = objective_columns[0].cells.len();
        if knob_columns.is_empty() || n == 0 {
            return Err(shape("a table needs at least one row, one knob and one objective"));
        }
        let violations = violation_column.map_or(Ok(Vec::new()), |column| violations(path, &column))?;
        let objectives = objective_rows(path, objective_columns, &violations)?;
        let (space, levels) = infer_space(path, knob_columns)?;
        let mut rows = FxHashMap::default();
        for (row, levels) in levels.chunks_exact(space.knobs.len()).enumerate() {
            let candidate = Candidate { levels: levels.into() };
            if let Some(first) = rows.insert(candidate, row as u32) {
                return Err(shape(&format!(
                    "rows {first} and {row} have the same knobs; name every column that tells configurations apart"
                )));
            }
        }
        if !violations.is_empty() && violations.iter().all(|&v| v > 0.0) {
            return Err(shape("no row keeps its constraints, so there is no frontier"));
        }
        Ok(Table { space, minimize: columns.minimize.clone(), objectives, violations, rows })
    }

    /// The space that the table's knobs span.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Names of the objectives.
    pub fn minimize(&self) -> &[String] {
        &self.minimize
    }

    /// Row-major objectives of all configurations that keep the constraints.
    pub fn points(&self) -> Vec<f64> {
        let rows = self.objectives.chunks_exact(self.minimize.len()).enumerate();
        rows.filter(|(row, _)| self.violation(*row) == 0.0).flat_map(|(_, objectives)| objectives).copied().collect()
    }

    /// Configurations that have objectives.
    pub fn known(&self) -> usize {
        self.objectives.chunks_exact(self.minimize.len()).filter(|row| row.iter().all(|v| v.is_finite())).count()
    }

    fn violation(&self, row: usize) -> f64 {
        self.violations.get(row).copied().unwrap_or(0.0)
    }
}

impl Evaluate for Table {
    fn objectives(&self) -> usize {
        self.minimize.len()
    }

    /// Looks the candidate up; one that the table does not hold, or holds as refused, is refused.
    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let m = self.minimize.len();
        let refused = |why: &str| Evaluation::refused(candidate.clone(), m, 0, why.to_owned());
        let Some(row) = self.rows.get(candidate).map(|&row| row as usize) else { return refused("not in the table") };
        let violation = self.violation(row);
        if violation == f64::INFINITY {
            return refused("refused in the table");
        }
        let objectives = self.objectives[row * m..][..m].to_vec();
        let reason = (violation > 0.0).then(|| "breaks a constraint in the table".to_owned());
        Evaluation { violation, reason, ..Evaluation::plain(candidate.clone(), objectives) }
    }
}

struct Column {
    name: String,
    /// `None` where the cell is null, or not a number in a column of numbers.
    cells: Vec<Option<Value>>,
}

/// The knob columns, then the objective columns, then that of violations.
fn read_columns(path: &Path, columns: &Columns) -> Result<Vec<Column>, TableError> {
    let files = files(path)?;
    let named: Vec<&String> = columns.minimize.iter().chain(&columns.violation).collect();
    let mut read: Vec<Column> = Vec::new();
    for path in &files {
        let file = File::open(path).map_err(|source| TableError::Open { path: path.into(), source })?;
        let parquet = |source| TableError::Read { path: path.into(), source };
        let reader = SerializedFileReader::new(file).map_err(parquet)?;
        let schema = reader.metadata().file_metadata().schema();
        let all: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
        if read.is_empty() {
            let knobs: Vec<&String> = match columns.knobs.is_empty() {
                true => all.iter().filter(|c| !named.contains(c)).collect(),
                false => columns.knobs.iter().collect(),
            };
            let names = knobs.into_iter().chain(named.iter().copied());
            read = names.map(|name| Column { name: name.clone(), cells: Vec::new() }).collect();
        }
        let position = |column: &Column| {
            all.iter().position(|c| *c == column.name).ok_or_else(|| TableError::NoColumn {
                path: path.into(),
                name: column.name.clone(),
                columns: all.join(", "),
            })
        };
        let positions: Vec<usize> = read.iter().map(position).collect::<Result<_, _>>()?;
        bounded(path, reader.metadata()).map_err(|why| TableError::Shape { path: path.into(), why })?;
        let decoded = guarded(|| -> Result<(), TableError> {
            for (row, record) in reader.get_row_iter(None).map_err(parquet)?.enumerate() {
                let fields: Vec<Field> =
                    Row::into_columns(record.map_err(parquet)?).into_iter().map(|(_, field)| field).collect();
                for (column, &position) in read.iter_mut().zip(&positions) {
                    let value = value(&fields[position]).map_err(|why| TableError::Cell {
                        path: path.into(),
                        row,
                        name: column.name.clone(),
                        why,
                    })?;
                    column.cells.push(value);
                }
            }
            Ok(())
        });
        let why = || TableError::Shape { path: path.into(), why: "is damaged: it cannot be decoded".into() };
        decoded.ok_or_else(why)??;
    }
    Ok(read)
}

/// Whether a file is no larger in memory than it may be: its rows, and the pages that are decoded at once.
fn bounded(path: &Path, metadata: &ParquetMetaData) -> Result<(), String> {
    let rows = metadata.file_metadata().num_rows();
    if rows > MOST_ROWS {
        return Err(format!("has {rows} rows; a table may have {MOST_ROWS}"));
    }
    let file = File::open(path).map_err(|e| e.to_string())?;
    let file_bytes = file.metadata().map_err(|e| e.to_string())?.len();
    let at_once = pages::at_once(&file, metadata, |_| true, |_, _| Ok(()))?;
    if at_once > most_unfolded(file_bytes) {
        return Err(format!("says that it unfolds to {at_once} bytes, more than {UNFOLDING} times its {file_bytes}"));
    }
    Ok(())
}

/// The file itself, or the Parquet files of a directory by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, TableError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let entries = std::fs::read_dir(path).map_err(|source| TableError::Open { path: path.into(), source })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|file| file.extension().is_some_and(|e| e == "parquet"))
        .collect();
    files.sort_unstable();
    if files.is_empty() {
        return Err(TableError::Shape {
            path: path.into(),
            why: "the directory has no file that ends in .parquet".into(),
        });
    }
    Ok(files)
}

fn value(field: &Field) -> Result<Option<Value>, String> {
    let real = |v: f64| (!v.is_nan()).then_some(Value::Real(v));
    Ok(match field {
        Field::Null => None,
        Field::Bool(v) => Some(Value::Bool(*v)),
        Field::Byte(v) => Some(Value::Int((*v).into())),
        Field::Short(v) => Some(Value::Int((*v).into())),
        Field::Int(v) => Some(Value::Int((*v).into())),
        Field::Long(v) => Some(Value::Int(*v)),
        Field::UByte(v) => Some(Value::Int((*v).into())),
        Field::UShort(v) => Some(Value::Int((*v).into())),
        Field::UInt(v) => Some(Value::Int((*v).into())),
        Field::Float(v) => real((*v).into()),
        Field::Double(v) => real(*v),
        Field::Str(v) => Some(Value::Text(v.clone())),
        other => return Err(format!("`{other}` is neither a number, a text, a boolean nor null")),
    })
}

/// How far each row breaks its constraints; infinite where the cell is null.
fn violations(path: &Path, column: &Column) -> Result<Vec<f64>, TableError> {
    let of = |(row, cell): (usize, &Option<Value>)| match cell {
        None => Ok(f64::INFINITY),
        Some(value) => value.as_f64().filter(|v| *v >= 0.0).ok_or_else(|| TableError::Cell {
            path: path.into(),
            row,
            name: column.name.clone(),
            why: "a violation must be a number, 0 where every constraint holds and positive elsewhere".into(),
        }),
    };
    column.cells.iter().enumerate().map(of).collect()
}

/// Row-major objectives; NaN in rows that were refused.
fn objective_rows(path: &Path, columns: &[Column], violations: &[f64]) -> Result<Vec<f64>, TableError> {
    let n = columns[0].cells.len();
    let mut rows = Vec::with_capacity(n * columns.len());
    for row in 0..n {
        let is_refused = violations.get(row) == Some(&f64::INFINITY);
        for column in columns {
            let value = column.cells[row].as_ref().and_then(Value::as_f64).filter(|v| v.is_finite());
            let value = if is_refused { Some(f64::NAN) } else { value };
            rows.push(value.ok_or_else(|| TableError::Cell {
                path: path.into(),
                row,
                name: column.name.clone(),
                why: "an objective must be a finite number; leave the row out, or name a column of violations that is null there"
                    .into(),
            })?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Encoding;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// The decoder would make room for what the header of a page says before it looks at the page.
    #[test]
    fn a_page_that_says_it_is_larger_than_the_file_can_be_is_refused() {
        let n = 150_000;
        let columns = [
            ("cost", Arc::new(Float64Array::from_iter_values((0..n).map(f64::from))) as ArrayRef),
            ("workers", Arc::new(Int64Array::from_iter_values(0..i64::from(n))) as ArrayRef),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let plain = WriterProperties::builder().set_dictionary_enabled(false).set_data_page_row_count_limit(200_000);
        let plain = plain.set_column_encoding("workers".into(), Encoding::DELTA_BINARY_PACKED).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(plain)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let wanted = Columns { knobs: vec!["workers".into()], minimize: vec!["cost".into()], violation: None };
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            Table::read(file.path(), &wanted).map(|table| table.known()).map_err(|e| e.to_string())
        };
        assert_eq!(read(&bytes), Ok(150_000));
        // The first page begins after `PAR1`: its kind, and its size unfolded in four bytes of seven bits.
        assert_eq!(bytes[4..7], [0x15, 0, 0x15]);
        assert!(bytes[7..10].iter().all(|byte| byte & 0x80 != 0) && bytes[10] & 0x80 == 0);
        bytes[7..11].copy_from_slice(&[0xfe, 0xff, 0xff, 0x7f]);
        let error = read(&bytes).unwrap_err();
        // The page, and a little of the other column.
        assert!(error.contains("unfolds to 134220664 bytes, more than 50 times"), "{error}");
    }
}
