//! One row per request of one simulation, as JSON Lines or Parquet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde::Serialize;

use super::ArchiveError;
use super::batch::parquet_bytes;
use crate::twin::{RequestRecord, Status};
use crate::workload::Workload;

/// One request, in the fields and the order of both formats; null where a field does not apply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestRow<'a> {
    /// Line of the trace, from 0.
    pub row: u32,
    /// The session's name in the trace; null for a request without one.
    pub session: Option<&'a str>,
    /// Turn within the session, from 0.
    pub turn: u32,
    /// `completed`, `rejected`, `failed` or `unfinished`.
    pub status: &'static str,
    pub arrival_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
    pub tpot_ms: Option<f64>,
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Prompt tokens found in the KV cache.
    pub reused_tokens: u32,
    pub preemptions: u32,
    /// Worker that decoded it, from 0.
    pub worker: Option<u32>,
    /// Worker that computed its prompt, when that is another.
    pub prefill_worker: Option<u32>,
    /// Arrival to first admission by an engine.
    pub queue_ms: Option<f64>,
    /// Moving its KV blocks from the prefill worker.
    pub transfer_ms: Option<f64>,
    /// Those of the reused tokens that were kept in host memory; null without KV tiers, as below.
    pub host_tokens: Option<u32>,
    /// Those of the reused tokens that were brought from disk.
    pub disk_tokens: Option<u32>,
    /// Waiting for transfers between KV tiers.
    pub tier_wait_ms: Option<f64>,
}

