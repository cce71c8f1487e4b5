#!/usr/bin/env python3
"""Fails when an OpenAPI document breaks those who use the API as it was released, by the promises
of docs/api.md: values of an enumeration in an answer may come and go.

  check-openapi-breaking.py            docs/api/*.openapi.json against the newest tag v*
  check-openapi-breaking.py OLD NEW    one document against another
  check-openapi-breaking.py --self-test
"""

import copy
import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")

RULES = {
    "path-removed", "operation-removed", "operation-renamed", "parameter-removed", "parameter-required",
    "body-added", "body-removed", "body-required", "media-type-removed", "response-removed", "header-removed",
    "key-required", "scope-required", "type-changed", "enum-removed", "enum-opened", "property-removed",
    "property-required", "property-optional", "unknown-refused", "bound-changed", "pattern-changed",
    "format-changed", "alternative-removed", "alternative-added",
}


class Comparison:
    """Walks two documents side by side and notes what breaks."""

    def __init__(self, old, new):
        self.documents = (old, new)
        self.found = []
        self.visiting = set()

    def note(self, rule, where, what):
        assert rule in RULES, rule
        self.found.append((rule, f"{where}: {what}"))

    def resolve(self, side, node):
        while "$ref" in node:
            target = self.documents[side]
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def run(self):
        old, new = (document.get("paths", {}) for document in self.documents)
        for path, item in old.items():
            if path not in new:
                self.note("path-removed", path, "is gone")
                continue
            for method in METHODS & item.keys():
                where = f"{method.upper()} {path}"
                if method not in new[path]:
                    self.note("operation-removed", where, "is gone")
                else:
                    self.operation(where, (item, new[path]), (item[method], new[path][method]))
        return sorted(self.found, key=lambda found: found[1])

    def operation(self, where, items, operations):
        old, new = operations
        if old.get("operationId") != new.get("operationId"):
            self.note("operation-renamed", where, f"operationId is {new.get('operationId')}")
        self.security(where, operations)
        self.parameters(where, items, operations)
        self.body(where, operations)
        answers = [operation.get("responses", {}) for operation in operations]
        for status in answers[0]:
            at = f"{where}: {status}"
            if status not in answers[1]:
                self.note("response-removed", at, "is gone")
                continue
            pair = [self.resolve(side, answers[side][status]) for side in (0, 1)]
            self.content(at, pair, reads=True)
            headers = [{name.lower(): it for name, it in answer.get("headers", {}).items()} for answer in pair]
            for name in headers[0]:
                if name not in headers[1]:
                    self.note("header-removed", at, f"header {name} is gone")

    def security(self, where, operations):
        """Each way in must stay one, with no more scopes than before. A scheme is what it asks for and
        not what it is called."""
        ways = [
            [
                {self.asked_for(side, name): scopes for name, scopes in way.items()}
                for way in operations[side].get("security", self.documents[side].get("security", []))
            ]
            for side in (0, 1)
        ]
        for way in ways[0] or [{}]:
            open_to = [new for new in ways[1] or [{}] if new.keys() <= way.keys()]
            if not open_to:
                self.note("key-required", where, f"{', '.join(way) or 'no key'} is not enough any more")
            elif not any(all(set(scopes) <= set(way[key]) for key, scopes in new.items()) for new in open_to):
                self.note("scope-required", where, "more scopes are required")

    def asked_for(self, side, name):
        scheme = self.documents[side].get("components", {}).get("securitySchemes", {}).get(name)
        scheme = self.resolve(side, scheme) if scheme else {}
        return " ".join(scheme[part] for part in ("type", "in", "name", "scheme") if part in scheme) or name

    def parameters(self, where, items, operations):
        sides = []
        for side in (0, 1):
            listed = items[side].get("parameters", []) + operations[side].get("parameters", [])
            listed = [self.resolve(side, parameter) for parameter in listed]
            sides.append({(it["in"], it["name"].lower() if it["in"] == "header" else it["name"]): it for it in listed})
        old, new = sides
        for key, parameter in new.items():
            known = old.get(key)
            if parameter.get("required") and not (known and known.get("required")):
                self.note("parameter-required", where, f"{key[0]} parameter {key[1]} is required now")
            if known:
                pair = (known.get("schema", {}), parameter.get("schema", {}))
                self.schema(f"{where}: {key[0]} parameter {key[1]}", pair, reads=False)
        for key in old.keys() - new.keys():
            self.note("parameter-removed", where, f"{key[0]} parameter {key[1]} is gone")

    def body(self, where, operations):
        old, new = (
            self.resolve(side, operations[side]["requestBody"]) if "requestBody" in operations[side] else None
            for side in (0, 1)
        )
        if old is None:
            if new and new.get("required"):
                self.note("body-added", where, "a body is required now")
            return
        if new is None:
            self.note("body-removed", where, "the body is gone")
            return
        if new.get("required") and not old.get("required"):
            self.note("body-required", where, "the body is required now")
        self.content(f"{where}: body", (old, new), reads=False)

    def content(self, where, pair, reads):
        old, new = (part.get("content", {}) for part in pair)
        for kind in old:
            if kind in new:
                self.schema(where, (old[kind].get("schema", {}), new[kind].get("schema", {})), reads)
            else:
                self.note("media-type-removed", where, f"{kind} is gone")

    def schema(self, where, pair, reads):
        """`reads`: the caller reads such values. Then they may not get wider, otherwise not narrower."""
        key = (pair[0].get("$ref"), pair[1].get("$ref"), reads)
        if key[0] and key[1]:
            if key in self.visiting:
                return
            self.visiting.add(key)
        old, new = (self.resolve(side, pair[side]) for side in (0, 1))
        self.types(where, old, new, reads)
        self.values(where, old, new, reads)
        self.bounds(where, old, new, reads)
        self.members(where, old, new, reads)
        self.alternatives(where, old, new, reads)
        if "items" in old and "items" in new:
            self.schema(f"{where}[]", (old["items"], new["items"]), reads)
        self.visiting.discard(key)

    def types(self, where, old, new, reads):
        known, now = (types(schema) for schema in (old, new))
        wide, narrow = (known, now) if reads else (now, known)
        # No type is every type.
        if wide and (not narrow or not all(fits(kind, wide) for kind in narrow)):
            self.note("type-changed", where, f"{told(known)} became {told(now)}")

    def values(self, where, old, new, reads):
        known, now = (values(schema) for schema in (old, new))
        if reads:
            if known is not None and now is None:
                self.note("enum-opened", where, "any value may come now")
            return
        for value in known or []:
            if now is not None and value not in now:
                self.note("enum-removed", where, f"value {value!r} is gone")
        if known is None and now is not None:
            self.note("enum-removed", where, f"only {now} are left")

    def bounds(self, where, old, new, reads):
        for names, sign in ((LOWER, 1), (UPPER, -1)):
            for name in names:
                known, now = old.get(name), new.get(name)
                wide, narrow = (known, now) if reads else (now, known)
                if wide is not None and (narrow is None or narrow * sign < wide * sign):
                    self.note("bound-changed", where, f"{name} {told(known)} became {told(now)}")
        for name, rule in (("pattern", "pattern-changed"), ("format", "format-changed")):
            known, now = old.get(name), new.get(name)
            if known != now and (known if reads else now) is not None:
                self.note(rule, where, f"{name} {told(known)} became {told(now)}")

    def members(self, where, old, new, reads):
        known, now = (schema.get("properties", {}) for schema in (old, new))
        was, required = (set(schema.get("required", [])) for schema in (old, new))
        for name in known:
            if name in now:
                self.schema(f"{where}.{name}", (known[name], now[name]), reads)
            else:
                self.note("property-removed", f"{where}.{name}", "is gone")
        if reads:
            for name in sorted((was & now.keys()) - required):
                self.note("property-optional", f"{where}.{name}", "may be missing now")
        else:
            for name in sorted(required - was):
                self.note("property-required", f"{where}.{name}", "is required now")
            if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
                self.note("unknown-refused", where, "unknown members are refused now")

    def alternatives(self, where, old, new, reads):
        for kind in ("oneOf", "anyOf", "allOf"):
            known, now = ({known_by(schema, i): schema for i, schema in enumerate(it.get(kind, []))} for it in (old, new))
            for key in known.keys() & now.keys():
                self.schema(where, (known[key], now[key]), reads)
            for key in sorted(known.keys() - now.keys()):
                self.note("alternative-removed", where, f"{kind} {key} is gone")
            # A further demand of allOf narrows, a further alternative widens.
            if reads == (kind != "allOf"):
                for key in sorted(now.keys() - known.keys()):
                    self.note("alternative-added", where, f"{kind} {key} is new")


