//! A run directory: created, written batch by batch, opened again, continued.

use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;
use sha2::{Digest, Sha256};

use super::batch::{Of, hex};
use super::files::{PARTIAL, create_directory, remove_leftovers, sync_directory};
use super::listing::Listing;
use super::lock::Lock;
use super::manifest::{FORMAT, Manifest, Run, Session, SpaceEntry, TimingEntry, WorkloadEntry};
use super::table::frontier_rows;
use super::volume::Volume;
use super::{ArchiveError, Batch, Columns, Damage, Table, Utc, write_atomic};
use crate::search::Evaluation;
use crate::space::study::relative_path;
use crate::space::{self, Candidate, Study};

/// The conditions of a run that the study does not say.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Seed in effect (`--seed` may override the study's).
    pub seed: u64,
    pub strategy: String,
    pub budget: usize,
    pub batch: usize,
    /// File name or generator.
    pub workload_source: String,
    pub workload_sha256: String,
    pub workload_requests: usize,
    /// Where pass times come from, a line each.
    pub timing: Vec<String>,
    /// Threads that simulate.
    pub threads: usize,
}

/// A run directory. Opened read-only unless it was created or resumed.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
    lock: Option<Lock>,
}

/// A whole run in memory: what shortlist, figures and reports are computed from.
#[derive(Clone, Debug)]
pub struct RunData {
    pub study: Study,
    /// How it was searched.
    pub run: Run,
    pub workload: WorkloadEntry,
    /// Where pass times come from, a line each.
    pub timing: Vec<String>,
    pub batches: Vec<Batch>,
    /// Told once: of a million candidates it takes a while.
    frontier: OnceLock<Vec<usize>>,
}

impl RunData {
    /// All evaluations, in the order of the archive.
    pub fn evaluations(&self) -> Vec<&Evaluation> {
        self.batches.iter().flat_map(|b| &b.evaluations).collect()
    }

    /// Indices into [`RunData::evaluations`] of the frontier, ascending in the first objective.
    pub fn frontier(&self) -> Vec<usize> {
        self.frontier.get_or_init(|| frontier_rows(&self.study, &self.evaluations())).clone()
    }

    /// Ids of the frontier, in the same order.
    pub fn frontier_ids(&self) -> Vec<String> {
        let evaluations = self.evaluations();
        self.frontier().into_iter().map(|row| self.study.space.id(&evaluations[row].candidate)).collect()
    }
}

const EVALUATIONS: &str = "evaluations";

impl RunDir {
    /// Starts a run in a new or empty directory, and locks it. `now` is the clock.
    ///
    /// # Errors
    /// `Exists` when the directory holds anything; `Locked` when another process is creating it;
    /// `Unstorable` when the space does not fit the archive's columns; `Io`.
    pub fn create(path: &Path, study: &Study, setup: &Setup, now: SystemTime) -> Result<RunDir, ArchiveError> {
        RunDir::create_with(path, study, setup, now, &[])
    }

