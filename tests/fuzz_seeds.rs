//! Every seed of the fuzz targets through every target, and some mutations of each: nothing panics, nothing
//! hangs. `UPDATE_SEEDS=1 cargo test --test it fuzz_seeds` writes those that are made from the code anew;
//! `FUZZ_ROUNDS=100000` mutates for longer, without libFuzzer, `FUZZ_TARGET=space` only one of them.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use targets::TARGETS;

use crate::cli_common::{arg, run_to};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// Content by target and file name.
fn seeds() -> BTreeMap<(String, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    for (target, _) in TARGETS {
        for entry in fs::read_dir(root().join(target)).unwrap_or_else(|e| panic!("seeds of {target}: {e}")) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            seeds.insert((target.to_owned(), name), fs::read(&path).unwrap());
        }
    }
    seeds
}

/// The seeds that are binary, or follow the code.
fn made() -> Vec<(&'static str, String, Vec<u8>)> {
    let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    let sound = targets::sound_run();
    let mut made = vec![
        ("archive", "manifest".to_owned(), with(0, &sound.manifest)),
        ("archive", "batch".to_owned(), with(1, &sound.batches[1])),
        ("archive", "batch-sealed".to_owned(), with(2, &sound.batches[1])),
        ("archive", "marks".to_owned(), with(2, b"PAR1 servescout.seal sha256: PAR1")),
    ];
    for (index, (name, bytes)) in targets::database().into_iter().enumerate() {
        let name = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
        made.push(("perfdb", name, with(index as u8, &bytes)));
    }
    made
}

#[test]
fn seeds_are_small_and_there_for_every_target() {
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        for (target, name, bytes) in made() {
            fs::create_dir_all(root().join(target)).unwrap();
            fs::write(root().join(target).join(name), bytes).unwrap();
        }
    }
    let seeds = seeds();
    for (target, _) in TARGETS {
        let of_it = seeds.keys().filter(|(of, _)| of == target).count();
        assert!(of_it >= 5, "{target} has {of_it} seeds");
    }
    let bytes: usize = seeds.values().map(Vec::len).sum();
    assert!(bytes < 300_000, "the seeds have {bytes} bytes");
    let targets: Vec<String> = fs::read_dir(root().join("../fuzz_targets"))
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(TARGETS.iter().all(|(name, _)| targets.iter().any(|t| t == name)) && targets.len() == TARGETS.len());
}

#[test]
fn every_seed_through_every_target() {
    for ((_, name), bytes) in &seeds() {
        for (target, run) in TARGETS {
            println!("{name} through {target}");
            run(bytes);
        }
    }
}

/// Words that readers treat in ways of their own.
const WORDS: [&str; 24] = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "18446744073709551615",
    "-9223372036854775808",
    "4294967296",
    "1e-320",
    "\"\"",
    "null",
    "true",
    "[]",
    "{}",
    "\n",
    "\r\n",
    "\u{feff}",
    "\0",
    ",",
    "\"",
    "#",
    "=",
    ":",
    "\u{1f600}",
];

fn mutated(rng: &mut ChaCha8Rng, seeds: &[&Vec<u8>]) -> Vec<u8> {
    let mut bytes = (*seeds.choose(rng).expect("seeds")).clone();
    for _ in 0..rng.random_range(1..6) {
        let len = bytes.len();
        let at = rng.random_range(0..=len);
        let to = rng.random_range(at..=len.min(at + 32));
        match rng.random_range(0..8) {
            0 if len > 0 => bytes[at.min(len - 1)] ^= 1 << rng.random_range(0..8),
            1 if len > 0 => bytes[at.min(len - 1)] = rng.random(),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let part = bytes[at..to].to_vec();
                let times = rng.random_range(1..40);
                bytes.splice(at..at, part.repeat(times));
            }
            4 => bytes.truncate(at),
            5 => {
                let other = seeds.choose(rng).expect("seeds");
                let from = rng.random_range(0..=other.len());
                bytes.splice(at..to, other[from..other.len().min(from + 64)].iter().copied());
            }
            _ => drop(bytes.splice(at..to, WORDS.choose(rng).expect("words").bytes())),
        }
    }
    bytes
}

#[test]
fn mutations_of_the_seeds() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let seeds = seeds();
    let only = std::env::var("FUZZ_TARGET").ok();
    for (target, run) in TARGETS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let own: Vec<&Vec<u8>> = seeds.iter().filter(|((of, _), _)| of == target).map(|(_, bytes)| bytes).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for round in 0..rounds {
            let bytes = mutated(&mut rng, &own);
            if let Err(panic) = std::panic::catch_unwind(|| run(&bytes)) {
                let file = std::env::temp_dir().join(format!("servescout-{target}-{round}"));
                fs::write(&file, &bytes).unwrap();
                println!("round {round} of {target}: its input is in {}", file.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// The error is told, and only once.
#[test]
fn a_panic_of_the_decoder_is_not_told_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let seed = fs::read(root().join("archive/decoder-panics")).unwrap();
    assert!(targets::forged_run(directory.path(), &seed));
    let (_, error) = run_to(2, &["report", arg(directory.path())]);
    assert!(error.contains("cannot be decoded") && !error.contains("panicked"), "{error}");
}
