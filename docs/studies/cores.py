#!/usr/bin/env python3
"""Measures how much of the cores a search uses, by strategy and by what a simulation takes; draws a figure.

    docs/studies/cores.py SPACE.toml --out FIGURE.svg --sessions 250,500,1000,2000 --strategies sobol,auto

Cores in use: processor time over elapsed time times threads, from the start of `servescout search` to its
end, loading, shortlist and figures included. What a simulation takes is the processor time of the `sobol`
search of the same length, by simulation. The space's workload must be synthetic: its sessions are what is
varied. Nothing else may run meanwhile. Needs Python 3.8 and `servescout` on the path (or $SERVESCOUT);
Linux or macOS.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from sweep import COLOURS, panel

GOAL = 90.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--out", required=True)
    parser.add_argument("--sessions", default="250,500,1000,2000,4000")
    parser.add_argument("--strategies", default="sobol,genetic,auto,bayesian")
    parser.add_argument("--budget", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def searched(options, strategy, sessions):
    """Processor and elapsed seconds of one search."""
    out = tempfile.mkdtemp(prefix="servescout-cores-")
    command = [os.environ.get("SERVESCOUT", "servescout"), "search", options.space, "--out", os.path.join(out, "run")]
    command += ["--strategy", strategy, "--budget", str(options.budget), "--threads", str(options.threads)]
    command += ["--set", f"workload.synthetic.sessions={sessions}", "--set", "shortlist.draws=0"]
    started = time.monotonic()
    try:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError:
        sys.exit(f"no {command[0]} to run: put it on the path, or name it in $SERVESCOUT")
    said = child.stderr.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    elapsed = time.monotonic() - started
    shutil.rmtree(out)
    if status != 0:
        sys.exit(f"{' '.join(command)}\n{said}")
    return used.ru_utime + used.ru_stime, elapsed


def figure(options, milliseconds, strategies, shares):
    width, height, left, top = 520, 260, 60, 70
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 90} {height + 120}" width="{width + 90}" '
        f'height="{height + 120}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    x = left
    for index, name in enumerate([*strategies, f"goal, {GOAL:.0f} %"]):
        out.append(f'<rect x="{x}" y="12" width="14" height="4" fill="{COLOURS[index]}"/>')
        out.append(f'<text x="{x + 20}" y="19" font-size="12">{name}</text>')
        x += 40 + 7 * len(name)
    title = f"Cores in use, % of {options.threads}, {options.budget} simulations, over ms a simulation"
    lines = [*shares, [GOAL] * len(milliseconds)]
    panel(out, left, top, width, height, title, milliseconds, lines, False)
    return "\n".join(out + ["</svg>", ""])


def main():
    options = arguments()
    sessions = [int(n) for n in options.sessions.split(",")]
    strategies = options.strategies.split(",")
    milliseconds = []
    shares = {strategy: [] for strategy in strategies}
    print(f"| sessions | ms a simulation | {' | '.join(strategies)} |\n|{'---|' * (len(strategies) + 2)}")
    for n in sessions:
        used = {strategy: searched(options, strategy, n) for strategy in {"sobol": 0, **shares}}
        milliseconds.append(round(1000 * used["sobol"][0] / options.budget, 1))
        for strategy in strategies:
            processor, elapsed = used[strategy]
            shares[strategy].append(100 * processor / (elapsed * options.threads))
        cells = [f"{shares[strategy][-1]:.0f}%" for strategy in strategies]
        print(f"| {n} | {milliseconds[-1]} | {' | '.join(cells)} |", flush=True)
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(figure(options, milliseconds, strategies, list(shares.values())))


if __name__ == "__main__":
    main()
