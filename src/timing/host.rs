//! What the host adds to a pass.

use crate::catalog::Backend;

/// Time that scheduling, sampling, input preparation and the HTTP front end add to every pass, ms,
/// where the user gives none.
///
/// vLLM: the median, over the 32 measured points of dense models with at most 8 requests in flight
/// among the serving measurements that ship with AI Configurator 0.12.0 (Qwen3-32B on H100,
/// Llama-3.1-70B on H100 and B200), of measured TPOT less the composed pass and the share of
/// others' prefills: 1.15 ms, quartiles 0.3 and 1.5. SGLang overlaps scheduling with the pass, and
/// its measured points (16 requests and more) leave nothing over; TRT-LLM has no measured tables to
/// compare with. Both add nothing.
pub fn default_host_ms(backend: Backend) -> f64 {
    match backend {
        Backend::Vllm => 1.15,
        Backend::Sglang | Backend::Trtllm => 0.0,
    }
}
