//! The decoding sequences of a worker, advanced together.
//!
//! Between two changes of membership every decoding sequence gains one token per pass. So a pass
//! counter stands for all of them: a sequence's length, its next block boundary and its last pass
//! follow from the pass in which it joined, and a run of passes is advanced without touching any.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::timing::DecodeRun;
use crate::twin::request::RequestState;

/// The decoding sequences of one worker.
#[derive(Debug)]
pub struct DecodeGroup {
    /// Decode passes done.
    pass: u64,
    seqs: u32,
    /// Sum of sequence lengths: the next pass's `decode_context_tokens`.
    context: u64,
    /// Blocks are had for a token when it is emitted, not when it is next computed with.
    eager: bool,
    /// How many sequences open a new block in passes congruent to the index, modulo block size.
    openings: Vec<u32>,
    /// (last pass, admission rank, request); entries of sequences that left are stale.
    finishes: BinaryHeap<Reverse<(u64, u64, u32)>>,
}

impl DecodeGroup {
    /// No sequences yet. With `eager`, a token's place in a block is taken when it is emitted
    /// (SGLang), else by the pass after (vLLM).
    pub fn new(block_size: u32, eager: bool) -> Self {
        DecodeGroup {
            eager,
            pass: 0,
            seqs: 0,
            context: 0,
            openings: vec![0; block_size as usize],
            finishes: BinaryHeap::new(),
        }
    }

    /// Number of sequences.
    pub fn seqs(&self) -> u32 {
        self.seqs
    }

    /// Decode passes done.
    pub fn passes(&self) -> u64 {
        self.pass
    }

    /// Sum of sequence lengths, prompt and generated tokens.
    pub fn context(&self) -> u64 {
        self.context
    }

    /// Tokens of a sequence of this length that have a place in its blocks.
    fn stored(&self, length: u32) -> u32 {
        length - u32::from(!self.eager)
    }

    fn opening(&self, length: u32) -> usize {
        // Before pass p it has `stored + (p - pass - 1)` tokens in its blocks; a multiple opens one.
        let size = self.openings.len() as u64;
        let stored = u64::from(self.stored(length));
        ((self.pass + 1 + size * stored - stored) % size) as usize
    }

    /// Adds a sequence that has just emitted a token and has more to emit.
    pub fn join(&mut self, request: u32, state: &mut RequestState) {
        let length = state.known();
        state.decoding = true;
        state.finish_pass = self.pass + u64::from(state.output_tokens - state.generated);
        self.finishes.push(Reverse((state.finish_pass, state.order, request)));
        self.seqs += 1;
        self.context += u64::from(length);
        let opening = self.opening(length);
        self.openings[opening] += 1;
    }

    /// Takes a sequence out and brings its own counters up to date.
    pub fn leave(&mut self, state: &mut RequestState) {
        state.generated = self.generated(state);
        state.computed = self.stored(state.known());
        state.decoding = false;
        self.seqs -= 1;
        self.context -= u64::from(state.known());
        let opening = self.opening(state.known());
        self.openings[opening] -= 1;
    }

    /// Tokens a decoding sequence has generated so far.
    pub fn generated(&self, state: &RequestState) -> u32 {
        state.output_tokens - (state.finish_pass - self.pass) as u32
    }

    /// Whether a decoding sequence opens a block in the next pass.
    pub fn opens_next(&self, state: &RequestState) -> bool {
        self.stored(state.input_tokens + self.generated(state)).is_multiple_of(self.openings.len() as u32)
    }

    /// Passes until the next sequence emits its last token. At least one sequence must be present.
    pub fn passes_to_finish(&mut self, states: &[RequestState]) -> u64 {
        loop {
            let &Reverse((pass, _, request)) = self.finishes.peek().expect("a decoding sequence has a last pass");
            let state = &states[request as usize];
            if state.decoding && state.finish_pass == pass {
                return pass - self.pass;
            }
            self.finishes.pop();
        }
    }

    /// Takes the next sequence whose last token has been emitted, in admission order.
    pub fn pop_finished(&mut self, states: &mut [RequestState]) -> Option<u32> {
        while let Some(&Reverse((pass, _, request))) = self.finishes.peek() {
            let state = &mut states[request as usize];
            let stale = !state.decoding || state.finish_pass != pass;
            if !stale && pass > self.pass {
                return None;
            }
            self.finishes.pop();
            if !stale {
                self.leave(&mut states[request as usize]);
                return Some(request);
            }
        }
        None
    }

    /// Blocks opened in the next `passes` passes.
    pub fn blocks_needed(&self, passes: u64) -> u64 {
        let size = self.openings.len() as u64;
        let (cycles, rest) = (passes / size, passes % size);
        let from = ((self.pass + 1) % size) as usize;
        let to = from + rest as usize;
        let sum = |range: &[u32]| u64::from(range.iter().sum::<u32>());
        let partial = if to <= self.openings.len() {
            sum(&self.openings[from..to])
        } else {
            sum(&self.openings[from..]) + sum(&self.openings[..to - self.openings.len()])
        };
        cycles * u64::from(self.seqs) + partial
    }

    /// The most passes, at most `passes`, that open no more than `available` blocks.
    pub fn passes_within(&self, available: u64, passes: u64) -> u64 {
        let size = self.openings.len() as u64;
        if u64::from(self.seqs).saturating_mul(passes / size + 1) <= available
            || self.blocks_needed(passes) <= available
        {
            return passes;
        }
        let (mut fits, mut fails) = (0, passes);
        while fails - fits > 1 {
            let middle = fits + (fails - fits) / 2;
            if self.blocks_needed(middle) <= available { fits = middle } else { fails = middle }
        }
        fits
    }

    /// Every sequence emits one token in each of `passes` passes.
    pub fn advance(&mut self, passes: u64) {
        self.pass += passes;
        self.context += passes * u64::from(self.seqs);
    }
}

impl DecodeRun {
    /// Duration of pass `k`, ms.
    #[inline]
    pub fn pass(&self, k: u64) -> f64 {
        let k = k as f64;
        self.base_ms + k * (self.slope_ms + k * self.curve_ms)
    }

    /// Total duration of the first `k` passes, ms.
    #[inline]
    pub fn total(&self, k: u64) -> f64 {
        let k = k as f64;
        k * (self.base_ms + 0.5 * (k - 1.0) * (self.slope_ms + self.curve_ms * (2.0 * k - 1.0) / 3.0))
    }

    /// The fewest passes, at most `most`, that last at least `ms`; at least 1.
    #[inline]
    pub fn passes_lasting(&self, ms: f64, most: u64) -> u64 {
        if self.total(most) < ms {
            return most;
        }
        let (mut short, mut long) = (0, most);
        // Durations change little within a run, so the first pass's gives a close bracket.
        let guess = ((ms / self.base_ms) as u64).clamp(1, most);
        if self.total(guess) >= ms {
            long = guess
        } else {
            short = guess
        }
        while long - short > 1 {
            let middle = short + (long - short) / 2;
            if self.total(middle) >= ms { long = middle } else { short = middle }
        }
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_of_passes() {
        let run = DecodeRun { base_ms: 5.0, slope_ms: 0.25, curve_ms: -0.001, passes: 100 };
        let mut sum = 0.0;
        for k in 0..100 {
            assert!((run.total(k) - sum).abs() < 1e-9, "{k}");
            assert_eq!(run.passes_lasting(sum + 1e-6, 100), k + 1);
            sum += run.pass(k);
        }
        assert_eq!(run.passes_lasting(1e9, 100), 100);
    }
}
