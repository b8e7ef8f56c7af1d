//! `servescout validate`: predictions held against measurements, the calibration, the frontier under it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::Args;

use super::search::finish_files;
use super::{CliError, Exit, report, terminal};
use crate::archive::{Batch, Csv, RunData, RunDir, Setup, write_atomic};
use crate::evaluator::{Evaluator, replicate_workloads};
use crate::plot::{self, Parity};
use crate::shortlist::{self, Shortlist, metric_label, significant};
use crate::timing::calibration::Factors;
use crate::twin::metrics::{METRICS, Metric};
use crate::validate::calibrate::{self, BackendFit, Fit};
use crate::validate::judge::{MetricError, Pair, errors};
use crate::validate::matching::{Candidates, objections};
use crate::validate::measured::{self, Measurement};
use crate::validate::rerank::{Reranked, rerank, study_under};
use crate::workload::{self, Workload};

/// Hold a run's predictions against measurements, fit what servers differ by, and rank again
///
/// Reads AIPerf's profile_export_aiperf.json (schemas 1.4 and 1.5) and its rows per request
/// (profile_export.jsonl), vLLM's `bench serve --save-result`, GuideLLM's benchmarks.json, and a CSV
/// with our metrics as columns. A file is of the candidate whose id stands in its path, such as
/// `shortlist/01-<id>/measured/`, or of the one that --candidate says. Measurements that cannot be
/// compared with the simulated workload are refused with the reason.
///
/// Prints the error of each metric and whether the order of the candidates was right. With three
/// candidates or more, fits factors of pass times (prefill, decode, host time of a pass, time of a
/// request outside passes), cross-validates them, and writes RUN/validate/calibration.toml, which
/// `search` and `replay` take as --calibration. What may then be on the frontier is
/// simulated again, into RUN/validate/run. docs/validate.md explains the figures.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Benchmark results
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "candidate")]
    measured: Vec<PathBuf>,
    /// Benchmark results of this candidate, whatever their path says; may be given several times
    #[arg(long, value_name = "ID=FILE", value_parser = id_and_file)]
    candidate: Vec<(String, PathBuf)>,
    /// Only judge the predictions: fit nothing
    #[arg(long)]
    no_fit: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

fn id_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((id, file)) if !id.is_empty() && !file.is_empty() => Ok((id.into(), file.into())),
        _ => Err("write the candidate's id, `=`, and the file".into()),
    }
}

/// Directory of what this command leaves, within the run's.
const DIRECTORY: &str = "validate";
/// Strategy that a run made by ranking again is recorded with.
const RERANK: &str = "rerank";

/// Reads, compares, fits, ranks again.
///
/// # Errors
/// The user's mistakes in RUN or the files; nothing that can be compared; failures to write.
pub fn run(args: &ValidateArgs) -> Result<Exit, CliError> {
    let run = RunDir::open(&args.run)?;
    let data = run.load()?;
    let workload = workload::load(&data.study.workload)?;
    run.check_workload(&workload.source, &workload.sha256)?;
    let (pairs, refused) = pair(args, &data, &workload)?;
    for (label, why) in &refused {
        terminal::note(&format_args!("refused: {label}: {why}"));
    }
    if pairs.is_empty() {
        let what = match &refused[..] {
            [(label, why)] => format!("{label} cannot be compared: {why}"),
            all => format!("none of the {} measurements can be compared; the reasons are above", all.len()),
        };
        return Err(CliError::user(
            what,
            "measure again: benchmark.sh of `servescout manifests` replays the same requests",
        ));
    }
    let out = args.run.join(DIRECTORY);
    std::fs::create_dir_all(&out).map_err(crate::archive::ArchiveError::io("create", &out))?;
    let judged = errors(&pairs, |i| pairs[i].predicted.clone());
    let fit = (!args.no_fit).then(|| calibrate::fit(&data, &workload, &pairs));
    let fitted = fit.as_ref().and_then(|f| f.as_ref().ok());
    let left_out = fitted.map(|fit| {
        let of = |i: usize| fit.left_out[i].clone().unwrap_or_else(|| pairs[i].predicted.clone());
        errors(&pairs, of)
    });
    write_atomic(&out.join("errors.csv"), table(&pairs, fitted).as_bytes())?;
    draw(&pairs, fitted, &out)?;
    let mut ranked = None;
    if let Some(fit) = fitted {
        let file = out.join("calibration.toml");
        write_atomic(&file, fit.calibration.to_toml().as_bytes())?;
        let rows: Vec<usize> = pairs.iter().map(|p| p.row).collect();
        ranked = Some(rank_again(&args.run, &data, &workload, &file, &out.join("run"), &rows)?);
    }
    let reason = fit.as_ref().and_then(|f| f.as_ref().err());
    if args.json {
        let json = Json {
            pairs: &pairs,
            refused: &refused,
            judged: &judged,
            left_out: left_out.as_deref(),
            fit: fitted,
            reason,
            ranked: ranked.as_ref(),
        };
        terminal::emit(json.text())?;
    } else {
        let mut text = errors_text(&judged, left_out.as_deref());
        if let Some(fit) = fitted {
            text += &fit_text(fit);
        }
        if let Some(reason) = reason {
            let _ = writeln!(text, "\nNo calibration: {reason}");
        }
        if let Some(ranked) = &ranked {
            text += &ranked.text(&data);
        }
        let _ = writeln!(
            text,
            "\n{}: errors.csv, predicted-against-measured.svg{}",
            out.display(),
            if fitted.is_some() { ", calibration.toml, run/" } else { "" }
        );
        terminal::emit(text)?;
    }
    Ok(Exit::Done)
}

