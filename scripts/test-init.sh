#!/bin/sh
# Proves what init.sh promises, in a temporary copy and with a PATH that holds only what init.sh may need.
#
#   scripts/test-init.sh
#
# INIT_SH the shell to prove it with; /bin/sh by default
set -eu
umask 022

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
copy=$folder/copy
tools=$folder/tools
sh=${INIT_SH:-/bin/sh}
python=$(command -v python3) || python=

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

passed() {
    echo "ok: $*"
}

fresh_copy() {
    rm -rf "$copy"
    mkdir "$copy"
    cp "$top/init.sh" "$top/secrets.local.json.template" "$copy"
}

# Everything init.sh may call; neither awk nor jq nor python.
mkdir "$tools"
for tool in cat chmod cmp dirname grep id mkdir mv od rm rmdir sed tr; do
    ln -s "$(command -v "$tool")" "$tools/$tool"
done

# Runs init.sh of the copy from another folder, on a machine without PostgreSQL.
init() {
    (cd / && env -i PATH="$tools" HOME="$folder/home" INIT_ROOT="$folder/root" "$sh" "$copy/init.sh" "$@") >"$folder/said" 2>&1
}

json_value() {
    awk -F'"' -v wanted="$1" '
        /^ *}/ { sub(/[.][^.]*$/, "", parent) }
        /[{]$/ && NF > 1 { parent = parent "." $2 }
        NF > 3 && parent "." $2 == "." wanted { print $4 }
    ' "$copy/secrets.local.json"
}

env_value() {
    (
        # shellcheck source=/dev/null # written by the test
        . "$copy/.env"
        eval "printf '%s\n' \"\$$1\""
    )
}

mode() {
    # shellcheck disable=SC2012 # stat has no common form
    ls -l "$1" | cut -c1-10
}

paths='postgres.password
vehicle.database.password
vehicle.database.migration_password
vehicle.api_keys.core_system.key
vehicle.api_keys.insurance_service.key
insurance.database.password
insurance.database.migration_password
insurance.api_keys.core_system.key
insurance.api_keys.operations.key
insurance.vehicle_client.api_key'

variable_of() {
    case $1 in
    postgres.password) echo POSTGRES_PASSWORD ;;
    *) echo "$1" | tr '[:lower:]' '[:upper:]' | sed 's/[.]/__/g' ;;
    esac
}

same_values_in_both_files() {
    for path in $paths; do
        [ "$(json_value "$path")" = "$(env_value "$(variable_of "$path")")" ] || fail "$path differs in .env"
    done
}

# What the modes are before they are set.
rm "$tools/chmod"
cat >"$tools/chmod" <<END
#!/bin/sh
for file; do :; done
ls -l "\$file" | cut -c1-10 >>"$folder/modes"
exec "$(command -v chmod)" "\$@"
END
chmod +x "$tools/chmod"
for tool in cut ls; do ln -s "$(command -v "$tool")" "$tools/$tool"; done

fresh_copy
init || fail "the first run: $(cat "$folder/said")"
! grep -v -e '-rw-------' "$folder/modes" || fail "a secret was readable for a moment"
for file in secrets.local.json .env; do
    [ "$(mode "$copy/$file")" = -rw------- ] || fail "$file has mode $(mode "$copy/$file")"
    ! grep -q '<' "$copy/$file" || fail "$file still holds a placeholder"
done
[ "$(cd "$copy" && echo ./.[!.]* ./*)" = './.env ./init.sh ./secrets.local.json ./secrets.local.json.template' ] ||
    fail "left-over files: $(ls -A "$copy")"
passed "the first run makes both files, private and without placeholders"

for path in $paths; do
    json_value "$path" | grep -q -E '^[0-9a-f]{64}$' || fail "$path is not 32 random bytes in hex"
    ! grep -q "$(json_value "$path")" "$folder/said" || fail "$path was printed"
done
passed "every value is 32 bytes in hex, and none is printed"

