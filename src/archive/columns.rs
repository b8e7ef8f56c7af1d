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

/// The levels of one knob by the cells that they are stored as.
#[derive(Clone, Debug)]
enum Levels {
    /// Of `false` and of `true`.
    Bool([Option<u32>; 2]),
    Int(FxHashMap<i64, u32>),
    /// By the bits of the number.
    Real(FxHashMap<u64, u32>),
    Text(FxHashMap<String, u32>),
}

/// The bits of a number, for which minus zero is zero.
fn bits(v: f64) -> u64 {
    (v + 0.0).to_bits()
}

impl Levels {
    /// # Errors
    /// Two levels that would be stored alike.
    fn of(kind: Kind, values: &[Value]) -> Result<Levels, (u32, u32)> {
        let mut levels = match kind {
            Kind::Bool => Levels::Bool([None; 2]),
            Kind::Int => Levels::Int(FxHashMap::default()),
            Kind::Real => Levels::Real(FxHashMap::default()),
            Kind::Text => Levels::Text(FxHashMap::default()),
        };
        for (level, value) in (0u32..).zip(values) {
            let other = match (&mut levels, value) {
                (Levels::Bool(levels), Value::Bool(cell)) => levels[usize::from(*cell)].replace(level),
                (Levels::Int(levels), Value::Int(cell)) => levels.insert(*cell, level),
                (Levels::Real(levels), value) => value.as_f64().and_then(|cell| levels.insert(bits(cell), level)),
                (Levels::Text(levels), value) => levels.insert(value.to_string(), level),
                // The kind is that of all values.
                (Levels::Bool(_) | Levels::Int(_), _) => None,
            };
            if let Some(other) = other {
                return Err((other, level));
            }
        }
        Ok(levels)
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
    /// Of each knob.
    levels: Vec<Levels>,
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
        let levels = space.knobs.iter().zip(&kinds).map(|(knob, &kind)| {
            let values = &knob.domain.values;
            Levels::of(kind, values).map_err(|(a, b)| {
                let [a, b] = [a, b].map(|level| &values[level as usize]);
                let name = &knob.name;
                ArchiveError::Unstorable(format!("values {a} and {b} of knob `{name}` would be stored alike"))
            })
        });
        let levels = levels.collect::<Result<Vec<_>, _>>()?;
        Ok(Columns { kinds, levels, intervals: intervals.len(), schema: Arc::new(Schema::new(fields)) })
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

    /// Puts the level of one knob in each row of its column that has one; `None` for a value that the
    /// domain does not have.
    pub(crate) fn knob_levels(&self, knob: usize, cells: &ArrayRef, mut put: impl FnMut(usize, u32)) -> Option<()> {
        let mut all = |level: &dyn Fn(usize) -> Option<u32>| {
            for row in 0..cells.len() {
                if cells.is_valid(row) {
                    put(row, level(row)?);
                }
            }
            Some(())
        };
        match &self.levels[knob] {
            Levels::Bool(levels) => {
                let cells = cells.as_boolean();
                all(&|row| levels[usize::from(cells.value(row))])
            }
            Levels::Int(levels) => {
                let cells = cells.as_primitive::<Int64Type>();
                all(&|row| levels.get(&cells.value(row)).copied())
            }
            Levels::Real(levels) => {
                let cells = cells.as_primitive::<Float64Type>();
                all(&|row| levels.get(&bits(cells.value(row))).copied())
            }
            Levels::Text(levels) => {
                let cells = cells.as_string_view();
                all(&|row| levels.get(cells.value(row)).copied())
            }
        }
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
