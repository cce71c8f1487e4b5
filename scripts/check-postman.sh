#!/bin/sh
# Runs the Postman collection: every request gets the answer that its tests ask for.
# Calls the stack that the variables of with-local-stack.sh name, or starts one.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
[ -n "${VEHICLE_URL:-}" ] || exec scripts/with-local-stack.sh scripts/check-postman.sh "$@"

version=6.2.2
tool=target/tools/newman-$version
newman=$tool/node_modules/.bin/newman
[ -x "$newman" ] || npm install --silent --no-audit --no-fund --prefix "$tool" "newman@$version"

"$newman" run docs/api/threadpilot.postman_collection.json --color off --reporter-cli-no-banner \
    --env-var "vehicleUrl=$VEHICLE_URL" --env-var "insuranceUrl=$INSURANCE_URL" \
    --env-var "vehicleKey=$VEHICLE_KEY" --env-var "insuranceKey=$INSURANCE_KEY" --env-var "operationsKey=$OPERATIONS_KEY" "$@"
