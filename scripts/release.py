#!/usr/bin/env python3
"""Versions and the changelog from the subjects on main, which are the titles of pull requests.

scripts/release.py title TITLE    fails unless TITLE is a conventional commit's subject
scripts/release.py next           prints the version that the changes since the last release ask for
scripts/release.py prepare        writes that version and its changelog; prints it, or nothing
scripts/release.py pending        prints the version that is written but has no tag yet, or nothing
scripts/release.py notes VERSION  prints the changelog of VERSION

Below 1.0 a breaking change moves the minor version and everything else the patch version, as Cargo
reads versions. Commits inside a pull request may be worded freely: only the first parents of main
count. The first release takes the version that Cargo.toml already has.
"""

import os
import pathlib
import re
import subprocess
import sys

SECTIONS = {"feat": "Features", "fix": "Fixes", "perf": "Performance"}
SILENT = {"build", "chore", "ci", "docs", "refactor", "revert", "style", "test"}
SUBJECT = re.compile(r"(?P<type>[a-z]+)(\((?P<scope>[a-z0-9-]+)\))?(?P<breaking>!)?: (?P<text>\S.*)")
# What carries the version, besides Cargo.lock.
CARRIERS = ("Cargo.toml", "*/Chart.yaml", "*openapi*")
CHANGELOG = pathlib.Path("CHANGELOG.md")
UNRELEASED = "## [Unreleased]"


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def parse(subject):
    match = SUBJECT.fullmatch(subject)
    return match if match and match["type"] in SECTIONS.keys() | SILENT else None


def current():
    workspace = pathlib.Path("Cargo.toml").read_text().split("[workspace.package]", 1)[1]
    return re.search(r'^version = "(.+)"$', workspace, re.MULTILINE)[1]


def last_tag():
    tags = git("tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-v:refname").split()
    return tags[0] if tags else None


def changes():
    """Section and line of each change since the last release, newest first."""
    tag = last_tag()
    log = git("log", "--first-parent", "--format=%s%x1f%b%x1e", f"{tag}..HEAD" if tag else "HEAD")
    found = []
    for entry in log.split("\x1e")[:-1]:
        subject, body = entry.strip("\n").split("\x1f")
        # A merge whose subject was left as it is carries the title below it.
        if subject.startswith("Merge pull request #"):
            subject = body.strip().split("\n")[0]
        match = parse(subject)
        if not match:
            continue
        line = f"{match['scope']}: {match['text']}" if match["scope"] else match["text"]
        if match["breaking"] or re.search(r"^BREAKING[ -]CHANGE: ", body, re.MULTILINE):
            found.append(("Breaking changes", line))
        elif match["type"] in SECTIONS:
            found.append((SECTIONS[match["type"]], line))
    return found


def next_version():
    version = current()
    if last_tag() is None:
        return version
    sections = {section for section, _ in changes()}
    if not sections:
        return None
    major, minor, patch = map(int, last_tag()[1:].split("."))
    breaking, feature = "Breaking changes" in sections, "Features" in sections
    if major == 0:
        breaking, feature = False, breaking
    if breaking:
        return f"{major + 1}.0.0"
    return f"{major}.{minor + 1}.0" if feature else f"{major}.{minor}.{patch + 1}"


def write_version(old, new):
    line = re.compile(rf'^(\s*"?(?:version|appVersion)"?\s*[:=]\s*"?){re.escape(old)}("?,?)$', re.MULTILINE)
    for path in map(pathlib.Path, git("ls-files", "--", *CARRIERS).split()):
        text = path.read_text()
        if (changed := line.sub(rf"\g<1>{new}\g<2>", text)) != text:
            path.write_text(changed)
    subprocess.run(["cargo", "update", "--workspace", "--quiet"], check=True)


def write_changelog(version):
    """Moves what stands under Unreleased, and the titles since the last release, under the version."""
    old = CHANGELOG.read_text() if CHANGELOG.exists() else f"# Changelog\n\n{UNRELEASED}\n"
    head, _, rest = old.partition(f"{UNRELEASED}\n")
    written, _, older = rest.partition("\n## ")
    found = changes()
    parts = [f"## {version} ({git('log', '-1', '--format=%cs').strip()})", written.strip("\n")]
    for section in ("Breaking changes", *SECTIONS.values()):
        if lines := [f"- {line}" for name, line in found if name == section]:
            parts += [f"### {section}", "\n".join(lines)]
    if len(parts) == 2 and not parts[1]:
        parts.append("The first release.")
    if older:
        parts.append(f"## {older.strip(chr(10))}")
    text = "\n\n".join(part for part in parts if part)
    CHANGELOG.write_text(f"{head}{UNRELEASED}\n\n{text}\n")


def notes(version):
    for section in CHANGELOG.read_text().split("\n## ")[1:] if CHANGELOG.exists() else []:
        heading, body = section.split("\n", 1)
        if heading.split(" ")[0] == version:
            return body.strip()
    return None


def prepare():
    version = next_version()
    if version is None or notes(version) is not None:
        return None
    if version != current():
        write_version(current(), version)
    write_changelog(version)
    return version


def pending():
    tagged = git("tag", "--list", f"v{current()}").strip()
    return current() if not tagged and notes(current()) is not None else None


def main(arguments):
    match arguments:
        case ["title", title]:
            if not parse(title):
                kinds = ", ".join(sorted(SECTIONS.keys() | SILENT))
                sys.exit(f"not a conventional title: {title!r}; write `type: what changes`, type one of {kinds}")
            return
        case ["next"]:
            answer = next_version()
        case ["prepare"]:
            answer = prepare()
        case ["pending"]:
            answer = pending()
        case ["notes", version]:
            answer = notes(version) or sys.exit(f"{CHANGELOG} says nothing of {version}")
        case _:
            sys.exit(__doc__)
    if answer is not None:
        print(answer)


if __name__ == "__main__":
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    main(sys.argv[1:])
