#!/usr/bin/env python3
"""Holds every Markdown file to the repository: links and anchors, files, settings, variables,
metrics, routes, names of tests and codes, and Mermaid diagrams.

    scripts/check-docs.py               everything; needs npm for the diagrams
    scripts/check-docs.py --no-mermaid  without the diagrams
"""

import sys

sys.dont_write_bytecode = True

from docs.checker import Checker
from docs.document import Document
from docs.mermaid import mermaid
from docs.repository import ROOT, Repository
from docs.samples import samples


def main():
    repository = Repository()
    documents = [
        Document(name, (ROOT / name).read_text(encoding="utf-8"))
        for name in sorted(repository.files)
        if name.endswith(".md")
    ]
    problems = list(samples(repository, documents))
    checker = Checker(repository, documents)
    for document in documents:
        checker.check(document)
    problems += checker.problems
    diagrams = "no"
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
