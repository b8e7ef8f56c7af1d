//! The worst that reasonable changes do to a candidate, and a choice by it.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::assess::{Assessor, Values, Verdict};
use super::errors::pools_mut;
use super::select::{Chosen, Role, Selection, from_frontier};
use crate::archive::RunData;
use crate::frontier::nondominated;
use crate::search::Evaluation;
use crate::space::Study;
use crate::twin::metrics::{METRIC_COUNT, METRICS, Metric};
use crate::twin::planner::PlannerConfig;
use crate::twin::{self, Deployment};
use crate::workload::{Load, SourceSpec, Workload, WorkloadSpec, load};

/// Most frontier members that are looked at.
const MOST: usize = 60;
/// Gaps between arrivals are raised to this power.
const BURSTS: f64 = 1.5;

/// A change that a deployment should survive.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Scenario {
    pub name: String,
    /// What it changes, or why it does not apply.
    pub words: String,
    pub applies: bool,
}

/// What became of candidates in the worst case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Robust {
    pub scenarios: Vec<Scenario>,
    /// Frontier members, in the order of the frontier.
    pub candidates: Vec<WorstCase>,
    /// The choice by worst cases, in order.
    pub chosen: Vec<ChosenByWorst>,
    /// Candidates that keep every constraint in every scenario.
    pub survivors: usize,
}

/// One candidate over all scenarios, the plain one included.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct WorstCase {
    pub id: String,
    /// The worst value of each objective's metric, and the scenario it is from (`plain` for none);
    /// `null` where a scenario left nothing to measure.
    pub worst: Vec<(Option<f64>, String)>,
    /// What it breaks: the scenario, and the bound.
    pub broken: Vec<String>,
    /// The largest violation, relative; `null` for one without measure.
    pub violation: Option<f64>,
}

/// An entry of a choice by worst cases.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChosenByWorst {
    pub id: String,
    pub roles: Vec<Role>,
    pub gain: f64,
    pub stands_for: Vec<String>,
}

/// A scenario and what it simulates.
struct Case {
    scenario: Scenario,
    workload: Option<Workload>,
    loses_worker: bool,
    doubles_startup: bool,
}

impl Robust {
    pub(crate) fn worst_of(&self, id: &str) -> Option<&WorstCase> {
        self.candidates.iter().find(|c| c.id == id)
    }
}

