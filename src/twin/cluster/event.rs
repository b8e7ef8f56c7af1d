//! What happens on the virtual clock, in a total order.

use std::cmp::Ordering;

use crate::twin::request::EdgeKind;

/// A point on the virtual clock with what happens there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct At<T> {
    pub ms: f64,
    /// Breaks ties: smaller first.
    pub rank: u64,
    pub what: T,
}

impl<T: PartialEq> Eq for At<T> {}

impl<T: PartialEq> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: PartialEq> Ord for At<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> At<T> {
    /// Time and rank in one number: times are not negative, so that their bits are in order.
    fn key(&self) -> u128 {
        debug_assert!(self.ms.is_sign_positive() && !self.ms.is_nan());
        u128::from(self.ms.to_bits()) << 64 | u128::from(self.rank)
    }
}

/// What is known to happen at some time, besides arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// A pass of a worker made something visible.
    Edge { worker: u32, request: u32, kind: EdgeKind },
    /// A killed worker ends the pass that was in flight.
    Died { worker: u32 },
    /// A starting worker becomes active.
    Ready { worker: u32 },
    /// The KV of a request has arrived, by a transfer that started then.
    Arrived { request: u32, started: u64 },
    /// A transfer over shared links ends, if nothing changed since.
    Links { epoch: u64 },
    /// A worker between passes does what has gathered on its desk.
    Between { worker: u32 },
}

impl Event {
    /// Its place among events at the same time: by kind, then by worker where passes end, then first
    /// in, first out.
    pub fn rank(&self, sequence: u64) -> u64 {
        let (kind, worker) = match *self {
            Event::Edge { worker, .. } => (0, u64::from(worker)),
            Event::Died { worker } => (1, u64::from(worker)),
            Event::Ready { .. } => (2, 0),
            Event::Arrived { .. } | Event::Links { .. } => (3, 0),
            Event::Between { .. } => (4, 0),
        };
        kind << 61 | worker << 40 | sequence & ((1 << 40) - 1)
    }
}