def types(schema):
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def fits(kind, kinds):
    return kind in kinds or (kind == "integer" and "number" in kinds)


def values(schema):
    return [schema["const"]] if "const" in schema else schema.get("enum")


def told(value):
    if isinstance(value, set):
        return " or ".join(sorted(value)) or "any type"
    return "none" if value is None else value


def known_by(schema, index):
    """What an alternative is known by."""
    return schema.get("$ref") or " or ".join(sorted(types(schema))) or str(index)


def compare(old, new):
    return Comparison(old, new).run()


def released(path):
    """The newest release, and what the document said in it; nothing before the first release."""
    git = ["git", "-C", str(TOP)]
    # v1.0.0-rc.1 before v1.0.0
    git_tag = [*git, "-c", "versionsort.suffix=-", "tag"]
    tags = subprocess.run([*git_tag, "--list", "v*", "--sort=-version:refname"], capture_output=True, text=True)
    inside = path.relative_to(TOP).as_posix()
    for tag in tags.stdout.split()[:1]:
        shown = subprocess.run([*git, "show", f"{tag}:{inside}"], capture_output=True, text=True)
        if shown.returncode == 0:
            return tag, json.loads(shown.stdout)
    return None


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) == 2:
        old, new = (json.loads(pathlib.Path(path).read_text()) for path in arguments)
        pairs = [(arguments[1], arguments[0], old, new)]
    elif arguments:
        sys.exit(__doc__)
    else:
        paths = sorted((TOP / "docs/api").glob("*.openapi.json"))
        if not paths:
            sys.exit("check-openapi-breaking: docs/api has no document")
        pairs = []
        for path in paths:
            if before := released(path):
                pairs.append((path.relative_to(TOP), *before, json.loads(path.read_text())))
            else:
                print(f"{path.relative_to(TOP)}: not released yet, so nobody can rely on it")
    broken = False
    for path, since, old, new in pairs:
        found = compare(old, new)
        broken = broken or bool(found)
        print(f"{path}: {len(found)} breaking changes since {since}")
        for rule, what in found:
            print(f"  {rule}: {what}")
    return int(broken)


