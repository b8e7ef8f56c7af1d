//! The router's knobs in a search space: formulas and their coefficients, conditions, what reaches the twin.

use servescout::space::{Candidate, Deployer, Study, Value, parse};
use servescout::twin::deployment::{QueueOrder, RouterAdmission, RouterConfig, RouterPolicy};
use servescout::twin::router::formula::Formula;
use servescout::workload;

const BASE: &str = r#"
[model]
name = "Qwen/Qwen3-32B"
[hardware]
gpu = "h200_sxm"
max_gpus = 16
[workload.synthetic]
sessions = 10
input_tokens = 1000
output_tokens = 100
arrivals = { kind = "poisson", rate_per_s = 2.0 }
[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[knobs]
aggregated.tp = 2
aggregated.workers = 4
"#;

fn study(knobs: &str) -> Study {
    parse(&format!("{BASE}{knobs}"), None, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The first error, as text, and the part of the text that it points at.
fn error(knobs: &str) -> (String, String) {
    let text = format!("{BASE}{knobs}");
    let errors = parse(&text, None, &[]).expect_err(knobs);
    let error = &errors.0[0];
    let line = text.lines().nth(error.line - 1).unwrap();
    let snippet = error.snippet.as_ref().unwrap();
    let at: String = line.chars().skip(error.column - 1).take(snippet.width).collect();
    (error.to_string(), at)
}

fn all(study: &Study) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    let counts: Vec<u32> = study.space.knobs.iter().map(|k| k.domain.values.len() as u32).collect();
    let mut levels = vec![0; counts.len()];
    loop {
        let candidate = study.space.canonical(&levels);
        if !all.contains(&candidate) {
            all.push(candidate);
        }
        let Some(at) = (0..counts.len()).find(|&i| levels[i] + 1 < counts[i]) else { return all };
        levels[at] += 1;
        levels[..at].fill(0);
    }
}

fn router(study: &Study, candidate: &Candidate) -> RouterConfig {
    let workload = workload::load(&study.workload).unwrap();
    Deployer::new(study, &workload).deployment(candidate).unwrap().router
}

#[test]
fn mistakes_in_a_formula_are_pointed_at() {
    let expression = |text: &str| error(&format!("router.policy = \"expression\"\nrouter.expression = {text}\n"));
    for (text, at, what, remedy) in [
        ("\"prefill_blocks + overlap_block\"", "overlap_block", "neither a term nor", "did you mean `overlap_blocks`?"),
        ("\"prefill_blocks + zeta\"", "zeta", "neither a term nor", "router.coefficients.zeta = [0.5, 1.0]"),
        ("'prefill_blocks ^ 2'", "^", "no power", "pow(a, b)"),
        ("[\"decode_blocks\", \"decode_blocks * max(1)\"]", "max(1)", "two arguments", ""),
        ("\"request_tokens\"", "request_tokens", "same cost", "`prefill_blocks`"),
        ("\"\"", "\"\"", "empty", ""),
        ("\"decode_blocks + \\u0061ctive_request\"", "\"decode_blocks + \\u0061ctive_request\"", "neither", ""),
        ("\"\"\"\ndecode_blocks\n  + zetta\"\"\"", "zetta", "neither", ""),
        ("3", "3", "must be a string", "write for example"),
    ] {
        let (message, place) = expression(text);
        assert!(message.contains(what) && message.contains(remedy), "{text}: {message}");
        assert_eq!(place, at, "{text}: {message}");
    }
    let (message, _) = error("router.policy = \"expression\"\n");
    assert!(message.contains("the knob `router.expression` is missing") && message.contains("\"max(0,"), "{message}");
    let (message, place) = error("router.coefficients.max = 1.0\n");
    assert!(message.contains("no term, function or keyword"), "{message}");
    assert_eq!(place, "max");
    let (message, _) = error("router.coefficients.as = 1.0\n");
    assert!(message.contains("keyword"), "{message}");
    let (message, _) = error("router.admission = \"reject\"\n");
    assert!(message.contains("`router.admission_ttft_ms` is missing"), "{message}");
}

#[test]
fn coefficients_are_absent_where_no_formula_names_them() {
    let study = study(
        "router.policy = [\"kv\", \"expression\"]\n\
         router.expression = [\"a * decode_blocks + b * overlap_blocks\", \"decode_blocks - c * overlap_blocks\"]\n\
         router.coefficients = { b = [-1.0, -2.0, -3.0], a = 0.5, c = [1.0, 2.0] }\n",
    );
    let candidates = all(&study);
    assert_eq!(candidates.len(), 1 + 3 + 2, "kv, the first formula with each b, the second with each c");
    for candidate in &candidates {
        let named: Vec<&str> = study.space.describe(candidate).into_iter().map(|(name, _)| name).collect();
        let formula = study.space.find("router.expression").and_then(|k| study.space.value(candidate, k));
        let Some(Value::Text(text)) = formula else {
            assert!(!named.iter().any(|n| n.starts_with("router.coefficients")), "{named:?}");
            assert_eq!(router(&study, candidate).policy, RouterPolicy::Kv);
            continue;
        };
        for name in ["a", "b", "c"] {
            let used = text.contains(&format!("{name} *"));
            assert_eq!(named.contains(&format!("router.coefficients.{name}").as_str()), used, "{text}: {named:?}");
        }
        let value = |name: &str| {
            let knob = study.space.find(&format!("router.coefficients.{name}"))?;
            study.space.value(candidate, knob)?.as_f64()
        };
        let expected = RouterPolicy::Expression(Formula::parse(text).unwrap().bind(value).unwrap());
        assert_eq!(router(&study, candidate).policy, expected);
        // A shortlisted candidate replays as it is.
        let replayed = format!("{}{}", BASE.split("[knobs]").next().unwrap(), study.space.to_toml(candidate));
        let replayed = servescout::space::parse_replay(&replayed, None, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(router(&replayed, &replayed.space.canonical(&vec![0; replayed.space.knobs.len()])).policy, expected);
    }
}

#[test]
fn an_unused_coefficient_is_warned_of() {
    let study = study(
        "router.policy = \"expression\"\nrouter.expression = \"decode_blocks\"\nrouter.coefficients.w = [1.0, 2.0]\n",
    );
    assert_eq!(study.warnings.len(), 1);
    assert!(study.warnings[0].to_string().contains("`router.coefficients.w` means nothing"), "{:?}", study.warnings);
    assert_eq!(all(&study).len(), 1);
}

#[test]
fn knobs_reach_the_twin() {
    let study = study(
        "router.policy = \"lmetric\"\nrouter.temperature = 0.25\nrouter.prefill_load_model = true\n\
         router.kv_event_lag_ms = 40\nrouter.session_affinity_ttl_s = 300\nrouter.queue_threshold = 1.5\n\
         router.admission = \"queue\"\nrouter.admission_ttft_ms = 800\nrouter.queue_policy = \"wspt\"\n",
    );
    assert!(study.warnings.is_empty(), "{:?}", study.warnings);
    let expected = RouterConfig {
        policy: RouterPolicy::Lmetric,
        temperature: 0.25,
        prefill_load_model: true,
        kv_event_lag_ms: 40.0,
        session_affinity_ttl_s: Some(300.0),
        queue_threshold: Some(1.5),
        admission: RouterAdmission::Queue,
        admission_ttft_ms: 800.0,
        queue_order: QueueOrder::Wspt,
        ..Default::default()
    };
    assert_eq!(router(&study, &all(&study)[0]), expected);
}

#[test]
fn knobs_are_absent_where_they_mean_nothing() {
    for (knobs, absent, present) in [
        ("router.policy = \"two_tier\"\nrouter.temperature = 0.5\n", "router.temperature", "router.kv_event_lag_ms"),
        (
            "router.policy = \"least_loaded\"\nrouter.kv_event_lag_ms = 5\n",
            "router.kv_event_lag_ms",
            "router.admission",
        ),
        ("router.queue_policy = \"lcfs\"\n", "router.queue_policy", "router.admission"),
        (
            "router.admission = \"reject\"\nrouter.admission_ttft_ms = 9\nrouter.queue_policy = \"lcfs\"\n",
            "router.queue_policy",
            "router.admission_ttft_ms",
        ),
        (
            "router.queue_threshold = 2\nrouter.queue_policy = \"lcfs\"\nrouter.admission_ttft_ms = 9\n",
            "router.admission_ttft_ms",
            "router.queue_policy",
        ),
        (
            "router.policy = \"kv\"\nengine.prefix_caching = false\nrouter.kv_event_lag_ms = 5\n",
            "router.kv_event_lag_ms",
            "router.prefill_load_model",
        ),
    ] {
        let study = study(knobs);
        let candidate = &all(&study)[0];
        let active = |name: &str| study.space.describe(candidate).iter().any(|(n, _)| *n == name);
        assert!(!active(absent) && active(present), "{knobs}");
        assert!(study.warnings.iter().any(|w| w.to_string().contains(absent)), "{knobs}: {:?}", study.warnings);
    }
}
