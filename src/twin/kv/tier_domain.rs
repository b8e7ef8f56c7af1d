//! Tiers that influence one another, and their transfers on one clock of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tier::{MOST_ROUNDS, Moved, Part, Ready, Sought, TierRecord, Wanted};
use super::tier_config::TierConfig;
use super::tier_link::{Key, Link};
use super::tier_store::Store;
use crate::workload::prefix::BlockPaths;

const NONE: u32 = u32::MAX;

/// A request's dealings with the tiers.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// The transfer that it waits for.
    awaits: u32,
    /// The client whose request it is.
    client: u32,
    since_ms: f64,
    /// By [`Part`].
    waits_ms: [f64; 5],
    rounds: u32,
    /// It computes what GPU memory does not hold.
    pub computes: bool,
    /// Blocks that it had brought from disk to the host.
    promoted: (u32, u32),
    /// Blocks of the last restoration: kept in host memory, brought from disk for it.
    pub restored: (u32, u32),
    /// Prompt tokens found by tier, in the admission that found most.
    found: (u32, u32),
}

impl Default for Guest {
    fn default() -> Self {
        Guest {
            awaits: NONE,
            client: 0,
            since_ms: 0.0,
            waits_ms: [0.0; 5],
            rounds: 0,
            computes: false,
            promoted: (0, 0),
            restored: (0, 0),
            found: (0, 0),
        }
    }
}

impl Guest {
    /// The wait aside is over.
    pub fn comes_back(&mut self, now_ms: f64, part: Part) {
        self.waits_ms[part as usize] += now_ms - self.since_ms;
    }

    /// It is admitted with `reused` prompt tokens found, `best` at most before.
    pub fn admitted(&mut self, reused: u32, best: u32, block_size: u32) {
        let (host, disk) = std::mem::take(&mut self.restored);
        if reused > best {
            self.found = (host * block_size, disk * block_size);
        }
    }

    pub fn record(&self) -> TierRecord {
        TierRecord { host_tokens: self.found.0, disk_tokens: self.found.1, waits_ms: self.waits_ms }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Store = 0,
    Restore = 1,
    Write = 2,
    Promote = 3,
}

/// A transfer, asked for or under way: blocks `from..to` of a request; those before are held with them.
#[derive(Debug)]
struct Job {
    work: Work,
    client: u32,
    request: u32,
    from: u32,
    to: u32,
    /// Host blocks held meanwhile; more than `to` where a disk takes a part of what the host stored.
    held: u32,
    waiters: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The first byte of a transfer over a shared link is there.
    Begins,
    Ends,
}

/// Tiers that influence one another: those of one worker, or all where any is shared.
#[derive(Debug)]
pub(super) struct Domain {
    block_bytes: f64,
    /// One for all clients, or one each.
    hosts: Vec<Store>,
    disks: Vec<Store>,
    hosts_shared: bool,
    disks_shared: bool,
    /// By [`Work`].
    links: Vec<Link>,
    jobs: Vec<Job>,
    spare: Vec<u32>,
    events: BinaryHeap<Reverse<(Key, u64, Step, u32)>>,
    sequence: u64,
    /// Stores of the pass that is being decided.
    prepared: Vec<u32>,
    /// Requests waiting aside, in the order in which they were put there, by client.
    aside: Vec<Vec<u32>>,
    /// Those whose wait is over, by client.
    pub ready: Vec<Vec<Ready>>,
    pub moved: Moved,
}

impl Domain {
    pub fn new(config: &TierConfig) -> Self {
        let mut links = vec![Link::new(&config.host.rates), Link::new(&config.host.rates)];
        if let Some(disk) = &config.disk {
            links.extend([Link::new(&disk.rates), Link::new(&disk.rates)]);
        }
        Domain {
            block_bytes: config.block_bytes,
            hosts: Vec::new(),
            disks: Vec::new(),
            hosts_shared: config.host.shared,
            disks_shared: config.disk.is_some_and(|d| d.shared),
            links,
            jobs: Vec::new(),
            spare: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            prepared: Vec::new(),
            aside: Vec::new(),
            ready: Vec::new(),
            moved: Moved::default(),
        }
    }

