#!/bin/sh
# Runs a command on a machine that seems to have no PostgreSQL, so that the command must fetch one. In a mount namespace
# of its own: the machine itself is not changed. Needs root.
#   scripts/without-postgres.sh scripts/quick-start.sh
set -eu
[ "$#" -gt 0 ] || { sed -n '2,4s/^# *//p' "$0" >&2; exit 2; }

# shellcheck disable=SC2016 # the dollars are the inner shell's
hide='for folder in /usr/lib/postgresql /usr/local/bin/initdb; do
    [ ! -d "$folder" ] || mount -t tmpfs none "$folder"
    [ ! -f "$folder" ] || mount --bind /dev/null "$folder"
done
mkdir -p /var/cache && mount -t tmpfs none /var/cache
TMPDIR=$(mktemp -d) && chmod 1777 "$TMPDIR" && export TMPDIR
trap "rm -rf $TMPDIR" EXIT
"$@"'
exec unshare --mount sh -c "$hide" sh "$@"
