"""Has Mermaid's own parser read diagrams, in Node and without a browser."""

import json
import shutil
import subprocess

from docs.repository import ROOT

MERMAID = ("mermaid@11.12.0", "jsdom@26.1.0")


def mermaid(documents):
    """Has Mermaid's own parser read every diagram."""
    diagrams = [
        {"place": f"{document.name}:{number}", "text": text}
        for document in documents
        for kind, number, text in document.blocks
        if kind == "mermaid"
    ]
    tools = ROOT / "target" / "tools" / "mermaid"
    installed = tools / "installed"
    if not installed.is_file() or installed.read_text() != " ".join(MERMAID):
        shutil.rmtree(tools, ignore_errors=True)
        tools.mkdir(parents=True)
        (tools / "package.json").write_text('{"private": true}')
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run([*install, *MERMAID], cwd=tools, check=True, stdout=subprocess.DEVNULL)
        installed.write_text(" ".join(MERMAID))
    # Beside its modules, where Node looks for them.
    script = shutil.copy(ROOT / "scripts" / "docs" / "parse-mermaid.mjs", tools)
    broken = [{"place": "sample", "text": "sequenceDiagram\n    A->>"}]
    run = subprocess.run(
        ["node", script], input=json.dumps(broken + diagrams), capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        return [f"parse-mermaid.mjs: {run.stderr.strip()}"], len(diagrams)
    refused = json.loads(run.stdout)
    if not refused or not refused[0].startswith("sample:"):
        return ["parse-mermaid.mjs does not refuse a broken diagram"], len(diagrams)
    return refused[1:], len(diagrams)