    /// [`RunDir::create`] with files that the run cannot be continued without, by name: they are there
    /// before the manifest is, which makes the directory a run.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn create_with(
        path: &Path,
        study: &Study,
        setup: &Setup,
        now: SystemTime,
        files: &[(&str, Vec<u8>)],
    ) -> Result<RunDir, ArchiveError> {
        Columns::of(study)?;
        create_directory(path)?;
        let lock = Lock::take(path)?;
        if !is_new(path, files)? {
            return Err(ArchiveError::Exists { path: path.to_path_buf() });
        }
        remove_leftovers(path)?;
        let space_path = study.path.as_ref().map(|p| relative_path(p, path));
        let manifest = Manifest {
            format: FORMAT,
            run: Run {
                name: study.name.clone(),
                servescout: env!("CARGO_PKG_VERSION").into(),
                seed: setup.seed,
                strategy: setup.strategy.clone(),
                budget: setup.budget,
                batch: setup.batch,
                fingerprint: fingerprint(study, setup),
                reference_point: None,
                complete_batches: None,
            },
            workload: WorkloadEntry {
                source: setup.workload_source.clone(),
                sha256: setup.workload_sha256.clone(),
                requests: setup.workload_requests,
            },
            timing: TimingEntry { provenance: setup.timing.clone() },
            space: SpaceEntry { path: space_path, toml: study.text.clone() },
            sessions: vec![session(now, setup.threads, 0)],
        };
        create_directory(&path.join(EVALUATIONS))?;
        for (name, bytes) in files {
            write_atomic(&path.join(name), bytes)?;
        }
        manifest.write(path)?;
        Ok(RunDir { path: path.to_path_buf(), manifest, lock: Some(lock) })
    }

    /// Opens a run for reading. A search may be writing it: batches appear whole or not at all.
    ///
    /// # Errors
    /// `NotARun`, or `Io`.
    pub fn open(path: &Path) -> Result<RunDir, ArchiveError> {
        Ok(RunDir { path: path.to_path_buf(), manifest: Manifest::read(path)?, lock: None })
    }

    /// Locks a run whose files made from the archive are about to be written again, and removes what a
    /// killed process left half-written. The lock is held until the value is dropped.
    ///
    /// # Errors
    /// As [`RunDir::open`]; `Locked`.
    pub fn open_to_rewrite(path: &Path) -> Result<RunDir, ArchiveError> {
        let mut run = RunDir::open(path)?;
        run.lock = Some(Lock::take(path)?);
        remove_leftovers(path)?;
        Ok(run)
    }

    /// Opens a run to continue it: locks it, removes what a killed process left half-written, and
    /// notes the new session.
    ///
    /// # Errors
    /// As [`RunDir::open`]; `Locked`; `Mismatch` when another version of the program made it.
    pub fn resume(path: &Path, threads: usize, now: SystemTime) -> Result<RunDir, ArchiveError> {
        let mut run = RunDir::open(path)?;
        let version = env!("CARGO_PKG_VERSION");
        if run.manifest.run.servescout != version {
            return Err(ArchiveError::Mismatch {
                path: path.to_path_buf(),
                why: format!(
                    "was made by servescout {}, this is {version}: results of two versions cannot be mixed; continue it with the version that made it, or start a new run",
                    run.manifest.run.servescout
                ),
            });
        }
        run.lock = Some(Lock::take(path)?);
        // Read again under the lock: another process may have finished in between.
        run.manifest = Manifest::read(path)?;
        let evaluations = path.join(EVALUATIONS);
        create_directory(&evaluations)?;
        remove_leftovers(path)?;
        let files = Listing::of(&evaluations)?;
        files.remove_folded()?;
        let batches_before = files.count();
        run.manifest.run.complete_batches = None;
        run.manifest.sessions.push(session(now, threads, batches_before));
        run.manifest.write(path)?;
        Ok(run)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was asked.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Checks that the workload at hand is the one that the run was made with.
    ///
    /// # Errors
    /// `Mismatch`, naming both digests.
    pub fn check_workload(&self, source: &str, sha256: &str) -> Result<(), ArchiveError> {
        let recorded = &self.manifest.workload;
        if recorded.sha256 == sha256 {
            return Ok(());
        }
        Err(ArchiveError::Mismatch {
            path: self.path.clone(),
            why: format!(
                "was made with a workload {} of SHA-256 {}, but {source} now has {sha256}: put the old trace back, or start a new run",
                recorded.source, recorded.sha256
            ),
        })
    }

    /// Checks that pass times still come from where they came when the run was made: the factors of a
    /// calibration are in its file, not in the space.
    ///
    /// # Errors
    /// `Mismatch`, with the first line that differs.
    pub fn check_timing(&self, provenance: &[String]) -> Result<(), ArchiveError> {
        let recorded = &self.manifest.timing.provenance;
        let differs = recorded.iter().zip(provenance).find(|(then, now)| then != now);
        match differs {
            None if recorded.len() == provenance.len() => Ok(()),
            _ => Err(ArchiveError::Mismatch {
                path: self.path.clone(),
                why: format!(
                    "was made with other pass times: then {}; now {}. Put the old calibration or tables back, or start a new run",
                    differs.map_or("of other workers", |(then, _)| then),
                    differs.map_or("of others", |(_, now)| now),
                ),
            }),
        }
    }

    /// Commits one batch. When this returns, a kill no longer loses it.
    ///
    /// # Errors
    /// `Unstorable` when an evaluation is not of the study; `Io`.
    ///
    /// # Panics
    /// When the run was opened read-only: a mistake of the calling code.
    pub fn commit(&mut self, study: &Study, batch: &Batch) -> Result<(), ArchiveError> {
        assert!(self.lock.is_some(), "a run opened for reading is not written");
        let columns = Columns::of(study)?;
        let bytes = batch.to_parquet(study, &columns, &self.manifest.run.fingerprint)?;
        write_atomic(&self.evaluations().join(Batch::file_name(batch.index)), &bytes)?;
        self.fold(study, batch.index + 1)
    }

    /// Does what a killed process left undone; before more is committed to a run that is continued.
    ///
    /// # Errors
    /// As [`RunDir::batches`], of the batches concerned; `Io`.
    pub fn tidy(&self, study: &Study) -> Result<(), ArchiveError> {
        self.fold(study, Listing::of(&self.evaluations())?.count())
    }

    /// Writes the last full volume of the first `batches` batches, unless it is there, and removes the
    /// files of the batches that it holds.
    ///
    /// # Errors
    /// As [`RunDir::batches`], of those batches; `Io`.
    fn fold(&self, study: &Study, batches: u32) -> Result<(), ArchiveError> {
        let Some(volume) = Volume::ending_before(batches, self.manifest.run.batch) else { return Ok(()) };
        let directory = self.evaluations();
        if !directory.join(Batch::file_name(volume.first)).is_file() {
            return Ok(());
        }
        let (columns, ids) = (Columns::of(study)?, study.space.ids());
        let of = Of { study, columns: &columns, ids: &ids, fingerprint: &self.manifest.run.fingerprint };
        let path = |index| directory.join(Batch::file_name(index));
        let parts: Result<Vec<_>, _> = volume.batches().map(|index| Batch::read(&path(index), index, of)).collect();
        write_atomic(&directory.join(volume.file_name()), &volume.to_parquet(&parts?, of)?)?;
        // The first comes last: as long as it is there, this is not done.
        for path in volume.batches().rev().map(path) {
            fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?;
        }
        sync_directory(&directory)
    }

    /// All batches, in order, each checked to be whole, of this run and in its place.
    ///
    /// # Errors
    /// `Damaged` for the first batch that is torn, foreign or missing; `Mismatch` when `study` is
    /// not the run's.
    pub fn batches(&self, study: &Study) -> Result<Vec<Batch>, ArchiveError> {
        if study.text != self.manifest.space.toml {
            return Err(ArchiveError::Mismatch {
                path: self.path.clone(),
                why: "was made with another search space than the one given".into(),
            });
        }
        let (columns, ids) = (Columns::of(study)?, study.space.ids());
        let of = Of { study, columns: &columns, ids: &ids, fingerprint: &self.manifest.run.fingerprint };
        let files = Listing::of(&self.evaluations())?;
        let sources = files.sources(self.manifest.run.complete_batches.unwrap_or(0).max(files.count()))?;
        // Of several errors the first is told, on any number of threads.
        let read: Vec<_> = sources.into_par_iter().map(|source| source.read(&self.evaluations(), of)).collect();
        let batches: Vec<Batch> = read.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        if let Some((index, twin)) = first_repeated(&batches) {
            return Err(ArchiveError::Damaged {
                damage: Damage::Foreign,
                path: files.path_of(index),
                why: format!("repeats candidate {} of an earlier batch", study.space.id(twin)),
                remedy: "delete it and every batch file after it, then continue the run with --resume".into(),
            });
        }
        Ok(batches)
    }

    fn evaluations(&self) -> PathBuf {
        self.path.join(EVALUATIONS)
    }

    /// The study that the run searches, out of its manifest.
    ///
    /// # Errors
    /// `Space` when it no longer parses, for instance because the trace is gone.
    pub fn study(&self) -> Result<Study, ArchiveError> {
        let entry = &self.manifest.space;
        let path = entry.path.as_ref().map(|p| self.path.join(p));
        space::parse(&entry.toml, path.as_deref(), &[])
            .map_err(|errors| ArchiveError::Space { path: self.path.join("manifest.toml"), errors })
    }

    /// The whole run in memory.
    ///
    /// # Errors
    /// As [`RunDir::study`] and [`RunDir::batches`].
    pub fn load(&self) -> Result<RunData, ArchiveError> {
        let study = self.study()?;
        let batches = self.batches(&study)?;
        let Manifest { run, workload, timing, .. } = self.manifest.clone();
        Ok(RunData { study, run, workload, timing: timing.provenance, batches, frontier: OnceLock::new() })
    }

    /// Writes `frontier.csv` and `frontier.parquet`.
    ///
    /// # Errors
    /// `Unstorable`, `Io`.
    pub fn write_frontier(&self, study: &Study, batches: &[Batch]) -> Result<(), ArchiveError> {
        let evaluations: Vec<&Evaluation> = batches.iter().flat_map(|b| &b.evaluations).collect();
        let table = Table::new(study, batches, &frontier_rows(study, &evaluations))?;
        write_atomic(&self.path.join("frontier.csv"), table.to_csv().as_bytes())?;
        write_atomic(&self.path.join("frontier.parquet"), &table.to_parquet()?)
    }

    /// Records the hypervolume's reference point.
    pub fn set_reference_point(&mut self, point: Vec<f64>) -> Result<(), ArchiveError> {
        self.manifest.run.reference_point = Some(point);
        self.manifest.write(&self.path)
    }

    /// Ends this session in the manifest. `complete` when the search has nothing left to do;
    /// `evaluated` counts this session's candidates.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(
        &mut self,
        complete: bool,
        evaluated: usize,
        wall_s: f64,
        now: SystemTime,
    ) -> Result<(), ArchiveError> {
        self.manifest.run.complete_batches =
            if complete { Some(Listing::of(&self.evaluations())?.count()) } else { None };
        if let Some(session) = self.manifest.sessions.last_mut() {
            session.finished_utc = Some(Utc::of(now).to_string());
            session.wall_s = Some(wall_s);
            session.evaluated = Some(evaluated);
        }
        self.manifest.write(&self.path)
    }
}

