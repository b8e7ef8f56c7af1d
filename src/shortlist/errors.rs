//! How far pass times may be from those of real servers: draws from the error model.
//!
//! A draw multiplies what prompts cost (`prefill`, `prompt_host_ms`, `request_ms` of a calibration) by
//! one factor and what decoding costs (`decode`, host time per pass) by another, both from the
//! residuals of held-out points (`docs/fidelity.md`). Part of each is common to all workers of a
//! backend, the rest belongs to its tensor-parallel size: two candidates err together, but not wholly.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::catalog::Backend;
use crate::space::Study;
use crate::timing::calibration::{BackendCalibration, Factors, Residual};
use crate::timing::{Calibration, Timing, TimingSpec, WorkerShape};
use crate::twin::Deployment;
use crate::twin::deployment::{Pool, Topology};

/// Share of the variance of `ln(measured / predicted)` that all tensor-parallel sizes of one model,
/// GPU and backend have in common: of TTFT and of TPOT, over the 188 fair points of the public half
/// whose tables are in the binary (seven such groups).
const COMMON_TTFT: f64 = 0.7;
const COMMON_TPOT: f64 = 0.3;
/// Mean absolute error over standard deviation of a normal: sqrt(2 / pi).
const MEAN_OVER_SIGMA: f64 = 0.797_88;

/// The error model of a study's pass times.
#[derive(Clone, Debug, PartialEq)]
pub struct TimingErrors {
    /// `None` for synthetic pass times, which no server has.
    calibration: Option<Calibration>,
    /// What it is, in a sentence.
    pub words: String,
}

impl TimingErrors {
    /// By default the study's own calibration, else the one in the binary; nothing for synthetic pass
    /// times.
    pub fn of(study: &Study) -> TimingErrors {
        if matches!(study.timing, TimingSpec::Polynomial { .. } | TimingSpec::Fixed { .. }) {
            let words = "none: these pass times are synthetic, no server has them".into();
            return TimingErrors { calibration: None, words };
        }
        match &study.calibration {
            Some(own) => TimingErrors {
                words: format!("residuals of the calibration that the search used ({})", own.source),
                calibration: Some(own.clone()),
            },
            None => TimingErrors {
                words: "the default, measured against real GPUs; the search took pass times uncorrected, so that intervals may lie beside its predictions".into(),
                calibration: Some(Calibration::embedded()),
            },
        }
    }

    /// Another calibration's errors; none for synthetic pass times.
    pub fn with(study: &Study, calibration: Option<Calibration>, name: &str) -> TimingErrors {
        if matches!(study.timing, TimingSpec::Polynomial { .. } | TimingSpec::Fixed { .. }) {
            return TimingErrors::of(study);
        }
        let words = match &calibration {
            Some(own) => format!("residuals of the calibration {name} ({})", own.source),
            None => "none, as asked: only the workload varies".into(),
        };
        TimingErrors { calibration, words }
    }

    /// The study's backends that the calibration says nothing of.
    pub fn missing(&self, study: &Study) -> Vec<Backend> {
        let Some(calibration) = &self.calibration else { return Vec::new() };
        let mut missing: Vec<Backend> = study.worker_shapes().into_iter().map(|s| s.backend).collect();
        missing.retain(|&backend| calibration.of(backend).is_none());
        missing.dedup();
        missing
    }

    /// The pass times of one draw, for each worker shape of the study; as they are without a model.
    pub(crate) fn draw(&self, study: &Study, seed: u64) -> Drawn {
        let shapes = study.worker_shapes();
        let Some(calibration) = &self.calibration else { return Drawn { timings: Vec::new() } };
        let timing = |shape: &WorkerShape| {
            let own = calibration.of(shape.backend)?;
            let estimated = study.timing.build(shape).ok()?.provenance().estimated;
            let error = Error::draw(own, shape, estimated, seed);
            study.timing.build_corrected(shape, error.applied_to(&own.factors).of_passes(shape, true)).ok()
        };
        let timings = shapes.iter().filter_map(|s| Some((s.backend, s.tp, timing(s)?)));
        Drawn { timings: timings.collect() }
    }
}

/// Pass times of one draw.
pub(crate) struct Drawn {
    timings: Vec<(Backend, u32, Timing)>,
}

impl Drawn {
    /// The deployment with these pass times.
    pub fn given_to(&self, deployment: &Deployment) -> Deployment {
        let mut changed = deployment.clone();
        for pool in pools_mut(&mut changed.topology) {
            let tp = pool.gpus_per_worker / pool.engine.attention_dp.max(1);
            let drawn = self.timings.iter().find(|t| (t.0, t.1) == (pool.engine.backend, tp));
            if let Some((_, _, timing)) = drawn {
                pool.timing = timing.clone();
            }
        }
        changed
    }
}

