"""One rendering of the chart, the services' manuals, and what is found wrong."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("vehicle", "insurance")
COMPONENT = "app.kubernetes.io/component"
MANAGEMENT_PORT = 9090


def flat(tree, path=()):
    """The leaves of nested tables, by their dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def manual_texts(service):
    for crate in ("service-defaults", "service-database", f"{service}-service"):
        yield (ROOT / "crates" / crate / "config.toml").read_text()


def manual(service):
    """A service's settings and their defaults, from the manuals embedded in its binary."""
    settings = {}
    for text in manual_texts(service):
        settings |= flat(tomllib.loads(text))
    return settings


def live_settings(service):
    """Those that the manual's comments mark as read while the service runs."""
    for text in manual_texts(service):
        table, comment = "", ""
        for line in text.splitlines():
            if line.startswith("#"):
                comment += line
                continue
            if header := re.fullmatch(r"\[(.+)\]", line):
                table = header[1]
            elif "(live)" in comment and "=" in line:
                yield f"{table}.{line.split('=')[0].strip()}"
            comment = ""


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
