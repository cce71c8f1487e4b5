#!/usr/bin/env python3
"""Compares every Markdown file with the repository: names of files, settings, variables, metrics, routes, tests
and codes, and Mermaid diagrams. Links are lychee's part (`.ci/run documents`).

    scripts/check-docs.py               everything; needs npm for the diagrams
    scripts/check-docs.py --no-mermaid  without the diagrams
"""

import fnmatch
import json
import posixpath
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METRIC_PREFIXES = ("http_", "vehicle_client_", "enrichment_", "replica_", "settings_", "db_client_", "event_log_", "feature_toggle_", "insurance_worker_", "idempotency_", "relay_", "jwks_", "token_")
# Names of other programs, which no file of ours needs to know.
FOREIGN = ("pg_", "log_", "kube_", "process_", "container_", "node_")
EXTENSIONS = ("conf hcl json lock md mjs py rs sh snap sql svg template tf toml yaml yml").split()
# What each check must refuse, and what none may, so that no check is ever asleep.
BROKEN = {
    "`server.prot`": "no setting `server.prot`",
    "`serve.port = 1`": "no setting `serve.port`",
    "`api_keys.<id>.keys`": "no setting `api_keys.<id>.keys`",
    "VEHICLE__VEHICLE_CLIENT__BASE_URL=x": "no setting for the variable",
    "`vehicle_client_lookups`": "no metric `vehicle_client_lookups`",
    "`http_server_request_duration_second{status}`": "no metric",
    "```promql\nrate(http_server_requests_total[1m])\n```": "no metric `http_server_requests_total`",
    "`no_such_test_is_there`": "nothing is called",
    "GET /api/v1/vehicle/ABC123": "no route `GET /api/v1/vehicle/ABC123`",
    "`POST /api/v1/vehicles/{registrationNumber}`": "no route `POST",
    "see scripts/nowhere.sh": "no file `scripts/nowhere.sh`",
    "`crates/*/nowhere.rs`": "no file `crates/*/nowhere.rs`",
    "`nowhere.toml`": "no file `nowhere.toml`",
    "```toml\n[server]\nprot = 1\n```": "no setting `server.prot` for the TOML",
    "```text\n": "does not end",
}
GOOD = """
`server.port` `api_keys.<id>.scopes` `enrichment.status` `http.route` `application/json`
`INSURANCE__API_KEYS__CORE_SYSTEM__SHA256` `http_server_request_duration_seconds{http_route}`
`settings_worst_case_*` `vehicle_client_queue_wait_seconds_bucket` `enrichment_incomplete` `config.toml`
```promql
sum by (http_route) (rate(http_server_request_duration_seconds_count{http_route=~"/api/v1/.+"}[5m]))
```
`GET /api/v1/vehicles/abc-123`, `/api/v1/operations/` `crates/*/src/lib.rs` `secrets.local.json`
"""


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
            if not name.endswith((".md", ".lock", ".svg", "scripts/check-docs.py")):
                self.texts[name] = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        self.words = set(re.findall(r"[A-Za-z0-9_]+", "\n".join(self.texts.values())))
        sources = [text for name, text in self.texts.items() if re.match(r"crates/[^/]+/src/", name)]
        self.source = "\n".join(text.split("#[cfg(test)]\nmod tests {")[0] for text in sources)
        self.literals = set(re.findall(r'"([a-z0-9_.]+)"', self.source))
        self.settings = {service: self.manual(service) for service in ("vehicle", "insurance")}
        self.metrics = self.known_metrics()
        labels = re.findall(r'KeyValue::new\(\s*"([a-z_.]+)"', self.source)
        self.labels = {label.replace(".", "_") for label in labels}
        self.tables = set(re.findall(r"\b(?:vehicle|insurance)(?:_[a-z]+)?\.[a-z_]+", self.migrations()))
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

        page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
        manual = page.split(f"<!-- {service} settings -->\n\n```toml\n")[1].split("```")[0]
        for section, value in tomllib.loads(manual).items():
            add(section, value)
        about_keys = manual.split("# Keys of the")[1].split("[api_keys]\n")[0]
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


