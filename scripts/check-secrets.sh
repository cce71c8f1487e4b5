#!/bin/sh
# Looks for secrets in every line that the history ever added, and in what is not committed yet.
# Offline once detect-secrets is installed, from PyPI into target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
scripts/install-python.sh secrets detect-secrets==1.5.0 unidiff==0.7.5
PYTHONDONTWRITEBYTECODE=1 exec target/tools/secrets/bin/python scripts/check-secrets.py
