//! Who may be placed now, who waits at the router, and who is refused.
//!
//! Two criteria, each optional. *Busy*: every worker has more prefill outstanding than a threshold
//! (facts from NVIDIA Dynamo's `dynamo-kv-router`): the request waits; so does one that comes while
//! others wait. *Late*: no worker is projected to give the first token within a bound: the request
//! waits, or is refused. Waiting requests are reconsidered whenever a prompt is complete, a request
//! ends or workers change, and, as projections fall with time, when one is due to fall below its bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::facts::{Facts, Needs};
use crate::twin::deployment::{QueueOrder, RouterAdmission, RouterConfig};

/// What the gate says of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Place it.
    Open,
    /// Keep it; reconsider at this time, or at the next event when it is infinite.
    Wait(f64),
    /// Refuse it.
    Refuse,
}

/// Queue and criteria.
#[derive(Debug)]
pub struct Gate {
    threshold: Option<f64>,
    admission: RouterAdmission,
    ttft_ms: f64,
    order: QueueOrder,
    /// Waiting requests by key and order of arrival, smallest first.
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    sequence: u64,
    /// When the head is to be reconsidered by itself.
    pub wake_ms: f64,
}

impl Gate {
    /// The gate of a configuration; none where nothing ever waits or is refused.
    pub fn new(config: &RouterConfig) -> Option<Gate> {
        (config.queue_threshold.is_some() || config.admission != RouterAdmission::Off).then(|| Gate {
            threshold: config.queue_threshold,
            admission: config.admission,
            ttft_ms: config.admission_ttft_ms,
            order: config.queue_order,
            queue: BinaryHeap::new(),
            sequence: 0,
            wake_ms: f64::INFINITY,
        })
    }

