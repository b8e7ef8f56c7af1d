//! From a shortlisted candidate to what starts and measures it.
//!
//! Beside `candidate.toml` and `expected.json` of every entry of the shortlist:
//!
//! * `dynamo.yaml`: a `DynamoGraphDeployment` for Kubernetes;
//! * `serve.sh`: servers alone, without Kubernetes (aggregated candidates);
//! * `router.env`: the environment of a frontend outside Kubernetes;
//! * `benchmark.sh`: AIPerf over the very requests that were simulated, in `shortlist/window.jsonl`.
//!
//! Only flags that exist are written, and every knob of the candidate is either among them or named in
//! the head of the files as not expressed: what was simulated and what is started do not differ in
//! silence.

mod dynamo;
mod handoff;
mod launch;
mod planner;
mod router;
mod scripts;
mod shell;
mod tiers;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::{ArchiveError, RunData, write_atomic};
use crate::catalog::{Backend, Dtype};
use crate::shortlist::{Shortlist, entry_directory};
use crate::space::{Deployer, Study};
use crate::twin::Deployment;
use crate::twin::deployment::{Role, Topology};
use crate::workload::{Workload, write_mooncake};
use planner::Planner;
use router::Router;
use yaml::comment;

/// File of the requests, within `shortlist/`.
pub const TRACE: &str = "window.jsonl";

/// Dynamo whose images and settings are written.
pub const DYNAMO: &str = "1.3.1";

/// Files of an entry that this module writes.
const ENTRY_FILES: [&str; 4] = ["dynamo.yaml", "serve.sh", "router.env", "benchmark.sh"];

/// Version of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// `nvidia.com/v1beta1`, served by Dynamo 1.2 and later.
    #[default]
    V1beta1,
    /// `nvidia.com/v1alpha1`.
    V1alpha1,
}

/// How to write.
#[derive(Clone, Debug)]
pub struct Options {
    pub api: Api,
    /// Hugging Face id or path of the weights; `None` takes the model's name.
    pub checkpoint: Option<String>,
    /// Tag of Dynamo's images.
    pub dynamo: String,
}

/// The weights that a server loads.
#[derive(Clone, Debug)]
struct Checkpoint {
    name: String,
    /// Whether the server is told to quantise them to 8 bits as it loads them.
    quantizes: bool,
    /// What is not as simulated, in a sentence.
    gap: Option<String>,
}

impl Checkpoint {
    fn of(study: &Study, named: Option<&str>) -> Checkpoint {
        if let Some(name) = named {
            // It is what the user says it is.
            return Checkpoint { name: name.into(), quantizes: false, gap: None };
        }
        let (name, dtype) = (study.model.name.to_string(), study.dtype);
        let quantizes = dtype == Dtype::Fp8 && study.model.dtype == Dtype::Bf16;
        let gap = (dtype != study.model.dtype && !quantizes).then(|| {
            format!(
                "model.dtype = {}: {name} has {} weights; name a checkpoint in that format with --checkpoint",
                dtype.name(),
                study.model.dtype.name()
            )
        });
        Checkpoint { name, quantizes, gap }
    }
}

/// A candidate with everything that its files are made from.
struct Candidate<'a> {
    id: String,
    /// Its directory, relative to the run's.
    directory: String,
    study: &'a Study,
    checkpoint: &'a Checkpoint,
    deployment: Deployment,
    router: Router,
    planner: Planner,
    /// Knobs with their values.
    knobs: Vec<(String, String)>,
}

impl Candidate<'_> {
    fn backend(&self) -> Backend {
        backend(&self.deployment.topology)
    }

    /// Whether the candidate says how many KV blocks a worker of this role has.
    fn limits_blocks(&self, role: Role) -> bool {
        let own = format!("{}.gpu_blocks", role.name());
        self.knobs.iter().any(|(name, _)| *name == own || name == "engine.gpu_blocks")
    }

    /// What the files do not express, each once.
    fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<String> = self.checkpoint.gap.clone().into_iter().collect();
        gaps.extend(self.router.gaps.iter().chain(&self.planner.gaps).cloned());
        for (_, pool) in self.deployment.topology.pools() {
            gaps.extend(launch::engine_gaps(&pool.engine));
            gaps.extend(tiers::gaps(&pool.engine));
        }
        gaps.extend(handoff::gaps(&self.knobs));
        let listed = [router::EXPRESSED, tiers::EXPRESSED, planner::EXPRESSED];
        let is_expressed = |name: &str| {
            launch::is_expressed(name) || handoff::is_expressed(name) || listed.iter().any(|l| l.contains(&name))
        };
        let unknown = self.knobs.iter().filter(|(name, _)| !is_expressed(name));
        gaps.extend(unknown.map(|(name, value)| format!("{name} = {value}: these files have no setting for it")));
        let mut seen = std::collections::BTreeSet::new();
        gaps.retain(|gap| seen.insert(gap.clone()));
        gaps
    }

    /// The gaps as comments.
    fn gap_lines(&self) -> String {
        self.gaps().iter().map(|gap| comment(&format!("NOT EXPRESSED: {gap}"))).collect()
    }
}

