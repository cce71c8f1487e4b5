#!/usr/bin/env -S uv run --quiet --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["ruamel.yaml==0.19.1"]
# ///
"""What docker-compose.local.yml, the Dockerfile and what belongs to them must hold. 
Asks the services' own `check` about the environment of each: `cargo build --workspace --bins` comes first. Needs uv."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

top = Path(__file__).resolve().parent.parent
problems = []


def expect(good, problem):
    if not good:
        problems.append(problem)


def load(path):
    return YAML(typ="safe").load(top / path)


def stages(text):
    """The instructions of each stage of a Dockerfile, with those of the stage that it stands on."""
    found, current = {}, None
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if start := re.match(r"FROM\s+(\S+)\s+AS\s+(\S+)$", line):
            current = found.setdefault(start[2], list(found.get(start[1], [])))
        elif current is not None and re.match(r"[A-Z]+ ", line):
            current.append(line)
    return found


def last(instructions, name):
    return next((it for it in reversed(instructions) if it.startswith(name + " ")), "")


def check_image(stage, instructions):
    expect(re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", last(instructions, "USER")), f"Dockerfile: {stage} is root or a name")
    for name, form in [("HEALTHCHECK", r'.*CMD \[".*", "--healthcheck"\]'), ("ENTRYPOINT", r'ENTRYPOINT \[".*"\]')]:
        expect(re.fullmatch(form, last(instructions, name)), f"Dockerfile: {stage} has no {name} without a shell")
    for label in ["title", "description", "licenses", "revision", "source", "version"]:
        expect(f"org.opencontainers.image.{label}=" in " ".join(instructions), f"Dockerfile: {stage} has no label {label}")


def pinned(image):
    tag = re.search(r":([^:/]+)$", image)
    return tag and tag[1] != "latest"


dockerfile = (top / "Dockerfile").read_text()
images = stages(dockerfile)
expect(not re.search(r"(?im)^#\s*syntax\s*=", dockerfile), "Dockerfile: a # syntax= line needs a registry")
for base in re.findall(r"(?m)^FROM\s+(\S+)", dockerfile):
    expect(base in images or re.fullmatch(r"\$\{\w+\}", base) or pinned(base), f"Dockerfile: {base} has no tag or the tag latest")
for argument, base in re.findall(r"(?m)^ARG (\w+_IMAGE)=(\S+)", dockerfile):
    expect(base in images, f"Dockerfile: {argument}={base} is no stage")
promised = re.search(r'(?m)^rust-version = "(.+)"$', (top / "Cargo.toml").read_text())[1]
expect(f"FROM rust:{promised}-" in dockerfile, f"Dockerfile: builds with another Rust than the {promised} of Cargo.toml")

ignored = (top / ".dockerignore").read_text().splitlines()
rules = [it for it in ignored if it and not it.startswith("#")]
expect(rules[0] == "*", ".dockerignore: does not begin with *")
expect(not any(re.match(r"!(\.env|secrets|target|\.git$)", it) for it in rules), ".dockerignore: lets a secret in")

compose_text = (top / "docker-compose.local.yml").read_text()
compose = load("docker-compose.local.yml")
services = compose["services"]
built = {it["image"]: it["build"]["target"] for it in services.values() if "build" in it}
expect(set(built.values()) <= set(images), "compose: a build.target is no stage of the Dockerfile")

ends = {other for it in services.values() for other, need in it.get("depends_on", {}).items()
        if need["condition"] == "service_completed_successfully"}
# Its image holds nothing to ask with.
UNPROBED = {"otel-collector"}
for name, service in services.items():
    probe = service.get("healthcheck", {})
    if name in ends:
        expect("restart" not in service, f"compose: {name} runs once, but is started again")
        expect("test" not in probe, f"compose: {name} runs once, but is probed")
    else:
        expect(service.get("restart") == "unless-stopped", f"compose: {name} does not come back after a crash")
        expect("build" in service or "test" in probe or name in UNPROBED, f"compose: {name} has no health check")
        expect("start_interval" in probe or name in UNPROBED, f"compose: {name} is not probed sooner at the start")
    image = service["image"]
    expect(pinned(image), f"compose: {name}: {image} has no tag or the tag latest")
    expect(service.get("read_only") is True, f"compose: {name} is not read_only")
    expect(service.get("cap_drop") == ["ALL"] and not service.get("cap_add"), f"compose: {name} has capabilities")
    expect(not service.get("privileged"), f"compose: {name} is privileged")
    expect("no-new-privileges:true" in service.get("security_opt", []), f"compose: {name} may get new privileges")
    expect("mem_limit" in service, f"compose: {name} has no memory limit")
    for port in service.get("ports", []):
        expect(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", str(port)), f"compose: {name}: port {port} is not on 127.0.0.1")
    if image in built:
        check_image(built[image], images.get(built[image], []))
        expect("user" not in service, f"compose: {name} has another user than its image")
    for other, need in service.get("depends_on", {}).items():
        condition = need["condition"]
        target = services.get(other, {})
        disabled = target.get("healthcheck", {}).get("disable", False)
        checked = not disabled and ("healthcheck" in target or "build" in target)
        expect(target, f"compose: {name} waits for {other}, which there is not")
        expect(condition != "service_healthy" or checked, f"compose: {name} waits for the health of {other}, which has none")
        expect(condition != "service_completed_successfully" or not checked, f"compose: {name} waits for the end of {other}, which serves")


BROKER = "RELAY_NATS_URL"


def paths(value, above=()):
    if isinstance(value, dict):
        return [it for key, inner in value.items() for it in paths(inner, (*above, key))]
    return [above]


template = json.loads((top / "secrets.local.json.template").read_text())
made = {("_" if path[0] == "postgres" else "__").join(path).upper() for path in paths(template)}
# No secret: what has a value without one, and where the profile `broker` is.
optional = set(re.findall(r"\$\{(\w+):-", compose_text))
used = set(re.findall(r"\$\{(\w+)", compose_text)) - optional
expect(used == made, f"compose: variables of init.sh that are not used, or the reverse: {sorted(used ^ made)}")

# A value of a secret is that of the variable with the same name; only psql wants another one.
for name, service in services.items():
    for key, value in service.get("environment", {}).items():
        for variable in re.findall(r"\$\{(\w+)", str(value)):
            same = variable == ("POSTGRES_PASSWORD" if key == "PGPASSWORD" else key) or variable in optional
            expect(same, f"compose: {name}: {key} is given {variable}")

binaries = Path(os.environ.get("CARGO_TARGET_DIR", top / "target")) / "debug"
secret = {it: "read" if it.endswith("__SCOPES") else hashlib.sha256(it.encode()).hexdigest() for it in made}
database = f"postgres://postgres:5432/{services['postgres']['environment']['POSTGRES_DB']}"
for name, service in services.items():
    if service["image"] not in built:
        continue
    binary, kind = built[service["image"]], name.split("-")[0]
    values = {**secret, BROKER: "nats://nats:4222"}
    given = {key: re.sub(r"\$\{(\w+)(?::-)?([^}]*)\}", lambda it: values.get(it[1], it[2]), str(value))
             for key, value in service["environment"].items()}
    said = subprocess.run([binaries / binary, "check", "--output", "json"], env=given, capture_output=True, text=True)
    figures = json.loads(said.stdout)
    expect(figures["settings"] == "good", f"compose: {name}: {figures.get('violations')}")
    # What a process needs besides its worst case is 64 MiB, as in the chart.
    worst = sum(it["value"] for it in figures.get("worstCase", []) if it["name"].endswith("_memory")) / 1024**2 + 64
    limit = int(service["mem_limit"].removesuffix("m"))
    expect(name in ends or worst <= limit, f"compose: {name}: {worst:.0f} MiB at worst, its limit is {limit}")
    expect(given.get(f"{kind.upper()}__DATABASE__URL") == database, f"compose: {name}: its database is not {database}")
    # Only one of the two: the migrator's password opens what the running service may not do.
    role = "MIGRATION_PASSWORD" if name in ends else "PASSWORD"
    passwords = {it.rsplit("__", 1)[1] for it in given if it.startswith(f"{kind.upper()}__DATABASE__") and "PASSWORD" in it}
    expect(passwords == {role}, f"compose: {name}: has {sorted(passwords)}, not {role}")
    waits = {other: need["condition"] for other, need in service["depends_on"].items()}
    before = {"migrate": "roles", "seed": f"{kind}-migrate"}.get(name.rsplit("-", 1)[-1], f"{kind}-seed")
    expect(waits.get(before) == "service_completed_successfully", f"compose: {name} does not wait for {before}")
    expect(name == kind or service.get("command") == [name.rsplit("-", 1)[-1]], f"compose: {name} runs {service.get('command')}")

targets = (top / "deploy/observability/prometheus/prometheus.yml").read_text()
base_url = services["insurance"]["environment"]["INSURANCE__VEHICLE_CLIENT__BASE_URL"]
for name in ["vehicle", "insurance"]:
    port = last(images[f"{name}-service"], "EXPOSE").removeprefix("EXPOSE ")
    expect(services[name]["ports"] == [f"127.0.0.1:{port}:{port}"], f"compose: {name} does not publish its port {port}")
    expect(f'"{name}:{port}"' in targets, f"prometheus.yml: does not scrape {name}:{port}")
    expect(name != "vehicle" or base_url == f"http://vehicle:{port}", f"compose: {base_url} is not Vehicle")
    least = {f"{name.upper()}__API_KEYS__X__KEY": "ab" * 32, "INSURANCE__VEHICLE_CLIENT__API_KEY": "cd" * 32}
    said = subprocess.run([binaries / f"{name}-service", "--healthcheck"], env=least, capture_output=True, text=True)
    asked = re.search(r"127\.0\.0\.1:(\d+)", said.stdout + said.stderr)
    expect(said.returncode == 0 or asked and asked[1] == port, f"Dockerfile: {name}-service is not on {port}: {said.stderr}")

collector = load("deploy/observability/otel-collector.yml")
for name, pipeline in collector["service"]["pipelines"].items():
    for kind, parts in pipeline.items():
        unknown = set(parts) - set(collector.get(kind, {}))
        expect(not unknown, f"otel-collector.yml: {name} has {kind} that there are not: {sorted(unknown)}")

for path in (top / "deploy/observability/grafana/provisioning/datasources").iterdir():
    for variable in re.findall(r"\$\{(\w+)\}", path.read_text()):
        url = services["grafana"]["environment"].get(variable, "")
        host = re.match(r"http://([\w-]+):\d+$", url)
        expect(host and host[1] in services, f"compose: grafana: {variable}={url} leads to no service, and {path.name} needs it")

for problem in dict.fromkeys(problems):
    print(problem, file=sys.stderr)
sys.exit(bool(problems))
