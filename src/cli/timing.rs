//! `servescout timing show|import|distill`: what the pass times of a worker are and rest on, the
//! user's own measurements, and how the embedded tables are made.

mod import;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::catalog::{self, Backend, Dtype, GpuSpec, ModelSpec};
use crate::timing::perfdb::PerfDbOptions;
use crate::timing::surface::distill;
use crate::timing::{PassLoad, SurfaceOptions, Timing, TimingSpec, WorkerShape, memory};

/// Show the pass times of a worker and what they rest on
#[derive(Args, Debug)]
pub struct TimingArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Pass times and KV capacity of one worker, with their source
    Show(Show),
    Import(import::Import),
    /// Make the tables embedded in the binary out of an installed aiconfigurator-core
    #[command(hide = true)]
    Distill {
        /// The installed package: its directory, the `systems` in it, or the virtual environment it is in
        directory: PathBuf,
        /// File to write, `src/timing/data/surfaces.bin` in the source tree
        out: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Show {
    /// Model of the catalogue
    model: String,
    /// GPU of the catalogue
    gpu: String,
    /// Tensor-parallel size
    #[arg(long, default_value_t = 1)]
    tp: u32,
    /// Serving engine: vllm, sglang, trtllm
    #[arg(long, default_value = "vllm")]
    backend: String,
    /// Weight format: bf16, fp8, nvfp4, mxfp4; the published one by default
    #[arg(long)]
    dtype: Option<String>,
    /// KV-cache format: bf16, fp8
    #[arg(long, default_value = "bf16")]
    kv_dtype: String,
    /// Kind of timing: surface, perfdb, roofline; perfdb where there is a database
    #[arg(long)]
    kind: Option<String>,
    /// An installed aiconfigurator-core, for perfdb
    #[arg(long, value_name = "DIR")]
    perf_db: Option<PathBuf>,
    /// Whether each GPU holds whole experts; split ones by default where they were measured
    #[arg(long)]
    expert_parallel: Option<bool>,
    /// Instead of tables, the duration of every pass in a CSV file with the columns phase (prefill or
    /// decode), batch, isl (new tokens each), prefix and context (tokens each, decode)
    #[arg(long, value_name = "FILE.csv")]
    passes: Option<PathBuf>,
    /// Quantisation in the words of the measured tables, such as fp8_block
    #[arg(long)]
    quant: Option<String>,
    /// Compose the tables exactly as AI Configurator does
    #[arg(long)]
    aic_parity: bool,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// The user's mistake: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written: exit code 1.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Carries out the command, writing its answer to `out`.
///
/// # Errors
/// [`TimingError::Usage`] for a name that does not exist, an impossible worker or a malformed
/// file; [`TimingError::Io`] when a file or `out` fails.
pub fn run(args: &TimingArgs, out: &mut dyn Write) -> Result<(), TimingError> {
    match &args.what {
        What::Show(show) => write_timing(show, out),
        What::Import(what) => import::run(what, out),
        What::Distill { directory, out: target } => {
            let (library, missing) = distill::from_database(directory).map_err(TimingError::Usage)?;
            let packed = library.pack().map_err(TimingError::Usage)?;
            fs::write(target, &packed).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", target.display())))?;
            for reason in missing {
                writeln!(out, "not measured: {reason}")?;
            }
            writeln!(out, "{} configurations, {} bytes", library.configurations.len(), packed.len())?;
            Ok(())
        }
    }
}

fn unknown(what: &str, given: &str, instead: &str) -> TimingError {
    TimingError::Usage(format!("there is no {what} {given}; did you mean {instead}?"))
}

fn model(name: &str) -> Result<&'static ModelSpec, TimingError> {
    catalog::model(name).ok_or_else(|| unknown("model", name, catalog::nearest_model(name)))
}

fn gpu(name: &str) -> Result<&'static GpuSpec, TimingError> {
    catalog::gpu(name).ok_or_else(|| unknown("GPU", name, catalog::nearest_gpu(name)))
}

fn backend(name: &str) -> Result<Backend, TimingError> {
    let nearest = || catalog::nearest(name, Backend::ALL.map(Backend::name)).unwrap_or("vllm");
    Backend::parse(name).ok_or_else(|| unknown("backend", name, nearest()))
}

fn format(name: &str) -> Result<Dtype, TimingError> {
    let nearest = || catalog::nearest(name, Dtype::ALL.map(Dtype::name)).unwrap_or("bf16");
    Dtype::parse(name).ok_or_else(|| unknown("format", name, nearest()))
}

fn worker(show: &Show) -> Result<WorkerShape, TimingError> {
    let model = model(&show.model)?;
    Ok(WorkerShape {
        dtype: show.dtype.as_deref().map_or(Ok(model.dtype), format)?,
        kv_dtype: format(&show.kv_dtype)?,
        model: model.clone(),
        gpu: gpu(&show.gpu)?.clone(),
        backend: backend(&show.backend)?,
        tp: show.tp,
    })
}

fn spec(show: &Show) -> Result<TimingSpec, TimingError> {
    let surface = SurfaceOptions {
        aic_parity: show.aic_parity,
        quant: show.quant.clone(),
        expert_parallel: show.expert_parallel,
        ..SurfaceOptions::default()
    };
    let kind = show.kind.as_deref().unwrap_or(if show.perf_db.is_some() { "perfdb" } else { "surface" });
    match (kind, &show.perf_db) {
        ("surface", None) => Ok(TimingSpec::Surface(surface)),
        ("roofline", None) => Ok(TimingSpec::Roofline),
        ("perfdb", Some(path)) => Ok(TimingSpec::PerfDb(PerfDbOptions { path: path.clone(), version: None, surface })),
        ("perfdb", None) => {
            Err(TimingError::Usage("kind perfdb needs --perf-db DIR, an installed aiconfigurator-core".into()))
        }
        ("surface" | "roofline", Some(_)) => {
            Err(TimingError::Usage(format!("--perf-db does not apply to kind {kind}")))
        }
        (other, _) => Err(TimingError::Usage(format!("there is no kind {other} to show: surface, perfdb or roofline"))),
    }
}

