#!/bin/sh
# Runs the local stack and a Prometheus that scrapes it by deploy/observability/prometheus, makes
# traffic of every kind, also with a Vehicle that hangs and one that refuses the key, and asks every
# query of every Grafana dashboard and every runbook and every rule of it. What was measured must stay
# under the worst case that is drawn above it. Linux; Debian's prometheus; python3.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
command -v prometheus >/dev/null || { echo 'check-dashboards: prometheus is missing (apt-get install prometheus)' >&2; exit 1; }
cargo build --quiet --locked --workspace --bins
exec python3 scripts/check_dashboards.py
