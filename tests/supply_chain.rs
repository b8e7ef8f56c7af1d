//! What the program is made of: each dependency is there for a written reason, and no crate root of the
//! package allows unsafe code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package() -> toml::Table {
    std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap()
}

fn names(table: &str) -> BTreeSet<String> {
    package()[table].as_table().unwrap().keys().cloned().collect()
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut explained = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let (crates, reason) = line.trim_matches('|').split_once('|').expect("a row has two cells");
        assert!(reason.trim().len() > 15, "no reason in {line}");
        explained.extend(quoted(crates));
    }
    assert_eq!(explained, names("dependencies"), "docs/dependencies.md (left) and Cargo.toml (right)");
    let (_, tests) = page.split_once("For tests and benchmarks only").expect("a paragraph on tests");
    let tests: BTreeSet<String> = quoted(tests.split("\n\n").next().unwrap()).collect();
    assert_eq!(tests, names("dev-dependencies"), "docs/dependencies.md (left) and Cargo.toml (right)");
}

/// No default feature comes in unasked: each dependency turns them off, or is known to need them.
#[test]
fn features_are_asked_for() {
    let needs_its_defaults = [
        "clap",          // help, usage, suggestions and colours: the command line as users know it
        "clap_complete", // has none
        "clap_mangen",   // has none
        "dejavu",        // the font
        "rayon",         // has none
        "rustc-hash",    // only std
        "serde",         // only std
        "serde_json",    // only std
        "sobol_burley",  // has none
        "thiserror",     // only std
        "toml",          // parse, display, serde, std: all used
        "assert_cmd",    // has none
        "tempfile",      // randomness from the system
    ];
    for table in ["dependencies", "dev-dependencies"] {
        for (name, entry) in package()[table].as_table().unwrap() {
            let lean = entry.get("default-features").and_then(toml::Value::as_bool) == Some(false);
            let known = needs_its_defaults.contains(&name.as_str());
            assert!(lean != known, "{name}: turn its default features off, or say here why they are needed");
        }
    }
}

/// The roots of all crates that Cargo makes of the package.
fn crate_roots() -> Vec<PathBuf> {
    let files = |directory: &str| {
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "rs")).collect::<Vec<_>>()
    };
    let mut roots = vec![root().join("src/lib.rs"), root().join("src/main.rs"), root().join("tests/main.rs")];
    roots.extend(files("benches"));
    roots
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    for path in crate_roots() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{} may be unsafe", path.display());
    }
    // The one that may: an allocator that counts can be written in no other way.
    let counting = std::fs::read_to_string(root().join("tests/twin_allocations.rs")).unwrap();
    assert_eq!(counting.matches("unsafe impl").count(), 1);
    assert!(counting.contains("SAFETY"), "tests/twin_allocations.rs says why its unsafe code is sound");
}
