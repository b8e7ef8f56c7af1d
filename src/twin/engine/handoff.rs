//! Handing prompts over between workers (`semantics` 5): what a prefill worker holds for others, and
//! the room that a decode worker keeps for prompts that are computed elsewhere.
//!
//! On a prefill worker a request ends when its prompt is complete: it leaves the running ones, shows
//! no token, and its KV stays until it is released. On a decode worker a request first has a
//! reservation, then waits prebuilt for a slot, then decodes: its first token costs a whole pass.
//! Both happen only between passes, by the cluster's doing.

use super::core::{Core, Engine};
use crate::twin::request::{EdgeKind, Requests};
use crate::workload::prefix::BlockPaths;

/// KV of a complete prompt, kept on the worker that computed it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    request: u32,
    computed: u32,
    registered: u32,
    accessed: u64,
}

/// Room on a decode worker for a prompt computed elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    request: u32,
    /// Leading blocks that were there already; pinned.
    cached: u32,
    /// Blocks in all.
    blocks: u32,
}

/// The answer to [`Engine::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// There is room; this many leading tokens were there already.
    Done { cached_tokens: u32 },
    /// Not now.
    Full,
    /// Not even on an empty worker.
    Never,
}

impl Core {
    /// A request on a prefill worker has its prompt complete: it gives up its slot, not its blocks.
    pub fn hold(&mut self, request: u32, requests: &mut Requests) {
        let at = self.running.iter().position(|&r| r == request).expect("a complete prompt ran");
        self.running.remove(at);
        let state = &mut requests.states[request as usize];
        let (computed, registered, accessed) = (state.computed, state.registered, state.accessed);
        self.held.push(Held { request, computed, registered, accessed });
        (state.computed, state.registered) = (0, 0);
        requests.edge(self.now_ms, request, EdgeKind::Held);
    }

    /// Takes note of a reservation whose blocks are taken.
    pub fn note_reserved(&mut self, request: u32, cached: u32, blocks: u32) -> Reservation {
        self.reserved.push(Reserved { request, cached, blocks });
        Reservation::Done { cached_tokens: cached * self.config.block_size }
    }

    /// Slots that running and expected requests take.
    pub fn expected(&self) -> usize {
        self.running.len() + self.prebuilt.len() + self.reserved.len()
    }

    /// The next prebuilt request for which there is a slot; it counts as running from now on.
    pub fn enter_next(&mut self, requests: &mut Requests) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let request = self.prebuilt.pop_front()?;
        let state = &mut requests.states[request as usize];
        state.order = self.next_order();
        Some(request)
    }

    /// A prebuilt request that waits for nothing but the next pass.
    pub fn has_to_enter(&self) -> bool {
        !self.prebuilt.is_empty() && !self.is_full()
    }
}

/// Releases the source of a handed-over request: its full blocks stay cached.
pub fn release_held(engine: &mut dyn Engine, request: u32, paths: &BlockPaths, requests: &mut Requests) {
    let held = &mut engine.core_mut().held;
    let at = held.iter().position(|h| h.request == request).expect("a source that is held");
    let held = held.remove(at);
    let state = &mut requests.states[request as usize];
    let later = (state.computed, state.registered, state.accessed);
    (state.computed, state.registered, state.accessed) = (held.computed, held.registered, held.accessed);
    engine.give_back(request, paths, requests);
    let state = &mut requests.states[request as usize];
    (state.computed, state.registered, state.accessed) = later;
}

/// Gives up a reservation that was not used.
pub fn cancel_reservation(engine: &mut dyn Engine, request: u32, paths: &BlockPaths, requests: &mut Requests) {
    let core = engine.core_mut();
    let at = core.reserved.iter().position(|r| r.request == request).expect("a reservation");
    let reserved = core.reserved.remove(at);
    core.kv.free(reserved.blocks - reserved.cached);
    let size = core.config.block_size;
    let state = &mut requests.states[request as usize];
    let later = (state.computed, state.registered, state.accessed);
    (state.computed, state.registered) = (reserved.cached * size, reserved.cached);
    engine.give_back(request, paths, requests);
    engine.forget_promise(request, requests);
    let state = &mut requests.states[request as usize];
    (state.computed, state.registered, state.accessed) = later;
}

/// The KV of a reserved request has arrived: it decodes as soon as there is a slot.
pub fn activate(engine: &mut dyn Engine, request: u32, paths: &BlockPaths, requests: &mut Requests) {
    let core = engine.core_mut();
    let at = core.reserved.iter().position(|r| r.request == request).expect("a reservation");
    let reserved = core.reserved.remove(at);
    core.prebuilt.push_back(request);
    let state = &mut requests.states[request as usize];
    (state.computed, state.registered) = (state.known(), reserved.cached);
    engine.publish_prebuilt(request, paths, requests);
}