[ "$(for path in $paths; do json_value "$path"; done | sort -u | wc -l)" -eq 9 ] || fail "two values are equal"
[ "$(json_value vehicle.api_keys.insurance_service.key)" = "$(json_value insurance.vehicle_client.api_key)" ] ||
    fail "Insurance holds another key than the one Vehicle knows"
passed "all values differ, except the key that both services hold"

same_values_in_both_files
[ "$(env_value INSURANCE__API_KEYS__OPERATIONS__SCOPES)" = admin ] || fail "the operations key has no scope in .env"
[ "$(env_value VEHICLE__API_KEYS__CORE_SYSTEM__SCOPES)" = read,write,feed,audit ] || fail "the scopes differ in .env"
passed "the variables of .env are the values of secrets.local.json"

if [ -n "$python" ]; then
    "$python" -m json.tool "$copy/secrets.local.json" >/dev/null || fail "secrets.local.json is no JSON"
    passed "secrets.local.json is JSON"
else
    echo "SKIPPED: no python3 to check that secrets.local.json is JSON"
fi

cp "$copy/secrets.local.json" "$folder/secrets.before"
cp "$copy/.env" "$folder/env.before"
chmod 644 "$copy/.env" "$copy/secrets.local.json"
init || fail "the second run: $(cat "$folder/said")"
cmp "$folder/secrets.before" "$copy/secrets.local.json" || fail "the second run changed secrets.local.json"
cmp "$folder/env.before" "$copy/.env" || fail "the second run changed .env"
[ "$(mode "$copy/.env")$(mode "$copy/secrets.local.json")" = -rw--------rw------- ] || fail "the modes were not repaired"
passed "the second run changes nothing but modes that are too wide"

fresh_copy
# shellcheck disable=SC2016 # the dollar is part of the value
sed 's/"password": "<[^>]*>"/"password": "by hand: $1 # \& \/"/; s/"api_key": "<[^>]*>"/"api_key": "key-by-hand"/' \
    "$copy/secrets.local.json.template" >"$copy/secrets.local.json"
printf 'RUST_LOG=debug\nPOSTGRES_PASSWORD=old\n# mine\nLAST=1' >"$copy/.env"
init || fail "the run with values set by hand: $(cat "$folder/said")"
[ "$(json_value vehicle.database.password)" = "by hand: \$1 # & /" ] || fail "a value set by hand was changed"
[ "$(json_value vehicle.api_keys.insurance_service.key)" = key-by-hand ] || fail "the shared key ignores the one set by hand"
! grep -q '<generated' "$copy/secrets.local.json" || fail "a placeholder was left"
same_values_in_both_files
passed "values set by hand survive, also into .env and to the other holder of the key"

for line in RUST_LOG=debug '# mine' LAST=1; do
    grep -q -x -e "$line" "$copy/.env" || fail "the line '$line' of .env is gone"
done
[ "$(grep -c '^POSTGRES_PASSWORD=' "$copy/.env")" -eq 1 ] || fail "POSTGRES_PASSWORD is there twice"
passed "other lines of .env are kept"

grep -v migration_password "$folder/secrets.before" >"$copy/secrets.local.json"
cp "$copy/secrets.local.json" "$folder/missing"
! init || fail "missing values were accepted"
for path in vehicle.database.migration_password insurance.database.migration_password; do
    grep -q "has no $path:" "$folder/said" || fail "$path is missing and not told"
done
cmp "$folder/missing" "$copy/secrets.local.json" || fail "a file with missing values was changed"
passed "values that only the template has are told and the file is left alone"