BASE = {
    "paths": {
        "/things/{id}": {
            "get": {
                "operationId": "get_thing",
                "security": [{"key": ["api"]}],
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "string", "maxLength": 9}},
                    {"in": "query", "name": "kind", "schema": {"enum": ["a", "b"]}},
                ],
                "responses": {
                    "200": {
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {},
                },
            },
            "put": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}}},
                "responses": {"200": {}},
            },
            "delete": {"responses": {"204": {}}},
        },
        "/health": {"get": {"responses": {"200": {}}}},
    },
    "components": {
        "securitySchemes": {
            name: {"type": "apiKey", "in": "header", "name": "X-Key"} for name in ("key", "other name")
        },
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["id", "state"],
                "properties": {
                    "id": {"type": "string", "pattern": "^[a-z]+$"},
                    "state": {"type": "string", "enum": ["on", "off"]},
                    "size": {"type": "integer", "minimum": 1},
                    "at": {"type": "string", "format": "date"},
                    "next": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Thing"}]},
                },
            },
            "Change": {
                "type": "object",
                "required": ["state"],
                "properties": {"state": {"type": "string"}, "size": {"type": "number"}, "mode": {"enum": ["x", "y"]}},
            },
        }
    },
}
GET = "paths/~1things~1{id}/get"
PUT = "paths/~1things~1{id}/put"
ANSWER = f"{GET}/responses/200"
THING = "components/schemas/Thing"
CHANGE = "components/schemas/Change"
GONE = object()
JSON = {"application/json": {"schema": {"type": "object"}}}

