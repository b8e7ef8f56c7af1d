//! What is simulated: a complete, concrete serving deployment.

use crate::catalog::Backend;
use crate::timing::Timing;

/// A complete deployment: everything `simulate` needs besides the workload and a seed.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The workers.
    pub topology: Topology,
    /// How requests are placed on workers.
    pub router: RouterConfig,
    /// Bounds that a good request keeps; empty when the user gave none.
    pub sla: Sla,
    /// Price of one GPU for one hour, in US dollars.
    pub usd_per_gpu_hour: f64,
    /// Switch to the peer's behaviour where ours is better (see `docs/conformance.md`).
    pub peer_compat: bool,
    /// Simulate every pass by itself instead of jumping over runs of decode passes: the slow
    /// reference for tests.
    pub pass_by_pass: bool,
}

/// Which pools of workers exist.
#[derive(Clone, Debug)]
pub enum Topology {
    /// Every worker prefills and decodes.
    Aggregated(Pool),
}

impl Topology {
    /// The pools at the start, with what their workers do, in the order of worker ids.
    pub fn pools(&self) -> Vec<(Role, &Pool)> {
        match self {
            Topology::Aggregated(pool) => vec![(Role::Aggregated, pool)],
        }
    }

    /// GPUs at the start.
    pub fn gpus(&self) -> u32 {
        self.pools().iter().map(|(_, pool)| pool.workers * pool.gpus_per_worker).sum()
    }
}

/// What a worker does for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything.
    Aggregated,
    /// Computes prompts and hands their KV over.
    Prefill,
    /// Generates from prompts that were computed elsewhere.
    Decode,
}

impl Role {
    /// Number of roles.
    pub const COUNT: usize = 3;
    /// Every role.
    pub const ALL: [Role; Role::COUNT] = [Role::Aggregated, Role::Prefill, Role::Decode];

    /// As in TOML.
    pub fn name(self) -> &'static str {
        match self {
            Role::Aggregated => "aggregated",
            Role::Prefill => "prefill",
            Role::Decode => "decode",
        }
    }
}

/// Equal workers.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Number of workers at the start.
    pub workers: u32,
    /// GPUs per worker (tensor-parallel size).
    pub gpus_per_worker: u32,
    /// Scheduler and cache settings.
    pub engine: EngineConfig,
    /// How long its passes take.
    pub timing: Timing,
}

/// Which running request is preempted when KV blocks run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preemption {
    /// The most recently admitted (vLLM's default).
    Lifo,
    /// The first admitted.
    Fifo,
}

/// What a waiting request must find free to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Blocks for all its known tokens, as the peer asks.
    WholeSequence,
    /// Blocks for what is computed of it in the pass, as vLLM's own allocator asks.
    FirstChunk,
}

/// In which order waiting requests are considered for prefill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingOrder {
    /// First come, first served.
    Fifo,
    /// Longest cached prefix first (SGLang).
    LongestPrefix,
}

/// Scheduler and cache settings of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    pub backend: Backend,
    /// Tokens per KV block (SGLang: page size).
    pub block_size: u32,
    /// KV blocks on the worker.
    pub gpu_blocks: u32,
    /// Most sequences running at once.
    pub max_num_seqs: u32,
    /// Most tokens in one pass (SGLang: the chunked-prefill size).
    pub max_num_batched_tokens: u32,
    pub prefix_caching: bool,
    pub chunked_prefill: bool,
    pub preemption: Preemption,
    /// vLLM: what admission makes sure there is room for.
    pub admission: Admission,
    /// Longest sequence, tokens; longer prompts are rejected.
    pub max_model_len: Option<u32>,
    pub waiting_order: WaitingOrder,
    /// SGLang: most new prompt tokens in one prefill pass.
    pub max_prefill_tokens: u32,
    /// SGLang: how pessimistically output lengths are reserved.
    pub schedule_conservativeness: f64,
    /// SGLang: decode passes that must follow a prefill pass while sequences decode.
    pub prefill_decode_interval: u32,
}

impl Default for EngineConfig {
    /// The peer's defaults (`semantics` 2.1 and 3.1).
    fn default() -> Self {
        EngineConfig {
            backend: Backend::Vllm,
            block_size: 64,
            gpu_blocks: 16_384,
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            prefix_caching: true,
            chunked_prefill: true,
            preemption: Preemption::Lifo,
            admission: Admission::WholeSequence,
            max_model_len: None,
            waiting_order: WaitingOrder::Fifo,
            max_prefill_tokens: 16_384,
            schedule_conservativeness: 1.0,
            prefill_decode_interval: 0,
        }
    }
}

/// Placement policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterPolicy {
    RoundRobin,
    Random,
    LeastLoaded,
    PowerOfTwo,
    Kv,
}

/// Router settings; the weights act under `RouterPolicy::Kv` only (`semantics` 7.3).
#[derive(Clone, Debug, PartialEq)]
pub struct RouterConfig {
    pub policy: RouterPolicy,
    /// Weight of prefix blocks found on the worker.
    pub overlap_credit: f64,
    /// How fast the credit decays with a worker's excess prefill backlog.
    pub overlap_decay: f64,
    /// Weight of the prefill term.
    pub prefill_load_scale: f64,
    /// Weight of active requests in the decode term.
    pub decode_request_weight: f64,
    /// 0 takes the cheapest worker; higher samples from a softmax over range-normalised costs.
    pub temperature: f64,
}

impl Default for RouterConfig {
    /// Round robin; weights as the peer's defaults (`semantics` 7.4).
    fn default() -> Self {
        RouterConfig {
            policy: RouterPolicy::RoundRobin,
            overlap_credit: 1.0,
            overlap_decay: 0.0,
            prefill_load_scale: 1.0,
            decode_request_weight: 0.0,
            temperature: 0.0,
        }
    }
}

/// Per-request bounds; a request is good when every bound that is set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sla {
    pub ttft_ms: Option<f64>,
    /// Bound on the request's mean time per output token after the first.
    pub tpot_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
}

impl Sla {
    /// Whether no bound is set.
    pub fn is_empty(&self) -> bool {
        self.ttft_ms.is_none() && self.tpot_ms.is_none() && self.e2e_ms.is_none()
    }
}
