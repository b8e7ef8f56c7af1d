//! Many batches in one file.
//!
//! Most of a small Parquet file is its footer, so a million candidates in batches of 16 would take four
//! gigabytes and minutes to open. Whenever enough batches are committed one after the other, they are
//! written again as one *volume*, and their own files removed. A kill between the two leaves both: the
//! volume counts, and the batches that it holds are removed when the run is continued.

use std::path::Path;

use super::batch::{self, Batch, Of, RUN_KEY, damaged, parquet_bytes, record_batch};
use super::rows::read_rows;
use super::{ArchiveError, Damage, seal};

/// Footer key: which batches.
pub(super) const BATCH_KEY: &str = "servescout.batch";
/// Footer key: strategy and number of rows of each batch, as JSON.
const PARTS_KEY: &str = "servescout.parts";

/// Candidates that are enough for a file of their own, and most batches in one.
const ENOUGH: usize = 4096;
const MOST_BATCHES: u32 = 1024;

/// Consecutive batches `first..=last` of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    pub first: u32,
    pub last: u32,
}

impl Volume {
    /// The volume that is complete when so many batches are, in a run whose batches have `size`
    /// candidates.
    pub fn ending_before(batches: u32, size: usize) -> Option<Volume> {
        let most = ((ENOUGH / size.max(1)) as u32).min(MOST_BATCHES);
        if most < 2 || batches < most {
            return None;
        }
        let last = batches / most * most - 1;
        Some(Volume { first: last + 1 - most, last })
    }

    /// The numbers of its batches.
    pub fn batches(self) -> std::ops::RangeInclusive<u32> {
        self.first..=self.last
    }

    /// The file's name within `evaluations/`.
    pub fn file_name(self) -> String {
        format!("batches-{:06}-{:06}.parquet", self.first, self.last)
    }

    /// The volume of a name made by [`Volume::file_name`].
    pub fn parse_file_name(name: &str) -> Option<Volume> {
        let (first, last) = name.strip_prefix("batches-")?.strip_suffix(".parquet")?.split_once('-')?;
        let volume = Volume { first: first.parse().ok()?, last: last.parse().ok()? };
        let is_one = volume.first < volume.last && volume.last - volume.first < MOST_BATCHES;
        (is_one && volume.file_name() == name).then_some(volume)
    }

    /// The Parquet bytes: the same for the same batches, always.
    ///
    /// # Errors
    /// `Unstorable` when the writer refuses.
    pub fn to_parquet(self, batches: &[Batch], of: Of<'_>) -> Result<Vec<u8>, ArchiveError> {
        let all = || batches.iter().flat_map(|b| b.evaluations.iter().map(move |e| (b, e)));
        let indices: Vec<u32> = all().map(|(b, _)| b.index).collect();
        let strategies: Vec<&str> = all().map(|(b, _)| b.strategy.as_str()).collect();
        let rows: Vec<_> = all().map(|(_, e)| e).collect();
        let record = record_batch(of.study, of.columns, &indices, &strategies, &rows)?;
        let parts: Vec<_> = batches.iter().map(|b| (b.strategy.as_str(), b.evaluations.len())).collect();
        let parts = serde_json::to_string(&parts).map_err(|e| ArchiveError::Unstorable(e.to_string()))?;
        let footer =
            [(RUN_KEY, of.fingerprint.to_string()), (BATCH_KEY, self.says()), (PARTS_KEY, parts), seal::open_entry()];
        batch::sealed(parquet_bytes(&record, &footer)?)
    }

    fn says(self) -> String {
        format!("{}-{}", self.first, self.last)
    }

    /// Reads the file and checks that it is whole, of this run and in its place.
    ///
    /// # Errors
    /// As [`Batch::read`].
    pub fn read(self, path: &Path, of: Of<'_>) -> Result<Vec<Batch>, ArchiveError> {
        let (footer, evaluations) = read_rows(path, self.first, &self.says(), of)?;
        let parts = footer.get(PARTS_KEY).and_then(|text| serde_json::from_str::<Vec<(String, usize)>>(text).ok());
        let parts = parts.filter(|parts| {
            let rows = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.1));
            parts.len() == self.batches().count() && rows == Some(evaluations.len())
        });
        let why = || "does not say which rows are of which batch".to_string();
        let parts = parts.ok_or_else(|| damaged(path, self.first, Damage::Foreign, why()))?;
        let mut rows = evaluations.into_iter();
        let batch = |(index, (strategy, n)): (u32, (String, usize))| {
            let evaluations = rows.by_ref().take(n).collect();
            Batch { index, strategy, evaluations }
        };
        Ok(self.batches().zip(parts).map(batch).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_full_when_its_last_batch_is_there() {
        let volume = |first, last| Some(Volume { first, last });
        let told = [255, 256, 300, 511, 512].map(|batches| Volume::ending_before(batches, 16));
        assert_eq!(told, [None, volume(0, 255), volume(0, 255), volume(0, 255), volume(256, 511)]);
        assert_eq!(Volume::ending_before(5000, 1), volume(3072, 4095), "a thousand files are enough");
        assert_eq!(Volume::ending_before(9, 2048), volume(6, 7));
        assert_eq!(Volume::ending_before(1 << 20, 2049), None, "they are large enough as they are");
    }

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let volume = Volume { first: 256, last: 511 };
        assert_eq!(volume.file_name(), "batches-000256-000511.parquet");
        assert_eq!(Volume::parse_file_name(&volume.file_name()), Some(volume));
        for name in [
            "batches-256-511.parquet",
            "batches-000511-000256.parquet",
            "batches-000000-999999.parquet",
            "batch-000001.parquet",
            "batches-000256-000511.parquet.bak",
        ] {
            assert_eq!(Volume::parse_file_name(name), None, "{name}");
        }
    }
}
