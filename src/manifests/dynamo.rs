//! A candidate as a `DynamoGraphDeployment`, in both versions of the API that are in use.
//!
//! v1beta1 lists components with a pod template each; v1alpha1 has a map of services. Shapes after
//! NVIDIA's public examples and API reference of Dynamo 1.2 and 1.3.

use super::launch::{engine_flags, role_flags};
use super::yaml::Yaml;
use super::{Api, Candidate, Options, tiers};
use crate::catalog::Backend;
use crate::twin::deployment::{Pool, Role};

/// Secret with the token for gated checkpoints, as in NVIDIA's examples.
pub(super) const TOKEN_SECRET: &str = "hf-token-secret";

/// A component before it is written in one of the two ways.
struct Component {
    name: String,
    /// v1beta1's `type`; v1alpha1 says `worker` and puts the rest beside it.
    kind: &'static str,
    replicas: u32,
    image: String,
    command: Vec<&'static str>,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    /// GPUs of one pod, and pods of one replica.
    gpus: u32,
    nodes: u32,
}

/// Name of the deployment of a candidate.
pub(super) fn deployment_name(id: &str) -> String {
    format!("cand-{id}")
}

/// The document.
pub(super) fn document(candidate: &Candidate<'_>, options: &Options) -> Yaml {
    let components = components(candidate, options);
    let (version, spec) = match options.api {
        Api::V1beta1 => {
            ("nvidia.com/v1beta1", ("components", Yaml::List(components.into_iter().map(v1beta1).collect())))
        }
        Api::V1alpha1 => ("nvidia.com/v1alpha1", ("services", v1alpha1(components))),
    };
    Yaml::Map(vec![
        ("apiVersion", version.into()),
        ("kind", "DynamoGraphDeployment".into()),
        ("metadata", Yaml::Map(vec![("name", deployment_name(&candidate.id).into())])),
        ("spec", Yaml::Map(vec![("backendFramework", candidate.backend().name().into()), spec])),
    ])
}

fn components(candidate: &Candidate<'_>, options: &Options) -> Vec<Component> {
    let backend = candidate.backend();
    let image = format!("nvcr.io/nvidia/ai-dynamo/{}-runtime:{}", backend.name(), options.dynamo);
    let mut components = vec![Component {
        name: "Frontend".into(),
        kind: "frontend",
        replicas: 1,
        image: image.clone(),
        command: vec!["python3", "-m", "dynamo.frontend"],
        args: vec!["--http-port".into(), "8000".into()],
        env: candidate.router.env.clone(),
        gpus: 0,
        nodes: 1,
    }];
    components.extend(candidate.planner.config.as_deref().map(|config| planner(config, &options.dynamo)));
    for (role, pool) in candidate.deployment.topology.pools() {
        components.push(worker(candidate, role, pool, &image));
    }
    components
}

/// The planner, whose image is one of its own (since Dynamo 1.1). `replicas` of the workers is what it begins with.
fn planner(config: &str, dynamo: &str) -> Component {
    Component {
        name: "Planner".into(),
        kind: "planner",
        replicas: 1,
        image: format!("nvcr.io/nvidia/ai-dynamo/dynamo-planner:{dynamo}"),
        command: vec!["python3", "-m", "dynamo.planner"],
        args: vec!["--config".into(), config.into()],
        env: Vec::new(),
        gpus: 0,
        nodes: 1,
    }
}

