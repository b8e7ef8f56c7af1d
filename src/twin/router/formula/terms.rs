//! The terms of a formula: what it may say of a request and a candidate.

use crate::twin::router::facts::{Facts, Needs};

/// One of [`TERMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    PrefillBlocks,
    OverlapBlocks,
    HostBlocks,
    DiskBlocks,
    DecodeBlocks,
    ActiveRequests,
    QueuedPrefillTokens,
    QueuedPrefillMs,
    PredictedPrefillMs,
    ExcessPrefillBlocks,
    RequestBlocks,
    RequestTokens,
    BlockSize,
    KvBlocks,
    Workers,
}

/// A term's name and meaning.
#[derive(Clone, Copy, Debug)]
pub struct TermInfo {
    pub term: Term,
    pub name: &'static str,
    pub unit: &'static str,
    /// Whether it differs between candidates.
    pub of_worker: bool,
    pub doc: &'static str,
}

const fn info(term: Term, name: &'static str, unit: &'static str, of_worker: bool, doc: &'static str) -> TermInfo {
    TermInfo { term, name, unit, of_worker, doc }
}

/// Every term.
pub const TERMS: &[TermInfo] = &[
    info(
        Term::PrefillBlocks,
        "prefill_blocks",
        "blocks",
        true,
        "prefill work outstanding on the worker, plus the whole prompt of this request",
    ),
    info(
        Term::OverlapBlocks,
        "overlap_blocks",
        "blocks",
        true,
        "leading blocks of the prompt in the worker's GPU cache",
    ),
    info(
        Term::HostBlocks,
        "host_blocks",
        "blocks",
        true,
        "blocks of the prompt that follow those in the host memory that the worker uses; 0 without `kv.host_gib`",
    ),
    info(
        Term::DiskBlocks,
        "disk_blocks",
        "blocks",
        true,
        "blocks of the prompt that then follow on the disk that the worker uses; 0 without `kv.disk_gib`",
    ),
    info(
        Term::DecodeBlocks,
        "decode_blocks",
        "blocks",
        true,
        "distinct prompt blocks of the requests in flight on the worker, this one's included",
    ),
    info(Term::ActiveRequests, "active_requests", "requests", true, "requests placed on the worker and not ended"),
    info(
        Term::QueuedPrefillTokens,
        "queued_prefill_tokens",
        "tokens",
        true,
        "prompt tokens that the worker still has to compute for requests placed before",
    ),
    info(
        Term::QueuedPrefillMs,
        "queued_prefill_ms",
        "ms",
        true,
        "predicted time until the worker has computed them, from the pass times of this deployment",
    ),
    info(
        Term::PredictedPrefillMs,
        "predicted_prefill_ms",
        "ms",
        true,
        "predicted time to compute what the worker has not cached of this prompt",
    ),
    info(
        Term::ExcessPrefillBlocks,
        "excess_prefill_blocks",
        "blocks",
        true,
        "prefill work outstanding on the worker beyond that of the least loaded one",
    ),
    info(Term::RequestBlocks, "request_blocks", "blocks", false, "full blocks of the prompt"),
    info(Term::RequestTokens, "request_tokens", "tokens", false, "tokens of the prompt"),
    info(Term::BlockSize, "block_size", "tokens", false, "tokens per block"),
    info(Term::KvBlocks, "kv_blocks", "blocks", false, "blocks of a worker's KV pool"),
    info(Term::Workers, "workers", "workers", false, "workers that take requests now"),
];

/// A term's values: one for all candidates, or one each.
pub(super) enum Values<'a> {
    All(f64),
    Each(&'a [f64]),
}

impl Term {
    /// The term with this name.
    pub fn named(name: &str) -> Option<Term> {
        TERMS.iter().find(|t| t.name == name).map(|t| t.term)
    }

    /// Whether it differs between candidates.
    pub(super) fn is_of_worker(self) -> bool {
        TERMS.iter().any(|t| t.term == self && t.of_worker)
    }

    pub(super) fn values(self, facts: &Facts) -> Values<'_> {
        match self {
            Term::PrefillBlocks => Values::Each(&facts.prefill_blocks),
            Term::OverlapBlocks => Values::Each(&facts.overlap_blocks),
            Term::HostBlocks => Values::Each(&facts.host_blocks),
            Term::DiskBlocks => Values::Each(&facts.disk_blocks),
            Term::DecodeBlocks => Values::Each(&facts.decode_blocks),
            Term::ActiveRequests => Values::Each(&facts.active_requests),
            Term::QueuedPrefillTokens => Values::Each(&facts.queued_prefill_tokens),
            Term::QueuedPrefillMs => Values::Each(&facts.queued_prefill_ms),
            Term::PredictedPrefillMs => Values::Each(&facts.predicted_prefill_ms),
            Term::ExcessPrefillBlocks => Values::Each(&facts.excess_prefill_blocks),
            Term::RequestBlocks => Values::All(facts.prompt_blocks),
            Term::RequestTokens => Values::All(facts.prompt_tokens),
            Term::BlockSize => Values::All(facts.block_size),
            Term::KvBlocks => Values::All(facts.kv_blocks),
            Term::Workers => Values::All(facts.candidates as f64),
        }
    }

    /// What a router has to keep for it.
    pub(super) fn needs(self) -> Needs {
        let none = Needs { books: true, ..Needs::default() };
        match self {
            Term::PrefillBlocks | Term::QueuedPrefillTokens | Term::ExcessPrefillBlocks => {
                // What is cached is not outstanding.
                Needs { prefill: true, caches: true, ..none }
            }
            Term::OverlapBlocks => Needs { caches: true, ..none },
            Term::HostBlocks | Term::DiskBlocks => Needs { caches: true, tiers: true, ..none },
            Term::DecodeBlocks => Needs { decode: true, ..none },
            Term::QueuedPrefillMs | Term::PredictedPrefillMs => Needs { predictions: true, caches: true, ..none },
            _ => none,
        }
    }
}
