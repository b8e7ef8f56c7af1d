//! Speculative decoding: every decode pass verifies a few drafted tokens and keeps those that are
//! accepted.
//!
//! A sequence emits `1 + accepted` tokens in a pass, all at its end. Drafts are accepted in order until
//! the first that is not, each with the chance that the user gives for its position. Room is reserved for
//! the largest burst before the pass, which may preempt others, and is kept. As bursts are drawn, no
//! run of passes has a closed form: they are taken one by one.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::twin::deployment::Speculation;
use crate::twin::request::RequestState;

/// Random streams below this number have other purposes.
const FIRST_STREAM: u64 = 1 << 32;

/// The decoding sequences of one rank that speculates.
#[derive(Debug)]
pub struct Speculating {
    config: Speculation,
    block_size: u32,
    rng: ChaCha8Rng,
    members: Vec<Member>,
    /// Blocks that the next pass takes, over all members.
    need: u32,
    /// Blocks reserved for tokens that were not accepted, of members that left since the last
    /// [`Speculating::take_spare`].
    spare: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    request: u32,
    /// Its rank in admission order: unique.
    order: u64,
    /// Blocks it holds.
    held: u32,
    /// Blocks it takes in the next pass.
    need: u32,
}

impl Speculating {
    /// Nobody yet; `rank` counts over all ranks of all workers.
    pub fn new(config: Speculation, block_size: u32, rank: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(FIRST_STREAM + rank);
        Speculating { config, block_size, rng, members: Vec::new(), need: 0, spare: 0 }
    }

    /// Blocks that the next pass takes.
    pub fn need(&self) -> u32 {
        self.need
    }

    /// Blocks that one sequence takes in the next pass.
    pub fn need_of(&self, state: &RequestState) -> u32 {
        self.members.iter().find(|m| m.order == state.order).map_or(0, |m| m.need)
    }

    /// Adds a sequence whose last token has no place yet.
    pub fn join(&mut self, request: u32, state: &RequestState) {
        let held = (state.known() - 1).div_ceil(self.block_size);
        let need = self.reserved(state) - held;
        self.need += need;
        self.members.push(Member { request, order: state.order, held, need });
    }

    /// Blocks with which a sequence starts a pass: the last token that it can emit needs no place.
    fn reserved(&self, state: &RequestState) -> u32 {
        let left = state.output_tokens - state.generated;
        (state.known() + self.config.tokens.min(left - 1)).div_ceil(self.block_size)
    }

    /// Takes a sequence out.
    pub fn leave(&mut self, state: &RequestState) {
        let at = self.members.iter().position(|m| m.order == state.order).expect("a decoding sequence is a member");
        let member = self.members.remove(at);
        self.need -= member.need;
        self.spare += member.held - (state.known() - 1).div_ceil(self.block_size);
    }

    /// Blocks that those who left held beyond their computed tokens.
    pub fn take_spare(&mut self) -> u32 {
        std::mem::take(&mut self.spare)
    }

    /// Every member emits a burst; all tokens emitted.
    pub fn advance(&mut self, states: &mut [RequestState]) -> u64 {
        let (mut emitted, mut need) = (0, 0);
        for index in 0..self.members.len() {
            let member = self.members[index];
            let state = &mut states[member.request as usize];
            let burst = (1 + self.accepted()).min(state.output_tokens - state.generated);
            state.generated += burst;
            emitted += u64::from(burst);
            let held = member.held + member.need;
            let more = if state.generated < state.output_tokens {
                self.reserved(&states[member.request as usize]) - held
            } else {
                0
            };
            need += more;
            self.members[index] = Member { held, need: more, ..member };
        }
        self.need = need;
        emitted
    }

    fn accepted(&mut self) -> u32 {
        let mut accepted = 0;
        while accepted < self.config.tokens && self.rng.random::<f64>() < self.config.rate(accepted) {
            accepted += 1;
        }
        accepted
    }

    /// The next member that has emitted its last token.
    pub fn finished(&self, states: &[RequestState]) -> Option<u32> {
        let is_finished = |r: &u32| states[*r as usize].generated == states[*r as usize].output_tokens;
        self.members.iter().map(|m| m.request).find(is_finished)
    }
}
