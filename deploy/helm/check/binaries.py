"""The services' own `check` of rendered settings."""

import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from release import ROOT, SERVICES

SECRETS = ROOT / "deploy" / "helm" / "threadpilot" / "examples" / "secrets.yaml"


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
