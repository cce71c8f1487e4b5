#!/bin/sh
# Fails when a crate names a dependency that its code does not. Installs cargo-machete, from
# crates.io, into target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
version=0.9.2
machete=target/tools/cargo/bin/cargo-machete
[ "$("$machete" --version 2>/dev/null)" = "$version" ] ||
    cargo install --quiet --locked --force --debug --root target/tools/cargo --version "$version" cargo-machete
"$machete" --skip-target-dir .
