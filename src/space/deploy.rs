//! From a candidate to the deployment that is simulated, or to the reason why it is not.
//!
//! A knob enters here in one line: `Picks` gives its value in the candidate, or its default where
//! the candidate does not have it.

use std::fmt;

use super::schema::{self, Fallback};
use super::{Candidate, Space, Study, Value};
use crate::catalog::Backend;
use crate::timing::{Timing, WorkerShape};
use crate::twin::Deployment;
use crate::twin::deployment::{
    Admission, Preemption, QueueOrder, RouterAdmission, RouterConfig, RouterPolicy, WaitingOrder,
};
use crate::twin::router::formula::Formula;
use crate::workload::Workload;

/// Why a candidate is not simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefusalCode,
    /// The reason with its arithmetic.
    pub reason: String,
}

/// Kinds of refusal, for tables and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalCode {
    /// It needs more GPUs than there are.
    GpuBudget,
    /// The weights, or the longest request, do not fit in the GPUs' memory.
    KvCapacity,
    /// The model cannot be split in this way on these GPUs.
    Shape,
    /// The scheduler's limits contradict each other or the workload.
    Limits,
}

impl RefusalCode {
    /// The name in the archive and in reports.
    pub fn name(self) -> &'static str {
        match self {
            RefusalCode::GpuBudget => "gpu_budget",
            RefusalCode::KvCapacity => "kv_capacity",
            RefusalCode::Shape => "shape",
            RefusalCode::Limits => "limits",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.reason)
    }
}

pub(super) fn refuse<T>(code: RefusalCode, reason: String) -> Result<T, Refusal> {
    Err(Refusal { code, reason })
}

/// Turns a study's candidates into deployments. Holds what all candidates share: one timing per
/// worker shape, and what the workload asks of a worker. Immutable, to be shared by threads.
#[derive(Debug)]
pub struct Deployer<'a> {
    pub(super) study: &'a Study,
    pub(super) shapes: Vec<(WorkerShape, Result<Timing, String>)>,
    pub(super) demand: Demand,
    /// The formulas of `router.expression`.
    formulas: Vec<(&'a str, Formula)>,
}

impl<'a> Deployer<'a> {
    /// Builds the timing of every worker shape in the study's space.
    pub fn new(study: &'a Study, workload: &Workload) -> Self {
        let build = |shape: WorkerShape| {
            let timing = study.build_timing(&shape);
            (shape, timing)
        };
        let shapes = study.worker_shapes().into_iter().map(build).collect();
        let formulas = study.space.find("router.expression").map(|k| &study.space.knobs[k].domain.values);
        let formulas = formulas.into_iter().flatten().filter_map(|value| match value {
            // The study has only formulas that were read.
            Value::Text(text) => Formula::parse(text).ok().map(|formula| (text.as_str(), formula)),
            _ => None,
        });
        Deployer { study, shapes, demand: Demand::of([workload]), formulas: formulas.collect() }
    }

    /// A worker must be able to serve each of these workloads instead.
    pub fn serving(mut self, workloads: &[&Workload]) -> Self {
        self.demand = Demand::of(workloads.iter().copied());
        self
    }

    /// Where the pass times of the space's worker shapes come from, a line each.
    pub fn timing_provenance(&self) -> Vec<String> {
        let line = |(shape, timing): &(WorkerShape, Result<Timing, String>)| match timing {
            Ok(timing) => {
                let provenance = timing.provenance();
                format!("{}: {}: {}; {}", shape.label(), provenance.kind, provenance.label, provenance.source)
            }
            Err(reason) => format!("{}: impossible: {reason}", shape.label()),
        };
        self.shapes.iter().map(line).collect()
    }

