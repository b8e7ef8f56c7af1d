//! The pools of a candidate: how many workers of what size, with which settings, and the way between.

use super::deploy::{Deployer, Picks, Refusal, RefusalCode, admission, backend, preemption, refuse, waiting_order};
use super::tiers;
use crate::catalog::Backend;
use crate::timing::memory::kv_capacity;
use crate::timing::{TimingSpec, WorkerShape};
use crate::twin::deployment::{Charge, EngineConfig, LocalPrefill, Pool, Role, Speculation, Topology, TransferConfig};

/// How many workers a pool has, and of what size.
#[derive(Clone, Copy, Debug)]
struct Size {
    tp: u32,
    ranks: u32,
    workers: u32,
}

impl Size {
    fn of(pick: &Picks<'_>, role: Role) -> Size {
        let of = |what: &str| pick.u32(&format!("{}.{what}", role.name()));
        Size { tp: of("tp"), ranks: of("attention_dp"), workers: of("workers") }
    }

    fn gpus(self) -> u64 {
        u64::from(self.tp) * u64::from(self.ranks) * u64::from(self.workers)
    }

    fn words(self) -> String {
        let dp = if self.ranks > 1 { format!(" x attention DP {}", self.ranks) } else { String::new() };
        format!("{} workers x TP {}{dp}", self.workers, self.tp)
    }
}

/// The roles of workers in a mode.
pub(super) fn roles(mode: &str) -> &'static [Role] {
    match mode {
        "aggregated" => &[Role::Aggregated],
        "disaggregated" => &[Role::Prefill, Role::Decode],
        other => panic!("the schema has a mode {other} that the twin has not"),
    }
}

pub(super) fn charge(name: &str) -> Charge {
    match name {
        "destination_missing" => Charge::DestinationMissing,
        "full_prompt" => Charge::FullPrompt,
        other => panic!("the schema has a charge {other} that the twin has not"),
    }
}

/// A setting that a pool may have of its own, else that of all engines.
fn own(pick: &Picks<'_>, role: Role, setting: &str) -> Option<u32> {
    let own = match role {
        Role::Aggregated => None,
        Role::Prefill | Role::Decode => pick.optional_u32(&format!("{}.{setting}", role.name())),
    };
    own.or_else(|| pick.optional_u32(&format!("engine.{setting}")))
}

