# Makes one cluster where there is none, runs its server while standard input stays open, then stops it.
#
# Standard input   a pipe that closes when the launcher ends, in whatever way
# Standard error   the lock of the folder, held as long as this shell lives: nothing may write to it
# Exit status      0 after an orderly stop, 3 when no cluster could be made
#
# Working folder: the cluster's. Arguments: folder of the programs, port, "temporary" or "kept".

# Whoever cleans up is ended by nobody's Ctrl-C and nobody's logout.
trap '' INT TERM HUP QUIT PIPE

programs=$1 port=$2 lifetime=$3
folder=$PWD
exec 3<&0 </dev/null

# `initdb` works beside the final place, so that half a cluster is never taken for a whole one.
make() {
    rm -rf new
    "$programs/initdb" -D "$folder/new" -U postgres -E UTF8 --no-locale --no-sync --auth=scram-sha-256 \
        --pwfile="$folder/password" && mv new data
}

if [ ! -d data ]; then
    make >log 2>&1 3<&- || exit 3
fi

# Without syncing: a commit is written before it is told, so that a killed server loses none.
"$programs/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=200 -c fsync=off -c full_page_writes=off >log 2>&1 3<&- &
server=$!
{
    while read -r _; do :; done <&3
    # A server that is just starting does not listen to the first one.
    while kill -s INT "$server"; do sleep 0.1; done
} >/dev/null 2>&1 &
watch=$!
wait "$server"
status=$?
kill -s KILL "$watch" 2>/dev/null
# The log of a server that failed stays for the launcher.
if [ "$status" = 0 ] && [ "$lifetime" = temporary ]; then
    cd / && rm -rf "$folder" 2>/dev/null
fi
exit "$status"
