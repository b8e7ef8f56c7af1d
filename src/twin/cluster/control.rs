//! Acting on a running cluster: scaling, deaths and restarts, by controllers with instants of their own.

use super::event::Event;
use super::{Cluster, State};
use crate::twin::deployment::Role;

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
    /// A request reached the cluster.
    fn arrived(&mut self, _now_ms: f64, _request: u32, _cluster: &Cluster) {}
    /// A request emitted its first visible token.
    fn first_token(&mut self, _now_ms: f64, _request: u32, _cluster: &Cluster) {}
    /// A request completed or was rejected.
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
    /// of that pass its requests go back to the router. They keep the tokens that were streamed.
    pub fn kill(&mut self, id: usize, now_ms: f64) {
        let role = self.fleet.worker(id).role;
        match self.fleet.worker(id).state {
            State::Removed => {}
            State::Starting => self.fleet.set_state(id, State::Removed, now_ms),
            State::Active | State::Draining => {
                self.advance(id, now_ms);
                if self.fleet.worker(id).state == State::Active {
                    self.fleet.set_state(id, State::Draining, now_ms);
                    self.tell(now_ms, role, |policy, view| {
                        view.fleet.targets_of(id).for_each(|t| policy.worker_draining(t, view))
                    });
                }
                self.dying.push(id);
                self.fleet.wakes[id] = f64::INFINITY;
                let at_ms = self.fleet.engine(id).core().now_ms.max(now_ms);
                self.schedule_event(at_ms, Event::Died { worker: id as u32 });
            }
        }
    }

    pub(super) fn became_ready(&mut self, now_ms: f64, id: usize) {
        // Cancelled or killed meanwhile.
        if self.fleet.worker(id).state != State::Starting {
            return;
        }
        let role = self.fleet.worker(id).role;
        self.fleet.set_state(id, State::Active, now_ms);
        self.tell(now_ms, role, |policy, view| view.fleet.targets_of(id).for_each(|t| policy.worker_ready(t, view)));
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
            self.send_on(now_ms, role, request);
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
        self.tell(now_ms, role, |policy, view| view.fleet.targets_of(id).for_each(|t| policy.worker_removed(t, view)));
    }
}
