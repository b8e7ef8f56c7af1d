//! Chosen rows of the archive, with its columns, as CSV or Parquet: `frontier.{csv,parquet}` and
//! what else is exported.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};

use super::batch::{parquet_bytes, record_batch};
use super::csv::{Csv, number_cell, text_cell};
use super::{ArchiveError, Batch, Columns};
use crate::frontier::nondominated;
use crate::search::Evaluation;
use crate::space::Study;

/// Row indices, over all batches in order, of the frontier: feasible, finite in every objective,
/// not dominated; of equal points the first. Ascending in the first objective, then the second, ...
pub(crate) fn frontier_rows(study: &Study, evaluations: &[&Evaluation]) -> Vec<usize> {
    let m = study.objectives.len();
    if m == 0 {
        return Vec::new();
    }
    let feasible: Vec<usize> = (0..evaluations.len()).filter(|&i| evaluations[i].is_feasible()).collect();
    let points: Vec<f64> = feasible.iter().flat_map(|&i| &evaluations[i].objectives).copied().collect();
    let mut rows: Vec<usize> = nondominated(&points, m).into_iter().map(|i| feasible[i]).collect();
    rows.sort_by(|&a, &b| {
        let pairs = evaluations[a].objectives.iter().zip(&evaluations[b].objectives);
        pairs.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or_else(|| a.cmp(&b))
    });
    rows
}

/// Rows of the archive.
#[derive(Clone, Debug)]
pub struct Table {
    record: RecordBatch,
}

impl Table {
    /// The rows with these indices over all batches, in the order given.
    ///
    /// # Errors
    /// `Unstorable` when the space does not fit the archive's columns.
    pub fn new(study: &Study, batches: &[Batch], rows: &[usize]) -> Result<Table, ArchiveError> {
        let all: Vec<(&Batch, &Evaluation)> =
            batches.iter().flat_map(|b| b.evaluations.iter().map(move |e| (b, e))).collect();
        let chosen: Vec<(&Batch, &Evaluation)> = rows.iter().map(|&row| all[row]).collect();
        let indices: Vec<u32> = chosen.iter().map(|(b, _)| b.index).collect();
        let strategies: Vec<&str> = chosen.iter().map(|(b, _)| b.strategy.as_str()).collect();
        let evaluations: Vec<&Evaluation> = chosen.iter().map(|(_, e)| *e).collect();
        let record = record_batch(study, &Columns::of(study)?, &indices, &strategies, &evaluations)?;
        Ok(Table { record })
    }

    /// Column names.
    pub fn header(&self) -> Vec<String> {
        self.record.schema_ref().fields().iter().map(|f: &std::sync::Arc<Field>| f.name().clone()).collect()
    }

    /// One row as CSV cells, empty for null.
    pub fn cells(&self, row: usize) -> Vec<String> {
        let cell = |column: &arrow_array::ArrayRef| match column.data_type() {
            _ if column.is_null(row) => String::new(),
            DataType::Boolean => column.as_boolean().value(row).to_string(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Float64 => number_cell(column.as_primitive::<Float64Type>().value(row)),
            _ => text_cell(column.as_string::<i32>().value(row)),
        };
        self.record.columns().iter().map(cell).collect()
    }

    /// The whole table as CSV.
    pub fn to_csv(&self) -> String {
        let header = self.header();
        let mut csv = Csv::new(header.iter().map(String::as_str));
        (0..self.record.num_rows()).for_each(|row| csv.row(self.cells(row)));
        csv.finish()
    }

    /// The whole table as a Parquet file.
    ///
    /// # Errors
    /// `Unstorable` when the writer refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, ArchiveError> {
        parquet_bytes(&self.record, &[])
    }
}
