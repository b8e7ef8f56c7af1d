//! Physical factors fitted to measurements of a run's candidates.
//!
//! Minimised is a robust sum of `ln(predicted / measured)` over the latencies of all measurements,
//! every prediction a whole simulation of the candidate. Gauss-Newton steps lead near the optimum,
//! argmin's Nelder-Mead simplex ends there: queues answer in steps, which no derivative sees. What the
//! measurements do not determine is held where it was; the rest is refused when it does not predict
//! candidates that were left out better than no calibration does.

use std::collections::BTreeMap;

use argmin::core::{CostFunction, Error, Executor, State};
use argmin::solver::neldermead::NelderMead;
use rayon::prelude::*;

use super::fit::{inverted, rounded};
use super::judge::Pair;
use crate::archive::RunData;
use crate::catalog::Backend;
use crate::search::Evaluation;
use crate::space::{Deployer, Study};
use crate::timing::Calibration;
use crate::timing::calibration::{BackendCalibration, Factors, Residual, VERSION};
use crate::twin;
use crate::twin::metrics::{METRIC_COUNT, Metric};
use crate::workload::Workload;

/// Unknowns: prefill, decode, host time of a pass, time of a request outside passes.
const N: usize = 4;
const NAMES: [&str; N] = ["prefill", "decode", "host_ms", "request_ms"];
type Vector = [f64; N];

/// One unit of each unknown: of the logarithm of a factor, or ms.
const UNIT: Vector = [0.2, 0.1, 1.0, 3.0];
/// Half edges of the surroundings that a descent is straightened over, in units: wide at first.
const WIDE: [f64; 8] = [1.0, 0.6, 0.6, 0.3, 0.3, 0.15, 0.08, 0.04];
/// From a point that is near; of a fold, from the fit to all: enough to forget what it must not know.
const NEAR: [f64; 3] = [0.15, 0.08, 0.04];
const FOLD: [f64; 3] = [0.3, 0.15, 0.08];
/// The one that standard errors and profiles stand on.
const RADIUS: f64 = 0.15;
/// Points in it.
const CLOUD: usize = 12;
/// Weight of the wish to stay, against a residual of one: only breaks ties.
const PULL: f64 = 1e-5;
const SHARES: [f64; 4] = [1.0, 0.5, 0.25, 0.1];
/// The simplex: iterations, and first size in units; begun anew, smaller, where the last one ended.
const SIMPLEX: [(u64, f64); 2] = [(60, 0.1), (60, 0.02)];
/// Where the profile of an unknown is looked at, as shares of how far it may reach.
const PROFILE: [f64; 8] = [-2.0, -1.2, -0.7, -0.3, 0.3, 0.7, 1.2, 2.0];
/// Points of profiles from which a descent begins anew.
const PROFILES_KEPT: usize = 2;

/// Largest standard error with which an unknown counts as determined: of the factor, or ms and as a
/// share of the value.
const DETERMINED: Vector = [0.15, 0.08, 0.5, 3.0];
/// Noise of measurements that standard errors count with at least, in the units of [`LATENCIES`].
const LEAST_NOISE: f64 = 0.2;
/// Fewest candidates, so that each can be left out once.
const FEWEST: usize = 3;
/// Mean error above which the time of a request is asked for too, and what is left of the error when it
/// is worth it.
const EXPLAINED: f64 = 0.01;
const WORTH_IT: f64 = 0.8;
/// Below this mean error there is nothing to correct.
const GOOD_ENOUGH: f64 = 0.005;

/// The latencies that are fitted, with the error of one unit: what a good fit leaves. Medians between
/// tokens answer most evenly, times to first token to every step of a queue.
const LATENCIES: [(Metric, f64); 10] = [
    (Metric::TtftMean, 0.15),
    (Metric::TtftP50, 0.15),
    (Metric::TtftP90, 0.15),
    (Metric::TpotMean, 0.03),
    (Metric::TpotP50, 0.02),
    (Metric::TpotP90, 0.05),
    (Metric::ItlMean, 0.03),
    (Metric::ItlP50, 0.02),
    (Metric::E2eMean, 0.05),
    (Metric::E2eP50, 0.05),
];

