#!/usr/bin/env -S uv run --quiet --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0", "PyYAML==6.0.3"]
# ///
"""Lints and renders the chart with each example, and checks what comes out.

Needs uv and promtool. Writes the manifests to the first folder given, which is made anew; the
services' binaries are in the second.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import yaml

import network
import published
import workloads
from release import COMPONENT, SERVICES, Release, flat, live_settings, manual, memory as memory_of

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "threadpilot"
EXAMPLES = CHART / "examples"
SIZED = EXAMPLES / "sized-by-terraform.yaml"
KUBERNETES = ("1.30", "1.37")

RENDERED = {
    "existing-secrets": ["existing-secrets.yaml"],
    "operators": ["operators.yaml"],
    "operators-sized": ["operators.yaml", SIZED.name],
    "vehicle-elsewhere": ["vehicle-elsewhere.yaml"],
}

API_KEY = re.compile(r"api_keys\.[a-z0-9_]+\.(key|sha256|expires_at|scopes|client)")
BROUGHT_BY_DATABASE = {("postgres-ca", "ca.crt")}
ELSEWHERE = {"base_url": "https://vehicle.example"}
CAPACITY = "legacy.capacity.singleCalls"
# What must not render, on top of existing-secrets.yaml, and what the refusal must name.
REFUSED = [
    ({"legacy": {"capacity": {"singleCalls": 3}}}, [f"{CAPACITY} = 3", "the 4 pods"]),
    ({"legacy": {"capacity": {"batchCalls": 3}}}, ["legacy.capacity.batchCalls = 3", "the 4 pods"]),
    ({"insurance": {"maxSurge": 10}}, [f"{CAPACITY} = 20", "the 22 pods"]),
    (
        {"insurance": {"autoscaling": {"enabled": True, "maxReplicas": 19}}},
        [f"{CAPACITY} = 20", "the 21 pods"],
    ),
    (
        {"insurance": {"settings": {"vehicle_client": {"max_degree_of_parallelism_single": 6}}}},
        ["= 6 in 4 pods", "24 calls", f"{CAPACITY} = 20", "at most 5"],
    ),
    ({"legacy": {"capacity": {"singleCalls": None}}}, ["singleCalls"]),
    ({"insurance": {"maxSurge": "25%"}}, ["maxSurge"]),
    ({"image": {"tag": "latest"}}, ["tag"]),
    ({"image": {"registry": ""}}, ["registry"]),
    ({"database": {"host": ""}}, ["database.host"]),
    ({"vehicle": {"secrets": {"file": {"name": ""}}}}, ["name"]),
    ({"vehicle": {"settings": {"api_keys": {"core": {"key": "in a ConfigMap"}}}}}, ["api_keys"]),
    ({"vehicle": {"settings": {"database": {"password": "in a ConfigMap"}}}}, ["password"]),
    ({"insurance": {"settings": {"vehicle_client": {"api_key": "in a ConfigMap"}}}}, ["api_key"]),
    ({"insurance": {"settings": {"vehicle_client": {"token": {"client_secret": "in a ConfigMap"}}}}}, ["client_secret"]),
    ({"insurance": {"settings": {"server": {"drain_delay": "30s"}}}}, ["drain_delay"]),
    ({"insurance": {"callers": []}}, ["callers"]),
    ({"replicas": 3}, ["replicas"]),
    ({"insurance": {"resources": {"limits": {"memory": None}}}}, ["memory"]),
    ({"podLabels": {COMPONENT: "other"}}, ["propertyName"]),
    ({"prometheusRule": {"enabled": True}}, ["runbooks"]),
    ({"insurance": {"settings": {"vehicle_client": ELSEWHERE}}}, ["base_url"]),
    ({"vehicle": {"caSecret": {"name": "vehicle-ca"}}}, ["caSecret"]),
    ({"vehicle": {"enabled": False}}, ["vehicle_client"]),
    (
        {
            "vehicle": {"enabled": False},
            "insurance": {"settings": {"vehicle_client": {"base_url": "http://vehicle.example"}}},
        },
        ["base_url"],
    ),
    (
        {
            "vehicle": {"enabled": False},
            "insurance": {"settings": {"vehicle_client": ELSEWHERE}},
        },
        ["networkPolicy/vehicle"],
    ),
]


def overlaid(base, over):
    """`over` on top of `base`, as Helm overlays values files."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlaid(merged[key], value) if both else value
    return merged


def read(names):
    values = {}
    for name in names:
        values = overlaid(values, yaml.safe_load((EXAMPLES / name).read_text()))
    return values


