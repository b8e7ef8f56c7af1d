//! Acting on a running cluster: scaling, deaths and restarts, by controllers with instants of their own.

use std::cmp::Reverse;
use std::sync::Arc;

use super::event::Event;
use super::{Cluster, State};
use crate::timing::Timing;
use crate::twin::deployment::Role;
use crate::twin::outcome::Status;
use crate::twin::request::EdgeKind;

/// Something that acts on the cluster at instants of its own: a planner at its ticks, faults.
///
/// At one instant a controller acts last, on a settled cluster: after completions, arrivals and the
/// start of passes. Several that act at the same time do so in the order in which they were given.
/// Controllers fall silent once every request has ended.
pub trait Controller {
    /// When it acts next; infinite for never. Asked after each of the calls below.
    fn next_ms(&self) -> f64;
    /// Acts at [`Controller::next_ms`], which must then lie later (or at infinity).
    fn act(&mut self, now_ms: f64, cluster: &mut Cluster);
    /// A worker takes requests from now on; told of those at the start, too.
    fn worker_ready(&mut self, _now_ms: f64, _worker: usize, _cluster: &Cluster) {}
    /// A request reached the cluster.
    fn arrived(&mut self, _now_ms: f64, _request: u32, _cluster: &Cluster) {}
    /// A request emitted its first visible token.
    fn first_token(&mut self, _now_ms: f64, _request: u32, _cluster: &Cluster) {}
    /// A request completed, was rejected or has failed.
    fn ended(&mut self, _now_ms: f64, _request: u32, _cluster: &Cluster) {}
}

