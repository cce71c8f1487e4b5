#!/usr/bin/env python3
"""Counts the instructions of a request at the edge, by Callgrind, and compares them with benchmarks/instructions.json.

    benchmarks/instructions.py            fails when a figure has changed by more than a tenth
    benchmarks/instructions.py --write    stores the figures as they are
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "instructions.json"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "instructions" / "benchmarks"
SCENARIOS = ["answered", "unsampled", "unauthorized", "not-found"]
# The difference leaves the start out.
FEW, MANY = 100, 1100
TOLERANCE = 0.10


def count(scenario, requests):
    """Instructions of a whole process that makes so many requests."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", BINARY]
    command += ["instructions", scenario, str(requests)]
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not collected:
        raise SystemExit(f"{scenario} failed:\n{run.stderr}")
    return int(collected.group(1))


def main():
    build = ["cargo", "build", "--profile=instructions", "--locked", "--quiet", "--package=benchmarks"]
    subprocess.run(build, cwd=ROOT, check=True)
    found = {name: (count(name, MANY) - count(name, FEW)) // (MANY - FEW) for name in SCENARIOS}
    if "--write" in sys.argv[1:]:
        STORED.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    failed = False
    for name, figure in found.items():
        change = figure / stored[name] - 1
        print(f"{name:14} {figure:8} instructions a request, stored {stored[name]:8}, {change:+.1%}")
        failed |= abs(change) > TOLERANCE
    if failed:
        print(f"changed by more than {TOLERANCE:.0%}; if that is meant: benchmarks/instructions.py --write", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