/// Whether a directory holds nothing but what a process left that was killed before it could make a run
/// of it: the lock, half-written files, some of `files`, no evaluation.
fn is_new(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<bool, ArchiveError> {
    for entry in fs::read_dir(path).map_err(ArchiveError::io("list", path))? {
        let entry = entry.map_err(ArchiveError::io("list", path))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name == ".lock" || name.starts_with(PARTIAL) || files.iter().any(|(file, _)| name == *file);
        let is_empty = || fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
        if !(is_ours || (name == EVALUATIONS && is_empty())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first candidate that came before, and its batch.
fn first_repeated(batches: &[Batch]) -> Option<(u32, &Candidate)> {
    let all = batches.iter().map(|b| b.evaluations.len()).sum();
    let hash = |candidate: &Candidate| FxBuildHasher.hash_one(candidate);
    let mut seen: HashTable<&Candidate> = HashTable::with_capacity(all);
    batches.iter().find_map(|batch| {
        let mut candidates = batch.evaluations.iter().map(|e| &e.candidate);
        let repeated = candidates.find(|candidate| {
            match seen.entry(hash(candidate), |other| other == candidate, |other| hash(other)) {
                Entry::Occupied(_) => true,
                Entry::Vacant(place) => {
                    place.insert(*candidate);
                    false
                }
            }
        });
        repeated.map(|candidate| (batch.index, candidate))
    })
}

fn session(now: SystemTime, threads: usize, batches_before: u32) -> Session {
    Session {
        started_utc: Utc::of(now).to_string(),
        finished_utc: None,
        wall_s: None,
        evaluated: None,
        batches_before,
        threads,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
    }
}

/// SHA-256 of what a run's rows depend on. The budget is left out: it only says how many there are.
fn fingerprint(study: &Study, setup: &Setup) -> String {
    let mut hash = Sha256::new();
    let version = env!("CARGO_PKG_VERSION");
    let (seed, batch) = (setup.seed.to_string(), setup.batch.to_string());
    for part in [version, &study.text, &seed, &setup.strategy, &batch, &setup.workload_sha256] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}