impl Deployer<'_> {
    pub(super) fn topology(&self, pick: &Picks<'_>) -> Result<Topology, Refusal> {
        let roles = roles(&pick.text("deployment.mode"));
        let sizes: Vec<Size> = roles.iter().map(|&role| Size::of(pick, role)).collect();
        let gpus: u64 = sizes.iter().map(|size| size.gpus()).sum();
        if gpus > u64::from(self.study.max_gpus) {
            let words: Vec<String> = sizes.iter().map(|size| size.words()).collect();
            let reason = format!("{} = {gpus} GPUs, max_gpus = {}", words.join(" + "), self.study.max_gpus);
            return refuse(RefusalCode::GpuBudget, reason);
        }
        let pool = |role: Role| {
            self.pool(pick, role).map_err(|refusal| match role {
                Role::Aggregated => refusal,
                _ => Refusal { reason: format!("{} workers: {}", role.name(), refusal.reason), ..refusal },
            })
        };
        if let [only] = roles {
            return Ok(Topology::Aggregated(pool(*only)?));
        }
        Ok(Topology::Disaggregated {
            prefill: pool(Role::Prefill)?,
            decode: pool(Role::Decode)?,
            transfer: self.transfer(pick),
            local_prefill: LocalPrefill {
                below_tokens: pick.u32("decode.local_prefill_tokens"),
                most_of_prompt: pick.real("decode.local_prefill_share"),
                most_kv: pick.real("decode.local_prefill_kv_share"),
            },
        })
    }

    fn transfer(&self, pick: &Picks<'_>) -> TransferConfig {
        // The peer knows no bandwidth unless it is told one.
        let default = if self.study.peer_compat { 0.0 } else { TransferConfig::GBPS };
        let gbps = pick.optional_real("transfer.gbps").unwrap_or(default);
        // Each head once: as one GPU would hold them.
        let whole = self.shapes.first().map(|(shape, _)| WorkerShape { tp: 1, ..shape.clone() });
        TransferConfig {
            gbps: (gbps > 0.0).then_some(gbps),
            latency_ms: pick.real("transfer.latency_ms"),
            bytes_per_token: whole.map_or(0.0, |shape| shape.kv_bytes_per_token()),
            charge: charge(&pick.text("transfer.charge")),
            contention: pick.flag("transfer.contention"),
        }
    }

    fn pool(&self, pick: &Picks<'_>, role: Role) -> Result<Pool, Refusal> {
        let Size { tp, ranks, workers } = Size::of(pick, role);
        let backend = backend(&pick.text("engine.backend"));
        let (shape, timing) = self
            .shapes
            .iter()
            .find(|(s, _)| s.backend == backend && s.tp == tp)
            .expect("every shape of the space was built");
        let timing = match timing {
            Ok(timing) => timing.clone(),
            Err(reason) => return refuse(RefusalCode::Shape, reason.clone()),
        };
        let mut engine = EngineConfig {
            backend,
            block_size: pick.u32("engine.block_size"),
            max_num_seqs: own(pick, role, "max_num_seqs").expect("it has a default"),
            max_num_batched_tokens: own(pick, role, "max_num_batched_tokens").expect("it has a default"),
            prefix_caching: pick.flag("engine.prefix_caching"),
            chunked_prefill: pick.flag("engine.chunked_prefill"),
            preemption: preemption(&pick.text("engine.preemption")),
            admission: admission(&pick.text("engine.admission")),
            max_model_len: pick.optional_u32("engine.max_model_len"),
            waiting_order: waiting_order(&pick.text("engine.waiting_order")),
            max_prefill_tokens: pick.u32("engine.max_prefill_tokens"),
            schedule_conservativeness: pick.real("engine.schedule_conservativeness"),
            prefill_decode_interval: pick.u32("engine.prefill_decode_interval"),
            attention_dp: ranks,
            // Nothing is drafted where nothing is generated.
            speculation: self.speculation(pick.u32("engine.speculative_tokens")).filter(|_| role != Role::Prefill),
            gpu_blocks: 0,
            tiers: tiers::of(pick, role, shape)?,
        };
        self.check_limits(&engine)?;
        engine.gpu_blocks = self.gpu_blocks(own(pick, role, "gpu_blocks"), &engine, shape, role)?;
        Ok(Pool { workers, gpus_per_worker: tp * ranks, engine, timing })
    }

    fn speculation(&self, tokens: u32) -> Option<Speculation> {
        let (acceptance, draft_cost) = self.study.speculation.clone();
        (tokens > 0).then_some(Speculation { tokens, acceptance, draft_cost, seed: self.study.seed })
    }

    fn check_limits(&self, engine: &EngineConfig) -> Result<(), Refusal> {
        let (tokens, seqs) = (engine.max_num_batched_tokens, engine.max_num_seqs);
        // SGLang's passes either prefill or decode, and what it cannot prefill it rejects.
        if engine.backend == Backend::Sglang {
            return Ok(());
        }
        let drafted = engine.speculation.as_ref().map_or(0, |s| s.tokens);
        if u64::from(tokens) < u64::from(seqs) * u64::from(1 + drafted) && drafted > 0 {
            let reason = format!(
                "max_num_batched_tokens = {tokens} is below max_num_seqs x (1 + speculative_tokens) = {seqs} x {}: \
                 sequences that decode would leave no room for prompts",
                1 + drafted
            );
            return refuse(RefusalCode::Limits, reason);
        }
        if tokens < seqs {
            let reason =
                format!("max_num_batched_tokens = {tokens} is below max_num_seqs = {seqs}: the engine would not start");
            return refuse(RefusalCode::Limits, reason);
        }
        let longest = self.demand.of_admissible(engine.max_model_len).input_tokens;
        if !engine.chunked_prefill && longest > tokens {
            let reason = format!(
                "chunked prefill is off and the longest prompt has {longest} tokens, more than max_num_batched_tokens = {tokens}: it could never be computed"
            );
            return refuse(RefusalCode::Limits, reason);
        }
        Ok(())
    }

    /// KV blocks of one worker: as many as were asked for, if they fit, else as many as fit.
    fn gpu_blocks(
        &self,
        asked: Option<u32>,
        engine: &EngineConfig,
        shape: &WorkerShape,
        role: Role,
    ) -> Result<u32, Refusal> {
        let block_size = engine.block_size;
        // Timings that know no model leave a given number of blocks as it is.
        let is_physical = !matches!(self.study.timing, TimingSpec::Polynomial { .. } | TimingSpec::Fixed { .. });
        let (blocks, capacity) = match asked {
            Some(asked) if !is_physical => (asked, None),
            _ => {
                let capacity = kv_capacity(shape, engine.max_num_batched_tokens, self.study.gpu_memory_utilization)
                    .or_else(|reason| refuse(RefusalCode::KvCapacity, reason))?;
                let fit = u32::try_from(capacity.kv_tokens / u64::from(block_size)).unwrap_or(u32::MAX);
                match asked {
                    Some(asked) if asked > fit => {
                        let reason = format!(
                            "engine.gpu_blocks = {asked} of {block_size} tokens, but {fit} fit; {}",
                            capacity.arithmetic()
                        );
                        return refuse(RefusalCode::KvCapacity, reason);
                    }
                    _ => (asked.unwrap_or(fit), Some(capacity)),
                }
            }
        };
        let longest = self.demand.of_admissible(engine.max_model_len);
        // A worker that only computes prompts has room for no more than the first token.
        let (what, longest) = match role {
            Role::Prefill => ("prompt", u64::from(longest.input_tokens) + 1),
            Role::Aggregated | Role::Decode => ("request", longest.total_tokens),
        };
        let needed = longest.div_ceil(u64::from(block_size));
        // The peer simulates such a deployment and rejects the request.
        if needed > u64::from(blocks) && !self.study.peer_compat {
            let arithmetic = capacity.map_or_else(|| format!("engine.gpu_blocks = {blocks}"), |c| c.arithmetic());
            let reason = format!(
                "the longest {what} has {longest} tokens = {needed} blocks of {block_size}, and a worker has {blocks}; {arithmetic}"
            );
            return refuse(RefusalCode::KvCapacity, reason);
        }
        Ok(blocks)
    }
}
