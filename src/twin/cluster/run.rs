//! The event loop.

use std::cmp::Reverse;

use super::event::{At, Event};
use super::view;
use super::{Cluster, Controller};
use crate::twin::deployment::Role;
use crate::twin::outcome::Status;
use crate::twin::request::EdgeKind;
use crate::twin::router::Placement;
use crate::workload::Load;

impl Cluster<'_> {
    /// Places every request first, then runs each worker by itself: its caches stay warm in ours.
    pub(super) fn run_workers_apart(&mut self) {
        while let Some(At { ms, what: request, .. }) = self.arrivals.pop() {
            self.requests.states[request as usize].arrival_ms = ms;
            self.place(ms, Role::Aggregated, request);
        }
        for index in 0..self.fleet.live.len() {
            let worker = self.fleet.live[index];
            self.fleet.engine_mut(worker).run(f64::INFINITY, &self.paths, &mut self.requests);
            if self.ends_after_workers(index + 1) {
                return;
            }
        }
    }

    pub(super) fn run_events(&mut self) {
        self.requests.edges = Some(Vec::new());
        let mut control_ms = self.next_control();
        while self.left > 0 {
            let event = self.events.peek().map_or(f64::INFINITY, |e| e.0.ms);
            let arrival = self.arrivals.next_ms();
            let (worker, wake, ends_run) = self.fleet.wakes.next();
            let (queue, queued) = self.next_release();
            let now = event.min(arrival).min(wake).min(queued);
            // Faults alone bring no worker back.
            if now == f64::INFINITY && self.deployment().planner.is_none() && !self.controllers.is_empty() {
                return self.give_up();
            }
            if control_ms < now {
                self.act(control_ms);
                control_ms = self.next_control();
                continue;
            }
            if now == f64::INFINITY || self.ends_early(now) {
                return;
            }
            self.now_ms = now;
            if wake == now && ends_run {
                self.advance(worker, now);
            } else if event == now {
                let Some(Reverse(At { what: event, .. })) = self.events.pop() else { return };
                match event {
                    Event::Edge { worker, request, kind } => self.see(now, worker as usize, request, kind),
                    Event::Died { worker } => self.died(now, worker as usize),
                    Event::Ready { worker } => self.became_ready(now, worker as usize),
                    Event::Arrived { request, started } => self.arrived(now, request, started),
                    Event::Links { epoch } => self.links_moved(now, epoch),
                    Event::Between { worker } => self.between_passes(now, worker as usize),
                }
            } else if queued == now {
                self.release(now, queue);
            } else if arrival == now {
                let Some(At { what: request, .. }) = self.arrivals.pop() else { return };
                self.arrive(now, request);
            } else {
                self.advance(worker, now.next_up());
            }
            if !self.controllers.is_empty() {
                control_ms = self.next_control();
            }
        }
        self.clear_desks();
    }

    /// The earliest time at which a policy releases a queued request by itself.
    fn next_release(&self) -> (Role, f64) {
        let mut next = (Role::Aggregated, f64::INFINITY);
        for role in Role::ALL {
            if let Some(stage) = &self.stages[role as usize]
                && stage.wake_ms < next.1
            {
                next = (role, stage.wake_ms);
            }
        }
        next
    }

    fn next_control(&self) -> f64 {
        self.controllers.iter().map(|c| c.next_ms()).fold(f64::INFINITY, f64::min)
    }

    /// Lets the controllers act whose time has come.
    fn act(&mut self, now_ms: f64) {
        self.with_controllers(|cluster, controller| {
            if controller.next_ms() <= now_ms {
                controller.act(now_ms, cluster);
                debug_assert!(controller.next_ms() > now_ms, "a controller moves on");
            }
        });
    }

    pub(super) fn with_controllers(&mut self, mut each: impl FnMut(&mut Self, &mut dyn Controller)) {
        if self.controllers.is_empty() {
            return;
        }
        let mut controllers = std::mem::take(&mut self.controllers);
        for controller in &mut controllers {
            each(self, &mut **controller);
        }
        self.controllers = controllers;
    }

    /// Does every pass of a worker that starts before `until_ms`.
    pub(super) fn advance(&mut self, worker: usize, until_ms: f64) {
        if self.fleet.engine(worker).rests_until(until_ms) {
            return self.retry_reservations(worker);
        }
        self.fleet.engine_mut(worker).run(until_ms, &self.paths, &mut self.requests);
        self.refresh(worker);
    }

    /// Takes over a worker's new edges and the time of its next decision.
    pub(super) fn refresh(&mut self, worker: usize) {
        let Some(mut edges) = self.requests.edges.take() else { return };
        // Of first tokens nobody else wants to know.
        let is_heard = self.is_heard;
        for edge in edges.drain(..).filter(|edge| is_heard || edge.kind != EdgeKind::FirstToken) {
            let event = Event::Edge { worker: worker as u32, request: edge.request, kind: edge.kind };
            self.schedule_event(edge.at_ms, event);
        }
        self.requests.edges = Some(edges);
        let wake_ms = match self.dying.contains(&worker) {
            true => f64::INFINITY,
            false => self.fleet.engine_mut(worker).wake_ms(&self.paths, &self.requests),
        };
        let core = self.fleet.engine(worker).core();
        let ends_run = core.now_ms < wake_ms && !core.only_waits_aside();
        self.fleet.wakes.set(worker, wake_ms, ends_run);
        self.retry_reservations(worker);
    }

    fn arrive(&mut self, now_ms: f64, request: u32) {
        self.requests.states[request as usize].arrival_ms = now_ms;
        self.with_controllers(|cluster, controller| controller.arrived(now_ms, request, cluster));
        self.begin(now_ms, request);
    }

    pub(super) fn bring_caches_up_to(&mut self, now_ms: f64, role: Role) {
        if self.stage(role).policy.reads_caches() {
            self.bring_up_to(now_ms, role);
            self.requests.tiers.settle(now_ms, &self.paths);
        }
    }

    /// Advances all workers of a role.
    pub(super) fn bring_up_to(&mut self, now_ms: f64, role: Role) {
        for index in 0..self.fleet.live.len() {
            let worker = self.fleet.live[index];
            if self.fleet.worker(worker).role == role
                && self.fleet.engine(worker).may_change_before(now_ms)
                && !self.dying.contains(&worker)
            {
                self.advance(worker, now_ms);
            }
        }
    }

    /// Asks the role's policy where a request goes.
    pub(super) fn place(&mut self, now_ms: f64, role: Role, request: u32) {
        if self.fleet.active(role).is_empty() {
            self.stage(role).parked.push_back(request);
            return;
        }
        self.bring_caches_up_to(now_ms, role);
        let Some(stage) = &mut self.stages[role as usize] else { return };
        let view = view(&self.fleet, role, &self.paths, &self.requests, now_ms);
        let placement = stage.policy.place(request, &view);
        self.settle(now_ms, request, placement);
        if placement == Placement::Queued {
            let stage = self.stage(role);
            stage.wake_ms = stage.policy.wake_ms();
        }
    }

    /// Does what a policy decided about a request.
    pub(super) fn settle(&mut self, now_ms: f64, request: u32, placement: Placement) {
        match placement {
            Placement::Worker(target) => {
                let (worker, rank) = self.fleet.split(target);
                let role = self.fleet.worker(worker).role;
                match role {
                    Role::Prefill => self.sourced(request, worker, rank),
                    Role::Aggregated | Role::Decode => {
                        let state = &mut self.requests.states[request as usize];
                        (state.worker, state.rank) = (worker as u32, rank as u32);
                    }
                }
                if role == Role::Decode {
                    self.destined(now_ms, request, worker, rank);
                    return;
                }
                if self.requests.edges.is_some() {
                    self.advance(worker, now_ms);
                }
                self.fleet.engine_mut(worker).push_to(rank, now_ms, request);
                self.refresh(worker);
            }
            Placement::Queued => {}
            Placement::Rejected => {
                self.requests.states[request as usize].status = Status::Rejected;
                self.refused(now_ms, request);
                self.end(now_ms, request);
            }
        }
    }

    /// What a pass made visible: the router's books, the session's next turn, the client's next slot.
    fn see(&mut self, now_ms: f64, worker: usize, request: u32, kind: EdgeKind) {
        let role = self.fleet.worker(worker).role;
        let target = self.fleet.target(worker, self.rank_of(role, request) as usize);
        match kind {
            EdgeKind::FirstToken => {
                self.tell(now_ms, role, |policy, view| policy.first_token(request, target, view));
                self.with_controllers(|cluster, controller| controller.first_token(now_ms, request, cluster));
            }
            EdgeKind::Held => {
                self.tell(now_ms, role, |policy, view| {
                    policy.first_token(request, target, view);
                    policy.ended(request, target, view);
                });
                self.held(now_ms, request, worker);
            }
            EdgeKind::Ended => {
                self.tell(now_ms, role, |policy, view| policy.ended(request, target, view));
                if role == Role::Prefill {
                    self.ended_at_source(now_ms, request);
                }
                self.end(now_ms, request);
                self.remove_if_drained(now_ms, worker);
            }
        }
    }

    /// A request has ended: what follows from that outside the workers.
    pub(super) fn end(&mut self, now_ms: f64, request: u32) {
        self.left -= 1;
        self.with_controllers(|cluster, controller| controller.ended(now_ms, request, cluster));
        let workload = self.requests.workload;
        let r = &workload.requests[request as usize];
        // The client hears of it later than the engine.
        let heard_ms = now_ms + self.request_ms;
        if let Some(&next) = workload.session(r.session as usize).get(r.turn as usize + 1) {
            self.schedule(heard_ms + workload.requests[next as usize].delay_ms, next);
        } else if workload.load != Load::Open && self.next_session < workload.sessions() {
            let first = workload.session(self.next_session)[0];
            self.next_session += 1;
            self.schedule(heard_ms, first);
        }
    }
}
