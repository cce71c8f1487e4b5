#!/bin/sh
# Runs a command on a machine that seems to have no PostgreSQL, so that the command must fetch one. In a mount namespace
# of its own: the machine itself is not changed. Needs root; the command runs as root, or as USER.
#   scripts/without-postgres.sh [--user USER] scripts/quick-start.sh
set -eu
user=
[ "${1:-}" != --user ] || { user=$2 && shift 2; }
[ "$#" -gt 0 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }
unset PG_BIN THREADPILOT_DATABASE_URL THREADPILOT_TEST_DATABASE_URL
init=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/init.sh

# shellcheck disable=SC2016 # the dollars are the inner shell's
hide='init=$1 user=$2
shift 2
for folder in /usr/lib/postgresql /usr/local/bin/initdb; do
    [ ! -d "$folder" ] || mount -t tmpfs none "$folder"
    [ ! -f "$folder" ] || mount --bind /dev/null "$folder"
done
mkdir -p /var/cache && mount -t tmpfs none /var/cache
TMPDIR=$(mktemp -d) && chmod 1777 "$TMPDIR" && export TMPDIR
trap "rm -rf $TMPDIR" EXIT
as_user() { "$@"; }
if [ -n "$user" ]; then
    # Where an ordinary user keeps what was fetched.
    export XDG_CACHE_HOME="$TMPDIR/cache"
    as_user() { setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"; }
fi
case $(as_user "$init" --check 2>&1) in
*"found in"*) echo "without-postgres: PostgreSQL could not be hidden: $(as_user "$init" --check)" >&2; exit 1 ;;
esac
as_user "$@"'
exec unshare --mount sh -euc "$hide" sh "$init" "$user" "$@"
