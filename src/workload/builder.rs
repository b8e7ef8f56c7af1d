//! Rows become a [`Workload`]: sessions, think times, dense block ids.

use rustc_hash::FxHashMap;

use super::error::Fault;
use super::intern::Interner;
use super::{Contents, Load, Request, Run, Workload};

/// Latest timestamp and longest delay, ms: beyond 2^53 a double skips integers.
pub(crate) const MAX_MS: f64 = 9_007_199_254_740_992.0;

/// Rounds an instant or duration to a microsecond, the grain of a workload's times: what is left
/// over from subtracting decimal timestamps is no information, and would not survive being written
/// and read. Beyond 285 years doubles have no microseconds to round to.
pub(crate) fn microseconds(ms: f64) -> f64 {
    if ms.abs() < MAX_MS / 1e3 { (ms * 1e3).round() / 1e3 } else { ms }
}

/// Fresh block ids that any trace may have, and more of them per byte read: they cost 4 bytes
/// each, and a short row may ask for millions.
const FRESH_IDS: u64 = 1 << 22;
const FRESH_IDS_PER_BYTE: u64 = 8;

/// One row of a trace, checked by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// From 1.
    pub line: u64,
    pub timestamp_ms: Option<f64>,
    /// Explicit think time.
    pub delay_ms: Option<f64>,
    pub session: Option<&'a str>,
    /// `None`: as much as the hash ids hold.
    pub input_tokens: Option<u32>,
    pub output_tokens: u32,
    /// Whether its hash ids were pushed before it.
    pub has_ids: bool,
}

/// Which rules hold for timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamps {
    /// First turns need one, and they must not decrease.
    Sorted,
    /// First turns need one, in any order.
    Needed,
    /// They may be absent.
    Optional,
}

/// Takes rows in file order.
pub(crate) struct Builder {
    block_tokens: u32,
    timestamps: Timestamps,
    interner: Interner,
    /// `arrival_ms` is the raw timestamp until `finish`, NaN for none.
    requests: Vec<Request>,
    contents: Contents,
    session_names: Vec<String>,
    named: FxHashMap<Box<str>, Named>,
    fresh_ids: u64,
    /// Line and timestamp of the latest first turn.
    latest_start: Option<(u64, f64)>,
}

/// What is known of a named session.
struct Named {
    session: u32,
    turns: u32,
    /// Timestamp of the last turn that had one, and its line.
    timestamp: Option<(f64, u64)>,
    /// Whether that was the last turn.
    timestamp_is_last: bool,
}

impl Builder {
    pub fn new(block_tokens: u32, timestamps: Timestamps) -> Self {
        Self {
            block_tokens,
            timestamps,
            interner: Interner::default(),
            requests: Vec::new(),
            contents: Contents::default(),
            session_names: Vec::new(),
            named: FxHashMap::default(),
            fresh_ids: 0,
            latest_start: None,
        }
    }

    /// Rows taken.
    pub fn rows(&self) -> usize {
        self.requests.len()
    }

    /// Adds a hash id to the row being read.
    pub fn push_id(&mut self, id: u64) {
        self.contents.push(self.interner.intern(id));
    }

    /// Adds a negative hash id to the row being read.
    pub fn push_negative_id(&mut self, id: i64) {
        self.contents.push(self.interner.intern_negative(id));
    }

    /// Ends a row whose ids have been pushed; `bytes` is how much of the file has been read.
    pub fn push(&mut self, row: Row<'_>, bytes: u64) -> Result<(), Fault> {
        let input_tokens = self.prompt(&row, bytes)?;
        let index = u32::try_from(row.line - 1)
            .ok()
            .filter(|_| self.requests.len() < u32::MAX as usize && !self.is_full())
            .ok_or_else(too_many)?;
        let (session, turn, delay_ms) = self.place(&row)?;
        let delay_ms = microseconds(delay_ms);
        self.requests.push(Request {
            arrival_ms: row.timestamp_ms.unwrap_or(f64::NAN),
            delay_ms,
            input_tokens,
            output_tokens: row.output_tokens,
            session,
            turn,
            row: index,
        });
        self.contents.end_prompt();
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.contents.is_full() || self.interner.is_full()
    }

