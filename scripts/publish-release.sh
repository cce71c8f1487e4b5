#!/bin/sh
# Publishes a release: its tag, its notes, the contracts as a crate, what each binary is built from, and
# what operators tell a fleet with.
#   scripts/publish-release.sh VERSION IMAGE… CHART
# Needs gh and GH_TOKEN.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
version=${1:?which version}
shift
mkdir -p target
{
    scripts/release.py notes "$version"
    printf '\n### Images and chart\n\n'
    printf -- '- %s\n' "$@"
} >target/notes.md
cargo package --locked --package contracts
scripts/sbom.sh
gh release create "v$version" --target "$(git rev-parse HEAD)" --title "$version" --notes-file target/notes.md \
    "target/package/contracts-$version.crate" target/sbom/*.json scripts/vehicle-guard.sh
