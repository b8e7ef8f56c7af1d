//! The decoding sequences of a worker, advanced together.
//!
//! Between two changes of membership every decoding sequence gains one token per pass. So a pass
//! counter stands for all of them: a sequence's length, its next block boundary and its last pass
//! follow from the pass in which it joined, and a run of passes is advanced without touching any.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::speculation::Speculating;
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
    /// Sequences one by one, when their tokens per pass are drawn.
    speculating: Option<Speculating>,
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
            speculating: None,
        }
    }

    /// Makes sequences emit bursts; before the first joins.
    pub fn speculate(&mut self, speculating: Speculating) {
        self.speculating = Some(speculating);
    }

    /// Whether sequences emit bursts.
    pub fn speculates(&self) -> bool {
        self.speculating.is_some()
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
        if let Some(speculating) = &mut self.speculating {
            speculating.join(request, state);
            self.seqs += 1;
            self.context += u64::from(length);
            return;
        }
        state.finish_pass = self.pass + u64::from(state.output_tokens - state.generated);
        self.finishes.push(Reverse((state.finish_pass, state.order, request)));
        self.seqs += 1;
        self.context += u64::from(length);
        let opening = self.opening(length);
        self.openings[opening] += 1;
    }

    /// Takes a sequence out and brings its own counters up to date.
    pub fn leave(&mut self, state: &mut RequestState) {
        if let Some(speculating) = &mut self.speculating {
            speculating.leave(state);
            state.computed = state.known() - 1;
            state.decoding = false;
            self.seqs -= 1;
            self.context -= u64::from(state.known());
            return;
        }
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
        if self.speculating.is_some() {
            return state.generated;
        }
        state.output_tokens - (state.finish_pass - self.pass) as u32
    }

    /// Blocks that a decoding sequence takes in the next pass.
    pub fn needs_next(&self, state: &RequestState) -> u32 {
        match &self.speculating {
            Some(speculating) => speculating.need_of(state),
            None => u32::from(
                self.stored(state.input_tokens + self.generated(state)).is_multiple_of(self.openings.len() as u32),
            ),
        }
    }

    /// Blocks that the next pass takes.
    pub fn blocks_next(&self) -> u32 {
        match &self.speculating {
            Some(speculating) => speculating.need(),
            None => self.blocks_needed(1) as u32,
        }
    }

    /// Blocks that sequences which left held beyond their computed tokens, to be given back.
    pub fn take_spare(&mut self) -> u32 {
        self.speculating.as_mut().map_or(0, Speculating::take_spare)
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
        if let Some(speculating) = &self.speculating {
            let request = speculating.finished(states)?;
            self.leave(&mut states[request as usize]);
            return Some(request);
        }
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

    /// Every sequence decodes once; the tokens emitted.
    pub fn advance_once(&mut self, states: &mut [RequestState]) -> u64 {
        let Some(speculating) = &mut self.speculating else {
            self.advance(1);
            return u64::from(self.seqs);
        };
        let emitted = speculating.advance(states);
        self.pass += 1;
        self.context += emitted;
        emitted
    }

    /// Every sequence emits one token in each of `passes` passes.
    pub fn advance(&mut self, passes: u64) {
        self.pass += passes;
        self.context += passes * u64::from(self.seqs);
    }
}

impl DecodeRun {
    /// Nothing to do.
    pub fn still() -> DecodeRun {
        DecodeRun { base_ms: 0.0, slope_ms: 0.0, curve_ms: 0.0, passes: 1 }
    }