lines=$(wc -l <"$folder/secrets.before")
broken() {
    cp "$copy/secrets.local.json" "$folder/broken"
    cp "$copy/.env" "$folder/env.before"
    ! init || fail "accepted: $1"
    grep -q "secrets.local.json, line .*$2" "$folder/said" || fail "$1: $(cat "$folder/said")"
    cmp "$folder/broken" "$copy/secrets.local.json" || fail "a file was changed: $1"
    cmp "$folder/env.before" "$copy/.env" || fail ".env was changed: $1"
}
for kept in 1 5 $((lines - 1)); do
    head -n "$kept" "$folder/secrets.before" >"$copy/secrets.local.json"
    broken "a file cut after line $kept" 'ends before its last brace'
done
echo >"$copy/secrets.local.json"
broken "a file without braces" 'ends before its last brace'
(cat "$folder/secrets.before" && echo '}') >"$copy/secrets.local.json"
broken "a brace too many" 'not one string or brace per line'
(echo '{' && cat "$folder/secrets.before") >"$copy/secrets.local.json"
broken "a brace too many at the beginning" 'not one string or brace per line'
sed 1d "$folder/secrets.before" >"$copy/secrets.local.json"
broken "no brace at the beginning" 'not one string or brace per line'
passed "a file that is cut or has unbalanced braces is refused and left alone"

echo '{ "postgres": { "password": "s3cret" } }' >"$copy/secrets.local.json"
cp "$copy/.env" "$folder/env.before"
! init || fail "two values on a line were accepted"
grep -q 'line 1' "$folder/said" || fail "the line is not told: $(cat "$folder/said")"
! grep -q s3cret "$folder/said" || fail "a secret was printed"
grep -q s3cret "$copy/secrets.local.json" || fail "a file that cannot be read was changed"
cmp "$folder/env.before" "$copy/.env" || fail ".env was changed"
passed "a file in another form is refused and left alone, its content untold"

fresh_copy
init || fail "the run before a quote: $(cat "$folder/said")"
cp "$copy/.env" "$folder/env.before"
sed "s/$(json_value postgres.password)/s3cr'et/" "$copy/secrets.local.json" >"$folder/quoted"
cat "$folder/quoted" >"$copy/secrets.local.json"
! init || fail "a value with a single quote was accepted"
grep -q 'postgres.password holds a single quote' "$folder/said" || fail "the quote is not told: $(cat "$folder/said")"
! grep -q "s3cr'et" "$folder/said" || fail "a secret was printed"
cmp "$folder/env.before" "$copy/.env" || fail ".env was changed"
passed "a value that .env cannot hold is refused"

fresh_copy
! init --nonsense || fail "an unknown argument was accepted"
[ ! -e "$copy/.env" ] || fail "an unknown argument did something"
passed "an unknown argument is refused"

! init --postgres || fail "--postgres without apt-get did not fail"
grep -q 'brew install' "$folder/said" || fail "no advice: $(cat "$folder/said")"
passed "--postgres without apt-get advises and fails"

! init --check || fail "--check found a way where there is none"
for command in 'install postgresql' 'install npm' 'install python3-pip'; do
    grep -q "sudo apt-get $command " "$folder/said" || fail "--check does not name $command: $(cat "$folder/said")"
done
passed "--check without any way names the three commands that help and fails"

fake() {
    printf '#!%s\n%s\n' "$sh" "$2" >"$tools/$1"
    chmod 755 "$tools/$1"
}
checked() {
    init --check || fail "--check: $(cat "$folder/said")"
    grep -q "$1" "$folder/said" || fail "--check does not say '$1': $(cat "$folder/said")"
}
fake python3 'exit 1'
! init --check || fail "--check takes a python3 without pip"
fake python3 'exit 0'
checked 'through pip'
fake npm 'exit 1'
checked 'through npm'
fetched=$folder/root/var/cache/threadpilot/postgres/npm-linux-x64-17/native/bin
[ "$(id -u)" -eq 0 ] || fetched=$folder/home/.cache/threadpilot/postgres/npm-linux-x64-17/native/bin
mkdir -p "$fetched"
echo >"$fetched/initdb"
chmod 755 "$fetched/initdb"
checked "found in $fetched"
rm -r "$fetched" "$tools/npm" "$tools/python3"
passed "--check names the programs that were fetched, npm and pip, in this order"

