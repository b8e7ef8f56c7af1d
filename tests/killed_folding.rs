//! A search that is killed while it folds small batches of evaluations into one file goes on to the bytes
//! of the undisturbed one. The moments are not guessed: the directory says what was under way.
//!
//! `KILLS=200 cargo test --test it killed_folding` kills that often, `KILLS_SEED` picks other files.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::archive::RunDir;

use crate::cli_common::{arg, assert_same_files, run_to, servescout, small_search};
use crate::killed::{asked, killed_after};

/// Six batches of one request's simulations, and two of them to a file.
const SEARCH: [&str; 14] = [
    "--budget",
    "1500",
    "--set",
    "search.batch=2048",
    "--set",
    "search.strategy=random",
    "--set",
    "workload.synthetic.sessions=1",
    "--set",
    "workload.synthetic.turns=1",
    "--set",
    "shortlist.size=1",
    "--threads",
    "1",
];

/// What of a fold is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The one file is written, under another name.
    Writing,
    /// It is there, and so are files of batches that it holds.
    Removing,
}

/// Files of several batches in `evaluations/`, and what is under way there.
fn seen(evaluations: &Path) -> (usize, Option<Moment>) {
    let entries = fs::read_dir(evaluations).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let volumes = || names.iter().filter(|name| name.starts_with("batches-"));
    let is_folded = |name: &&String| names.contains(&format!("batch-{}.parquet", &name["batches-".len()..][..6]));
    let moment = if names.iter().any(|name| name.starts_with(".partial-") && name.contains("-batches-")) {
        Some(Moment::Writing)
    } else {
        volumes().any(|name| is_folded(&name)).then_some(Moment::Removing)
    };
    (volumes().count(), moment)
}

/// Starts the search, kills it in the midst of a fold, after so many of them; what it was killed in.
fn killed_in(wanted: Moment, after: usize, out: &Path) -> Option<Moment> {
    let search = servescout(small_search(out, &SEARCH)).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let (mut child, evaluations) = (search.unwrap(), out.join("evaluations"));
    loop {
        let (volumes, moment) = seen(&evaluations);
        if moment == Some(wanted) && volumes > after {
            break;
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // It may have gone on until the signal reached it.
    seen(&evaluations).1
}

#[test]
fn a_kill_while_batches_are_folded_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let [whole, out] = ["whole", "out"].map(|name| directory.path().join(name));
    run_to(0, &small_search(&whole, &SEARCH));
    assert!(seen(&whole.join("evaluations")).0 >= 3, "this search is to fold its batches several times");
    let rows = |run: &Path| RunDir::open(run).unwrap().load().unwrap().evaluations().len();
    let (mut rng, kills) = (ChaCha8Rng::seed_from_u64(asked("KILLS_SEED", 3)), asked("KILLS", 2));
    for kill in 0..kills {
        let wanted = if kill % 2 == 0 { Moment::Removing } else { Moment::Writing };
        let after = rng.random_range(0..2usize);
        let mut tries = (0..20).map(|_| {
            if out.exists() {
                fs::remove_dir_all(&out).unwrap();
            }
            killed_in(wanted, after, &out)
        });
        let moment = tries.find(Option::is_some).flatten();
        assert!(moment.is_some(), "kill {kill}: twenty searches were not killed while {wanted:?}");
        // Now and then the one that tidies up is killed as well.
        if kill % 2 == 0 {
            let wait = Duration::from_secs_f64(rng.random_range(0.0..0.1));
            killed_after(&["search", "--resume", arg(&out), "--threads", "1"], wait);
        }
        let left = rows(&whole) - rows(&out);
        let (said, _) = run_to(0, &["search", "--resume", arg(&out), "--threads", "2"]);
        assert!(said.contains(&format!("\n{left} candidates in")), "kill {kill}: nothing is lost: {said}");
        assert_same_files(&whole, &out);
        fs::remove_dir_all(&out).unwrap();
    }
}
