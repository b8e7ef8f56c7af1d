//! Measured serving points from a CSV file.
//!
//! Columns are found by name and may come in any order; those that are not known are ignored. The
//! names are those of the public measurements that ship with NVIDIA AI Configurator.

use std::fmt;

use crate::catalog::{self, Backend, GpuSpec, ModelSpec};

/// How a point was measured, as far as the client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// InferenceMAX/InferenceX sweeps: ten prompts for every client, lengths uniform within a fifth
    /// below the nominal ones.
    Sweep,
    /// Ten waves of requests of exactly the nominal lengths.
    Waves,
    /// One request for every client, all at once.
    OneWave,
}

/// One measured serving point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Line of the file, from 1.
    pub line: usize,
    /// Who measured; empty when the file does not say.
    pub source: String,
    pub client: Client,
    pub backend: Backend,
    /// Version of the server; empty when the file does not say.
    pub backend_version: String,
    pub model: &'static ModelSpec,
    /// The model as the file names it.
    pub model_name: String,
    pub gpu: &'static GpuSpec,
    /// Format as the file names it; empty for bfloat16.
    pub precision: String,
    /// Which quantisation of the tables stands for it; empty to go by the precision.
    pub quant_variant: String,
    /// Nominal prompt length, tokens.
    pub isl: u32,
    /// Nominal output length, tokens.
    pub osl: u32,
    /// Requests in flight.
    pub concurrency: u32,
    pub tp: u32,
    pub attention_dp: u32,
    pub moe_tp: u32,
    pub moe_ep: u32,
    /// Whether the measurement can be held against a simulation; `None` when the file does not say.
    pub fair: Option<bool>,
    /// Mean time to first token, ms.
    pub ttft_ms: f64,
    /// Mean time per output token after the first, ms.
    pub tpot_ms: f64,
    /// What AI Configurator estimated for the point: TTFT and TPOT, ms.
    pub peer: Option<(f64, f64)>,
}

impl Point {
    /// Output tokens per second and GPU of a closed loop whose requests take this long.
    pub fn throughput_per_gpu(&self, ttft_ms: f64, tpot_ms: f64) -> f64 {
        let request_ms = ttft_ms + tpot_ms * f64::from(self.osl.saturating_sub(1));
        let gpus = f64::from(self.tp * self.attention_dp);
        1e3 * f64::from(self.concurrency) * f64::from(self.osl) / request_ms / gpus
    }

    /// Whether the point counts: a file that does not say which rows are fair vouches for all.
    pub fn counts(&self) -> bool {
        self.fair != Some(false)
    }

    /// The point in a few words, for messages.
    pub fn label(&self) -> String {
        let Point { backend, model_name, gpu, tp, isl, osl, concurrency, .. } = self;
        let precision = if self.precision.is_empty() { "bf16" } else { &self.precision };
        let experts = if self.moe_ep > 1 { format!(" EP {}", self.moe_ep) } else { String::new() };
        format!(
            "{model_name} {precision} on {tp} x {}{experts}, {}, {isl}/{osl} at {concurrency}",
            gpu.name,
            backend.name()
        )
    }
}

/// What is wrong with a file of points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointError {
    /// Line of the file, from 1.
    pub line: usize,
    /// Column, by name; empty for the whole line.
    pub field: String,
    pub why: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for PointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.field.is_empty() {
            write!(f, ", `{}`", self.field)?;
        }
        write!(f, ": {}\n  help: {}", self.why, self.help)
    }
}

/// Columns without which a row says nothing.
const REQUIRED: [&str; 9] =
    ["backend", "model_path", "system", "isl", "osl", "concurrency", "tp_size", "measured_ttft_ms", "measured_tpot_ms"];

/// Most mistakes that are listed.
const MOST_ERRORS: usize = 10;

