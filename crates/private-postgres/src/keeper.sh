# Makes and starts one cluster, keeps it while standard input stays open, then stops it.
#
# Standard input   a pipe that closes when the launcher ends, in whatever way
# Standard output  "started", once the server takes connections
# Standard error   the lock of the folder, held as long as this shell lives: nothing may write to it
# Exit status      3 not made, 4 not started, 5 not stopped
#
# Working folder: the cluster's. Arguments: folder of the programs, port, "temporary" or "kept".

# Ctrl-C goes to everybody at the terminal, and a closed pipe must not end the one who cleans up.
trap '' INT TERM HUP QUIT PIPE

programs=$1 port=$2 lifetime=$3
folder=$PWD
settings="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
settings="$settings -c fsync=off -c synchronous_commit=off -c full_page_writes=off"

run() {
    program=$1
    shift
    "$programs/$program" "$@" </dev/null >>"$folder/tools.log" 2>&1
}

# `initdb` works beside the final place, so that half a cluster is never taken for a whole one.
make() {
    rm -rf new >/dev/null 2>&1
    run initdb -D "$folder/new" -U postgres -E UTF8 --no-locale --no-sync --auth=scram-sha-256 \
        --pwfile="$folder/password" && mv new data >/dev/null 2>&1
}

stop() {
    run pg_ctl -D "$folder/data" status || return 0
    run pg_ctl -D "$folder/data" -m fast -w -t 30 stop || run pg_ctl -D "$folder/data" -m immediate -w -t 30 stop
}

rm -f tools.log server.log >/dev/null 2>&1
[ -d data ] || make || exit 3
run pg_ctl -D "$folder/data" -l "$folder/server.log" -w -t 60 -o "$settings" start || {
    stop
    exit 4
}
echo started 2>/dev/null

while read -r _; do :; done
stop || exit 5
if [ "$lifetime" = temporary ]; then
    cd / && rm -rf "$folder" >/dev/null 2>&1
fi
exit 0
