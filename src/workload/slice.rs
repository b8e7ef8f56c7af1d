//! Parts of a workload: the first rows, a window of time, an order by arrival.

use std::path::{Path, PathBuf};

use super::builder::{Timestamps, sessions_of, shift_arrivals};
use super::contents::{Contents, Renumbering};
use super::error::WorkloadError;
use super::load::{self, Loaded};
use super::spec::Window;
use super::write;
use super::{Request, Workload};
use crate::units::MS_PER_S;

/// What to keep of a trace file. In this order: the first rows, their sorting, the window.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceOptions {
    /// Tokens per hash id.
    pub block_tokens: u32,
    /// Keep only the first rows of the file.
    pub limit: Option<usize>,
    /// Take first turns in any order and sort them by arrival.
    pub sort: bool,
    /// Keep only sessions that start in it, seconds from the first arrival.
    pub window: Option<Window>,
}

/// Reads a trace of any known format, keeps a part, and writes it as Mooncake JSON Lines, its
/// first arrival at 0. Replaces an existing file only with `force`. Returns what was written.
pub fn slice_file(input: &Path, output: &Path, options: &SliceOptions, force: bool) -> Result<Loaded, WorkloadError> {
    load::check_part(options.limit, options.window)?;
    if same_file(input, output) {
        let (why, help) = ("is the trace that is read".into(), "give another --out".into());
        return Err(WorkloadError::Output { path: output.to_path_buf(), why, help });
    }
    let timestamps = if options.sort { Timestamps::Needed } else { Timestamps::Sorted };
    let mut loaded = load::read_trace(input, options.block_tokens, timestamps, options.limit)?;
    if options.sort {
        loaded.workload = loaded.workload.sorted();
    }
    if let Some(window) = options.window {
        loaded.workload = load::in_window(&loaded.workload, window)?;
    }
    write::save(&loaded.workload, output, force)?;
    Ok(loaded)
}

fn same_file(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    canonical(a).is_some_and(|a| canonical(b) == Some(a))
}

impl Workload {
    /// The sessions whose first turn arrives in [start_s, end_s), in seconds of this workload's
    /// time; `None` when there is none. Arrivals are shifted so that the first is at 0.
    pub fn window(&self, start_s: f64, end_s: f64) -> Option<Workload> {
        let inside = |session: u32| {
            let first = self.session(session as usize)[0] as usize;
            let start = self.requests[first].arrival_ms;
            start >= start_s * MS_PER_S && start < end_s * MS_PER_S
        };
        let kept: Vec<u32> =
            (0..self.requests.len() as u32).filter(|&i| inside(self.requests[i as usize].session)).collect();
        (!kept.is_empty()).then(|| self.select(&kept))
    }

    /// The same requests by arrival; those of a session keep their order, and equal arrivals too.
    pub fn sorted(&self) -> Workload {
        let mut keys = vec![0.0f64; self.requests.len()];
        for session in 0..self.sessions() {
            // A turn never moves before the one that it waits for.
            let mut latest = f64::NEG_INFINITY;
            for &index in self.session(session) {
                latest = latest.max(self.requests[index as usize].arrival_ms);
                keys[index as usize] = latest;
            }
        }
        let mut order: Vec<u32> = (0..self.requests.len() as u32).collect();
        order.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]));
        self.select(&order)
    }

    /// Keeps the first `limit` requests.
    pub(crate) fn truncate(&mut self, limit: usize) {
        if limit < self.requests.len() {
            let kept: Vec<u32> = (0..limit as u32).collect();
            *self = self.select(&kept);
        }
    }

    /// The requests at `order`, in that order, sessions and block ids numbered anew. With a turn
    /// come all turns before it.
    fn select(&self, order: &[u32]) -> Workload {
        let mut renumber_session = vec![u32::MAX; self.sessions()];
        let mut renumbering = Renumbering::default();
        let (mut session_names, mut contents) = (Vec::new(), Contents::default());
        let mut requests: Vec<Request> = Vec::with_capacity(order.len());
        for &index in order {
            let request = self.requests[index as usize];
            let session = &mut renumber_session[request.session as usize];
            if *session == u32::MAX {
                *session = session_names.len() as u32;
                session_names.push(self.session_names[request.session as usize].clone());
            }
            requests.push(Request { session: *session, ..request });
            for &run in self.contents.runs(index as usize) {
                renumbering.push((), run, &mut contents);
            }
            contents.end_prompt();
        }
        shift_arrivals(&mut requests);
        let (session_offsets, session_requests) = sessions_of(&requests, session_names.len());
        Workload {
            requests,
            block_tokens: self.block_tokens,
            contents,
            session_offsets,
            session_requests,
            session_names,
            measured_from_ms: 0.0,
            path_cache: Default::default(),
            grows: self.grows,
            load: self.load,
            source: self.source.clone(),
            sha256: self.sha256.clone(),
        }
    }

    /// Checks what `grows` claims: that every later prompt begins with the prompt and the output
    /// of the turn before.
    pub(crate) fn check_growth(&self) -> Result<(), WorkloadError> {
        for session in 0..self.sessions() {
            for pair in self.session(session).windows(2) {
                let (before, after) = (pair[0] as usize, pair[1] as usize);
                let (first, next) = (&self.requests[before], &self.requests[after]);
                let least = u64::from(first.input_tokens) + u64::from(first.output_tokens);
                let why = if u64::from(next.input_tokens) < least {
                    format!(
                        "cannot hold: the prompt on row {} has {} tokens, but the turn before ended with {least}",
                        next.row + 1,
                        next.input_tokens
                    )
                } else if !self.contents.share(before, after, self.contents.len_of(before)) {
                    format!(
                        "cannot hold: the prompt on row {} does not begin with the one of the turn before",
                        next.row + 1
                    )
                } else {
                    continue;
                };
                return Err(WorkloadError::setting(
                    "grows",
                    why,
                    "leave `grows` out: prompts are then taken as they are",
                ));
            }
        }
        Ok(())
    }
}
