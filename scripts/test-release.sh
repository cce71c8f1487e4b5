#!/bin/sh
# Proves in a clone what release.sh promises: which version follows, and that everything carries it.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$top" "$folder/clone"
cd "$folder/clone"
cp "$top/scripts/release.sh" scripts/
cp "$top/cliff.toml" "$top/CHANGELOG.md" .
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_DATE='2026-01-02T12:00:00Z' GIT_COMMITTER_DATE='2026-01-02T12:00:00Z'
git config user.name test && git config user.email test@invalid

commit() { git commit --quiet --all --allow-empty "$@"; }
release() { scripts/release.sh "$@"; }
equal() { # WHAT EXPECTED SEEN
    [ "$2" = "$3" ] || { printf 'FAILED: %s: expected:\n%s\nseen:\n%s\n' "$1" "$2" "$3" >&2; exit 1; }
    echo "ok: $1"
}
released() { commit -m "chore: release $1" && git tag "v$1"; }

git tag --list | xargs -r git tag --delete >/dev/null
sed -i 's/^## \[Unreleased\]$/&\n\nA word by hand./' CHANGELOG.md
commit -m 'Begin in plain words'
equal 'nothing waits before it is prepared' '' "$(release pending)"
equal 'the first release takes the version there is' 0.1.0 "$(release prepare)"
equal 'prepare is done once' '' "$(release prepare)"
equal 'it waits for its tag' 0.1.0 "$(release pending)"
released 0.1.0
equal 'a tag ends the wait' '' "$(release pending)"
commit -m 'Say something plain' && commit -m 'docs: say more'
equal 'plain and silent subjects ask for no release' '' "$(release prepare)"
commit -m 'feat(core): count to ten'
equal 'below 1.0 a feature moves the patch' 0.1.1 "$(release prepare)"
released 0.1.1
commit -m 'fix: count from one'
commit -m 'refactor: count in hexadecimal' -m 'BREAKING CHANGE: readers see letters'
equal 'below 1.0 a breaking change moves the minor' 0.2.0 "$(release prepare)"
equal 'its changelog' '## [Unreleased]

## [0.2.0] - 2026-01-02

### Breaking changes

- count in hexadecimal

### Fixes

- count from one

## [0.1.1] - 2026-01-02

### Features

- core: count to ten

## [0.1.0] - 2026-01-02

A word by hand.' "$(sed -n '/^## \[Unrel/,/by hand/p' CHANGELOG.md)"
changed=$(git diff --name-only | sed 's,/[^/]*$,/,; s,^[^/]*$,.,' | sort -u | tr '\n' ' ')
case $changed in
*'. '*deploy/helm/threadpilot/*docs/api/*) echo "ok: all carry the version: $changed" ;;
*) equal 'all carry the version' 'the top, the chart and the API' "$changed" ;;
esac
equal 'none has the old one' '' "$(git grep -nE '^ *"?(version|appVersion)"? *[:=] *"?0\.1\.1"?,?$' -- Cargo.toml '*/Chart.yaml' docs/api || true)"
released 0.2.0
sed -i 's/^version = "0\.2\.0"/version = "1.0.0"/' Cargo.toml
released 1.0.0
commit -m 'feat!: count from zero'
equal 'from 1.0 a breaking change moves the major' 2.0.0 "$(release prepare)"