/// Measurements with their predictions, and those refused, each with the reason.
type Paired = (Vec<Pair>, Vec<(String, String)>);

fn pair(args: &ValidateArgs, data: &RunData, workload: &Workload) -> Result<Paired, CliError> {
    let candidates = Candidates::of(data);
    let shortlist = shortlist::recorded(&args.run, data, None)?;
    let evaluations = data.evaluations();
    let mut pairs = Vec::new();
    let mut refused = Vec::new();
    let read = |file: &Path| -> Result<Vec<Measurement>, CliError> {
        measured::read(file).map_err(|e| {
            CliError::user(
                e,
                "give results of AIPerf, vLLM bench serve or GuideLLM, or a CSV; docs/validate.md has the formats",
            )
        })
    };
    let mut all: Vec<(Measurement, Option<String>)> = Vec::new();
    for file in &args.measured {
        all.extend(read(file)?.into_iter().map(|m| (m, None)));
    }
    for (id, file) in &args.candidate {
        all.extend(read(file)?.into_iter().map(|m| (m, Some(id.clone()))));
    }
    for (measurement, id) in all {
        let row = match &id {
            Some(id) => candidates.find(id),
            None => candidates.of_measurement(&measurement),
        };
        let row = row.map_err(|why| {
            let listed: Vec<&str> = shortlist.picks.iter().map(|pick| pick.id.as_str()).collect();
            CliError::user(format!("{}: {why}", measurement.label), format!("the shortlist has {}", listed.join(", ")))
        })?;
        let against = objections(&measurement, workload);
        if against.is_empty() {
            let evaluation = evaluations[row];
            let id = data.study.space.id(&evaluation.candidate);
            pairs.push(Pair { measurement, row, id, predicted: evaluation.metrics.clone() });
        } else {
            refused.push((measurement.label, against.join("; ")));
        }
    }
    Ok((pairs, refused))
}

/// A run under a calibration, ranked again.
pub(super) struct Ranked {
    pub path: PathBuf,
    pub data: RunData,
    pub shortlist: Shortlist,
    reranked: Reranked,
    seconds: f64,
}

/// Simulates again what may be on the frontier under a calibration, and writes that as a run.
pub(super) fn rank_again(
    path: &Path,
    data: &RunData,
    workload: &Workload,
    calibration: &Path,
    out: &Path,
    first: &[usize],
) -> Result<Ranked, CliError> {
    let started = Instant::now();
    let absolute = std::path::absolute(calibration).unwrap_or_else(|_| calibration.to_owned());
    let study = study_under(&data.study, &absolute)?;
    let replicates = replicate_workloads(&study)?;
    let evaluator = Evaluator::new(&study, workload, data.run.seed).with_replicates(&replicates);
    let mut rows: Vec<usize> = shortlist::recorded(path, data, None)?.picks.iter().map(|pick| pick.row).collect();
    rows.extend(first);
    let reranked = rerank(data, &evaluator, &rows);
    clear(path, out)?;
    let threads = rayon::current_num_threads();
    let setup = Setup {
        seed: data.run.seed,
        strategy: RERANK.into(),
        budget: reranked.eligible,
        batch: data.run.batch,
        workload_source: workload.source.clone(),
        workload_sha256: workload.sha256.clone(),
        workload_requests: workload.requests.len(),
        timing: evaluator.timing_provenance(),
        threads,
    };
    let now = SystemTime::now();
    let mut run = RunDir::create(out, &study, &setup, now)?;
    for (index, batch) in reranked.batches.iter().enumerate() {
        let evaluations = batch.iter().map(|(_, e)| e.clone()).collect();
        run.commit(&study, &Batch { index: index as u32, strategy: RERANK.into(), evaluations })?;
    }
    let seconds = started.elapsed().as_secs_f64();
    run.finish(true, reranked.all().count(), seconds, SystemTime::now())?;
    let ranked = run.load()?;
    let shortlist = finish_files(&run, &ranked, workload, &replicates)?;
    Ok(Ranked { path: out.to_owned(), data: ranked, shortlist, reranked, seconds })
}

