"""What a release publishes: images, the chart, and in it what watches the pods."""

import json
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import helm_python
import yaml

from release import ROOT

SOURCES = ROOT / "deploy" / "observability"
RUNBOOKS = ROOT / "docs" / "runbooks"
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


def check_observability(release, folder):
    """Alerts, dashboards and the data source for traces are those of deploy/observability."""
    values = release.values
    rules = release.of("PrometheusRule")
    release.expect(len(rules) == values["prometheusRule"]["enabled"], "alerts", f"{len(rules)}")
    for item in rules:
        check_rules(release, item, folder)
    maps = {o["metadata"]["name"].rsplit("-", 1)[1]: o for o in release.of("ConfigMap")}
    grafana = values["grafana"]
    release.expect(("dashboards" in maps) == grafana["enabled"], "grafana", "dashboards")
    if grafana["enabled"]:
        check_dashboards(release, maps["dashboards"])
        sources = yaml.safe_load(maps["datasources"]["data"]["threadpilot-traces.yml"])
        said = {key: sources["datasources"][0][key] for key in ("type", "url")}
        release.expect(said == grafana["traces"], "grafana", f"the traces are at {said}")


def check_rules(release, item, folder):
    base = release.values["prometheusRule"]["runbooks"]
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(item["spec"]))
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    release.expect(checked.returncode == 0, "alerts", checked.stderr)
    found = [rule for group in item["spec"]["groups"] for rule in group["rules"]]
    for rule in found:
        if "alert" in rule:
            url = rule["annotations"].get("runbook_url", "")
            page = RUNBOOKS / url.removeprefix(f"{base}/")
            there = url.startswith(f"{base}/") and page.is_file()
            release.expect(there, rule["alert"], f"the runbook {url} is no page")
            rule["annotations"]["runbook_url"] = str(page.relative_to(ROOT))
            if "vehicle" not in release.services:
                away = 'absent(up{job="vehicle"})' not in rule["expr"]
                release.expect(away, rule["alert"], "misses a Vehicle that is elsewhere")
    files = sorted((SOURCES / "prometheus" / "rules").glob("*.yml"))
    wanted = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    names = [rule.get("alert") or rule["record"] for group in wanted for rule in group["rules"]]
    seen = [rule.get("alert") or rule["record"] for rule in found]
    release.expect(seen == names, "alerts", f"are {seen}")
    if "vehicle" in release.services:
        release.expect(item["spec"]["groups"] == wanted, "alerts", "differ from their files")


def check_dashboards(release, item):
    files = (SOURCES / "grafana" / "dashboards").glob("*.json")
    wanted = {file.name: json.loads(file.read_text()) for file in files}
    found = {name: json.loads(text) for name, text in item["data"].items()}
    release.expect(found == wanted, "dashboards", "differ from their files")
