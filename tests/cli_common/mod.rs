//! Running the built program, and comparing what it leaves behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program: the one that was built with the tests, or another build of it that `$SERVESCOUT` names.
pub fn program() -> PathBuf {
    std::env::var_os("SERVESCOUT").map_or(assert_cmd::cargo::cargo_bin!("servescout").to_path_buf(), PathBuf::from)
}

/// The program, in the package's directory, with these arguments.
pub fn servescout<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs it to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    servescout(args).output().expect("the program starts")
}

/// Runs it, expecting this exit code; returns standard output and standard error.
pub fn run_to(code: i32, args: &[&str]) -> (String, String) {
    let output = run(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "servescout {}\n{out}\n{err}", args.join(" "));
    (out, err)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A directory with all that is in it.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every file under a directory, by relative path, except what may differ between identical runs
/// (`manifest.toml`, and the lines of the report that quote its dates) and the lock.
pub fn promised_files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                if name != Path::new("manifest.toml") && name != Path::new(".lock") {
                    let bytes = std::fs::read(&path).unwrap();
                    let bytes = if name == Path::new("report.html") { without_sessions(&bytes) } else { bytes };
                    files.insert(name, bytes);
                }
            }
        }
    }
    let mut files = BTreeMap::new();
    collect(directory, directory, &mut files);
    files
}

fn without_sessions(page: &[u8]) -> Vec<u8> {
    let lines = text(page);
    lines.split_inclusive('\n').filter(|line| !line.starts_with("<dt>Session</dt>")).collect::<String>().into_bytes()
}

/// Fails with the names of the files that differ between two runs.
pub fn assert_same_files(one: &Path, other: &Path) {
    let (one, other) = (promised_files(one), promised_files(other));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other), "the runs have other files");
    let differing: Vec<_> = one.iter().filter(|(name, bytes)| other[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}

/// The quickstart, shrunk so that a search takes a moment: fewer sessions, small batches, no draws for
/// intervals.
pub const SMALL: [&str; 6] = [
    "search-spaces/quickstart.toml",
    "--set=workload.synthetic.sessions=60",
    "--set=search.batch=8",
    "--set=shortlist.size=3",
    "--set=shortlist.draws=0",
    "--set=search.strategy=genetic",
];

/// `search` over [`SMALL`] into `out`, with more arguments.
pub fn small_search<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["search"];
    args.extend(SMALL);
    args.extend(["--out", arg(out)]);
    args.extend(more);
    args
}
