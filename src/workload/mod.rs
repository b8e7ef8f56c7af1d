//! Requests to serve, from a trace or a generator: parsed once, shared by every simulation.

mod arrivals;
mod builder;
mod contents;
mod csv;
mod error;
mod intern;
mod lines;
mod load;
mod mooncake;
pub mod prefix;
mod slice;
pub mod spec;
mod stats;
mod synthetic;
mod trie;
mod vary;
mod write;

pub use contents::{Contents, Run};
pub use error::WorkloadError;
pub use load::{Loaded, load, load_with_notes};
pub use slice::{SliceOptions, slice_file};
pub use spec::{SourceSpec, WorkloadSpec};
pub use stats::{Spread, TraceStats, stats};
pub use synthetic::generate;
pub use write::{generate_file, save, write_mooncake};

/// One request. Times are relative to the first arrival of the workload, and whole microseconds
/// unless the workload was sped up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// When it arrives in open loop, ms from the first arrival. For a later turn of a session: the
    /// earliest instant known from the trace (it is served when its predecessor is complete).
    pub arrival_ms: f64,
    /// Think time between the completion of the previous turn and this one, ms; 0 for first turns.
    pub delay_ms: f64,
    /// Prompt length, tokens; at least 1.
    pub input_tokens: u32,
    /// Tokens to generate; 0 is a warm-up request that ends after prefill.
    pub output_tokens: u32,
    /// Dense session index.
    pub session: u32,
    /// Turn within the session, from 0.
    pub turn: u32,
    /// Line of the trace, from 0 (before any window or limit); generated requests count likewise.
    pub row: u32,
}

/// How requests are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Each session's first turn arrives at its time.
    Open,
    /// A fixed number in flight: requests when every session has one turn, else sessions. The
    /// arrival of a request is the moment it is admitted.
    Closed { concurrency: u32 },
}

/// A whole workload. Immutable after construction.
#[derive(Debug)]
pub struct Workload {
    /// In file order; `arrival_ms` need not be sorted (later turns of sessions).
    pub requests: Vec<Request>,
    /// Tokens per content id in `contents`.
    pub block_tokens: u32,
    /// Content identity of each prompt block, interned to dense integers from 0. A request without
    /// hash ids in the trace gets fresh ids of its own, so it shares nothing.
    pub contents: Contents,
    /// Requests of each session in turn order: CSR offsets, one more than sessions.
    pub session_offsets: Vec<u32>,
    /// Request indices, grouped by session.
    pub session_requests: Vec<u32>,
    /// Authored session names; empty string for sessions the trace did not name.
    pub session_names: Vec<String>,
    /// Whether a session's next prompt contains the tokens generated before it, so that KV blocks
    /// written while decoding are reused by the next turn.
    pub grows: bool,
    /// How requests are offered.
    pub load: Load,
    /// Requests that arrive earlier are served but not measured: they fill queues and caches. ms.
    pub measured_from_ms: f64,
    /// Where it came from: file name or generator, for reports.
    pub source: String,
    /// SHA-256 of the trace's bytes, or of the generator's settings, lower-case hex.
    pub sha256: String,
    /// See [`Workload::paths`].
    pub path_cache: prefix::PathCache,
}

impl Workload {
    /// Content ids of a request's prompt blocks; the last may be partial.
    pub fn blocks_of(&self, request: usize) -> Vec<u32> {
        self.contents.ids(request).collect()
    }

    /// Number of distinct content ids.
    pub fn distinct_blocks(&self) -> u32 {
        self.contents.end_id()
    }

    /// Requests of one session in turn order.
    pub fn session(&self, session: usize) -> &[u32] {
        &self.session_requests[self.session_offsets[session] as usize..self.session_offsets[session + 1] as usize]
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.session_offsets.len() - 1
    }

    /// Whether any session has more than one turn.
    pub fn has_turns(&self) -> bool {
        self.sessions() != self.requests.len()
    }
}
