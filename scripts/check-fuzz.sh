#!/bin/sh
# Fuzzes both services by their OpenAPI documents: no answer may be a 5xx or differ from its
# document, nothing that a document forbids may be taken, and nothing that it allows refused.
#   scripts/check-fuzz.sh [EXAMPLES]   cases to draw for each operation (50), beside the fixed ones
#   FUZZ_SEED=7 scripts/check-fuzz.sh  another seed than 1
# Calls the stack that the variables of with-local-stack.sh name, or starts one. Needs uv.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
[ -n "${VEHICLE_URL:-}" ] || exec scripts/with-local-stack.sh scripts/check-fuzz.sh "$@"

examples=${1:-50}
seed=${FUZZ_SEED:-1}
settings=$PWD/scripts/schemathesis
# A new folder, so that no example of an earlier run is tried again.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Arguments: URL, key, further options.
fuzz() {
    url=$1
    key=$2
    shift 2
    (cd "$folder" && PYTHONPATH=$settings SCHEMATHESIS_HOOKS=hooks \
        uvx --quiet --from schemathesis==4.32.5 st --config-file "$settings/schemathesis.toml" run "$url/openapi.json" \
        --header "X-Api-Key: $key" --phases examples,coverage,fuzzing \
        --max-examples "$examples" --seed "$seed" "$@") || failed=1
}

echo "check-fuzz: seed $seed"
failed=0
operations='^/api/v1/(operations|prices)/'
fuzz "$VEHICLE_URL" "$API_KEY"
fuzz "$INSURANCE_URL" "$API_KEY" --exclude-path-regex "$operations"
fuzz "$INSURANCE_URL" "$OPERATIONS_KEY" --include-path-regex "$operations"

# The last one isolates Vehicle.
curl -s --fail -o /dev/null -X PUT -H "X-Api-Key: $OPERATIONS_KEY" -H 'Content-Type: application/json' \
    -d '{"mode":"automatic","reason":"the fuzzing is over","owner":"check-fuzz"}' \
    "$INSURANCE_URL/api/v1/operations/vehicle-guard"
exit "$failed"
