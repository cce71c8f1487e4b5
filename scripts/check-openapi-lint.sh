#!/bin/sh
# Lints the committed OpenAPI documents; a warning fails as well.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

version=6.16.3
tool=target/tools/spectral-$version
spectral=$tool/node_modules/.bin/spectral
[ -x "$spectral" ] || npm install --silent --no-audit --no-fund --prefix "$tool" "@stoplight/spectral-cli@$version"

"$spectral" lint --ruleset docs/api/.spectral.yaml --fail-severity warn docs/api/*.openapi.json