impl Cluster<'_> {
    /// Starts one worker, which takes requests after `startup_ms`; its id.
    pub fn start_worker(&mut self, role: Role, startup_ms: f64, now_ms: f64) -> usize {
        let id = self.fleet.add(role, State::Starting, now_ms);
        self.schedule_event(now_ms + startup_ms.max(0.0), Event::Ready { worker: id as u32 });
        id
    }

    /// Brings the starting and active workers of a role to `target`: starts new ones, or cancels the
    /// newest starting ones and then drains the active ones with the highest ids. Counts as one scale
    /// event if that changes anything.
    pub fn scale_to(&mut self, role: Role, target: usize, startup_ms: f64, now_ms: f64) {
        let have = self.fleet.provisioned(role);
        if have == target {
            return;
        }
        self.scale_events += 1;
        for _ in have..target {
            self.start_worker(role, startup_ms, now_ms);
        }
        for _ in target..have {
            let starting = self.fleet.ids(role, State::Starting).next_back();
            match starting.or_else(|| self.fleet.ids(role, State::Active).next_back()) {
                Some(id) => self.drain(id, now_ms),
                None => break,
            }
        }
    }

    /// Lets a worker finish what it has and leave; one that only starts leaves at once.
    pub fn drain(&mut self, id: usize, now_ms: f64) {
        let role = self.fleet.worker(id).role;
        match self.fleet.worker(id).state {
            State::Starting => self.fleet.set_state(id, State::Removed, now_ms),
            State::Active => {
                self.fleet.set_state(id, State::Draining, now_ms);
                self.tell(now_ms, role, |policy, view| {
                    view.fleet.targets_of(id).for_each(|t| policy.worker_draining(t, view))
                });
                self.remove_if_drained(now_ms, id);
            }
            State::Draining | State::Removed => {}
        }
    }

    /// A worker dies: it takes no request from now on, the pass in flight is its last, and at the end
    /// of that pass its requests are tried again elsewhere. With `restart_ms`, a new worker starts on
    /// its GPUs at once and is ready after that time, unless the dead one was leaving anyway.
    pub fn kill(&mut self, id: usize, restart_ms: Option<f64>, now_ms: f64) {
        let role = self.fleet.worker(id).role;
        let state = self.fleet.worker(id).state;
        if self.dying.contains(&id) {
            return;
        }
        match state {
            State::Removed => return,
            State::Starting => self.fleet.set_state(id, State::Removed, now_ms),
            State::Active | State::Draining => {
                self.catch_up(id, now_ms);
                if state == State::Active {
                    self.fleet.set_state(id, State::Draining, now_ms);
                    self.tell(now_ms, role, |policy, view| {
                        view.fleet.targets_of(id).for_each(|t| policy.worker_draining(t, view))
                    });
                }
                self.dying.push(id);
                self.fleet.wakes.set(id, f64::INFINITY, false);
                let at_ms = self.fleet.engine(id).core().now_ms.max(now_ms);
                self.schedule_event(at_ms, Event::Died { worker: id as u32 });
            }
        }
        if let Some(restart_ms) = restart_ms
            && state != State::Draining
        {
            self.fleet.hand_over(id, now_ms);
            self.start_worker(role, restart_ms, now_ms);
        }
    }

    /// From now on a worker takes `factor` times as long as its timing says for each pass it starts.
    pub fn set_pace(&mut self, id: usize, factor: f64, now_ms: f64) {
        let Some(pool) = self.fleet.pool(self.fleet.worker(id).role) else { return };
        let timing = pool.timing.clone();
        self.catch_up(id, now_ms);
        self.fleet.engine_mut(id).set_timing(&match factor {
            1.0 => timing,
            factor => Timing::Slowed { timing: Arc::new(timing), factor },
        });
        self.refresh(id);
    }

    /// Does every pass of a worker that starts by now: how it looks to those who act on it.
    pub fn catch_up(&mut self, id: usize, now_ms: f64) {
        if !self.dying.contains(&id) {
            self.advance(id, now_ms.next_up());
        }
    }

    /// Requests that wait for any worker of a role.
    pub fn unplaced(&self, role: Role) -> usize {
        self.stages[role as usize].as_ref().map_or(0, |s| s.parked.len() + s.policy.queued())
    }

    /// Requests whose last pass on a worker of the role is under way: engines do a pass when it starts, and
    /// no longer have them.
    pub fn in_last_pass(&self, role: Role) -> usize {
        let ends = |event: &Event| match event {
            Event::Edge { worker, kind: EdgeKind::Ended | EdgeKind::Held, .. } => {
                self.fleet.worker(*worker as usize).role == role
            }
            _ => false,
        };
        self.events.iter().filter(|Reverse(at)| ends(&at.what)).count()
    }

    pub(super) fn became_ready(&mut self, now_ms: f64, id: usize) {
        // Cancelled or killed meanwhile.
        if self.fleet.worker(id).state != State::Starting {
            return;
        }
        let role = self.fleet.worker(id).role;
        self.fleet.set_state(id, State::Active, now_ms);
        self.tell(now_ms, role, |policy, view| view.fleet.targets_of(id).for_each(|t| policy.worker_ready(t, view)));
        self.with_controllers(|cluster, controller| controller.worker_ready(now_ms, id, cluster));
        for request in std::mem::take(&mut self.stage(role).parked) {
            self.place(now_ms, role, request);
        }
    }

    pub(super) fn died(&mut self, now_ms: f64, id: usize) {
        self.dying.retain(|&d| d != id);
        if self.fleet.worker(id).state == State::Removed {
            return;
        }
        let role = self.fleet.worker(id).role;
        let requests = self.fleet.engine_mut(id).evacuate(&mut self.requests);
        for &request in &requests {
            let target = self.fleet.target(id, self.rank_of(role, request) as usize);
            self.tell(now_ms, role, |policy, view| policy.withdrawn(request, target, view));
        }
        let on_the_way = self.lost_worker(now_ms, id);
        self.remove(now_ms, id);
        // From a decode worker, all the way again: there is nobody who has the KV.
        let back = if role == Role::Decode { self.first_role() } else { role };
        for (role, request) in requests.into_iter().map(|r| (back, r)).chain(on_the_way) {
            self.retry(now_ms, role, request);
        }
    }

    /// Tries a request again whose worker died, from the stage of this role on, unless that has
    /// happened too often.
    fn retry(&mut self, now_ms: f64, role: Role, request: u32) {
        let faults = &self.deployment().faults;
        let first_role = self.first_role();
        let state = &mut self.requests.states[request as usize];
        if state.retries >= faults.retries {
            state.status = Status::Failed;
            self.refused(now_ms, request);
            self.end(now_ms, request);
            return;
        }
        state.retries += 1;
        if faults.keep_tokens {
            // The router of decode workers hears of the handover instead.
            state.moved = state.generated > 0 && role == Role::Aggregated;
        } else if role == first_role {
            state.generated = 0;
            (state.first_token_ms, state.last_token_ms) = (f64::NAN, f64::NAN);
        }
        self.send_on(now_ms, role, request);
    }

    /// Nothing is left that could serve the requests that are left: they have failed.
    pub(super) fn give_up(&mut self) {
        for request in 0..self.requests.states.len() as u32 {
            if self.requests.states[request as usize].status == Status::Unfinished {
                self.requests.states[request as usize].status = Status::Failed;
                self.refused(self.now_ms, request);
                self.left -= 1;
                let now_ms = self.now_ms;
                self.with_controllers(|cluster, controller| controller.ended(now_ms, request, cluster));
            }
        }
    }

    /// Removes a draining worker that has nothing left to do.
    pub(super) fn remove_if_drained(&mut self, now_ms: f64, id: usize) {
        if self.fleet.worker(id).state == State::Draining && !self.dying.contains(&id) {
            let engine = self.fleet.engine(id);
            if engine.in_flight() == 0 && !self.is_bound(id) && engine.core().now_ms <= now_ms {
                self.remove(now_ms, id);
            }
        }
    }

    fn remove(&mut self, now_ms: f64, id: usize) {
        let role = self.fleet.worker(id).role;
        self.fleet.set_state(id, State::Removed, now_ms);
        self.requests.tiers.forget(id as u32);
        self.tell(now_ms, role, |policy, view| view.fleet.targets_of(id).for_each(|t| policy.worker_removed(t, view)));
    }
}
