//! The client of a measured point, as a workload.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::points::{Client, Point};
use crate::workload::{Contents, Load, Request, Run, Workload};

/// Requests that every client sends, one after the other.
const ROUNDS: u32 = 10;
/// Shortest length of a sweep, of the nominal one.
const SHORTEST: f64 = 0.8;
/// Tokens per content block: prompts share nothing, so that it does not matter.
const BLOCK: u32 = 512;

/// The requests of a point in closed loop: `gap_ms` pass between the completion of a client's
/// request and the arrival of its next one at the engine. Each client is a session. Lengths of a
/// sweep are drawn from `seed`, the same for every point with the same lengths and concurrency.
pub fn workload(point: &Point, seed: u64, gap_ms: f64) -> Workload {
    let rounds = if point.client == Client::OneWave { 1 } else { ROUNDS };
    let count = point.concurrency * rounds;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let length = |rng: &mut ChaCha8Rng, nominal: u32| match point.client {
        Client::Sweep => rng.random_range(((f64::from(nominal) * SHORTEST) as u32).max(1)..=nominal),
        Client::Waves | Client::OneWave => nominal,
    };
    let lengths: Vec<(u32, u32)> =
        (0..count).map(|_| (length(&mut rng, point.isl), length(&mut rng, point.osl))).collect();
    let mut requests = Vec::with_capacity(count as usize);
    let (mut contents, mut next_block) = (Contents::default(), 0);
    for (index, &(input_tokens, output_tokens)) in lengths.iter().enumerate() {
        // In the order of sending: all first requests, then all second ones.
        let (turn, session) = (index as u32 / point.concurrency, index as u32 % point.concurrency);
        let len = input_tokens.div_ceil(BLOCK);
        contents.push_run(Run { first: next_block, len });
        contents.end_prompt();
        next_block += len;
        let delay_ms = if turn == 0 { 0.0 } else { gap_ms };
        let row = index as u32;
        requests.push(Request { arrival_ms: 0.0, delay_ms, input_tokens, output_tokens, session, turn, row });
    }
    Workload {
        requests,
        block_tokens: BLOCK,
        contents,
        session_offsets: (0..=point.concurrency).map(|s| s * rounds).collect(),
        session_requests: (0..count).map(|at| at % rounds * point.concurrency + at / rounds).collect(),
        session_names: (0..point.concurrency).map(|s| format!("client {s}")).collect(),
        grows: false,
        load: Load::Closed { concurrency: point.concurrency },
        measured_from_ms: 0.0,
        source: format!("client of {}", point.label()),
        sha256: String::new(),
        path_cache: Default::default(),
    }
}
