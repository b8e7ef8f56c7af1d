//! From what the user asks for to a [`Workload`].

use std::path::Path;

use super::builder::{Builder, MAX_MS, Timestamps};
use super::csv::{self, CsvReader};
use super::error::{Fault, WorkloadError};
use super::lines::{Line, Lines};
use super::mooncake::MooncakeReader;
use super::spec::Window;
use super::{Load, SourceSpec, Workload, WorkloadSpec, synthetic};
use crate::units::shown;

/// A workload, and what was ignored, dropped or assumed in making it, in sentences.
#[derive(Debug)]
pub struct Loaded {
    pub workload: Workload,
    pub notes: Vec<String>,
}

/// Reads or generates a workload. Errors name the file, line and field, or the setting.
///
/// In this order: `limit` keeps the first rows of the file (or of what is generated), `window`
/// keeps sessions that start in it, `speedup` divides arrivals and think times. First arrivals are
/// shifted to 0. Open loop needs sorted timestamps on first turns; closed loop without a window
/// needs none.
pub fn load(spec: &WorkloadSpec) -> Result<Workload, WorkloadError> {
    load_with_notes(spec).map(|loaded| loaded.workload)
}

/// [`load`], with the notes that a user should see once.
pub fn load_with_notes(spec: &WorkloadSpec) -> Result<Loaded, WorkloadError> {
    check(spec)?;
    let Loaded { mut workload, notes } = match &spec.source {
        SourceSpec::Trace { path, block_tokens } => {
            let needed = spec.concurrency.is_none() || spec.window.is_some();
            let timestamps = if needed { Timestamps::Sorted } else { Timestamps::Optional };
            read_trace(path, *block_tokens, timestamps, spec.limit)?
        }
        SourceSpec::Synthetic(synthetic) => {
            let mut workload = synthetic::generate(synthetic)?;
            if let Some(limit) = spec.limit {
                workload.truncate(limit);
            }
            Loaded { workload, notes: Vec::new() }
        }
    };
    if let Some(window) = spec.window {
        workload = in_window(&workload, window)?;
    }
    speed_up(&mut workload, spec.speedup)?;
    if let Some(grows) = spec.grows {
        if grows {
            workload.check_growth()?;
        }
        workload.grows = grows;
    }
    workload.load = spec.concurrency.map_or(Load::Open, |concurrency| Load::Closed { concurrency });
    Ok(Loaded { workload, notes })
}

fn check(spec: &WorkloadSpec) -> Result<(), WorkloadError> {
    if !(spec.speedup > 0.0 && spec.speedup.is_finite()) {
        let why = format!("is {}; it divides times", spec.speedup);
        return Err(WorkloadError::setting("speedup", why, "give a positive number; 1 is as recorded"));
    }
    if spec.concurrency == Some(0) {
        let help = "give at least 1, or leave it out for open loop";
        return Err(WorkloadError::setting("concurrency", "is 0: nothing would ever be sent", help));
    }
    check_part(spec.limit, spec.window)
}

/// Checks what to keep of a workload.
pub(crate) fn check_part(limit: Option<usize>, window: Option<Window>) -> Result<(), WorkloadError> {
    if limit == Some(0) {
        return Err(WorkloadError::setting("limit", "is 0: no rows are left", "give at least 1, or leave it out"));
    }
    match window {
        Some(Window { start_s, end_s }) if !(start_s >= 0.0 && start_s < end_s && start_s.is_finite()) => {
            let why = format!("is [{start_s} s, {end_s} s), which is empty or negative");
            Err(WorkloadError::setting("window", why, "give 0 <= start_s < end_s"))
        }
        _ => Ok(()),
    }
}

