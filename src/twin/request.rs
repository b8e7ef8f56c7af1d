//! The state of requests during a simulation, one array for all workers.

use std::num::NonZeroU32;

use super::kv::tier::{Part, Tiers};
use super::outcome::Status;
use crate::workload::Workload;

/// One request's progress. Times in ms on the virtual clock, NaN until they happen.
#[derive(Clone, Debug)]
pub struct RequestState {
    /// Prompt length.
    pub input_tokens: u32,
    /// Tokens to generate, after clamping to the model length.
    pub output_tokens: u32,
    pub arrival_ms: f64,
    /// First admission by an engine.
    pub admitted_ms: f64,
    pub first_token_ms: f64,
    pub last_token_ms: f64,
    /// Tokens generated so far; while decoding, see [`super::engine::decode::DecodeGroup::generated`].
    pub generated: u32,
    /// Tokens whose KV is in the cache; maintained while prefilling.
    pub computed: u32,
    /// Leading blocks made findable by others.
    pub registered: u32,
    /// When its blocks were last matched or extended, in the order of its engine's own stamps.
    pub accessed: u64,
    /// Tokens whose KV was lost to the last preemption.
    pub lost: u32,
    /// Pass of its worker that will emit its last token; maintained while decoding.
    pub finish_pass: u64,
    /// Rank in its worker's admission order.
    pub order: u64,
    /// Prompt tokens found in the cache: the most over admissions.
    pub reused: u32,
    pub preemptions: u32,
    /// Times it was tried again after its worker died.
    pub retries: u32,
    /// It came from a dead worker with tokens, and has emitted none on its new one.
    pub moved: bool,
    /// Place of its [`Breaks`] once it has lost its place for the first time.
    pub breaks: Option<NonZeroU32>,
    pub worker: u32,
    /// Worker that computes its prompt for another; `u32::MAX` for none.
    pub prefill_worker: u32,
    /// How long its KV was on the way.
    pub transfer_ms: f64,
    /// Rank of attention data parallelism within its worker.
    pub rank: u32,
    pub status: Status,
    pub decoding: bool,
}

/// Time lost to preemptions, ms. Few requests have any: they are kept beside the states.
#[derive(Clone, Copy, Debug)]
pub struct Breaks {
    /// When it lost its place, while it waits for another.
    since_ms: f64,
    /// When it got its place back, while what it had is computed again.
    again_ms: f64,
    /// Waiting for a place again.
    pub preempted_ms: f64,
    /// Computing again what was lost.
    pub recomputed_ms: f64,
    /// Of both, what was before the first token.
    pub before_first_ms: f64,
}

impl Breaks {
    /// None so far.
    const NONE: Breaks =
        Breaks { since_ms: f64::NAN, again_ms: f64::NAN, preempted_ms: 0.0, recomputed_ms: 0.0, before_first_ms: 0.0 };

    /// It loses its place.
    fn stop(&mut self, now_ms: f64) {
        self.end(now_ms, false);
        self.since_ms = now_ms;
    }

    /// The part of its time that the break in which it is belongs to.
    fn part(&self) -> Option<Part> {
        if !self.since_ms.is_nan() {
            Some(Part::Preempted)
        } else if !self.again_ms.is_nan() {
            Some(Part::Recomputed)
        } else {
            None
        }
    }

    /// It has a place again.
    fn restart(&mut self, now_ms: f64) {
        if !self.since_ms.is_nan() {
            self.preempted_ms += now_ms - self.since_ms;
            (self.since_ms, self.again_ms) = (f64::NAN, now_ms);
        }
    }

    /// It emits a token out of a prompt: what was lost is there again.
    fn end(&mut self, now_ms: f64, is_first: bool) {
        if !self.again_ms.is_nan() {
            self.recomputed_ms += now_ms - self.again_ms;
            self.again_ms = f64::NAN;
        }
        if is_first {
            self.before_first_ms = self.preempted_ms + self.recomputed_ms;
        }
    }
}

impl RequestState {
    /// Prompt and generated tokens.
    pub fn known(&self) -> u32 {
        self.input_tokens + self.generated
    }

