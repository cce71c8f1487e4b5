#!/usr/bin/env -S uv run --quiet --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["PyYAML==6.0.3"]
# ///
"""The rules of our own for the workflows. Needs uv and shellcheck."""

import os
import pathlib
import re
import subprocess
import sys

import yaml

PINNED = re.compile(r"\s*(?:- )?uses: (?P<action>[\w./-]+)@[0-9a-f]{40} # v\d+(?:\.\d+)+")
failures = []


def fail(where, what):
    failures.append(f"{where}: {what}")


def check_pins(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if re.match(r"\s*(- )?uses:", line) and "uses: ./" not in line and not PINNED.fullmatch(line):
            fail(f"{path}:{number}", "not pinned as `uses: action@<40 hex digits> # v1.2.3`")


def check_run(where, script):
    if "${{" in script:
        fail(where, "an expression in a script: pass it through `env`")
    # As the runner starts it.
    checked = subprocess.run(["shellcheck", "--shell=bash", "-"], input="set -e\n" + script, capture_output=True, text=True)
    if checked.returncode:
        fail(where, checked.stdout)


def check_workflow(path):
    workflow = yaml.safe_load(path.read_text())
    check_pins(path)
    if workflow.get("permissions") != {"contents": "read"}:
        fail(path, "the permissions at the top are not `contents: read`")
    if "concurrency" not in workflow:
        fail(path, "no concurrency group")
    for name, job in workflow["jobs"].items():
        where = f"{path}: {name}"
        if "uses" not in job and "timeout-minutes" not in job:
            fail(where, "no timeout-minutes")
        for step in job.get("steps", []):
            if "run" in step:
                check_run(f"{where}: {step.get('name')}", step["run"])
    return workflow


def check_scripts(texts):
    """What is called exists, and each check is called."""
    called = set(re.findall(r"\bscripts/[\w.-]+\.(?:sh|py|mjs)\b", "\n".join(texts)))
    for script in sorted(called):
        if not os.access(script, os.F_OK if script.endswith(".mjs") else os.X_OK):
            fail(script, "called, but not there or not executable")
    for script in sorted(map(str, pathlib.Path("scripts").glob("check-*"))):
        if script not in called:
            fail(script, "nothing calls it")


def check_parts(workflows, run):
    """Each part of `.ci/run` is in a workflow, and the other way round."""

    def declared(name):
        return set(re.search(rf"^{name}=\((.*)\)$", run, re.MULTILINE)[1].split())

    def listed(name):
        return set(workflows[name]["jobs"]["check"]["strategy"]["matrix"]["part"])

    for part in sorted(declared("always") - listed("ci")):
        fail(".ci/run", f"`{part}` is not in ci.yml")
    for part in sorted(declared("named") - listed("ci") - listed("nightly")):
        fail(".ci/run", f"`{part}` is in no workflow")
    for part in sorted((listed("ci") | listed("nightly")) - declared("always") - declared("named")):
        fail(".ci/run", f"has no `{part}`")


paths = sorted(pathlib.Path(".github/workflows").iterdir())
workflows = {path.stem: check_workflow(path) for path in paths}
run = pathlib.Path(".ci/run").read_text()
check_parts(workflows, run)
check_scripts([run, *(path.read_text() for path in paths)])
if failures:
    sys.exit("\n".join(failures))
print(f"{len(paths)} workflows keep our rules")
