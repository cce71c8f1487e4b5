#!/bin/sh
# Builds and starts docker-compose.local.yml, asks both services, stops them and takes everything down again.
# With the profile: COMPOSE_PROFILES=observability scripts/check-compose.sh
#
# It is a project of its own, with a database of its own; it needs the ports of the real one.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

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

# The status and the answer, in which a text must be found.
expect() {
    what=$1 wanted=$2
    shift 2
    answer=$(curl --silent --show-error --max-time 10 --write-out ' %{http_code}' "$@") || fail "$what: no answer"
    case $answer in
    *$wanted*) echo "ok: $what" ;;
    *) fail "$what: $answer" ;;
    esac
}
expect "a car from Vehicle" '"make":"Volvo"*200' -H "X-Api-Key: $(key VEHICLE)" \
    http://127.0.0.1:5081/api/v1/vehicles/ABC123
expect "a person's policies from Insurance, with the car" '"make":"Volvo"*"enrichment":"complete"} 200' \
    -H "X-Api-Key: $(key INSURANCE)" http://127.0.0.1:5082/api/v1/insurances/199001011234
expect "no answer without a key" ' 401' http://127.0.0.1:5082/api/v1/insurances/199001011234

# The binaries are process 1 and heed SIGTERM; what is killed ends with 137.
compose stop vehicle insurance
for service in vehicle insurance; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "threadpilot-check-$service-1")
    [ "$code" -eq 0 ] || fail "$service ended with $code on SIGTERM"
    echo "ok: $service ends on SIGTERM"
done
echo "check-compose: passed"