/// Makes room for a run that is ranked again: what an earlier one left goes, and nothing else.
fn clear(run: &Path, out: &Path) -> Result<(), CliError> {
    let is_empty = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !out.exists() || is_empty() {
        return Ok(());
    }
    let is_ours = RunDir::open(out).is_ok_and(|old| old.manifest().run.strategy == RERANK);
    if !is_ours || out.canonicalize().ok() == run.canonicalize().ok() {
        let what = format!("{} is in the way: it is no run that was ranked again", out.display());
        return Err(CliError::user(what, "name another directory, or remove it"));
    }
    std::fs::remove_dir_all(out).map_err(|e| CliError::Failure(format!("cannot remove {}: {e}", out.display())))
}

impl Ranked {
    /// What became of the frontier.
    pub(super) fn text(&self, old: &RunData) -> String {
        let (before, after) = (old.frontier_ids(), self.data.frontier_ids());
        let stayed = after.iter().filter(|id| before.contains(id)).count();
        let simulated = self.reranked.all().count();
        let mut text = format!(
            "\nUnder the calibration: {simulated} of {} candidates simulated again in {}; of the frontier's {} members {stayed} stay, {} come, {} go.\n\n",
            self.reranked.eligible,
            report::duration(self.seconds),
            before.len(),
            after.len() - stayed,
            before.len() - stayed
        );
        text += &shortlist::render_terminal(&self.data, &self.shortlist);
        let _ = writeln!(text, "\n{}: a run of its own, with shortlist, figures and all", self.path.display());
        text
    }
}

fn errors_text(judged: &[MetricError], left_out: Option<&[MetricError]>) -> String {
    let mut text = format!(
        "{:<34}{:>4}{:>10}{:>10}{:>10}{:>8}",
        "error of predictions, %", "n", "median", "worst", "signed", "ranks"
    );
    if left_out.is_some() {
        text += &format!("{:>24}", "calibrated, left out");
    }
    text.push('\n');
    for error in judged {
        let rank = error.rank_correlation.map_or("-".into(), |r| format!("{r:.2}"));
        let _ = write!(
            text,
            "{:<34}{:>4}{:>10.1}{:>10.1}{:>+10.1}{rank:>8}",
            metric_label(error.metric),
            error.n,
            error.median_percent,
            error.worst_percent,
            error.signed_percent
        );
        if let Some(after) = left_out.and_then(|all| all.iter().find(|e| e.metric == error.metric)) {
            let _ = write!(text, "{:>24.1}", after.median_percent);
        }
        text.push('\n');
    }
    text
}

fn fit_text(fit: &Fit) -> String {
    let mut text = String::new();
    for (backend, found) in &fit.backends {
        match found {
            Err(reason) => {
                let _ = writeln!(text, "\n{}: no calibration: {reason}", backend.name());
            }
            Ok(own) => text += &backend_text(backend.name(), own),
        }
    }
    text
}

fn backend_text(backend: &str, own: &BackendFit) -> String {
    let mut text = format!(
        "\n{backend}: fitted to {} measurements of {} candidates; mean error {:.1} % before, {:.1} % after, {:.1} % on candidates left out\n",
        own.measurements,
        own.candidates,
        100.0 * own.error[0],
        100.0 * own.error[1],
        100.0 * own.error[2]
    );
    let values = [own.start.values(), own.factors.values(), own.standard_error.values()];
    for (k, name) in Factors::NAMES.iter().enumerate() {
        let [was, is, error] = [values[0][k], values[1][k], values[2][k]];
        if was != is || error > 0.0 {
            let _ = writeln!(
                text,
                "  {name:<16}{:>10} -> {:>10} +- {}",
                significant(was),
                significant(is),
                significant(error)
            );
        }
    }
    if !own.held.is_empty() {
        let _ = writeln!(text, "  not determined by these measurements, left as it was: {}", own.held.join(", "));
    }
    text
}

/// `errors.csv`: a row per measurement and metric.
fn table(pairs: &[Pair], fit: Option<&Fit>) -> String {
    let mut csv = Csv::new([
        "candidate",
        "file",
        "format",
        "metric",
        "unit",
        "measured",
        "predicted",
        "error_percent",
        "calibrated_left_out",
    ]);
    for (index, pair) in pairs.iter().enumerate() {
        let left_out = fit.and_then(|f| f.left_out[index].as_ref());
        for (metric, info) in METRICS.iter().enumerate() {
            let (measured, predicted) = (pair.measurement.values[metric], pair.predicted[metric]);
            if !measured.is_finite() || !predicted.is_finite() || metric == Metric::Completed as usize {
                continue;
            }
            csv.row(vec![
                pair.id.clone(),
                Csv::text(&pair.measurement.label),
                Csv::text(pair.measurement.format),
                info.name.into(),
                Csv::text(info.unit),
                Csv::number(measured),
                Csv::number(predicted),
                Csv::number(100.0 * (predicted / measured - 1.0)),
                Csv::number(left_out.map_or(f64::NAN, |values| values[metric])),
            ]);
        }
    }
    csv.finish()
}

