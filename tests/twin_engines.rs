//! Engines on scenarios small enough to work out by hand: when tokens come, what is reused, who waits.

use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::deployment::*;
use servescout::twin::{self, Outcome, RequestRecord, Status};
use servescout::workload::{Load, Workload};

use crate::jumping::workload;

const POLYNOMIAL: Timing = Timing::Polynomial { floor_means: false };
const FIXED: Timing = Timing::Fixed { prefill_ms: 10.0, decode_ms: 5.0 };

/// The records of a workload on one worker; stepping gives the same.
fn serve(engine: &EngineConfig, timing: &Timing, workload: &Workload) -> Vec<RequestRecord> {
    let [jumped, stepped] = [false, true].map(|pass_by_pass| simulate(engine, timing, workload, pass_by_pass));
    let times = |o: &Outcome| -> Vec<i64> {
        o.requests.as_ref().unwrap().iter().map(|r| (r.e2e_ms * 1e6).round() as i64).collect()
    };
    assert_eq!((jumped.passes, times(&jumped)), (stepped.passes, times(&stepped)));
    jumped.requests.unwrap()
}

fn simulate(engine: &EngineConfig, timing: &Timing, workload: &Workload, pass_by_pass: bool) -> Outcome {
    let deployment = Deployment {
        pass_by_pass,
        ..Deployment::new(Topology::Aggregated(Pool {
            workers: 1,
            gpus_per_worker: engine.attention_dp,
            engine: engine.clone(),
            timing: timing.clone(),
        }))
    };
    twin::simulate(&deployment, workload, 1, true)
}

/// Content ids of a prompt of `tokens` tokens that nothing else has, 32 tokens each.
fn prompt(tokens: u32, from: u32) -> Vec<u32> {
    (from..from + tokens.div_ceil(32)).collect()
}

fn alone(tokens: u32, output: u32) -> Workload {
    workload(&[(0.0, prompt(tokens, 0), 0, output)], 1, Load::Open, false)
}

fn assert_ms(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.01, "{found} ms, {expected} expected");
}

#[test]
fn a_lone_request_prefills_once_and_decodes_at_its_context() {
    let records = serve(&EngineConfig::default(), &POLYNOMIAL, &alone(1024, 4));
    assert_ms(records[0].ttft_ms, 32.4907);
    assert_ms(records[0].e2e_ms, 49.8692);
    assert_ms(records[0].tpot_ms, 5.793);
}

#[test]
fn a_long_prompt_is_cut_by_the_token_budget() {
    let records = serve(&EngineConfig::default(), &POLYNOMIAL, &alone(20_000, 1));
    assert_ms(records[0].ttft_ms, 415.183);
}

#[test]
fn a_cached_prompt_computes_its_last_block_again() {
    let same = (0.0, prompt(1024, 0), 0, 1);
    let twice = workload(&[same.clone(), (1000.0, same.1, 0, 1)], 1, Load::Open, false);
    let records = serve(&EngineConfig::default(), &POLYNOMIAL, &twice);
    assert_eq!(records[1].reused_tokens, 960);
    assert_ms(records[1].ttft_ms, 17.475);
    let off = EngineConfig { prefix_caching: false, ..Default::default() };
    assert_eq!(serve(&off, &POLYNOMIAL, &twice)[1].reused_tokens, 0);
}

#[test]
fn misfits_are_rejected_and_the_rest_is_served() {
    for backend in [Backend::Vllm, Backend::Sglang, Backend::Trtllm] {
        let rows = [
            (0.0, prompt(96, 0), 0, 0),
            (0.0, prompt(96, 10), 0, 1),
            (0.0, prompt(4096, 20), 0, 5),
            (0.0, prompt(640, 200), 0, 5),
        ];
        let rows: Vec<_> = rows.into();
        let served = workload(&rows, 1, Load::Open, false);
        let engine =
            EngineConfig { backend, block_size: 32, gpu_blocks: 64, max_model_len: Some(500), ..Default::default() };
        let records = serve(&engine, &POLYNOMIAL, &served);
        let statuses: Vec<Status> = records.iter().map(|r| r.status).collect();
        let (completed, rejected) = (Status::Completed, Status::Rejected);
        assert_eq!(statuses, [completed, completed, rejected, rejected], "{backend:?}");
        assert!(records[0].ttft_ms.is_nan() && records[1].ttft_ms > 0.0);
    }
}

#[test]
fn first_chunk_admission_starts_where_the_whole_sequence_does_not_fit() {
    // The first holds 7 of 16 blocks for 100 tokens; the second needs 12 in all, 6 in its first chunk.
    let rows = [(0.0, prompt(192, 0), 0, 100), (1.0, prompt(384, 100), 0, 2)];
    let served = workload(&rows, 1, Load::Open, false);
    let engine = |admission| EngineConfig {
        block_size: 32,
        gpu_blocks: 16,
        max_num_seqs: 8,
        max_num_batched_tokens: 193,
        admission,
        ..Default::default()
    };
    let whole = serve(&engine(Admission::WholeSequence), &FIXED, &served);
    let chunk = serve(&engine(Admission::FirstChunk), &FIXED, &served);
    assert!(whole[1].queue_ms > 400.0, "{}", whole[1].queue_ms);
    assert!(chunk[1].queue_ms < 15.0, "{}", chunk[1].queue_ms);
    assert!(chunk.iter().all(|r| r.status == Status::Completed));
}

