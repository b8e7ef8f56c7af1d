//! KV tiers below GPU memory: G2 in host memory and G3 on disk.
//!
//! # Life cycle of a block
//!
//! * **Store.** Every full block of a prompt is copied to host memory once it is computed, whether it
//!   will ever be evicted or not (write-through, `semantics` 6.3): in each pass, those of a request's
//!   blocks so far that the host lacks. They are reserved when the pass is decided and travel from its
//!   end on. What does not fit, because transfers hold too much, is tried again with the request's next
//!   chunk. Generated tokens are not stored before a later prompt repeats them.
//! * **Write.** A block that reached the host goes on to disk, which keeps the leading ones that fit.
//!   The host's copy is held meanwhile.
//! * **Promotion.** A block needed from disk becomes an ordinary block of the host first.
//! * **Restoration.** Blocks that follow a waiting request's hit in GPU memory and are in host memory are
//!   copied back: the request gets its GPU blocks, waits for the copy aside, where it blocks nobody, and
//!   comes back to admission with this prefix frozen.
//!
//! A request that needs a block which is still on its way waits for it aside as well, but not more than
//! [`MOST_ROUNDS`] times: then it computes. Each tier evicts the least recently used; lookups and stores
//! count as uses, of a prefix's tail first.
//!
//! # Time
//!
//! Workers ask at the start of their passes, in order of time; what has ended by then is settled first.
//! Tiers that each worker has for itself depend on that worker alone, so workers still run apart. Where
//! any tier is shared the cluster keeps the order of time among all workers.
//!
//! What is left out: the GPU's blocks are not held while they are copied to the host, as if a copy was
//! staged; there is no admission filter of the disk.

pub use super::tier_config::{LinkRates, Tier, TierConfig};
use super::tier_domain::{Domain, Guest};
use crate::workload::prefix::BlockPaths;

/// Times that a request waits for blocks on their way before it rather computes them.
pub const MOST_ROUNDS: u32 = 1024;

/// What tiers know about a waiting request's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Nothing that helps: it is computed.
    Nothing,
    /// Blocks that it needs are on their way; the request waits aside.
    Waits,
    /// Its blocks up to this one are being copied to the GPU; the request waits aside, and must have
    /// GPU blocks for them.
    Restores(u32),
}

/// A request that has waited aside and comes back to admission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ready {
    /// Since when it may.
    pub at_ms: f64,
    pub request: u32,
    /// Leading blocks restored, or 0 where it only waited for others' transfers.
    pub restored: u32,
}

/// What tiers were to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TierRecord {
    /// Prompt tokens found in host memory, in the admission that found most.
    pub host_tokens: u32,
    /// Prompt tokens brought from disk for that admission.
    pub disk_tokens: u32,
    /// Time spent waiting for transfers, ms, by the [`Part`] of its time that it would otherwise be.
    pub waits_ms: [f64; 5],
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Before its first admission.
    Queue,
    /// Until its first token; a wait there is one after its worker died.
    Prefill,
    /// After a preemption.
    Preempted,
    /// Computing again what a preemption lost; a wait there is one after its worker died.
    Recomputed,
    /// After its first token otherwise.
    Decode,
}

/// Blocks moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub to_host: u64,
    pub from_host: u64,
    pub to_disk: u64,
    pub from_disk: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.to_host += other.to_host;
        self.from_host += other.from_host;
        self.to_disk += other.to_disk;
        self.from_disk += other.from_disk;
    }
}

/// A request's prefix as an engine asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub request: u32,
    /// Leading blocks found in GPU memory.
    pub device: u32,
    /// Leading blocks that may be taken from a cache.
    pub most: u32,
    /// GPU blocks that can be had for more of them.
    pub room: u32,
}

/// All tiers of a cluster.
#[derive(Debug, Default)]
pub struct Tiers {
    config: Option<TierConfig>,
    segments: usize,
    /// One, or one per worker id; none for workers that are gone or never asked.
    domains: Vec<Option<Box<Domain>>>,
    guests: Vec<Guest>,
    /// By workers that are gone.
    moved: Moved,
}

impl Tiers {
    /// Empty tiers for prefix segments `0..segments` and that many requests; off without a configuration.
    pub fn new(config: Option<TierConfig>, segments: usize, requests: usize) -> Self {
        let guests = if config.is_some() { vec![Guest::default(); requests] } else { Vec::new() };
        Tiers { config, segments, domains: Vec::new(), guests, moved: Moved::default() }
    }

