//! What is simulated: a complete, concrete serving deployment.

use super::faults::FaultConfig;
use super::planner::PlannerConfig;
use crate::catalog::Backend;
use crate::timing::Timing;
use crate::twin::kv::tier::TierConfig;
use crate::twin::router::formula::Program;

/// A complete deployment: everything `simulate` needs besides the workload and a seed.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The workers.
    pub topology: Topology,
    /// How requests are placed on workers.
    pub router: RouterConfig,
    /// How workers are added and taken away; `None` to leave them as they are.
    pub planner: Option<PlannerConfig>,
    /// What goes wrong.
    pub faults: FaultConfig,
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

impl Deployment {
    /// Workers placed by round robin, and nothing else: no planner, no faults, no targets, GPUs at 1 USD an
    /// hour, so that a cost is GPU-hours.
    pub fn new(topology: Topology) -> Deployment {
        Deployment {
            topology,
            router: RouterConfig::default(),
            planner: None,
            faults: FaultConfig::default(),
            sla: Sla::default(),
            usd_per_gpu_hour: 1.0,
            peer_compat: false,
            pass_by_pass: false,
        }
    }

    /// The deployment with the seed of one simulation for what its engines draw; `None` when they draw
    /// nothing.
    pub fn with_draws_of(&self, seed: u64) -> Option<Deployment> {
        self.topology.pools().iter().any(|(_, pool)| pool.engine.speculation.is_some()).then(|| {
            let mut seeded = self.clone();
            for pool in seeded.topology.pools_mut() {
                if let Some(speculation) = &mut pool.engine.speculation {
                    speculation.seed = seed;
                }
            }
            seeded
        })
    }
}

/// Which pools of workers exist.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a deployment has one of them")]
pub enum Topology {
    /// Every worker prefills and decodes.
    Aggregated(Pool),
    /// Some workers compute prompts and hand them over to others, which generate.
    Disaggregated { prefill: Pool, decode: Pool, transfer: TransferConfig, local_prefill: LocalPrefill },
}

/// Which tokens' KV is sent to a decode worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The whole prompt's.
    FullPrompt,
    /// That which the destination has not in its cache.
    DestinationMissing,
}

/// How KV travels from prefill to decode workers (`semantics` 5.5).
#[derive(Clone, Debug, PartialEq)]
pub struct TransferConfig {
    /// Bandwidth of each worker's link, in each direction, GB/s (decimal); none for no limit.
    pub gbps: Option<f64>,
    /// Time before the first byte, ms.
    pub latency_ms: f64,
    /// KV of one token, bytes, over all layers.
    pub bytes_per_token: f64,
    pub charge: Charge,
    /// Whether transfers over the same link slow each other down.
    pub contention: bool,
}

impl TransferConfig {
    /// Bandwidth where the user gives none: a network card of 400 Gb/s.
    pub const GBPS: f64 = 50.0;
}

/// Which prompts are computed by the decode worker that generates from them (`semantics` 5.8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalPrefill {
    /// Those with fewer tokens than this that are not cached there.
    pub below_tokens: u32,
    /// Most of the prompt that may not be cached there, as a share.
    pub most_of_prompt: f64,
    /// Most of the worker's KV blocks that may be in use, as a share.
    pub most_kv: f64,
}

impl LocalPrefill {
    /// None.
    pub const OFF: LocalPrefill = LocalPrefill { below_tokens: 0, most_of_prompt: 1.0, most_kv: 1.0 };
}

impl Default for TransferConfig {
    /// KV arrives at once.
    fn default() -> Self {
        TransferConfig {
            gbps: None,
            latency_ms: 0.0,
            bytes_per_token: 0.0,
            charge: Charge::DestinationMissing,
            contention: true,
        }
    }
}

impl Topology {
    /// The pools at the start, with what their workers do, in the order of worker ids.
    pub fn pools(&self) -> Vec<(Role, &Pool)> {
        match self {
            Topology::Aggregated(pool) => vec![(Role::Aggregated, pool)],
            Topology::Disaggregated { prefill, decode, .. } => vec![(Role::Prefill, prefill), (Role::Decode, decode)],
        }
    }

    fn pools_mut(&mut self) -> Vec<&mut Pool> {
        match self {
            Topology::Aggregated(pool) => vec![pool],
            Topology::Disaggregated { prefill, decode, .. } => vec![prefill, decode],
        }
    }

