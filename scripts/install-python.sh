#!/bin/sh
# Puts Python packages into a virtual environment under target/tools, unless it holds them already.
#   scripts/install-python.sh NAME PACKAGE==VERSION…
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
folder=target/tools/${1:?which environment}
shift
[ "$(cat "$folder/installed" 2>/dev/null)" != "$*" ] || exit 0
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
echo "$*" >"$folder/installed"
