//! KV transfers between workers, and the links that they share.
//!
//! Each worker has one link out and one link in, both of the same bandwidth. With contention, a
//! transfer gets the smaller of its fair shares of the two: shares that a transfer cannot use are not
//! given to others. Without, every transfer has the bandwidth to itself, as the peer has it.

use crate::twin::deployment::TransferConfig;
use crate::units::MS_PER_S;

/// One transfer under way.
#[derive(Clone, Copy, Debug)]
struct Flow {
    request: u32,
    source: u32,
    destination: u32,
    bytes_left: f64,
    bytes_per_ms: f64,
}

/// All transfers under way.
#[derive(Debug)]
pub(super) struct Links {
    config: TransferConfig,
    flows: Vec<Flow>,
    /// When the flows' remaining bytes were last brought up to date.
    at_ms: f64,
    /// Counts changes, so that an event of an earlier state is known as stale.
    pub epoch: u64,
}

impl Links {
    pub fn new(config: TransferConfig) -> Self {
        Links { config, flows: Vec::new(), at_ms: 0.0, epoch: 0 }
    }

    /// How long `tokens` take alone, ms.
    pub fn alone_ms(&self, tokens: u32) -> f64 {
        match self.bytes_per_ms() {
            Some(rate) => self.config.latency_ms + f64::from(tokens) * self.config.bytes_per_token / rate,
            None => self.config.latency_ms,
        }
    }

    /// Whether transfers slow each other down.
    pub fn are_shared(&self) -> bool {
        self.config.contention && self.bytes_per_ms().is_some()
    }

    fn bytes_per_ms(&self) -> Option<f64> {
        let gbps = self.config.gbps.filter(|g| *g > 0.0 && self.config.bytes_per_token > 0.0)?;
        Some(gbps * 1e9 / MS_PER_S)
    }

    /// Starts a shared transfer.
    pub fn start(&mut self, now_ms: f64, request: u32, source: u32, destination: u32, tokens: u32) {
        self.progress(now_ms);
        // The latency counts as the bytes that would pass meanwhile.
        let rate = self.bytes_per_ms().unwrap_or(f64::INFINITY);
        let bytes = f64::from(tokens) * self.config.bytes_per_token + self.config.latency_ms * rate;
        self.flows.push(Flow { request, source, destination, bytes_left: bytes, bytes_per_ms: 0.0 });
        self.share();
    }

    /// Ends a transfer whose worker is gone.
    pub fn cancel(&mut self, now_ms: f64, request: u32) {
        self.progress(now_ms);
        self.flows.retain(|f| f.request != request);
        self.share();
    }

    /// When the next transfer ends.
    pub fn next_ms(&self) -> f64 {
        let ends = self.flows.iter().map(|f| self.at_ms + f.bytes_left / f.bytes_per_ms);
        ends.fold(f64::INFINITY, f64::min)
    }

    /// Takes out the transfers that end now, first started first; at least one at [`Links::next_ms`].
    pub fn take_ended(&mut self, now_ms: f64, ended: &mut Vec<u32>) {
        let ends = self.flows.iter().map(|f| f.bytes_left / f.bytes_per_ms).fold(f64::INFINITY, f64::min);
        self.flows.retain(|f| {
            let is_over = f.bytes_left / f.bytes_per_ms <= ends;
            if is_over {
                ended.push(f.request);
            }
            !is_over
        });
        self.progress(now_ms);
        self.share();
    }

    fn progress(&mut self, now_ms: f64) {
        let elapsed = now_ms - self.at_ms;
        for flow in &mut self.flows {
            flow.bytes_left = (flow.bytes_left - elapsed * flow.bytes_per_ms).max(0.0);
        }
        self.at_ms = now_ms;
    }

    fn share(&mut self) {
        self.epoch += 1;
        let rate = self.bytes_per_ms().unwrap_or(f64::INFINITY);
        for index in 0..self.flows.len() {
            let Flow { source, destination, .. } = self.flows[index];
            let out = self.flows.iter().filter(|f| f.source == source).count();
            let into = self.flows.iter().filter(|f| f.destination == destination).count();
            self.flows[index].bytes_per_ms = rate / out.max(into) as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::deployment::Charge;

    fn links(contention: bool) -> Links {
        let charge = Charge::FullPrompt;
        Links::new(TransferConfig { gbps: Some(1.0), latency_ms: 0.0, bytes_per_token: 1000.0, charge, contention })
    }

    fn ended(links: &mut Links, now_ms: f64) -> Vec<u32> {
        let mut ended = Vec::new();
        links.take_ended(now_ms, &mut ended);
        ended
    }

    #[test]
    fn alone_a_transfer_has_the_link() {
        // 1 GB/s is a MB a millisecond: a thousand tokens of 1000 bytes.
        assert_eq!(links(false).alone_ms(1000), 1.0);
        let mut shared = links(true);
        shared.start(5.0, 7, 0, 1, 1000);
        assert_eq!(shared.next_ms(), 6.0);
        assert_eq!(ended(&mut shared, 6.0), [7]);
        assert_eq!(shared.next_ms(), f64::INFINITY);
    }

    #[test]
    fn transfers_over_one_link_share_it() {
        let mut shared = links(true);
        shared.start(0.0, 1, 0, 2, 1000);
        shared.start(0.5, 2, 1, 2, 1000);
        shared.start(0.5, 3, 4, 5, 100);
        // The third shares nothing; the first has half a MB left at half the rate.
        assert_eq!(shared.next_ms(), 0.6);
        assert_eq!(ended(&mut shared, 0.6), [3]);
        assert!((shared.next_ms() - 1.5).abs() < 1e-9);
        assert_eq!(ended(&mut shared, 1.5), [1]);
        assert!((shared.next_ms() - 2.0).abs() < 1e-9, "the second has the link to itself again");
        shared.start(1.5, 4, 1, 3, 2000);
        shared.cancel(1.75, 2);
        assert!((shared.next_ms() - (1.75 + 1.875)).abs() < 1e-9, "a cancelled transfer leaves its share");
    }
}