    /// Whether decode workers compute prompts that nobody computed before.
    pub fn prefills_locally(&self) -> bool {
        matches!(self, Topology::Disaggregated { local_prefill, .. } if local_prefill.below_tokens > 0)
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
    /// GPUs per worker: tensor-parallel size x attention data parallelism.
    pub gpus_per_worker: u32,
    /// Scheduler and cache settings.
    pub engine: EngineConfig,
    /// How long its passes take.
    pub timing: Timing,
}

impl Pool {
    /// KV blocks of one worker, over its ranks.
    pub fn kv_blocks_per_worker(&self) -> u64 {
        u64::from(self.engine.gpu_blocks) * u64::from(self.engine.attention_dp.max(1))
    }
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

/// Speculative decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Speculation {
    /// Tokens drafted for every sequence in each decode pass; at least 1.
    pub tokens: u32,
    /// Chance that each drafted token is accepted, given that all before it were; the last rate holds
    /// for all later positions.
    pub acceptance: Vec<f64>,
    /// Time to draft one token for a batch, over that of a decode pass of the same batch.
    pub draft_cost: f64,
    /// Seed of the draws of acceptance.
    pub seed: u64,
}

impl Speculation {
    /// Acceptance by position where the user gives none, as in the peer's mocker (`semantics` 2.8).
    pub const ACCEPTANCE: [f64; 3] = [0.85, 0.3, 0.0];
    /// Cost of drafting where the user gives none: one layer and the head of a model of tens of layers.
    pub const DRAFT_COST: f64 = 0.03;

    /// Chance that the token drafted at this position is accepted once those before it are.
    pub fn rate(&self, position: u32) -> f64 {
        self.acceptance.get(position as usize).or(self.acceptance.last()).copied().unwrap_or(0.0)
    }
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
    /// Attention data parallelism: ranks in step, each with a scheduler and a KV pool of its own; all
    /// other settings are those of a rank.
    pub attention_dp: u32,
    /// vLLM and TRT-LLM: tokens drafted and verified.
    pub speculation: Option<Speculation>,
    /// KV tiers below GPU memory, for workers that compute prompts with prefix caching on.
    pub tiers: Option<TierConfig>,
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
            attention_dp: 1,
            speculation: None,
            tiers: None,
        }
    }
}

/// Placement policies.
#[derive(Clone, Debug, PartialEq)]
pub enum RouterPolicy {
    RoundRobin,
    Random,
    LeastLoaded,
    PowerOfTwo,
    Kv,
    Lmetric,
    TwoTier,
    /// A cost function of the user's own.
    Expression(Program),
}

/// What happens to a request whose first token is projected to come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterAdmission {
    /// It is placed all the same.
    Off,
    /// It waits at the router.
    Queue,
    /// It is refused.
    Reject,
}

/// Which of the requests that wait at the router is placed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOrder {
    /// First come, first served.
    Fcfs,
    /// Last come, first served.
    Lcfs,
    /// The one with the fewest prompt tokens that no worker has cached (weighted shortest processing
    /// time).
    Wspt,
}

/// Router settings; the weights act under `RouterPolicy::Kv` only (`semantics` 7.3).
#[derive(Clone, Debug, PartialEq)]
pub struct RouterConfig {
    pub policy: RouterPolicy,
    /// For decode workers, where it is another.
    pub decode_policy: Option<RouterPolicy>,
    /// Weight of prefix blocks found on the worker.
    pub overlap_credit: f64,
    /// How fast the credit decays with a worker's excess prefill backlog.
    pub overlap_decay: f64,
    /// Weight of the prefill term.
    pub prefill_load_scale: f64,
    /// Weight of prefix blocks that follow in the worker's host memory, where it has any for KV.
    pub host_hit_weight: f64,
    /// Weight of those that then follow on its disk.
    pub disk_hit_weight: f64,
    /// Weight of active requests in the decode term.
    pub decode_request_weight: f64,
    /// 0 takes the cheapest worker; higher samples from a softmax over range-normalised costs.
    pub temperature: f64,
    /// Whether outstanding prefill drains with time, as predicted (`semantics` 7.7).
    pub prefill_load_model: bool,
    /// How late the router hears what was cached or evicted, ms.
    pub kv_event_lag_ms: f64,
    /// Requests wait while every worker has more prefill outstanding than this, in units of
    /// `max_num_batched_tokens`.
    pub queue_threshold: Option<f64>,
    pub queue_order: QueueOrder,
    pub admission: RouterAdmission,
    /// Bound on the projected time to first token, ms; under an admission only.
    pub admission_ttft_ms: f64,
    /// How long a session stays with its worker after its last request, s.
    pub session_affinity_ttl_s: Option<f64>,
}

impl Default for RouterConfig {
    /// Round robin; weights as the peer's defaults (`semantics` 7.4).
    fn default() -> Self {
        RouterConfig {
            policy: RouterPolicy::RoundRobin,
            decode_policy: None,
            overlap_credit: 1.0,
            overlap_decay: 0.0,
            prefill_load_scale: 1.0,
            host_hit_weight: 0.75,
            disk_hit_weight: 0.25,
            decode_request_weight: 0.0,
            temperature: 0.0,
            prefill_load_model: false,
            kv_event_lag_ms: 0.0,
            queue_threshold: None,
            queue_order: QueueOrder::Fcfs,
            admission: RouterAdmission::Off,
            admission_ttft_ms: f64::INFINITY,
            session_affinity_ttl_s: None,
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