/// The pools of a topology.
pub(crate) fn pools_mut(topology: &mut Topology) -> Vec<&mut Pool> {
    match topology {
        Topology::Aggregated(pool) => vec![pool],
        Topology::Disaggregated { prefill, decode, .. } => vec![prefill, decode],
    }
}

/// Factors on what prompts and what decoding cost.
struct Error {
    prompts: f64,
    decoding: f64,
}

impl Error {
    fn draw(own: &BackendCalibration, shape: &WorkerShape, estimated: Option<f64>, seed: u64) -> Error {
        // A stream per backend and phase, and one more per worker shape: what one shape draws does not
        // depend on which others there are.
        let normal = |stream: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            // Box and Muller; 1 - u lies in (0, 1].
            let (u, v): (f64, f64) = (rng.random(), rng.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let backend = Backend::ALL.iter().position(|b| *b == shape.backend).unwrap_or(0) as u64;
        let of = |phase: u64, common: f64, residual: &Residual| {
            let shared = normal(backend * 2 + phase);
            let own = normal(64 + (u64::from(shape.tp) * 8 + backend) * 2 + phase);
            let z = common.sqrt() * shared + (1.0 - common).sqrt() * own;
            match estimated {
                None => residual.quantile(normal_cdf(z)).exp(),
                // Nothing was measured of this shape: the estimate's own typical error.
                Some(percent) => (z * percent / 100.0 / MEAN_OVER_SIGMA).exp(),
            }
        };
        Error { prompts: of(0, COMMON_TTFT, &own.ttft), decoding: of(1, COMMON_TPOT, &own.tpot) }
    }

    fn applied_to(&self, factors: &Factors) -> Factors {
        Factors {
            prefill: self.prompts * factors.prefill,
            expert_prefill: self.prompts * factors.expert_prefill,
            decode: self.decoding * factors.decode,
            host_ms: self.decoding * factors.host_ms,
            sync_host_ms: self.decoding * factors.sync_host_ms,
            prompt_host_ms: self.prompts * factors.prompt_host_ms,
            request_ms: self.prompts * factors.request_ms,
        }
    }
}

/// The normal distribution function, to 1e-7 (Abramowitz and Stegun, 26.2.17).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let tail = series.iter().fold(0.0, |sum, c| (sum + c) * t) * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution() {
        for (z, p) in [(0.0, 0.5), (1.281_552, 0.9), (-1.644_854, 0.05), (2.326_348, 0.99)] {
            assert!((normal_cdf(z) - p).abs() < 1e-6, "{z}: {}", normal_cdf(z));
        }
    }

    fn shape(tp: u32) -> WorkerShape {
        let gpu = crate::catalog::gpu("h200_sxm").unwrap().clone();
        let model = crate::catalog::model("Qwen/Qwen3-32B").unwrap().clone();
        let (dtype, kv_dtype) = (crate::catalog::Dtype::Fp8, crate::catalog::Dtype::Bf16);
        WorkerShape { model, gpu, backend: Backend::Vllm, dtype, kv_dtype, tp }
    }

    #[test]
    fn draws_have_the_spread_of_the_residuals_and_shapes_err_together() {
        let calibration = Calibration::embedded();
        let own = calibration.of(Backend::Vllm).unwrap();
        let draws = |tp: u32| -> Vec<f64> {
            (0..4000).map(|seed| Error::draw(own, &shape(tp), None, seed).prompts.ln()).collect()
        };
        let (mut one, mut four) = (draws(1), draws(4));
        let covariance = one.iter().zip(&four).map(|(a, b)| a * b).sum::<f64>() / 4000.0
            - one.iter().sum::<f64>() * four.iter().sum::<f64>() / 4000.0 / 4000.0;
        let variance = |v: &[f64]| {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64
        };
        let correlation = covariance / (variance(&one) * variance(&four)).sqrt();
        assert!((correlation - COMMON_TTFT).abs() < 0.06, "{correlation}");
        for sample in [&mut one, &mut four] {
            sample.sort_by(f64::total_cmp);
            for level in [0.05, 0.25, 0.5, 0.75, 0.95] {
                let (drawn, known) = (sample[(4000.0 * level) as usize], own.ttft.quantile(level));
                assert!((drawn - known).abs() < 0.15 * own.ttft.sigma, "{level}: {drawn} {known}");
            }
        }
    }
}
