#!/bin/sh
# Prints the command of the README's code block of this number: 1 runs, 2 tests.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
awk -v wanted="${1:?which code block}" '
    /^```/ { inside = !inside; if (inside) block++; next }
    inside && block == wanted { print; found = 1 }
    END { exit !found }
' README.md
