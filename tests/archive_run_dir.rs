//! The run directory: what is written reads back, identical runs leave identical bytes, and nothing
//! torn, foreign or missing is trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use servescout::archive::{ArchiveError, Batch, Damage, RunDir, Setup};
use servescout::search::Evaluation;
use servescout::space::Study;
use servescout::twin::metrics::METRIC_COUNT;

use crate::fixture;
use fixture::{setup, study};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_342_133)
}

/// An evaluation of the candidate at a point of the unit cube.
fn evaluation(study: &Study, point: &[f64], value: f64, violation: f64, reason: Option<&str>) -> Evaluation {
    let candidate = study.space.from_unit(point);
    let metrics: Vec<f64> =
        (0..METRIC_COUNT).map(|m| if m % 5 == 4 { f64::NAN } else { value * (1.0 + m as f64) }).collect();
    fixture::evaluation(study, candidate, metrics, violation, reason)
}

/// Distinct candidates, `n` of them, with values that differ.
fn distinct(study: &Study, n: usize, salt: f64) -> Vec<Evaluation> {
    let mut candidates = std::collections::BTreeSet::new();
    let mut step = 0.0;
    while candidates.len() < n {
        step += 1.0;
        let knobs = study.space.knobs.len();
        let point: Vec<f64> = (0..knobs).map(|k| (step * (0.618 + 0.1 * k as f64)).fract()).collect();
        candidates.insert(study.space.from_unit(&point));
    }
    let rows = candidates.into_iter().enumerate();
    rows.map(|(i, candidate)| {
        let metrics = (0..METRIC_COUNT).map(|m| salt + (1 + i) as f64 / (1 + m) as f64).collect();
        let reason = (i % 3 == 2).then_some("ttft_p99_ms is 5000, the limit is 4000");
        fixture::evaluation(study, candidate, metrics, if reason.is_some() { 0.25 } else { 0.0 }, reason)
    })
    .collect()
}

/// A run of two batches of three.
fn small_run(path: &Path, study: &Study) -> RunDir {
    let mut run = RunDir::create(path, study, &setup(), now()).unwrap();
    let rows = distinct(study, 6, 1.0);
    for (index, rows) in rows.chunks(3).enumerate() {
        let batch = Batch { index: index as u32, strategy: "random".into(), evaluations: rows.to_vec() };
        run.commit(study, &batch).unwrap();
    }
    run
}