/// Measured and predicted values of the latencies that a measurement has; `None` where it has none.
fn latencies(pair: &Pair, predicted: &[f64]) -> [Option<(f64, f64)>; LATENCIES.len()] {
    LATENCIES.map(|(metric, _)| {
        let measured = pair.measurement.get(metric);
        (measured > 0.0).then(|| (measured, predicted[metric as usize]))
    })
}

/// A fitted calibration and how well it does.
#[derive(Clone, Debug)]
pub struct Fit {
    pub calibration: Calibration,
    /// Of each backend that was measured.
    pub backends: Vec<(Backend, Result<BackendFit, String>)>,
    /// What the calibration predicts of each measurement, having seen all.
    pub fitted: Vec<Vec<f64>>,
    /// The same by fits that had not seen its candidate; `None` of a backend without a fit.
    pub left_out: Vec<Option<Vec<f64>>>,
}

/// The fit of one backend.
#[derive(Clone, Debug)]
pub struct BackendFit {
    pub start: Factors,
    pub factors: Factors,
    pub standard_error: Factors,
    /// Unknowns that the measurements do not determine, held where they were.
    pub held: Vec<&'static str>,
    /// Mean error of latencies, as a share: as predicted before, by all, and left out.
    pub error: [f64; 3],
    pub measurements: usize,
    pub candidates: usize,
}

/// Factors under which a study's own pass times are what they are without a calibration: only the
/// host time is known.
pub fn start(study: &Study, backend: Backend) -> Factors {
    if let Some(own) = study.calibration.as_ref().and_then(|c| c.of(backend)) {
        return own.factors;
    }
    Factors { host_ms: study.timing.host_ms(backend), ..Factors::NONE }
}

/// Fits factors to comparable measurements.
///
/// # Errors
/// Why the measurements cannot support a calibration: too few candidates, factors that they do not
/// determine, no better prediction of candidates left out.
pub fn fit(run: &RunData, workload: &Workload, pairs: &[Pair]) -> Result<Fit, String> {
    let study = &run.study;
    let evaluations = run.evaluations();
    let deployer = Deployer::new(study, workload);
    let mut by_backend: BTreeMap<Backend, Vec<usize>> = BTreeMap::new();
    for (index, pair) in pairs.iter().enumerate() {
        let deployment =
            deployer.deployment(&evaluations[pair.row].candidate).map_err(|refusal| refusal.to_string())?;
        by_backend.entry(deployment.topology.pools()[0].1.engine.backend).or_default().push(index);
    }
    let source = format!("servescout validate: {} measurements of run {}", pairs.len(), run.run.name);
    let mut calibration = Calibration { version: VERSION, source, vllm: None, sglang: None, trtllm: None };
    // Backends that nobody measured keep what they have, so that the file serves the whole space.
    for shape in study.worker_shapes() {
        let own = study.calibration.as_ref().and_then(|c| c.of(shape.backend)).cloned();
        *slot(&mut calibration, shape.backend) = Some(own.unwrap_or_else(|| BackendCalibration {
            points: 0,
            factors: start(study, shape.backend),
            standard_error: Factors { prefill: 0.0, expert_prefill: 0.0, decode: 0.0, ..Factors::NONE },
            ttft: spread(&[]),
            tpot: spread(&[]),
        }));
    }
    let nothing = vec![f64::NAN; METRIC_COUNT];
    let mut out = Fit {
        calibration,
        backends: Vec::new(),
        fitted: pairs.iter().map(|p| p.predicted.clone()).collect(),
        left_out: vec![None; pairs.len()],
    };
    for (backend, members) in by_backend {
        let problem = Problem {
            study,
            workload,
            evaluations: &evaluations,
            pairs,
            backend,
            base: out.calibration.clone(),
            start: start(study, backend),
            seed: run.run.seed,
        };
        let found = problem.fit(&members);
        if let Ok((own, fitted, left_out)) = &found {
            for (k, &index) in members.iter().enumerate() {
                out.fitted[index] = fitted.get(k).unwrap_or(&nothing).clone();
                out.left_out[index] = Some(left_out[k].clone());
            }
            let log = |metrics: [Metric; 2]| -> Vec<f64> {
                let left = members.iter().zip(left_out).filter_map(|(&index, values)| {
                    let ratio = |m: Metric| (pairs[index].measurement.get(m) / values[m as usize]).ln();
                    metrics.into_iter().map(ratio).find(|r| r.is_finite())
                });
                left.collect()
            };
            *slot(&mut out.calibration, backend) = Some(BackendCalibration {
                points: members.len(),
                factors: own.factors,
                standard_error: own.standard_error,
                ttft: spread(&log([Metric::TtftMean, Metric::TtftP50])),
                tpot: spread(&log([Metric::TpotMean, Metric::TpotP50])),
            });
        }
        out.backends.push((backend, found.map(|(own, ..)| own)));
    }
    if out.backends.iter().all(|(_, found)| found.is_err()) {
        let reasons = out
            .backends
            .into_iter()
            .filter_map(|(backend, found)| Some(format!("{}: {}", backend.name(), found.err()?)));
        return Err(reasons.collect::<Vec<_>>().join("; "));
    }
    Ok(out)
}

