//! The columns of the archive: which there are for a study, their types, units and directions, and
//! the way from a candidate to its cells and back.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use rustc_hash::FxHashMap;

use super::ArchiveError;
use crate::space::{Candidate, Objective, Space, Study, Value, schema};
use crate::twin::metrics::{METRICS, MetricInfo};

/// How the values of one knob are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Real,
    Text,
}

impl Kind {
    /// The narrowest type that holds every value; a domain that mixes names and numbers is text.
    fn of(values: &[Value]) -> Kind {
        let all = |test: fn(&Value) -> bool| values.iter().all(test);
        if all(|v| matches!(v, Value::Bool(_))) {
            Kind::Bool
        } else if all(|v| matches!(v, Value::Int(_))) {
            Kind::Int
        } else if all(|v| matches!(v, Value::Int(_) | Value::Real(_))) {
            Kind::Real
        } else {
            Kind::Text
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Real => DataType::Float64,
            Kind::Text => DataType::Utf8,
        }
    }
}

/// The unit of a knob's values, for those that have one.
pub fn knob_unit(name: &str) -> Option<&'static str> {
    schema::knob(name).map(|row| row.unit).filter(|unit| !unit.is_empty())
}

/// The archive's columns for one space, in the order of the file:
/// `id, batch, strategy`, the knobs, the metrics, `violation, feasible, reason, fidelity`, and with
/// replications `<objective>.half_width_80`.
#[derive(Clone, Debug)]
pub struct Columns {
    kinds: Vec<Kind>,
    /// Objectives whose intervals are kept.
    intervals: usize,
    schema: SchemaRef,
}

/// Columns before the knobs.
const LEADING: usize = 3;

impl Columns {
    /// The columns for a study.
    ///
    /// # Errors
    /// `Unstorable` when two columns would have one name, or two values of a knob one cell.
    pub fn of(study: &Study) -> Result<Columns, ArchiveError> {
        let is_replicated = study.search.replicates > 1;
        Self::with_intervals(&study.space, if is_replicated { &study.objectives } else { &[] })
    }

    fn with_intervals(space: &Space, intervals: &[Objective]) -> Result<Columns, ArchiveError> {
        let kinds: Vec<Kind> = space.knobs.iter().map(|k| Kind::of(&k.domain.values)).collect();
        let plain = |name: &str, kind, nullable| Field::new(name, kind, nullable);
        let mut fields = vec![
            plain("id", DataType::Utf8, false),
            plain("batch", DataType::Int64, false),
            plain("strategy", DataType::Utf8, false),
        ];
        for (knob, kind) in space.knobs.iter().zip(&kinds) {
            let mut metadata = vec![("role".to_string(), "knob".to_string())];
            metadata.extend(knob_unit(&knob.name).map(|unit| ("unit".to_string(), unit.to_string())));
            fields.push(Field::new(&knob.name, kind.data_type(), true).with_metadata(into_metadata(metadata)));
        }
        fields.extend(METRICS.iter().map(metric_field));
        fields.extend([
            plain("violation", DataType::Float64, false),
            plain("feasible", DataType::Boolean, false),
            plain("reason", DataType::Utf8, true),
            plain("fidelity", DataType::Utf8, false),
        ]);
        fields.extend(intervals.iter().map(|objective| half_width_field(&METRICS[objective.metric])));
        let mut names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ArchiveError::Unstorable(format!("two columns would be named `{}`", pair[0])));
        }
        for (knob, &kind) in space.knobs.iter().zip(&kinds) {
            let values = &knob.domain.values;
            let twins = (0..values.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            if let Some((a, b)) = { twins }.find(|&(a, b)| same_cell(kind, &values[a], &values[b])) {
                return Err(ArchiveError::Unstorable(format!(
                    "values {} and {} of knob `{}` would be stored alike",
                    values[a], values[b], knob.name
                )));
            }
        }
        Ok(Columns { kinds, intervals: intervals.len(), schema: Arc::new(Schema::new(fields)) })
    }

    /// The Arrow schema, with unit and direction in the fields' metadata.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Position of the first metric column; `METRICS.len()` of them follow one another.
    pub(crate) fn first_metric(&self) -> usize {
        LEADING + self.kinds.len()
    }

    /// Number of objectives whose intervals are kept, in the last columns.
    pub(crate) fn objectives_with_intervals(&self) -> usize {
        self.intervals
    }

    /// The intervals of one row, one per objective; empty when none are kept.
    pub(crate) fn half_widths(&self, record: &RecordBatch, row: usize) -> Vec<f64> {
        let first = record.num_columns() - self.intervals;
        let cell = |column: usize| {
            let cells = record.column(column).as_primitive::<Float64Type>();
            if cells.is_null(row) { f64::NAN } else { cells.value(row) }
        };
        let widths: Vec<f64> = (first..record.num_columns()).map(cell).collect();
        // A refused candidate has none.
        if widths.iter().all(|w| w.is_nan()) { Vec::new() } else { widths }
    }

    /// Position of the first knob column.
    pub(crate) fn first_knob(&self) -> usize {
        LEADING
    }

    /// The cells of one knob for some candidates, null where it is absent.
    pub(crate) fn knob_cells(&self, space: &Space, knob: usize, candidates: &[&Candidate]) -> ArrayRef {
        let values = candidates.iter().map(|c| space.value(c, knob));
        match self.kinds[knob] {
            Kind::Bool => {
                let mut cells = BooleanBuilder::new();
                values.for_each(|v| cells.append_option(v.map(|v| *v == Value::Bool(true))));
                Arc::new(cells.finish())
            }
            Kind::Int => {
                let mut cells = Int64Builder::new();
                values.for_each(|v| {
                    cells.append_option(v.and_then(|v| if let Value::Int(n) = v { Some(*n) } else { None }))
                });
                Arc::new(cells.finish())
            }
            Kind::Real => {
                let mut cells = Float64Builder::new();
                values.for_each(|v| cells.append_option(v.and_then(Value::as_f64)));
                Arc::new(cells.finish())
            }
            Kind::Text => {
                let mut cells = StringBuilder::new();
                values.for_each(|v| cells.append_option(v.map(Value::to_string)));
                Arc::new(cells.finish())
            }
        }
    }

    /// The level of one knob in each row of its column: [`Candidate::ABSENT`] for null, `None` for a
    /// value that the domain does not have.
    pub(crate) fn knob_levels(&self, space: &Space, knob: usize, cells: &ArrayRef) -> Vec<Option<u32>> {
        let values = (0u32..).zip(&space.knobs[knob].domain.values);
        let cells_of = |level: &dyn Fn(usize) -> Option<u32>| {
            let of_row = |row| if cells.is_null(row) { Some(Candidate::ABSENT) } else { level(row) };
            (0..cells.len()).map(of_row).collect()
        };
        match self.kinds[knob] {
            Kind::Bool => {
                let level_of = |cell| values.clone().find(|(_, v)| **v == Value::Bool(cell)).map(|(level, _)| level);
                cells_of(&|row| level_of(cells.as_boolean().value(row)))
            }
            Kind::Int => {
                let number = |v: &Value| if let Value::Int(n) = v { Some(*n) } else { None };
                let levels: FxHashMap<i64, u32> = values.filter_map(|(level, v)| Some((number(v)?, level))).collect();
                cells_of(&|row| levels.get(&cells.as_primitive::<Int64Type>().value(row)).copied())
            }
            Kind::Real => {
                // Plus zero, so that it equals minus zero.
                let bits = |v: f64| (v + 0.0).to_bits();
                let levels: FxHashMap<u64, u32> =
                    values.filter_map(|(level, v)| Some((bits(v.as_f64()?), level))).collect();
                cells_of(&|row| levels.get(&bits(cells.as_primitive::<Float64Type>().value(row))).copied())
            }
            Kind::Text => {
                let levels: FxHashMap<String, u32> = values.map(|(level, v)| (v.to_string(), level)).collect();
                cells_of(&|row| levels.get(cells.as_string::<i32>().value(row)).copied())
            }
        }
    }
}