fn bytes_of(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.strip_prefix(directory).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn same(a: &Evaluation, b: &Evaluation) -> bool {
    let floats = |e: &Evaluation| -> Vec<Option<u64>> {
        let all = e.metrics.iter().chain(&e.objectives).chain([&e.violation]);
        all.map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
    };
    a.candidate == b.candidate && a.reason == b.reason && floats(a) == floats(b)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_reads_back_as_it_was_written(
        points in prop::collection::vec(
            (prop::collection::vec(0.0..1.0f64, 64), any::<f64>(), 0.0..9.0f64, any::<bool>(), "\\PC{0,12}"),
            0..20,
        )
    ) {
        let study = study();
        let directory = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(directory.path(), &study, &setup(), now()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let rows: Vec<Evaluation> = points
            .iter()
            .map(|(point, value, violation, refused, reason)| {
                let violation = if *refused { f64::INFINITY } else { *violation };
                evaluation(&study, point, *value, violation, (!reason.is_empty()).then_some(reason))
            })
            .filter(|e| seen.insert(e.candidate.clone()))
            .collect();
        let batch = Batch { index: 0, strategy: "genetic".into(), evaluations: rows };
        run.commit(&study, &batch).unwrap();
        let back = run.batches(&study).unwrap().remove(0);
        prop_assert_eq!(back.evaluations.len(), batch.evaluations.len());
        prop_assert_eq!(back.strategy.as_str(), "genetic");
        for (a, b) in batch.evaluations.iter().zip(&back.evaluations) {
            prop_assert!(same(a, b), "{:?} came back as {:?}", a, b);
        }
    }
}

#[test]
fn identical_runs_leave_identical_bytes() {
    let study = study();
    let files: Vec<_> = [0u64, 86_400]
        .iter()
        .map(|later| {
            let directory = tempfile::tempdir().unwrap();
            let now = now() + Duration::from_secs(*later);
            let mut run = RunDir::create(directory.path(), &study, &Setup { threads: 7, ..setup() }, now).unwrap();
            let batch = Batch { index: 0, strategy: "grid".into(), evaluations: distinct(&study, 5, 2.0) };
            run.commit(&study, &batch).unwrap();
            run.write_frontier(&study, &run.batches(&study).unwrap()).unwrap();
            run.finish(true, 5, 0.5 + *later as f64, now).unwrap();
            drop(run);
            let mut files = bytes_of(directory.path());
            assert!(files.remove(Path::new("manifest.toml")).is_some());
            files
        })
        .collect();
    let names: Vec<_> = files[0].keys().map(|p| p.display().to_string()).collect();
    assert_eq!(names, [".lock", "evaluations/batch-000000.parquet", "frontier.csv", "frontier.parquet"]);
    assert!(files[0] == files[1]);
}

#[test]
fn the_manifest_says_what_was_run() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let mut run = small_run(directory.path(), &study);
    run.set_reference_point(vec![12.5, 800.0]).unwrap();
    run.finish(true, 6, 1.25, now() + Duration::from_secs(2)).unwrap();
    drop(run);
    let run = RunDir::open(directory.path()).unwrap();
    let manifest = run.manifest();
    assert_eq!(manifest.space.toml, study.text);
    assert_eq!(manifest.run.reference_point, Some(vec![12.5, 800.0]));
    assert_eq!(manifest.run.complete_batches, Some(2));
    assert_eq!(manifest.sessions[0].started_utc, "2026-11-22T10:08:53Z");
    assert_eq!(manifest.sessions[0].finished_utc.as_deref(), Some("2026-11-22T10:08:55Z"));
    assert_eq!(manifest.workload.sha256, setup().workload_sha256);
    let text = fs::read_to_string(directory.path().join("manifest.toml")).unwrap();
    assert!(text.parse::<toml::Table>().is_ok());
}

/// The damage that `batches` reports, and its message.
fn damage(directory: &Path, study: &Study) -> (Damage, String) {
    match RunDir::open(directory).unwrap().batches(study) {
        Err(error @ ArchiveError::Damaged { damage, .. }) => (damage, error.to_string()),
        other => panic!("not noticed: {other:?}"),
    }
}

fn batch_path(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("evaluations/batch-{index:06}.parquet"))
}

#[test]
fn a_file_cut_anywhere_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    let path = batch_path(directory.path(), 1);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let (damage, message) = damage(directory.path(), &study);
        assert_eq!(damage, Damage::Torn, "cut to {length} of {} bytes", whole.len());
        assert!(message.contains("batch-000001.parquet") && message.contains("--resume"), "{message}");
    }
}

#[test]
fn no_flipped_bit_passes() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    let path = batch_path(directory.path(), 0);
    let whole = fs::read(&path).unwrap();
    for position in (0..whole.len()).step_by(23) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(&path, &bytes).unwrap();
        let (damage, message) = damage(directory.path(), &study);
        // A flip within the seal's own name makes the file look like another program's.
        assert!(damage == Damage::Torn || message.contains("another program"), "bit at {position}: {message}");
    }
}

#[test]
fn another_programs_parquet_is_foreign() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let run = small_run(directory.path(), &study);
    run.write_frontier(&study, &run.batches(&study).unwrap()).unwrap();
    drop(run);
    fs::copy(directory.path().join("frontier.parquet"), batch_path(directory.path(), 1)).unwrap();
    let (damage, message) = damage(directory.path(), &study);
    assert_eq!(damage, Damage::Foreign);
    assert!(message.contains("another program"), "{message}");
}

