"""What docker-compose.local.yml, the Dockerfile and what belongs to them must hold; see check-containers.sh."""

import json
import re
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
    expect(base in images or re.fullmatch(r"\$\{\w+\}", base), f"Dockerfile: the base {base} is no ARG")
for argument, base in re.findall(r"(?m)^ARG (\w+_IMAGE)=(\S+)", dockerfile):
    expect(pinned(base), f"Dockerfile: {argument}={base} has no tag or the tag latest")

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


def paths(value, above=()):
    if isinstance(value, dict):
        return [it for key, inner in value.items() for it in paths(inner, (*above, key))]
    return [above]


template = json.loads((top / "secrets.local.json.template").read_text())
made = {("_" if path[0] == "postgres" else "__").join(path).upper() for path in paths(template)}
used = set(re.findall(r"\$\{(\w+)", compose_text))
expect(used == made, f"compose: variables of init.sh that are not used, or the reverse: {sorted(used ^ made)}")

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