fn slot(calibration: &mut Calibration, backend: Backend) -> &mut Option<BackendCalibration> {
    match backend {
        Backend::Vllm => &mut calibration.vllm,
        Backend::Sglang => &mut calibration.sglang,
        Backend::Trtllm => &mut calibration.trtllm,
    }
}

/// The spread of a few residuals, as that of a normal whose variance they estimate: a handful says
/// nothing of tails. The mean, and one more point to be predicted, widen it.
fn spread(left: &[f64]) -> Residual {
    let n = left.len() as f64;
    let sigma =
        if left.len() < 2 { 0.0 } else { (left.iter().map(|v| v * v).sum::<f64>() / n * (n + 1.0) / (n - 1.0)).sqrt() };
    let quantiles = [-1.6449, -0.6745, 0.0, 0.6745, 1.6449].map(|z| rounded(z * sigma, 4));
    Residual { sigma: rounded(sigma, 4), quantiles }
}

/// The fit of one backend's factors.
struct Problem<'a> {
    study: &'a Study,
    workload: &'a Workload,
    evaluations: &'a [&'a Evaluation],
    pairs: &'a [Pair],
    backend: Backend,
    /// What other backends keep.
    base: Calibration,
    start: Factors,
    seed: u64,
}

/// Where a descent ended.
struct Optimum {
    at: Vector,
    standard_error: Vector,
}

type Predictions = Vec<Vec<f64>>;

