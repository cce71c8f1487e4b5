# Makes and starts one cluster, keeps it while standard input stays open, then stops it.
#
# Standard input   a pipe that closes when the launcher ends, in whatever way; each line asks to start a server again
#                  that has ended
# Standard output  "started", once the server takes connections; "failed", when it could not be started again
# Standard error   the lock of the folder, held as long as this shell lives: nothing may write to it
# Exit status      3 not made, 4 not started, 5 not stopped
#
# Working folder: the cluster's. Arguments: folder of the programs, port, "temporary" or "kept".

# Ctrl-C goes to everybody at the terminal, and a closed pipe must not end the one who cleans up.
trap '' INT TERM HUP QUIT PIPE

programs=$1 port=$2 lifetime=$3
folder=$PWD
settings="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
# A commit is written before it is told, though not synced: a killed server loses none.
settings="$settings -c fsync=off -c full_page_writes=off"

run() {
    program=$1
    shift
    "$programs/$program" "$@" </dev/null >>tools.log 2>&1
}

# `initdb` works beside the final place, so that half a cluster is never taken for a whole one.
make() {
    rm -rf new >/dev/null 2>&1
    run initdb -D "$folder/new" -U postgres -E UTF8 --no-locale --no-sync --auth=scram-sha-256 \
        --pwfile="$folder/password" && mv new data >/dev/null 2>&1
}

# By now the number may be that of another process.
serves() {
    case $({ tr '\0' ' ' <"/proc/$server/cmdline" || ps -ww -o command= -p "$server"; } 2>/dev/null) in
    *"-D $folder/data "*) return 0 ;;
    esac
    return 1
}

# The relative name finds the own server only: somebody may have removed the folder, and made it anew for another one.
stop() {
    if run pg_ctl -D data status &&
        { run pg_ctl -D data -m fast -w -t 30 stop || run pg_ctl -D data -m immediate -w -t 30 stop; }; then
        return 0
    fi
    for signal in INT QUIT; do
        tries=300
        while serves; do
            [ "$tries" = 300 ] && kill -s "$signal" "$server" 2>/dev/null
            [ "$tries" = 0 ] && continue 2
            tries=$((tries - 1))
            sleep 0.1
        done
        return 0
    done
    return 1
}

start() {
    run pg_ctl -D "$folder/data" -l "$folder/server.log" -w -t 60 -o "$settings" start || return 1
    { read -r server <data/postmaster.pid; } 2>/dev/null
}

server=
rm -f tools.log server.log >/dev/null 2>&1
[ -d data ] || make || exit 3
start || {
    stop
    exit 4
}
echo started 2>/dev/null

while read -r _; do
    if start; then echo started; else echo failed; fi 2>/dev/null
done
stop || exit 5
if [ "$lifetime" = temporary ] && [ -e lock ]; then
    cd / && rm -rf "$folder" >/dev/null 2>&1
fi
exit 0