def check_schema(item):
    """What the item's schemas say against it."""
    custom = HERE / "schemas" / f"{item['kind']}.json"
    if custom.exists():
        try:
            jsonschema.validate(item, json.loads(custom.read_text()))
        except jsonschema.ValidationError as fault:
            yield f"{custom.name}: {fault.json_path}: {fault.message}"
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as fault:
            yield f"Kubernetes {version}: {fault.message}"


def check_example(chart, name, files, folder, memory):
    """Faults of the chart under one example's values."""
    values = read(files)
    report = helm_python.lint(chart, values, strict=True)
    yield from report["errors"]
    yield from (m["error"] for m in report["messages"] if m["severity"] > 1)
    with helm_python.Chart.load(chart) as loaded:
        manifests = loaded.render(values, name="example", namespace="threadpilot")
        merged = loaded.merge_values(values)
    objects = [
        item
        for path, text in manifests.items()
        if path.endswith(".yaml")
        for item in yaml.safe_load_all(text)
        if item
    ]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
    for item in objects:
        yield from (f"{item['kind']} {item['metadata']['name']}: {f}" for f in check_schema(item))
    release = Release(objects, merged, memory)
    workloads.check(release)
    network.check(release)
    published.check_observability(release, folder)
    yield from release.faults
    if name == "existing-secrets":
        yield from check_secrets(set(release.needed_secrets()))
    print(f"{name}: {len(objects)} objects")


def check_secrets(needed):
    """Faults of the example Secrets: what pods lack, and what a service would not know."""
    given = set()
    for item in yaml.safe_load_all((EXAMPLES / "secrets.yaml").read_text()):
        yield from check_schema(item)
        given |= {(item["metadata"]["name"], key) for key in item["stringData"]}
        for service, section in json.loads(item["stringData"].get("secrets.json", "{}")).items():
            known = set(manual(service)) if service in SERVICES else set()
            for path, _ in flat(section):
                if path not in known and not API_KEY.fullmatch(path):
                    yield f"secrets.yaml: {service}: {path} is no setting"
    if needed - given != BROUGHT_BY_DATABASE or given - needed:
        yield f"secrets.yaml: holds {given}, needed are {needed}"


def check_restarts(chart):
    """Live settings leave the pods as they are; all others start new ones."""
    with helm_python.Chart.load(chart) as loaded:

        def pods(service, path, value):
            for key in reversed(path.split(".")):
                value = {key: value}
            values = overlaid(read(RENDERED["operators"]), {service: {"settings": value}})
            text = loaded.render(values, name="example")["threadpilot/templates/deployment.yaml"]
            for item in yaml.safe_load_all(text):
                if item and item["metadata"]["labels"][COMPONENT] == service:
                    return item["spec"]["template"]

        for service in SERVICES:
            live = set(live_settings(service))
            for path in {"log.filter", *live}:
                same = pods(service, path, True) == pods(service, path, False)
                if same != (path in live):
                    yield f"{service}: {path} {'never reaches' if same else 'restarts'} the pods"
            print(f"{service}: {len(live)} settings need no restart")


def check_refusals(chart):
    with helm_python.Chart.load(chart) as loaded:
        base = read(RENDERED["existing-secrets"])
        for over, words in [({}, None), *REFUSED]:
            values = overlaid(base, over) if words else {}
            try:
                loaded.render(values, name="example", namespace="threadpilot")
            except helm_python.HelmError as refusal:
                missing = [word for word in words or ["capacity"] if word not in str(refusal)]
                if missing:
                    yield f"{over}: the refusal does not say {missing}: {refusal}"
            else:
                yield f"{over or 'no values'}: rendered"
    print(f"{len(REFUSED) + 1} sets of values refused")


def main():
    folder, memory = Path(sys.argv[1]), memory_of(Path(sys.argv[2]))
    shutil.rmtree(folder, ignore_errors=True)
    # The package, as a release publishes it, with what the chart's links lead to.
    chart = helm_python.package(str(CHART), destination=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    faults = []
    for name, files in RENDERED.items():
        faults += [f"{name}: {fault}" for fault in check_example(chart, name, files, folder, memory)]
    faults += check_restarts(chart)
    faults += check_refusals(chart)
    faults += published.check(chart, read(RENDERED["existing-secrets"]))
    for item in yaml.safe_load_all((EXAMPLES / "cloudnativepg.yaml").read_text()):
        faults += [f"cloudnativepg.yaml: {fault}" for fault in check_schema(item)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