fn worker(candidate: &Candidate<'_>, role: Role, pool: &Pool, image: &str) -> Component {
    let backend = pool.engine.backend;
    let (module, prefix) = match backend {
        Backend::Sglang => ("dynamo.sglang", "Sglang"),
        _ => ("dynamo.vllm", "Vllm"),
    };
    let (kind, middle) = match role {
        Role::Aggregated => ("worker", ""),
        Role::Prefill => ("prefill", "Prefill"),
        Role::Decode => ("decode", "Decode"),
    };
    let mut args = engine_flags(candidate.study, candidate.checkpoint, pool, candidate.limits_blocks(role));
    // Prompts are matched where they are computed.
    let publishes = candidate.router.reads_caches && pool.engine.prefix_caching && role != Role::Decode;
    let tiers = tiers::under_dynamo(role, pool);
    args.extend(role_flags(backend, role, tiers.connector, publishes));
    args.extend(tiers.flags);
    let node = candidate.study.gpu.gpus_per_node.max(1);
    let nodes = pool.gpus_per_worker.div_ceil(node);
    Component {
        name: format!("{prefix}{middle}Worker"),
        kind,
        replicas: pool.workers,
        image: image.into(),
        command: vec!["python3", "-m", module],
        args,
        env: tiers.env,
        gpus: pool.gpus_per_worker.div_ceil(nodes),
        nodes,
    }
}

fn variables(env: &[(&'static str, String)]) -> Yaml {
    Yaml::List(
        env.iter()
            .map(|(name, value)| Yaml::Map(vec![("name", (*name).into()), ("value", value.as_str().into())]))
            .collect(),
    )
}

fn v1beta1(component: Component) -> Yaml {
    let mut container = vec![
        ("name", "main".into()),
        ("image", component.image.into()),
        ("command", Yaml::texts(component.command)),
        ("args", Yaml::texts(component.args)),
    ];
    if !component.env.is_empty() {
        container.push(("env", variables(&component.env)));
    }
    if component.gpus > 0 {
        let secret = Yaml::Map(vec![("secretRef", Yaml::Map(vec![("name", TOKEN_SECRET.into())]))]);
        container.push(("envFrom", Yaml::List(vec![secret])));
        let limits = Yaml::Map(vec![("nvidia.com/gpu", component.gpus.to_string().into())]);
        container.push(("resources", Yaml::Map(vec![("limits", limits)])));
    }
    let spec = Yaml::Map(vec![("containers", Yaml::List(vec![Yaml::Map(container)]))]);
    let mut entries =
        vec![("name", component.name.into()), ("type", component.kind.into()), ("replicas", component.replicas.into())];
    if component.nodes > 1 {
        entries.push(("multinode", Yaml::Map(vec![("nodeCount", component.nodes.into())])));
    }
    entries.push(("podTemplate", Yaml::Map(vec![("spec", spec)])));
    Yaml::Map(entries)
}

fn v1alpha1(components: Vec<Component>) -> Yaml {
    let service = |component: Component| {
        let (kind, sub) = match component.kind {
            "prefill" | "decode" => ("worker", Some(component.kind)),
            other => (other, None),
        };
        let mut entries: Vec<(&'static str, Yaml)> = vec![("componentType", kind.into())];
        entries.extend(sub.map(|sub| ("subComponentType", sub.into())));
        entries.push(("replicas", component.replicas.into()));
        if component.nodes > 1 {
            entries.push(("multinode", Yaml::Map(vec![("nodeCount", component.nodes.into())])));
        }
        if component.gpus > 0 {
            entries.push(("envFromSecret", TOKEN_SECRET.into()));
            let limits = Yaml::Map(vec![("gpu", component.gpus.to_string().into())]);
            entries.push(("resources", Yaml::Map(vec![("limits", limits)])));
        }
        if !component.env.is_empty() {
            entries.push(("envs", variables(&component.env)));
        }
        let container = Yaml::Map(vec![
            ("image", component.image.into()),
            ("command", Yaml::texts(component.command)),
            ("args", Yaml::texts(component.args)),
        ]);
        entries.push(("extraPodSpec", Yaml::Map(vec![("mainContainer", container)])));
        (service_key(&component.name), Yaml::Map(entries))
    };
    Yaml::Map(components.into_iter().map(service).collect())
}

/// Keys of the map of services.
fn service_key(name: &str) -> &'static str {
    const KEYS: [&str; 8] = [
        "Frontend",
        "Planner",
        "VllmWorker",
        "VllmPrefillWorker",
        "VllmDecodeWorker",
        "SglangWorker",
        "SglangPrefillWorker",
        "SglangDecodeWorker",
    ];
    KEYS.into_iter().find(|key| *key == name).expect("components have these names")
}
