#!/usr/bin/env python3
"""Prints the tables of planner.md: one replay a row.

    docs/studies/planner.py interval|startup|static

The figures beside them are drawn by the searches that planner.md names. Needs Python 3.8 and `servescout` on
the path (or $SERVESCOUT); nothing else.
"""

import os
import sys

from sweep import replay

STUDIES = os.path.dirname(os.path.abspath(__file__))


def row(study, name, *settings):
    space = os.path.join(STUDIES, f"planner-{study}.toml")
    found = replay(space, settings)
    ttft_s, itl_ms = found["ttft_p90_ms"] / 1000, found["itl_p90_ms"]
    print(f"| {name} | {ttft_s:.2f} | {itl_ms:.0f} | {found['scale_events']:.0f} | {found['gpu_hours']:.2f} |")


def head(first):
    print(f"| {first} | TTFT p90 s | ITL p90 ms | scale events | GPU-hours |\n|{'---|' * 5}")


def interval():
    head("interval s")
    for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300):
        row("interval", seconds, f"planner.load_interval_s={seconds}")


def startup():
    head("start-up s")
    for seconds in (0, 30, 60, 90, 120, 150, 180, 210, 240, 300):
        row("startup", seconds, f"planner.startup_s={seconds}")


def static():
    head("workers")
    for workers in range(2, 9):
        row("static", f"{workers}, fixed", f"aggregated.workers={workers}", 'planner.policy="off"')
    for policy in ("load", "sla", "hybrid"):
        for seconds in (0, 60):
            settings = ("aggregated.workers=4", f'planner.policy="{policy}"', f"planner.startup_s={seconds}")
            row("static", f"`{policy}` from 4, start-up {seconds} s", *settings)


TABLES = {"interval": interval, "startup": startup, "static": static}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(__doc__)
    TABLES[sys.argv[1]]()
