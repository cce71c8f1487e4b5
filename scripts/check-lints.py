#!/usr/bin/env python3
"""Fails when a crate does not take the workspace's lints, or these allow unsafe code."""

import pathlib
import sys
import tomllib

top = pathlib.Path(__file__).resolve().parent.parent
failures = [
    f"{manifest.relative_to(top)}: no `[lints] workspace = true`"
    for manifest in sorted(top.glob("crates/*/Cargo.toml"))
    if tomllib.loads(manifest.read_text()).get("lints") != {"workspace": True}
]
if tomllib.loads((top / "Cargo.toml").read_text())["workspace"]["lints"]["rust"].get("unsafe_code") != "forbid":
    failures.append("Cargo.toml: unsafe code is not forbidden")
if failures:
    sys.exit("\n".join(failures))
