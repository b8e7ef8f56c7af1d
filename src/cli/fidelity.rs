//! `servescout fidelity`: the twin held against serving points measured on real GPUs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{CliError, Exit, terminal};
use crate::archive::{Csv, write_atomic};
use crate::plot;
use crate::timing::Calibration;
use crate::timing::calibration::Factors;
use crate::timing::perfdb;
use crate::validate::fit::{self, Fitted};
use crate::validate::groups::scored;
use crate::validate::points::{self, Point};
use crate::validate::replay::{self, Prediction, Prepared};
use crate::validate::score::{Compared, Score, score};

/// Simulate measured serving points and print how far off the twin is
///
/// FILE.csv has a row per measured point: backend, model_path, system, isl, osl, concurrency,
/// tp_size, measured_ttft_ms, measured_tpot_ms, and optionally source, backend_version, precision,
/// quant_variant, attention_dp_size, moe_tp_size, moe_ep_size, one_wave, fair, aic_ttft_ms,
/// aic_tpot_ms. Every point is simulated with the client and the server settings of its source.
/// Rows that are not fair, that only an estimate answers, or that cannot be simulated are counted
/// apart and never left out in silence. docs/fidelity.md explains the figures.
#[derive(Args, Debug)]
pub struct FidelityArgs {
    /// Measured serving points
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Print one JSON object: `overall` and `groups`, each with n, tpot_mape, tpot_median_ape,
    /// tpot_signed, ttft_mape, ttft_median_ape, ttft_signed, spearman_tpot,
    /// spearman_throughput_per_gpu; errors in percent
    #[arg(long)]
    json: bool,
    /// The error model: none, default, or a file made by --fit
    #[arg(long, value_name = "none|default|FILE", default_value = "default")]
    calibration: String,
    /// Pass times out of an installed aiconfigurator-core, for models and backends that the binary has
    /// no tables of
    #[arg(long, value_name = "DIR")]
    timing: Option<PathBuf>,
    /// Draw predicted against measured, as SVG or PNG by the file's ending
    #[arg(long, value_name = "FILE.svg|FILE.png")]
    plot: Option<PathBuf>,
    /// Write one row per point, with what was predicted, as CSV
    #[arg(long, value_name = "FILE.csv")]
    rows: Option<PathBuf>,
    /// Fit the error model to the fair points that measured tables answer, cross-validate it, and
    /// write it
    #[arg(long, value_name = "OUT.toml", conflicts_with = "calibration")]
    fit: Option<PathBuf>,
    /// Seed of the prompt and output lengths
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Simulates the points and prints the errors.
///
/// # Errors
/// The user's mistakes in the file, the calibration or an output's name; failures to read or write.
pub fn run(args: &FidelityArgs) -> Result<Exit, CliError> {
    let points = read(&args.file)?;
    let calibration = Calibration::named(&args.calibration, None)
        .map_err(|e| CliError::user(format!("cannot read the calibration: {e}"), "write none, default, or a file"))?;
    if let Some(file) = &args.plot {
        plot::check_name(file).map_err(|e| CliError::user(e, "end the name in .svg or .png"))?;
    }
    if let Some(directory) = &args.timing {
        perfdb::locate(directory).map_err(|e| CliError::user(e, "install it with pip, and name where"))?;
    }
    let mut skipped = Vec::new();
    let mut prepared: Vec<Prepared<'_>> = Vec::new();
    for point in &points {
        match replay::prepare(point, args.timing.as_deref()) {
            Ok(ready) => prepared.push(ready),
            Err(why) => skipped.push(Skipped { line: point.line, point: point.label(), why }),
        }
    }
    let answer = match &args.fit {
        Some(out) => {
            prepared.retain(|p| p.point.counts() && !p.estimated);
            let name = args.file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let about = format!("{} fair points with measured tables of {name}", prepared.len());
            let fitted = fit::fit(&prepared, &about, args.seed);
            write_atomic(out, fitted.calibration.to_toml().as_bytes())?;
            let predictions = fit::in_sample(&prepared, &fitted.calibration, args.seed);
            Answer { fitted: Some(fitted), ..Answer::new(&prepared, predictions, skipped, "fitted here") }
        }
        None => {
            let own = |backend| replay::factors(calibration.as_ref(), backend);
            let predictions = replay::predict_all(&prepared, &own, args.seed);
            Answer::new(&prepared, predictions, skipped, &args.calibration)
        }
    };
    if let Some(file) = &args.rows {
        write_atomic(file, answer.csv().as_bytes())?;
    }
    if let Some(file) = &args.plot {
        plot::draw_parity(&answer.pairs(), &answer.note(), file)?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&answer).map_err(|e| CliError::Failure(e.to_string()))?;
        return terminal::emit(text + "\n");
    }
    terminal::emit(answer.text())
}