/// Every pass of a CSV file with its duration, ms.
fn write_passes(timing: &Timing, path: &Path, out: &mut dyn Write) -> Result<(), TimingError> {
    let text = fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let at = |line: usize, what: String| TimingError::Usage(format!("{}:{line}: {what}", path.display()));
    let column =
        |name: &str| header.iter().position(|c| *c == name).ok_or_else(|| at(1, format!("there is no column {name}")));
    let (phase, batch) = (column("phase")?, column("batch")?);
    let [isl, prefix, context] = ["isl", "prefix", "context"].map(|c| column(c).ok());
    writeln!(out, "phase,batch,isl,prefix,context,latency_ms")?;
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let count = |column: Option<usize>| -> Result<u32, TimingError> {
            match column.and_then(|c| fields.get(c)).copied().unwrap_or("0") {
                "" => Ok(0),
                text => text.parse().map_err(|_| at(number + 2, format!("{text} is no number of tokens or sequences"))),
            }
        };
        let (batch, isl, prefix, context) = (count(Some(batch))?, count(isl)?, count(prefix)?, count(context)?);
        let phase = fields.get(phase).copied().unwrap_or_default();
        let load = match phase {
            "prefill" => (0..batch).fold(PassLoad::default(), |load, _| load.with_prefill(isl, prefix, true)),
            "decode" => PassLoad::decode(batch, u64::from(batch) * u64::from(context), u64::MAX),
            other => return Err(at(number + 2, format!("{other} is no phase: prefill or decode"))),
        };
        writeln!(out, "{phase},{batch},{isl},{prefix},{context},{}", timing.pass_ms(&load))?;
    }
    Ok(())
}

fn write_timing(show: &Show, out: &mut dyn Write) -> Result<(), TimingError> {
    let shape = worker(show)?;
    let spec = spec(show)?;
    let timing = spec.build(&shape).map_err(TimingError::Usage)?;
    if let Some(path) = &show.passes {
        return write_passes(&timing, path, out);
    }
    let provenance = timing.provenance();
    writeln!(out, "{}", shape.label())?;
    writeln!(out, "{}: {}", provenance.kind, provenance.label)?;
    writeln!(out, "{}", provenance.source)?;
    match memory::kv_capacity(&shape, 8192, None) {
        Ok(capacity) => writeln!(out, "KV cache {}", capacity.arithmetic())?,
        Err(refusal) => writeln!(out, "{refusal}")?,
    }
    writeln!(
        out,
        "\nprefill of one prompt, ms\n{:>10} {:>10} {:>10} {:>10}",
        "new tokens", "prefix 0", "prefix 4k", "prefix 32k"
    )?;
    for new in [128, 512, 1024, 2048, 4096, 8192, 16_384] {
        write!(out, "{new:>10}")?;
        for prefix in [0, 4096, 32_768] {
            write!(out, " {:>10.3}", timing.pass_ms(&PassLoad::default().with_prefill(new, prefix, true)))?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "\ndecode, ms\n{:>10} {:>10} {:>10} {:>10} {:>10}",
        "batch", "512 each", "2k each", "8k each", "32k each"
    )?;
    for seqs in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
        write!(out, "{seqs:>10}")?;
        for context in [512, 2048, 8192, 32_768] {
            let load = PassLoad::decode(seqs, u64::from(seqs) * context, u64::MAX);
            write!(out, " {:>10.3}", timing.pass_ms(&load))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: TimingArgs,
    }

    fn output(words: &[&str]) -> Result<String, TimingError> {
        let line = Line::parse_from(std::iter::once(&"timing").chain(words));
        let mut out = Vec::new();
        run(&line.args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn shows_a_table_and_its_source() {
        let text = output(&["show", "Qwen/Qwen3-32B", "h200", "--tp", "2", "--dtype", "fp8"]).unwrap();
        assert!(text.contains("measured: vllm 0.24.0 fp8_static") && text.contains("Apache-2.0"), "{text}");
        assert!(text.contains("KV cache per GPU"), "{text}");
        let text = output(&["show", "deepseek-ai/DeepSeek-V3", "gb200", "--tp", "8"]).unwrap();
        assert!(text.contains("estimated"), "{text}");
    }

    #[test]
    fn mistakes_are_answered_with_the_nearest_name() {
        let says = |words: &[&str]| output(words).unwrap_err().to_string();
        assert!(says(&["show", "Qwen/Qwen3-33B", "h200"]).contains("did you mean Qwen/Qwen3-32B"));
        assert!(says(&["show", "Qwen/Qwen3-32B", "h20"]).contains("GPU h20"));
        assert!(says(&["show", "Qwen/Qwen3-32B", "h200", "--tp", "3"]).contains("64 attention heads"));
        assert!(says(&["show", "Qwen/Qwen3-32B", "h200", "--quant", "int4"]).contains("measured: bf16"));
        assert!(says(&["distill", "/nonexistent", "/dev/null"]).contains("/nonexistent is no installed"));
        assert!(says(&["import", "/nonexistent"]).contains("/nonexistent is no installed"));
        assert!(says(&["show", "Qwen/Qwen3-32B", "h200", "--kind", "perfdb"]).contains("--perf-db DIR"));
    }
}
