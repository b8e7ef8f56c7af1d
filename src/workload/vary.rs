//! Other workloads of the same kind: resampled in blocks of time, burstier, with longer requests.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;

use super::builder::{microseconds, sessions_of, shift_arrivals};
use super::contents::{Contents, Renumbering, RunMap};
use super::{Load, Request, Run, Workload};

/// Content that is found in one block of time only.
const SHARED: u32 = u32::MAX;

impl Workload {
    /// The workload resampled: its time is cut into `blocks` equal blocks, and as many are drawn with
    /// replacement and played one after the other (Künsch's block bootstrap, 1989), so that what hangs
    /// together within a block stays together. In closed loop, where arrivals have no time, blocks hold
    /// equal numbers of sessions. Content that only one block has is other content in its second copy,
    /// or repetition would look like reuse.
    pub fn resampled(&self, blocks: usize, seed: u64) -> Workload {
        let sessions = self.sessions();
        let blocks = blocks.clamp(1, sessions.max(1));
        let arrival = |session: usize| self.requests[self.session(session)[0] as usize].arrival_ms;
        let last = (0..sessions).map(arrival).fold(0.0, f64::max);
        // The last arrival is as far from the end as arrivals are from each other.
        let length = last * (1.0 + 1.0 / sessions.max(2) as f64) / blocks as f64;
        let block_of = |session: usize| match self.load {
            Load::Open if length > 0.0 => ((arrival(session) / length) as usize).min(blocks - 1),
            _ => session * blocks / sessions,
        };
        let block_of: Vec<usize> = (0..sessions).map(block_of).collect();
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); blocks];
        for (index, request) in self.requests.iter().enumerate() {
            members[block_of[request.session as usize]].push(index as u32);
        }
        let mut owners = RunMap::default();
        for (index, request) in self.requests.iter().enumerate() {
            let block = block_of[request.session as usize] as u32;
            let owner = |before: Option<u32>| if before.is_none_or(|b| b == block) { block } else { SHARED };
            self.contents.runs(index).iter().for_each(|&run| owners.update(run, owner));
        }

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut copies = vec![0u32; blocks];
        let mut parts = Parts::of(self);
        for place in 0..blocks {
            let block = rng.random_range(0..blocks);
            let shift = (place as f64 - block as f64) * length;
            let copy = copies[block];
            copies[block] += 1;
            parts.begin_sessions();
            for &index in &members[block] {
                let request = self.requests[index as usize];
                let arrival_ms = if self.load == Load::Open { request.arrival_ms + shift } else { request.arrival_ms };
                let runs = self.contents.runs(index as usize).iter().flat_map(|&run| owners.parts(run));
                let content = |(run, owner)| (if owner == SHARED { 0 } else { copy }, run);
                parts.push(Request { arrival_ms, ..request }, runs.map(content));
            }
        }
        if parts.requests.is_empty() {
            return self.resampled(1, seed);
        }
        parts.finish()
    }

    /// The same sessions, burstier: every gap between first turns is raised to `power` and all are
    /// scaled to the same total. With 1.5 the gaps of Poisson traffic, whose coefficient of variation
    /// is 1, get one of 1.56, and slow swings of the rate grow likewise. Constant arrivals stay so.
    pub fn burstier(&self, power: f64) -> Workload {
        let mut order: Vec<u32> = (0..self.sessions() as u32).collect();
        let arrival = |session: u32| self.requests[self.session(session as usize)[0] as usize].arrival_ms;
        order.sort_by(|&a, &b| arrival(a).total_cmp(&arrival(b)));
        let gaps: Vec<f64> = order.windows(2).map(|pair| arrival(pair[1]) - arrival(pair[0])).collect();
        let total: f64 = gaps.iter().sum();
        let raised: f64 = gaps.iter().map(|gap| gap.powf(power)).sum();
        let mut shift = vec![0.0; self.sessions()];
        let mut at = order.first().map_or(0.0, |&session| arrival(session));
        for (gap, &session) in gaps.iter().zip(order.iter().skip(1)) {
            at += if raised > 0.0 { gap.powf(power) / raised * total } else { 0.0 };
            shift[session as usize] = at - arrival(session);
        }
        self.changed(|request| Request {
            arrival_ms: microseconds(request.arrival_ms + shift[request.session as usize]),
            ..*request
        })
    }

    /// The same requests with prompts and outputs longer by a quarter: every fourth block of content
    /// is followed by one more of its own, so that what shared a prefix shares a longer one.
    pub fn longer_by_a_quarter(&self) -> Workload {
        let longer = |tokens: u32| (u64::from(tokens) * 5 / 4).min(u64::from(u32::MAX)) as u32;
        let mut parts = Parts::of(self);
        for (index, request) in self.requests.iter().enumerate() {
            let (input_tokens, output_tokens) = (longer(request.input_tokens), longer(request.output_tokens));
            let own = self.contents.len_of(index);
            let is_full = own == request.input_tokens.div_ceil(self.block_tokens);
            let count = if is_full { input_tokens.div_ceil(self.block_tokens) } else { longer(own) };
            let (mut position, mut left) = (0, if own == 0 { 0 } else { count });
            let contents = self.contents.runs(index).iter().map(|&run| {
                // Equal content at equal places has equal phases.
                let phase = run.first.wrapping_sub(position) % 4;
                position += run.len;
                let grown = with_every_fourth_twice(run, phase);
                let len = grown.len.min(left);
                left -= len;
                (phase, Run { len, ..grown })
            });
            parts.push(Request { input_tokens, output_tokens, ..*request }, contents);
        }
        parts.finish()
    }

    /// The same requests with something else about each, but its content.
    fn changed(&self, change: impl Fn(&Request) -> Request) -> Workload {
        let mut parts = Parts::of(self);
        for (index, request) in self.requests.iter().enumerate() {
            parts.push(change(request), self.contents.runs(index).iter().map(|&run| (0, run)));
        }
        parts.finish()
    }
}

