//! The generator: sessions that arrive by a process, share prefixes by group, and grow by turn.
//!
//! A prompt is the common prefix, the prefix of the session's group, then the session's own
//! conversation. The prompt of a later turn is the prompt of the turn before, its output, and new
//! input, so that a session's prompts are prefixes of one another. Block ids stand for the content
//! at a position of the conversation: a last block that is only begun keeps its id when the next
//! turn fills it.
//!
//! Every kind of draw has a random stream of its own, so that changing one setting (say, the
//! think time) leaves the others' draws as they are.

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use super::arrivals;
use super::builder::{MAX_MS, microseconds, sessions_of};
use super::error::WorkloadError;
use super::lines::hex;
use super::spec::{Lengths, SyntheticSpec};
use super::{Contents, Load, Request, Run, Workload};

/// Most requests that are generated, about 1 GB in memory.
const MAX_REQUESTS: u64 = 10_000_000;
/// Most prompt blocks: about 10 GB when they are written to a file. In memory they are runs.
const MAX_BLOCKS: u64 = 1 << 30;

/// What a random stream is for.
#[derive(Clone, Copy)]
enum Purpose {
    Arrivals = 1,
    Groups = 2,
    Inputs = 3,
    Outputs = 4,
    ThinkTimes = 5,
}

/// Generates a workload in open loop. Equal settings give equal workloads. Errors name the setting
/// that is out of range.
pub fn generate(spec: &SyntheticSpec) -> Result<Workload, WorkloadError> {
    check(spec)?;
    let stream = |purpose: Purpose| {
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(purpose as u64);
        rng
    };
    let starts = arrivals::instants(spec.arrivals, spec.sessions as usize, &mut stream(Purpose::Arrivals))?;
    let mut inputs = Sampler::new("input_tokens", spec.input_tokens, stream(Purpose::Inputs))?;
    let mut outputs = Sampler::new("output_tokens", spec.output_tokens, stream(Purpose::Outputs))?;
    let mut groups = stream(Purpose::Groups);
    let mut think_times = stream(Purpose::ThinkTimes);
    let mut content = Content::new(spec);
    let mut requests: Vec<Request> = Vec::new();
    for (session, &start) in starts.iter().enumerate() {
        let group = (spec.prefix_groups > 0).then(|| groups.random_range(0..spec.prefix_groups));
        content.begin_session(group);
        let mut arrival_ms = start;
        let mut context = u64::from(spec.common_prefix_tokens) + group.map_or(0, |_| spec.group_prefix_tokens.into());
        for turn in 0..spec.turns {
            let delay_ms = match turn {
                0 => 0.0,
                _ => microseconds(spec.think_ms * <Exp1 as Distribution<f64>>::sample(&Exp1, &mut think_times)),
            };
            arrival_ms = microseconds(arrival_ms + delay_ms);
            context += u64::from(inputs.sample()?);
            let input_tokens = u32::try_from(context).map_err(|_| {
                wrong("turns", "make prompts grow beyond 4294967295 tokens", "give fewer turns or shorter lengths")
            })?;
            let output_tokens = outputs.sample()?;
            content.push_prompt(input_tokens)?;
            let row = requests.len() as u32;
            requests.push(Request {
                arrival_ms,
                delay_ms,
                input_tokens,
                output_tokens,
                session: session as u32,
                turn,
                row,
            });
            context += u64::from(output_tokens);
        }
    }
    let (session_offsets, session_requests) = sessions_of(&requests, starts.len());
    // A session of one turn needs no name to be written and read back.
    let session_names =
        (0..starts.len()).map(|s| if spec.turns > 1 { format!("s{s}") } else { String::new() }).collect();
    Ok(Workload {
        requests,
        block_tokens: spec.block_tokens,
        contents: content.prompts,
        session_offsets,
        session_requests,
        session_names,
        measured_from_ms: 0.0,
        path_cache: Default::default(),
        grows: spec.turns > 1,
        load: Load::Open,
        source: format!("generator, seed {}", spec.seed),
        sha256: hex(&Sha256::digest(canonical(spec))),
    })
}

