//! The catalogue's figures agree with what model and GPU makers publish.

use servescout::catalog::{self, Backend, Dtype};

/// Published parameter counts, in billions: total and active per token.
const PUBLISHED: &[(&str, f64, f64)] = &[
    ("Qwen/Qwen3-32B", 32.8, 32.8),
    ("Qwen/Qwen3-30B-A3B", 30.5, 3.3),
    ("Qwen/Qwen3-235B-A22B", 235.0, 22.0),
    ("meta-llama/Llama-3.1-8B", 8.03, 8.03),
    ("meta-llama/Llama-3.1-70B", 70.55, 70.55),
    // The model card leaves the embedding (0.58 B) out of its 5.1 B and 3.6 B active.
    ("openai/gpt-oss-120b", 116.8, 5.7),
    ("openai/gpt-oss-20b", 20.9, 4.2),
    ("deepseek-ai/DeepSeek-V3", 671.0, 37.5),
    ("moonshotai/Kimi-K2-Instruct", 1026.0, 32.9),
    // Published as 230 B, 10 B active: without the 1.2 B of embedding and head.
    ("MiniMaxAI/MiniMax-M2.5", 229.0, 11.0),
];

#[test]
fn parameter_counts_match_what_the_makers_publish() {
    assert_eq!(PUBLISHED.len(), catalog::models().len(), "every model has a published count to compare with");
    for &(name, total, active) in PUBLISHED {
        let model = catalog::model(name).unwrap();
        let near = |ours: f64, published: f64| (ours / 1e9 / published - 1.0).abs() < 0.02;
        assert!(near(model.parameters(), total), "{name}: {:.2} B total", model.parameters() / 1e9);
        assert!(near(model.active_parameters(), active), "{name}: {:.2} B active", model.active_parameters() / 1e9);
    }
}

#[test]
fn every_entry_is_whole_and_names_its_source() {
    for model in catalog::models() {
        model.check().unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert!(model.source.contains("config.json"), "{}", model.name);
        assert!(model.dtype.dense_bytes() > 0.0);
    }
    for gpu in catalog::gpus() {
        assert!(
            gpu.memory_gib > 0.0 && gpu.hbm_tbps > 0.0 && gpu.bf16_tflops > 0.0 && gpu.pcie_gbps > 0.0,
            "{}",
            gpu.name
        );
        assert!(gpu.gpus_per_node <= gpu.link_domain, "{}", gpu.name);
        assert!(
            gpu.usd_per_gpu_hour > 0.0 && gpu.price_source.contains("20"),
            "{}: a price carries its date",
            gpu.name
        );
        assert!(
            gpu.tflops(Dtype::Fp8) >= gpu.tflops(Dtype::Bf16) && gpu.tflops(Dtype::Nvfp4) >= gpu.tflops(Dtype::Bf16)
        );
    }
}

#[test]
fn names_and_aliases_are_unique() {
    let mut names: Vec<String> = Vec::new();
    names.extend(
        catalog::models()
            .iter()
            .flat_map(|m| std::iter::once(&*m.name).chain(m.aliases.iter().copied()))
            .map(str::to_lowercase),
    );
    names.extend(
        catalog::gpus()
            .iter()
            .flat_map(|g| std::iter::once(&*g.name).chain(g.aliases.iter().copied()))
            .map(str::to_lowercase),
    );
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn names_are_found_in_any_case_and_by_alias() {
    assert_eq!(catalog::model("qwen/qwen3-32b-fp8").unwrap().name, "Qwen/Qwen3-32B");
    assert_eq!(catalog::gpu("H200").unwrap().name, "h200_sxm");
    assert!(catalog::model("Qwen/Qwen3-33B").is_none());
    assert_eq!(catalog::nearest_model("Qwen/Qwen3-33B"), "Qwen/Qwen3-32B");
    assert_eq!(catalog::nearest_gpu("b200_smx"), "b200_sxm");
    assert_eq!(Backend::parse("sglang"), Some(Backend::Sglang));
    assert_eq!(Dtype::parse("bfloat16"), Some(Dtype::Bf16));
    assert_eq!(Dtype::parse("int3"), None);
}

#[test]
fn an_impossible_architecture_is_refused_with_its_field() {
    let mut model = catalog::model("Qwen/Qwen3-30B-A3B").unwrap().clone();
    model.kv_heads = 5;
    assert!(model.check().unwrap_err().contains("kv_heads"));
    model.kv_heads = 4;
    model.moe.as_mut().unwrap().top_k = 129;
    assert!(model.check().unwrap_err().contains("top_k"));
}
