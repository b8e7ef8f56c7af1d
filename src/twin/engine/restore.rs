//! Admission with KV tiers below GPU memory, common to all engines.
//!
//! A waiting request for which the scheduler has room asks the tiers before it is admitted. If they have
//! more of its prefix it goes aside: out of the queue, so that it blocks nobody, but with GPU blocks of
//! its own where they are being filled. It comes back to the front of the queue, behind others that came
//! back, with the restored prefix frozen: it is not looked up again.
//!
//! The rest of what it needs is kept free of later admissions, but not of running sequences, which grow.
//! So restored prefixes can be in each other's way: when nothing runs and nothing can be admitted the
//! last one is let go, and its request computes what is lost by then.

use super::core::Core;
use crate::twin::kv::pool::Hit;
use crate::twin::kv::tier::{Ready, Sought, Wanted};
use crate::twin::request::Requests;
use crate::workload::prefix::BlockPaths;

/// A prefix that is being restored, or waits for its request's admission.
#[derive(Clone, Copy, Debug)]
pub struct Restore {
    pub request: u32,
    /// Leading blocks that were in GPU memory before.
    from: u32,
    /// Leading blocks held for it.
    to: u32,
    /// Blocks beyond them that its admission needs.
    tail: u32,
    has_arrived: bool,
}

impl Core {
    /// Asks the tiers for more of the waiting head's prefix than the `hit` in GPU memory: up to `most`
    /// blocks, and `room` more than the hit. True when it went aside. `needed` are all blocks that its
    /// admission looks for.
    #[allow(clippy::too_many_arguments, reason = "what admission knows by then")]
    pub fn goes_aside(
        &mut self,
        hit: Hit,
        most: u32,
        room: u32,
        needed: u32,
        paths: &BlockPaths,
        requests: &mut Requests,
    ) -> bool {
        let Some(&request) = self.waiting.front() else { return false };
        let wanted = Wanted { request, device: hit.blocks, most, room };
        match requests.tiers.seek(self.now_ms, self.worker, wanted, paths) {
            Sought::Nothing => return false,
            Sought::Waits => {}
            Sought::Restores(to) => {
                self.kv.pin(paths, request, hit.blocks);
                self.kv.allocate(to - hit.blocks);
                let tail = needed.saturating_sub(to);
                self.restores.push(Restore { request, from: hit.blocks, to, tail, has_arrived: false });
            }
        }
        self.waiting.pop_front();
        self.aside.push(request);
        true
    }

    /// Blocks restored for a waiting request.
    pub fn frozen(&self, request: u32) -> Option<u32> {
        self.restores.iter().find(|r| r.request == request && r.has_arrived).map(|r| r.to)
    }

    /// Blocks to be kept free for others than `request` that are being restored or wait restored.
    pub fn tails_besides(&self, request: u32) -> u32 {
        self.restores.iter().filter(|r| r.request != request).map(|r| r.tail).sum()
    }

    /// Number of waiting requests with a restored prefix.
    pub fn restored(&self) -> usize {
        self.restores.iter().filter(|r| r.has_arrived).count()
    }

    /// The waiting request that was last to have its prefix restored.
    pub(super) fn last_restored(&self) -> Option<u32> {
        self.restores.iter().rev().find(|r| r.has_arrived).map(|r| r.request)
    }

    /// A request with a restored prefix is admitted, or rejected.
    pub fn thaw(&mut self, request: u32) {
        self.restores.retain(|r| r.request != request);
    }

    /// A request's restored prefix was given back.
    pub(super) fn abandon(&mut self, request: u32, requests: &mut Requests) {
        self.thaw(request);
        requests.tiers.give_up(request);
        let state = &mut requests.states[request as usize];
        (state.computed, state.registered) = (0, 0);
    }

    /// Puts requests whose transfers ended back into the queue, after `ahead` others and those that came
    /// back before; whether there were any.
    pub(super) fn take_restored(&mut self, ahead: usize, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let mut ready: Vec<Ready> = Vec::new();
        let (states, losses) = (&requests.states, &requests.losses);
        let part = |request: u32| {
            let state = &states[request as usize];
            state.part(losses.of(state))
        };
        requests.tiers.take_ready(self.now_ms, self.worker, paths, part, &mut ready);
        let mut at = ahead + self.restored();
        for &Ready { request, restored, .. } in ready.iter().filter(|r| r.restored > 0) {
            let restore = self.restores.iter_mut().find(|r| r.request == request).expect("it holds blocks meanwhile");
            restore.has_arrived = true;
            self.kv.adopt(paths, request, restore.from, restored);
            let state = &mut requests.states[request as usize];
            (state.computed, state.registered) = (restored * self.config.block_size, restored);
            self.waiting.insert(at, request);
            at += 1;
        }
        for &Ready { request, .. } in ready.iter().filter(|r| r.restored == 0) {
            self.waiting.insert(at, request);
            at += 1;
        }
        self.aside.retain(|request| ready.iter().all(|r| r.request != *request));
        !ready.is_empty()
    }
}