    /// The deployment of a candidate.
    ///
    /// # Errors
    /// Why it is not worth simulating: too many GPUs, an impossible shape, too little memory, or
    /// limits under which some request could never be served.
    pub fn deployment(&self, candidate: &Candidate) -> Result<Deployment, Refusal> {
        let pick = Picks { space: &self.study.space, candidate };
        let topology = self.topology(&pick)?;
        let planner = self.planner(&pick, &topology)?;
        Ok(Deployment {
            topology,
            router: RouterConfig {
                policy: self.router_policy(&pick),
                decode_policy: pick.value("router.decode_policy").map(|name| router_policy(&name.to_string())),
                overlap_credit: pick.real("router.overlap_credit"),
                overlap_decay: pick.real("router.overlap_decay"),
                prefill_load_scale: pick.real("router.prefill_load_scale"),
                host_hit_weight: pick.real("router.host_hit_weight"),
                disk_hit_weight: pick.real("router.disk_hit_weight"),
                decode_request_weight: pick.real("router.decode_request_weight"),
                temperature: pick.real("router.temperature"),
                prefill_load_model: pick.flag("router.prefill_load_model"),
                kv_event_lag_ms: pick.real("router.kv_event_lag_ms"),
                queue_threshold: pick.optional_real("router.queue_threshold"),
                queue_order: queue_order(&pick.text("router.queue_policy")),
                admission: router_admission(&pick.text("router.admission")),
                admission_ttft_ms: pick.optional_real("router.admission_ttft_ms").unwrap_or(f64::INFINITY),
                session_affinity_ttl_s: pick.optional_real("router.session_affinity_ttl_s"),
            },
            planner,
            faults: self.study.faults.clone(),
            sla: self.study.sla,
            usd_per_gpu_hour: self.study.usd_per_gpu_hour,
            peer_compat: self.study.peer_compat,
            pass_by_pass: self.study.pass_by_pass,
        })
    }

    fn router_policy(&self, pick: &Picks<'_>) -> RouterPolicy {
        let name = pick.text("router.policy");
        if name != "expression" {
            return router_policy(&name);
        }
        let text = pick.text("router.expression");
        let (_, formula) = self.formulas.iter().find(|f| f.0 == text).expect("every formula of the space was read");
        let bound = formula.bind(|name| pick.optional_real(&format!("{}.{name}", schema::COEFFICIENTS)));
        RouterPolicy::Expression(bound.unwrap_or_else(|name| panic!("the coefficient {name} has a value")))
    }
}

/// The longest prompts and requests of a workload, by a bound on prompts.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// Distinct prompt lengths, ascending, each with the most tokens (prompt and output) of any
    /// request whose prompt is no longer.
    longest: Vec<Longest>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Longest {
    pub input_tokens: u32,
    pub total_tokens: u64,
}

impl Demand {
    fn of<'w>(workloads: impl IntoIterator<Item = &'w Workload>) -> Demand {
        let mut longest: Vec<Longest> = workloads
            .into_iter()
            .flat_map(|w| &w.requests)
            .map(|r| Longest {
                input_tokens: r.input_tokens,
                total_tokens: u64::from(r.input_tokens) + u64::from(r.output_tokens),
            })
            .collect();
        longest.sort_unstable_by_key(|l| (l.input_tokens, l.total_tokens));
        let mut most = 0;
        for entry in &mut longest {
            most = most.max(entry.total_tokens);
            entry.total_tokens = most;
        }
        longest.reverse();
        longest.dedup_by_key(|l| l.input_tokens);
        longest.reverse();
        Demand { longest }
    }

    /// The longest among requests that an engine with this `max_model_len` admits (those with
    /// shorter prompts); zeros when there are none.
    pub fn of_admissible(&self, max_model_len: Option<u32>) -> Longest {
        let admitted = match max_model_len {
            Some(bound) => self.longest.partition_point(|l| l.input_tokens < bound),
            None => self.longest.len(),
        };
        admitted.checked_sub(1).map_or_else(Longest::default, |last| self.longest[last])
    }
}

/// A candidate's knobs by name, defaults where the candidate does not have them.
pub(super) struct Picks<'a> {
    space: &'a Space,
    candidate: &'a Candidate,
}

impl Picks<'_> {
    pub fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.space.find(name).and_then(|k| self.space.value(self.candidate, k)) {
            return Some(value.clone());
        }
        match schema::knob(name)?.fallback {
            Fallback::Value(literal) => Some(literal.into()),
            _ => None,
        }
    }

    pub fn optional_u32(&self, name: &str) -> Option<u32> {
        self.value(name).map(|v| as_u32(&v))
    }

    pub fn u32(&self, name: &str) -> u32 {
        self.optional_u32(name).unwrap_or_else(|| panic!("{name} has a value in every candidate"))
    }

    pub fn real(&self, name: &str) -> f64 {
        self.value(name).and_then(|v| v.as_f64()).unwrap_or_else(|| panic!("{name} is a number"))
    }

    pub fn optional_real(&self, name: &str) -> Option<f64> {
        self.value(name).and_then(|v| v.as_f64())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Bool(true))
    }

    pub fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_else(|| panic!("{name} is a knob")).to_string()
    }
}