    /// The part of its time in which it is while it waits.
    pub fn part(&self, lost: &Breaks) -> Part {
        if self.admitted_ms.is_nan() {
            Part::Queue
        } else if let Some(part) = lost.part() {
            part
        } else if self.first_token_ms.is_nan() {
            Part::Prefill
        } else {
            Part::Decode
        }
    }
}

/// The times lost to preemptions of all requests that lost any; the first entry stands for all others.
#[derive(Debug)]
pub struct Losses(Vec<Breaks>);

impl Losses {
    /// Of a request.
    pub fn of(&self, state: &RequestState) -> &Breaks {
        &self.0[state.breaks.map_or(0, NonZeroU32::get) as usize]
    }
}

/// What engines share while they run: the workload, the requests, the tallies.
pub struct Requests<'a> {
    pub workload: &'a Workload,
    pub states: Vec<RequestState>,
    pub tally: super::tally::Tally,
    /// Time lost to preemptions.
    pub losses: Losses,
    /// KV tiers below GPU memory.
    pub tiers: Tiers,
    /// Filled with what became visible outside an engine, when somebody listens.
    pub edges: Option<Vec<Edge>>,
}

/// A life-cycle edge that routers, sessions or clients may wait for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub at_ms: f64,
    pub request: u32,
    pub kind: EdgeKind,
}

/// What happened to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    FirstToken,
    /// Its prompt is complete on a prefill worker, which holds its KV.
    Held,
    /// Completed or rejected.
    Ended,
}

impl<'a> Requests<'a> {
    /// All requests of a workload, not yet arrived.
    pub fn new(workload: &'a Workload, max_model_len: Option<u32>) -> Self {
        let states = workload
            .requests
            .iter()
            .map(|r| RequestState {
                input_tokens: r.input_tokens,
                output_tokens: max_model_len
                    .map_or(r.output_tokens, |m| r.output_tokens.min(m.saturating_sub(r.input_tokens))),
                arrival_ms: f64::NAN,
                admitted_ms: f64::NAN,
                first_token_ms: f64::NAN,
                last_token_ms: f64::NAN,
                generated: 0,
                computed: 0,
                registered: 0,
                accessed: 0,
                lost: 0,
                finish_pass: 0,
                order: 0,
                reused: 0,
                preemptions: 0,
                retries: 0,
                moved: false,
                breaks: None,
                worker: u32::MAX,
                prefill_worker: u32::MAX,
                transfer_ms: f64::NAN,
                rank: 0,
                status: Status::Unfinished,
                decoding: false,
            })
            .collect();
        Requests {
            workload,
            states,
            tally: Default::default(),
            losses: Losses(vec![Breaks::NONE]),
            tiers: Tiers::default(),
            edges: None,
        }
    }

    /// A request loses its place.
    pub fn stop(&mut self, now_ms: f64, request: u32) {
        let state = &mut self.states[request as usize];
        let place = *state.breaks.get_or_insert_with(|| {
            self.losses.0.push(Breaks::NONE);
            NonZeroU32::new(self.losses.0.len() as u32 - 1).expect("the first entry is nobody's")
        });
        self.losses.0[place.get() as usize].stop(now_ms);
    }

    /// A request has a place, perhaps again.
    pub fn restart(&mut self, now_ms: f64, request: u32) {
        if let Some(place) = self.states[request as usize].breaks {
            self.losses.0[place.get() as usize].restart(now_ms);
        }
    }

    /// A request emits a token out of a prompt, perhaps one that was computed again.
    pub fn resume(&mut self, now_ms: f64, request: u32) {
        let state = &self.states[request as usize];
        if let Some(place) = state.breaks {
            self.losses.0[place.get() as usize].end(now_ms, state.first_token_ms.is_nan());
        }
    }

    /// Records an edge for whoever listens.
    pub fn edge(&mut self, at_ms: f64, request: u32, kind: EdgeKind) {
        if let Some(edges) = &mut self.edges {
            edges.push(Edge { at_ms, request, kind });
        }
    }
}
