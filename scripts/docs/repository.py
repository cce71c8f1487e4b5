"""The repository, as documents may speak of it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments):
    run = ["git", *arguments]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)


class Repository:
    """What documents may speak of."""

    def __init__(self):
        names = {name for name in git("ls-files", "-coz", "--exclude-standard").stdout.split("\0") if name}
        self.files = {name for name in names if (ROOT / name).is_file()}
        self.folders = {str(folder) for name in self.files for folder in Path(name).parents}
        self.texts = {}
        for name in sorted(self.files):
            if not name.endswith((".md", ".lock", ".svg", "docs/samples.py")):
                self.texts[name] = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        self.words = set(re.findall(r"[A-Za-z0-9_]+", "\n".join(self.texts.values())))
        sources = [text for name, text in self.texts.items() if re.match(r"crates/[^/]+/src/", name)]
        self.source = "\n".join(text.split("#[cfg(test)]\nmod tests {")[0] for text in sources)
        self.literals = set(re.findall(r'"([a-z0-9_.]+)"', self.source))
        self.settings = {service: self.manual(service) for service in ("vehicle", "insurance")}
        self.metrics = self.known_metrics()
        labels = re.findall(r'KeyValue::new\(\s*"([a-z_.]+)"', self.source)
        self.labels = {label.replace(".", "_") for label in labels}
        self.tables = set(re.findall(r"\b(?:vehicle|insurance)\.[a-z_]+", self.migrations()))
        self.routes = set(re.findall(r'(get|post|put|delete), path = "(/api/v1/[^"]+)"', self.source))
        self.members = self.members_of_answers()

    def manual(self, service):
        """Settings and sections of a service by their paths; `*` stands for the id of a key."""
        known = set()

        def add(path, value):
            known.add(path)
            if isinstance(value, dict):
                for name, inner in value.items():
                    add(f"{path}.{name}", inner)

        for crate in ("service-defaults", "service-database", f"{service}-service"):
            for section, value in tomllib.loads(self.texts[f"crates/{crate}/config.toml"]).items():
                add(section, value)
        about_keys = self.texts["crates/service-defaults/config.toml"]
        about_keys = about_keys.split("\n\n# Keys of the")[1].split("[api_keys]\n")[0]
        parts = {"key"} | set(re.findall(r"`([a-z0-9_]+)`", about_keys))
        return known | {"api_keys.*"} | {f"api_keys.*.{part}" for part in parts}

    def migrations(self):
        return "\n".join(text for name, text in self.texts.items() if name.startswith("migrations/"))

    def is_setting(self, path, services=("vehicle", "insurance")):
        path = re.sub(r"^api_keys\.[^.]+", "api_keys.*", path)
        return any(path in self.settings[service] for service in services)

    def known_metrics(self):
        """Names as Prometheus shows them, from the instruments that the source makes."""
        known = set()
        made = r"(?:u64|i64|f64)_(?:observable_)?(counter|gauge|histogram|up_down_counter)\(\s*"
        chain = r"((?s:.*?)\.build\(\))"
        for kind, name, rest in re.findall(made + r'"([a-z_.]+)"' + chain, self.source):
            known |= names_of(kind, name, rest)
        closure = r"let (\w+) = \|name[^|]*\|(?:[^|]*?)\n\s*meter\s*\.\s*" + made + r"name" + chain
        for function, kind, rest in re.findall(closure, self.source):
            for name in re.findall(rf'\b{function}\(\s*"([a-z_.]+)"', self.source):
                known |= names_of(kind, name, rest)
        return known

    def members_of_answers(self):
        """`parent.child` of the JSON in the reviewed OpenAPI documents."""
        members = set()
        for name, text in self.texts.items():
            if not name.endswith(("openapi.snap", ".openapi.json")):
                continue
            document = json.loads(text[text.index("\n{" if text.startswith("---") else "{") :])
            schemas = document["components"]["schemas"]
            for schema in schemas.values():
                for member, inner in schema.get("properties", {}).items():
                    for target in re.findall(r"#/components/schemas/(\w+)", json.dumps(inner)):
                        for child in schemas[target].get("properties", {}):
                            members.add(f"{member}.{child}")
        return members


def names_of(kind, name, rest):
    unit = re.search(r'with_unit\("([^"]+)"\)', rest)
    unit = {"s": "_seconds", "By": "_bytes"}.get(unit.group(1) if unit else "", "")
    name = name.replace(".", "_") + unit
    if kind == "counter":
        return {name + "_total"}
    if kind == "histogram":
        return {name, name + "_bucket", name + "_sum", name + "_count"}
    return {name}
