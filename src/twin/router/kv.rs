//! KV-aware placement: the cheapest worker by outstanding prefill, cached prefix and active blocks.
//!
//! Cost in blocks, lower wins (facts from the peer's router, NVIDIA Dynamo's `dynamo-kv-router`):
//! `scale x max(0, raw - credit) + decode + weight x active requests`, where `raw` is the worker's
//! outstanding prefill plus the whole prompt, `credit` the prompt blocks found on the worker, and
//! `decode` the distinct blocks active there once the request joins. The books are the router's own:
//! it adds at placement, drops prefill at the first token and blocks at the end.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use super::{Placement, Policy, View, argmin_random_tie};
use crate::twin::deployment::RouterConfig;

#[derive(Default)]
struct Books {
    active_requests: u32,
    prefill_tokens: u64,
    /// Distinct prompt blocks of requests in flight.
    active_blocks: u64,
    /// Holders of each segment among requests in flight.
    holders: FxHashMap<u32, u32>,
}

/// The KV-aware policy.
pub struct Kv {
    config: RouterConfig,
    /// By worker id.
    books: Vec<Books>,
    /// Outstanding prefill tokens that each request still stands for.
    outstanding: Vec<u32>,
    /// What the last request asked for would cost on each candidate.
    costs: Vec<f64>,
    /// Its prompt blocks found on each candidate.
    hits: Vec<u32>,
    rng: ChaCha8Rng,
}

impl Kv {
    /// No workers yet.
    pub fn new(config: RouterConfig, requests: usize, rng: ChaCha8Rng) -> Self {
        Kv { config, books: Vec::new(), outstanding: vec![0; requests], costs: Vec::new(), hits: Vec::new(), rng }
    }

    /// The position among the candidates of the one chosen.
    fn choose(&mut self) -> usize {
        let costs = self.costs.iter().copied();
        if self.config.temperature == 0.0 {
            return argmin_random_tie(costs.enumerate(), &mut self.rng);
        }
        let (low, high) = costs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(c), h.max(c)));
        if high == low {
            return self.rng.random_range(0..self.costs.len());
        }
        // Range-normalised, so that the temperature means the same at every load.
        let weight = |cost: f64| (-(cost - low) / ((high - low) * self.config.temperature)).exp();
        let total: f64 = self.costs.iter().map(|&c| weight(c)).sum();
        let mut draw = self.rng.random::<f64>() * total;
        let last = self.costs.len() - 1;
        self.costs[..last]
            .iter()
            .position(|&c| {
                draw -= weight(c);
                draw < 0.0
            })
            .unwrap_or(last)
    }

    fn finish_prefill(&mut self, request: u32, worker: usize) {
        let tokens = std::mem::take(&mut self.outstanding[request as usize]);
        self.books[worker].prefill_tokens -= u64::from(tokens);
    }
}

impl Kv {
    /// What the request would cost on each candidate now, in blocks.
    pub fn costs(&mut self, request: u32, view: &View) -> &[f64] {
        let size = f64::from(view.paths.block_size);
        let input_tokens = view.states[request as usize].input_tokens;
        let blocks = view.paths.prompt_blocks(request);
        let least_prefill = view.candidates().iter().map(|&w| self.books[w].prefill_tokens).min().unwrap_or(0);
        self.costs.clear();
        self.hits.clear();
        for &worker in view.candidates() {
            let (books, core) = (&self.books[worker], view.core(worker));
            let in_flight = core.now_ms > view.now_ms;
            let hits = core.kv.visible(view.paths, request, in_flight).min(blocks);
            let mut shared = 0;
            for &segment in view.paths.path(request) {
                if shared >= blocks || !books.holders.contains_key(&segment) {
                    break;
                }
                shared += view.paths.blocks(segment);
            }
            let excess = (books.prefill_tokens - least_prefill) as f64 / size;
            let decay = 1.0 / (1.0 + self.config.overlap_decay * excess / f64::from(blocks.max(1)));
            let raw = (books.prefill_tokens + u64::from(input_tokens)) as f64 / size;
            let credit = self.config.overlap_credit * decay * f64::from(hits);
            let decode = books.active_blocks as f64 + f64::from(blocks.saturating_sub(shared));
            let cost = self.config.prefill_load_scale * (raw - credit).max(0.0)
                + decode
                + self.config.decode_request_weight * f64::from(books.active_requests);
            self.costs.push(cost);
            self.hits.push(hits);
        }
        &self.costs
    }

    /// Enters a request in the books on the candidate at this position, after [`Kv::costs`] was asked
    /// for it; that worker's id.
    pub fn assign(&mut self, request: u32, candidate: usize, view: &View) -> usize {
        let worker = view.candidates()[candidate];
        let input_tokens = view.states[request as usize].input_tokens;
        let cached = (self.hits[candidate] * view.paths.block_size).min(input_tokens);
        self.outstanding[request as usize] = input_tokens - cached;
        let books = &mut self.books[worker];
        books.active_requests += 1;
        books.prefill_tokens += u64::from(input_tokens - cached);
        for &segment in view.paths.prompt_path(request) {
            let holders = books.holders.entry(segment).or_insert(0);
            if *holders == 0 {
                books.active_blocks += u64::from(view.paths.blocks(segment));
            }
            *holders += 1;
        }
        worker
    }
}

impl Policy for Kv {
    fn place(&mut self, request: u32, view: &View) -> Placement {
        self.costs(request, view);
        let chosen = self.choose();
        Placement::Worker(self.assign(request, chosen, view))
    }

    fn worker_ready(&mut self, worker: usize, _view: &View) {
        let books = self.books.len().max(worker + 1);
        self.books.resize_with(books, Books::default);
    }

    /// Even without a credit: what a worker holds is not outstanding prefill.
    fn reads_caches(&self) -> bool {
        true
    }

    fn first_token(&mut self, request: u32, worker: usize, _view: &View) {
        self.finish_prefill(request, worker);
    }

    fn ended(&mut self, request: u32, worker: usize, view: &View) {
        self.finish_prefill(request, worker);
        let books = &mut self.books[worker];
        books.active_requests -= 1;
        for segment in view.paths.prompt_path(request) {
            let holders = books.holders.get_mut(segment).expect("placed requests hold their segments");
            *holders -= 1;
            if *holders == 0 {
                books.holders.remove(segment);
                books.active_blocks -= u64::from(view.paths.blocks(*segment));
            }
        }
    }
}
