//! Disaggregation: from a prefill worker to a decode worker (`semantics` 5).
//!
//! vLLM and TRT-LLM go *source first*: queued and computed on a prefill worker, KV held there, a decode
//! worker chosen, room reserved on it, KV sent, activated, source released. SGLang goes *destination
//! first*: the decode worker is chosen and its room reserved before the prompt is computed. Reserving,
//! activating and releasing happen between passes of the worker concerned: on one that is in a pass,
//! at its end, after what the pass made visible and before anything new starts.
//!
//! Reservations of a worker are served in order; one that finds no room holds up those behind it, and
//! the worker's own admissions, until something there is freed. A full decode pool presses back
//! through the blocks held on prefill workers. Under *source first* nothing on a decode worker waits for
//! a prefill worker, under *destination first* nothing on a prefill worker waits for room on a decode
//! worker: so there is no circle, and every request moves on. When a worker dies, a request whose
//! other side would break this gives up what it has there and begins anew.

use std::collections::VecDeque;

use super::event::Event;
use super::links::Links;
use super::{Cluster, State};
use crate::catalog::Backend;
use crate::twin::deployment::{Charge, Deployment, Role, Topology};
use crate::twin::engine::handoff::{self, Reservation};
use crate::twin::outcome::Status;

const NONE: u32 = u32::MAX;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug)]
struct Way {
    source: u32,
    source_rank: u32,
    destination: u32,
    destination_rank: u32,
    /// It was given to the router of prefill workers, and its prompt is not complete.
    is_asked: bool,
    /// Its prompt is complete at the source.
    is_held: bool,
    /// The destination has room for it.
    is_reserved: bool,
    /// Its KV has arrived.
    has_arrived: bool,
    /// It was given to the router of decode workers, which may have it queued.
    is_routed: bool,
    /// Tokens that were at the destination already.
    cached_tokens: u32,
    started_ms: f64,
}

const AT_START: Way = Way {
    source: NONE,
    source_rank: 0,
    destination: NONE,
    destination_rank: 0,
    is_asked: false,
    is_held: false,
    is_reserved: false,
    has_arrived: false,
    is_routed: false,
    cached_tokens: 0,
    started_ms: f64::NAN,
};

/// What a worker has to do between two passes.
#[derive(Debug)]
struct Desk {
    /// Requests that want room, in order.
    wanted: VecDeque<u32>,
    /// Ranks and requests whose source is to be released.
    release: Vec<(u32, u32)>,
    /// Ranks and requests whose reservation is to be given up.
    cancel: Vec<(u32, u32)>,
    /// Ranks and requests whose KV has arrived.
    activate: Vec<(u32, u32)>,
    /// Handoffs that this worker is a part of besides the requests it runs.
    bound: u32,
    /// When it looks at all this next.
    due_ms: f64,
    /// Blocks available and requests expected when the head of those that want room found none.
    refused: (u32, usize),
}

impl Default for Desk {
    fn default() -> Self {
        Desk {
            wanted: VecDeque::new(),
            release: Vec::new(),
            cancel: Vec::new(),
            activate: Vec::new(),
            bound: 0,
            due_ms: f64::NAN,
            refused: (0, 0),
        }
    }
}

/// All handoffs of a disaggregated cluster.
#[derive(Debug)]
pub(super) struct Handoffs {
    ways: Vec<Way>,
    desks: Vec<Desk>,
    links: Links,
    /// Transfers that have just ended: empty but for its memory.
    ended: Vec<u32>,
    destination_first: bool,
    /// The peer's SGLang gives room to one request for each pass that ended and each prompt whose KV
    /// arrived; only an idle worker gives it to all at once.
    one_a_pass: bool,
    charge: Charge,
}

impl Handoffs {
    /// None where workers do everything themselves.
    pub fn new(deployment: &Deployment, requests: usize) -> Option<Self> {
        let Topology::Disaggregated { prefill, transfer, .. } = &deployment.topology else { return None };
        let destination_first = prefill.engine.backend == Backend::Sglang;
        Some(Handoffs {
            ways: vec![AT_START; requests],
            desks: Vec::new(),
            links: Links::new(transfer.clone()),
            ended: Vec::new(),
            destination_first,
            one_a_pass: destination_first && deployment.peer_compat,
            charge: transfer.charge,
        })
    }

