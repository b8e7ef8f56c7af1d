//! A process that is killed at any instant, refused by the disk or told to stop loses nothing that was
//! committed: what follows gives the bytes that it would have had undisturbed.
//!
//! `KILLS=200 cargo test --test it killed` kills that often instead of a dozen times; `KILLS_SEED` picks
//! other moments.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::archive::RunDir;

use crate::cli_common::{
    arg, assert_same_files, copy_directory, program, promised_files, run, run_to, servescout, small_search, text,
};

/// Few simulations and many batches: what is killed is mostly the writing of files.
const SEARCH: [&str; 8] =
    ["--budget", "48", "--set", "search.batch=6", "--set", "workload.synthetic.sessions=30", "--threads", "1"];

pub fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Starts the program and kills it after a while; whether it was still running.
pub fn killed_after(args: &[&str], wait: Duration) -> bool {
    let mut child = servescout(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap().signal().is_some()
}

/// How long it takes undisturbed.
fn duration(args: &[&str]) -> Duration {
    let started = Instant::now();
    run_to(0, args);
    started.elapsed()
}

fn batches(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = promised_files(run);
    let is_batch = |name: &str| name.len() == "evaluations/batch-000000.parquet".len() && name.ends_with(".parquet");
    files.retain(|name, _| is_batch(&name.to_string_lossy()) && name.starts_with("evaluations"));
    files
}

/// Evaluations in the archive.
fn rows(run: &Path) -> usize {
    RunDir::open(run).unwrap().load().unwrap().evaluations().len()
}

/// One undisturbed search is what all three are held against.
#[test]
fn what_is_killed_or_refused_ends_as_if_undisturbed() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    let took = duration(&small_search(&whole, &SEARCH));
    a_killed_search_resumes(directory.path(), &whole, took);
    a_killed_command_is_run_again(directory.path(), &whole);
    a_disk_that_refuses_loses_nothing(directory.path(), &whole);
}

fn a_killed_search_resumes(directory: &Path, whole: &Path, took: Duration) {
    let all = batches(whole);
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(asked("KILLS_SEED", 1)), asked("KILLS", 4));
    let mut killed = 0;
    for kill in 0..kills {
        let out = directory.join("out");
        let mut moment = || took.mul_f64(rng.random_range(0.0..1.1));
        killed += u32::from(killed_after(&small_search(&out, &SEARCH), moment()));
        // Now and then the one that continues is killed as well.
        if kill % 4 == 3 && out.join("manifest.toml").exists() {
            killed_after(&["search", "--resume", arg(&out)], moment());
        }
        let committed = if out.join("evaluations").exists() { batches(&out) } else { BTreeMap::new() };
        for (name, bytes) in &committed {
            assert!(all.get(name) == Some(bytes), "kill {kill}: {} is not what it was to be", name.display());
        }
        let kept = if committed.is_empty() { 0 } else { rows(&out) };
        // Killed before it was a run, it is begun again; else continued. Neither needs tidying up first.
        if out.join("manifest.toml").exists() {
            let (said, _) = run_to(0, &["search", "--resume", arg(&out), "--threads", "2"]);
            let left = rows(whole) - kept;
            assert!(said.contains(&format!("\n{left} candidates in")), "kill {kill}: nothing is lost: {said}");
        } else {
            run_to(0, &small_search(&out, &SEARCH));
        }
        assert_same_files(whole, &out);
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(u64::from(killed) * 2 > kills, "only {killed} of {kills} were killed before they ended");
}

/// Frontier, shortlist, figures and page are made from the archive: a kill leaves them to be made again.
fn a_killed_command_is_run_again(directory: &Path, whole: &Path) {
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(asked("KILLS_SEED", 2)), asked("KILLS", 4).div_ceil(4));
    for command in [&["shortlist", "--size", "2"][..], &["report"], &["plot"], &["manifests"]] {
        let line = |run: &Path| {
            let mut line: Vec<String> = command.iter().map(|s| (*s).to_owned()).collect();
            line.insert(1, arg(run).to_owned());
            line
        };
        let wanted = directory.join("wanted");
        copy_directory(whole, &wanted);
        let of_wanted = line(&wanted);
        let took = duration(&of_wanted.iter().map(String::as_str).collect::<Vec<_>>());
        for kill in 0..kills {
            let out = directory.join("out");
            copy_directory(whole, &out);
            let of_out = line(&out);
            let of_out: Vec<&str> = of_out.iter().map(String::as_str).collect();
            killed_after(&of_out, took.mul_f64(rng.random_range(0.0..1.0)));
            assert!(batches(&out) == batches(whole), "{command:?}, kill {kill}: the archive is as it was");
            run_to(0, &of_out);
            // Commands that take no lock leave a half-written file at most, which the next that takes it removes.
            RunDir::open_to_rewrite(&out).unwrap();
            assert_same_files(&wanted, &out);
            fs::remove_dir_all(&out).unwrap();
        }
        fs::remove_dir_all(&wanted).unwrap();
    }
}

/// A run directory that a kill left before its manifest was there is no run, and no obstacle; anything
/// else in it is.
#[test]
fn a_directory_without_a_manifest_is_begun_again_unless_it_holds_something() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    fs::create_dir_all(out.join("evaluations")).unwrap();
    for name in [".lock", ".partial-manifest.toml", ".partial-17-manifest.toml"] {
        fs::write(out.join(name), "half").unwrap();
    }
    let args = small_search(&out, &["--budget", "8"]);
    run_to(0, &args);
    let names: Vec<_> = promised_files(&out).into_keys().filter(|n| n.to_string_lossy().contains("partial")).collect();
    assert!(names.is_empty(), "{names:?}");
    for foreign in ["evaluations/batch-000000.parquet", "notes.txt", "evaluations/notes.txt"] {
        let other = directory.path().join("other");
        fs::create_dir_all(other.join("evaluations")).unwrap();
        fs::write(other.join(foreign), "dear").unwrap();
        let (_, err) = run_to(2, &small_search(&other, &["--budget", "8"]));
        assert!(err.contains("not empty") && err.contains("--out"), "{foreign}: {err}");
        assert_eq!(fs::read(other.join(foreign)).unwrap(), b"dear");
        fs::remove_dir_all(other).unwrap();
    }
}