/// Reads a file of points.
///
/// # Errors
/// Every mistake found, at most ten: a missing column, a row of another length, a field that is no
/// number or out of range, a name that the catalogue does not have.
pub fn read(text: &str) -> Result<Vec<Point>, Vec<PointError>> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, header) = lines.next().filter(|(_, l)| !l.trim().is_empty()).ok_or_else(|| {
        let help = format!("the first line names the columns: {}", REQUIRED.join(","));
        vec![PointError { line: 1, field: String::new(), why: "the file is empty".into(), help }]
    })?;
    let names: Vec<String> = cells(header.trim_start_matches('\u{feff}'));
    let missing: Vec<PointError> = REQUIRED
        .iter()
        .filter(|name| !names.iter().any(|n| n == *name))
        .map(|name| {
            let near = catalog::nearest(name, names.iter().map(String::as_str)).unwrap_or("");
            let help = format!("add the column, or rename one: the nearest is `{near}`");
            PointError { line: 1, field: (*name).into(), why: "the column is missing".into(), help }
        })
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let (mut points, mut errors) = (Vec::new(), Vec::new());
    for (line, text) in lines.filter(|(_, l)| !l.trim().is_empty()) {
        let values = cells(text);
        if values.len() != names.len() {
            let why = format!("has {} cells, but the header has {}", values.len(), names.len());
            errors.push(PointError { line, field: String::new(), why, help: "mend or delete the line".into() });
        } else {
            match (Row { line, names: &names, values: &values }).point() {
                Ok(point) => points.push(point),
                Err(error) => errors.push(error),
            }
        }
        if errors.len() == MOST_ERRORS {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if points.is_empty() {
        let help = "give at least one measured point".into();
        return Err(vec![PointError { line: 2, field: String::new(), why: "there are no rows".into(), help }]);
    }
    Ok(points)
}

/// Cells of a line; quoted ones may hold commas and doubled quotes.
pub(super) fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cells.last_mut().expect("there is one").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().expect("there is one").push(other),
        }
    }
    cells.iter().map(|c| c.trim().to_string()).collect()
}

struct Row<'a> {
    line: usize,
    names: &'a [String],
    values: &'a [String],
}