/// Numbers for ids of which those with a remainder of `phase` by 4 get two.
fn with_every_fourth_twice(run: Run, phase: u32) -> Run {
    let grown = |id: u32| id + (id + 3 - phase) / 4;
    let first = grown(run.first);
    Run { first, len: grown(run.first + run.len) - first }
}

/// A workload put together from requests of another.
struct Parts<'a> {
    of: &'a Workload,
    requests: Vec<Request>,
    contents: Contents,
    /// New ids of contents: of which kind, and of an id.
    renumbering: Renumbering<u32>,
    session_names: Vec<String>,
    /// New numbers of sessions, of those that began last.
    sessions: FxHashMap<u32, u32>,
}

impl<'a> Parts<'a> {
    fn of(of: &'a Workload) -> Parts<'a> {
        Parts {
            of,
            requests: Vec::with_capacity(of.requests.len()),
            contents: Contents::default(),
            renumbering: Renumbering::default(),
            session_names: Vec::new(),
            sessions: FxHashMap::default(),
        }
    }

    /// Sessions of requests from here on are not those of before.
    fn begin_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Adds a request that contains runs of ids, each of a kind.
    fn push(&mut self, request: Request, contents: impl Iterator<Item = (u32, Run)>) {
        let (names, of) = (&mut self.session_names, self.of);
        let session = *self.sessions.entry(request.session).or_insert_with(|| {
            names.push(of.session_names[request.session as usize].clone());
            names.len() as u32 - 1
        });
        self.requests.push(Request { session, ..request });
        for (kind, run) in contents {
            self.renumbering.push(kind, run, &mut self.contents);
        }
        self.contents.end_prompt();
    }

    fn finish(mut self) -> Workload {
        shift_arrivals(&mut self.requests);
        let (session_offsets, session_requests) = sessions_of(&self.requests, self.session_names.len());
        Workload {
            requests: self.requests,
            block_tokens: self.of.block_tokens,
            contents: self.contents,
            session_offsets,
            session_requests,
            session_names: self.session_names,
            grows: self.of.grows,
            load: self.of.load,
            measured_from_ms: self.of.measured_from_ms,
            source: self.of.source.clone(),
            sha256: self.of.sha256.clone(),
            path_cache: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec};

    fn workload(turns: u32, sessions: u32) -> Workload {
        let spec = SyntheticSpec {
            seed: 5,
            sessions,
            turns,
            arrivals: Arrivals::Poisson { rate_per_s: 4.0 },
            input_tokens: Lengths::Fixed(700),
            output_tokens: Lengths::Fixed(90),
            think_ms: 500.0,
            common_prefix_tokens: 1024,
            prefix_groups: 0,
            group_prefix_tokens: 0,
            block_tokens: 512,
        };
        crate::workload::generate(&spec).unwrap()
    }

    fn first_arrivals(workload: &Workload) -> Vec<f64> {
        workload.requests.iter().filter(|r| r.turn == 0).map(|r| r.arrival_ms).collect()
    }

    #[test]
    fn resampling_keeps_sessions_whole_and_copies_apart() {
        let whole = workload(3, 400);
        let (mut rates, mut repeated) = (Vec::new(), 0);
        for seed in 0..20 {
            let drawn = whole.resampled(20, seed);
            assert_eq!(drawn.requests.len(), 3 * drawn.sessions());
            for session in 0..drawn.sessions() {
                let turns: Vec<u32> = drawn.session(session).iter().map(|&i| drawn.requests[i as usize].turn).collect();
                assert_eq!(turns, [0, 1, 2]);
            }
            assert!(first_arrivals(&drawn).is_sorted() && first_arrivals(&drawn)[0] == 0.0);
            drawn.check_growth().unwrap();
            // Two sessions share the system prompt and nothing else, copies of one included.
            let mut last = vec![None; drawn.distinct_blocks() as usize];
            for (index, request) in drawn.requests.iter().enumerate() {
                for (place, id) in drawn.blocks_of(index).into_iter().enumerate() {
                    assert!(place < 2 || last[id as usize].is_none_or(|session| session == request.session));
                    last[id as usize] = Some(request.session);
                }
            }
            repeated += usize::from(drawn.requests.len() != whole.requests.len());
            rates.push(drawn.requests.len() as f64);
        }
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean / 1200.0 - 1.0).abs() < 0.03 && repeated > 10, "{mean} {repeated}");
        assert_eq!(whole.resampled(20, 3).requests, whole.resampled(20, 3).requests);
    }

