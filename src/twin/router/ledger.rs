//! The router's books: what it placed where, and what it was told about caches.
//!
//! They are the router's own (facts from NVIDIA Dynamo's `dynamo-kv-router`): active blocks and prefill
//! tokens are added at placement, prefill leaves at the first token, blocks leave at the end; what is
//! cached comes from KV events, which are as old as `kv_event_lag_ms` says. Prefill routers do not
//! count active blocks; decode routers know no caches, no prefill, and count every request's blocks as
//! its own.

use std::collections::VecDeque;

use super::View;
use super::facts::{Facts, Needs};
use super::prefill::{PrefillLoad, prefill_ms};
use super::rows::{Rows, Walk};
use crate::twin::deployment::Role;
use crate::twin::kv::pool::Change;

const NONE: u32 = u32::MAX;

/// What is booked for one worker.
#[derive(Debug, Default)]
struct Books {
    active_requests: u32,
    active_blocks: u64,
    prefill: PrefillLoad,
    /// KV events not yet applied, in order of time.
    events: VecDeque<Change>,
}

/// Fills a column of facts from the columns of the candidates.
fn fill(values: &mut [f64], candidates: &[u32], value: impl Fn(usize) -> f64) {
    values.iter_mut().zip(candidates).for_each(|(to, &column)| *to = value(column as usize));
}

/// All books.
#[derive(Debug)]
pub struct Ledger {
    needs: Needs,
    /// Decode workers hold nothing in common.
    shares_blocks: bool,
    /// Prefill work drains with time.
    modelled: bool,
    lag_ms: f64,
    /// Column of each worker, by id.
    columns: Vec<u32>,
    spare: Vec<u32>,
    books: Vec<Books>,
    /// Leading blocks of each segment in each worker's GPU cache.
    cached: Rows,
    /// Requests in flight that hold each segment, per worker.
    holders: Rows,
    /// Columns of the candidates.
    candidates: Vec<u32>,
    hits: Walk,
    held: Walk,
    changes: Vec<Change>,
}

/// Tokens of a request's prompt that a candidate need not compute.
fn cached_tokens(facts: &Facts, at: usize) -> u32 {
    let blocks = facts.overlap_blocks[at] + facts.host_blocks[at] + facts.disk_blocks[at];
    (blocks * facts.block_size).min(facts.prompt_tokens) as u32
}

impl Ledger {
    /// Empty books of the router of a role for what somebody `needs`.
    pub fn new(role: Role, needs: Needs, modelled: bool, lag_ms: f64) -> Self {
        let needs = match role {
            Role::Aggregated => needs,
            Role::Prefill => Needs { decode: false, ..needs },
            Role::Decode => Needs { caches: false, tiers: false, prefill: false, predictions: false, ..needs },
        };
        Ledger {
            needs: Needs { books: needs.books || needs.prefill || needs.decode || needs.predictions, ..needs },
            shares_blocks: role != Role::Decode,
            modelled,
            lag_ms,
            columns: Vec::new(),
            spare: Vec::new(),
            books: Vec::new(),
            cached: Rows::default(),
            holders: Rows::default(),
            candidates: Vec::new(),
            hits: Walk::default(),
            held: Walk::default(),
            changes: Vec::new(),
        }
    }

    /// What is kept.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether it applies KV events later than they happen.
    pub fn hears_late(&self) -> bool {
        self.needs.caches && self.lag_ms > 0.0
    }

    /// Opens a worker's books.
    pub fn worker_ready(&mut self, worker: usize) {
        if self.columns.len() <= worker {
            self.columns.resize(worker + 1, NONE);
        }
        let column = self.spare.pop().unwrap_or_else(|| {
            self.books.push(Books::default());
            self.books.len() as u32 - 1
        });
        self.columns[worker] = column;
        self.cached.widen(self.books.len());
        self.holders.widen(self.books.len());
    }

    /// Closes them; another worker may use the same column later.
    pub fn worker_removed(&mut self, worker: usize) {
        if self.column(worker).is_none() {
            return;
        }
        let column = std::mem::replace(&mut self.columns[worker], NONE);
        self.books[column as usize] = Books::default();
        self.cached.clear_column(column as usize);
        self.holders.clear_column(column as usize);
        self.spare.push(column);
    }

    /// The column of a worker; none once its books are closed. Of requests that end together on a
    /// draining worker, all but the first are heard of after it is removed.
    fn column(&self, worker: usize) -> Option<usize> {
        let column = *self.columns.get(worker)?;
        (column != NONE).then_some(column as usize)
    }

    /// Learns what happened to the caches up to now, less the lag of KV events.
    fn listen(&mut self, view: &View) {
        let private = view.paths.private_segment(0);
        for &worker in view.candidates() {
            let column = self.columns[worker] as usize;
            let events = &mut self.books[column].events;
            let is_heard = |change: &Change| change.at_ms + self.lag_ms <= view.now_ms;
            while let Some(change) = events.front().filter(|c| is_heard(c)) {
                self.cached.set(change.segment, column, change.blocks);
                events.pop_front();
            }
            let kv = &view.core(worker).kv;
            if !kv.has_changes() {
                continue;
            }
            kv.take_changes(&mut self.changes);
            // What belongs to one request alone is in no other's prompt.
            for change in self.changes.drain(..).filter(|c| c.segment < private) {
                if events.is_empty() && is_heard(&change) {
                    self.cached.set(change.segment, column, change.blocks);
                } else {
                    events.push_back(change);
                }
            }
        }
    }

