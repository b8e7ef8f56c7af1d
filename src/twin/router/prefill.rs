//! Prefill work outstanding on a worker, and how long it will take.
//!
//! The books of the peer's router (NVIDIA Dynamo's `dynamo-kv-router`): a request stands for the prompt
//! tokens that were not cached where it was placed, from its placement to its first token. With a
//! model of prefill times the backlog also drains as time passes: the time since the oldest prefill
//! began is taken off the whole backlog of the worker, at the oldest one's rate of tokens per ms.

use std::collections::VecDeque;

use crate::timing::PassLoad;
use crate::twin::deployment::Pool;

/// A prompt that is being computed or waits for it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Prefill {
    request: u32,
    tokens: u32,
    /// Predicted duration; 0 where nothing is predicted.
    ms: f64,
}

/// The prefill work outstanding on one worker.
#[derive(Clone, Debug, Default)]
pub struct PrefillLoad {
    /// In the order of placement.
    queue: VecDeque<Prefill>,
    tokens: u64,
    ms: f64,
    /// Since when the oldest is taken to run.
    since_ms: f64,
}

impl PrefillLoad {
    /// A request was placed here.
    pub fn add(&mut self, request: u32, tokens: u32, ms: f64, now_ms: f64) {
        if self.queue.is_empty() {
            self.since_ms = now_ms;
        }
        self.queue.push_back(Prefill { request, tokens, ms });
        self.tokens += u64::from(tokens);
        self.ms += ms;
    }

    /// A request's prompt is complete, or will never be; nothing if it was so before.
    pub fn remove(&mut self, request: u32, now_ms: f64) {
        let Some(at) = self.queue.iter().position(|p| p.request == request) else { return };
        let Some(Prefill { tokens, ms, .. }) = self.queue.remove(at) else { return };
        self.tokens -= u64::from(tokens);
        self.ms -= ms;
        if at == 0 {
            self.since_ms = now_ms;
        } else {
            // Time that went into this one did not go into the oldest.
            self.since_ms = (self.since_ms + ms).min(now_ms);
        }
        if self.queue.is_empty() {
            // Sums of rounded durations leave something behind.
            self.ms = 0.0;
        }
    }

    /// Requests that wait for their first token.
    pub fn requests(&self) -> usize {
        self.queue.len()
    }

    /// Tokens outstanding as booked.
    pub fn tokens(&self) -> f64 {
        self.tokens as f64
    }

    /// Tokens outstanding by the model of prefill times.
    pub fn tokens_at(&self, now_ms: f64) -> f64 {
        let done = match self.queue.front() {
            Some(oldest) if oldest.ms > 0.0 => f64::from(oldest.tokens) * (now_ms - self.since_ms) / oldest.ms,
            _ => 0.0,
        };
        (self.tokens as f64 - done).max(0.0)
    }

    /// Predicted time until all of it is done, ms.
    pub fn ms_at(&self, now_ms: f64) -> f64 {
        if self.queue.is_empty() { 0.0 } else { (self.ms - (now_ms - self.since_ms)).max(0.0) }
    }
}

/// Most passes that a prediction adds up one by one.
const PASSES: u32 = 32;

/// Predicted time to compute a prompt of which `cached` leading tokens are there, on an otherwise idle
/// worker of a pool, ms: its chunks' passes by the pool's own timing.
pub fn prefill_ms(pool: &Pool, prompt_tokens: u32, cached: u32) -> f64 {
    let new = prompt_tokens.saturating_sub(cached);
    if new == 0 {
        return 0.0;
    }
    let budget = if pool.engine.chunked_prefill { pool.engine.max_num_batched_tokens.max(1) } else { new };
    let kv_pool_tokens = u64::from(pool.engine.gpu_blocks) * u64::from(pool.engine.block_size);
    let pass = |prefix: u32, chunk: u32| {
        let (prefix_tokens, context) = (f64::from(prefix), f64::from(prefix + chunk));
        pool.timing.pass_ms(&PassLoad {
            prefill_seqs: 1,
            new_tokens: u64::from(chunk),
            prefix_tokens: u64::from(prefix),
            context_sq: context * context,
            prefix_sq: prefix_tokens * prefix_tokens,
            sampled_seqs: u32::from(prefix + chunk == prompt_tokens),
            kv_pool_tokens,
            ..Default::default()
        })
    };
    let passes = new.div_ceil(budget);
    if passes <= PASSES {
        return (0..passes).map(|p| pass(cached + p * budget, budget.min(new - p * budget))).sum();
    }
    // Chunks grow evenly more expensive: a sample of them stands for all.
    let sampled = (0..PASSES).map(|s| {
        let p = ((f64::from(s) + 0.5) / f64::from(PASSES) * f64::from(passes)) as u32;
        pass(cached + p * budget, budget.min(new - p * budget))
    });
    sampled.sum::<f64>() / f64::from(PASSES) * f64::from(passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_drains_at_the_rate_of_the_oldest() {
        let mut load = PrefillLoad::default();
        load.add(1, 1000, 100.0, 0.0);
        load.add(2, 500, 40.0, 10.0);
        assert_eq!((load.tokens(), load.tokens_at(50.0), load.ms_at(50.0)), (1500.0, 1000.0, 90.0));
        assert_eq!((load.tokens_at(120.0), load.ms_at(120.0)), (300.0, 20.0), "work spills past the oldest");
        assert_eq!((load.tokens_at(1e4), load.ms_at(1e4)), (0.0, 0.0));
        load.remove(1, 110.0);
        assert_eq!((load.requests(), load.tokens_at(110.0), load.ms_at(120.0)), (1, 500.0, 30.0));
        load.remove(1, 111.0);
        load.remove(2, 130.0);
        assert_eq!((load.requests(), load.tokens(), load.ms_at(130.0)), (0, 0.0, 0.0));
    }

    #[test]
    fn time_spent_on_a_later_one_is_not_taken_off_the_oldest() {
        let mut load = PrefillLoad::default();
        load.add(1, 1000, 100.0, 0.0);
        load.add(2, 500, 40.0, 0.0);
        load.remove(2, 40.0);
        assert_eq!((load.tokens_at(40.0), load.ms_at(40.0)), (1000.0, 100.0));
        load.add(3, 100, 70.0, 50.0);
        load.remove(3, 60.0);
        assert_eq!(load.ms_at(60.0), 100.0, "never ahead of the present");
    }
}