/// An integer that the schema bounds to 32 bits.
pub(super) fn as_u32(value: &Value) -> u32 {
    match value {
        Value::Int(v) => u32::try_from(*v).expect("the schema bounds it"),
        other => panic!("{other} is no integer"),
    }
}

pub(super) fn backend(name: &str) -> Backend {
    Backend::parse(name).unwrap_or_else(|| panic!("the schema has a backend {name} that the catalogue has not"))
}

fn router_policy(name: &str) -> RouterPolicy {
    match name {
        "round_robin" => RouterPolicy::RoundRobin,
        "random" => RouterPolicy::Random,
        "least_loaded" => RouterPolicy::LeastLoaded,
        "power_of_two" => RouterPolicy::PowerOfTwo,
        "kv" => RouterPolicy::Kv,
        "lmetric" => RouterPolicy::Lmetric,
        "two_tier" => RouterPolicy::TwoTier,
        other => panic!("the schema has a router policy {other} that the twin has not"),
    }
}

fn router_admission(name: &str) -> RouterAdmission {
    match name {
        "off" => RouterAdmission::Off,
        "queue" => RouterAdmission::Queue,
        "reject" => RouterAdmission::Reject,
        other => panic!("the schema has an admission {other} that the twin has not"),
    }
}

fn queue_order(name: &str) -> QueueOrder {
    match name {
        "fcfs" => QueueOrder::Fcfs,
        "lcfs" => QueueOrder::Lcfs,
        "wspt" => QueueOrder::Wspt,
        other => panic!("the schema has a queue policy {other} that the twin has not"),
    }
}

pub(super) fn preemption(name: &str) -> Preemption {
    match name {
        "lifo" => Preemption::Lifo,
        "fifo" => Preemption::Fifo,
        other => panic!("the schema has a preemption order {other} that the twin has not"),
    }
}

pub(super) fn admission(name: &str) -> Admission {
    match name {
        "whole_sequence" => Admission::WholeSequence,
        "first_chunk" => Admission::FirstChunk,
        other => panic!("the schema has an admission test {other} that the twin has not"),
    }
}

pub(super) fn waiting_order(name: &str) -> WaitingOrder {
    match name {
        "fifo" => WaitingOrder::Fifo,
        "longest_prefix" => WaitingOrder::LongestPrefix,
        other => panic!("the schema has a waiting order {other} that the twin has not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::schema::Kind;

    /// Every name that the schema lets through has a meaning here.
    #[test]
    fn every_legal_name_is_understood() {
        for (knob, understand) in [
            (
                "engine.backend",
                (|n| {
                    backend(n);
                }) as fn(&str),
            ),
            ("router.policy", |n| {
                // A formula is more than its name.
                if n != "expression" {
                    router_policy(n);
                }
            }),
            ("router.admission", |n| {
                router_admission(n);
            }),
            ("router.queue_policy", |n| {
                queue_order(n);
            }),
            ("engine.waiting_order", |n| {
                waiting_order(n);
            }),
            ("engine.preemption", |n| {
                preemption(n);
            }),
            ("engine.admission", |n| {
                admission(n);
            }),
            ("router.decode_policy", |n| {
                router_policy(n);
            }),
            ("transfer.charge", |n| {
                super::super::pools::charge(n);
            }),
            ("deployment.mode", |n| {
                super::super::pools::roles(n);
            }),
        ] {
            let Kind::Choice { legal } = schema::knob(knob).unwrap().kind else { panic!("{knob} is no choice") };
            assert!(!legal.is_empty());
            legal.iter().for_each(|name| understand(name));
        }
    }

    #[test]
    fn demand_is_that_of_the_admissible_requests() {
        let demand = Demand {
            longest: vec![
                Longest { input_tokens: 10, total_tokens: 500 },
                Longest { input_tokens: 100, total_tokens: 500 },
                Longest { input_tokens: 1000, total_tokens: 1001 },
            ],
        };
        assert_eq!(demand.of_admissible(None).total_tokens, 1001);
        assert_eq!(demand.of_admissible(Some(1001)).total_tokens, 1001);
        assert_eq!(demand.of_admissible(Some(1000)).input_tokens, 100, "a prompt as long as max_model_len is rejected");
        assert_eq!(demand.of_admissible(Some(1)).total_tokens, 0);
    }
}