impl Problem<'_> {
    fn fit(&self, members: &[usize]) -> Result<(BackendFit, Predictions, Predictions), String> {
        let mut rows: Vec<usize> = members.iter().map(|&i| self.pairs[i].row).collect();
        rows.sort_unstable();
        rows.dedup();
        if rows.len() < FEWEST {
            return Err(format!(
                "{} candidates were measured: leaving each out once needs {FEWEST} or more",
                rows.len()
            ));
        }
        let before = self.predict(members, &[0.0; N]);
        let error_before = self.error(members, &before);
        let Some(error_before) = error_before else {
            return Err(
                "no measurement has a time to first token, a time per output token or an end-to-end latency".into()
            );
        };
        if error_before < GOOD_ENOUGH {
            return Err(format!(
                "predictions are within {:.1} % already: there is nothing to correct",
                100.0 * error_before
            ));
        }
        // The time of a request is asked for only where the rest leaves something to explain: it can
        // stand in for prompts.
        let (mut optimum, mut free) = self.determined(members, [true, true, true, false])?;
        let mut fitted = self.predict(members, &optimum.at);
        let error = |predicted: &Predictions| self.error(members, predicted).unwrap_or(f64::INFINITY);
        if error(&fitted) > EXPLAINED
            && let Ok((other, more)) = self.determined(members, [true; N])
        {
            let again = self.predict(members, &other.at);
            if more[3] && error(&again) < WORTH_IT * error(&fitted) {
                (optimum, free, fitted) = (other, more, again);
            }
        }
        let mut left_out: Predictions = vec![Vec::new(); members.len()];
        for &row in &rows {
            let (held, seen): (Vec<usize>, Vec<usize>) = members.iter().partition(|&&i| self.pairs[i].row == row);
            let fold = self.descend(&seen, optimum.at, &FOLD, &free, false);
            let predicted = self.predict(&held, &fold.at);
            for (index, values) in held.iter().zip(predicted) {
                let k = members.iter().position(|i| i == index).expect("it is one of them");
                left_out[k] = values;
            }
        }
        let errors = [error_before, error(&fitted), error(&left_out)];
        if errors[2] >= errors[0] {
            return Err(format!(
                "factors fitted to the others predict a candidate that was left out no better: {:.1} % off, {:.1} % without; the differences are not those of pass times",
                100.0 * errors[2],
                100.0 * errors[0]
            ));
        }
        let own = BackendFit {
            start: self.start,
            factors: self.factors(&optimum.at),
            standard_error: self.errors(&optimum.standard_error),
            held: (0..N).filter(|&k| !free[k]).map(|k| NAMES[k]).collect(),
            error: errors,
            measurements: members.len(),
            candidates: rows.len(),
        };
        Ok((own, fitted, left_out))
    }

    /// The fit of the free unknowns that the measurements determine: host time and time of a request
    /// give way first, what is left of them goes into the factors.
    fn determined(&self, members: &[usize], mut free: [bool; N]) -> Result<(Optimum, [bool; N]), String> {
        loop {
            let found = self.descend(members, [0.0; N], &WIDE, &free, true);
            let values = self.values(&found.at);
            let excess = |k: usize| {
                let allowed = if k < 2 { DETERMINED[k] } else { DETERMINED[k].max(0.25 * values[k]) };
                found.standard_error[k] / allowed
            };
            let Some(worst) =
                (0..N).filter(|&k| free[k] && excess(k) > 1.0).max_by(|&a, &b| excess(a).total_cmp(&excess(b)))
            else {
                return Ok((found, free));
            };
            match [3, 2].into_iter().find(|&k| free[k]) {
                Some(k) => free[k] = false,
                None => {
                    return Err(format!(
                        "the measurements do not determine `{}`: {:.3} +- {:.3}; measure candidates that differ more (tensor parallelism, load, prompts)",
                        NAMES[worst], values[worst], found.standard_error[worst]
                    ));
                }
            }
        }
    }

    fn is_moe(&self) -> bool {
        self.study.model.moe.is_some()
    }

    /// The unknowns at a point, in their own terms.
    fn values(&self, at: &Vector) -> Vector {
        let s = &self.start;
        let prefill = if self.is_moe() { s.expert_prefill } else { s.prefill };
        [
            prefill * (UNIT[0] * at[0]).exp(),
            s.decode * (UNIT[1] * at[1]).exp(),
            (s.host_ms + UNIT[2] * at[2]).max(0.0),
            (s.request_ms + UNIT[3] * at[3]).max(0.0),
        ]
    }

    fn factors(&self, at: &Vector) -> Factors {
        let [prefill, decode, host_ms, request_ms] = self.values(at).map(|v| rounded(v, 4));
        let mut factors = Factors { decode, host_ms, request_ms, ..self.start };
        if self.is_moe() {
            factors.expert_prefill = prefill;
        } else {
            factors.prefill = prefill;
        }
        factors
    }

    fn errors(&self, standard: &Vector) -> Factors {
        let [prefill, decode, host_ms, request_ms] = standard.map(|v| rounded(v, 4));
        let zero = Factors { prefill: 0.0, expert_prefill: 0.0, decode, host_ms, request_ms, ..Factors::NONE };
        if self.is_moe() { Factors { expert_prefill: prefill, ..zero } } else { Factors { prefill, ..zero } }
    }

    /// What the twin says of the members' candidates under the factors of each of some points.
    fn predict_all(&self, members: &[usize], points: &[Vector]) -> Vec<Predictions> {
        let studies: Vec<Study> = points
            .iter()
            .map(|at| {
                let mut calibration = self.base.clone();
                if let Some(own) = slot(&mut calibration, self.backend) {
                    own.factors = self.factors(at);
                }
                Study { calibration: Some(calibration), ..self.study.clone() }
            })
            .collect();
        let deployers: Vec<Deployer<'_>> = studies.iter().map(|study| Deployer::new(study, self.workload)).collect();
        // Several measurements of a candidate are one simulation.
        let mut rows: Vec<usize> = members.iter().map(|&i| self.pairs[i].row).collect();
        rows.sort_unstable();
        rows.dedup();
        let all: Vec<Vec<f64>> = (0..points.len() * rows.len())
            .into_par_iter()
            .map(|job| {
                let (deployer, row) = (&deployers[job / rows.len()], rows[job % rows.len()]);
                match deployer.deployment(&self.evaluations[row].candidate) {
                    Ok(deployment) => {
                        twin::simulate(&deployment, self.workload, self.seed, false).metrics.values.to_vec()
                    }
                    Err(_) => vec![f64::NAN; METRIC_COUNT],
                }
            })
            .collect();
        let of = |point: usize, index: &usize| {
            let row = rows.binary_search(&self.pairs[*index].row).expect("it is one of them");
            all[point * rows.len() + row].clone()
        };
        (0..points.len()).map(|point| members.iter().map(|index| of(point, index)).collect()).collect()
    }

    fn predict(&self, members: &[usize], at: &Vector) -> Predictions {
        self.predict_all(members, &[*at]).remove(0)
    }

    /// Residuals of every latency that was measured, in its unit.
    fn residuals(&self, members: &[usize], predicted: &Predictions) -> Vec<f64> {
        let of = |(&index, values): (&usize, &Vec<f64>)| {
            let found = latencies(&self.pairs[index], values);
            std::array::from_fn::<f64, { LATENCIES.len() }, _>(|k| match found[k] {
                None => 0.0,
                Some((measured, predicted)) => {
                    let r = (predicted / measured).ln() / LATENCIES[k].1;
                    // Not predicted: one that is not to be had.
                    if r.is_finite() { r } else { 100.0 }
                }
            })
        };
        members.iter().zip(predicted).flat_map(of).collect()
    }

    /// Mean absolute error of the latencies that were measured, as a share.
    fn error(&self, members: &[usize], predicted: &Predictions) -> Option<f64> {
        let both = members.iter().zip(predicted).flat_map(|(&index, values)| latencies(&self.pairs[index], values));
        let errors: Vec<f64> = both
            .flatten()
            .map(|(measured, predicted)| (predicted / measured).ln().abs())
            .filter(|r| r.is_finite())
            .collect();
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }

    fn cost(&self, members: &[usize], at: &Vector, predicted: &Predictions) -> f64 {
        let loss = |r: f64| 2.0 * ((1.0 + r * r).sqrt() - 1.0);
        let data: f64 = self.residuals(members, predicted).into_iter().map(loss).sum();
        data + PULL * at.iter().map(|x| x * x).sum::<f64>()
    }

    /// Descends from a point along the free unknowns; searched along profiles and ended by the simplex
    /// where asked.
    fn descend(&self, members: &[usize], from: Vector, radii: &[f64], free: &[bool; N], thorough: bool) -> Optimum {
        let mut at: Vector = std::array::from_fn(|k| if free[k] { from[k] } else { 0.0 });
        at = self.newton(members, at, radii, free);
        for (iterations, size) in SIMPLEX.into_iter().filter(|_| thorough) {
            at = self.along_profiles(members, at, free);
            at = self.polish(members, at, free, iterations, size);
        }
        let linear = self.linearised(members, &at, free, RADIUS);
        let inverse = inverted(linear.normal);
        let values = self.values(&at);
        let standard_error = std::array::from_fn(|k| {
            if !free[k] {
                return 0.0;
            }
            let units = linear.noise * inverse[k][k].max(0.0).sqrt();
            // A unit of a factor is one of its logarithm.
            UNIT[k] * units * if k < 2 { values[k] } else { 1.0 }
        });
        Optimum { at, standard_error }
    }

    /// Gauss-Newton steps over ever smaller surroundings. Each is taken, shortened to what helps most,
    /// for a rough stretch may have to be crossed; the best point met is the result.
    fn newton(&self, members: &[usize], mut at: Vector, radii: &[f64], free: &[bool; N]) -> Vector {
        let mut best = self.best(members, &[at]);
        for &radius in radii {
            let Linear { normal, right, .. } = self.linearised(members, &at, free, radius);
            let inverse = inverted(normal);
            let step: Vector = std::array::from_fn(|i| {
                (0..N).map(|j| inverse[i][j] * right[j]).sum::<f64>().clamp(-4.0 * radius, 4.0 * radius)
            });
            let tried = SHARES.map(|share| self.legal(std::array::from_fn(|k| at[k] + share * step[k])));
            let found = self.best(members, &tried);
            at = found.0;
            if found.1 < best.1 {
                best = found;
            }
        }
        best.0
    }

    /// The best of some points, and its cost.
    fn best(&self, members: &[usize], points: &[Vector]) -> (Vector, f64) {
        let predicted = self.predict_all(members, points);
        let costs: Vec<f64> = points.iter().zip(&predicted).map(|(at, p)| self.cost(members, at, p)).collect();
        let best = (0..points.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).expect("some are tried");
        (points[best], costs[best])
    }

    /// Looks for a better point along the profile of each unknown: it moves, and the others answer as
    /// the normal equations say. Decoding and host time can stand in for each other, as prompts and the
    /// time of a request, and the small steps of queues hold a descent up in the valley between them.
    fn along_profiles(&self, members: &[usize], at: Vector, free: &[bool; N]) -> Vector {
        let linear = self.linearised(members, &at, free, RADIUS);
        let inverse = inverted(linear.normal);
        let cost = self.best(members, &[at]).1;
        let mut points = vec![at];
        for k in (0..N).filter(|&k| free[k]) {
            // So far along it the cost rises by what it is now, if it is a parabola.
            let reach = (cost.max(LEAST_NOISE * LEAST_NOISE) * inverse[k][k]).sqrt();
            for share in PROFILE {
                let moved = |i: usize| at[i] + share * reach * inverse[i][k] / inverse[k][k];
                points.push(self.legal(std::array::from_fn(moved)));
            }
        }
        let predicted = self.predict_all(members, &points);
        let costs: Vec<f64> = points.iter().zip(&predicted).map(|(at, p)| self.cost(members, at, p)).collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        let refined: Vec<Vector> = order
            .into_iter()
            .take(PROFILES_KEPT)
            .map(|index| self.newton(members, points[index], &NEAR, free))
            .collect();
        self.best(members, &refined).0
    }

    /// A point whose times are not negative.
    fn legal(&self, mut at: Vector) -> Vector {
        at[2] = at[2].max(-self.start.host_ms / UNIT[2]);
        at[3] = at[3].max(-self.start.request_ms / UNIT[3]);
        at
    }

    /// The residuals around a point as straight lines through a cloud of points: queues answer in steps,
    /// which a difference of two points would take for slopes.
    fn linearised(&self, members: &[usize], at: &Vector, free: &[bool; N], radius: f64) -> Linear {
        let offsets: Vec<Vector> = (0..CLOUD).map(|i| cloud(i, free, radius)).collect();
        let points: Vec<Vector> = offsets.iter().map(|o| self.legal(std::array::from_fn(|k| at[k] + o[k]))).collect();
        let predicted = self.predict_all(members, &points);
        let rows: Vec<Vec<f64>> = predicted.iter().map(|p| self.residuals(members, p)).collect();
        // The same offsets for every residual: one inverse serves all. Where a bound moved a point, the
        // offset that it really has counts.
        let design: Vec<[f64; N + 1]> = points
            .iter()
            .map(|p| std::array::from_fn(|k| if k == N { 1.0 } else { (p[k] - at[k]) / radius }))
            .collect();
        let mut gram = [[0.0; N + 1]; N + 1];
        for (i, row) in gram.iter_mut().enumerate() {
            row[i] += 1e-9;
            for (j, cell) in row.iter_mut().enumerate() {
                *cell += design.iter().map(|d| d[i] * d[j]).sum::<f64>();
            }
        }
        let solve = inverted(gram);
        let mut out = Linear { normal: [[0.0; N]; N], right: [0.0; N], noise: LEAST_NOISE };
        for k in 0..N {
            // What is held does not move.
            out.normal[k][k] += if free[k] { PULL } else { 1e12 };
            out.right[k] -= if free[k] { PULL * at[k] } else { 0.0 };
        }
        let (mut squares, mut count) = (0.0, 0.0);
        for index in 0..rows[0].len() {
            let moments: [f64; N + 1] =
                std::array::from_fn(|k| design.iter().zip(&rows).map(|(d, r)| d[k] * r[index]).sum());
            let line: [f64; N + 1] = std::array::from_fn(|k| (0..=N).map(|j| solve[k][j] * moments[j]).sum());
            let slope: Vector = std::array::from_fn(|k| if free[k] { line[k] / radius } else { 0.0 });
            let r = line[N];
            if slope.iter().all(|s| s.abs() < 1e-12) {
                continue;
            }
            let weight = 1.0 / (1.0 + r * r).sqrt();
            squares += weight * r * r;
            count += 1.0;
            for i in 0..N {
                out.right[i] -= weight * slope[i] * r;
                for j in 0..N {
                    out.normal[i][j] += weight * slope[i] * slope[j];
                }
            }
        }
        let freedom = (count - free.iter().filter(|f| **f).count() as f64).max(1.0);
        out.noise = (squares / freedom).sqrt().max(LEAST_NOISE);
        out
    }

    /// Ends a descent with argmin's simplex.
    fn polish(&self, members: &[usize], at: Vector, free: &[bool; N], iterations: u64, size: f64) -> Vector {
        let axes: Vec<usize> = (0..N).filter(|&k| free[k]).collect();
        let origin: Vec<f64> = axes.iter().map(|&k| at[k]).collect();
        let corner = |moved: Option<usize>| {
            let mut point = origin.clone();
            if let Some(k) = moved {
                point[k] += size;
            }
            point
        };
        let simplex: Vec<Vec<f64>> =
            std::iter::once(corner(None)).chain((0..axes.len()).map(|k| corner(Some(k)))).collect();
        let whole = |point: &[f64]| {
            let mut full = at;
            axes.iter().zip(point).for_each(|(&k, x)| full[k] = *x);
            self.legal(full)
        };
        let surface = Surface {
            cost: &|point| {
                let at = whole(point);
                self.cost(members, &at, &self.predict(members, &at))
            },
        };
        let Ok(solver) = NelderMead::new(simplex).with_sd_tolerance(1e-7) else { return at };
        let run = Executor::new(surface, solver).configure(|state| state.max_iters(iterations)).run();
        match run.as_ref().ok().and_then(|done| done.state().get_best_param()) {
            Some(best) => whole(best),
            None => at,
        }
    }
}

/// Normal equations of reweighted squares around a point, and the noise that is left.
struct Linear {
    normal: [[f64; N]; N],
    right: Vector,
    noise: f64,
}

/// A point of a cloud that fills the box of half edge `radius` along the free unknowns: an additive
/// sequence on the powers of the root of `x^5 = x + 1`, which spreads evenly in four dimensions.
fn cloud(index: usize, free: &[bool; N], radius: f64) -> Vector {
    const ROOT: f64 = 1.167_303_978_261_418_7;
    std::array::from_fn(|k| {
        let share = (0.5 + (index + 1) as f64 / ROOT.powi(k as i32 + 1)).fract();
        if free[k] { radius * (2.0 * share - 1.0) } else { 0.0 }
    })
}

/// What argmin minimises.
struct Surface<'a> {
    cost: &'a dyn Fn(&[f64]) -> f64,
}

impl CostFunction for Surface<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Self::Param) -> Result<f64, Error> {
        Ok((self.cost)(at))
    }
}
