//! An exhaustive table of configurations as a search problem: knobs and objectives are columns of
//! a Parquet file, and an evaluation is a look-up.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rustc_hash::FxHashMap;

use super::{Evaluate, Evaluation};
use crate::space::{Candidate, Condition, Domain, Knob, Space, Value};

/// A table of every configuration of a space.
#[derive(Clone, Debug)]
pub struct Table {
    space: Space,
    minimize: Vec<String>,
    /// Row-major objectives, one row per configuration.
    objectives: Vec<f64>,
    rows: FxHashMap<Candidate, u32>,
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
    /// Reads a Parquet file. `minimize` names the objectives; `knobs` the knobs, or nothing for
    /// all other columns. A null cell means that the knob is absent; under which levels of which
    /// other knobs it is absent is learnt from the rows. Numbers become ordered knobs, text and
    /// booleans unordered ones; a knob's block is its name up to the first dot.
    pub fn read(path: &Path, knobs: &[String], minimize: &[String]) -> Result<Table, TableError> {
        let shape = |why: &str| TableError::Shape { path: path.into(), why: why.into() };
        if minimize.is_empty() {
            return Err(shape("no objective was named; name the columns to minimise"));
        }
        let columns = read_columns(path, knobs, minimize)?;
        let (knob_columns, objective_columns) = columns.split_at(columns.len() - minimize.len());
        let n = objective_columns[0].cells.len();
        if knob_columns.is_empty() || n == 0 {
            return Err(shape("a table needs at least one row, one knob and one objective"));
        }
        let objectives = objective_rows(path, objective_columns)?;
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
        Ok(Table { space, minimize: minimize.to_vec(), objectives, rows })
    }

    /// The space that the table's knobs span.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Names of the objectives.
    pub fn minimize(&self) -> &[String] {
        &self.minimize
    }

    /// Row-major objectives of all configurations.
    pub fn points(&self) -> &[f64] {
        &self.objectives
    }
}

impl Evaluate for Table {
    fn objectives(&self) -> usize {
        self.minimize.len()
    }

    /// Looks the candidate up; one that the table does not hold is refused.
    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let m = self.minimize.len();
        let row = self.rows.get(candidate).map(|&row| &self.objectives[row as usize * m..][..m]);
        match row {
            Some(objectives) => Evaluation::plain(candidate.clone(), objectives.to_vec()),
            None => Evaluation::refused(candidate.clone(), m, 0, "not in the table".to_owned()),
        }
    }
}

struct Column {
    name: String,
    /// `None` where the cell is null, or not a number in a column of numbers.
    cells: Vec<Option<Value>>,
}