/// An error of a setting of the generator.
pub(super) fn wrong(field: &'static str, why: impl Into<String>, help: impl Into<String>) -> WorkloadError {
    WorkloadError::Setting { place: "synthetic workload", field, why: why.into(), help: help.into() }
}

fn check(spec: &SyntheticSpec) -> Result<(), WorkloadError> {
    for (field, value) in [("sessions", spec.sessions), ("turns", spec.turns), ("block_tokens", spec.block_tokens)] {
        if value == 0 {
            return Err(wrong(field, "is 0", "give at least 1"));
        }
    }
    if u64::from(spec.sessions) * u64::from(spec.turns) > MAX_REQUESTS {
        let why = format!("of {} turns are more than {MAX_REQUESTS} requests", spec.turns);
        return Err(wrong("sessions", why, "give fewer sessions or turns"));
    }
    // A millionth of the bound leaves room for the exponential's tail and for many turns.
    if !(spec.think_ms >= 0.0 && spec.think_ms <= MAX_MS / 1e6) {
        return Err(wrong("think_ms", format!("is {}", spec.think_ms), "give a mean in ms, 0 for none"));
    }
    match (spec.prefix_groups, spec.group_prefix_tokens) {
        (0, 1..) => return Err(wrong("group_prefix_tokens", "has no groups to share it", "give prefix_groups too")),
        (1.., 0) => return Err(wrong("prefix_groups", "have no prefix to share", "give group_prefix_tokens too")),
        _ => {}
    }
    let prefixes =
        [("common_prefix_tokens", spec.common_prefix_tokens), ("group_prefix_tokens", spec.group_prefix_tokens)];
    for (field, tokens) in prefixes {
        if tokens % spec.block_tokens != 0 {
            let below = tokens - tokens % spec.block_tokens;
            let why = format!("is {tokens}, not a whole number of blocks of {} tokens", spec.block_tokens);
            let above = u64::from(below) + u64::from(spec.block_tokens);
            let help = format!("give {below} or {above}, or block_tokens that divide it (16, 32, 64, ...)");
            return Err(wrong(field, why, help));
        }
    }
    let prefix_blocks = prefixes.iter().map(|(_, tokens)| u64::from(tokens / spec.block_tokens)).sum::<u64>();
    if prefix_blocks.saturating_mul(u64::from(spec.sessions) * u64::from(spec.turns)) > MAX_BLOCKS {
        return Err(too_many_blocks(spec.block_tokens));
    }
    Ok(())
}

fn too_many_blocks(block_tokens: u32) -> WorkloadError {
    let why = format!("of {block_tokens} tokens make more than {MAX_BLOCKS} prompt blocks");
    wrong("block_tokens", why, "give larger blocks, fewer sessions, or shorter prompts")
}

/// The settings as text: what the SHA-256 of a generated workload is taken of.
fn canonical(spec: &SyntheticSpec) -> String {
    // Destructured, so that a setting added later cannot be forgotten.
    let SyntheticSpec {
        seed,
        sessions,
        turns,
        arrivals,
        input_tokens,
        output_tokens,
        think_ms,
        common_prefix_tokens,
        prefix_groups,
        group_prefix_tokens,
        block_tokens,
    } = spec;
    let mut text = String::from("servescout synthetic workload 1\n");
    let _ = write!(
        text,
        "seed={seed}\nsessions={sessions}\nturns={turns}\narrivals={arrivals:?}\ninput_tokens={input_tokens:?}\n\
         output_tokens={output_tokens:?}\nthink_ms={think_ms:?}\ncommon_prefix_tokens={common_prefix_tokens}\n\
         prefix_groups={prefix_groups}\ngroup_prefix_tokens={group_prefix_tokens}\nblock_tokens={block_tokens}\n"
    );
    text
}

/// Draws lengths in tokens.
struct Sampler {
    field: &'static str,
    lengths: Lengths,
    /// Mean and standard deviation of the normal drawn from (of the logarithm, for log-normal).
    mean: f64,
    std: f64,
    rng: ChaCha8Rng,
}

