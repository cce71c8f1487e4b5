#!/bin/sh
# Builds and starts docker-compose.local.yml with what watches it, asks both services, Prometheus for
# both of them, Jaeger for spans of both and Grafana for its dashboards, stops the services and
# takes everything down again.
#
# It is a project of its own, with a database of its own; it needs the ports of the real one.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
export COMPOSE_PROFILES=observability

compose() {
    docker compose --project-name threadpilot-check --file docker-compose.local.yml "$@"
}

fail() {
    echo "check-compose: $*" >&2
    exit 1
}

./init.sh
key() {
    sed -n "s/^$1__API_KEYS__CORE_SYSTEM__KEY=//p" .env
}

trap 'compose down --volumes --remove-orphans' EXIT
trap 'exit 1' HUP INT TERM
compose up --build --detach --wait --wait-timeout 300 || {
    compose logs --tail 20
    fail "the stack did not come up"
}

# Whether the answer and its status match a pattern.
answers() {
    wanted=$1
    shift
    answer=$(curl --silent --show-error --max-time 10 --write-out ' %{http_code}' "$@") || return 1
    # shellcheck disable=SC2254 # it is a pattern
    case $answer in
    $wanted) ;;
    *) return 1 ;;
    esac
}
expect() { # WHAT PATTERN CURL-ARGUMENT…
    what=$1
    shift
    answers "$@" || fail "$what: ${answer:-no answer}"
    echo "ok: $what"
}
# What comes with the next scrape or export.
eventually() { # WHAT PATTERN CURL-ARGUMENT…
    what=$1 left=60
    shift
    until answers "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "$what: ${answer:-no answer}"
        sleep 1
    done
    echo "ok: $what"
}

# Letters only, so that it holds nothing that could be a person's number.
trace=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | sed y/0123456789/abcdefabcd/)
parent="traceparent: 00-$trace-00f067aa0ba902b7-01"
expect "a person's policies from Insurance, with the car" '*"make":"Volvo"*"enrichment":"complete"} 200' \
    -H "X-Api-Key: $(key INSURANCE)" -H "$parent" \
    http://127.0.0.1:5082/api/v1/insurances/199001011234
expect "a car from Vehicle" '*"make":"Volvo"* 200' -H "X-Api-Key: $(key VEHICLE)" -H "$parent" \
    http://127.0.0.1:5081/api/v1/vehicles/ABC123
expect "no answer without a key" '* 401' http://127.0.0.1:5082/api/v1/insurances/199001011234

eventually "Prometheus scrapes both services" '*,"2"]*' --get --data-urlencode 'query=sum(up{job=~"vehicle|insurance"})' \
    http://127.0.0.1:9090/api/v1/query
for service in insurance vehicle; do
    eventually "the collector hands the spans of $service on" "*\"serviceName\":\"$service\"*" \
        "http://127.0.0.1:16686/api/traces/$trace"
done
for dashboard in deploy/observability/grafana/dashboards/*.json; do
    uid=$(sed -n 's/^  "uid": "\(.*\)",*$/\1/p' "$dashboard")
    eventually "Grafana has the dashboard $uid" '*"provisioned":true* 200' \
        "http://127.0.0.1:3000/api/dashboards/uid/${uid:?"$dashboard has no uid"}"
done

# The binaries are process 1 and heed SIGTERM; what is killed ends with 137.
compose stop vehicle insurance
for service in vehicle insurance; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "threadpilot-check-$service-1")
    [ "$code" -eq 0 ] || fail "$service ended with $code on SIGTERM"
    echo "ok: $service ends on SIGTERM"
done
echo "check-compose: passed"
