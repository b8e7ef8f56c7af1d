//! What the documentation tells a user to type is what the program takes; what can be run in a moment is
//! run. Every picture has the command that makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use servescout::cli;

use crate::cli_common::{arg, copy_directory, program, run, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Markdown of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut pending = vec![root().to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_ours = !name.starts_with('.') && name != "target" && path.parent() != Some(&root().join("results"));
            if path.is_dir() && is_ours {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.push(root().join("results/README.md"));
    pages.sort();
    pages.dedup();
    pages
}

/// A command of the documentation, with the page and line where it stands.
struct Told {
    place: String,
    words: Vec<String>,
}

/// The words of a line as a shell would see them, without a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The arguments after the program's name.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start().trim_start_matches("$ ");
    let rest = line.strip_prefix("servescout ").or_else(|| {
        let (before, after) = line.strip_prefix("cargo run ")?.split_once("-- ")?;
        (!before.contains('`')).then_some(after)
    })?;
    // Some pages explain a command beside it, behind a gap.
    let rest = rest.split_once("    ").map_or(rest, |(command, _)| command);
    Some(words(rest))
}

/// Commands in blocks, and in running text where they have an argument.
fn commands() -> Vec<Told> {
    let mut found = Vec::new();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        let content = fs::read_to_string(&page).unwrap();
        // What the definition itself says.
        if name == "docs/cli.md" {
            continue;
        }
        let mut is_fenced = false;
        let mut lines = content.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if line.starts_with("```") {
                is_fenced = !is_fenced;
                continue;
            }
            let place = format!("{name}:{}", number + 1);
            if is_fenced || line.starts_with("    ") {
                let mut command = line.to_owned();
                while let Some(part) = command.strip_suffix('\\') {
                    let more = lines.next().expect("a line goes on").1;
                    command = format!("{part} {}", more.trim());
                }
                found.extend(arguments(&command).map(|words| Told { place, words }));
                continue;
            }
            for code in line.split('`').skip(1).step_by(2) {
                if let Some(words) = arguments(code).filter(|words| words.len() > 1) {
                    found.push(Told { place: place.clone(), words });
                }
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_documentation_is_one() {
    let all = commands();
    let mut seen = BTreeSet::new();
    for Told { place, words } in &all {
        // A short list, as in `servescout catalog models`, `gpus`: what follows is a command as well.
        let line = std::iter::once("servescout").chain(words.iter().map(String::as_str));
        if let Err(error) = cli::definition().try_get_matches_from(line) {
            let is_help = !error.use_stderr();
            // Running text names commands without what they need.
            let lacks_value =
                error.kind() == clap::error::ErrorKind::InvalidValue && words.last().unwrap().starts_with("--");
            let is_incomplete = lacks_value || error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
            assert!(is_help || is_incomplete, "{place}: servescout {}\n{error}", words.join(" "));
        }
        seen.insert(words[0].clone());
        for word in words {
            let is_placeholder = word.split(['/', '=']).any(|part| {
                let letters = part.trim_end_matches(".toml").trim_end_matches(".csv").trim_end_matches(".parquet");
                letters.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !letters.is_empty()
            });
            let is_ours = ["search-spaces/", "docs/", "traces/", "results/example"].iter().any(|d| word.starts_with(d));
            if is_ours && !is_placeholder {
                assert!(root().join(word).exists(), "{place}: there is no {word}");
            }
        }
    }
    assert!(all.len() > 50, "only {} commands were found", all.len());
    for command in cli::definition().get_subcommands().map(clap::Command::get_name) {
        let is_told =
            seen.contains(command) || ["help", "man", "completions", "schema", "plot", "trace"].contains(&command);
        assert!(is_told, "no page tells how to use `{command}`");
    }
}

/// Those that take a moment, with the example run in the place of RUN and a copy of the quickstart in that
/// of a space.
#[test]
fn what_takes_a_moment_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let example = root().join("results/example-quickstart");
    for name in ["RUN", "RUN_A", "RUN_B"] {
        copy_directory(&example, &directory.path().join(name));
        // Beside the program's own files, where it looks for the space.
        let manifest = directory.path().join(name).join("manifest.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("path = \"../../search-spaces", "path = \"../search-spaces")).unwrap();
    }
    copy_directory(&root().join("search-spaces"), &directory.path().join("search-spaces"));
    copy_directory(&root().join("traces"), &directory.path().join("traces"));
    copy_directory(&example, &directory.path().join("results/example-quickstart"));
    fs::copy(root().join("search-spaces/quickstart.toml"), directory.path().join("SPACE.toml")).unwrap();
    let quick = |words: &[String]| match words[0].as_str() {
        "report" | "plot" | "check" | "schema" | "catalog" => words.len() > 1 || words[0] == "schema",
        "shortlist" => !words.iter().any(|w| ["--draws", "--robust", "--calibration"].contains(&w.as_str())),
        "replay" => words.iter().all(|w| w != "DIR" && w != "SPACE" && w != "--timeline"),
        "manifests" | "timing" => words.len() > 1 && words.get(1).is_none_or(|w| w != "import"),
        _ => false,
    };
    let needs_more =
        |words: &[String]| words.iter().any(|w| w == "aic" || w == "--perf-db" || w.contains("candidate.toml"));
    let mut done: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for Told { place, words } in commands() {
        let matches = cli::definition()
            .try_get_matches_from(std::iter::once("servescout").chain(words.iter().map(String::as_str)));
        if !quick(&words)
            || needs_more(&words) && words[0] != "replay"
            || matches.is_err()
            || !seen.insert(words.clone())
        {
            continue;
        }
        let program = program();
        let output = std::process::Command::new(program).args(&words).current_dir(directory.path()).output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{place}: servescout {}\n{out}{err}", words.join(" "));
        assert!(!out.is_empty(), "{place}");
        *done.entry(words[0].clone()).or_default() += 1;
    }
    for command in ["shortlist", "report", "plot", "manifests", "check", "replay", "timing"] {
        assert!(done.contains_key(command), "no `{command}` was run: {done:?}");
    }
}

/// Pictures that pages show.
fn pictures() -> BTreeMap<PathBuf, String> {
    let mut shown = BTreeMap::new();
    for page in pages() {
        let content = fs::read_to_string(&page).unwrap();
        for (_, rest) in content.match_indices("](").map(|(at, _)| content.split_at(at + 2)) {
            let target = rest.split(')').next().unwrap();
            if target.ends_with(".svg") || target.ends_with(".png") {
                let path = page.parent().unwrap().join(target);
                let name = page.strip_prefix(root()).unwrap().display().to_string();
                assert!(path.is_file(), "{name}: there is no {target}");
                shown.insert(path.strip_prefix(root()).unwrap().to_path_buf(), name);
            }
        }
    }
    shown
}

#[test]
fn every_picture_has_the_command_that_makes_it() {
    let script = fs::read_to_string(root().join("docs/figures.sh")).unwrap().replace("\\\n", " ");
    let mut made = BTreeSet::new();
    for line in script.lines() {
        let words = words(line);
        match words.first().map(String::as_str) {
            Some("figure") => {
                made.insert(PathBuf::from(&words[1]));
                match words[2].as_str() {
                    "servescout" => {
                        let line = words[2..].iter().map(String::as_str);
                        cli::definition().try_get_matches_from(line).unwrap_or_else(|e| panic!("{}: {e}", words[1]));
                    }
                    script => assert!(root().join(script).is_file(), "there is no {script}"),
                }
            }
            Some("searched") => {
                made.insert(PathBuf::from(&words[1]));
                assert!(root().join(&words[3]).is_file(), "there is no {}", words[3]);
            }
            _ => {}
        }
    }
    let shown: BTreeSet<PathBuf> = pictures().into_keys().collect();
    assert_eq!(shown, made, "pictures that pages show (left), and those that docs/figures.sh makes (right)");
    // Pages tell the same command as the script.
    let squeezed = |text: &str| text.split_whitespace().filter(|w| *w != "\\").collect::<Vec<_>>().join(" ");
    for page in ["docs/studies/routing.md", "docs/studies/tiers.md"] {
        let content = squeezed(&fs::read_to_string(root().join(page)).unwrap());
        let told = content.split("--concurrency").nth(1).unwrap().split(" ![").next().unwrap();
        assert!(squeezed(&script).contains(told.trim()), "{page} tells another command than docs/figures.sh: {told}");
    }
}

/// The example run's figures are those that its archive gives.
#[test]
fn the_examples_pictures_are_current() {
    let directory = tempfile::tempdir().unwrap();
    let example = root().join("results/example-quickstart");
    let out = directory.path().join("plots");
    let output = run(["plot", arg(&example), "--out", arg(&out)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let committed = fs::read(example.join("plots").join(path.file_name().unwrap())).unwrap_or_default();
        assert!(
            fs::read(&path).unwrap() == committed,
            "results/example-quickstart/plots/{} is not what `servescout plot results/example-quickstart` draws",
            path.file_name().unwrap().to_string_lossy()
        );
    }
}
