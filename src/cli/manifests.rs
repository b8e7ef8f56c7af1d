//! `servescout manifests`: what starts and measures the shortlisted candidates.

use std::fmt::Write;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use super::shortlist::{Rebuilt, rebuild};
use super::{CliError, Exit, terminal};
use crate::archive::RunDir;
use crate::manifests::{self, Api, DYNAMO, Options, TRACE};
use crate::{shortlist, workload};

/// Write what starts and measures each shortlisted candidate: Kubernetes manifests, server commands,
/// benchmark commands; nothing is simulated
///
/// Beside each entry's `candidate.toml` and `expected.json`: `dynamo.yaml` (a DynamoGraphDeployment),
/// `serve.sh` (vLLM or SGLang servers without Kubernetes), `router.env`, and `benchmark.sh`, which
/// replays the simulated requests (`shortlist/window.jsonl`) with AIPerf. Knobs that a server has no
/// flag for are named in the files.
#[derive(Args, Debug)]
pub struct ManifestsArgs {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Version of the DynamoGraphDeployment API
    #[arg(long, value_enum, default_value_t = ApiName::V1beta1)]
    api: ApiName,
    /// Hugging Face id or path of the weights that servers load [default: the model's name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    checkpoint: Option<String>,
    /// Tag of Dynamo's container images
    #[arg(long, value_name = "TAG", default_value = DYNAMO, value_parser = tag)]
    dynamo: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ApiName {
    /// Dynamo 1.2 and later
    V1beta1,
    /// Earlier versions
    V1alpha1,
}

/// A tag of a container image.
fn tag(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty() && text.len() <= 128 && text.chars().all(legal) && !text.starts_with(['.', '-']) {
        return Ok(text.into());
    }
    Err("a tag has letters, digits, `.`, `_` and `-`, such as 1.3.1".into())
}

/// Writes the files and lists them.
///
/// # Errors
/// The user's mistake when RUN is no run directory, or its trace is gone or has changed; failures to
/// write.
pub fn run(args: &ManifestsArgs) -> Result<Exit, CliError> {
    let run = RunDir::open_to_rewrite(&args.run)?;
    let Rebuilt { data, shortlist } = rebuild(&args.run, None)?;
    let workload = workload::load(&data.study.workload)?;
    run.check_workload(&workload.source, &workload.sha256)?;
    shortlist::write(&args.run, &data, &shortlist)?;
    let options = Options {
        api: match args.api {
            ApiName::V1beta1 => Api::V1beta1,
            ApiName::V1alpha1 => Api::V1alpha1,
        },
        checkpoint: args.checkpoint.clone(),
        dynamo: args.dynamo.clone(),
    };
    let written = manifests::write(&args.run, &data, &workload, &shortlist, &options)?;
    let mut text = String::new();
    let _ = writeln!(text, "{}", args.run.join("shortlist").join(TRACE).display());
    for entry in &written {
        for file in &entry.files {
            let _ = writeln!(text, "{}", args.run.join(file).display());
        }
        for gap in &entry.gaps {
            terminal::note(&format_args!("note: {}: {gap}", entry.id));
        }
    }
    terminal::emit(text)?;
    Ok(if shortlist.feasible { Exit::Done } else { Exit::NothingFeasible })
}