#[test]
fn another_runs_batch_is_foreign() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let study = study();
    drop(small_run(ours.path(), &study));
    let mut run = RunDir::create(theirs.path(), &study, &Setup { seed: 8, ..setup() }, now()).unwrap();
    let batch = Batch { index: 1, strategy: "random".into(), evaluations: distinct(&study, 3, 9.0) };
    run.commit(&study, &batch).unwrap();
    fs::copy(batch_path(theirs.path(), 1), batch_path(ours.path(), 1)).unwrap();
    let (damage, message) = damage(ours.path(), &study);
    assert_eq!(damage, Damage::Foreign);
    assert!(message.contains("another run"), "{message}");
}

#[test]
fn a_renamed_batch_is_foreign() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    fs::copy(batch_path(directory.path(), 0), batch_path(directory.path(), 1)).unwrap();
    let (damage, message) = damage(directory.path(), &study);
    assert_eq!(damage, Damage::Foreign);
    assert!(message.contains("holds batch 0"), "{message}");
}

#[test]
fn a_gap_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    fs::remove_file(batch_path(directory.path(), 0)).unwrap();
    let (damage, message) = damage(directory.path(), &study);
    assert_eq!(damage, Damage::Missing);
    assert!(
        message.contains("batch-000000.parquet is missing") || message.contains("batch-000000.parquet: is missing"),
        "{message}"
    );
    assert!(message.contains("delete batch-000001.parquet"), "{message}");
}

#[test]
fn a_complete_run_that_lost_its_last_batch_is_not_shorter() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let mut run = small_run(directory.path(), &study);
    run.finish(true, 6, 1.0, now()).unwrap();
    drop(run);
    fs::remove_file(batch_path(directory.path(), 1)).unwrap();
    assert_eq!(damage(directory.path(), &study).0, Damage::Missing);
    // Continuing the run takes it as unfinished again.
    let run = RunDir::resume(directory.path(), 1, now()).unwrap();
    assert_eq!(run.batches(&study).unwrap().len(), 1);
}

#[test]
fn resuming_sweeps_up_and_locks() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    let half = directory.path().join("evaluations/.partial-batch-000002.parquet");
    fs::write(&half, b"PAR1 half").unwrap();
    let run = RunDir::resume(directory.path(), 2, now()).unwrap();
    assert!(!half.exists());
    assert_eq!(run.batches(&study).unwrap().len(), 2);
    assert_eq!(run.manifest().sessions.len(), 2);
    assert_eq!(run.manifest().sessions[1].batches_before, 2);
    let second = RunDir::resume(directory.path(), 2, now()).unwrap_err();
    assert!(matches!(second, ArchiveError::Locked { .. }), "{second}");
    assert!(RunDir::open(directory.path()).is_ok(), "reading needs no lock");
}

#[test]
fn a_new_run_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.doc"), b"dear").unwrap();
    let error = RunDir::create(directory.path(), &study(), &setup(), now()).unwrap_err();
    assert!(matches!(error, ArchiveError::Exists { .. }) && error.is_user_mistake(), "{error}");
}

#[test]
fn what_is_no_run_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| RunDir::open(path).unwrap_err().to_string();
    assert!(error(directory.path()).contains("no manifest.toml"));
    assert!(error(Path::new("no/such/run")).contains("no/such/run"));
    fs::write(directory.path().join("manifest.toml"), "format = \"x\"").unwrap();
    assert!(error(directory.path()).contains("does not parse"));
}

#[test]
fn another_versions_run_is_read_but_not_continued() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    drop(small_run(directory.path(), &study));
    let path = directory.path().join("manifest.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(env!("CARGO_PKG_VERSION"), "0.0.9")).unwrap();
    assert!(RunDir::open(directory.path()).unwrap().batches(&study).is_ok());
    let error = RunDir::resume(directory.path(), 1, now()).unwrap_err().to_string();
    assert!(error.contains("0.0.9"), "{error}");
}