/// `predicted-against-measured.{svg,png}`: latencies as predicted, and as calibrated.
fn draw(pairs: &[Pair], fit: Option<&Fit>, out: &Path) -> Result<(), CliError> {
    let first =
        |values: &dyn Fn(Metric) -> f64, metrics: [Metric; 2]| metrics.into_iter().map(values).find(|v| *v > 0.0);
    let mut points = Vec::new();
    let mut add = |series: &str, pair: &Pair, predicted: &[f64]| {
        let measured = |m: Metric| pair.measurement.get(m);
        let both = |metrics: [Metric; 2]| {
            let metric = metrics.into_iter().find(|&m| measured(m) > 0.0)?;
            first(&|m| predicted[m as usize], [metric, metric]).map(|p| (measured(metric), p))
        };
        let ttft = both([Metric::TtftMean, Metric::TtftP50]);
        let tpot = both([Metric::TpotMean, Metric::TpotP50]);
        if let (Some(ttft), Some(tpot)) = (ttft, tpot) {
            points.push(Parity { series: series.into(), ttft, tpot });
        }
    };
    for (index, pair) in pairs.iter().enumerate() {
        add("as predicted", pair, &pair.predicted);
        if let Some(values) = fit.and_then(|f| f.left_out[index].as_ref()) {
            add("calibrated by the others", pair, values);
        }
    }
    let note = format!("{} measurements; a point is a measurement's mean", pairs.len());
    for name in ["predicted-against-measured.svg", "predicted-against-measured.png"] {
        plot::draw_parity(&points, &note, &out.join(name))?;
    }
    Ok(())
}

/// Everything as one JSON object.
struct Json<'a> {
    pairs: &'a [Pair],
    refused: &'a [(String, String)],
    judged: &'a [MetricError],
    left_out: Option<&'a [MetricError]>,
    fit: Option<&'a Fit>,
    reason: Option<&'a String>,
    ranked: Option<&'a Ranked>,
}

impl Json<'_> {
    fn text(&self) -> String {
        use serde_json::{Map, Value, json};
        let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let errors = |all: &[MetricError]| -> Value {
            let one = |e: &MetricError| {
                (
                    e.name().to_owned(),
                    json!({ "n": e.n, "median_percent": finite(e.median_percent), "worst_percent": finite(e.worst_percent), "signed_percent": finite(e.signed_percent), "rank_correlation": e.rank_correlation }),
                )
            };
            Value::Object(all.iter().map(one).collect::<Map<_, _>>())
        };
        let factors = |f: &Factors| -> Value {
            Value::Object(
                Factors::NAMES.iter().zip(f.values()).map(|(name, v)| ((*name).to_owned(), finite(v))).collect(),
            )
        };
        let backends: Map<String, Value> = self
            .fit
            .into_iter()
            .flat_map(|fit| &fit.backends)
            .map(|(backend, found)| {
                let value = match found {
                    Err(reason) => json!({ "refused": reason }),
                    Ok(own) => json!({
                        "factors": factors(&own.factors),
                        "before": factors(&own.start),
                        "standard_error": factors(&own.standard_error),
                        "held": own.held,
                        "measurements": own.measurements,
                        "candidates": own.candidates,
                        "mean_error": { "before": own.error[0], "fitted": own.error[1], "left_out": own.error[2] },
                    }),
                };
                (backend.name().to_owned(), value)
            })
            .collect();
        let object = json!({
            "measurements": self.pairs.iter().map(|p| json!({ "candidate": p.id, "file": p.measurement.label, "format": p.measurement.format })).collect::<Vec<_>>(),
            "refused": self.refused.iter().map(|(label, why)| json!({ "file": label, "why": why })).collect::<Vec<_>>(),
            "errors": errors(self.judged),
            "errors_left_out": self.left_out.map(errors),
            "calibration": if self.fit.is_some() { Value::Object(backends) } else { Value::Null },
            "no_calibration": self.reason,
            "reranked": self.ranked.map(|r| json!({ "run": r.path.display().to_string(), "simulated": r.reranked.all().count(), "of": r.reranked.eligible })),
        });
        let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
        text.push('\n');
        text
    }
}
