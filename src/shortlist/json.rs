//! `shortlist.json` and each entry's `expected.json`: the shortlist for programs.
//!
//! Keys come in a fixed order, metrics and knobs in that of the archive; a missing value is `null`.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value as Json, json};

use super::{Assessed, Assessment, BoundChance, Interval, Margin, Pick, Role, Shortlist, write::directory_name};
use crate::archive::{RunData, knob_unit};
use crate::search::Evaluation;
use crate::space::{Objective, Value};
use crate::twin::metrics::METRICS;

/// An object whose keys keep their order.
struct Object(Vec<(String, Node)>);

/// A JSON value with ordered objects.
enum Node {
    Leaf(Json),
    Object(Object),
    List(Vec<Node>),
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Leaf(value) => value.serialize(serializer),
            Node::Object(object) => object.serialize(serializer),
            Node::List(items) => items.serialize(serializer),
        }
    }
}

impl<T: Into<Json>> From<T> for Node {
    fn from(value: T) -> Node {
        Node::Leaf(value.into())
    }
}

fn object<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Object(Object(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()))
}

fn list(items: impl Iterator<Item = Node>) -> Node {
    Node::List(items.collect())
}

/// A number; `null` for what JSON cannot say.
fn number(value: f64) -> Node {
    Node::Leaf(if value.is_finite() { json!(value) } else { Json::Null })
}

fn text(node: &Node) -> String {
    // Keys are strings and numbers finite, so that serialising cannot fail.
    let mut text = serde_json::to_string_pretty(node).unwrap_or_default();
    text.push('\n');
    text
}

fn metrics(evaluation: &Evaluation, assessed: Option<&Assessed>) -> Node {
    let entries = METRICS.iter().enumerate().map(|(index, metric)| {
        let value = evaluation.metrics.get(index).copied().unwrap_or(f64::NAN);
        let Some(Interval { low, median, high }) = assessed.and_then(|a| a.interval(index)) else {
            return (metric.name.to_string(), object([("value", number(value)), ("unit", metric.unit.into())]));
        };
        let node = object([
            ("value", number(value)),
            ("unit", metric.unit.into()),
            ("low", number(*low)),
            ("median", number(*median)),
            ("high", number(*high)),
        ]);
        (metric.name.to_string(), node)
    });
    Node::Object(Object(entries.collect()))
}

fn knobs(run: &RunData, evaluation: &Evaluation) -> Node {
    let space = &run.study.space;
    let entries = space.knobs.iter().enumerate().filter_map(|(index, knob)| {
        let value = match space.value(&evaluation.candidate, index)? {
            Value::Bool(v) => json!(v),
            Value::Int(v) => json!(v),
            Value::Real(v) => json!(v),
            Value::Text(v) => json!(v),
        };
        let unit: Node = knob_unit(&knob.name).into();
        Some((knob.name.clone(), object([("value", Node::Leaf(value)), ("unit", unit)])))
    });
    Node::Object(Object(entries.collect()))
}

fn margin(margin: &Margin) -> Node {
    object([
        ("metric", margin.name().into()),
        ("unit", METRICS[margin.metric].unit.into()),
        (if margin.is_max { "max" } else { "min" }, number(margin.bound)),
        ("value", number(margin.value)),
        ("holds", margin.holds().into()),
        ("room", number(margin.room)),
    ])
}

fn objective(objective: &Objective) -> Node {
    object([
        ("metric", METRICS[objective.metric].name.into()),
        ("unit", METRICS[objective.metric].unit.into()),
        ("direction", if objective.maximize { "maximize" } else { "minimize" }.into()),
    ])
}

impl Role {
    /// The role in machine-readable output.
    pub(crate) fn tag(self, objectives: &[Objective]) -> String {
        match self {
            Role::Knee => "knee".into(),
            Role::Best(index) => format!("best:{}", METRICS[objectives[index].metric].name),
            Role::Covers => "covers".into(),
            Role::Hedge => "hedge".into(),
            Role::NearestMiss => "nearest_miss".into(),
            Role::LeastBroken => "least_broken".into(),
        }
    }
}

/// The chances of an entry; `null` where nothing was simulated for it.
fn chances(assessed: Option<&Assessed>) -> Node {
    let Some(assessed) = assessed else { return Node::Leaf(Json::Null) };
    let bound = |b: &BoundChance| {
        let side = if b.is_max { "max" } else { "min" };
        object([("metric", b.metric.as_str().into()), (side, number(b.bound)), ("holds", number(b.holds))])
    };
    object([
        ("feasible", number(assessed.feasible)),
        ("frontier", number(assessed.frontier)),
        ("bounds", list(assessed.bounds.iter().map(bound))),
    ])
}