/// The engine of a deployment, the same in all its pools.
fn backend(topology: &Topology) -> Backend {
    topology.pools()[0].1.engine.backend
}

/// What was written for one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub id: String,
    /// Files, within the run directory.
    pub files: Vec<PathBuf>,
    /// What the files do not express, or why there are none.
    pub gaps: Vec<String>,
}

/// Writes the files of every entry of a shortlist whose directories are there, and the requests.
///
/// # Errors
/// `Io`, naming the file.
pub fn write(
    directory: &Path,
    run: &RunData,
    workload: &Workload,
    shortlist: &Shortlist,
    options: &Options,
) -> Result<Vec<Written>, ArchiveError> {
    let study = &run.study;
    let deployer = Deployer::new(study, workload);
    let checkpoint = Checkpoint::of(study, options.checkpoint.as_deref());
    let evaluations = run.evaluations();
    let mut trace = Vec::new();
    write_mooncake(workload, &mut trace).map_err(ArchiveError::io("write", directory.join(TRACE)))?;
    write_atomic(&directory.join("shortlist").join(TRACE), &trace)?;
    remove_stale(&directory.join("shortlist"), shortlist)?;
    let mut all = Vec::with_capacity(shortlist.picks.len());
    for pick in &shortlist.picks {
        let own = format!("shortlist/{}", entry_directory(pick));
        let candidate = &evaluations[pick.row].candidate;
        let mut written = Written { id: pick.id.clone(), files: Vec::new(), gaps: Vec::new() };
        let deployment = match deployer.deployment(candidate) {
            Ok(deployment) => deployment,
            Err(refusal) => {
                written.gaps.push(format!("cannot be deployed: {refusal}"));
                all.push(written);
                continue;
            }
        };
        let knobs: Vec<(String, String)> =
            study.space.describe(candidate).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let named = |name: &str| knobs.iter().any(|(known, _)| known == name);
        let router = router::router(&deployment.router, &named);
        let planner = planner::planner(&deployment);
        let candidate = Candidate {
            id: pick.id.clone(),
            directory: own.clone(),
            study,
            checkpoint: &checkpoint,
            deployment,
            router,
            planner,
            knobs,
        };
        written.gaps = candidate.gaps();
        let mut files = vec![("benchmark.sh", scripts::benchmark(&candidate, workload))];
        if candidate.backend() == Backend::Trtllm {
            written.gaps.insert(0, "engine.backend = trtllm: launch files are written for vLLM and SGLang only".into());
        } else {
            let head = manifest_head(&candidate, options);
            files.push(("dynamo.yaml", head + &dynamo::document(&candidate, options).emit()));
            files.push(("router.env", scripts::environment(&candidate, &options.dynamo)));
            files.extend(scripts::serve(&candidate).map(|text| ("serve.sh", text)));
        }
        for file in ENTRY_FILES {
            let path = directory.join(&own).join(file);
            match files.iter().find(|(name, _)| *name == file) {
                Some((_, text)) => {
                    write_atomic(&path, text.as_bytes())?;
                    if file.ends_with(".sh") {
                        make_executable(&path)?;
                    }
                    written.files.push(Path::new(&own).join(file));
                }
                None if path.is_file() => fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?,
                None => {}
            }
        }
        all.push(written);
    }
    Ok(all)
}

fn manifest_head(candidate: &Candidate<'_>, options: &Options) -> String {
    let backend = candidate.backend();
    let mut head = comment(&format!(
        "Candidate {} of {}: {} GPUs. Dynamo {}, flags of {}.",
        candidate.id,
        candidate.study.name,
        candidate.deployment.topology.gpus(),
        options.dynamo,
        launch::flags_of(backend)
    ));
    head += &comment(&format!(
        "Gated checkpoints need the secret {}; weights are loaded from `{}`.",
        dynamo::TOKEN_SECRET,
        candidate.checkpoint.name
    ));
    if candidate.checkpoint.quantizes {
        head += &comment(
            "Weights are quantised to fp8 as they are loaded; a checkpoint in fp8 can be named with --checkpoint.",
        );
    }
    head += &candidate.gap_lines();
    if !scripts::is_aggregated(&candidate.deployment.topology) {
        head +=
            &comment("Prefill and decode workers are separate: only Dynamo joins them, so that there is no serve.sh.");
    }
    head
}

/// Removes our files of entries that are no longer on the list, and their directories when empty.
fn remove_stale(entries: &Path, shortlist: &Shortlist) -> Result<(), ArchiveError> {
    let current: Vec<String> = shortlist.picks.iter().map(entry_directory).collect();
    for entry in fs::read_dir(entries).map_err(ArchiveError::io("list", entries))? {
        let path = entry.map_err(ArchiveError::io("list", entries))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_dir() || current.contains(&name) {
            continue;
        }
        for file in ENTRY_FILES.map(|file| path.join(file)).iter().filter(|file| file.is_file()) {
            fs::remove_file(file).map_err(ArchiveError::io("remove", file))?;
        }
        if fs::read_dir(&path).is_ok_and(|mut left| left.next().is_none()) {
            fs::remove_dir(&path).map_err(ArchiveError::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), ArchiveError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(ArchiveError::io("make executable", path))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<(), ArchiveError> {
    Ok(())
}
