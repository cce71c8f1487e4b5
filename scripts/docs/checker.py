"""What is wrong with documents."""

import fnmatch
import posixpath
import re
import tomllib
from urllib.parse import unquote

from docs.repository import git

METRIC_PREFIXES = ("http_", "vehicle_client_", "enrichment_", "settings_", "db_client_", "feature_toggle_")
# Names of other programs, which no file of ours needs to know.
FOREIGN = ("pg_", "log_", "kube_", "process_", "container_", "node_")
EXTENSIONS = ("conf hcl json lock md mjs py rs sh snap sql svg template tf toml yaml yml").split()


class Checker:
    """Collects what is wrong with documents."""

    def __init__(self, repository, documents):
        self.repository = repository
        self.documents = {document.name: document for document in documents}
        self.problems = []

    def check(self, document):
        self.say = lambda number, what: self.problems.append(f"{document.name}:{number}: {what}")
        if document.unclosed:
            self.say(document.unclosed, "a code block that does not end")
        for number, line in document.prose:
            for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                self.code(document, number, code)
            self.links(document, number, re.sub(r"`[^`]*`", "", line))
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

    def links(self, document, number, line):
        targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", line)
        targets += re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", line)
        targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", line)
        for target in targets:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = unquote(target).partition("#")
            path = posixpath.normpath(posixpath.join(document.folder, path)) if path else document.name
            known = self.repository.files | self.repository.folders | self.documents.keys()
            if path not in known:
                self.say(number, f"no file `{path}` for the link `{target}`")
            elif anchor and path in self.documents and anchor not in self.documents[path].anchors():
                self.say(number, f"no heading `#{anchor}` in {path}")

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
        tops = r"(?:\.ci|\.cargo|\.github|\.sqlx|crates|deploy|docs|migrations|scripts)"
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
