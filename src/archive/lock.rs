//! One process at a time on one run directory.
//!
//! The operating system's advisory lock on `.lock` does the work: it ends with the process, however
//! that ends, so that no stale lock can keep a killed run from being resumed. The process id inside
//! is for the message only. The file stays, empty, when the lock is released: removing it would let
//! a third process lock a new file while a second one holds the old.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::ArchiveError;

/// Held while the directory is written; released when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a run directory, or says who has it.
    pub(crate) fn take(directory: &Path) -> Result<Lock, ArchiveError> {
        let path = directory.join(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(ArchiveError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be between locking and writing its id: then it is unnamed.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "(unknown)" } else { holder }.to_string();
                return Err(ArchiveError::Locked { path: directory.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(ArchiveError::Io { action: "lock", path, source });
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(ArchiveError::io("write", &path))?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Failing to empty the file costs a stale process id in it, nothing more.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path()).unwrap();
        let error = Lock::take(directory.path()).unwrap_err();
        assert!(matches!(&error, ArchiveError::Locked { holder, .. } if *holder == std::process::id().to_string()));
        assert!(error.to_string().contains(&directory.path().display().to_string()));
        drop(first);
        let again = Lock::take(directory.path()).unwrap();
        drop(again);
        assert_eq!(std::fs::read(directory.path().join(".lock")).unwrap(), b"", "identical runs, identical bytes");
    }

    #[test]
    fn an_id_left_by_a_killed_process_does_not_hold() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".lock"), "1\n").unwrap();
        Lock::take(directory.path()).unwrap();
    }
}