    /// Gathers what is known about each candidate for a request.
    pub fn gather(&mut self, request: u32, view: &View, facts: &mut Facts) {
        let state = &view.states[request as usize];
        let pool = view.fleet.pool(view.role).expect("a role with a router has a pool");
        let block_size = view.paths.block_size;
        let prompt_blocks = view.paths.prompt_blocks(request);
        facts.request = request;
        facts.workers.clear();
        facts.workers.extend_from_slice(view.fleet.target_workers(view.role));
        facts.resize(view.candidates().len());
        facts.prompt_tokens = f64::from(state.input_tokens);
        facts.prompt_blocks = f64::from(prompt_blocks);
        facts.block_size = f64::from(block_size);
        facts.kv_blocks = f64::from(pool.engine.gpu_blocks);
        if !self.needs.books && !self.needs.caches && !self.needs.tiers {
            return;
        }
        if self.needs.caches {
            self.listen(view);
        }
        self.candidates.clear();
        self.candidates.extend(view.candidates().iter().map(|&worker| self.columns[worker]));
        let (books, candidates) = (&self.books, &self.candidates);
        fill(&mut facts.active_requests, candidates, |c| f64::from(books[c].active_requests));
        if self.needs.prefill {
            let now_ms = view.now_ms;
            fill(&mut facts.queued_prefill_tokens, candidates, |c| match self.modelled {
                true => books[c].prefill.tokens_at(now_ms),
                false => books[c].prefill.tokens(),
            });
            let least = facts.queued_prefill_tokens.iter().copied().fold(f64::INFINITY, f64::min);
            for (at, &queued) in facts.queued_prefill_tokens.iter().enumerate() {
                facts.prefill_blocks[at] = (queued + facts.prompt_tokens) / facts.block_size;
                facts.excess_prefill_blocks[at] = (queued - least) / facts.block_size;
            }
        }
        if self.needs.decode && self.shares_blocks {
            self.holders.whole_prefix_blocks(view.paths, request, &mut self.held);
            let held = &self.held.found;
            let blocks = |c: usize| books[c].active_blocks as f64 + f64::from(prompt_blocks - held[c]);
            fill(&mut facts.decode_blocks, candidates, blocks);
        } else if self.needs.decode {
            let blocks = |c: usize| books[c].active_blocks as f64 + f64::from(prompt_blocks);
            fill(&mut facts.decode_blocks, candidates, blocks);
        }
        if self.needs.caches {
            self.cached.prefix_blocks(view.paths, request, &mut self.hits);
            let hits = &self.hits.found;
            fill(&mut facts.overlap_blocks, candidates, |c| f64::from(hits[c]));
        }
        if self.needs.tiers && view.tiers.is_on() {
            for (at, &worker) in facts.workers.iter().enumerate() {
                let found = facts.overlap_blocks[at] as u32;
                let (host, disk) = view.tiers.extension(worker as u32, request, found, view.paths);
                (facts.host_blocks[at], facts.disk_blocks[at]) = (f64::from(host), f64::from(disk));
            }
        }
        if self.needs.predictions {
            // Most candidates hold equally much of the prompt.
            let mut last = (u32::MAX, 0.0);
            for (at, &column) in self.candidates.iter().enumerate() {
                let cached = cached_tokens(facts, at);
                if cached != last.0 {
                    last = (cached, prefill_ms(pool, state.input_tokens, cached));
                }
                facts.predicted_prefill_ms[at] = last.1;
                facts.queued_prefill_ms[at] = self.books[column as usize].prefill.ms_at(view.now_ms);
            }
        }
    }

    /// Whether a candidate has no prefill to do, after [`Ledger::gather`].
    pub fn any_without_prefill(&self) -> bool {
        self.candidates.iter().any(|&column| self.books[column as usize].prefill.requests() == 0)
    }

    /// Books a request on the candidate at a position, after [`Ledger::gather`] for it.
    pub fn assign(&mut self, request: u32, position: usize, view: &View, facts: &Facts) {
        if !self.needs.books {
            return;
        }
        let column = self.candidates[position] as usize;
        let books = &mut self.books[column];
        books.active_requests += 1;
        if self.needs.prefill || self.needs.predictions {
            let input_tokens = view.states[request as usize].input_tokens;
            let cached = cached_tokens(facts, position);
            let ms = facts.predicted_prefill_ms[position];
            books.prefill.add(request, input_tokens - cached, ms, view.now_ms);
        }
        if self.needs.decode && self.shares_blocks {
            for &segment in view.paths.prompt_path(request) {
                let holders = self.holders.count(segment, column);
                self.holders.set(segment, column, holders + 1);
                if holders == 0 {
                    books.active_blocks += u64::from(view.paths.blocks(segment));
                }
            }
        } else if self.needs.decode {
            books.active_blocks += u64::from(view.paths.prompt_blocks(request));
        }
    }

    /// A request's prompt is complete.
    pub fn first_token(&mut self, request: u32, worker: usize, now_ms: f64) {
        let Some(column) = self.column(worker) else { return };
        if self.needs.prefill || self.needs.predictions {
            self.books[column].prefill.remove(request, now_ms);
        }
    }

    /// A request left its worker.
    pub fn ended(&mut self, request: u32, worker: usize, view: &View) {
        if !self.needs.books {
            return;
        }
        self.first_token(request, worker, view.now_ms);
        let Some(column) = self.column(worker) else { return };
        let books = &mut self.books[column];
        books.active_requests -= 1;
        if self.needs.decode && self.shares_blocks {
            for &segment in view.paths.prompt_path(request) {
                let holders = self.holders.count(segment, column) - 1;
                self.holders.set(segment, column, holders);
                if holders == 0 {
                    books.active_blocks -= u64::from(view.paths.blocks(segment));
                }
            }
        } else if self.needs.decode {
            books.active_blocks -= u64::from(view.paths.prompt_blocks(request));
        }
    }
}
