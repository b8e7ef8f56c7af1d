//! From a file and overrides to a [`Study`], or to everything that is wrong with them.

use std::io::Read;
use std::path::Path;

use super::assemble::{assemble, values_words};
use super::error::{SpaceError, SpaceErrors};
use super::source::{Finding, Source, Sources, Span};
use super::tree::{self, Entry, Raw};
use super::{Study, check, domains, faults, formulas, goals, requests, scalar, sections};
use crate::catalog::Backend;
use crate::timing::TimingSpec;
use crate::workload::SourceSpec;

/// Largest file that is read: a search space has a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a search space.
///
/// `overrides` are the texts of `--set`, `name=value` each, laid over the file in order.
///
/// # Errors
/// Everything that is wrong, each with its place; nothing is ignored or guessed.
pub fn load(path: &Path, overrides: &[String]) -> Result<Study, SpaceErrors> {
    parse(&read(path)?, Some(path), overrides)
}

/// Reads a configuration for `replay`: a search space whose knobs are all pinned, with or without
/// objectives, constraints and search settings.
///
/// # Errors
/// As [`load`]; also lists every knob that still has several values.
pub fn load_replay(path: &Path, overrides: &[String]) -> Result<Study, SpaceErrors> {
    parse_replay(&read(path)?, Some(path), overrides)
}

/// Parses the text of a search space. `path` names it in errors and is what the paths in it are
/// relative to.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: Option<&Path>, overrides: &[String]) -> Result<Study, SpaceErrors> {
    build(text, path, overrides, Purpose::Search)
}

/// Parses the text of a configuration for `replay`.
///
/// # Errors
/// As [`load_replay`].
pub fn parse_replay(text: &str, path: Option<&Path>, overrides: &[String]) -> Result<Study, SpaceErrors> {
    build(text, path, overrides, Purpose::Replay)
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Search,
    Replay,
}

fn read(path: &Path) -> Result<String, SpaceErrors> {
    let fail = |what: String, remedy: &str| {
        Err(SpaceErrors(vec![SpaceError {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            path: String::new(),
            what,
            note: String::new(),
            remedy: remedy.into(),
            snippet: None,
        }]))
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            return fail("this is a directory, not a search space".into(), "name a TOML file in it");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return fail("there is no such file".into(), "check the path; examples are in search-spaces/");
        }
        Err(error) => return fail(format!("cannot read the file: {error}"), "check the path and its permissions"),
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            let what = format!("the file has more than {} MiB", MAX_BYTES >> 20);
            return fail(what, "give the search space, not the trace");
        }
        Ok(_) => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let mut sources = Sources::new(Source { name: path.display().to_string(), text });
            let finding = Finding::new(
                format!("the file is not UTF-8 text: byte {at} begins no character"),
                "TOML is UTF-8",
                "save it as UTF-8; if it is compressed, decompress it",
            );
            sources.error(Span::new(0, at..at + 1), "", finding);
            Err(SpaceErrors(sources.finish().0))
        }
    }
}

fn build(text: &str, path: Option<&Path>, overrides: &[String], purpose: Purpose) -> Result<Study, SpaceErrors> {
    let name = path.map_or_else(|| "<text>".to_owned(), |p| p.display().to_string());
    let mut sources = Sources::new(Source { name, text: text.to_owned() });
    let mut document = tree::parse_file(&mut sources);
    if document.is_empty() && sources.error_count() == 0 && overrides.is_empty() {
        let finding =
            Finding::new("the search space is empty", "", "begin with a copy of search-spaces/quickstart.toml");
        sources.error(Span::TOP, "", finding);
    }
    for text in overrides {
        tree::apply_override(&mut document, text, &mut sources);
    }
    // What hangs on a broken line cannot be judged.
    let study = if sources.error_count() == 0 { read_study(&mut document, path, purpose, &mut sources) } else { None };
    let (errors, warnings) = sources.finish();
    match study {
        Some(study) if errors.is_empty() => {
            let text = if overrides.is_empty() { text.to_owned() } else { tree::write(&document) };
            Ok(Study { text, warnings, document, ..study })
        }
        _ => Err(SpaceErrors(errors)),
    }
}