class Document:
    """A Markdown file, taken apart."""

    def __init__(self, name, text):
        self.name, self.text = name, text
        self.folder = posixpath.dirname(name)
        self.prose, self.blocks = [], []
        fence = None
        for number, line in enumerate(text.split("\n"), 1):
            mark = re.match(r"\s*(`{3,}|~{3,})\s*([\w-]*)", line)
            if fence is None and mark:
                fence = (mark.group(1), mark.group(2), number, [])
            elif fence and re.match(rf"\s*{re.escape(fence[0])}\s*$", line):
                self.blocks.append((fence[1], fence[2], "\n".join(fence[3])))
                fence = None
            elif fence:
                fence[3].append(line)
            else:
                self.prose.append((number, line))
        self.unclosed = fence[2] if fence else None


class Checker:
    """Collects what is wrong with documents."""

    def __init__(self, repository):
        self.repository = repository
        self.problems = []

    def check(self, document):
        self.say = lambda number, what: self.problems.append(f"{document.name}:{number}: {what}")
        if document.unclosed:
            self.say(document.unclosed, "a code block that does not end")
        for number, line in document.prose:
            for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                self.code(document, number, code)
        for number, line in enumerate(document.text.split("\n"), 1):
            self.routes(number, line)
            self.variables(number, line)
            self.paths(number, line)
        for kind, number, text in document.blocks:
            if kind == "toml":
                self.toml(number, text)
            if kind == "promql":
                for name in re.findall(r"[a-z_]{3,}", text):
                    self.metric(number, name, in_query=True)

    def code(self, document, number, code):
        code = code.strip()
        named = re.match(r"([a-z][a-z0-9_]*(?:\.[a-z0-9_<>]+)+)(?: ?=.*)?$", code)
        word = re.match(r"([a-z][a-z0-9]*(?:_[a-z0-9]+)*_?\*?)(?:\{[^}]*\})?$", code)
        if self.is_file_name(code):
            self.file(document, number, code)
        elif named:
            self.dotted(document, number, named.group(1))
        elif word and word.group(1).startswith(METRIC_PREFIXES):
            self.metric(number, word.group(1))
        elif word and "_" in word.group(1):
            self.word(document, number, word.group(1))

    def is_file_name(self, code):
        if code.startswith(("/", "http")) or not re.fullmatch(r"[\w.@*{}<>/-]+", code):
            return False
        return posixpath.splitext(code)[1].lstrip(".") in EXTENSIONS

    def file(self, document, number, code):
        path = code.removeprefix("./")
        beside = posixpath.normpath(posixpath.join(document.folder, path))
        pattern = re.sub(r"\{[^}]*\}|<[^>]*>", "*", path)
        files = self.repository.files
        if path in files or beside in files or fnmatch.filter(files, pattern):
            return
        if "/" not in path and any(posixpath.basename(name) == path for name in files):
            return
        if git("check-ignore", "-q", path).returncode == 0:
            return
        if not self.beside(document, posixpath.basename(path)):
            self.say(number, f"no file `{code}`")

    def beside(self, document, text):
        """Whether what is deployed from the document's own folder speaks of it."""
        top = "/".join(document.folder.split("/")[:2])
        return document.folder.startswith("deploy/") and any(
            text in content for name, content in self.repository.texts.items() if name.startswith(top + "/")
        )

    def dotted(self, document, number, name):
        repository = self.repository
        if repository.is_setting(name) or name in repository.members | repository.tables:
            return
        # Attributes of spans and metrics, such as `http.route`.
        if name in repository.literals and not repository.is_setting(name.split(".")[0]):
            return
        if self.beside(document, name.split(".")[-1]):
            return
        self.say(number, f"no setting `{name}`")

    def metric(self, number, name, in_query=False):
        if not name.startswith(METRIC_PREFIXES):
            return
        known = self.repository.metrics | self.repository.literals
        if not fnmatch.filter(known, name) and not (in_query and name in self.repository.labels):
            self.say(number, f"no metric `{name}`")

    def word(self, document, number, name):
        if name.startswith(FOREIGN) or self.beside(document, name):
            return
        if not fnmatch.filter(self.repository.words | self.repository.metrics, name):
            self.say(number, f"nothing is called `{name}`")

    def routes(self, number, line):
        for method, route in re.findall(r"(?:\b(GET|POST|PUT|DELETE)\s+)?(/api/v1/[^\s`\"'<>)|,;]*)", line):
            route = route.split("?")[0].split("#")[0].rstrip(".:…*+")
            parts = route.strip("/").split("/")
            if not any(
                (not method or method.lower() == its_method) and fits(parts, its_route, route)
                for its_method, its_route in self.repository.routes
            ):
                self.say(number, f"no route `{(method + ' ' + route).strip()}`")

    def variables(self, number, line):
        for service, path in re.findall(r"\b(VEHICLE|INSURANCE)__([A-Z0-9_]+)\b", line):
            name = path.lower().replace("__", ".")
            if not self.repository.is_setting(name, (service.lower(),)):
                self.say(number, f"no setting for the variable `{service}__{path}`")

    def paths(self, number, line):
        tops = r"(?:\.ci|\.cargo|\.github|\.sqlx|benchmarks|crates|deploy|docs|migrations|scripts)"
        for path in re.findall(rf"(?<![\w./-])(?:\./)?({tops}/[\w./*{{}}<>,-]*)", line):
            path = path.rstrip(".,/")
            pattern = re.sub(r"\{[^}]*\}|<[^>]*>", "*", path)
            known = self.repository.files | self.repository.folders
            if not fnmatch.filter(known, pattern):
                self.say(number, f"no file `{path}`")

    def toml(self, number, text):
        try:
            settings = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.say(number, f"unreadable TOML: {error}")
            return

        def walk(path, value):
            if isinstance(value, dict) and value:
                for name, inner in value.items():
                    walk(f"{path}.{name}".lstrip("."), inner)
            elif not self.repository.is_setting(path):
                self.say(number, f"no setting `{path}` for the TOML")

        walk("", settings)


