//! The timeline of one simulation as Parquet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::ArchiveError;
use super::batch::parquet_bytes;
use crate::twin::timeline::TimelineRow;
use crate::units::MS_PER_S;

/// The rows as a Parquet file, with units in the column metadata.
///
/// # Errors
/// `Unstorable` when the Parquet writer refuses them.
pub fn timeline_parquet(rows: &[TimelineRow]) -> Result<Vec<u8>, ArchiveError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let pools: StringArray = rows.iter().map(|r| Some(r.role.name())).collect();
    fields.push(Field::new("pool", DataType::Utf8, false));
    columns.push(Arc::new(pools));
    type Cell = fn(&TimelineRow) -> f64;
    let reals: [(&str, &str, Cell); 8] = [
        ("from_s", "s", |r| r.from_ms / MS_PER_S),
        ("to_s", "s", |r| r.to_ms / MS_PER_S),
        ("gpus_starting", "GPUs", |r| r.gpus_starting),
        ("gpus_active", "GPUs", |r| r.gpus_active),
        ("gpus_draining", "GPUs", |r| r.gpus_draining),
        ("kv_util", "ratio", |r| r.kv_util),
        ("ttft_mean_ms", "ms", |r| r.ttft_mean_ms),
        ("ttft_p90_ms", "ms", |r| r.ttft_p90_ms),
    ];
    for (name, unit, cell) in reals {
        let column: Float64Array = rows.iter().map(|r| Some(cell(r)).filter(|v| !v.is_nan())).collect();
        let metadata = HashMap::from([("unit".to_owned(), unit.to_owned())]);
        fields.push(Field::new(name, DataType::Float64, true).with_metadata(metadata));
        columns.push(Arc::new(column));
    }
    type Count = fn(&TimelineRow) -> u32;
    let counts: [(&str, Count); 4] =
        [("queued", |r| r.queued), ("running", |r| r.running), ("arrived", |r| r.arrived), ("ended", |r| r.ended)];
    for (name, cell) in counts {
        let column: Int64Array = rows.iter().map(|r| Some(i64::from(cell(r)))).collect();
        let metadata = HashMap::from([("unit".to_owned(), "requests".to_owned())]);
        fields.push(Field::new(name, DataType::Int64, false).with_metadata(metadata));
        columns.push(Arc::new(column));
    }
    let record = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| ArchiveError::Unstorable(format!("a timeline does not fit its columns: {e}")))?;
    parquet_bytes(&record, &[])
}
