#!/usr/bin/env python3
"""Measures how much of the cores a search uses, by strategy and by what a simulation takes; draws a figure.

    docs/studies/cores.py SPACE.toml --out FIGURE.svg --sessions 250,500,1000,2000 --strategies sobol,auto

Cores in use: processor time over elapsed time times threads, from the start of `servescout search` to its
end, loading, shortlist and figures included. What a simulation takes is the processor time of the `sobol`
search of the same length, by simulation, with what comes before and after them. The space's workload must be synthetic: its sessions are what is
varied. Nothing else may run meanwhile. Needs Python 3.8 and `servescout` on the path (or $SERVESCOUT);
Linux or macOS.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from sweep import missing, opened, panel, program

GOAL = 90.0


def counts(text):
    found = text.split(",")
    if len(found) < 2 or not all(n.isdecimal() and int(n) > 0 for n in found):
        raise argparse.ArgumentTypeError(f"{text}: two or more numbers of sessions, such as 250,1000")
    return [int(n) for n in found]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--out", required=True)
    parser.add_argument("--sessions", type=counts, default="250,500,1000,2000,4000", help="two or more, by comma")
    parser.add_argument("--strategies", default="sobol,genetic,auto,bayesian")
    parser.add_argument("--budget", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def searched(options, strategy, sessions):
    """Processor and elapsed seconds of one search."""
    with tempfile.TemporaryDirectory(prefix="servescout-cores-") as out:
        command = [program(), "search", options.space, "--out", os.path.join(out, "run"), "--strategy", strategy]
        command += ["--budget", str(options.budget), "--threads", str(options.threads)]
        command += ["--set", f"workload.synthetic.sessions={sessions}", "--set", "shortlist.draws=0"]
        started = time.monotonic()
        try:
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except FileNotFoundError:
            missing()
        said = child.stderr.read().decode()
        _, status, used = os.wait4(child.pid, 0)
        elapsed = time.monotonic() - started
    if status != 0:
        sys.exit(f"{' '.join(command)}\n{said}")
    return used.ru_utime + used.ru_stime, elapsed


def figure(options, milliseconds, strategies, shares):
    width, height, left, top = 520, 260, 60, 70
    out = opened((width + 90, height + 120), [*strategies, f"goal, {GOAL:.0f} %"])
    title = f"Cores in use, % of {options.threads}, {options.budget} simulations, over ms a simulation"
    lines = [*shares, [GOAL] * len(milliseconds)]
    panel(out, left, top, width, height, title, milliseconds, lines, False)
    return "\n".join(out + ["</svg>", ""])


def main():
    options = arguments()
    strategies = options.strategies.split(",")
    milliseconds = []
    shares = {strategy: [] for strategy in strategies}
    print(f"| sessions | ms a simulation | {' | '.join(strategies)} |\n|{'---|' * (len(strategies) + 2)}")
    for n in options.sessions:
        used = {strategy: searched(options, strategy, n) for strategy in ["sobol", *filter("sobol".__ne__, strategies)]}
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
