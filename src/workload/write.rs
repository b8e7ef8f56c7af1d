//! Workloads as Mooncake JSON Lines.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use super::builder::microseconds;
use super::error::WorkloadError;
use super::spec::SyntheticSpec;
use super::{Workload, synthetic};

/// Generates a workload and writes it. Replaces an existing file only with `force`.
pub fn generate_file(spec: &SyntheticSpec, output: &Path, force: bool) -> Result<Workload, WorkloadError> {
    refuse_existing(output, force)?;
    let workload = synthetic::generate(spec)?;
    save(&workload, output, force)?;
    Ok(workload)
}

/// Writes a workload to a file, whole or not at all: to a temporary file beside it, which is
/// synchronised and renamed. Replaces an existing file only with `force`.
pub fn save(workload: &Workload, output: &Path, force: bool) -> Result<(), WorkloadError> {
    refuse_existing(output, force)?;
    let temporary = temporary_beside(output)?;
    let written = File::create_new(&temporary).and_then(|file| {
        let mut out = BufWriter::new(file);
        write_mooncake(workload, &mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, output)
    });
    written.map_err(|source| {
        // What is left of it would be in the way of the next attempt; the first error counts.
        let _ = fs::remove_file(&temporary);
        let path = output.to_path_buf();
        match source.kind() {
            ErrorKind::NotFound => {
                let (why, help) = ("its directory does not exist".into(), "make the directory first".into());
                WorkloadError::Output { path, why, help }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
                let (why, help) = (format!("cannot be written: {source}"), "give another --out".into());
                WorkloadError::Output { path, why, help }
            }
            _ => WorkloadError::Write { path, source },
        }
    })
}

fn refuse_existing(output: &Path, force: bool) -> Result<(), WorkloadError> {
    let path = || output.to_path_buf();
    if output.is_dir() {
        let (why, help) = ("is a directory".into(), "name a file in it".into());
        return Err(WorkloadError::Output { path: path(), why, help });
    }
    if output.exists() && !output.is_file() {
        let (why, help) = ("is a device or a pipe, not a file".into(), "name a file".into());
        return Err(WorkloadError::Output { path: path(), why, help });
    }
    if !force && output.exists() {
        return Err(WorkloadError::Exists { path: path() });
    }
    Ok(())
}

fn temporary_beside(output: &Path) -> Result<PathBuf, WorkloadError> {
    let Some(name) = output.file_name() else {
        let (why, help) = ("is no file name".into(), "name a file".into());
        return Err(WorkloadError::Output { path: output.to_path_buf(), why, help });
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    Ok(output.with_file_name(hidden))
}

/// Writes a workload, one row per request in their order. Reading it back gives the same workload
/// (with `grows` said, which rows cannot say; block ids are numbered in order of appearance in
/// both), if its times are whole microseconds, as all are that were not sped up: they are written
/// to the microsecond.
///
/// Later turns carry `delay`, and `timestamp` only when it is not simply the turn before plus the
/// delay: some readers refuse both. Sessions of several turns without a name are named `s<index>`.
pub fn write_mooncake(workload: &Workload, out: &mut impl Write) -> io::Result<()> {
    let names = names(workload);
    // Of each session, the arrival that a reader will know of the turn before.
    let mut arrivals_before = vec![0.0; workload.sessions()];
    for (index, request) in workload.requests.iter().enumerate() {
        let session = request.session as usize;
        let before: &mut f64 = &mut arrivals_before[session];
        let (arrival_ms, delay_ms) = (microseconds(request.arrival_ms), microseconds(request.delay_ms));
        let mut comma = "";
        out.write_all(b"{")?;
        if request.turn == 0 || arrival_ms != microseconds(*before + delay_ms) {
            write!(out, "\"timestamp\":{arrival_ms}")?;
            comma = ",";
        }
        *before = arrival_ms;
        if !names[session].is_empty() {
            write!(out, "{comma}\"session_id\":{}", serde_json::to_string(&names[session])?)?;
            comma = ",";
        }
        if request.turn > 0 {
            write!(out, "{comma}\"delay\":{delay_ms}")?;
        }
        let (input, output) = (request.input_tokens, request.output_tokens);
        write!(out, ",\"input_length\":{input},\"output_length\":{output},\"hash_ids\":[")?;
        for (position, block) in workload.contents.ids(index).enumerate() {
            write!(out, "{}{block}", if position > 0 { "," } else { "" })?;
        }
        out.write_all(b"]}\n")?;
    }
    Ok(())
}

/// A name for every session of several turns, and the authored ones.
fn names(workload: &Workload) -> Vec<String> {
    let mut names = workload.session_names.clone();
    let authored: FxHashSet<&str> = workload.session_names.iter().map(String::as_str).collect();
    for (session, name) in names.iter_mut().enumerate() {
        if name.is_empty() && workload.session(session).len() > 1 {
            *name = format!("s{session}");
            while authored.contains(name.as_str()) {
                name.push('_');
            }
        }
    }
    names
}