    fn desk(&mut self, worker: usize) -> &mut Desk {
        if self.desks.len() <= worker {
            self.desks.resize_with(worker + 1, Desk::default);
        }
        &mut self.desks[worker]
    }
}

impl Cluster<'_> {
    fn handoffs(&mut self) -> &mut Handoffs {
        self.handoffs.as_mut().expect("a disaggregated cluster")
    }

    fn way(&mut self, request: u32) -> &mut Way {
        &mut self.handoffs().ways[request as usize]
    }

    /// Sends a request to the stage that comes first, or where it is served whole.
    pub(super) fn begin(&mut self, now_ms: f64, request: u32) {
        if self.is_kept_local(now_ms, request) {
            return;
        }
        self.send_on(now_ms, self.first_role(), request);
    }

    /// Gives a request to the router of a role.
    pub(super) fn send_on(&mut self, now_ms: f64, role: Role, request: u32) {
        match role {
            Role::Aggregated => {}
            Role::Prefill => self.way(request).is_asked = true,
            Role::Decode => self.way(request).is_routed = true,
        }
        self.place(now_ms, role, request);
    }

    /// A router refused a request: what it holds elsewhere is let go.
    pub(super) fn refused(&mut self, now_ms: f64, request: u32) {
        if self.handoffs.is_some() {
            self.release_source(now_ms, request);
            self.ended_at_source(now_ms, request);
        }
    }

    /// Whether a worker still has to hand something over or take something in.
    pub(super) fn is_bound(&self, worker: usize) -> bool {
        let desk = self.handoffs.as_ref().and_then(|h| h.desks.get(worker));
        desk.is_some_and(|d| d.bound > 0)
    }

    /// Requests that were given to a worker of the role, and wait for it to have room for them.
    pub fn wanting_room(&self, role: Role) -> usize {
        let desks = self.handoffs.iter().flat_map(|h| h.desks.iter().enumerate());
        desks.filter(|&(worker, _)| self.fleet.worker(worker).role == role).map(|(_, desk)| desk.wanted.len()).sum()
    }

    /// The rank of a request on its worker of a role.
    pub(super) fn rank_of(&self, role: Role, request: u32) -> u32 {
        match &self.handoffs {
            Some(handoffs) if role == Role::Prefill => handoffs.ways[request as usize].source_rank,
            _ => self.requests.states[request as usize].rank,
        }
    }

    /// A router chose the prefill worker.
    pub(super) fn sourced(&mut self, request: u32, worker: usize, rank: usize) {
        let way = self.way(request);
        (way.source, way.source_rank) = (worker as u32, rank as u32);
        self.requests.states[request as usize].prefill_worker = worker as u32;
    }

    /// A router chose the decode worker: the request wants room there.
    pub(super) fn destined(&mut self, now_ms: f64, request: u32, worker: usize, rank: usize) {
        let waits_for_source = !self.handoffs().destination_first && !self.way(request).is_held;
        let way = self.way(request);
        if waits_for_source {
            // Its source was lost while the router had it queued: it is routed again once its prompt is
            // complete elsewhere.
            way.is_routed = false;
            let target = self.fleet.target(worker, rank);
            self.tell(now_ms, Role::Decode, |policy, view| policy.withdrawn(request, target, view));
            return;
        }
        (way.destination, way.destination_rank, way.is_routed) = (worker as u32, rank as u32, false);
        let desk = self.handoffs().desk(worker);
        desk.bound += 1;
        desk.wanted.push_back(request);
        self.attend(now_ms, worker);
    }

    /// Makes a worker look at its desk as soon as it is between passes.
    fn attend(&mut self, now_ms: f64, worker: usize) {
        if self.fleet.worker(worker).state == State::Removed || self.dying.contains(&worker) {
            return;
        }
        self.advance(worker, now_ms);
        let at_ms = self.fleet.engine(worker).core().now_ms.max(now_ms);
        let desk = self.handoffs().desk(worker);
        if desk.due_ms != at_ms {
            desk.due_ms = at_ms;
            self.schedule_event(at_ms, Event::Between { worker: worker as u32 });
        }
    }

    /// After passes of a worker: a refused reservation is tried again once something was freed.
    pub(super) fn retry_reservations(&mut self, worker: usize) {
        let Some(handoffs) = &mut self.handoffs else { return };
        let Some(desk) = handoffs.desks.get(worker) else { return };
        let Some(&head) = desk.wanted.front() else { return };
        let rank = handoffs.ways[head as usize].destination_rank as usize;
        let core = self.fleet.engine(worker).rank(rank);
        if core.reserving && (core.kv.available() > desk.refused.0 || core.expected() < desk.refused.1) {
            let at_ms = core.now_ms.max(self.now_ms);
            if desk.due_ms != at_ms {
                self.handoffs().desk(worker).due_ms = at_ms;
                self.schedule_event(at_ms, Event::Between { worker: worker as u32 });
            }
        }
    }

    /// A worker is between passes: it does what has gathered on its desk.
    pub(super) fn between_passes(&mut self, now_ms: f64, worker: usize) {
        if self.fleet.worker(worker).state == State::Removed || self.dying.contains(&worker) {
            return;
        }
        self.advance(worker, now_ms);
        if self.fleet.engine(worker).core().now_ms > now_ms {
            // A pass began meanwhile.
            self.attend(now_ms, worker);
            return;
        }
        let desk = self.handoffs().desk(worker);
        desk.due_ms = f64::NAN;
        let engine = self.fleet.engine_mut(worker);
        let was_idle = engine.in_flight() == 0 && (engine.core().now_ms < now_ms || now_ms == 0.0);
        engine.catch_up(now_ms);
        let desk = self.handoffs().desk(worker);
        let mut release = std::mem::take(&mut desk.release);
        let mut cancel = std::mem::take(&mut desk.cancel);
        let mut activate = std::mem::take(&mut desk.activate);
        desk.bound -= (release.len() + cancel.len() + activate.len()) as u32;
        for (rank, request) in release.drain(..) {
            let engine = self.fleet.engine_mut(worker);
            handoff::release_held(engine.rank_mut(rank as usize), request, &self.paths, &mut self.requests);
        }
        for (rank, request) in cancel.drain(..) {
            let engine = self.fleet.engine_mut(worker);
            handoff::cancel_reservation(engine.rank_mut(rank as usize), request, &self.paths, &mut self.requests);
        }
        let mut allowed = match (self.handoffs().one_a_pass, was_idle, activate.len() as u32) {
            (true, false, arrived) => 1 + arrived,
            (true, true, arrived @ 1..) => arrived,
            _ => u32::MAX,
        };
        for (rank, request) in activate.drain(..) {
            let engine = self.fleet.engine_mut(worker);
            handoff::activate(engine.rank_mut(rank as usize), request, &self.paths, &mut self.requests);
            self.handoffs().ways[request as usize] = AT_START;
        }
        // The lists keep their memory.
        let desk = self.handoffs().desk(worker);
        (desk.release, desk.cancel, desk.activate) = (release, cancel, activate);
        self.reserve_wanted(now_ms, worker, &mut allowed);
        self.fleet.engine_mut(worker).retry();
        self.refresh(worker);
        self.remove_if_drained(now_ms, worker);
    }

    /// Gives room to those who want it, in order, until one finds none.
    fn reserve_wanted(&mut self, now_ms: f64, worker: usize, allowed: &mut u32) {
        while let Some(&request) = self.handoffs().desk(worker).wanted.front() {
            let rank = self.way(request).destination_rank as usize;
            let engine = self.fleet.engine_mut(worker).rank_mut(rank);
            match engine.reserve(request, &self.paths, &mut self.requests) {
                Reservation::Full => {
                    let core = engine.core();
                    let refused = (core.kv.available(), core.expected());
                    self.handoffs().desk(worker).refused = refused;
                    break;
                }
                Reservation::Done { cached_tokens } => {
                    self.handoffs().desk(worker).wanted.pop_front();
                    let way = self.way(request);
                    (way.is_reserved, way.cached_tokens) = (true, cached_tokens);
                    let (is_held, is_asked) = (way.is_held, way.is_asked);
                    match (is_held, is_asked) {
                        (true, _) => self.send(now_ms, request),
                        (false, false) => self.send_on(now_ms, Role::Prefill, request),
                        // It was asked for before the first destination was lost.
                        (false, true) => {}
                    }
                    *allowed = allowed.saturating_sub(1);
                    if *allowed == 0 {
                        let engine = self.fleet.engine(worker);
                        let (core, has_work) = (engine.rank(rank), engine.in_flight() > 0);
                        let free = (core.kv.available(), core.expected());
                        self.handoffs().desk(worker).refused = free;
                        if has_work {
                            // The next one when the pass that starts now has ended, else when KV arrives.
                            let at_ms = now_ms.next_up();
                            self.handoffs().desk(worker).due_ms = at_ms;
                            self.schedule_event(at_ms, Event::Between { worker: worker as u32 });
                        }
                        break;
                    }
                }
                Reservation::Never => {
                    let desk = self.handoffs().desk(worker);
                    desk.wanted.pop_front();
                    desk.bound -= 1;
                    let target = self.fleet.target(worker, rank);
                    self.tell(now_ms, Role::Decode, |policy, view| policy.ended(request, target, view));
                    self.release_source(now_ms, request);
                    *self.way(request) = AT_START;
                    self.requests.states[request as usize].status = Status::Rejected;
                    self.end(now_ms, request);
                }
            }
        }
        let is_waiting = !self.handoffs().desk(worker).wanted.is_empty();
        self.fleet.engine_mut(worker).set_reserving(is_waiting);
    }

    /// A prefill worker has completed a prompt and holds it.
    pub(super) fn held(&mut self, now_ms: f64, request: u32, worker: usize) {
        self.handoffs().desk(worker).bound += 1;
        let way = self.way(request);
        (way.is_held, way.is_asked) = (true, false);
        if way.is_reserved {
            self.send(now_ms, request);
        } else if way.destination == NONE && !way.is_routed {
            if self.handoffs().destination_first {
                // Its destination was lost: it may not hold blocks here until there is room elsewhere.
                self.release_source(now_ms, request);
                *self.way(request) = AT_START;
            }
            self.send_on(now_ms, Role::Decode, request);
        }
    }

    /// Sends a request's KV from source to destination.
    fn send(&mut self, now_ms: f64, request: u32) {
        let known = self.requests.states[request as usize].known();
        let charge = self.handoffs().charge;
        let way = self.way(request);
        way.started_ms = now_ms;
        let (source, destination) = (way.source, way.destination);
        let tokens = match charge {
            Charge::FullPrompt => known,
            Charge::DestinationMissing => known - way.cached_tokens.min(known),
        };
        let links = &mut self.handoffs().links;
        if links.are_shared() {
            links.start(now_ms, request, source, destination, tokens);
            self.watch_links();
        } else {
            let at_ms = now_ms + links.alone_ms(tokens);
            self.schedule_event(at_ms, Event::Arrived { request, started: now_ms.to_bits() });
        }
    }

    fn watch_links(&mut self) {
        let links = &self.handoffs().links;
        let (at_ms, epoch) = (links.next_ms(), links.epoch);
        if at_ms < f64::INFINITY {
            self.schedule_event(at_ms, Event::Links { epoch });
        }
    }

    /// Transfers over shared links end.
    pub(super) fn links_moved(&mut self, now_ms: f64, epoch: u64) {
        if self.handoffs().links.epoch != epoch {
            return;
        }
        let mut ended = std::mem::take(&mut self.handoffs().ended);
        self.handoffs().links.take_ended(now_ms, &mut ended);
        for request in ended.drain(..) {
            let started = self.way(request).started_ms.to_bits();
            self.arrived(now_ms, request, started);
        }
        self.handoffs().ended = ended;
        self.watch_links();
    }

    /// A request's KV has arrived at its destination.
    pub(super) fn arrived(&mut self, now_ms: f64, request: u32, started: u64) {
        let way = self.way(request);
        if way.started_ms.to_bits() != started || way.has_arrived {
            // It was cancelled.
            return;
        }
        way.has_arrived = true;
        let (worker, rank, started_ms) = (way.destination as usize, way.destination_rank, way.started_ms);
        // One after the first token, when a worker was lost, is no part of the time to it.
        let state = &mut self.requests.states[request as usize];
        if state.first_token_ms.is_nan() {
            state.transfer_ms = now_ms - started_ms;
        }
        self.handoffs().desk(worker).activate.push((rank, request));
        self.attend(now_ms, worker);
        self.release_source(now_ms, request);
    }

    /// Lets the source of a request go, if it holds anything.
    fn release_source(&mut self, now_ms: f64, request: u32) {
        let way = self.way(request);
        if std::mem::replace(&mut way.is_held, false) {
            let (worker, rank) = (way.source as usize, way.source_rank);
            self.handoffs().desk(worker).release.push((rank, request));
            self.attend(now_ms, worker);
        }
    }

    /// A request ended on its prefill worker: what was to follow is called off.
    pub(super) fn ended_at_source(&mut self, now_ms: f64, request: u32) {
        self.call_off(now_ms, request);
        self.way(request).is_routed = false;
    }

    /// Gives up a request's place on a decode worker, if it has one; it is where it was at the start,
    /// but may still be queued by the router of decode workers.
    fn call_off(&mut self, now_ms: f64, request: u32) {
        let is_routed = self.way(request).is_routed;
        let way = std::mem::replace(self.way(request), Way { is_routed, ..AT_START });
        if way.destination != NONE {
            let (worker, rank) = (way.destination as usize, way.destination_rank);
            let target = self.fleet.target(worker, rank as usize);
            self.tell(now_ms, Role::Decode, |policy, view| policy.ended(request, target, view));
            let desk = self.handoffs().desk(worker);
            if way.is_reserved {
                desk.cancel.push((rank, request));
            } else {
                desk.wanted.retain(|&wanted| wanted != request);
                desk.bound -= 1;
            }
            self.attend(now_ms, worker);
        }
    }

    /// The requests on the way that a dead worker had a part in, with the stage to which each goes back.
    pub(super) fn lost_worker(&mut self, now_ms: f64, worker: usize) -> Vec<(Role, u32)> {
        let Some(handoffs) = &mut self.handoffs else { return Vec::new() };
        *handoffs.desk(worker) = Desk::default();
        let mut again = Vec::new();
        for request in 0..handoffs.ways.len() as u32 {
            let way = self.way(request);
            let at_source = way.is_held && way.source as usize == worker;
            let at_destination = way.destination as usize == worker;
            if !at_source && !at_destination {
                continue;
            }
            let under_way = !way.started_ms.is_nan() && !way.has_arrived;
            way.started_ms = f64::NAN;
            if under_way && self.handoffs().links.are_shared() {
                self.handoffs().links.cancel(now_ms, request);
                self.watch_links();
            }
            let way = self.way(request);
            if at_destination {
                let rank = way.destination_rank as usize;
                let (was_held, had_arrived, was_asked) = (way.is_held, way.has_arrived, way.is_asked);
                let destination_first = self.handoffs().destination_first;
                let way = self.way(request);
                (way.destination, way.is_reserved, way.has_arrived) = (NONE, false, false);
                let target = self.fleet.target(worker, rank);
                self.tell(now_ms, Role::Decode, |policy, view| policy.withdrawn(request, target, view));
                if had_arrived {
                    *self.way(request) = AT_START;
                    again.push((self.first_role(), request));
                } else if was_held || !was_asked {
                    // Its prompt is there, or not begun.
                    if was_held && destination_first {
                        self.release_source(now_ms, request);
                        *self.way(request) = AT_START;
                    }
                    again.push((Role::Decode, request));
                }
                // Else its prompt is still computed: a worker is chosen when that is done.
            } else {
                way.is_held = false;
                if !self.handoffs().destination_first {
                    self.call_off(now_ms, request);
                }
                again.push((Role::Prefill, request));
            }
        }
        again
    }

    /// Lets go what is still held after the last request has ended.
    pub(super) fn clear_desks(&mut self) {
        let desks = self.handoffs.as_ref().map_or(0, |h| h.desks.len());
        for worker in 0..desks {
            if self.fleet.worker(worker).state != State::Removed {
                let at_ms = self.fleet.engine(worker).core().now_ms.max(self.now_ms);
                self.between_passes(at_ms, worker);
            }
        }
    }

    /// The stage at which a request begins.
    pub(super) fn first_role(&self) -> Role {
        match &self.handoffs {
            None => Role::Aggregated,
            Some(handoffs) if handoffs.destination_first => Role::Decode,
            Some(_) => Role::Prefill,
        }
    }
}