    /// How many leading passes, at most `most`, take at least as long as another run's, to rounding,
    /// when the first does. O(log passes): the difference is a parabola.
    pub fn passes_above(&self, other: &DecodeRun, most: u64) -> u64 {
        let rounding = 1e-12 * self.base_ms;
        let is_below = |k: u64| self.pass(k) - other.pass(k) < -rounding;
        let (slope, curve) = (self.slope_ms - other.slope_ms, self.curve_ms - other.curve_ms);
        // Up to here the difference, once negative, stays so.
        let turn = if curve > 0.0 { (-slope / (2.0 * curve)).clamp(0.0, most as f64) as u64 } else { most };
        let (mut above, mut below) = (0, turn.saturating_add(1).min(most));
        if below == 0 || !is_below(below - 1) {
            // The integer after the turn may be the lowest.
            return if below < most && is_below(below) { below } else { most };
        }
        below -= 1;
        while below - above > 1 {
            let middle = above + (below - above) / 2;
            if is_below(middle) { below = middle } else { above = middle }
        }
        below.max(1)
    }

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

    /// Total over the first `passes` passes of duration x a weight that grows linearly from `from`
    /// before the first pass to `to` in the last, weight ms.
    pub fn weighted_total(&self, passes: u64, from: f64, to: f64) -> f64 {
        let n = passes as f64;
        let sum = n * (n - 1.0) / 2.0;
        let squares = sum * (2.0 * n - 1.0) / 3.0;
        let by_index = self.base_ms * sum + self.slope_ms * squares + self.curve_ms * sum * sum;
        let total = self.total(passes);
        from * total + (to - from) / n * (total + by_index)
    }

    /// The fewest passes, at most `most`, that last at least `ms`; at least 1.
    #[inline]
    pub fn passes_lasting(&self, ms: f64, most: u64) -> u64 {
        if self.total(most) < ms {
            return most;
        }
        let (mut short, mut long) = (0, most);
        // Durations change little within a run: the first pass's leads near the answer, a step by the
        // duration there mostly onto it or beside it.
        let near = ((ms / self.base_ms) as u64).clamp(1, most);
        let step = (ms - self.total(near)) / self.pass(near);
        let guess = ((near as f64 + step).ceil().max(1.0) as u64).clamp(1, most);
        if self.total(guess) < ms {
            short = guess;
            if self.total(guess + 1) >= ms {
                long = guess + 1
            }
        } else {
            long = guess;
            if self.total(guess - 1) < ms {
                short = guess - 1
            }
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
    fn the_slowest_is_followed_until_another_overtakes() {
        let run = |base_ms, slope_ms, curve_ms| DecodeRun { base_ms, slope_ms, curve_ms, passes: 1000 };
        let slow = [run(10.0, 0.01, 0.0), run(10.0, 0.2, -0.001), run(9.0, 0.1, 0.0005), run(10.0, -0.3, 0.004)];
        let fast = [
            run(9.0, 0.0, 0.0),
            run(9.5, 0.05, 0.0),
            run(9.0, 0.1, 0.0005),
            run(9.0, 0.02, -0.0001),
            run(4.3, 0.0, 0.0),
        ];
        for a in &slow {
            for b in fast.iter().filter(|b| b.base_ms <= a.base_ms) {
                for most in [1, 2, 37, 38, 39, 400] {
                    let expected = (0..most).find(|&k| a.pass(k) < b.pass(k) - 1e-9).unwrap_or(most);
                    assert_eq!(a.passes_above(b, most), expected, "{a:?} {b:?} {most}");
                }
            }
        }
    }

    #[test]
    fn totals_are_sums_of_passes() {
        let run = DecodeRun { base_ms: 5.0, slope_ms: 0.25, curve_ms: -0.001, passes: 100 };
        let mut sum = 0.0;
        for k in 0..100 {
            assert!((run.total(k) - sum).abs() < 1e-9, "{k}");
            assert_eq!(run.passes_lasting(sum + 1e-6, 100), k + 1);
            sum += run.pass(k);
        }
        let weighted: f64 = (0..100).map(|k| run.pass(k) * (7.0 + 0.25 * (k + 1) as f64)).sum();
        assert!((run.weighted_total(100, 7.0, 32.0) - weighted).abs() < 1e-8);
        assert_eq!(run.passes_lasting(1e9, 100), 100);
    }
}
