//! Surfaces kept between runs, by the content of what they were made from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::PerfDb;
use crate::timing::surface::parts::Parts;

/// Changes whenever the same tables would give other parts.
const FORMAT: &str = "servescout surfaces 1";

/// Where surfaces are kept: `$SERVESCOUT_CACHE_DIR`, else `servescout` under `$XDG_CACHE_HOME`,
/// else under `~/.cache`. `None` where none of these is set: nothing is kept then.
pub fn directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("SERVESCOUT_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|d| d.join("servescout")))
        .or_else(|| variable("HOME").map(|d| d.join(".cache/servescout")))
}

/// The file for a question to a database: its name is a hash of the question and of the content of
/// every table that the answer can depend on.
///
/// # Errors
/// When a table cannot be read.
pub(super) fn file(db: &PerfDb, question: &str) -> Result<Option<PathBuf>, String> {
    let Some(directory) = directory() else { return Ok(None) };
    let mut hash = Sha256::new();
    for part in [FORMAT, &content(db)?, question] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    Ok(Some(directory.join("timing").join(format!("{}.json", hex(&hash.finalize())))))
}

/// A digest of a database's tables, made once a process.
fn content(db: &PerfDb) -> Result<String, String> {
    static KNOWN: LazyLock<Mutex<BTreeMap<Vec<PathBuf>, String>>> = LazyLock::new(Mutex::default);

    let sources = db.sources();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(&sources) {
        return Ok(digest.clone());
    }
    let mut hash = Sha256::new();
    for path in &sources {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        hash.update(bytes.len().to_le_bytes());
        hash.update(&bytes);
    }
    let digest = hex(&hash.finalize());
    known.insert(sources, digest.clone());
    Ok(digest)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Kept parts; `None` where there are none, or where the file is damaged: they are made again then.
pub(super) fn load(file: &Path) -> Option<Parts> {
    let parts: Parts = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    parts.check().is_ok().then_some(parts)
}

/// Keeps parts: written beside and renamed, so that no reader sees half a file.
///
/// # Errors
/// When the directory cannot be made or written.
pub(super) fn store(file: &Path, parts: &Parts) -> io::Result<()> {
    let directory = file.parent().expect("a file in a directory");
    fs::create_dir_all(directory)?;
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    fs::write(&beside, serde_json::to_vec(parts)?)?;
    fs::rename(&beside, file)
}