/// Everything the document says; `None`, with the reasons recorded, where it is incomplete.
fn read_study(
    document: &mut Vec<Entry>,
    path: Option<&Path>,
    purpose: Purpose,
    sources: &mut Sources,
) -> Option<Study> {
    let is_search = purpose == Purpose::Search;
    let checked = check::check(document, is_search, sources);
    let model = sections::model(&checked, sources);
    let hardware = sections::hardware(&checked);
    let workload = requests::workload(&checked, path.and_then(Path::parent), sources);
    let objectives = goals::objectives(&checked, is_search, sources);
    let constraints = goals::constraints(&checked, sources);
    let knobs = domains::given(&checked.knobs, sources);
    if let Some((model, ..)) = &model {
        sections::check_shapes(&knobs.given, model, sources);
    }
    formulas::check(&knobs.given, &knobs.spoiled, sources);
    let (space, is_given) = checked.place("knobs").map_or_else(Default::default, |at| assemble(&knobs, at, sources));
    if purpose == Purpose::Replay {
        // A knob that the pinned ones rule out may keep its values: no candidate has it.
        let can_be_active = |name: &str| {
            let found = space.find(name).map(|k| &space.knobs[k].conditions);
            found.is_none_or(|conditions| conditions.iter().all(|c| !c.levels.is_empty()))
        };
        for knob in knobs.given.iter().filter(|g| g.values.len() > 1 && can_be_active(g.row.name)) {
            let values: Vec<_> = knob.values.iter().map(|(v, _)| v.clone()).collect();
            let what = format!("`{}` has {} values: {}", knob.row.name, values.len(), values_words(&values));
            let name = knob.row.name;
            let remedy = format!("pin it, here or with --set {name}={}", values[0].to_toml());
            let finding = Finding::new(what, "a replay simulates one deployment", remedy);
            sources.error(knob.key_span, &format!("knobs.{name}"), finding);
        }
    }
    let (model, dtype, kv_dtype) = model?;
    let (gpu, max_gpus, usd_per_gpu_hour) = hardware?;
    let workload = workload?;
    if let (Some(found), SourceSpec::Trace { path, .. }) = (checked.given("workload.trace"), &workload.source)
        && found.span.is_override()
    {
        // The rewritten text must find the trace from the file's directory, not from this one.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        tree::set(document, "workload.trace", Raw::Text(absolute.to_string_lossy().into_owned()));
    }
    let timing = sections::timing(&checked, path.and_then(Path::parent), sources)?;
    if let (Some(found), TimingSpec::PerfDb(options)) = (checked.given("timing.path"), &timing)
        && found.span.is_override()
    {
        let absolute = std::path::absolute(&options.path).unwrap_or_else(|_| options.path.clone());
        tree::set(document, "timing.path", Raw::Text(absolute.to_string_lossy().into_owned()));
    }
    let (calibration, calibration_file) = sections::calibration(&checked, path.and_then(Path::parent), sources)?;
    if let (Some(found), Some(file)) = (checked.given("timing.calibration"), &calibration_file)
        && found.span.is_override()
    {
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        tree::set(document, "timing.calibration", Raw::Text(absolute.to_string_lossy().into_owned()));
    }
    let stem = path.and_then(Path::file_stem).map(|s| scalar::to_file_name(&s.to_string_lossy()));
    let study = Study {
        name: checked.text("study.name").or(stem).unwrap_or_else(|| "study".into()),
        seed: checked.int("study.seed")?.unsigned_abs(),
        path: path.map(Path::to_path_buf),
        text: String::new(),
        space,
        is_given,
        model,
        dtype,
        kv_dtype,
        gpu,
        max_gpus,
        usd_per_gpu_hour,
        gpu_memory_utilization: checked.real("hardware.gpu_memory_utilization"),
        workload,
        timing,
        calibration,
        calibration_file,
        speculation: sections::speculation(&checked)?,
        peer_compat: checked.flag("twin.peer_compat")?,
        pass_by_pass: checked.flag("twin.pass_by_pass")?,
        objectives,
        constraints,
        faults: faults::faults(&checked, sources)?,
        sla: sections::sla(&checked),
        search: sections::search(&checked)?,
        shortlist_size: checked.int("shortlist.size").and_then(|v| usize::try_from(v).ok())?,
        shortlist_draws: checked.int("shortlist.draws").and_then(|v| usize::try_from(v).ok())?,
        warnings: Vec::new(),
        document: Vec::new(),
    };
    check_timing(&study, &checked, sources);
    check_calibration(&study, &checked, sources);
    Some(study)
}

/// A backend of the space that the calibration knows nothing of.
fn check_calibration(study: &Study, checked: &check::Checked, sources: &mut Sources) {
    let (Some(calibration), Some(found)) = (&study.calibration, checked.given("timing.calibration")) else { return };
    let mut missing: Vec<&str> = study
        .worker_shapes()
        .iter()
        .map(|s| s.backend)
        .filter(|b| calibration.of(*b).is_none())
        .map(Backend::name)
        .collect();
    missing.dedup();
    if let Some(name) = missing.first() {
        let finding = Finding::new(
            format!("the calibration has no [{name}], which `engine.backend` may be"),
            "it was fitted without a measurement of that backend",
            "search its backends only, or write calibration = \"default\"",
        );
        sources.error(found.span, "timing.calibration", finding);
    }
}

/// A quantisation that was measured for no worker of the space.
fn check_timing(study: &Study, checked: &check::Checked, sources: &mut Sources) {
    let Some(quant) = checked.given("timing.quant") else { return };
    let built: Vec<_> = study.worker_shapes().iter().map(|shape| study.timing.build(shape)).collect();
    if let (Some(Err(reason)), true) = (built.first(), built.iter().all(Result::is_err)) {
        let finding = Finding::new(reason.clone(), "", "write a measured one, or leave it out");
        sources.error(quant.span, "timing.quant", finding);
    }
}
