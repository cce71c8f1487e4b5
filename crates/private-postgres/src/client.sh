# Runs the program named by the arguments, and ends it with everything it started when its owner ends.
#
# Standard input   a pipe that closes when the launcher ends, in whatever way
# Exit status      the program's
#
# Leads a process group of its own.

exec 3<&0 </dev/null
"$@" 3<&- &
client=$!
{
    read -r _ <&3
    kill 0
} >/dev/null 2>&1 &
watch=$!
wait "$client"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