    /// Makes what a client needs.
    pub fn make_room_for(&mut self, client: usize, config: &TierConfig, segments: usize) {
        while self.ready.len() <= client {
            self.ready.push(Vec::new());
            self.aside.push(Vec::new());
            if self.hosts.is_empty() || !self.hosts_shared {
                self.hosts.push(Store::new(config.host.blocks, segments));
            }
            if let Some(disk) = config.disk.filter(|d| self.disks.is_empty() || !d.shared) {
                self.disks.push(Store::new(disk.blocks, segments));
            }
        }
    }

    pub fn has(&self, client: usize) -> bool {
        client < self.ready.len()
    }

    fn host(&self, client: usize) -> usize {
        if self.hosts_shared { 0 } else { client }
    }

    fn disk(&self, client: usize) -> usize {
        if self.disks_shared { 0 } else { client }
    }

    /// See [`super::tier::Tiers::seek`]; everything that ended by now is settled.
    pub fn seek(
        &mut self,
        now_ms: f64,
        client: usize,
        wanted: Wanted,
        guests: &mut [Guest],
        paths: &BlockPaths,
    ) -> Sought {
        let Wanted { request, device, most, .. } = wanted;
        let (h, d) = (self.host(client), self.disk(client));
        let host = self.hosts[h].present(paths, request, most);
        let awaited = self.hosts[h].first_pending(paths, request, device.min(host), host).map(|(_, job)| job);
        let guest = &mut guests[request as usize];
        let is_patient = guest.rounds < MOST_ROUNDS;
        let awaited = match awaited {
            None if is_patient => self.promote(now_ms, client, wanted, host, guest, paths),
            other => other,
        };
        if let Some(job) = awaited {
            if !is_patient {
                guest.computes = true;
                return Sought::Nothing;
            }
            guest.rounds += 1;
            self.set_aside(now_ms, client, request, job, guest);
            return Sought::Waits;
        }
        if host > device {
            self.hosts[h].hold(paths, request, host);
            let job = self.new_job(Work::Restore, client, request, device, host);
            self.moved.from_host += u64::from(host - device);
            self.start(job, now_ms);
            let from_disk = guest.promoted.1.min(host).saturating_sub(guest.promoted.0.max(device));
            guest.restored = (host - device - from_disk, from_disk);
            guest.promoted = (0, 0);
            self.set_aside(now_ms, client, request, job, guest);
            return Sought::Restores(host);
        }
        self.hosts[h].touch(paths, request, host);
        if let Some(disk) = self.disks.get_mut(d) {
            let on_disk = disk.present(paths, request, most);
            disk.touch(paths, request, on_disk);
        }
        Sought::Nothing
    }

    /// Brings to the host what the disk has beyond it and GPU memory, as far as it fits; the transfer.
    fn promote(
        &mut self,
        now_ms: f64,
        client: usize,
        wanted: Wanted,
        host: u32,
        guest: &mut Guest,
        paths: &BlockPaths,
    ) -> Option<u32> {
        let Wanted { request, device, most, .. } = wanted;
        let (h, d) = (self.host(client), self.disk(client));
        let on_disk = self.disks.get(d)?.ready(paths, request, most);
        if on_disk <= host.max(device) {
            return None;
        }
        let to = host + self.hosts[h].room(paths, request, host).min(on_disk - host);
        if to <= host.max(device) {
            return None;
        }
        let job = self.new_job(Work::Promote, client, request, host, to);
        self.disks[d].hold(paths, request, to);
        self.hosts[h].reserve(paths, request, host, to, job);
        self.moved.from_disk += u64::from(to - host);
        guest.promoted = if guest.promoted.1 == host { (guest.promoted.0, to) } else { (host, to) };
        self.start(job, now_ms);
        Some(job)
    }