impl Sampler {
    fn new(field: &'static str, lengths: Lengths, rng: ChaCha8Rng) -> Result<Self, WorkloadError> {
        let (mean, std) = match lengths {
            Lengths::Fixed(tokens) => (f64::from(tokens), 0.0),
            Lengths::Normal { mean, std } | Lengths::LogNormal { mean, std } => (mean, std),
        };
        if !(1.0..=f64::from(u32::MAX)).contains(&mean) {
            return Err(wrong(field, format!("has mean {mean}"), "give 1 to 4294967295 tokens"));
        }
        if !(0.0..=f64::from(u32::MAX)).contains(&std) {
            return Err(wrong(field, format!("has standard deviation {std}"), "give 0 or more tokens"));
        }
        let (mean, std) = match lengths {
            Lengths::LogNormal { .. } => {
                // Of a log-normal: mean = exp(mu + s^2 / 2), variance = (exp(s^2) - 1) mean^2.
                let variance = (std / mean).powi(2).ln_1p();
                (mean.ln() - variance / 2.0, variance.sqrt())
            }
            Lengths::Fixed(_) | Lengths::Normal { .. } => (mean, std),
        };
        Ok(Self { field, lengths, mean, std, rng })
    }

    fn sample(&mut self) -> Result<u32, WorkloadError> {
        let mut normal =
            || self.mean + self.std * <StandardNormal as Distribution<f64>>::sample(&StandardNormal, &mut self.rng);
        let tokens = match self.lengths {
            Lengths::Fixed(tokens) => return Ok(tokens),
            Lengths::Normal { .. } => normal(),
            Lengths::LogNormal { .. } => normal().exp(),
        };
        if tokens <= f64::from(u32::MAX) {
            return Ok(tokens.round().max(1.0) as u32);
        }
        let why = format!("gives a length of {tokens:e} tokens");
        Err(wrong(self.field, why, "give a smaller mean or standard deviation"))
    }
}

/// The content ids of prompts. Ids are given when a position first appears, so that they are
/// numbered in order of first appearance.
struct Content {
    block_tokens: u32,
    common: Run,
    /// First id of the prefix of each group that has appeared.
    groups: FxHashMap<u32, u32>,
    group_blocks: u32,
    /// The conversation of the present session.
    session: Vec<Run>,
    session_blocks: u32,
    prompts: Contents,
    next_id: u32,
}

impl Content {
    fn new(spec: &SyntheticSpec) -> Self {
        let common = Run { first: 0, len: spec.common_prefix_tokens / spec.block_tokens };
        Self {
            block_tokens: spec.block_tokens,
            next_id: common.len,
            common,
            groups: FxHashMap::default(),
            group_blocks: spec.group_prefix_tokens / spec.block_tokens,
            session: Vec::new(),
            session_blocks: 0,
            prompts: Contents::default(),
        }
    }

    fn begin_session(&mut self, group: Option<u32>) {
        self.session.clear();
        self.session_blocks = 0;
        self.say(self.common);
        if let Some(group) = group {
            let first = *self.groups.entry(group).or_insert(self.next_id);
            self.next_id = self.next_id.max(first + self.group_blocks);
            self.say(Run { first, len: self.group_blocks });
        }
    }

    /// Adds to the conversation of the present session.
    fn say(&mut self, run: Run) {
        self.session.push(run);
        self.session_blocks += run.len;
    }

    /// Adds a prompt of the present session.
    fn push_prompt(&mut self, tokens: u32) -> Result<(), WorkloadError> {
        let blocks = tokens.div_ceil(self.block_tokens);
        if self.prompts.blocks() + u64::from(blocks) > MAX_BLOCKS {
            return Err(too_many_blocks(self.block_tokens));
        }
        let fresh = blocks.saturating_sub(self.session_blocks);
        self.say(Run { first: self.next_id, len: fresh });
        self.next_id += fresh;
        let mut left = blocks;
        for run in &self.session {
            let len = run.len.min(left);
            self.prompts.push_run(Run { len, ..*run });
            left -= len;
        }
        self.prompts.end_prompt();
        Ok(())
    }
}
