//! Writing a file so that a reader, or a kill, sees the old one or the new one and nothing between.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::ArchiveError;

/// How names of files begin while they are written.
pub(crate) const PARTIAL: &str = ".partial-";

/// What a file is called while it is written: hidden, in the same directory (a rename must not
/// cross file systems), of this process alone (two may write the same file, and each must rename its
/// own), and recognisable by [`remove_leftovers`].
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{PARTIAL}{}-{name}", std::process::id()))
}

/// Writes `bytes` to `path` crash-safely: a new file beside it, synced, renamed over it, and the
/// directory synced so that the rename itself survives a power failure.
///
/// A device or a pipe (`/dev/stdout`) is written to as it is: a file in its place would be its end.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    if is_device(path) {
        let write = || OpenOptions::new().write(true).open(path)?.write_all(bytes);
        return write().map_err(ArchiveError::io("write", path));
    }
    let temporary = temporary_name(path);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(ArchiveError::io("write", &temporary))?;
    commit_temporary(&temporary, path)
}

/// Whether a path leads to something other than a file or a directory, or to an open file of a process.
fn is_device(path: &Path) -> bool {
    let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
    let leads_on = fs::metadata(path).is_ok_and(|m| (!m.is_file() && !m.is_dir()) || path.starts_with("/proc"));
    leads_on || (is_link && path.starts_with("/dev"))
}

/// Renames a finished, synced temporary file into place and syncs the directory.
pub(crate) fn commit_temporary(temporary: &Path, path: &Path) -> Result<(), ArchiveError> {
    fs::rename(temporary, path).map_err(ArchiveError::io("rename into place", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the entries of a directory durable. Windows has no such call and needs none: its renames
/// are journalled with the file system's metadata.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), ArchiveError> {
    if cfg!(unix) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory).and_then(|d| d.sync_all()).map_err(ArchiveError::io("sync", directory))?;
    }
    Ok(())
}

/// Creates a directory and its missing parents, durably.
pub(crate) fn create_directory(path: &Path) -> Result<(), ArchiveError> {
    fs::create_dir_all(path).map_err(ArchiveError::io("create", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Removes the temporary files that a killed process left in a directory and below.
pub(crate) fn remove_leftovers(directory: &Path) -> Result<(), ArchiveError> {
    let entries = fs::read_dir(directory).map_err(ArchiveError::io("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(ArchiveError::io("list", directory))?;
        // Of the entry itself: what a link leads to is not ours.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory {
            remove_leftovers(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            fs::remove_file(entry.path()).map_err(ArchiveError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_go_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".partial-a.txt"), b"half").unwrap();
        fs::create_dir(directory.path().join("plots")).unwrap();
        fs::write(directory.path().join("plots/.partial-17-b.svg"), b"<sv").unwrap();
        fs::write(directory.path().join("a.txt"), b"whole").unwrap();
        remove_leftovers(directory.path()).unwrap();
        assert!(!directory.path().join(".partial-a.txt").exists());
        assert_eq!(fs::read_dir(directory.path().join("plots")).unwrap().count(), 0);
        assert!(directory.path().join("a.txt").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_stays_one() {
        use std::os::unix::fs::FileTypeExt;
        let full = Path::new("/dev/full");
        if fs::metadata(full).is_ok_and(|m| m.file_type().is_char_device()) {
            let error = write_atomic(full, b"a").unwrap_err().to_string();
            assert!(error.contains("cannot write /dev/full: No space left"), "{error}");
        }
        write_atomic(Path::new("/dev/null"), b"a").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        // A link within a run is replaced, and what it leads to left alone.
        let directory = tempfile::tempdir().unwrap();
        let [link, precious] = ["link", "precious"].map(|name| directory.path().join(name));
        fs::write(&precious, b"dear").unwrap();
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert_eq!((fs::read(&precious).unwrap(), fs::read(&link).unwrap()), (b"dear".to_vec(), b"new".to_vec()));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write_atomic(Path::new("no-such-directory/a.txt"), b"").unwrap_err().to_string();
        assert!(error.contains("no-such-directory"), "{error}");
    }
}