    /// See [`super::tier::Tiers::prepare`]; everything that ended by now is settled.
    pub fn prepare(&mut self, client: usize, request: u32, to: u32, paths: &BlockPaths) {
        let h = self.host(client);
        let host = self.hosts[h].present(paths, request, to);
        if host == to {
            self.hosts[h].touch(paths, request, host);
        } else if to - host <= self.hosts[h].room(paths, request, host) {
            let job = self.new_job(Work::Store, client, request, host, to);
            self.hosts[h].reserve(paths, request, host, to, job);
            self.prepared.push(job);
        }
    }

    /// What was prepared travels from `at_ms` on.
    pub fn submit(&mut self, at_ms: f64) {
        for index in 0..self.prepared.len() {
            let job = self.prepared[index];
            let Job { from, to, .. } = self.jobs[job as usize];
            self.moved.to_host += u64::from(to - from);
            self.start(job, at_ms);
        }
        self.prepared.clear();
    }

    fn new_job(&mut self, work: Work, client: usize, request: u32, from: u32, to: u32) -> u32 {
        let job = Job { work, client: client as u32, request, from, to, held: to, waiters: Vec::new() };
        match self.spare.pop() {
            Some(index) => {
                self.jobs[index as usize] = job;
                index
            }
            None => {
                self.jobs.push(job);
                self.jobs.len() as u32 - 1
            }
        }
    }

    fn start(&mut self, job: u32, at_ms: f64) {
        let Job { work, client, from, to, .. } = self.jobs[job as usize];
        let bytes = f64::from(to - from) * self.block_bytes;
        let link = &mut self.links[work as usize];
        let (step, step_ms) = match link.is_shared() {
            true => (Step::Begins, at_ms + link.latency_ms),
            false => (Step::Ends, link.transfer(client as usize, at_ms, bytes)),
        };
        self.sequence += 1;
        self.events.push(Reverse((Key(step_ms), self.sequence, step, job)));
    }

    fn set_aside(&mut self, now_ms: f64, client: usize, request: u32, job: u32, guest: &mut Guest) {
        self.jobs[job as usize].waiters.push(request);
        self.aside[client].push(request);
        (guest.awaits, guest.client, guest.since_ms) = (job, client as u32, now_ms);
    }

    /// The next end on a shared link: when, which link, which client.
    fn next_shared(&self) -> (f64, usize, usize) {
        let mut next = (f64::INFINITY, 0, 0);
        for (index, link) in self.links.iter().enumerate().filter(|(_, link)| link.is_shared()) {
            let (at, client) = link.next_end();
            if at < next.0 {
                next = (at, index, client);
            }
        }
        next
    }

    /// When something ends next, or has ended that a client's own requests were not told yet.
    pub fn next_ms(&self, client: usize) -> f64 {
        if let Some(ready) = self.ready[client].first() {
            return ready.at_ms;
        }
        let event = self.events.peek().map_or(f64::INFINITY, |Reverse((Key(at), ..))| *at);
        event.min(self.next_shared().0)
    }

    /// Settles everything that ends by `now_ms`.
    pub fn settle(&mut self, now_ms: f64, guests: &mut [Guest], paths: &BlockPaths) {
        loop {
            let event = self.events.peek().map_or(f64::INFINITY, |Reverse((Key(at), ..))| *at);
            let (shared, link, client) = self.next_shared();
            let at_ms = event.min(shared);
            if at_ms > now_ms || at_ms == f64::INFINITY {
                return;
            }
            if event <= shared {
                let Some(Reverse((_, _, step, job))) = self.events.pop() else { return };
                match step {
                    Step::Begins => {
                        let Job { work, client, from, to, .. } = self.jobs[job as usize];
                        let bytes = f64::from(to - from) * self.block_bytes;
                        self.links[work as usize].begin(client as usize, at_ms, bytes, job);
                    }
                    Step::Ends => self.end(job, at_ms, guests, paths),
                }
            } else {
                let job = self.links[link].end(at_ms, client);
                self.end(job, at_ms, guests, paths);
            }
        }
    }