impl Row<'_> {
    fn point(&self) -> Result<Point, PointError> {
        let backend_name = self.text("backend");
        let backend = Backend::parse(backend_name).ok_or_else(|| {
            let near = catalog::nearest(backend_name, Backend::ALL.map(Backend::name)).unwrap_or("vllm");
            self.wrong("backend", format!("there is no backend `{backend_name}`"), format!("did you mean `{near}`?"))
        })?;
        let model_name = self.text("model_path");
        let model = catalog::model(model_name).ok_or_else(|| {
            let help = format!("the nearest is `{}`", catalog::nearest_model(model_name));
            self.wrong("model_path", format!("the catalogue has no model `{model_name}`"), help)
        })?;
        let system = self.text("system");
        let gpu = catalog::gpu(system).ok_or_else(|| {
            let help = format!("the nearest is `{}`", catalog::nearest_gpu(system));
            self.wrong("system", format!("the catalogue has no GPU `{system}`"), help)
        })?;
        let source = self.text("source").to_string();
        let client = if self.flag("one_wave")? == Some(true) {
            Client::OneWave
        } else if source == "gap" {
            Client::Waves
        } else {
            Client::Sweep
        };
        Ok(Point {
            line: self.line,
            client,
            source,
            backend,
            backend_version: self.text("backend_version").into(),
            model,
            model_name: model_name.into(),
            gpu,
            precision: self.text("precision").into(),
            quant_variant: self.text("quant_variant").into(),
            isl: self.count("isl", 1 << 20)?,
            osl: self.count("osl", 1 << 20)?,
            concurrency: self.count("concurrency", 1 << 14)?,
            tp: self.count("tp_size", 1024)?,
            attention_dp: self.count_or("attention_dp_size", 1, 1024)?,
            moe_tp: self.count_or("moe_tp_size", 1, 1024)?,
            moe_ep: self.count_or("moe_ep_size", 1, 1024)?,
            fair: self.flag("fair")?,
            ttft_ms: self.duration("measured_ttft_ms")?,
            tpot_ms: self.duration("measured_tpot_ms")?,
            peer: self.optional_duration("aic_ttft_ms")?.zip(self.optional_duration("aic_tpot_ms")?),
        })
    }

    fn wrong(&self, field: &str, why: String, help: String) -> PointError {
        PointError { line: self.line, field: field.into(), why, help }
    }

    /// The cell of a column; empty when there is no such column.
    fn text(&self, name: &str) -> &str {
        self.names.iter().position(|n| n == name).map_or("", |at| &self.values[at])
    }

    fn number(&self, name: &str) -> Result<Option<f64>, PointError> {
        let text = self.text(name);
        if text.is_empty() || text.eq_ignore_ascii_case("nan") {
            return Ok(None);
        }
        let number: Option<f64> = text.parse().ok().filter(|n: &f64| n.is_finite());
        let wrong = || self.wrong(name, format!("`{text}` is no number"), "write digits, such as 12.5".into());
        number.map(Some).ok_or_else(wrong)
    }

    /// A whole number from 1; exporters write them with a decimal point too.
    fn count(&self, name: &str, most: u32) -> Result<u32, PointError> {
        match self.number(name)? {
            Some(n) if n >= 1.0 && n <= f64::from(most) && n.fract() == 0.0 => Ok(n as u32),
            _ => {
                let help = format!("write a whole number from 1 to {most}");
                Err(self.wrong(name, format!("is `{}`", self.text(name)), help))
            }
        }
    }

    fn count_or(&self, name: &str, absent: u32, most: u32) -> Result<u32, PointError> {
        if self.text(name).is_empty() { Ok(absent) } else { self.count(name, most) }
    }

    fn optional_duration(&self, name: &str) -> Result<Option<f64>, PointError> {
        match self.number(name)? {
            Some(ms) if ms <= 0.0 => Err(self.wrong(
                name,
                format!("is {ms}"),
                "a duration in ms is above 0; leave it empty if unknown".into(),
            )),
            other => Ok(other),
        }
    }

    fn duration(&self, name: &str) -> Result<f64, PointError> {
        let missing = || self.wrong(name, "is empty".into(), "give the measured mean in ms, or delete the row".into());
        self.optional_duration(name)?.ok_or_else(missing)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, PointError> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            other => Err(self.wrong(name, format!("is `{other}`"), "write True or False".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "backend,model_path,system,isl,osl,concurrency,tp_size,measured_ttft_ms,measured_tpot_ms,source,fair,one_wave";

    fn read_row(row: &str) -> Result<Vec<Point>, Vec<PointError>> {
        read(&format!("{HEADER}\n{row}\n"))
    }

    #[test]
    fn a_row_is_read_by_names() {
        let points = read_row("vllm,Qwen/Qwen3-32B,h100_sxm,1024,1024.0,8,2,154,15.9,gap,True,False").unwrap();
        let point = &points[0];
        assert_eq!((point.line, point.isl, point.osl, point.tp, point.moe_ep), (2, 1024, 1024, 2, 1));
        assert_eq!((point.client, point.fair, point.peer), (Client::Waves, Some(true), None));
        let (ttft, tpot) = (154.0, 15.9);
        let by_hand = 8.0 * 1024.0 / (0.154 + 0.0159 * 1023.0) / 2.0;
        assert!((point.throughput_per_gpu(ttft, tpot) - by_hand).abs() < 1e-9);
    }

    #[test]
    fn mistakes_name_line_and_field() {
        let says = |row: &str| read_row(row).unwrap_err()[0].to_string();
        assert!(says("vlm,Qwen/Qwen3-32B,h100_sxm,1,1,8,2,154,15.9,,,").contains("line 2, `backend`"));
        assert!(says("vllm,Qwen/Qwen3-33B,h100_sxm,1,1,8,2,154,15.9,,,").contains("Qwen/Qwen3-32B"));
        assert!(says("vllm,Qwen/Qwen3-32B,h100,0,1,8,2,154,15.9,,,").contains("`isl`: is `0`"));
        assert!(says("vllm,Qwen/Qwen3-32B,h100,1,1,8,2,-3,15.9,,,").contains("above 0"));
        assert!(says("vllm,Qwen/Qwen3-32B,h100,1,1,8,2,,15.9,,,").contains("is empty"));
        assert!(says("vllm,Qwen/Qwen3-32B,h100,1,1,8,2,fast,15.9,,,").contains("no number"));
        assert!(says("vllm,Qwen/Qwen3-32B,h100,1,1,8,2,1,1,,perhaps,").contains("True or False"));
        assert!(says("vllm,Qwen/Qwen3-32B").contains("2 cells"));
        assert!(read("").unwrap_err()[0].to_string().contains("empty"));
        assert!(read(HEADER).unwrap_err()[0].to_string().contains("no rows"));
        let renamed = HEADER.replace("tp_size", "tp_sise");
        assert!(read(&renamed).unwrap_err()[0].to_string().contains("nearest is `tp_sise`"));
    }

    #[test]
    fn cells_may_be_quoted() {
        assert_eq!(cells("a,\"b, \"\"c\"\"\", d"), ["a", "b, \"c\"", "d"]);
    }
}
