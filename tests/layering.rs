//! Dependencies between modules point one way: each uses only those that the tour in `src/lib.rs`
//! names before it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Uses that the order allows and the design does not: the search knows nothing of serving.
const FORBIDDEN: &[(&str, &[&str])] = &[("search", &["catalog", "workload", "timing", "twin"])];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Modules in the order of the tour.
fn tour() -> Vec<String> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("//! * [`")?.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Source without comments; good enough for code that `rustfmt` has formatted.
fn code(text: &str) -> String {
    let without = |line: &str| line.find("//").map_or(line.to_owned(), |at| line[..at].to_owned());
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

/// The top-level modules that a file of `code` uses by `crate::`, in `use` groups too.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let is_own_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if is_own_name {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(name(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.insert(name(&group[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// How many `super`s lead from a file's module to the crate's root.
fn depth(file: &Path) -> usize {
    let parts = file.strip_prefix(source()).unwrap().components().count();
    if file.ends_with("mod.rs") { parts - 1 } else { parts }
}

#[test]
fn groups_and_paths_are_understood() {
    let text =
        "use crate::{space::{Knob, x}, twin};\nlet a = crate::units::MS; // crate::cli\n$crate::no; my_crate::no;";
    let found = used(&code(text));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["space", "twin", "units"]);
}

#[test]
fn the_tour_names_every_module() {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared: BTreeSet<String> =
        text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect();
    assert_eq!(declared, tour().into_iter().collect(), "the tour in src/lib.rs and its `pub mod` lines differ");
}

#[test]
fn modules_use_only_those_before_them() {
    let tour = tour();
    let position = |module: &str| tour.iter().position(|m| m == module);
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    assert!(files.len() > 30, "only {} files found", files.len());
    let mut faults = Vec::new();
    for file in &files {
        let shown = file.strip_prefix(source()).unwrap();
        let first = shown.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let Some(own) = position(module) else {
            assert!(["lib", "main"].contains(&module), "{} is in no module of the tour", shown.display());
            continue;
        };
        let code = code(&fs::read_to_string(file).unwrap());
        for other in used(&code) {
            let forbidden = FORBIDDEN.iter().any(|(m, others)| *m == module && others.contains(&other.as_str()));
            match position(&other) {
                None => faults.push(format!("{}: `crate::{other}` is no module of the tour", shown.display())),
                Some(place) if place > own || forbidden => {
                    faults.push(format!("{}: {module} may not use {other}", shown.display()));
                }
                Some(_) => {}
            }
        }
        // `mod tests` within the file is one deeper.
        let (plain, tests) = code.split_once("#[cfg(test)]").unwrap_or((&code, ""));
        let leaves = |part: &str, depth: usize| part.contains(&"super::".repeat(depth));
        if leaves(plain, depth(file)) || leaves(tests, depth(file) + 1) {
            faults.push(format!("{}: leaves its module by `super`, write `crate::`", shown.display()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
