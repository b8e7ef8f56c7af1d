#!/usr/bin/env python3
"""Replays one search space over concurrencies for several settings; prints a table, draws a figure.

    docs/studies/sweep.py SPACE.toml --out FIGURE.svg --concurrency 32,64,128 \\
        --metric ttft_mean_ms=s --metric prefix_reuse_ratio \\
        --series 'round robin' router.policy=round_robin --series 'KV-aware' router.policy=kv

A search varies knobs; the load is no knob, so studies over it are made with this. Needs Python 3.8 and
`servescout` on the path (or $SERVESCOUT); nothing else.
"""

import argparse
import json
import math
import os
import subprocess
import sys

COLOURS = ["#4e79a7", "#e15759", "#59a14f", "#b07aa1", "#f28e2b", "#76b7b2"]
NAMES = {
    "ttft_mean_ms": "TTFT mean",
    "ttft_p90_ms": "TTFT p90",
    "tpot_mean_ms": "TPOT mean",
    "output_tokens_per_s_per_gpu": "output tokens/s per GPU",
    "prefix_reuse_ratio": "prompt tokens reused",
    "kv_util_mean": "KV blocks in use",
    "tier_wait_mean_ms": "wait for KV, mean",
    "preemptions": "preemptions",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--out", required=True)
    parser.add_argument("--concurrency", required=True)
    parser.add_argument("--metric", action="append", required=True, help="NAME, NAME=s to show ms as s, or NAME=of to show it as a share of the first series'")
    parser.add_argument("--log", default="", help="metrics with a logarithmic axis, by comma")
    parser.add_argument("--series", action="append", nargs="+", required=True, metavar=("NAME", "KNOB=VALUE"))
    return parser.parse_args()


def program():
    return os.environ.get("SERVESCOUT", "servescout")


def missing():
    sys.exit(f"no {program()} to run: put it on the path, or name it in $SERVESCOUT")


def replay(space, settings):
    command = [program(), "replay", space, "--json"]
    for setting in settings:
        command += ["--set", setting]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        missing()
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)["metrics"]


def shown(value):
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def ticks(low, high, log):
    if log:
        return [10.0**e * m for e in range(-6, 9) for m in (1, 2, 5) if low <= 10.0**e * m <= high]
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 5)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def panel(out, x0, y0, width, height, title, xs, lines, log):
    values = [v for line in lines for v in line if v is not None]
    low, high = (min(values) / 1.15, max(values) * 1.15) if log else (0.0, max(values) * 1.08 or 1.0)
    fx = lambda x: x0 + (math.log2(x / xs[0]) / math.log2(xs[-1] / xs[0])) * width
    position = (lambda v: math.log(v / low) / math.log(high / low)) if log else (lambda v: (v - low) / (high - low))
    fy = lambda v: y0 + height - position(v) * height
    out.append(f'<text x="{x0}" y="{y0 - 9}" font-size="13" font-weight="bold">{title}</text>')
    for tick in ticks(low, high, log):
        out.append(f'<line x1="{x0}" x2="{x0 + width}" y1="{fy(tick):.1f}" y2="{fy(tick):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x0 - 6}" y="{fy(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for x in xs:
        out.append(f'<text x="{fx(x):.1f}" y="{y0 + height + 16}" text-anchor="middle">{x}</text>')
    out.append(f'<rect x="{x0}" y="{y0}" width="{width}" height="{height}" fill="none" stroke="#888"/>')
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        points = [(fx(x), fy(v)) for x, v in zip(xs, line) if v is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]


def named(metric, how):
    unit = " s" if how == "s" else " ms" if metric.endswith("_ms") and how != "of" else ""
    return NAMES.get(metric, metric) + unit


def value(results, index, concurrency, metric, how):
    found = results[index][concurrency][metric]
    if how == "of" and found is not None:
        return found / results[0][concurrency][metric]
    return found / 1000 if how == "s" and found is not None else found


def opened(size, names):
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    left = 60
    for index, name in enumerate(names):
        out.append(f'<rect x="{left}" y="12" width="14" height="4" fill="{COLOURS[index % len(COLOURS)]}"/>')
        out.append(f'<text x="{left + 20}" y="19" font-size="12">{name}</text>')
        left += 40 + 7 * len(name)
    return out


def figure(xs, names, metrics, results, logs):
    columns, width, height = 2, 300, 170
    rows = math.ceil(len(metrics) / columns)
    total = (columns * (width + 80) + 10, rows * (height + 70) + 40)
    out = opened(total, names)
    for index, (metric, how) in enumerate(metrics):
        title = named(metric, how) + (f", share of `{names[0]}`" if how == "of" else "")
        x0 = 60 + (index % columns) * (width + 80)
        y0 = 60 + (index // columns) * (height + 70)
        lines = [[value(results, i, c, metric, how) for c in xs] for i in range(len(results))]
        panel(out, x0, y0, width, height, title + " over concurrency", xs, lines, metric in logs and how != "of")
    return "\n".join(out + ["</svg>", ""])


def main():
    options = arguments()
    xs = [int(c) for c in options.concurrency.split(",")]
    metrics = [(name, how) for name, _, how in (m.partition("=") for m in options.metric)]
    names = [series[0] for series in options.series]
    results = [{c: replay(options.space, [f"workload.concurrency={c}", *series[1:]]) for c in xs} for series in options.series]
    heads = [named(m, how) + (f" / {names[0]}'s" if how == "of" else "") for m, how in metrics]
    print(f"| | concurrency | {' | '.join(heads)} |\n|{'---|' * (len(metrics) + 2)}")
    for index, name in enumerate(names):
        for c in xs:
            cells = [shown(value(results, index, c, m, how)) for m, how in metrics]
            print(f"| {name} | {c} | {' | '.join(cells)} |")
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(figure(xs, names, metrics, results, options.log.split(",")))


if __name__ == "__main__":
    main()
