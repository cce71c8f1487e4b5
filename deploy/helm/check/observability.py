"""Rules for what watches the pods: alerts, dashboards, the data source for traces."""

import json
import subprocess

import yaml

from release import ROOT

SOURCES = ROOT / "deploy" / "observability"
RUNBOOKS = ROOT / "docs" / "runbooks"


def check(release, folder):
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
