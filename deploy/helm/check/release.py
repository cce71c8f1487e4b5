"""One rendering of the chart, the services' manuals and their own `check`, and what is found wrong."""

import hashlib
import json
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("vehicle", "insurance")
COMPONENT = "app.kubernetes.io/component"
MANAGEMENT_PORT = 9090
SECRETS = ROOT / "deploy" / "helm" / "threadpilot" / "examples" / "secrets.yaml"


def flat(tree, path=()):
    """The leaves of nested tables, by their dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def manual_text(service):
    """What the service's command `settings` prints."""
    page = (ROOT / "docs" / "settings.md").read_text()
    return page.split(f"<!-- {service} settings -->\n\n```toml\n")[1].split("```")[0]


def manual(service):
    """A service's settings and their defaults."""
    return dict(flat(tomllib.loads(manual_text(service))))


def live_settings(service):
    """Those that the comments mark as read while the service runs."""
    table, comment = "", ""
    for line in manual_text(service).splitlines():
        if line.startswith("#"):
            comment += line
            continue
        if header := re.fullmatch(r"\[(.+)\]", line):
            table = header[1]
        elif "(live)" in comment and "=" in line:
            yield f"{table}.{line.split('=')[0].strip()}"
        comment = ""


def secrets(service):
    """The service's secrets file of the examples, with its placeholders filled."""
    for item in yaml.safe_load_all(SECRETS.read_text()):
        text = item["stringData"].get("secrets.json", "{}")
        if service in json.loads(text):
            filled = lambda place: hashlib.sha256(place[0].encode()).hexdigest()
            return re.sub(r"<[^>]+>", filled, text)
    raise LookupError(service)


def memory(binaries):
    """Asks the binaries in this folder: the bytes of the worst case of a settings' file."""

    def ask(service, text):
        # A Secret's file, which is not here.
        text = re.sub(r"^vehicle_client\.ca_certificate = .*\n?", "", text, flags=re.MULTILINE)
        with tempfile.TemporaryDirectory() as folder:
            config, secret = Path(folder) / "config.toml", Path(folder) / "secrets.json"
            config.write_text(text)
            secret.write_text(secrets(service))
            command = [binaries / f"{service}-service", "--config", config, "--secrets", secret]
            done = subprocess.run(
                [*command, "check", "--output", "json"], capture_output=True, text=True, env={}
            )
        said = json.loads(done.stdout)
        if said["settings"] != "good":
            raise ValueError(said["violations"])
        return sum(it["value"] for it in said["worstCase"] if it["name"].endswith("_memory"))

    return ask


def containers(workload):
    pod = workload["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def matches(selector, labels):
    return selector.items() <= labels.items()


class Release:
    """The objects of one rendering, and what is found wrong with them."""

    def __init__(self, objects, values, memory):
        """`memory` is what a service's `check` says of its settings' file: bytes, or a refusal."""
        self.objects = objects
        self.values = values
        self.memory = memory
        self.faults = []
        self.services = [s for s in SERVICES if s != "vehicle" or values["vehicle"]["enabled"]]
        self.workloads = [o for o in objects if o["kind"] in ("Deployment", "Job")]
        self.deployments = {
            o["metadata"]["labels"][COMPONENT]: o for o in self.of("Deployment")
        }
        self.files = {
            o["metadata"]["labels"][COMPONENT]: o["data"]["config.toml"]
            for o in self.of("ConfigMap")
            if "config.toml" in o["data"]
        }
        self.configs = {
            name: dict(flat(tomllib.loads(text))) for name, text in self.files.items()
        }

    def of(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def needed_secrets(self):
        """Each Secret's name and key that a pod reads."""
        for workload in self.workloads:
            pod = workload["spec"]["template"]["spec"]
            for volume in pod["volumes"]:
                for item in volume.get("secret", {}).get("items", []):
                    yield volume["secret"]["secretName"], item["key"]
            for container in containers(workload):
                for variable in container.get("env", []):
                    if "valueFrom" in variable:
                        reference = variable["valueFrom"]["secretKeyRef"]
                        yield reference["name"], reference["key"]

    def expect(self, holds, where, what):
        if not holds:
            self.faults.append(f"{where}: {what}")
