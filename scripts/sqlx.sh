#!/bin/sh
# Keeps `.sqlx` true to the queries and migrations, against a private PostgreSQL.
#   scripts/sqlx.sh prepare   writes it, after a query or a migration changed
#   scripts/sqlx.sh check     fails when it is out of date
# Needs sqlx-cli with the features postgres and sqlx-toml.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
case ${1:-} in
    prepare) check= ;;
    check) check=--check ;;
    *) echo "usage: scripts/sqlx.sh prepare|check" >&2; exit 2 ;;
esac

unset THREADPILOT_DATABASE_URL
data=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }; rm -rf "$data"' EXIT
chmod 755 "$data"
cargo build --locked --quiet -p threadpilot
"${CARGO_TARGET_DIR:-target}/debug/threadpilot" --vehicle-port 0 --insurance-port 0 --data-dir "$data" >"$data/out" 2>&1 &
pid=$!
until grep -q '^ThreadPilot runs' "$data/out"; do
    kill -0 "$pid" 2>/dev/null || { cat "$data/out"; exit 1; }
    sleep 0.2
done

port=$(sed -n 4p "$data/pg/data/postmaster.pid")
password=$(cat "$data/pg/password")
# An empty $check must vanish.
# shellcheck disable=SC2086
DATABASE_URL="postgres://postgres:$password@127.0.0.1:$port/threadpilot" \
    cargo sqlx prepare --workspace $check
