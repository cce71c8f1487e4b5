#!/bin/sh
# Does what the README tells a new user: runs its first command, pastes the three printed curl
# lines, then stops everything and looks at what is left.
#   scripts/quick-start.sh 'cargo run'
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

# The stack uses the first, and neither the build nor the stack the second: nothing listens there.
unset THREADPILOT_DATABASE_URL
export DATABASE_URL=postgres://owner:secret@127.0.0.1:1/production

command=${1:?which command}
out=$(mktemp)
echo "+ $command"
sh -c "exec $command" >"$out" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -f "$out"' EXIT

waited=0
while [ "$(grep -c '^  curl ' "$out")" -lt 3 ]; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge 1800 ]; then
        cat "$out"
        echo "quick-start: the command did not come up" >&2
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done
grep '^· ' "$out"

grep '^  curl ' "$out" | while read -r line; do
    answer=$(sh -c "$line --fail-with-body --retry 5") || { echo "quick-start: failed: $line: $answer" >&2; exit 1; }
    case $answer in
        *'"make":"Volvo"'* | *'"make":"Toyota"'*) echo "ok: $answer" ;;
        *) echo "quick-start: unexpected: $answer" >&2; exit 1 ;;
    esac
done

toggles=$(sed -n 's/^  Toggles  *//p' "$out")
server=$(head -n 1 "$(dirname "$toggles")/../pg/data/postmaster.pid")

# What Ctrl-C sends.
kill -INT "$pid"
status=0
wait "$pid" || status=$?
if [ "$status" -ne 0 ]; then
    cat "$out"
    echo "quick-start: exit code $status" >&2
    exit 1
fi
waited=0
while kill -0 "$server" 2>/dev/null; do
    if [ "$waited" -ge 30 ]; then
        echo "quick-start: PostgreSQL is left as process $server" >&2
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done
for port in 5081 5082; do
    if curl -s -o /dev/null "http://127.0.0.1:$port/healthz"; then
        echo "quick-start: port $port is still served" >&2
        exit 1
    fi
done
echo "quick-start: passed"