    /// Prompt length of a row, checked against its ids; rows without ids get fresh ones.
    fn prompt(&mut self, row: &Row<'_>, bytes: u64) -> Result<u32, Fault> {
        let block = u64::from(self.block_tokens);
        let ids = self.contents.begun();
        let zero = || Fault::field("input_length", "is 0; a prompt has at least 1 token", "drop the row or mend it");
        match (row.has_ids, row.input_tokens) {
            (_, Some(0)) => Err(zero()),
            (true, None) if ids == 0 => Err(zero()),
            (true, None) => u32::try_from(ids * block).map_err(|_| {
                let why = format!("holds {ids} ids of {block} tokens, more than 4294967295 tokens");
                Fault::field("hash_ids", why, "give `input_length`, or mend the row")
            }),
            (true, Some(tokens)) => {
                let wanted = u64::from(tokens).div_ceil(block);
                if ids == wanted {
                    return Ok(tokens);
                }
                let held = if ids < wanted { "at most" } else { "more than" };
                let limit = if ids < wanted { ids * block } else { (ids - 1) * block };
                let why = format!(
                    "has {ids} ids, which at {block} tokens each stand for {held} {limit} tokens, \
                     but `input_length` is {tokens}"
                );
                let per_id = u64::from(tokens).div_ceil(ids.max(1)).next_power_of_two();
                let mut help = format!("give {wanted} ids, one per {block} prompt tokens begun");
                if ids > 0 && u64::from(tokens).div_ceil(per_id) == ids {
                    help += &format!("; or, if the trace has {per_id} tokens per hash id, say block_tokens = {per_id}");
                }
                Err(Fault::field("hash_ids", why, help))
            }
            (false, Some(tokens)) => {
                let count = u64::from(tokens).div_ceil(block);
                self.fresh_ids += count;
                if self.fresh_ids > FRESH_IDS + FRESH_IDS_PER_BYTE * bytes {
                    let why = format!(
                        "asks for {tokens} tokens; rows without hash ids add up to {} blocks of {block} tokens \
                         by now, out of proportion to the file",
                        self.fresh_ids
                    );
                    return Err(Fault::field("input_length", why, "mend the length, or give larger block_tokens"));
                }
                let first = self.interner.fresh(count).ok_or_else(too_many)?;
                self.contents.push_run(Run { first, len: count as u32 });
                Ok(tokens)
            }
            (false, None) => Err(Fault::field(
                "input_length",
                "is missing, and so are `hash_ids` to tell it by",
                "give the prompt length in tokens",
            )),
        }
    }

    /// Session, turn and think time of a row.
    fn place(&mut self, row: &Row<'_>) -> Result<(u32, u32, f64), Fault> {
        let new_session = self.session_names.len() as u32;
        let Some(name) = row.session else {
            self.first_turn(row)?;
            self.session_names.push(String::new());
            return Ok((new_session, 0, 0.0));
        };
        if let Some(known) = self.named.get_mut(name) {
            let delay_ms = known.think_time(row)?;
            let turn = known.turns;
            known.turns += 1;
            known.timestamp_is_last = row.timestamp_ms.is_some();
            if let Some(timestamp) = row.timestamp_ms {
                known.timestamp = Some((timestamp, row.line));
            }
            return Ok((known.session, turn, delay_ms));
        }
        self.first_turn(row)?;
        self.session_names.push(name.to_owned());
        let timestamp = row.timestamp_ms.map(|t| (t, row.line));
        let named = Named { session: new_session, turns: 1, timestamp, timestamp_is_last: timestamp.is_some() };
        self.named.insert(name.into(), named);
        Ok((new_session, 0, 0.0))
    }