/// A second process on the same run is told who works there; reading it needs no leave.
#[test]
fn two_processes_do_not_write_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let mut child = servescout(small_search(&out, &["--budget", "400", "--threads", "1"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !out.join("evaluations/batch-000001.parquet").exists() {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    let holder = format!("in use by process {}", child.id());
    for args in [&["search", "--resume", arg(&out)][..], &["shortlist", arg(&out)], &["manifests", arg(&out)]] {
        let (said, err) = run_to(2, args);
        assert!(said.is_empty() && err.contains(&holder), "{args:?}: {err}");
    }
    let (_, err) = run_to(2, &small_search(&out, &["--budget", "400"]));
    assert!(err.contains(&holder), "{err}");
    let page = directory.path().join("so-far.html");
    let (_, err) = run_to(0, &["report", arg(&out), "--out", arg(&page)]);
    assert!(err.contains("is not complete") && page.is_file(), "{err}");
    assert!(child.try_wait().unwrap().is_none(), "the search ended before it was disturbed");
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock ends with the process.
    run_to(0, &["shortlist", arg(&out)]);
}

/// The program with a limit on the size of the files it writes, in KiB: a disk that is full.
fn with_little_room(kib: u32, args: &[&str]) -> Output {
    let program = program();
    Command::new("bash")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"")])
        .arg(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("bash")
}

fn a_disk_that_refuses_loses_nothing(directory: &Path, whole: &Path) {
    let largest = |name: &str| promised_files(whole)[Path::new(name)].len().div_ceil(1024) as u32;
    let batch = largest("evaluations/batch-000000.parquet");
    // Too little for anything, and for a batch.
    for (kib, place) in [(0, ".lock"), (batch / 2, "batch-0")] {
        let out = directory.join("out");
        let output = with_little_room(kib, &small_search(&out, &SEARCH));
        let (said, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{kib} KiB: {said}{err}");
        assert!(err.contains("cannot ") && err.contains(place) && err.contains(arg(&out)), "{kib} KiB: {err}");
        assert!(said.is_empty(), "{kib} KiB: {said}");
        if out.join("manifest.toml").exists() {
            assert!(err.contains(&format!("servescout search --resume {}", arg(&out))), "says how to go on: {err}");
            run_to(0, &["search", "--resume", arg(&out)]);
        } else {
            run_to(0, &small_search(&out, &SEARCH));
        }
        assert_same_files(whole, &out);
        fs::remove_dir_all(&out).unwrap();
    }
}

/// A file system of 256 KiB; none where that may not be made.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf, options: &str) -> Option<Small> {
        fs::create_dir_all(&path).unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", arg(&path)]).output();
        made.is_ok_and(|output| output.status.success()).then_some(Small(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_or_read_only_file_system_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = Small::at(directory.path().join("small"), "size=128k") else {
        println!("skipped: no file system may be mounted here");
        return;
    };
    let out = small.0.join("out");
    let output = run(small_search(&out, &SEARCH));
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("cannot write") && err.contains("No space left"), "{err}");
    drop(small);
    let small = Small::at(directory.path().join("read-only"), "ro").expect("as before");
    let out = small.0.join("out");
    let output = run(small_search(&out, &SEARCH));
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("cannot create") && err.contains(arg(&out)) && err.contains("Read-only"), "{err}");
}

/// The second Ctrl-C does not wait for the batch in flight, and costs no more than that.
#[test]
fn control_c_twice_kills() {
    let directory = tempfile::tempdir().unwrap();
    let [whole, out] = ["whole", "out"].map(|name| directory.path().join(name));
    // One batch that takes a second or so.
    let slow =
        ["--budget", "64", "--set", "search.batch=60", "--set", "workload.synthetic.sessions=400", "--threads", "1"];
    run_to(0, &small_search(&whole, &slow));
    let mut child = servescout(small_search(&out, &slow)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !out.join("manifest.toml").exists() {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(40));
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    }
    assert_eq!(child.wait().unwrap().signal(), Some(2), "it died of the second");
    assert!(batches(&out).is_empty(), "it did not wait for the batch");
    run_to(0, &["search", "--resume", arg(&out)]);
    assert_same_files(&whole, &out);
}

/// What lies among the batches and is none is no batch; what has a batch's name and is none is named.
#[test]
fn foreign_things_among_the_batches() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    run_to(0, &small_search(&out, &["--budget", "24"]));
    let evaluations = out.join("evaluations");
    for name in ["batch-000001.parquet.bak", "batch-1.parquet", "notes.txt", ".DS_Store", "batch-0000001.parquet"] {
        fs::write(evaluations.join(name), "not ours").unwrap();
    }
    run_to(0, &["shortlist", arg(&out)]);
    let next = format!("batch-{:06}.parquet", batches(&out).len());
    let path = evaluations.join(&next);
    for make in [
        (|path: &Path| fs::create_dir(path)) as fn(&Path) -> std::io::Result<()>,
        |path| std::os::unix::fs::symlink("/nonexistent", path),
        |path| fs::write(path, ""),
        |path| fs::write(path, "PAR1PAR1"),
    ] {
        make(&path).unwrap();
        let output = run(["shortlist", arg(&out)]);
        let err = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)) && err.contains(&next), "{err}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
}