/// The knob columns, then the objective columns.
fn read_columns(path: &Path, knobs: &[String], minimize: &[String]) -> Result<Vec<Column>, TableError> {
    let file = File::open(path).map_err(|source| TableError::Open { path: path.into(), source })?;
    let parquet = |source| TableError::Read { path: path.into(), source };
    let reader = SerializedFileReader::new(file).map_err(parquet)?;
    let schema = reader.metadata().file_metadata().schema();
    let all: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
    let wanted: Vec<String> = if knobs.is_empty() {
        all.iter().filter(|c| !minimize.contains(c)).chain(minimize).cloned().collect()
    } else {
        knobs.iter().chain(minimize).cloned().collect()
    };
    let positions: Vec<usize> = wanted
        .iter()
        .map(|name| {
            all.iter().position(|c| c == name).ok_or_else(|| TableError::NoColumn {
                path: path.into(),
                name: name.clone(),
                columns: all.join(", "),
            })
        })
        .collect::<Result<_, _>>()?;
    let mut columns: Vec<Column> = wanted.into_iter().map(|name| Column { name, cells: Vec::new() }).collect();
    for (row, record) in reader.get_row_iter(None).map_err(parquet)?.enumerate() {
        let fields: Vec<Field> =
            Row::into_columns(record.map_err(parquet)?).into_iter().map(|(_, field)| field).collect();
        for (column, &position) in columns.iter_mut().zip(&positions) {
            let value = value(&fields[position]).map_err(|why| TableError::Cell {
                path: path.into(),
                row,
                name: column.name.clone(),
                why,
            })?;
            column.cells.push(value);
        }
    }
    Ok(columns)
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

fn objective_rows(path: &Path, columns: &[Column]) -> Result<Vec<f64>, TableError> {
    let n = columns[0].cells.len();
    let mut rows = Vec::with_capacity(n * columns.len());
    for row in 0..n {
        for column in columns {
            let value = column.cells[row].as_ref().and_then(Value::as_f64).filter(|v| v.is_finite());
            rows.push(value.ok_or_else(|| TableError::Cell {
                path: path.into(),
                row,
                name: column.name.clone(),
                why: "an objective must be a finite number".into(),
            })?);
        }
    }
    Ok(rows)
}

/// The space, and one level per knob and row.
fn infer_space(path: &Path, columns: &[Column]) -> Result<(Space, Vec<u32>), TableError> {
    let n = columns[0].cells.len();
    // A condition refers to an earlier knob, so knobs that are always there come first.
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&c| columns[c].cells.iter().filter(|v| v.is_none()).count());
    let mut knobs: Vec<Knob> = Vec::new();
    let mut levels = vec![Candidate::ABSENT; n * columns.len()];
    for (k, &c) in order.iter().enumerate() {
        let column = &columns[c];
        let domain = domain(column).ok_or_else(|| TableError::Shape {
            path: path.into(),
            why: format!("column `{}` mixes numbers and text, or holds nothing but nulls", column.name),
        })?;
        for (row, value) in column.cells.iter().enumerate() {
            if let Some(value) = value {
                let level = domain.values.iter().position(|v| v == value).expect("the domain holds every value");
                levels[row * columns.len() + k] = level as u32;
            }
        }
        let conditions = conditions(&levels, columns.len(), k).ok_or_else(|| TableError::Shape {
            path: path.into(),
            why: format!("column `{}` is null in rows that no other knob tells apart", column.name),
        })?;
        let block = column.name.split('.').next().unwrap_or_default().to_owned();
        knobs.push(Knob { name: column.name.clone(), domain, conditions, block });
    }
    Ok((Space { knobs }, levels))
}

/// The distinct values: numbers ascending, the rest in order of appearance.
fn domain(column: &Column) -> Option<Domain> {
    let mut values: Vec<Value> = Vec::new();
    for value in column.cells.iter().flatten() {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    let ordered = values.iter().all(|v| matches!(v, Value::Int(_) | Value::Real(_)));
    let alike = ordered || values.windows(2).all(|w| std::mem::discriminant(&w[0]) == std::mem::discriminant(&w[1]));
    if values.is_empty() || !alike {
        return None;
    }
    if ordered {
        let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
        values.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    Some(Domain { values, ordered, log: false })
}

/// The conditions on knobs before `k` under which it is there: the fewest that explain every row.
fn conditions(levels: &[u32], knobs: usize, k: usize) -> Option<Vec<Condition>> {
    let rows = || levels.chunks_exact(knobs);
    let is_there = |row: &[u32]| row[k] != Candidate::ABSENT;
    if rows().all(is_there) {
        return Some(Vec::new());
    }
    let mut conditions: Vec<Condition> = (0..k)
        .map(|knob| {
            let mut seen: Vec<u32> = Vec::new();
            rows().filter(|row| is_there(row)).for_each(|row| {
                if !seen.contains(&row[knob]) {
                    seen.push(row[knob]);
                }
            });
            seen.sort_unstable();
            Condition { knob, levels: seen }
        })
        .collect();
    let explains = |conditions: &[Condition]| {
        rows().all(|row| conditions.iter().all(|c| c.levels.contains(&row[c.knob])) == is_there(row))
    };
    if !explains(&conditions) {
        return None;
    }
    for at in (0..conditions.len()).rev() {
        let dropped = conditions.remove(at);
        if !explains(&conditions) {
            conditions.insert(at, dropped);
        }
    }
    Some(conditions)
}