/// The sessions that start in a window; an error when none does.
pub(crate) fn in_window(workload: &Workload, window: Window) -> Result<Workload, WorkloadError> {
    workload.window(window.start_s, window.end_s).ok_or_else(|| {
        let last = workload.requests.iter().filter(|r| r.turn == 0).map(|r| r.arrival_ms).fold(0.0, f64::max);
        let why = format!("keeps nothing: no session starts in [{} s, {} s)", window.start_s, window.end_s);
        let help = format!("sessions start between 0 s and {} s after the first arrival", last / 1e3);
        WorkloadError::setting("window", why, help)
    })
}

fn speed_up(workload: &mut Workload, speedup: f64) -> Result<(), WorkloadError> {
    if speedup == 1.0 {
        return Ok(());
    }
    for request in &mut workload.requests {
        request.arrival_ms /= speedup;
        request.delay_ms /= speedup;
        if !(request.arrival_ms <= MAX_MS && request.delay_ms <= MAX_MS) {
            let speedup = shown(speedup);
            let why = format!("of {speedup} stretches times beyond 2^53 ms");
            return Err(WorkloadError::setting("speedup", why, "give a larger one"));
        }
    }
    Ok(())
}

/// Reads a trace file of any known format, in open loop. `limit` keeps the first rows; the SHA-256
/// is of the whole file either way.
pub(crate) fn read_trace(
    path: &Path,
    block_tokens: u32,
    timestamps: Timestamps,
    limit: Option<usize>,
) -> Result<Loaded, WorkloadError> {
    if block_tokens == 0 {
        let help = "give the tokens per hash id of the trace; Mooncake's have 512";
        return Err(WorkloadError::setting("block_tokens", "is 0", help));
    }
    let mut lines = Lines::open(path)?;
    let mut builder = Builder::new(block_tokens, timestamps);
    let mut reader: Option<Reader> = None;
    let mut rows = 0;
    while limit.is_none_or(|limit| rows < limit) {
        let Some(line) = lines.next_line()? else { break };
        let number = line.number;
        let reader = match &mut reader {
            Some(reader) => reader,
            none => {
                let reader = none.insert(Reader::detect(line.text).map_err(|fault| fault.at(path, number))?);
                if matches!(reader, Reader::Csv(_)) {
                    continue;
                }
                reader
            }
        };
        rows += 1;
        reader.line(&line, &mut builder).map_err(|fault| fault.at(path, number))?;
    }
    let notes = reader.as_ref().map_or(Vec::new(), Reader::notes);
    if builder.rows() == 0 {
        let (why, help) = if reader.is_none() {
            ("is empty", "a trace has one JSON object per line, one per request")
        } else {
            ("has no usable row", "a trace needs at least one request with a prompt and an output")
        };
        return Err(WorkloadError::file(path, why, help));
    }
    let source = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Loaded { workload: builder.finish(source, lines.sha256()?), notes })
}

/// The format of a trace.
enum Reader {
    Mooncake(MooncakeReader),
    Csv(CsvReader),
}

impl Reader {
    /// Tells the format from the first line: a row of Mooncake's, or a CSV header.
    fn detect(line: &str) -> Result<Self, Fault> {
        let text = line.trim_start();
        if text.starts_with('{') {
            return Ok(Self::Mooncake(MooncakeReader::default()));
        }
        if text.starts_with('[') {
            let why = "starts a JSON array; a trace is JSON Lines, one object per line";
            return Err(Fault::row(why, "unwrap the array: jq -c '.[]' FILE"));
        }
        match CsvReader::detect(text) {
            Some(reader) => Ok(Self::Csv(reader)),
            None => {
                let why = "is neither a JSON object (Mooncake) nor a known CSV header";
                Err(Fault::row(why, format!("start with {{\"timestamp\":0,...}} or with {}", csv::HEADERS)))
            }
        }
    }

    fn line(&mut self, line: &Line<'_>, builder: &mut Builder) -> Result<(), Fault> {
        match self {
            Self::Mooncake(reader) => reader.line(line, builder),
            Self::Csv(reader) => reader.line(line, builder),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self {
            Self::Mooncake(reader) => reader.notes(),
            Self::Csv(reader) => reader.notes(),
        }
    }
}
