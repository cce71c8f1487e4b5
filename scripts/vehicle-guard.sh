#!/bin/sh
# Tells the guard around Vehicle in every replica of Insurance, from an operator's machine.
#   scripts/vehicle-guard.sh isolate SECONDS OWNER REASON   no replica calls Vehicle for that long
#   scripts/vehicle-guard.sh release OWNER REASON           the guards decide by themselves again
#   scripts/vehicle-guard.sh show                           what each guard is doing
#   scripts/vehicle-guard.sh forget REGISTRATION_NUMBER     what each cache knows of a car
# OPERATIONS_KEY is a key with the scope `admin`. The replicas are the addresses in INSURANCE, as
# in "http://10.0.0.7:5082 http://10.0.0.8:5082", or else the pods of the Helm release RELEASE
# (threadpilot) in the namespace of kubectl's context, each by a port-forward. Exit code 1 unless
# every replica did it. Whatever starts later was not told. Needs curl, and kubectl for pods.
set -eu
usage() {
    sed -n '2,10s/^# *//p' "$0" >&2
    exit 2
}
quoted() { printf %s "$1" | sed 's/[\\"]/\\&/g'; }
order() { # MODE OWNER REASON [SECONDS]
    printf '{"mode":"%s","owner":"%s","reason":"%s"%s}' "$1" "$(quoted "$2")" "$(quoted "$3")" "${4:+,\"expiresInSeconds\":$4}"
}
[ $# -gt 0 ] || usage
verb=$1
shift
method=GET path=vehicle-guard body=
case $verb:$# in
isolate:3) method=PUT body=$(order isolated "$2" "$3" "$1") ;;
release:2) method=PUT body=$(order automatic "$1" "$2") ;;
show:0) ;;
forget:1) method=DELETE path=vehicle-cache/$1 ;;
*) usage ;;
esac
: "${OPERATIONS_KEY:?a key with the scope admin}"

replicas() {
    if [ -n "${INSURANCE:-}" ]; then
        echo "$INSURANCE"
    else
        kubectl get pods --output name --field-selector 'status.phase!=Succeeded,status.phase!=Failed' \
            --selector "app.kubernetes.io/instance=${RELEASE:-threadpilot},app.kubernetes.io/component=insurance"
    fi
}

# The key is no argument, which others on this machine could read. No proxy comes between. Only 2xx is success, and only
# with what Insurance answers: a portal's redirect or page is not.
ask() { # ADDRESS
    address=$1
    set --
    : >"$answer"
    [ -z "$body" ] || set -- --header 'Content-Type: application/json' --data "$body" "$@"
    status=$(printf 'X-Api-Key: %s\n' "$OPERATIONS_KEY" |
        curl --disable --noproxy '*' --silent --show-error --max-time 10 --header @- --request "$method" "$@" \
            --output "$answer" --write-out '%{http_code}' "$address/api/v1/operations/$path" 2>&1) || {
        printf %s "$status"
        return 1
    }
    cat "$answer"
    case $verb:$status:$(cat "$answer") in
    forget:2??:* | *:2??:*'"isolation"'*) ;;
    *) printf ' %s' "$status" && return 1 ;;
    esac
}

log=$(mktemp) answer=$(mktemp)
forward=
end() {
    [ -z "$forward" ] || { kill "$forward" && wait "$forward"; } 2>/dev/null || true
    forward=
}
trap 'end; rm -f "$log" "$answer"' EXIT
trap 'exit 1' HUP INT TERM

ask_pod() { # POD
    # Before the fork, so that the port of the last one is not read.
    : >"$log"
    kubectl port-forward --address 127.0.0.1 "$1" :http >>"$log" 2>&1 &
    forward=$!
    left=50
    until port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$log") && [ -n "$port" ]; do
        left=$((left - 1))
        if [ "$left" -eq 0 ] || ! kill -0 "$forward" 2>/dev/null; then
            cat "$log"
            end
            return 1
        fi
        sleep 0.2
    done
    told_it=true
    ask "http://127.0.0.1:$port" || told_it=false
    end
    $told_it
}

told=' ' failed=0 count=0
# Until no replica is new, as some may have started meanwhile.
while :; do
    found=$(replicas)
    new=false
    for replica in $found; do
        case $told in *" $replica "*) continue ;; esac
        told="$told$replica " new=true count=$((count + 1))
        printf '%s: ' "$replica"
        case $replica in
        http*) ask "$replica" ;;
        *) ask_pod "$replica" ;;
        esac || {
            failed=$((failed + 1))
            printf ' FAILED'
        }
        echo
    done
    $new || break
done
[ "$count" -gt 0 ] || { echo 'no replica of Insurance was found' >&2; exit 1; }
echo "$verb: $((count - failed)) of $count replicas"
[ "$failed" -eq 0 ]