fn same_cell(kind: Kind, a: &Value, b: &Value) -> bool {
    match kind {
        Kind::Bool | Kind::Int => a == b,
        Kind::Real => a.as_f64() == b.as_f64(),
        Kind::Text => a.to_string() == b.to_string(),
    }
}

fn into_metadata(pairs: Vec<(String, String)>) -> std::collections::HashMap<String, String> {
    pairs.into_iter().collect()
}

fn metric_field(metric: &MetricInfo) -> Field {
    let direction = if metric.higher_is_better { "higher is better" } else { "lower is better" };
    Field::new(metric.name, DataType::Float64, true).with_metadata(into_metadata(vec![
        ("role".into(), "metric".into()),
        ("unit".into(), metric.unit.into()),
        ("direction".into(), direction.into()),
        ("definition".into(), metric.definition.into()),
    ]))
}

fn half_width_field(metric: &MetricInfo) -> Field {
    let name = format!("{}.half_width_80", metric.name);
    Field::new(name, DataType::Float64, true).with_metadata(into_metadata(vec![
        ("role".into(), "interval".into()),
        ("unit".into(), metric.unit.into()),
        ("definition".into(), "Half the width of the 80 % interval of the mean over replications.".into()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Domain, Knob};

    fn space(name: &str, values: Vec<Value>) -> Space {
        let domain = Domain { values, ordered: true, log: false };
        Space { knobs: vec![Knob { name: name.into(), domain, conditions: vec![], block: "shape".into() }] }
    }

    fn of(space: &Space) -> Result<Columns, ArchiveError> {
        Columns::with_intervals(space, &[])
    }

    #[test]
    fn types_follow_the_domain() {
        let kind = |values: Vec<Value>| {
            let columns = of(&space("a.b", values)).unwrap();
            columns.schema().field_with_name("a.b").unwrap().data_type().clone()
        };
        assert_eq!(kind(vec![Value::Bool(false), Value::Bool(true)]), DataType::Boolean);
        assert_eq!(kind(vec![Value::Int(1)]), DataType::Int64);
        assert_eq!(kind(vec![Value::Int(1), Value::Real(1.5)]), DataType::Float64);
        assert_eq!(kind(vec![Value::Text("x".into()), Value::Int(1)]), DataType::Utf8);
    }

    #[test]
    fn units_and_directions_are_in_the_metadata() {
        let schema = of(&space("engine.block_size", vec![Value::Int(64)])).unwrap().schema();
        assert_eq!(schema.field_with_name("engine.block_size").unwrap().metadata()["unit"], "tokens");
        let ttft = schema.field_with_name("ttft_p90_ms").unwrap();
        assert_eq!(ttft.metadata()["unit"], "ms");
        assert_eq!(ttft.metadata()["direction"], "lower is better");
    }

    #[test]
    fn a_knob_may_not_hide_a_column_nor_a_value_another() {
        let error = of(&space("violation", vec![Value::Int(0)])).unwrap_err().to_string();
        assert!(error.contains("`violation`"), "{error}");
        let alike = vec![Value::Text("1".into()), Value::Int(1)];
        let error = of(&space("a.b", alike)).unwrap_err().to_string();
        assert!(error.contains("`a.b`"), "{error}");
    }
}
