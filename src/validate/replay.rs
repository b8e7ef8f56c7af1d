//! A measured point replayed through the twin.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::points::Point;
use super::protocol;
use super::server::{Formats, formats, server, unsupported};
use crate::catalog::Backend;
use crate::timing::calibration::Factors;
use crate::timing::memory::kv_capacity;
use crate::timing::{
    Calibration, Corrected, PassFactors, PerfDbOptions, SurfaceOptions, Timing, TimingSpec, WorkerShape,
    measured_host_ms,
};
use crate::twin::deployment::{EngineConfig, Pool};
use crate::twin::metrics::Metric;
use crate::twin::{self, Deployment, Topology};

/// Time that a front end needs for 1024 prompt tokens before a synchronous engine sees them, ms:
/// the shared measurements of vLLM 0.12 need none of it to explain prompts of 1024 tokens, which are
/// in the next pass, and more than the engine's own 1.6 ms to explain prompts of 4096, which are not.
const TOKENIZE_MS: f64 = 1.0;

/// What the twin says of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Mean time to first token, ms.
    pub ttft_ms: f64,
    /// Mean time per output token after the first, ms.
    pub tpot_ms: f64,
    /// Requests that the twin refused: the prediction leaves them out.
    pub rejected: u64,
}

/// A point that can be simulated.
#[derive(Clone, Debug)]
pub struct Prepared<'a> {
    pub point: &'a Point,
    shape: WorkerShape,
    engine: EngineConfig,
    /// Pass times without host time.
    timing: Timing,
    schedules_ahead: bool,
    stream_interval: u32,
    /// What the pass times rest on.
    pub timing_label: String,
    /// Whether no measured tables answered.
    pub estimated: bool,
}

/// Prepares a point: its worker, its pass times (out of an installed `aiconfigurator-core` where one
/// is named, else out of the tables in the binary), its engine.
///
/// # Errors
/// In words, why the point cannot be simulated: a shape that the twin does not have, or one that
/// does not fit its GPUs.
pub fn prepare<'a>(point: &'a Point, database: Option<&Path>) -> Result<Prepared<'a>, String> {
    if let Some(why) = unsupported(point) {
        return Err(why);
    }
    let Formats { dtype, kv_dtype, quant } = formats(point);
    let shape = WorkerShape {
        model: point.model.clone(),
        gpu: point.gpu.clone(),
        backend: point.backend,
        dtype,
        kv_dtype,
        tp: point.tp,
    };
    let expert_parallel = (point.moe_tp * point.moe_ep > 1).then_some(point.moe_ep > 1);
    let options = |quant| SurfaceOptions { host_ms: Some(0.0), expert_parallel, quant, ..SurfaceOptions::default() };
    let build = |quant| {
        let surface = options(quant);
        let spec = match database {
            Some(path) => TimingSpec::PerfDb(PerfDbOptions { path: path.to_owned(), version: None, surface }),
            None => TimingSpec::Surface(surface),
        };
        spec.build(&shape)
    };
    // The quantisation as labelled, else what stands for the formats, else an estimate.
    let timing = build(Some(quant)).or_else(|_| build(None))?;
    let provenance = timing.provenance();
    let server = server(point);
    // The servers ran, whatever the memory model says: the capacity of a shape that does not fit
    // is not known.
    let capacity = kv_capacity(&shape, server.max_num_batched_tokens, None)?;
    let blocks = capacity.kv_tokens / u64::from(server.block_size);
    let engine = EngineConfig {
        backend: server.scheduler,
        block_size: server.block_size,
        gpu_blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        max_num_seqs: point.concurrency.max(256),
        max_num_batched_tokens: server.max_num_batched_tokens,
        max_prefill_tokens: server.max_num_batched_tokens.max(16_384),
        prefix_caching: false,
        chunked_prefill: true,
        ..EngineConfig::default()
    };
    Ok(Prepared {
        point,
        shape,
        engine,
        timing,
        schedules_ahead: server.schedules_ahead,
        stream_interval: server.stream_interval,
        timing_label: provenance.label,
        estimated: provenance.estimated.is_some(),
    })
}

/// The factors of a backend: the calibration's, or those of no calibration, where only the time of the
/// host is known.
pub fn factors(calibration: Option<&Calibration>, backend: Backend) -> Factors {
    match calibration.and_then(|c| c.of(backend)) {
        Some(own) => own.factors,
        None => Factors {
            host_ms: measured_host_ms(backend, true),
            sync_host_ms: measured_host_ms(backend, false),
            ..Factors::NONE
        },
    }
}

impl Prepared<'_> {
    /// Simulates the point under these factors.
    pub fn predict(&self, factors: &Factors, seed: u64) -> Prediction {
        // What a request takes outside passes is added below.
        let passes = PassFactors { request_ms: 0.0, ..factors.of_passes(&self.shape, self.schedules_ahead) };
        let deployment = Deployment::new(Topology::Aggregated(Pool {
            workers: 1,
            gpus_per_worker: self.point.tp,
            engine: self.engine.clone(),
            timing: Timing::Corrected(Arc::new(Corrected::new(self.timing.clone(), passes))),
        }));
        // An engine that schedules between passes still takes what arrives while it does.
        let (request_ms, gap_ms) = if self.schedules_ahead {
            (factors.request_ms, factors.request_ms)
        } else {
            let tokenized = TOKENIZE_MS * f64::from(self.point.isl) / 1024.0;
            (tokenized, (tokenized - factors.sync_host_ms).max(0.0))
        };
        let workload = protocol::workload(self.point, seed, gap_ms);
        let metrics = twin::simulate(&deployment, &workload, seed, false).metrics;
        let tpot_ms = metrics.get(Metric::TpotMean);
        let until_streamed = tpot_ms * f64::from(self.stream_interval - 1);
        Prediction {
            ttft_ms: metrics.get(Metric::TtftMean) + request_ms + until_streamed,
            tpot_ms,
            rejected: metrics.get(Metric::Rejected) as u64,
        }
    }
}

/// Simulates all points, over all cores; the same on any number of them.
pub fn predict_all(
    prepared: &[Prepared<'_>],
    factors: &(dyn Fn(Backend) -> Factors + Sync),
    seed: u64,
) -> Vec<Prediction> {
    prepared.par_iter().map(|p| p.predict(&factors(p.point.backend), seed)).collect()
}