# Of each rule, a change that breaks by it and its nearest neighbour that breaks nothing:
# where in the document, and what is there afterwards.
CASES = {
    "path-removed": (("paths/~1health", GONE), ("paths/~1more", {})),
    "operation-removed": (("paths/~1things~1{id}/delete", GONE), ("paths/~1health/post", {"responses": {}})),
    "operation-renamed": ((f"{GET}/operationId", "thing"), (f"{GET}/summary", "A thing")),
    "parameter-removed": ((f"{GET}/parameters/1", GONE), (f"{PUT}/parameters", [{"in": "query", "name": "q"}])),
    "parameter-required": ((f"{GET}/parameters/1/required", True), (f"{GET}/parameters/1/required", False)),
    "body-added": (
        ("paths/~1health/get/requestBody", {"required": True, "content": JSON}),
        ("paths/~1health/get/requestBody", {"content": JSON}),
    ),
    "body-removed": ((f"{PUT}/requestBody", GONE), (f"{PUT}/requestBody/description", "A change")),
    "body-required": ((f"{PUT}/requestBody/required", True), (f"{PUT}/requestBody/required", False)),
    "media-type-removed": ((f"{ANSWER}/content/application~1json", GONE), (f"{ANSWER}/content/text~1plain", {})),
    "response-removed": ((f"{GET}/responses/404", GONE), (f"{GET}/responses/429", {})),
    "header-removed": ((f"{ANSWER}/headers/ETag", GONE), (f"{ANSWER}/headers/Age", {})),
    "key-required": (("paths/~1health/get/security", [{"key": []}]), (f"{GET}/security", [{"other name": ["api"]}, {}])),
    "scope-required": ((f"{GET}/security/0/key", ["api", "more"]), (f"{GET}/security/0/key", [])),
    "type-changed": ((f"{CHANGE}/properties/size/type", "integer"), (f"{CHANGE}/properties/state/type", ["string", "null"])),
    "enum-removed": ((f"{CHANGE}/properties/mode/enum", ["x"]), (f"{CHANGE}/properties/mode/enum", ["x", "y", "z"])),
    "enum-opened": (
        (f"{THING}/properties/state/enum", GONE),
        (f"{THING}/properties/state/enum", ["on", "lost"]),
    ),
    "property-removed": ((f"{THING}/properties/size", GONE), (f"{THING}/properties/more", {})),
    "property-required": ((f"{CHANGE}/required", ["state", "mode"]), (f"{CHANGE}/required", [])),
    "property-optional": ((f"{THING}/required", ["id"]), (f"{THING}/required", ["id", "state", "size"])),
    "unknown-refused": ((f"{CHANGE}/additionalProperties", False), (f"{THING}/additionalProperties", False)),
    "bound-changed": ((f"{GET}/parameters/0/schema/maxLength", 8), (f"{GET}/parameters/0/schema/maxLength", 10)),
    "pattern-changed": ((f"{THING}/properties/id/pattern", "^.+$"), (f"{GET}/parameters/0/schema/description", "Its id")),
    "format-changed": ((f"{THING}/properties/at/format", "date-time"), (f"{THING}/properties/id/format", "uuid")),
    "alternative-removed": (
        (f"{THING}/properties/next/oneOf", [{"$ref": f"#/{THING}"}]),
        (f"{THING}/properties/next/oneOf", [{"$ref": f"#/{THING}"}, {"type": "null"}]),
    ),
    "alternative-added": (
        (f"{THING}/properties/next/oneOf", [{"type": "null"}, {"$ref": f"#/{THING}"}, {"type": "string"}]),
        (f"{THING}/properties/next/description", "The next thing"),
    ),
}
# More ways to break a rule.
MORE = {
    "type-changed": [(f"{THING}/properties/size/type", ["integer", "null"]), (f"{THING}/properties/size/type", GONE)],
    "enum-removed": [(f"{GET}/parameters/1/schema/enum", ["a"])],
    "key-required": [("components/securitySchemes/key/name", "X-Other")],
    "bound-changed": [(f"{THING}/properties/size/minimum", GONE), (f"{CHANGE}/properties/size/maximum", 7)],
    "pattern-changed": [(f"{GET}/parameters/0/schema/pattern", "^[0-9]+$")],
    "parameter-required": [(f"{PUT}/parameters", [{"in": "header", "name": "If-Match", "required": True}])],
}


def changed(where, value):
    document = copy.deepcopy(BASE)
    steps = [step.replace("~1", "/") for step in where.split("/")]
    node = document
    for step in steps[:-1]:
        node = node[int(step)] if isinstance(node, list) else node[step]
    last = int(steps[-1]) if isinstance(node, list) else steps[-1]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return document


def self_test():
    assert CASES.keys() == RULES, CASES.keys() ^ RULES
    assert compare(BASE, copy.deepcopy(BASE)) == []
    for rule, (breaking, compatible) in CASES.items():
        for case in [breaking, *MORE.get(rule, [])]:
            found = {name for name, _ in compare(BASE, changed(*case))}
            assert found == {rule}, f"{rule}: {case} gave {found}"
        found = compare(BASE, changed(*compatible))
        assert found == [], f"{rule}: {compatible} gave {found}"
    print(f"check-openapi-breaking: {len(CASES)} rules tell a breaking change from a compatible one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