fn read(file: &Path) -> Result<Vec<Point>, CliError> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let text = std::fs::read_to_string(file)
        .map_err(|e| CliError::user(format!("cannot read {}", named(&e)), "give a CSV file of measured points"))?;
    points::read(&text).map_err(|errors| {
        let list: Vec<String> = errors.iter().map(|e| named(e)).collect();
        CliError::User(list.join("\n"))
    })
}

/// A row that could not be simulated.
#[derive(Serialize)]
struct Skipped {
    line: usize,
    point: String,
    why: String,
}

struct Answer<'a> {
    prepared: &'a [Prepared<'a>],
    predictions: Vec<Prediction>,
    skipped: Vec<Skipped>,
    calibration: String,
    fitted: Option<Fitted>,
}

impl<'a> Answer<'a> {
    fn new(
        prepared: &'a [Prepared<'a>],
        predictions: Vec<Prediction>,
        skipped: Vec<Skipped>,
        calibration: &str,
    ) -> Answer<'a> {
        Answer { prepared, predictions, skipped, calibration: calibration.into(), fitted: None }
    }

    fn compared(&self, keep: impl Fn(&Prepared<'_>) -> bool) -> Vec<Compared<'a>> {
        self.with(&self.predictions, keep)
    }

    fn with(&self, predictions: &[Prediction], keep: impl Fn(&Prepared<'_>) -> bool) -> Vec<Compared<'a>> {
        let both = self.prepared.iter().zip(predictions).filter(|(p, _)| keep(p));
        both.map(|(p, q)| Compared { point: p.point, ttft_ms: q.ttft_ms, tpot_ms: q.tpot_ms })
            // A point all of whose requests were refused has no prediction.
            .filter(|c| c.ttft_ms.is_finite() && c.tpot_ms.is_finite())
            .collect()
    }

    fn fair(&self) -> Vec<Compared<'a>> {
        self.compared(|p| p.point.counts() && !p.estimated)
    }

    /// Groups of the fair points with measured tables, then what stands beside them.
    fn groups(&self) -> Vec<(String, Score)> {
        let mut groups = scored(&self.fair());
        groups
            .push(("estimated, no measured tables".into(), score(&self.compared(|p| p.point.counts() && p.estimated))));
        groups.push(("unfiltered, fair or not".into(), score(&self.compared(|_| true))));
        if let Some(peer) = self.peer() {
            groups.push(("AI Configurator on the same fair points".into(), peer));
        }
        if let Some(fitted) = &self.fitted {
            let held = self.with(&fitted.by_workload, |_| true);
            groups.push(("cross-validated by workload".into(), score(&held)));
            for (name, own) in scored(&held).into_iter().take(7) {
                groups.push((format!("cross-validated by workload: {name}"), own));
            }
            let unseen = Prediction { ttft_ms: f64::NAN, tpot_ms: f64::NAN, rejected: 0 };
            let by_source: Vec<Prediction> =
                fitted.by_source.iter().map(|p| p.clone().unwrap_or_else(|| unseen.clone())).collect();
            groups.push(("cross-validated by source".into(), score(&self.with(&by_source, |_| true))));
        }
        groups
    }

    /// The file's own estimates by AI Configurator, scored on the same points.
    fn peer(&self) -> Option<Score> {
        let fair = self.fair();
        let rows: Vec<Compared<'_>> = fair
            .iter()
            .filter_map(|c| c.point.peer.map(|(ttft_ms, tpot_ms)| Compared { ttft_ms, tpot_ms, ..*c }))
            .collect();
        (!rows.is_empty()).then(|| score(&rows))
    }

    fn note(&self) -> String {
        format!("{} fair points with measured tables; calibration: {}", self.fair().len(), self.calibration)
    }

    fn pairs(&self) -> Vec<plot::Parity> {
        let both = self.prepared.iter().zip(&self.predictions).filter(|(p, _)| p.point.counts() && !p.estimated);
        both.map(|(p, q)| plot::Parity {
            series: p.point.backend.name().into(),
            ttft: (p.point.ttft_ms, q.ttft_ms),
            tpot: (p.point.tpot_ms, q.tpot_ms),
        })
        .collect()
    }

    fn csv(&self) -> String {
        let header =
            ["line", "fair", "measured_ttft_ms", "ttft_ms", "measured_tpot_ms", "tpot_ms", "rejected", "timing"];
        let mut csv = Csv::new(header);
        for (p, q) in self.prepared.iter().zip(&self.predictions) {
            csv.row([
                p.point.line.to_string(),
                p.point.counts().to_string(),
                Csv::number(p.point.ttft_ms),
                Csv::number(q.ttft_ms),
                Csv::number(p.point.tpot_ms),
                Csv::number(q.tpot_ms),
                q.rejected.to_string(),
                Csv::text(&p.timing_label),
            ]);
        }
        csv.finish()
    }

    fn text(&self) -> String {
        let mut out = format!(
            "{} points simulated, {} of them fair with measured tables; calibration: {}\n\n",
            self.predictions.len(),
            self.fair().len(),
            self.calibration
        );
        let width = self.groups().iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(10);
        let _ = writeln!(
            out,
            "{:<width$} {:>5}  {:^21}  {:^21}  {:^13}\n{:<width$} {:>5}  {:>6} {:>6} {:>7}  {:>6} {:>6} {:>7}  {:>6} {:>6}",
            "errors in percent",
            "",
            "time per output token",
            "time to first token",
            "rank corr.",
            "",
            "n",
            "mean",
            "median",
            "signed",
            "mean",
            "median",
            "signed",
            "TPOT",
            "tok/s"
        );
        let mut line = |name: &str, s: &Score| {
            let one = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
            let rho = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
            let _ = writeln!(
                out,
                "{name:<width$} {:>5}  {:>6} {:>6} {:>7}  {:>6} {:>6} {:>7}  {:>6} {:>6}",
                s.n,
                one(s.tpot_mape),
                one(s.tpot_median_ape),
                one(s.tpot_signed),
                one(s.ttft_mape),
                one(s.ttft_median_ape),
                one(s.ttft_signed),
                rho(s.spearman_tpot),
                rho(s.spearman_throughput_per_gpu)
            );
        };
        line("overall", &score(&self.fair()));
        self.groups().iter().for_each(|(name, own)| line(name, own));
        if let Some(fitted) = &self.fitted {
            out.push_str(&factor_table(fitted));
        }
        if !self.skipped.is_empty() {
            let _ = writeln!(out, "\n{} points could not be simulated:", self.skipped.len());
            for s in &self.skipped {
                let _ = writeln!(out, "  line {}: {}: {}", s.line, s.point, s.why);
            }
        }
        let refused: u64 = self.predictions.iter().map(|p| p.rejected).sum();
        if refused > 0 {
            let rows = self.predictions.iter().filter(|p| p.rejected > 0).count();
            let _ = writeln!(out, "\n{refused} requests of {rows} points were refused: they never fit the KV cache");
        }
        out
    }
}

/// The fitted factors, with standard error and range over the folds.
fn factor_table(fitted: &Fitted) -> String {
    let mut out = String::from("\nfactor, standard error (range over the folds of workloads)\n");
    for (backend, folds) in &fitted.folds {
        let Some(own) = fitted.calibration.of(*backend) else { continue };
        let (values, errors) = (own.factors.values(), own.standard_error.values());
        for (k, name) in Factors::NAMES.iter().enumerate() {
            let of_folds: Vec<f64> = folds.iter().map(|f| f.values()[k]).collect();
            let low = of_folds.iter().copied().fold(f64::INFINITY, f64::min);
            let high = of_folds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let _ = writeln!(
                out,
                "  {:<7} {name:<15} {:>8.3} +- {:.3} ({low:.3} to {high:.3})",
                backend.name(),
                values[k],
                errors[k]
            );
        }
    }
    out
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let groups: BTreeMap<String, Score> = self.groups().into_iter().collect();
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("overall", &score(&self.fair()))?;
        object.serialize_entry("groups", &groups)?;
        object.serialize_entry("calibration", &self.calibration)?;
        object.serialize_entry("skipped", &self.skipped)?;
        object.end()
    }
}