    /// Whether there are any.
    pub fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Whether workers share any, so that they must be simulated in the order of time.
    pub fn are_shared(&self) -> bool {
        self.config.is_some_and(|c| c.host.shared || c.disk.is_some_and(|d| d.shared))
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> f64 {
        self.config.map_or(0.0, |c| c.block_bytes)
    }

    fn place(&self, worker: u32) -> (usize, usize) {
        if self.are_shared() { (0, worker as usize) } else { (worker as usize, 0) }
    }

    /// The tiers that a worker uses, and its place among their clients.
    fn domain(&mut self, worker: u32) -> (&mut Domain, &mut [Guest], usize) {
        let config = self.config.expect("tiers are on");
        let (domain, client) = self.place(worker);
        if self.domains.len() <= domain {
            self.domains.resize_with(domain + 1, || None);
        }
        let domain = self.domains[domain].get_or_insert_with(|| Box::new(Domain::new(&config)));
        domain.make_room_for(client, &config, self.segments);
        (domain, &mut self.guests, client)
    }

    fn existing(&self, worker: u32) -> Option<(&Domain, usize)> {
        let (domain, client) = self.place(worker);
        let domain = self.domains.get(domain)?.as_deref()?;
        domain.has(client).then_some((domain, client))
    }

    /// Looks for what follows a waiting request's hit in GPU memory, and starts what it takes to get
    /// it there.
    pub fn seek(&mut self, now_ms: f64, worker: u32, wanted: Wanted, paths: &BlockPaths) -> Sought {
        let Wanted { request, device, most, room } = wanted;
        if self.guests[request as usize].computes {
            return Sought::Nothing;
        }
        let most = most.min(paths.prompt_blocks(request)).min(device.saturating_add(room));
        let (domain, guests, client) = self.domain(worker);
        domain.settle(now_ms, guests, paths);
        if most <= device {
            return Sought::Nothing;
        }
        domain.seek(now_ms, client, Wanted { most, ..wanted }, guests, paths)
    }

    /// Reserves in the host's memory what it lacks of a request's first `to` blocks, which are
    /// computed in the pass that is being decided.
    pub fn prepare(&mut self, now_ms: f64, worker: u32, request: u32, to: u32, paths: &BlockPaths) {
        let to = to.min(paths.prompt_blocks(request));
        if to > 0 {
            let (domain, guests, client) = self.domain(worker);
            domain.settle(now_ms, guests, paths);
            domain.prepare(client, request, to, paths);
        }
    }

    /// What was prepared for a worker's pass is computed, and travels.
    pub fn submit(&mut self, at_ms: f64, worker: u32) {
        self.domain(worker).0.submit(at_ms);
    }

    /// When something in a worker's tiers ends that a request may wait for, if nothing else begins.
    pub fn next_ms(&self, worker: u32) -> f64 {
        self.existing(worker).map_or(f64::INFINITY, |(domain, client)| domain.next_ms(client))
    }

    /// Takes the requests of a worker whose waits are over by `now_ms`, in order; `part` says where in
    /// its time each of them is.
    pub fn take_ready(
        &mut self,
        now_ms: f64,
        worker: u32,
        paths: &BlockPaths,
        part: impl Fn(u32) -> Part,
        into: &mut Vec<Ready>,
    ) {
        let (domain, guests, client) = self.domain(worker);
        domain.settle(now_ms, guests, paths);
        // Others may have settled what lies in this worker's future.
        let due = domain.ready[client].partition_point(|r| r.at_ms <= now_ms);
        for ready in domain.ready[client].drain(..due) {
            guests[ready.request as usize].comes_back(now_ms, part(ready.request));
            into.push(ready);
        }
    }

    /// A request is admitted with `reused` prompt tokens found, `best` at most before.
    pub fn admitted(&mut self, request: u32, reused: u32, best: u32, block_size: u32) {
        if let Some(guest) = self.guests.get_mut(request as usize) {
            guest.admitted(reused, best, block_size);
        }
    }

    /// A request loses what was restored for it, and computes it.
    pub fn give_up(&mut self, request: u32) {
        if let Some(guest) = self.guests.get_mut(request as usize) {
            (guest.restored, guest.computes) = ((0, 0), true);
        }
    }

    /// Takes the requests that wait aside out of a worker that is lost.
    pub fn evacuate(&mut self, worker: u32) -> Vec<u32> {
        if self.existing(worker).is_none() {
            return Vec::new();
        }
        let (domain, guests, client) = self.domain(worker);
        domain.evacuate(client, guests)
    }

    /// A request leaves a worker that is lost, with nothing restored.
    pub fn withdraw(&mut self, request: u32) {
        if let Some(guest) = self.guests.get_mut(request as usize) {
            guest.restored = (0, 0);
        }
    }

    /// A worker is gone, and its own tiers with it.
    pub fn forget(&mut self, worker: u32) {
        if !self.are_shared()
            && let Some(domain) = self.domains.get_mut(worker as usize).and_then(Option::take)
        {
            self.moved += domain.moved;
        }
    }

    /// Settles what ended by `now_ms`, for [`Tiers::extension`].
    pub fn settle(&mut self, now_ms: f64, paths: &BlockPaths) {
        for domain in self.domains.iter_mut().flatten() {
            domain.settle(now_ms, &mut self.guests, paths);
        }
    }

    /// Blocks of a request's prompt that follow its first `device` ones in the host memory that a worker
    /// uses, and those that then follow on its disk: what routers give credit for. As of the last
    /// [`Tiers::settle`].
    pub fn extension(&self, worker: u32, request: u32, device: u32, paths: &BlockPaths) -> (u32, u32) {
        let Some((domain, client)) = self.existing(worker) else { return (0, 0) };
        let (host, disk) = domain.ready(client, request, paths);
        let host = host.max(device);
        (host - device, disk.max(host) - host)
    }

    /// What tiers were to a request.
    pub fn of_request(&self, request: u32) -> Option<TierRecord> {
        self.guests.get(request as usize).map(Guest::record)
    }

    /// All blocks moved.
    pub fn moved(&self) -> Moved {
        let mut moved = self.moved;
        self.domains.iter().flatten().for_each(|d| moved += d.moved);
        moved
    }

    /// Requests that wait aside on a worker.
    pub fn aside(&self, worker: u32) -> usize {
        self.existing(worker).map_or(0, |(domain, client)| domain.aside(client))
    }

    /// Checks that every tier's books balance; after the end, when all transfers are settled, that
    /// nothing is held. For tests and debug runs.
    pub fn check(&mut self, paths: &BlockPaths) {
        for domain in self.domains.iter_mut().flatten() {
            domain.check();
            domain.settle(f64::INFINITY, &mut self.guests, paths);
            domain.check();
            assert_eq!(domain.held(), 0, "every transfer lets go of its blocks");
        }
    }
}
