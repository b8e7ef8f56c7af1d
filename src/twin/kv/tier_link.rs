//! The bandwidth between two tiers, in one direction.
//!
//! A worker's own link does its transfers one after the other. Where a tier is shared by the cluster
//! the transfers under way share it: each gets `min(link rate / the worker's transfers, shared rate /
//! all transfers)`, and what one cannot use is not given to the others (`semantics` 6.6). The transfers
//! of one worker then always run at one rate, so a counter of bytes per worker stands for all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tier_config::LinkRates;

/// Bytes per ms in one GB/s.
const BYTES_PER_MS_PER_GBPS: f64 = 1e6;

/// A finite time or byte count as a heap key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key(pub f64);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The transfers of one worker on a shared link.
#[derive(Debug, Default)]
struct Client {
    /// Bytes that each of its transfers under way has been given since time 0.
    served: f64,
    /// (value of `served` at which it is done, transfer number, job).
    under_way: BinaryHeap<Reverse<(Key, u64, u32)>>,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Link {
    /// Bytes per ms of one worker; infinite for unlimited.
    rate: f64,
    /// Bytes per ms of all workers together, where they share the link.
    shared: Option<f64>,
    pub latency_ms: f64,
    /// Own links: when each worker's is free.
    free_at: Vec<f64>,
    clients: Vec<Client>,
    under_way: u32,
    transfers: u64,
    /// Shared: the time of `served`.
    at_ms: f64,
}

impl Link {
    pub fn new(rates: &LinkRates) -> Self {
        let rate = |gbps: f64| if gbps > 0.0 { gbps * BYTES_PER_MS_PER_GBPS } else { f64::INFINITY };
        Link {
            rate: rate(rates.gbps),
            shared: rates.shared_gbps.map(rate),
            latency_ms: rates.latency_ms,
            free_at: Vec::new(),
            clients: Vec::new(),
            under_way: 0,
            transfers: 0,
            at_ms: 0.0,
        }
    }

    /// Whether a transfer's end depends on those that begin later.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Does a transfer on a worker's own link after those asked for before; when it ends.
    pub fn transfer(&mut self, worker: usize, asked_ms: f64, bytes: f64) -> f64 {
        if self.free_at.len() <= worker {
            self.free_at.resize(worker + 1, 0.0);
        }
        let free_at = &mut self.free_at[worker];
        *free_at = free_at.max(asked_ms + self.latency_ms) + bytes / self.rate;
        *free_at
    }

    /// Begins a transfer on a shared link, its first byte being there.
    pub fn begin(&mut self, worker: usize, now_ms: f64, bytes: f64, job: u32) {
        self.serve_until(now_ms);
        if self.clients.len() <= worker {
            self.clients.resize_with(worker + 1, Client::default);
        }
        self.transfers += 1;
        self.under_way += 1;
        let client = &mut self.clients[worker];
        if client.under_way.is_empty() {
            // Counts from 0 again, so that sums stay small and exact.
            client.served = 0.0;
        }
        client.under_way.push(Reverse((Key(client.served + bytes), self.transfers, job)));
    }

    /// When the next transfer of a shared link ends if none begins before, and whose it is.
    pub fn next_end(&self) -> (f64, usize) {
        let mut next = (f64::INFINITY, 0);
        if self.under_way == 0 {
            return next;
        }
        for (worker, client) in self.clients.iter().enumerate() {
            if let Some(Reverse((Key(target), ..))) = client.under_way.peek() {
                let left = (target - client.served).max(0.0);
                let end = self.at_ms + left / self.rate_of(client);
                if end < next.0 {
                    next = (end, worker);
                }
            }
        }
        next
    }

    /// Ends the transfer that [`Link::next_end`] names; its job.
    pub fn end(&mut self, now_ms: f64, worker: usize) -> u32 {
        self.serve_until(now_ms);
        let client = &mut self.clients[worker];
        let Reverse((Key(target), _, job)) = client.under_way.pop().expect("a transfer of this worker ends");
        client.served = client.served.max(target);
        self.under_way -= 1;
        job
    }

    fn rate_of(&self, client: &Client) -> f64 {
        let all = self.shared.unwrap_or(f64::INFINITY) / f64::from(self.under_way);
        (self.rate / client.under_way.len() as f64).min(all)
    }

    fn serve_until(&mut self, now_ms: f64) {
        let span = now_ms - self.at_ms;
        self.at_ms = now_ms;
        if span <= 0.0 || self.under_way == 0 {
            return;
        }
        for index in 0..self.clients.len() {
            if !self.clients[index].under_way.is_empty() {
                let rate = self.rate_of(&self.clients[index]);
                // Without a limit its transfers end at once: nothing is left to serve.
                if rate.is_finite() {
                    self.clients[index].served += rate * span;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(link: &mut Link) -> Vec<(f64, u32)> {
        let mut ends = Vec::new();
        loop {
            let (at, worker) = link.next_end();
            if at == f64::INFINITY {
                return ends;
            }
            ends.push((at, link.end(at, worker)));
        }
    }

    #[test]
    fn an_own_link_does_one_transfer_after_the_other() {
        let mut link = Link::new(&LinkRates { gbps: 2.0, latency_ms: 0.5, shared_gbps: None });
        assert_eq!(link.transfer(0, 10.0, 4e6), 12.5);
        assert_eq!(link.transfer(0, 11.0, 2e6), 13.5);
        assert_eq!(link.transfer(1, 11.0, 2e6), 12.5);
        assert_eq!(link.transfer(0, 20.0, 2e6), 21.5);
    }

    #[test]
    fn transfers_share_a_link_fairly_and_leave_unused_shares() {
        // 10 GB/s each, 12 together. Worker 0 has two transfers, worker 1 one: a third of 12 each.
        let mut link = Link::new(&LinkRates { gbps: 10.0, latency_ms: 0.0, shared_gbps: Some(12.0) });
        link.begin(0, 0.0, 4e6, 1);
        link.begin(0, 0.0, 8e6, 2);
        link.begin(1, 0.0, 12e6, 3);
        // At 1 ms the first is done, and two share: 6 each. At 1 + 4/6 the second, and the third has
        // 12 - 4 - 4 = 4 left at its own 10.
        let ends = ends(&mut link);
        let expected = [(1.0, 1), (1.0 + 4.0 / 6.0, 2), (1.0 + 4.0 / 6.0 + 0.4, 3)];
        for ((at, job), (want, want_job)) in ends.iter().zip(expected) {
            assert!((at - want).abs() < 1e-12 && *job == want_job, "{ends:?}");
        }
        // Five transfers of one worker have 2 each, though 12 would be free.
        for job in 0..5 {
            link.begin(0, 10.0, 2e6, job);
        }
        assert_eq!(link.next_end().0, 11.0);
    }

    #[test]
    fn no_limit_takes_no_time() {
        let mut link = Link::new(&LinkRates { gbps: 0.0, latency_ms: 0.0, shared_gbps: Some(0.0) });
        link.begin(0, 3.0, 1e12, 1);
        assert_eq!(link.next_end(), (3.0, 0));
        assert_eq!(link.end(3.0, 0), 1);
        assert_eq!(link.transfer(0, 5.0, 1e12), 5.0);
    }
}