programs=$folder/root/usr/lib/postgresql/17/bin
cat >"$tools/apt-get" <<EOF
#!$sh
cat "$folder/said" >"$folder/said.before"
[ "\$DEBIAN_FRONTEND" = noninteractive ] || exit 9
echo "apt-get \$*" >>"$folder/called"
case " \$* " in
*" update "*) [ ! -e "$folder/offline" ] || exit 100 ;;
*" install "*)
    echo 'Reading package lists...'
    [ ! -e "$folder/unknown" ] || exit 100
    cat "$folder/root/etc/postgresql-common/createcluster.conf" >"$folder/settings"
    mkdir -p "$programs"
    echo >"$programs/initdb"
    chmod 755 "$programs/initdb"
    ;;
esac
EOF
chmod 755 "$tools/apt-get"
become() {
    rm "$tools/id"
    printf '#!%s\necho %s\n' "$sh" "$1" >"$tools/id"
    chmod 755 "$tools/id"
}

become 0
checked 'for the whole system'
[ ! -e "$folder/called" ] || fail "--check called apt-get"
passed "--check tells root what would be installed, and installs nothing"

become 1000
! init --check || fail "--check promises an ordinary user what only root may do"
! init --postgres || fail "an ordinary user could install"
[ ! -e "$folder/called" ] || fail "an ordinary user called apt-get"
passed "--postgres as an ordinary user advises and fails"

become 0
init --postgres || fail "--postgres: $(cat "$folder/said")"
grep -q '^PostgreSQL: .*installing .*260 MB' "$folder/said.before" || fail "apt-get was called before it was announced"
! grep -q 'Reading package lists' "$folder/said" || fail "the words of apt-get were printed"
grep -q '^apt-get install .*-y.* postgresql$' "$folder/called" || fail "apt-get was called as $(cat "$folder/called")"
[ "$(cat "$folder/settings")" = 'create_main_cluster = false' ] || fail "a system cluster was not forbidden"
[ ! -e "$folder/root/etc/postgresql-common" ] || fail "the settings that forbid a system cluster were left behind"
[ "$(cd "$copy" && echo ./.[!.]* ./*)" = './.[!.]* ./init.sh ./secrets.local.json.template' ] ||
    fail "--postgres wrote files: $(ls -A "$copy")"
passed "--postgres as root announces, forbids the system cluster, installs and leaves nothing else behind"

rm "$folder/called"
init --postgres || fail "--postgres again: $(cat "$folder/said")"
[ ! -e "$folder/called" ] || fail "apt-get was called though the programs are there"
passed "--postgres again finds what is there"

rm -r "$programs"
touch "$folder/offline"
init --postgres || fail "--postgres without fresh package lists: $(cat "$folder/said")"
passed "--postgres installs even when apt-get update fails"

rm -r "$programs"
touch "$folder/unknown"
! init --postgres || fail "--postgres succeeded though apt-get failed"
grep -q 'could not install' "$folder/said" || fail "not told: $(cat "$folder/said")"
grep -q 'Reading package lists' "$folder/said" || fail "the words of apt-get are not told: $(cat "$folder/said")"
[ ! -e "$folder/root/etc/postgresql-common" ] || fail "settings were left behind after a failure"
rm "$folder/unknown" "$folder/offline"
passed "--postgres tells that apt-get failed and leaves nothing behind"

mkdir -p "$folder/root/etc/postgresql-common"
echo 'create_main_cluster = true' >"$folder/root/etc/postgresql-common/createcluster.conf"
init --postgres || fail "--postgres with settings: $(cat "$folder/said")"
[ "$(cat "$folder/settings")" = 'create_main_cluster = true' ] || fail "somebody's settings were changed"
[ -e "$folder/root/etc/postgresql-common/createcluster.conf" ] || fail "somebody's settings were removed"
passed "--postgres leaves settings that are there alone"
