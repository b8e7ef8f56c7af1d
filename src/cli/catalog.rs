//! `servescout catalog models|gpus`: what can be named in a search space, with its figures.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use crate::catalog::{self, Attention, GpuSpec, ModelSpec};

/// List the models and GPUs that a search space can name
#[derive(Args, Debug)]
pub struct CatalogArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Model architectures
    Models(Format),
    /// GPUs with their memory, rates and default price
    Gpus(Format),
}

#[derive(Args, Debug)]
struct Format {
    /// Print every figure and its source as a JSON array
    #[arg(long)]
    json: bool,
}

/// Writes the chosen list to `out`.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(args: &CatalogArgs, out: &mut dyn Write) -> io::Result<()> {
    match &args.what {
        What::Models(Format { json: true }) => write_json(catalog::models(), out),
        What::Gpus(Format { json: true }) => write_json(catalog::gpus(), out),
        What::Models(_) => write_models(out),
        What::Gpus(_) => write_gpus(out),
    }
}

fn write_json<T: serde::Serialize>(items: &[T], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, items)?;
    writeln!(out)
}

fn write_models(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<30} {:>9} {:>9} {:>6} {:>6} {:<26} {:>7} {:<6}",
        "model", "params B", "active B", "layers", "hidden", "attention", "context", "dtype"
    )?;
    for model in catalog::models() {
        writeln!(
            out,
            "{:<30} {:>9.1} {:>9.1} {:>6} {:>6} {:<26} {:>7} {:<6}",
            model.name,
            model.parameters() / 1e9,
            model.active_parameters() / 1e9,
            model.layers,
            model.hidden,
            attention(model),
            model.max_context,
            model.dtype.name()
        )?;
    }
    Ok(())
}

fn attention(model: &ModelSpec) -> String {
    match model.attention {
        Attention::Gqa => format!("GQA {}:{}", model.heads, model.kv_heads),
        Attention::SlidingWindow { window_tokens, windowed_layers } => {
            format!("GQA {}:{}, {windowed_layers} of window {window_tokens}", model.heads, model.kv_heads)
        }
        Attention::Mla { kv_rank, rope_dim, .. } => format!("MLA {kv_rank}+{rope_dim}"),
    }
}

fn write_gpus(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<10} {:>10} {:>9} {:>8} {:>8} {:>8} {:>10} {:>9} {:>6}  price of",
        "gpu", "memory GiB", "HBM TB/s", "bf16 TF", "fp8 TF", "fp4 TF", "link GB/s", "GPUs/node", "$/h"
    )?;
    let rate = |tflops: Option<f64>| tflops.map_or("-".to_string(), |t| format!("{t:.0}"));
    for gpu in catalog::gpus() {
        let GpuSpec { name, memory_gib, hbm_tbps, gpus_per_node, usd_per_gpu_hour, price_source, .. } = gpu;
        writeln!(
            out,
            "{name:<10} {memory_gib:>10.0} {hbm_tbps:>9.3} {:>8} {:>8} {:>8} {:>10.0} {gpus_per_node:>9} {usd_per_gpu_hour:>6.2}  {price_source}",
            rate(Some(gpu.bf16_tflops)),
            rate(gpu.fp8_tflops),
            rate(gpu.fp4_tflops),
            gpu.link_gbps(),
        )?;
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
        args: CatalogArgs,
    }

    fn output(words: &[&str]) -> String {
        let line = Line::parse_from(std::iter::once(&"catalog").chain(words));
        let mut out = Vec::new();
        run(&line.args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_name_every_entry() {
        let (models, gpus) = (output(&["models"]), output(&["gpus"]));
        assert!(catalog::models().iter().all(|m| models.contains(&*m.name)));
        assert!(catalog::gpus().iter().all(|g| gpus.contains(&*g.name)));
        assert!(models.contains("MLA 512+64") && models.contains("18 of window 128"));
    }

    #[test]
    fn json_carries_figures_and_sources() {
        let models: serde_json::Value = serde_json::from_str(&output(&["models", "--json"])).unwrap();
        assert_eq!(models.as_array().unwrap().len(), catalog::models().len());
        assert_eq!(models[0]["layers"], 64);
        assert!(models[0]["source"].as_str().unwrap().contains("config.json"));
        let gpus: serde_json::Value = serde_json::from_str(&output(&["gpus", "--json"])).unwrap();
        assert!(gpus.as_array().unwrap().iter().all(|g| g["price_source"].is_string()));
    }
}