    #[test]
    fn bursts_grow_and_the_rest_stays() {
        let variation = |workload: &Workload| {
            let arrivals = first_arrivals(workload);
            let gaps: Vec<f64> = arrivals.windows(2).map(|p| p[1] - p[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt() / mean
        };
        let plain = workload(2, 3000);
        let bursty = plain.burstier(1.5);
        assert!((variation(&bursty) / variation(&plain) - 1.56).abs() < 0.1, "{}", variation(&bursty));
        let ends = |w: &Workload| first_arrivals(w).last().copied().unwrap();
        assert!((ends(&bursty) - ends(&plain)).abs() < 0.01);
        assert_eq!(bursty.contents, plain.contents);
    }

    #[test]
    fn longer_prompts_share_longer_prefixes() {
        let plain = workload(3, 50);
        let longer = plain.longer_by_a_quarter();
        longer.check_growth().unwrap();
        let tokens = |w: &Workload| w.requests.iter().map(|r| f64::from(r.input_tokens)).sum::<f64>();
        assert!((tokens(&longer) / tokens(&plain) - 1.25).abs() < 0.001);
        let shared = |w: &Workload| {
            let prompt = |session: usize| w.contents.ids(w.session(session)[0] as usize);
            prompt(0).zip(prompt(1)).take_while(|(a, b)| a == b).count()
        };
        assert_eq!((shared(&plain), shared(&longer)), (2, 3));
        assert!(longer.requests.iter().all(|r| r.output_tokens == 112));
    }
}
