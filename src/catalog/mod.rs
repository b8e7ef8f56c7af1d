//! Models, GPUs and backends as data, each figure with its source.

/// Serving engines whose schedulers the twin imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    Vllm,
    Sglang,
    Trtllm,
}

impl Backend {
    /// The name in TOML and reports.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Vllm => "vllm",
            Backend::Sglang => "sglang",
            Backend::Trtllm => "trtllm",
        }
    }
}