impl<'a> RequestRow<'a> {
    /// The row of a record of a simulation of `workload`.
    pub fn new(record: &RequestRecord, workload: &'a Workload) -> RequestRow<'a> {
        let ms = |value: f64| (!value.is_nan()).then_some(value);
        let index = |value: u32| (value != u32::MAX).then_some(value);
        let tiered = |tokens: u32| (!record.tier_wait_ms.is_nan()).then_some(tokens);
        let name = workload.session_names[record.session as usize].as_str();
        RequestRow {
            row: record.row,
            session: (!name.is_empty()).then_some(name),
            turn: record.turn,
            status: match record.status {
                Status::Completed => "completed",
                Status::Rejected => "rejected",
                Status::Failed => "failed",
                Status::Unfinished => "unfinished",
            },
            arrival_ms: ms(record.arrival_ms),
            ttft_ms: ms(record.ttft_ms),
            e2e_ms: ms(record.e2e_ms),
            tpot_ms: ms(record.tpot_ms),
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            reused_tokens: record.reused_tokens,
            preemptions: record.preemptions,
            worker: index(record.worker),
            prefill_worker: index(record.prefill_worker),
            queue_ms: ms(record.queue_ms),
            transfer_ms: ms(record.transfer_ms),
            host_tokens: tiered(record.host_tokens),
            disk_tokens: tiered(record.disk_tokens),
            tier_wait_ms: ms(record.tier_wait_ms),
        }
    }
}

/// The rows as JSON Lines.
///
/// # Errors
/// `Unstorable` when a row cannot be serialised.
pub fn requests_jsonl(rows: &[RequestRow<'_>]) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::with_capacity(rows.len() * 320);
    for row in rows {
        serde_json::to_writer(&mut bytes, row).map_err(|e| ArchiveError::Unstorable(format!("a request: {e}")))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// The rows as a Parquet file, with units in the column metadata.
///
/// # Errors
/// `Unstorable` when the Parquet writer refuses them.
pub fn requests_parquet(rows: &[RequestRow<'_>]) -> Result<Vec<u8>, ArchiveError> {
    let mut table = Table::default();
    table.integers("row", rows, |r| Some(r.row));
    table.texts("session", rows, |r| r.session);
    table.integers("turn", rows, |r| Some(r.turn));
    table.texts("status", rows, |r| Some(r.status));
    table.times("arrival_ms", rows, |r| r.arrival_ms);
    table.times("ttft_ms", rows, |r| r.ttft_ms);
    table.times("e2e_ms", rows, |r| r.e2e_ms);
    table.times("tpot_ms", rows, |r| r.tpot_ms);
    table.integers("input_tokens", rows, |r| Some(r.input_tokens));
    table.integers("output_tokens", rows, |r| Some(r.output_tokens));
    table.integers("reused_tokens", rows, |r| Some(r.reused_tokens));
    table.integers("preemptions", rows, |r| Some(r.preemptions));
    table.integers("worker", rows, |r| r.worker);
    table.integers("prefill_worker", rows, |r| r.prefill_worker);
    table.times("queue_ms", rows, |r| r.queue_ms);
    table.times("transfer_ms", rows, |r| r.transfer_ms);
    table.integers("host_tokens", rows, |r| r.host_tokens);
    table.integers("disk_tokens", rows, |r| r.disk_tokens);
    table.times("tier_wait_ms", rows, |r| r.tier_wait_ms);
    let record = RecordBatch::try_new(Arc::new(Schema::new(table.fields)), table.columns)
        .map_err(|e| ArchiveError::Unstorable(format!("requests do not fit their columns: {e}")))?;
    parquet_bytes(&record, &[])
}

#[derive(Default)]
struct Table {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Table {
    fn push(&mut self, name: &str, kind: DataType, unit: Option<&str>, column: ArrayRef) {
        let metadata: HashMap<String, String> = unit.map(|u| ("unit".to_owned(), u.to_owned())).into_iter().collect();
        self.fields.push(Field::new(name, kind, true).with_metadata(metadata));
        self.columns.push(column);
    }

    fn integers<'a>(&mut self, name: &str, rows: &[RequestRow<'a>], cell: impl Fn(&RequestRow<'a>) -> Option<u32>) {
        let column: Int64Array = rows.iter().map(|r| cell(r).map(i64::from)).collect();
        let unit = name.ends_with("_tokens").then_some("tokens");
        self.push(name, DataType::Int64, unit, Arc::new(column));
    }

    fn texts<'a>(&mut self, name: &str, rows: &[RequestRow<'a>], cell: impl Fn(&RequestRow<'a>) -> Option<&'a str>) {
        let column: StringArray = rows.iter().map(cell).collect();
        self.push(name, DataType::Utf8, None, Arc::new(column));
    }

    fn times<'a>(&mut self, name: &str, rows: &[RequestRow<'a>], cell: impl Fn(&RequestRow<'a>) -> Option<f64>) {
        let column: Float64Array = rows.iter().map(cell).collect();
        self.push(name, DataType::Float64, Some("ms"), Arc::new(column));
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn row(session: Option<&str>) -> RequestRow<'_> {
        RequestRow {
            row: 7,
            session,
            turn: 0,
            status: "rejected",
            arrival_ms: Some(0.5),
            ttft_ms: None,
            e2e_ms: None,
            tpot_ms: None,
            input_tokens: 10,
            output_tokens: 0,
            reused_tokens: 0,
            preemptions: 0,
            worker: Some(0),
            prefill_worker: None,
            queue_ms: None,
            transfer_ms: None,
            host_tokens: None,
            disk_tokens: None,
            tier_wait_ms: None,
        }
    }

    #[test]
    fn json_lines_have_every_field_and_null_where_it_does_not_apply() {
        let text = String::from_utf8(requests_jsonl(&[row(None)]).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"row\":7,\"session\":null,\"turn\":0,\"status\":\"rejected\",\"arrival_ms\":0.5,\"ttft_ms\":null,\
             \"e2e_ms\":null,\"tpot_ms\":null,\"input_tokens\":10,\"output_tokens\":0,\"reused_tokens\":0,\
             \"preemptions\":0,\"worker\":0,\"prefill_worker\":null,\"queue_ms\":null,\"transfer_ms\":null,\
             \"host_tokens\":null,\"disk_tokens\":null,\"tier_wait_ms\":null}\n"
        );
    }

    #[test]
    fn parquet_has_the_columns_of_the_json() {
        let bytes = requests_parquet(&[row(Some("chat-\u{e9}")), row(None)]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let json = serde_json::to_value(row(None)).unwrap();
        let mut names: Vec<&str> = reader.schema().fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(reader.schema().field_with_name("ttft_ms").unwrap().metadata()["unit"], "ms");
        names.sort_unstable();
        let mut expected: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let record = reader.build().unwrap().next().unwrap().unwrap();
        let column = |name: &str| record.column_by_name(name).unwrap();
        assert_eq!(column("session").as_string::<i32>().value(0), "chat-\u{e9}");
        assert!(column("session").is_null(1) && column("ttft_ms").is_null(0));
        assert_eq!(column("row").as_primitive::<Int64Type>().value(1), 7);
    }
}
