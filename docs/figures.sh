#!/usr/bin/env bash
# Makes the figures of README.md and docs/ again, all of them or those whose path is given:
#
#     docs/figures.sh [FIGURE]...
#
# Needs `servescout` on the path, python3, and for the studies of the Mooncake conversation trace that
# trace where their TOML says (traces/README.md tells where it comes from).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=target/figures
mkdir -p "$scratch"

wanted=("$@")
is_wanted() {
    [ ${#wanted[@]} = 0 ] && return 0
    local one
    for one in "${wanted[@]}"; do [ "$one" = "$1" ] && return 0; done
    return 1
}

# figure FILE COMMAND...: the command writes the file itself.
figure() {
    if is_wanted "$1"; then
        echo "== $1"
        "${@:2}"
    fi
}

# searched FILE PLOT SPACE: one of the figures that a search leaves.
searched() {
    if is_wanted "$1"; then
        echo "== $1"
        local run
        run=$scratch/$(basename "$3" .toml)
        [ -f "$run/plots/$2.svg" ] || servescout search "$3" --out "$run"
        cp "$run/plots/$2.svg" "$1"
    fi
}

figure results/example-quickstart/plots/frontier.png servescout plot results/example-quickstart
figure docs/performance/growth-requests.svg servescout bench growth --out docs/performance
figure docs/performance/growth-output.svg servescout bench growth --out docs/performance
figure docs/search/chat.svg servescout bench search --problem chat --seeds 5 --evaluations 25,50,100,200 \
    --plot docs/search/chat.svg
figure docs/search/cores.svg docs/studies/cores.py search-spaces/quickstart.toml --out docs/search/cores.svg \
    --sessions 125,250,500,1000,2000,4000
searched docs/studies/planner-interval.svg slices-ttft_p90_ms docs/studies/planner-interval.toml
searched docs/studies/planner-startup.svg slices-ttft_p90_ms docs/studies/planner-startup.toml
searched docs/studies/planner-static.svg frontier docs/studies/planner-static.toml
# Every deployment is simulated first (a minute or two); the table is named as the title shall say.
if is_wanted docs/studies/truth.svg && [ ! -e "$scratch/deployments" ]; then
    servescout search docs/studies/truth.toml --out "$scratch/truth" --set shortlist.draws=0
    ln -s truth/evaluations "$scratch/deployments"
fi
figure docs/studies/truth.svg servescout bench search --table "$scratch/deployments" --violation violation --log \
    --batch 16 --minimize usd_per_mtok_output,ttft_p90_ms --reach 0.95,0.99 --evaluations 25,50,100,200,400 \
    --knobs deployment.mode,aggregated.tp,aggregated.workers,prefill.tp,prefill.workers,decode.tp,decode.workers,engine.max_num_seqs,engine.max_num_batched_tokens,router.policy,router.overlap_credit,router.prefill_load_scale \
    --plot docs/studies/truth.svg
figure docs/studies/routing.svg docs/studies/sweep.py docs/studies/routing.toml --out docs/studies/routing.svg \
    --concurrency 32,64,128,256,512 \
    --metric ttft_mean_ms=s --metric ttft_mean_ms=of --metric output_tokens_per_s_per_gpu --metric tpot_mean_ms \
    --metric prefix_reuse_ratio --metric kv_util_mean --log ttft_mean_ms \
    --series 'round robin' router.policy=round_robin --series 'KV-aware' router.policy=kv
figure docs/studies/tiers.svg docs/studies/sweep.py docs/studies/tiers.toml --out docs/studies/tiers.svg \
    --concurrency 4,8,16,32,64,128,256 \
    --metric ttft_mean_ms=s --metric ttft_mean_ms=of --metric output_tokens_per_s_per_gpu --metric tpot_mean_ms \
    --metric prefix_reuse_ratio --metric tier_wait_mean_ms=s --log ttft_mean_ms \
    --series 'no tier' kv.host_gib=0 --series 'host 2 TiB' kv.host_gib=2048 kv.disk_gib=0 \
    --series 'host 256 GiB, disk 10 GB/s' kv.host_gib=256 kv.disk_gib=8192 kv.disk_gbps=10 \
    --series 'host 256 GiB, disk 1 GB/s' kv.host_gib=256 kv.disk_gib=8192 kv.disk_gbps=1
