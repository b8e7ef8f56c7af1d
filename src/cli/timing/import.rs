//! `servescout timing import`: pass times out of the user's own measured database, made and kept.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;

use super::{TimingError, backend, format, gpu, model};
use crate::catalog::{self, Backend, Dtype};
use crate::space;
use crate::timing::perfdb::{self, Imported};
use crate::timing::{SurfaceOptions, WorkerShape};

/// Make and keep the pass times of workers out of an installed aiconfigurator-core
#[derive(Args, Debug)]
pub struct Import {
    /// The installed package: its directory, the `systems` in it, or the virtual environment it is in
    directory: PathBuf,
    /// A search space: its workers are imported, an inline architecture included
    #[arg(long, value_name = "SPACE.toml", conflicts_with_all = ["model", "gpu", "backend", "tp", "dtype", "kv_dtype"])]
    space: Option<PathBuf>,
    /// Models of the catalogue; all by default
    #[arg(long)]
    model: Vec<String>,
    /// GPUs of the catalogue; all that the database has by default
    #[arg(long)]
    gpu: Vec<String>,
    /// Serving engines; all by default
    #[arg(long)]
    backend: Vec<String>,
    /// Tensor-parallel sizes
    #[arg(long, default_values_t = [1, 2, 4, 8])]
    tp: Vec<u32>,
    /// Weight formats; the published one, bf16 and fp8 by default
    #[arg(long)]
    dtype: Vec<String>,
    /// KV-cache formats
    #[arg(long, default_values_t = ["bf16".to_owned(), "fp8".to_owned()])]
    kv_dtype: Vec<String>,
    /// Quantisation in the words of the tables, such as fp8_block
    #[arg(long)]
    quant: Option<String>,
    /// Version of the backend; the database's current one by default
    #[arg(long)]
    version: Option<String>,
}

/// Imports, saying for each worker what came of it.
///
/// # Errors
/// [`TimingError::Usage`] for a name that does not exist, a directory that is no database, or where
/// nothing at all could be imported.
pub fn run(import: &Import, out: &mut dyn Write) -> Result<(), TimingError> {
    let systems = perfdb::locate(&import.directory).map_err(TimingError::Usage)?;
    let shapes = shapes(import, &perfdb::systems_in(&systems))?;
    let options = SurfaceOptions { quant: import.quant.clone(), ..SurfaceOptions::default() };
    let results: Vec<(String, Result<Imported, String>)> = shapes
        .par_iter()
        .flat_map_iter(|shape| {
            let one = |choice| {
                let db = perfdb::open(&import.directory, &shape.gpu.name, shape.backend, import.version.as_deref())?;
                perfdb::import(&db, shape, choice)
            };
            // Of several that may stand for a worker, the best that was measured; every layout.
            let choices = perfdb::choices(shape, &options).unwrap_or_default();
            let mut reasons = Vec::new();
            let mut done = Vec::new();
            for quant in choices.iter().map(|c| c.quant).fold(Vec::new(), distinct) {
                for &choice in choices.iter().filter(|c| c.quant == quant) {
                    match one(choice) {
                        Ok(imported) => done.push((shape.label(), Ok(imported))),
                        Err(reason) => reasons.push(reason),
                    }
                }
                if !done.is_empty() {
                    return done;
                }
            }
            reasons.dedup();
            vec![(shape.label(), Err(reasons.join("; ")))]
        })
        .collect();
    if let Some(name) = &import.quant {
        perfdb::choices(&shapes[0], &options).map_err(|e| TimingError::Usage(format!("--quant {name}: {e}")))?;
    }
    let (mut made, mut kept, mut refused) = (0, 0, 0);
    for (label, result) in &results {
        match result {
            Ok(imported) => {
                *(if imported.was_kept { &mut kept } else { &mut made }) += 1;
                writeln!(out, "{label}: {}", imported.parts.label)?;
                if let Some(reason) = &imported.not_kept {
                    let file = imported.file.as_deref().map_or_else(String::new, |f| f.display().to_string());
                    return Err(TimingError::Io(std::io::Error::other(format!("{file}: {reason}"))));
                }
            }
            Err(reason) => {
                refused += 1;
                writeln!(out, "{label}: not measured: {reason}")?;
            }
        }
    }
    let place = match perfdb::cache::directory() {
        Some(directory) => format!("in {}", directory.join("timing").display()),
        None => "nowhere: neither SERVESCOUT_CACHE_DIR, XDG_CACHE_HOME nor HOME is set".into(),
    };
    writeln!(out, "\n{made} made, {kept} there already, {refused} not measured; kept {place}")?;
    writeln!(out, "used by [timing] kind = \"perfdb\", path = {:?}", import.directory.display().to_string())?;
    if made + kept == 0 {
        return Err(TimingError::Usage("nothing was imported: none of these workers was measured".into()));
    }
    Ok(())
}

fn distinct<T: PartialEq>(mut list: Vec<T>, item: T) -> Vec<T> {
    if !list.contains(&item) {
        list.push(item);
    }
    list
}

/// The workers to import: possible ones on GPUs that the database has.
fn shapes(import: &Import, measured: &[String]) -> Result<Vec<WorkerShape>, TimingError> {
    if let Some(path) = &import.space {
        let study = space::load(path, &[]).map_err(|e| TimingError::Usage(e.to_string()))?;
        return Ok(study.worker_shapes());
    }
    let models = match import.model.as_slice() {
        [] => catalog::models().iter().collect(),
        names => names.iter().map(|n| model(n)).collect::<Result<Vec<_>, _>>()?,
    };
    let gpus = match import.gpu.as_slice() {
        [] => catalog::gpus().iter().filter(|g| measured.iter().any(|m| *m == g.name)).collect(),
        names => names.iter().map(|n| gpu(n)).collect::<Result<Vec<_>, _>>()?,
    };
    let backends = match import.backend.as_slice() {
        [] => Backend::ALL.to_vec(),
        names => names.iter().map(|n| backend(n)).collect::<Result<_, _>>()?,
    };
    let dtypes = import.dtype.iter().map(|n| format(n)).collect::<Result<Vec<_>, _>>()?;
    let kv_dtypes = import.kv_dtype.iter().map(|n| format(n)).collect::<Result<Vec<_>, _>>()?;
    let mut shapes = Vec::new();
    for model in models {
        let dtypes = match dtypes.as_slice() {
            [] => [model.dtype, Dtype::Bf16, Dtype::Fp8].into_iter().fold(Vec::new(), distinct),
            given => given.to_vec(),
        };
        for gpu in &gpus {
            for &backend in &backends {
                for &dtype in &dtypes {
                    for &kv_dtype in &kv_dtypes {
                        for &tp in &import.tp {
                            let (model, gpu) = (model.clone(), (*gpu).clone());
                            shapes.push(WorkerShape { model, gpu, backend, dtype, kv_dtype, tp });
                        }
                    }
                }
            }
        }
    }
    let impossible = shapes.first().map(WorkerShape::check);
    shapes.retain(|shape| shape.check().is_ok());
    match (shapes.is_empty(), impossible) {
        (true, Some(Err(reason))) => Err(TimingError::Usage(reason)),
        (true, _) => Err(TimingError::Usage("none of these workers is possible".into())),
        _ => Ok(shapes),
    }
}
