//! The router of one role: books, gate, affinity, and the policy that chooses.

use super::affinity::Affinity;
use super::choose::Chooser;
use super::facts::{Facts, Needs};
use super::gate::{Gate, Verdict};
use super::ledger::Ledger;
use super::{Placement, Policy, Summary, View};
use crate::twin::deployment::{Role, RouterConfig};

/// Places the requests of one role.
pub struct Router {
    chooser: Box<dyn Chooser>,
    ledger: Ledger,
    gate: Option<Gate>,
    affinity: Option<Affinity>,
    facts: Facts,
    summary: Summary,
}

impl Router {
    /// A router with nothing placed yet.
    pub fn new(chooser: Box<dyn Chooser>, config: &RouterConfig, role: Role) -> Self {
        // What is behind the gate of the prefill workers is let in.
        let gate = if role == Role::Decode { None } else { Gate::new(config) };
        let needs = chooser.needs().or(gate.as_ref().map_or(Needs::default(), Gate::needs));
        let predictions = needs.predictions || (config.prefill_load_model && needs.prefill);
        let needs = Needs { predictions, ..needs };
        Router {
            chooser,
            ledger: Ledger::new(role, needs, config.prefill_load_model, config.kv_event_lag_ms),
            gate,
            affinity: config.session_affinity_ttl_s.map(|ttl| Affinity::new(ttl * 1e3)),
            facts: Facts::default(),
            summary: Summary::default(),
        }
    }

    /// What is known about the candidates for a request that is being placed.
    pub fn facts(&mut self, request: u32, view: &View) -> &Facts {
        self.ledger.gather(request, view, &mut self.facts);
        &self.facts
    }

    /// Chooses among the candidates, after [`Router::facts`].
    fn send(&mut self, request: u32, view: &View) -> Placement {
        let session = view.workload.requests[request as usize].session;
        let bound = self.affinity.as_ref().and_then(|a| a.position(session, view.candidates(), view.now_ms));
        let position = bound.unwrap_or_else(|| self.chooser.choose(&self.facts));
        self.assign(request, position, view)
    }

    /// Books a request on the candidate at a position, after [`Router::facts`].
    pub fn assign(&mut self, request: u32, position: usize, view: &View) -> Placement {
        let worker = view.candidates()[position];
        if let Some(affinity) = &mut self.affinity {
            affinity.bind(view.workload.requests[request as usize].session, worker, view.now_ms);
        }
        if self.ledger.needs().caches {
            let best = self.facts.overlap_blocks.iter().copied().fold(0.0, f64::max);
            self.summary.missed_blocks += (best - self.facts.overlap_blocks[position]) as u64;
            self.summary.prompt_blocks += self.facts.prompt_blocks as u64;
        }
        self.ledger.assign(request, position, view, &self.facts);
        Placement::Worker(worker)
    }

    /// What the gate says of a request, after [`Router::facts`].
    fn judge(&self, request: u32, view: &View) -> Verdict {
        let Some(gate) = &self.gate else { return Verdict::Open };
        let pool = view.fleet.pool(view.role).expect("a role with a router has a pool");
        let waited_ms = view.now_ms - view.states[request as usize].arrival_ms;
        let free = self.ledger.any_without_prefill();
        gate.judge(&self.facts, pool.engine.max_num_batched_tokens, waited_ms, view.now_ms, free)
    }
}

impl Policy for Router {
    fn place(&mut self, request: u32, view: &View) -> Placement {
        self.ledger.gather(request, view, &mut self.facts);
        match self.judge(request, view) {
            Verdict::Refuse => {
                self.summary.refused += 1;
                Placement::Rejected
            }
            verdict => {
                let Some(gate) = &mut self.gate else { return self.send(request, view) };
                if gate.len() == 0 && verdict == Verdict::Open {
                    return self.send(request, view);
                }
                gate.push(request, view.states[request as usize].arrival_ms, &self.facts);
                if gate.head() == Some(request) {
                    // An open verdict behind a head that it overtakes: let it go at once.
                    gate.wake_ms = if let Verdict::Wait(at) = verdict { at } else { view.now_ms.next_up() };
                }
                Placement::Queued
            }
        }
    }

    fn placed(&mut self, request: u32, worker: usize, view: &View) {
        let Some(position) = view.candidates().iter().position(|&candidate| candidate == worker) else { return };
        self.ledger.gather(request, view, &mut self.facts);
        self.assign(request, position, view);
    }

    fn watches_requests(&self) -> bool {
        self.ledger.needs().books || self.gate.is_some() || self.affinity.is_some()
    }

    fn reads_caches(&self) -> bool {
        self.ledger.needs().caches
    }

    fn hears_late(&self) -> bool {
        self.ledger.hears_late()
    }

    fn first_token(&mut self, request: u32, worker: usize, view: &View) {
        self.ledger.first_token(request, worker, view.now_ms);
    }

    fn ended(&mut self, request: u32, worker: usize, view: &View) {
        self.ledger.ended(request, worker, view);
    }

    fn worker_ready(&mut self, worker: usize, _view: &View) {
        self.ledger.worker_ready(worker);
    }

    fn worker_removed(&mut self, worker: usize, _view: &View) {
        self.ledger.worker_removed(worker);
    }

    fn queued(&self) -> usize {
        self.gate.as_ref().map_or(0, Gate::len)
    }

    fn release(&mut self, view: &View) -> Option<(u32, Placement)> {
        let request = self.gate.as_ref()?.head()?;
        self.ledger.gather(request, view, &mut self.facts);
        let verdict = self.judge(request, view);
        let gate = self.gate.as_mut()?;
        if let Verdict::Wait(at) = verdict {
            gate.wake_ms = at;
            return None;
        }
        gate.pop();
        if verdict == Verdict::Refuse {
            self.summary.refused += 1;
            return Some((request, Placement::Rejected));
        }
        Some((request, self.send(request, view)))
    }

    fn wake_ms(&self) -> f64 {
        self.gate.as_ref().map_or(f64::INFINITY, |g| g.wake_ms)
    }

    fn summary(&self) -> Summary {
        self.summary
    }
}