#[test]
fn another_trace_or_space_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let run = small_run(directory.path(), &study);
    assert!(run.check_workload("trace.jsonl", &setup().workload_sha256).is_ok());
    let error = run.check_workload("trace.jsonl", "ffff").unwrap_err().to_string();
    assert!(error.contains("trace.jsonl") && error.contains("ffff"), "{error}");
    let other = servescout::space::parse(&format!("{}\n# edited", study.text), None, &[]).unwrap();
    assert!(matches!(run.batches(&other), Err(ArchiveError::Mismatch { .. })));
}

#[test]
fn what_the_columns_cannot_hold_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let mut run = RunDir::create(directory.path(), &study, &setup(), now()).unwrap();
    let mut commit = |change: fn(&mut Evaluation)| {
        let mut row = distinct(&study, 1, 1.0).remove(0);
        change(&mut row);
        let batch = Batch { index: 0, strategy: "grid".into(), evaluations: vec![row] };
        run.commit(&study, &batch)
    };
    assert!(matches!(commit(|e| e.objectives[0] += 1.0), Err(ArchiveError::Unstorable(_))));
    assert!(matches!(commit(|e| e.metrics.truncate(3)), Err(ArchiveError::Unstorable(_))));
    assert!(matches!(commit(|e| e.violation = f64::NAN), Err(ArchiveError::Unstorable(_))));
    assert!(commit(|_| ()).is_ok());
}

#[test]
fn the_frontier_file_holds_the_feasible_nondominated() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let mut run = RunDir::create(directory.path(), &study, &setup(), now()).unwrap();
    let rows = distinct(&study, 4, 1.0);
    // (cost, latency): a and b trade off, c is dominated by b, d dominates all but is infeasible.
    let values = [(1.0, 9.0, 0.0), (2.0, 3.0, 0.0), (2.5, 3.0, 0.0), (0.5, 0.5, 0.1)];
    let evaluations: Vec<Evaluation> = rows
        .iter()
        .zip(values)
        .map(|(row, (cost, latency, violation))| {
            let mut metrics = row.metrics.clone();
            metrics[study.objectives[0].metric] = cost;
            metrics[study.objectives[1].metric] = latency;
            fixture::evaluation(&study, row.candidate.clone(), metrics, violation, None)
        })
        .collect();
    let ids: Vec<String> = evaluations.iter().map(|e| study.space.id(&e.candidate)).collect();
    run.commit(&study, &Batch { index: 0, strategy: "grid".into(), evaluations }).unwrap();
    run.write_frontier(&study, &run.batches(&study).unwrap()).unwrap();
    let csv = fs::read_to_string(directory.path().join("frontier.csv")).unwrap();
    let found: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(found, [ids[0].as_str(), ids[1].as_str()]);
    assert!(csv.starts_with("id,batch,strategy,deployment.mode,"), "{csv}");
}

#[test]
fn a_text_that_unfolds_to_memory_out_of_proportion_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let mut run = RunDir::create(directory.path(), &study, &setup(), UNIX_EPOCH).unwrap();
    let mut evaluations = fixture::modelled(&study, 400);
    let batch = |index, evaluations: &[Evaluation]| Batch {
        index,
        strategy: "random".into(),
        evaluations: evaluations.to_vec(),
    };
    run.commit(&study, &batch(0, &evaluations)).unwrap();
    run.batches(&study).unwrap();
    // One text of 100 kB, said 400 times: 40 MB.
    let reason = "x".repeat(100_000);
    evaluations.iter_mut().for_each(|e| e.reason = Some(reason.clone()));
    fs::remove_file(batch_path(directory.path(), 0)).unwrap();
    run.commit(&study, &batch(0, &evaluations)).unwrap();
    let bytes = fs::metadata(batch_path(directory.path(), 0)).unwrap().len();
    assert!(bytes < 300_000, "{bytes}");
    let (damage, message) = damage(directory.path(), &study);
    assert_eq!(damage, Damage::Foreign);
    assert!(message.contains(&format!("unfolds to more than 50 times its {bytes} bytes")), "{message}");
}