/// How intervals and chances were made; `null` where nothing was simulated.
fn intervals(assessment: Option<&Assessment>) -> Node {
    let Some(assessment) = assessment else { return Node::Leaf(Json::Null) };
    object([
        ("chance", number(assessment.chance)),
        ("draws", assessment.draws.into()),
        ("blocks", assessment.blocks.into()),
        ("seed", assessment.seed.into()),
        ("timing_errors", assessment.timing_errors.as_str().into()),
    ])
}

fn entry(run: &RunData, shortlist: &Shortlist, pick: &Pick) -> Node {
    let evaluation = run.evaluations()[pick.row];
    object([
        ("rank", pick.rank.into()),
        ("id", pick.id.as_str().into()),
        ("directory", format!("shortlist/{}", directory_name(pick)).into()),
        ("feasible", evaluation.is_feasible().into()),
        ("roles", list(pick.roles.iter().map(|role| role.tag(&run.study.objectives).into()))),
        ("why", pick.why.as_str().into()),
        ("hypervolume_gain", number(pick.gain)),
        ("stands_for", list(pick.stands_for.iter().map(|id| id.as_str().into()))),
        ("margins", list(pick.margins.iter().map(margin))),
        ("chances", chances(shortlist.assessed(pick))),
        ("knobs", knobs(run, evaluation)),
        ("metrics", metrics(evaluation, shortlist.assessed(pick))),
    ])
}

/// The shortlist as a JSON object, as in `shortlist.json`.
pub fn shortlist_json(run: &RunData, shortlist: &Shortlist) -> String {
    let counts = &shortlist.counts;
    text(&object([
        ("name", run.study.name.as_str().into()),
        ("size", shortlist.size.into()),
        ("feasible", shortlist.feasible.into()),
        ("hypervolume_covered", shortlist.coverage.map_or(Node::Leaf(Json::Null), number)),
        (
            "counts",
            object([
                ("evaluated", counts.evaluated.into()),
                ("feasible", counts.feasible.into()),
                ("infeasible", counts.infeasible.into()),
                ("refused", counts.refused.into()),
                ("spared", counts.spared.into()),
                ("frontier", counts.frontier.into()),
                ("frontier_distinct", counts.distinct.into()),
            ]),
        ),
        ("intervals", intervals(shortlist.assessment.as_ref())),
        ("robust", {
            let robust = shortlist.assessment.as_ref().and_then(|a| a.robust.as_ref());
            Node::Leaf(robust.map_or(Json::Null, |r| serde_json::to_value(r).unwrap_or(Json::Null)))
        }),
        ("objectives", list(run.study.objectives.iter().map(objective))),
        ("entries", list(shortlist.picks.iter().map(|pick| entry(run, shortlist, pick)))),
        (
            "ruled_out",
            list(shortlist.blockers.iter().map(|b| {
                object([
                    ("cause", b.cause.as_str().into()),
                    ("refused_before_simulation", b.is_refusal.into()),
                    ("candidates", b.candidates.into()),
                ])
            })),
        ),
        (
            "inert_knobs",
            list(
                shortlist.inert.iter().map(|knob| {
                    object([("knob", knob.name.as_str().into()), ("comparisons", knob.comparisons.into())])
                }),
            ),
        ),
    ]))
}

/// `expected.json`: what a measurement of this entry on GPUs is to be compared with.
pub(crate) fn expected_json(run: &RunData, shortlist: &Shortlist, pick: &Pick) -> String {
    let evaluation = run.evaluations()[pick.row];
    text(&object([
        ("format", 1.into()),
        ("servescout", run.run.servescout.as_str().into()),
        ("study", run.study.name.as_str().into()),
        ("id", pick.id.as_str().into()),
        ("rank", pick.rank.into()),
        ("seed", run.run.seed.into()),
        ("fidelity", "full".into()),
        (
            "workload",
            object([
                ("source", run.workload.source.as_str().into()),
                ("sha256", run.workload.sha256.as_str().into()),
                ("requests", run.workload.requests.into()),
            ]),
        ),
        ("timing", list(run.timing.iter().map(|line| line.as_str().into()))),
        ("margins", list(pick.margins.iter().map(margin))),
        ("intervals", intervals(shortlist.assessment.as_ref())),
        ("metrics", metrics(evaluation, shortlist.assessed(pick))),
    ]))
}
