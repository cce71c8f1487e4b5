"""What a release publishes: the names of the images and of the chart."""

import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import helm_python
import yaml

from release import ROOT

IMAGES = "ghcr.io/Owner/Repository"
DIGEST = f"sha256:{'0' * 64}"
# Answer as the tools do, without a registry.
DOCKER = f"""#!/bin/sh
case "$*" in
*' inspect '*) echo '"{DIGEST}"' ;;
*' create '*) ;;
*) echo "docker $*: not expected" >&2; exit 1 ;;
esac
"""
HELM = f"""#!/bin/sh
case $1 in
package) [ -f "$2/Chart.yaml" ] && mkdir -p "$4" && echo >"$4/threadpilot-{{version}}.tgz" ;;
push) [ -f "$2" ] && printf 'Pushed: %s/threadpilot:{{version}}\nDigest: {DIGEST}\n' "${{{{3#oci://}}}}" >&2 ;;
esac
"""


def published(*arguments):
    """What `scripts/images.sh` prints for these arguments in a release."""
    version = arguments[2]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("docker", DOCKER), ("helm", HELM.format(version=version))):
            tool = Path(folder) / name
            tool.write_text(text)
            tool.chmod(0o755)
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "IMAGES": IMAGES}
        done = subprocess.run(
            [ROOT / "scripts" / "images.sh", *arguments],
            env=environment, capture_output=True, text=True, check=True,
        )
    return done.stdout.strip()


def missing(chart):
    """Faults of the packaged README: files of the chart that it names and the package lacks."""
    source = ROOT / "deploy" / "helm" / "threadpilot"
    with tarfile.open(chart) as package:
        packed = {name.split("/", 1)[1] for name in package.getnames()}
    text = (source / "README.md").read_text()
    for name in set(re.findall(r"`([\w./-]+)`|\]\(([\w./-]+)\)", text)):
        name = "".join(name)
        if (source / name).is_file() and name not in packed:
            yield f"README.md names {name}, which the package lacks"


def check(chart, values):
    """Faults between what the release's workflow pushes and what the chart asks for."""
    yield from missing(chart)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    services = workflow["jobs"]["images"]["strategy"]["matrix"]["service"]
    workspace = (ROOT / "Cargo.toml").read_text().split("[workspace.package]", 1)[1]
    version = re.search(r'^version = "(.+)"$', workspace, re.MULTILINE)[1]
    pushed = {published("join", it, version, DIGEST).split("@")[0] for it in services}
    values = values | {"image": {"registry": IMAGES.lower()}}
    with helm_python.Chart.load(chart) as loaded:
        text = "".join(loaded.render(values, name="example", namespace="threadpilot").values())
    asked = set(re.findall(r"^ *image: (\S+)$", text, re.MULTILINE))
    if asked != pushed:
        yield f"the release pushes {sorted(pushed)}, the chart asks for {sorted(asked)}"
    place = f"oci://{IMAGES.lower()}/charts/threadpilot:{version}@{DIGEST}"
    if (said := published("chart", "threadpilot", version)) != place:
        yield f"the release says that the chart is at {said}"
    print(f"the release's images and chart {version} fit together")