/// A run whose volumes hold two batches, with so many committed in this order.
fn run_of_volumes(directory: &Path, study: &Study, order: &[u32]) -> Vec<Batch> {
    let setup = Setup { batch: 2048, ..setup() };
    let mut run = RunDir::create(directory, study, &setup, UNIX_EPOCH).unwrap();
    let evaluations = fixture::modelled(study, 35);
    let batches: Vec<Batch> = (0u32..)
        .zip(evaluations.chunks(7))
        .map(|(index, rows)| Batch { index, strategy: format!("strategy {}", index % 2), evaluations: rows.to_vec() })
        .collect();
    order.iter().for_each(|&index| run.commit(study, &batches[index as usize]).unwrap());
    batches
}

/// Names and bytes in `evaluations/`.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory.join("evaluations")).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn many_batches_become_one_file_and_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let study = study();
    let batches = run_of_volumes(directory.path(), &study, &[0, 1, 2, 3, 4]);
    let names: Vec<String> = files(directory.path()).into_iter().map(|f| f.0).collect();
    assert_eq!(names, ["batch-000004.parquet", "batches-000000-000001.parquet", "batches-000002-000003.parquet"]);
    let read = RunDir::open(directory.path()).unwrap().batches(&study).unwrap();
    assert_eq!(read.len(), 5);
    for (read, committed) in read.iter().zip(&batches) {
        assert_eq!((read.index, &read.strategy), (committed.index, &committed.strategy));
        let ids = |batch: &Batch| batch.evaluations.iter().map(|e| e.candidate.clone()).collect::<Vec<_>>();
        assert_eq!(ids(read), ids(committed));
    }
    // Cut, it is named; gone, the first batch that was in it is.
    let volume = directory.path().join("evaluations/batches-000002-000003.parquet");
    let whole = fs::read(&volume).unwrap();
    fs::write(&volume, &whole[..whole.len() / 2]).unwrap();
    let (torn, message) = damage(directory.path(), &study);
    assert!(torn == Damage::Torn && message.contains("batches-000002-000003.parquet"), "{message}");
    fs::rename(&volume, directory.path().join("evaluations/batches-000004-000005.parquet")).unwrap();
    let (missing, message) = damage(directory.path(), &study);
    assert!(missing == Damage::Missing && message.contains("batch-000002.parquet"), "{message}");
    // Under another name it is not what the name says.
    fs::remove_file(directory.path().join("evaluations/batches-000004-000005.parquet")).unwrap();
    let first = directory.path().join("evaluations/batches-000000-000001.parquet");
    fs::copy(&first, &volume).unwrap();
    let (foreign, message) = damage(directory.path(), &study);
    assert!(foreign == Damage::Foreign && message.contains("holds batch 0-1"), "{message}");
}

#[test]
fn a_kill_around_the_writing_of_a_volume_changes_nothing() {
    let (whole, study) = (tempfile::tempdir().unwrap(), study());
    let batches = run_of_volumes(whole.path(), &study, &[0, 1, 2, 3]);
    let ended = files(whole.path());
    assert_eq!(ended.len(), 2);
    let continued = |directory: &Path| {
        let run = RunDir::resume(directory, 1, UNIX_EPOCH).unwrap();
        run.tidy(&study).unwrap();
        drop(run);
        files(directory)
    };

    // Before: the batches are there, and the volume is not.
    let before = tempfile::tempdir().unwrap();
    run_of_volumes(before.path(), &study, &[0, 1, 3, 2]);
    let apart = files(before.path());
    assert_eq!(apart.len(), 3, "a volume is begun when its last batch comes");
    assert_eq!(RunDir::open(before.path()).unwrap().batches(&study).unwrap().len(), 4);
    assert!(continued(before.path()) == ended);

    // After: both are there, or the volume and some of the batches.
    for (name, bytes) in apart.iter().filter(|f| f.0.starts_with("batch-")) {
        fs::write(whole.path().join("evaluations").join(name), bytes).unwrap();
        let read = RunDir::open(whole.path()).unwrap().batches(&study).unwrap();
        assert_eq!(read.iter().map(|b| b.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(read[3].evaluations.len(), batches[3].evaluations.len());
    }
    assert!(continued(whole.path()) == ended);
}