#[test]
fn sglang_decodes_between_prefills_for_as_long_as_it_is_told() {
    let rows = [(0.0, prompt(96, 0), 0, 20), (1.0, prompt(96, 10), 0, 2)];
    let served = workload(&rows, 1, Load::Open, false);
    for (prefill_decode_interval, ttft_ms) in [(0, 19.0), (3, 34.0)] {
        let engine = EngineConfig { backend: Backend::Sglang, prefill_decode_interval, ..Default::default() };
        assert_ms(serve(&engine, &FIXED, &served)[1].ttft_ms, ttft_ms);
    }
}

#[test]
fn ranks_step_together_at_the_pace_of_the_slowest() {
    let rows = [(0.0, prompt(1024, 0), 0, 3), (0.0, prompt(4096, 100), 0, 3), (0.0, prompt(1024, 0), 0, 1)];
    let served = workload(&rows, 1, Load::Open, false);
    for backend in [Backend::Vllm, Backend::Sglang, Backend::Trtllm] {
        let engine = EngineConfig { backend, attention_dp: 2, ..Default::default() };
        let records = serve(&engine, &POLYNOMIAL, &served);
        let slowest = 4.209989e-7 * 4096.0 * 4096.0 + 1.518344e-2 * 4096.0 + 16.50142;
        assert_ms(records[0].ttft_ms, slowest);
        assert_ms(records[1].ttft_ms, slowest);
        assert_eq!(records[0].e2e_ms, records[1].e2e_ms);
        // In turn: the third is on the rank of the first, and computed in the same pass.
        assert_ms(records[2].ttft_ms, slowest);
    }
    let alone = EngineConfig { attention_dp: 1, ..Default::default() };
    assert!(serve(&alone, &POLYNOMIAL, &served)[0].ttft_ms > 100.0, "one rank computes them all");
}

#[test]
fn bursts_of_accepted_drafts_save_passes_and_drafting_costs_time() {
    let speculation = |acceptance: f64, draft_cost| {
        Some(Speculation { tokens: 3, acceptance: vec![acceptance], draft_cost, seed: 0 })
    };
    for backend in [Backend::Vllm, Backend::Trtllm] {
        let e2e = |speculation| {
            let engine = EngineConfig { backend, speculation, ..Default::default() };
            serve(&engine, &FIXED, &alone(96, 9))[0].e2e_ms
        };
        assert_ms(e2e(None), 10.0 + 8.0 * 5.0);
        assert_ms(e2e(speculation(0.0, 0.0)), 10.0 + 8.0 * 5.0);
        assert_ms(e2e(speculation(1.0, 0.0)), 10.0 + 2.0 * 5.0);
        assert_ms(e2e(speculation(1.0, 0.1)), 10.0 + 2.0 * 6.5);
    }
    let accepted = |seed| {
        let engine = EngineConfig { speculation: speculation(0.5, 0.0), ..Default::default() };
        let (passes, tokens) = (simulate(&engine, &FIXED, &alone(96, 4001), false).passes - 1, 4000.0);
        let per_pass = tokens / passes as f64;
        // 1 + 1/2 + 1/4 + 1/8 tokens a pass in the mean.
        assert!((per_pass - 1.875).abs() < 0.1, "{per_pass} tokens a pass, seed {seed}");
    };
    accepted(1);
}

#[test]
fn a_turn_waits_for_the_last_and_hits_what_it_generated() {
    let rows = [(0.0, prompt(64, 0), 0, 64), (1000.0, prompt(192, 0), 0, 4)];
    for (grows, reused) in [(false, 64), (true, 112)] {
        let session = workload(&rows, 2, Load::Open, grows);
        for backend in [Backend::Vllm, Backend::Trtllm] {
            let engine = EngineConfig { backend, block_size: 16, ..Default::default() };
            let records = serve(&engine, &FIXED, &session);
            assert_ms(records[1].arrival_ms, records[0].e2e_ms + 1000.0);
            assert_eq!(records[1].reused_tokens, reused, "{backend:?}");
        }
    }
}

#[test]
fn closed_loop_counts_requests_or_sessions() {
    let rows: Vec<_> = (0..6).map(|i| (500.0, prompt(96, 10 * i), 0, 3)).collect();
    // Three slots of single requests: the fourth starts when one of the first ends.
    let requests = workload(&rows, 1, Load::Closed { concurrency: 3 }, false);
    let records = serve(&EngineConfig::default(), &FIXED, &requests);
    assert_eq!(records.iter().filter(|r| r.arrival_ms == 0.0).count(), 3);
    assert_ms(records[3].arrival_ms, records[0].e2e_ms);
    // One slot of sessions of two turns: it is kept through think time.
    let sessions = workload(&rows, 2, Load::Closed { concurrency: 1 }, false);
    let records = serve(&EngineConfig::default(), &FIXED, &sessions);
    assert_ms(records[1].arrival_ms, records[0].e2e_ms + 500.0);
    assert_ms(records[2].arrival_ms, records[1].arrival_ms + records[1].e2e_ms);
}
