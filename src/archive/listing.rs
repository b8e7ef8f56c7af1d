//! Which files of a run's `evaluations/` hold which batches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::batch::{Batch, Of};
use super::volume::Volume;
use super::{ArchiveError, Damage};

/// The files there are.
#[derive(Debug, Default)]
pub(super) struct Listing {
    directory: PathBuf,
    batches: BTreeSet<u32>,
    /// By first batch.
    volumes: BTreeMap<u32, Volume>,
}

/// A file of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Batch(u32),
    Volume(Volume),
}

impl Source {
    fn file_name(self) -> String {
        match self {
            Source::Batch(index) => Batch::file_name(index),
            Source::Volume(volume) => volume.file_name(),
        }
    }

    /// Its batches, each checked to be whole, of this run and in its place.
    pub fn read(self, directory: &Path, of: Of<'_>) -> Result<Vec<Batch>, ArchiveError> {
        let path = directory.join(self.file_name());
        match self {
            Source::Batch(index) => Batch::read(&path, index, of).map(|batch| vec![batch]),
            Source::Volume(volume) => volume.read(&path, of),
        }
    }
}

impl Listing {
    pub fn of(directory: &Path) -> Result<Listing, ArchiveError> {
        let mut listing = Listing { directory: directory.to_path_buf(), ..Listing::default() };
        for entry in fs::read_dir(directory).map_err(ArchiveError::io("list", directory))? {
            let name = entry.map_err(ArchiveError::io("list", directory))?.file_name();
            let name = name.to_string_lossy();
            if let Some(index) = Batch::parse_file_name(&name) {
                listing.batches.insert(index);
            } else if let Some(volume) = Volume::parse_file_name(&name) {
                listing.volumes.insert(volume.first, volume);
            }
        }
        Ok(listing)
    }

    /// Batches that are in any file.
    pub fn count(&self) -> u32 {
        let mut all: BTreeSet<u32> = self.volumes.values().flat_map(|volume| volume.batches()).collect();
        all.extend(&self.batches);
        all.len() as u32
    }

    /// The file of a batch, the volume where there are both.
    pub fn path_of(&self, batch: u32) -> PathBuf {
        let volume = self.volumes.range(..=batch).next_back().filter(|(_, volume)| volume.last >= batch);
        self.directory.join(volume.map_or(Source::Batch(batch), |(_, &volume)| Source::Volume(volume)).file_name())
    }

    /// The files that hold the batches before `end`, in order.
    ///
    /// # Errors
    /// `Damaged` when one is missing.
    pub fn sources(&self, end: u32) -> Result<Vec<Source>, ArchiveError> {
        let mut sources = Vec::new();
        let mut index = 0;
        while index < end {
            let source = match self.volumes.get(&index) {
                Some(&volume) => Source::Volume(volume),
                None if self.batches.contains(&index) => Source::Batch(index),
                None => return Err(self.missing(index)),
            };
            index = if let Source::Volume(volume) = source { volume.last } else { index } + 1;
            sources.push(source);
        }
        Ok(sources)
    }

    /// Removes the files of batches that a volume holds too.
    pub fn remove_folded(&self) -> Result<(), ArchiveError> {
        for volume in self.volumes.values() {
            for &index in self.batches.range(volume.batches()) {
                let path = self.directory.join(Batch::file_name(index));
                fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn missing(&self, index: u32) -> ArchiveError {
        let later = self.batches.range(index..).map(|&batch| Source::Batch(batch));
        let later = later.chain(self.volumes.range(index..).map(|(_, &volume)| Source::Volume(volume)));
        let later: Vec<String> = later.map(Source::file_name).collect();
        let (why, remedy) = match later.as_slice() {
            [] => (
                "is missing although manifest.toml says that the run is complete".to_string(),
                "put it back, or continue the run with --resume, which simulates it again".to_string(),
            ),
            [first, ..] => (
                format!("is missing although {first} is there"),
                format!("put it back, or delete {} and continue the run with --resume", all_of(&later)),
            ),
        };
        let path = self.directory.join(Batch::file_name(index));
        ArchiveError::Damaged { damage: Damage::Missing, path, why, remedy }
    }
}

/// The names of files, of many the first.
fn all_of(files: &[String]) -> String {
    match files {
        [first, after @ ..] if after.len() > 3 => format!("{first} and the {} files after it", after.len()),
        _ => files.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_files_to_delete_the_first_is_named() {
        let missing = |batches: std::ops::Range<u32>| {
            let listing = Listing { batches: batches.collect(), ..Listing::default() };
            listing.sources(1).unwrap_err().to_string()
        };
        assert!(missing(1..3).contains("delete batch-000001.parquet, batch-000002.parquet and continue"));
        assert!(missing(1..900).contains("delete batch-000001.parquet and the 898 files after it and continue"));
    }
}
