#!/bin/sh
# Opens both Swagger pages in a headless Chromium, authorizes, executes the documented examples and
# reads the answers. No request may leave this machine, and the console may show no error.
# Calls the stack that the variables of with-local-stack.sh name, or starts one.
# Needs Debian's package chromium, or another one that CHROMIUM names.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
[ -n "${VEHICLE_URL:-}" ] || exec scripts/with-local-stack.sh scripts/check-swagger.sh

CHROMIUM=$(command -v "${CHROMIUM:-chromium}") || {
    echo "check-swagger: no Chromium; install the package chromium, or set CHROMIUM" >&2
    exit 1
}
version=1.60.0
tool=target/tools/playwright-core-$version
[ -e "$tool/node_modules/playwright-core/package.json" ] ||
    npm install --silent --no-audit --no-fund --prefix "$tool" "playwright-core@$version"

CHROMIUM=$CHROMIUM PLAYWRIGHT=$PWD/$tool/node_modules/playwright-core/index.mjs exec node scripts/swagger.mjs
