//! What the host adds to a pass.

use crate::catalog::Backend;

/// Time that scheduling, sampling, input preparation and the HTTP front end add to every pass, ms,
/// where the user gives none.
///
/// From the fair serving points among those that ship with AI Configurator 0.12.0, tables and
/// scheduler as they are, in steps of 0.1 ms: what makes the mean error of TPOT least. SGLang 2.0
/// (8.6% instead of 15.3%; 63 points, one source), TRT-LLM 0.2 (7.7% instead of 7.8%; 395 points).
/// vLLM depends on when it schedules ([`measured_host_ms`]); without knowing, the median that dense
/// models with at most 8 requests in flight leave over, 1.15 ms (32 points, quartiles 0.3 and 1.5).
pub fn default_host_ms(backend: Backend) -> f64 {
    match backend {
        Backend::Vllm => 1.15,
        Backend::Sglang => 2.0,
        Backend::Trtllm => 0.2,
    }
}

/// The same where it is known whether the engine schedules ahead of the pass in flight. vLLM does
/// from 0.14 on: 0.5 ms (334 points, 11.3% instead of 12.8% without); before, 1.5 ms (77 points,
/// 11.8% instead of 13.6% at 1.0: more would serve them better still, but the fit with all factors,
/// which the tables' own errors disturb less, says 1.5).
pub fn measured_host_ms(backend: Backend, schedules_ahead: bool) -> f64 {
    match (backend, schedules_ahead) {
        (Backend::Vllm, true) => 0.5,
        (Backend::Vllm, false) => 1.5,
        _ => default_host_ms(backend),
    }
}