def fits(parts, its_route, route):
    its_parts = its_route.strip("/").split("/")
    if route.endswith("/"):
        its_parts = its_parts[: len(parts)]
    return len(parts) == len(its_parts) and all(
        its.startswith("{") or its == part for its, part in zip(its_parts, parts)
    )


def samples(repository):
    for text, expected in BROKEN.items():
        checker = Checker(repository)
        checker.check(Document("docs/sample.md", text))
        if not any(expected in problem for problem in checker.problems):
            yield f"check-docs.py itself: `{text}` was not refused, but gave {checker.problems}"
    sample = Document("docs/sample.md", GOOD)
    checker = Checker(repository)
    checker.check(sample)
    yield from (f"check-docs.py itself: {problem}" for problem in checker.problems)


# Mermaid only wants a document to be there.
PARSE = """
import { readFileSync } from 'node:fs';
import { JSDOM } from 'jsdom';
globalThis.window = new JSDOM('').window;
globalThis.document = globalThis.window.document;
const { default: mermaid } = await import('mermaid');
for (const [place, text] of JSON.parse(readFileSync(0, 'utf8'))) {
    try { await mermaid.parse(text); } catch (error) {
        console.log(`${place}: ${error.message.split('\\n').slice(0, 2).join(' ')}`);
    }
}
"""


def mermaid(documents):
    """Has Mermaid's own parser read every diagram."""
    diagrams = [
        (f"{document.name}:{number}", text)
        for document in documents
        for kind, number, text in document.blocks
        if kind == "mermaid"
    ]
    tools = ROOT / "target" / "tools" / "mermaid"
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", tools]
    subprocess.run([*install, "mermaid@11.12.0", "jsdom@26.1.0"], check=True)
    given = json.dumps([("sample", "sequenceDiagram\n    A->>"), *diagrams])
    # Modules are looked for from the working folder on.
    run = subprocess.run(["node", "--input-type=module", "--eval", PARSE], cwd=tools, input=given, capture_output=True, text=True)
    refused = run.stdout.splitlines()
    if run.returncode or not refused or not refused[0].startswith("sample:"):
        return [f"Mermaid does not refuse a broken diagram: {run.stderr}"], len(diagrams)
    return refused[1:], len(diagrams)


def main():
    repository = Repository()
    documents = [
        Document(name, (ROOT / name).read_text(encoding="utf-8"))
        for name in sorted(repository.files)
        if name.endswith(".md")
    ]
    checker = Checker(repository)
    checker.problems += samples(repository)
    for document in documents:
        checker.check(document)
    problems, diagrams = checker.problems, "no"
    if "--no-mermaid" not in sys.argv[1:]:
        refused, diagrams = mermaid(documents)
        problems += refused
    problems = list(dict.fromkeys(problems))
    for problem in problems:
        print(problem)
    print(f"{len(documents)} documents, {diagrams} diagrams parsed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
