#!/bin/sh
# Runs a command beside a local stack of its own, on free ports and with fresh sample data, then
# stops the stack. The command finds it in VEHICLE_URL, INSURANCE_URL, API_KEY and OPERATIONS_KEY;
# VEHICLE_KEY and INSURANCE_KEY are good at one of the services only. STACK_DATABASE_URL is the
# database, as an administrator.
#   scripts/with-local-stack.sh sh -c 'curl -s -H "X-Api-Key: $API_KEY" "$VEHICLE_URL/api/v1/vehicles/ABC123"'
set -eu
[ "$#" -gt 0 ] || { sed -n '2,7s/^# *//p' "$0" >&2; exit 2; }
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
unset THREADPILOT_DATABASE_URL

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
VEHICLE_KEY=$(random) INSURANCE_KEY=$(random)
export VEHICLE_KEY INSURANCE_KEY
scopes=read,write,feed,audit
export VEHICLE__API_KEYS__VEHICLE_ONLY__KEY="$VEHICLE_KEY" VEHICLE__API_KEYS__VEHICLE_ONLY__SCOPES=$scopes
export INSURANCE__API_KEYS__INSURANCE_ONLY__KEY="$INSURANCE_KEY" INSURANCE__API_KEYS__INSURANCE_ONLY__SCOPES=$scopes

folder=$(mktemp -d)
# As root, PostgreSQL runs under another account, which must reach its own folder in this one.
chmod 755 "$folder"
out=$folder/out
: >"$out"
(cd "$top" && exec cargo run --locked --quiet -- --vehicle-port 0 --insurance-port 0 --data-dir "$folder/data") \
    >"$out" 2>&1 &
pid=$!
stop() {
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

waited=0
until grep -q '^Try:' "$out"; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge 1800 ]; then
        cat "$out" >&2
        echo "with-local-stack: the stack did not come up" >&2
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done
said() { sed -n "s/^  $1  *//p" "$out"; }
VEHICLE_URL=$(said Vehicle)
INSURANCE_URL=$(said Insurance)
VEHICLE_URL=${VEHICLE_URL%/swagger/}
INSURANCE_URL=${INSURANCE_URL%/swagger/}
API_KEY=$(said X-Api-Key)
OPERATIONS_KEY=$(said Operations)
postgres=$folder/data/pg
STACK_DATABASE_URL=postgres://postgres:$(cat "$postgres/password")@127.0.0.1:$(sed -n 4p "$postgres/data/postmaster.pid")/threadpilot
export VEHICLE_URL INSURANCE_URL API_KEY OPERATIONS_KEY STACK_DATABASE_URL

"$@"