    /// What it judges by.
    pub fn needs(&self) -> Needs {
        Needs {
            books: true,
            caches: self.order == QueueOrder::Wspt || self.admission != RouterAdmission::Off,
            prefill: self.threshold.is_some(),
            predictions: self.admission != RouterAdmission::Off,
            ..Needs::default()
        }
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The next request to be considered.
    pub fn head(&self) -> Option<u32> {
        self.queue.peek().map(|&Reverse((_, _, request))| request)
    }

    /// Takes out the head.
    pub fn pop(&mut self) {
        self.queue.pop();
        self.wake_ms = f64::INFINITY;
    }

    /// Lets a request wait; `arrival_ms` is when it first came.
    pub fn push(&mut self, request: u32, arrival_ms: f64, facts: &Facts) {
        // The bits of times from 0 are in the order of the times.
        let arrival = (arrival_ms + 0.0).to_bits();
        let key = match self.order {
            QueueOrder::Fcfs => arrival,
            QueueOrder::Lcfs => u64::MAX - arrival,
            QueueOrder::Wspt => {
                let best = facts.overlap_blocks.iter().copied().fold(0.0, f64::max);
                (facts.prompt_tokens - best * facts.block_size).max(1.0) as u64
            }
        };
        self.queue.push(Reverse((key, self.sequence, request)));
        self.sequence += 1;
    }

    /// Whether a request may be placed now. `waited_ms` is its age; `free` says that some candidate has
    /// no prefill to do, so that waiting for less makes no sense.
    pub fn judge(&self, facts: &Facts, max_batched_tokens: u32, waited_ms: f64, now_ms: f64, free: bool) -> Verdict {
        if let Some(threshold) = self.threshold {
            let limit = threshold * f64::from(max_batched_tokens);
            if facts.queued_prefill_tokens.iter().all(|&queued| queued > limit) {
                return Verdict::Wait(f64::INFINITY);
            }
        }
        let projected = || {
            let sums = facts.queued_prefill_ms.iter().zip(&facts.predicted_prefill_ms).map(|(q, p)| q + p);
            sums.fold(f64::INFINITY, f64::min)
        };
        match self.admission {
            RouterAdmission::Off => Verdict::Open,
            RouterAdmission::Reject if waited_ms + projected() > self.ttft_ms => Verdict::Refuse,
            RouterAdmission::Queue if !free && projected() > self.ttft_ms => {
                // A rounding error must not make it now.
                Verdict::Wait((now_ms + (projected() - self.ttft_ms).max(1e-3)).next_up())
            }
            RouterAdmission::Reject | RouterAdmission::Queue => Verdict::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(queued: &[f64], queued_ms: &[f64], predicted_ms: &[f64]) -> Facts {
        Facts {
            candidates: queued.len(),
            queued_prefill_tokens: queued.to_vec(),
            queued_prefill_ms: queued_ms.to_vec(),
            predicted_prefill_ms: predicted_ms.to_vec(),
            ..Facts::default()
        }
    }

    fn gate(config: RouterConfig) -> Gate {
        Gate::new(&config).unwrap()
    }

    #[test]
    fn a_request_waits_only_when_all_workers_are_busy() {
        let gate = gate(RouterConfig { queue_threshold: Some(0.5), ..Default::default() });
        let judge = |queued: &[f64]| gate.judge(&facts(queued, &[], &[]), 1000, 0.0, 0.0, false);
        assert_eq!(judge(&[501.0, 501.0]), Verdict::Wait(f64::INFINITY));
        assert_eq!(judge(&[501.0, 500.0]), Verdict::Open, "not over the threshold");
        assert!(Gate::new(&RouterConfig::default()).is_none());
    }

    #[test]
    fn a_request_that_comes_too_late_is_refused_or_waits_until_the_projection_fits() {
        let config = RouterConfig { admission_ttft_ms: 100.0, ..Default::default() };
        let late = facts(&[], &[90.0, 300.0], &[30.0, 5.0]);
        let reject = gate(RouterConfig { admission: RouterAdmission::Reject, ..config.clone() });
        assert_eq!(reject.judge(&late, 1, 0.0, 0.0, false), Verdict::Refuse);
        let early = facts(&[], &[60.0, 300.0], &[30.0, 5.0]);
        assert_eq!(reject.judge(&early, 1, 10.0, 0.0, false), Verdict::Open);
        assert_eq!(reject.judge(&early, 1, 11.0, 0.0, false), Verdict::Refuse, "its wait counts");
        let queue = gate(RouterConfig { admission: RouterAdmission::Queue, ..config });
        let Verdict::Wait(until) = queue.judge(&late, 1, 0.0, 7.0, false) else { panic!() };
        assert!((until - 27.0).abs() < 1e-9 && until > 27.0);
        assert_eq!(queue.judge(&late, 1, 0.0, 7.0, true), Verdict::Open, "nobody is sooner free than who is free");
    }

    #[test]
    fn orders() {
        for (order, expected) in
            [(QueueOrder::Fcfs, [0, 1, 2, 3]), (QueueOrder::Lcfs, [3, 2, 0, 1]), (QueueOrder::Wspt, [2, 0, 1, 3])]
        {
            let mut gate = gate(RouterConfig { queue_threshold: Some(1.0), queue_order: order, ..Default::default() });
            for (request, (arrival, tokens, hit)) in
                [(5.0, 600.0, 1.0), (5.0, 600.0, 1.0), (6.0, 700.0, 4.0), (9.0, 800.0, 0.0)].into_iter().enumerate()
            {
                let facts = Facts {
                    prompt_tokens: tokens,
                    block_size: 100.0,
                    overlap_blocks: vec![0.0, hit],
                    ..Facts::default()
                };
                gate.push(request as u32, arrival, &facts);
            }
            let mut out = Vec::new();
            while let Some(head) = gate.head() {
                gate.pop();
                out.push(head);
            }
            assert_eq!((out, gate.len()), (expected.to_vec(), 0), "{order:?}");
        }
    }
}