    /// A transfer is done.
    fn end(&mut self, index: u32, at_ms: f64, guests: &mut [Guest], paths: &BlockPaths) {
        let job = &mut self.jobs[index as usize];
        let waiters = std::mem::take(&mut job.waiters);
        let Job { work, client, request, from, to, held, .. } = *job;
        let (h, d) = (self.host(client as usize), self.disk(client as usize));
        match work {
            Work::Store => {
                self.hosts[h].arrived(paths, request, from, to, index);
                match self.disks.is_empty() {
                    true => self.hosts[h].release(paths, request, to),
                    false => self.write(client as usize, request, to, at_ms, paths),
                }
            }
            Work::Write => {
                self.disks[d].arrived(paths, request, from, to, index);
                self.disks[d].release(paths, request, to);
                self.hosts[h].release(paths, request, held);
            }
            Work::Promote => {
                self.hosts[h].arrived(paths, request, from, to, index);
                self.hosts[h].release(paths, request, to);
                self.disks[d].release(paths, request, to);
            }
            Work::Restore => self.hosts[h].release(paths, request, to),
        }
        self.spare.push(index);
        for request in waiters {
            let guest = &mut guests[request as usize];
            if guest.awaits == index {
                guest.awaits = NONE;
                let restored = if work == Work::Restore { to } else { 0 };
                let client = guest.client as usize;
                self.aside[client].retain(|&r| r != request);
                self.ready[client].push(Ready { at_ms, request, restored });
            }
        }
    }

    /// What the host has stored, and holds, goes on to disk as far as that has room.
    fn write(&mut self, client: usize, request: u32, stored: u32, at_ms: f64, paths: &BlockPaths) {
        let (h, d) = (self.host(client), self.disk(client));
        let from = self.disks[d].present(paths, request, stored);
        let to = from + self.disks[d].room(paths, request, from).min(stored - from);
        if from == to {
            self.disks[d].touch(paths, request, from);
            self.hosts[h].release(paths, request, stored);
            return;
        }
        let job = self.new_job(Work::Write, client, request, from, to);
        self.jobs[job as usize].held = stored;
        self.disks[d].reserve(paths, request, from, to, job);
        self.moved.to_disk += u64::from(to - from);
        self.start(job, at_ms);
    }

    /// Takes a client's waiting requests out: in order, those that come back first.
    pub fn evacuate(&mut self, client: usize, guests: &mut [Guest]) -> Vec<u32> {
        let mut taken: Vec<u32> = self.ready[client].drain(..).map(|ready| ready.request).collect();
        taken.append(&mut self.aside[client]);
        for &request in &taken {
            let guest = &mut guests[request as usize];
            (guest.awaits, guest.restored) = (NONE, (0, 0));
        }
        taken
    }

    /// Requests of a client that are not in its engine's queues.
    pub fn aside(&self, client: usize) -> usize {
        self.aside[client].len() + self.ready[client].len()
    }

    /// Leading blocks of a request's prompt that are there: in host memory, on disk.
    pub fn ready(&self, client: usize, request: u32, paths: &BlockPaths) -> (u32, u32) {
        let most = paths.prompt_blocks(request);
        let host = self.hosts[self.host(client)].ready(paths, request, most);
        let disk = self.disks.get(self.disk(client)).map_or(0, |disk| disk.ready(paths, request, most));
        (host, disk)
    }

    pub fn held(&self) -> u32 {
        self.hosts.iter().chain(&self.disks).map(Store::held).sum()
    }

    pub fn check(&self) {
        self.hosts.iter().chain(&self.disks).for_each(Store::check);
    }
}
