//! From a simulated cluster to its outcome.

use super::Cluster;
use crate::twin::kv::tier::{Part, TierRecord};
use crate::twin::outcome::{Outcome, RequestRecord, Status};
use crate::twin::request::{Breaks, RequestState};
use crate::twin::router::Summary;
use crate::twin::tally::{ClusterUse, Gathered, TierUse, metrics};
use crate::workload::Request;

impl Cluster<'_> {
    pub(super) fn outcome(self, per_request: bool) -> Outcome {
        let states = &self.requests.states;
        let end = states.iter().map(|s| s.last_token_ms).filter(|t| !t.is_nan()).fold(0.0, f64::max);
        let measured_from_ms = self.requests.workload.measured_from_ms;
        let is_measured = |t: &f64| measured_from_ms <= 0.0 || *t >= measured_from_ms;
        let start = states.iter().map(|s| s.arrival_ms).filter(is_measured).fold(f64::INFINITY, f64::min);
        let mut gathered = Gathered::new(states.len(), &self.deployment.sla);
        let mut records = per_request.then(|| Vec::with_capacity(states.len()));
        for (index, (state, request)) in states.iter().zip(&self.requests.workload.requests).enumerate() {
            let mut record = state.record(request, self.requests.losses.of(state), self.request_ms);
            if self.requests.tiers.is_on()
                && let Some(tiers) = self.requests.tiers.of_request(index as u32)
            {
                record.add_tiers(&tiers);
            }
            if record.arrival_ms.is_nan() || is_measured(&record.arrival_ms) {
                gathered.add(&record);
            }
            if let Some(records) = &mut records {
                records.push(record);
            }
        }
        let (gpu_ms, kv_block_ms, gpus_peak) = self.fleet.used(start, end);
        let routers = self.stages.iter().flatten().map(|stage| stage.policy.summary());
        let cluster = ClusterUse {
            routed: routers.fold(Summary::default(), Summary::and),
            duration_ms: (end - start).max(0.0),
            gpu_ms,
            gpus_peak,
            scale_events: self.scale_events,
            kv_block_ms,
            usd_per_gpu_hour: self.deployment.usd_per_gpu_hour,
            tiers: self.requests.tiers.is_on().then(|| TierUse::of(&self.requests.tiers)),
        };
        let tally = &self.requests.tally;
        Outcome {
            metrics: metrics(gathered, tally, &cluster),
            passes: tally.passes,
            steps: tally.steps,
            requests: records,
        }
    }
}

impl RequestRecord {
    /// The waits for KV between tiers, taken out of the parts that they would otherwise be in.
    fn add_tiers(&mut self, tiers: &TierRecord) {
        self.queue_ms -= tiers.waits_ms[Part::Queue as usize];
        self.prefill_ms -= tiers.waits_ms[Part::Prefill as usize];
        self.preempted_ms -= tiers.waits_ms[Part::Preempted as usize];
        self.recomputed_ms -= tiers.waits_ms[Part::Recomputed as usize];
        self.decode_ms -= tiers.waits_ms[Part::Decode as usize];
        (self.host_tokens, self.disk_tokens) = (tiers.host_tokens, tiers.disk_tokens);
        self.tier_wait_ms = tiers.waits_ms.iter().sum();
    }
}

impl RequestState {
    /// `request_ms` is what the way to the engine and back takes.
    fn record(&self, request: &Request, lost: &Breaks, request_ms: f64) -> RequestRecord {
        let completed = self.status == Status::Completed;
        let since_arrival = |at_ms: f64| at_ms - self.arrival_ms + request_ms;
        let ttft_ms = since_arrival(self.first_token_ms);
        let e2e_ms = if completed && self.output_tokens > 0 { since_arrival(self.last_token_ms) } else { f64::NAN };
        let Breaks { preempted_ms, recomputed_ms, before_first_ms, .. } = *lost;
        let queue_ms = self.admitted_ms - self.arrival_ms;
        let transfer_ms = if self.transfer_ms.is_nan() { 0.0 } else { self.transfer_ms };
        let output_tokens = if completed { self.output_tokens } else { self.generated };
        RequestRecord {
            row: request.row,
            session: request.session,
            turn: request.turn,
            status: self.status,
            arrival_ms: self.arrival_ms,
            ttft_ms,
            e2e_ms,
            tpot_ms: if output_tokens > 1 { (e2e_ms - ttft_ms) / f64::from(output_tokens - 1) } else { f64::NAN },
            input_tokens: self.input_tokens,
            output_tokens,
            reused_tokens: self.reused,
            preemptions: self.preemptions,
            retries: self.retries,
            worker: self.worker,
            prefill_worker: self.prefill_worker,
            queue_ms,
            transfer_ms: self.transfer_ms,
            // A token is shown only once the KV is where it will be decoded.
            prefill_ms: ttft_ms - request_ms - queue_ms - transfer_ms - before_first_ms,
            decode_ms: e2e_ms - ttft_ms - (preempted_ms + recomputed_ms - before_first_ms),
            preempted_ms,
            recomputed_ms,
            host_tokens: 0,
            disk_tokens: 0,
            tier_wait_ms: f64::NAN,
        }
    }
}