impl Assessor<'_> {
    /// Simulates the frontier, thinned evenly to sixty, under every scenario, and chooses up to `size`
    /// of it by worst cases.
    pub fn robust(&self, run: &RunData, size: usize) -> Robust {
        let evaluations = run.evaluations();
        let rows = considered(run);
        let deployments: Vec<Option<Deployment>> =
            rows.iter().map(|&row| self.deployer.deployment(&evaluations[row].candidate).ok()).collect();
        let cases = self.cases(deployments.iter().flatten().any(|d| d.planner.is_some()));
        let outcomes: Vec<Vec<Values>> = deployments
            .par_iter()
            .zip(&rows)
            .map(|(deployment, &row)| {
                let mut plain = [f64::NAN; METRIC_COUNT];
                plain.iter_mut().zip(&evaluations[row].metrics).for_each(|(to, from)| *to = *from);
                let others = cases.iter().filter(|case| case.scenario.applies);
                let others =
                    others.map(|case| deployment.as_ref().map_or([f64::NAN; METRIC_COUNT], |d| self.under(case, d)));
                std::iter::once(plain).chain(others).collect()
            })
            .collect();
        let names: Vec<&str> = std::iter::once("plain")
            .chain(cases.iter().filter(|c| c.scenario.applies).map(|c| c.scenario.name.as_str()))
            .collect();
        let worst: Vec<(WorstCase, Evaluation)> = rows
            .iter()
            .zip(&outcomes)
            .map(|(&row, values)| worst_case(self.study, evaluations[row], values, &names))
            .collect();
        let (candidates, worst): (Vec<WorstCase>, Vec<Evaluation>) = worst.into_iter().unzip();
        let selection = select(self.study, &worst, size);
        let id = |index: usize| candidates[index].id.clone();
        let chosen = selection.chosen.iter().map(|c| ChosenByWorst {
            id: id(c.row),
            roles: c.roles.clone(),
            gain: c.gain,
            stands_for: c.merged.iter().map(|&m| id(m)).collect(),
        });
        Robust {
            chosen: chosen.collect(),
            survivors: worst.iter().filter(|e| e.is_feasible()).count(),
            scenarios: cases.into_iter().map(|case| case.scenario).collect(),
            candidates,
        }
    }

    fn under(&self, case: &Case, deployment: &Deployment) -> Values {
        let workload = case.workload.as_ref().unwrap_or(self.workloads[0]);
        let simulate = |d: &Deployment| twin::simulate(d, workload, self.seed, false).metrics.values;
        if case.doubles_startup
            && let Some(planner) = &deployment.planner
        {
            let startup_ms = 2.0 * planner.startup_ms;
            let planner = Some(PlannerConfig { startup_ms, ..planner.clone() });
            return simulate(&Deployment { planner, ..deployment.clone() });
        }
        if !case.loses_worker {
            return simulate(deployment);
        }
        let pools = deployment.topology.pools().len();
        let without = |pool: usize| {
            let mut less = deployment.clone();
            let pool = pools_mut(&mut less.topology).swap_remove(pool);
            if pool.workers <= 1 {
                return [f64::NAN; METRIC_COUNT];
            }
            pool.workers -= 1;
            simulate(&less)
        };
        // Whichever loss is worse.
        let cases = (0..pools).map(without);
        let worse = |a: Values, b: Values| {
            let (va, vb) = (Verdict::of(self.study, &a), Verdict::of(self.study, &b));
            let sum = |v: &Verdict| v.objectives.iter().sum::<f64>();
            if (va.violation, sum(&va)) < (vb.violation, sum(&vb)) || sum(&vb).is_nan() { b } else { a }
        };
        cases.reduce(worse).unwrap_or([f64::NAN; METRIC_COUNT])
    }

    fn cases(&self, has_planner: bool) -> Vec<Case> {
        let workload = self.workloads[0];
        let case = |name: &str, words: &str, workload: Option<Workload>, loses_worker: bool| Case {
            scenario: Scenario { name: name.into(), words: words.into(), applies: workload.is_some() || loses_worker },
            workload,
            loses_worker,
            doubles_startup: false,
        };
        let (bursts, burst_words) = match workload.load {
            Load::Open => (
                Some(workload.burstier(BURSTS)),
                "gaps between arrivals to the power of 1.5, at the same mean rate: random traffic then varies 1.5 times as much",
            ),
            Load::Closed { .. } => (None, "does not apply: a closed loop has no arrivals of its own"),
        };
        let (window, window_words) = match other_window(&self.study.workload) {
            Ok(other) => (Some(other.0), other.1),
            Err(why) => (None, format!("does not apply: {why}")),
        };
        let words = if has_planner {
            "workers that a planner starts take twice as long to be ready"
        } else {
            "does not apply: no candidate has a planner that starts workers"
        };
        let mut startup = case("start-up x2", words, None, false);
        (startup.scenario.applies, startup.doubles_startup) = (has_planner, has_planner);
        vec![
            case("bursts x1.5", burst_words, bursts, false),
            case(
                "lengths +25 %",
                "prompts and outputs longer by a quarter, shared prefixes too",
                Some(workload.longer_by_a_quarter()),
                false,
            ),
            case("another window", &window_words, window, false),
            startup,
            case("one worker lost", "one worker fewer from the start, of the pool where that is worse", None, true),
        ]
    }
}

/// Rows of the frontier that are looked at, thinned evenly, its ends kept.
fn considered(run: &RunData) -> Vec<usize> {
    let frontier = run.frontier();
    let n = frontier.len().min(MOST);
    (0..n).map(|i| frontier[i * (frontier.len() - 1) / (n - 1).max(1)]).collect()
}

/// Other requests of the same source, and where they are from; or why there are none.
fn other_window(spec: &WorkloadSpec) -> Result<(Workload, String), String> {
    let mut other = spec.clone();
    if let SourceSpec::Synthetic(synthetic) = &mut other.source {
        synthetic.seed = synthetic.seed.wrapping_add(0x5eed);
        let words = format!("generated anew, with seed {}", synthetic.seed);
        return load(&other).map(|w| (w, words)).map_err(|e| e.to_string());
    }
    if let Some(window) = spec.window {
        let length = window.end_s - window.start_s;
        for start_s in [window.end_s, window.start_s - length] {
            other.window = Some(crate::workload::spec::Window { start_s, end_s: start_s + length });
            if start_s < 0.0 {
                continue;
            }
            if let Ok(workload) = load(&other) {
                return Ok((workload, format!("{start_s} to {} s of the trace", start_s + length)));
            }
        }
        return Err("the trace has no other window of this length".into());
    }
    let Some(limit) = spec.limit else {
        return Err("the whole trace is simulated, there is no other window of it".into());
    };
    other.limit = Some(2 * limit);
    let twice = load(&other).map_err(|e| e.to_string())?;
    let next = twice.requests.iter().skip(limit).find(|r| r.turn == 0).map(|r| r.arrival_ms / 1e3);
    let rest = next.and_then(|start_s| twice.window(start_s, f64::INFINITY));
    rest.map(|w| (w, format!("the next {limit} rows of the trace")))
        .ok_or_else(|| "the trace has no further rows".into())
}

