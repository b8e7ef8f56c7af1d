//! `servescout timing show|distill`: what the pass times of a worker are and rest on, and how the
//! embedded tables are made.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::catalog::{self, Backend, Dtype};
use crate::timing::surface::distill;
use crate::timing::{PassLoad, SurfaceOptions, TimingSpec, WorkerShape, memory};

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
    /// Pack decomposed surfaces (JSON, plain or gzipped) into the form embedded in the binary
    #[command(hide = true)]
    Distill {
        /// Decomposed surfaces
        surfaces: PathBuf,
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
    /// Kind of timing: surface, roofline
    #[arg(long, default_value = "surface")]
    kind: String,
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
        What::Distill { surfaces, out: target } => {
            let named = |e: io::Error, path: &PathBuf| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
            let bytes = fs::read(surfaces).map_err(|e| named(e, surfaces))?;
            let json = if bytes.starts_with(&[0x1f, 0x8b]) {
                let mut json = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut json).map_err(|e| named(e, surfaces))?;
                json
            } else {
                bytes
            };
            let at = |e: String| TimingError::Usage(format!("{}: {e}", surfaces.display()));
            let library = distill::from_json(&json).map_err(at)?;
            let packed = library.pack().map_err(at)?;
            fs::write(target, &packed).map_err(|e| named(e, target))?;
            writeln!(out, "{} configurations, {} bytes", library.configurations.len(), packed.len())?;
            Ok(())
        }
    }
}

fn worker(show: &Show) -> Result<WorkerShape, TimingError> {
    let unknown = |what: &str, given: &str, instead: &str| {
        TimingError::Usage(format!("there is no {what} {given}; did you mean {instead}?"))
    };
    let model = catalog::model(&show.model)
        .ok_or_else(|| unknown("model", &show.model, catalog::nearest_model(&show.model)))?;
    let gpu = catalog::gpu(&show.gpu).ok_or_else(|| unknown("GPU", &show.gpu, catalog::nearest_gpu(&show.gpu)))?;
    let backend = Backend::parse(&show.backend).ok_or_else(|| {
        unknown(
            "backend",
            &show.backend,
            catalog::nearest(&show.backend, Backend::ALL.map(Backend::name)).unwrap_or("vllm"),
        )
    })?;
    let format = |name: &str| {
        Dtype::parse(name).ok_or_else(|| {
            unknown("format", name, catalog::nearest(name, Dtype::ALL.map(Dtype::name)).unwrap_or("bf16"))
        })
    };
    Ok(WorkerShape {
        dtype: show.dtype.as_deref().map_or(Ok(model.dtype), format)?,
        kv_dtype: format(&show.kv_dtype)?,
        model: model.clone(),
        gpu: gpu.clone(),
        backend,
        tp: show.tp,
    })
}

fn write_timing(show: &Show, out: &mut dyn Write) -> Result<(), TimingError> {
    let shape = worker(show)?;
    let spec = match show.kind.as_str() {
        "surface" => TimingSpec::Surface(SurfaceOptions {
            aic_parity: show.aic_parity,
            quant: show.quant.clone(),
            ..SurfaceOptions::default()
        }),
        "roofline" => TimingSpec::Roofline,
        other => return Err(TimingError::Usage(format!("there is no kind {other} to show: surface or roofline"))),
    };
    let timing = spec.build(&shape).map_err(TimingError::Usage)?;
    let provenance = timing.provenance();
    writeln!(out, "{}", shape.label())?;
    writeln!(out, "{}: {}", provenance.kind, provenance.label)?;
    writeln!(out, "{}", provenance.source)?;
    match memory::kv_capacity(&shape, 8192, None) {
        Ok(capacity) => writeln!(out, "KV cache {}", capacity.arithmetic)?,
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
        assert!(says(&["distill", "/nonexistent.json", "/dev/null"]).contains("nonexistent.json"));
    }
}