    /// Checks the rules of first turns.
    fn first_turn(&mut self, row: &Row<'_>) -> Result<(), Fault> {
        if let Some(delay) = row.delay_ms.filter(|&d| d != 0.0) {
            let why = format!("is {delay} ms on the first turn of its session, which has nothing to wait for");
            let help = "leave it out, or give the row the `session_id` of the turn that it follows";
            return Err(Fault::field("delay", why, help));
        }
        match row.timestamp_ms {
            None if self.timestamps == Timestamps::Optional => Ok(()),
            None => Err(Fault::field(
                "timestamp",
                "is missing on the first turn of its session",
                "give arrival times in ms, or replay in closed loop (concurrency = N)",
            )),
            Some(timestamp) => {
                let earlier = self.latest_start.filter(|&(_, latest)| timestamp < latest);
                if let (Timestamps::Sorted, Some((line, latest))) = (self.timestamps, earlier) {
                    let why =
                        format!("is {timestamp} ms, before the {latest} ms of line {line}: arrivals must be sorted");
                    let help = "sort the trace: servescout trace slice TRACE --sort --out SORTED";
                    return Err(Fault::field("timestamp", why, help));
                }
                self.latest_start = Some((row.line, timestamp));
                Ok(())
            }
        }
    }

    /// The workload, in open loop, its first arrival at 0. Needs at least one row.
    pub fn finish(mut self, source: String, sha256: String) -> Workload {
        let (session_offsets, session_requests) = sessions_of(&self.requests, self.session_names.len());
        shift_arrivals(&mut self.requests);
        Workload {
            requests: self.requests,
            block_tokens: self.block_tokens,
            contents: self.contents,
            session_offsets,
            session_requests,
            session_names: self.session_names,
            measured_from_ms: 0.0,
            path_cache: Default::default(),
            grows: false,
            load: Load::Open,
            source,
            sha256,
        }
    }
}

fn too_many() -> Fault {
    Fault::row("is beyond the 4 billion rows or 1 billion blocks that fit", "split the trace, or give a limit")
}

impl Named {
    /// Think time before a later turn: explicit, else the difference of timestamps to the turn
    /// before, else 0 (as Dynamo's loader has it).
    fn think_time(&self, row: &Row<'_>) -> Result<f64, Fault> {
        if let (Some(now), Some((before, line))) = (row.timestamp_ms, self.timestamp) {
            if now < before {
                let why = format!("is {now} ms, before the {before} ms of its session's turn on line {line}");
                return Err(Fault::field("timestamp", why, "list the turns of a session in the order they are sent"));
            }
            if row.delay_ms.is_none() && self.timestamp_is_last {
                return Ok(now - before);
            }
        }
        Ok(row.delay_ms.unwrap_or(0.0))
    }
}

/// Groups requests by session: CSR offsets, and request indices in file order.
pub(crate) fn sessions_of(requests: &[Request], sessions: usize) -> (Vec<u32>, Vec<u32>) {
    let mut offsets = vec![0u32; sessions + 1];
    for request in requests {
        offsets[request.session as usize + 1] += 1;
    }
    for session in 0..sessions {
        offsets[session + 1] += offsets[session];
    }
    let mut next = offsets.clone();
    let mut grouped = vec![0u32; requests.len()];
    for (index, request) in requests.iter().enumerate() {
        let slot = &mut next[request.session as usize];
        grouped[*slot as usize] = index as u32;
        *slot += 1;
    }
    (offsets, grouped)
}

/// Shifts arrivals so that the earliest first turn is at 0. An unknown (NaN) arrival becomes 0 for
/// a first turn, and for a later one the arrival of the turn before plus the think time. No turn
/// arrives before the one that it waits for.
pub(crate) fn shift_arrivals(requests: &mut [Request]) {
    let starts = requests.iter().filter(|r| r.turn == 0 && !r.arrival_ms.is_nan()).map(|r| r.arrival_ms);
    let base = starts.fold(f64::INFINITY, f64::min);
    let base = if base.is_finite() { base } else { 0.0 };
    // Turns come in order, so the last arrival seen of a session is that of the turn before.
    let sessions = requests.iter().map(|r| r.session + 1).max().unwrap_or(0);
    let mut before = vec![0.0f64; sessions as usize];
    for request in requests {
        let before = &mut before[request.session as usize];
        let arrival = if request.arrival_ms.is_nan() { *before + request.delay_ms } else { request.arrival_ms - base };
        let arrival = microseconds(arrival);
        request.arrival_ms = if request.turn > 0 { arrival.max(*before) } else { arrival };
        *before = request.arrival_ms;
    }
}