/// The worst of each objective and constrained metric; what that breaks; and an evaluation of it.
fn worst_case(study: &Study, plain: &Evaluation, values: &[Values], names: &[&str]) -> (WorstCase, Evaluation) {
    let verdicts: Vec<Verdict> = values.iter().map(|v| Verdict::of(study, v)).collect();
    let (mut violation, mut broken) = (0.0f64, Vec::new());
    let unserved = |v: &Values| v[Metric::Rejected as usize] + v[Metric::Unfinished as usize];
    let mut metrics = plain.metrics.clone();
    let mut worst: Vec<(Option<f64>, String)> = Vec::new();
    for (index, objective) in study.objectives.iter().enumerate() {
        let value = |case: usize| verdicts[case].objectives[index];
        // What has no value is worse than all that has one.
        let rank = |case: usize| if value(case).is_nan() { f64::INFINITY } else { value(case) };
        let at = (0..values.len()).rev().max_by(|&a, &b| rank(a).total_cmp(&rank(b))).unwrap_or(0);
        metrics[objective.metric] = values[at][objective.metric];
        worst.push((Some(values[at][objective.metric]).filter(|v| v.is_finite()), names[at].into()));
    }
    for (case, verdict) in verdicts.iter().enumerate() {
        let mut own = verdict.violation;
        for constraint in study.constraints.iter().filter(|c| c.violation(values[case][c.metric]) > 0.0) {
            broken.push(format!("{}: {}", names[case], METRICS[constraint.metric].name));
        }
        let more = unserved(&values[case]) - unserved(&values[0]);
        if more > 0.0 {
            own += more / (more + values[case][Metric::Completed as usize]).max(1.0);
            broken.push(format!("{}: {more} more requests unserved", names[case]));
        }
        if verdict.violation.is_infinite() && study.constraints.iter().all(|c| !values[case][c.metric].is_nan()) {
            broken.push(format!("{}: nothing is served", names[case]));
        }
        violation = violation.max(own);
    }
    let evaluation = Evaluation {
        violation,
        metrics: metrics.clone(),
        ..Evaluation::plain(plain.candidate.clone(), study.objective_values(&metrics))
    };
    let violation = Some(violation).filter(|v| v.is_finite());
    (WorstCase { id: study.space.id(&plain.candidate), worst, broken, violation }, evaluation)
}

/// Chooses by worst cases: from those that survive everything, else the least broken.
fn select(study: &Study, worst: &[Evaluation], size: usize) -> Selection {
    let survivors: Vec<usize> = (0..worst.len()).filter(|&i| worst[i].is_feasible()).collect();
    let evaluations: Vec<&Evaluation> = worst.iter().collect();
    if survivors.is_empty() {
        let mut order: Vec<usize> = (0..worst.len()).collect();
        order.sort_by(|&a, &b| worst[a].violation.total_cmp(&worst[b].violation).then(a.cmp(&b)));
        let miss = |row: usize| Chosen { row, roles: vec![Role::LeastBroken], gain: 0.0, merged: Vec::new() };
        let chosen = order.into_iter().take(size).map(miss).collect();
        return Selection { chosen, distinct: 0, coverage: None };
    }
    let m = study.objectives.len();
    let points: Vec<f64> = survivors.iter().flat_map(|&i| worst[i].objectives.clone()).collect();
    let mut frontier: Vec<usize> = nondominated(&points, m).into_iter().map(|i| survivors[i]).collect();
    frontier.sort_by(|&a, &b| worst[a].objectives[0].total_cmp(&worst[b].objectives[0]).then(a.cmp(&b)));
    from_frontier(study, &evaluations, &frontier, size)
}
