//! Models, GPUs and backends as data, each figure with its source.
//!
//! * [`model`] and [`models`]: architectures, from the `config.json` of the public repositories.
//! * [`gpu`] and [`gpus`]: memory, peak rates, links and a dated default price.
//!
//! Names are matched without regard to case; what is not found has a [`nearest_model`] or
//! [`nearest_gpu`] to offer.

mod dtype;
mod gpu;
mod gpus;
mod model;
mod models;
mod nearest;

pub use dtype::Dtype;
pub use gpu::GpuSpec;
pub use gpus::{gpu, gpus, nearest_gpu};
pub use model::{Attention, ModelSpec, MoeSpec, RankParameters};
pub use models::{model, models, nearest_model};
pub use nearest::nearest;

/// Serving engines whose schedulers the twin imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    Vllm,
    Sglang,
    Trtllm,
}

impl Backend {
    /// Every backend, in the order of their names' introduction to the twin.
    pub const ALL: [Backend; 3] = [Backend::Vllm, Backend::Sglang, Backend::Trtllm];

    /// The name in TOML and reports.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Vllm => "vllm",
            Backend::Sglang => "sglang",
            Backend::Trtllm => "trtllm",
        }
    }

    /// The backend with this [`name`](Backend::name).
    pub fn parse(name: &str) -> Option<Backend> {
        Backend::ALL.into_iter().find(|b| b.name() == name)
    }
}
