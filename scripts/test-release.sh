#!/bin/sh
# Proves what release.py promises, in a scratch repository.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_DATE='2026-01-02T12:00:00Z' GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
export GIT_CONFIG_GLOBAL GIT_AUTHOR_DATE GIT_COMMITTER_DATE

commit() { git commit --quiet --allow-empty "$@"; }
release() { scripts/release.py "$@"; }
equal() { # WHAT EXPECTED SEEN
    [ "$2" = "$3" ] || { printf 'FAILED: %s: expected:\n%s\nseen:\n%s\n' "$1" "$2" "$3" >&2; exit 1; }
    echo "ok: $1"
}
# Answers `yes` or `no`.
valid() { if release title "$1" 2>/dev/null; then echo yes; else echo no; fi; }
released() { commit -a -m "chore: release $1" && git tag "v$1"; }

git init --quiet --initial-branch main
git config user.name test && git config user.email test@invalid
mkdir -p scripts crates/one/src deploy/chart
cp "$top/scripts/release.py" scripts/
printf '[workspace]\nresolver = "3"\nmembers = ["crates/*"]\n\n[workspace.package]\nversion = "0.1.0"\n' >Cargo.toml
printf '[package]\nname = "one"\nedition = "2024"\nversion.workspace = true\n' >crates/one/Cargo.toml
: >crates/one/src/lib.rs
printf 'name: chart\nversion: 0.1.0\nappVersion: "0.1.0"\n' >deploy/chart/Chart.yaml
printf '{\n  "openapi": "3.1.0",\n  "version": "0.1.0"\n}\n' >openapi.json
cargo generate-lockfile --offline --quiet
git add .
commit -m 'Begin in plain words'

equal 'a conventional title' yes "$(valid 'feat(api)!: answer in French')"
equal 'a plain title' no "$(valid 'Answer in French')"
equal 'a title of no known type' no "$(valid 'feature: answer in French')"
equal 'a title without text' no "$(valid 'fix: ')"

equal 'the first release takes the version there is' 0.1.0 "$(release next)"
equal 'nothing waits before it is prepared' '' "$(release pending)"
equal 'prepare says what it wrote' 0.1.0 "$(release prepare)"
equal 'its notes' 'The first release.' "$(release notes 0.1.0)"
equal 'prepare is done once' '' "$(release prepare)"
git add CHANGELOG.md
commit -m 'chore: release 0.1.0'
equal 'it waits for its tag' 0.1.0 "$(release pending)"
git tag v0.1.0
equal 'a tag ends the wait' '' "$(release pending)"

sed -i 's/^## \[Unreleased\]$/&\n\n### Added\n\n- A word by hand./' CHANGELOG.md
git add CHANGELOG.md
commit -m 'Say something plain' && commit -m 'docs: say more'
equal 'plain and silent subjects ask for no release' '' "$(release next)$(release prepare)"
commit -m 'fix: count from one'
equal 'below 1.0 a fix moves the patch' 0.1.1 "$(release next)"
commit -m 'feat: count to ten'
equal 'below 1.0 a feature moves the patch' 0.1.1 "$(release next)"
git checkout --quiet -b side
commit -m 'feat!: not a title, only a commit of a branch'
git checkout --quiet main
git merge --quiet --no-ff -m 'Merge pull request #7 from some/branch' -m 'perf(core): count in parallel' side
equal 'commits within a branch do not count' 0.1.1 "$(release next)"
commit -m 'refactor: count in hexadecimal' -m 'BREAKING CHANGE: readers see letters'
equal 'below 1.0 a breaking change moves the minor' 0.2.0 "$(release prepare)"
equal 'its changelog' '# Changelog

## [Unreleased]

## 0.2.0 (2026-01-02)

### Added

- A word by hand.

### Breaking changes

- count in hexadecimal

### Features

- count to ten

### Fixes

- count from one

### Performance

- core: count in parallel

## 0.1.0 (2026-01-02)

The first release.' "$(cat CHANGELOG.md)"
equal 'every carrier has the version' 'Cargo.lock
Cargo.toml
deploy/chart/Chart.yaml
openapi.json' "$(git grep --name-only -F 0.2.0 -- ':!CHANGELOG.md')"
equal 'none has the old one' '' "$(git grep -F 0.1.0 -- ':!CHANGELOG.md' ':!scripts' || true)"
equal 'the version of OpenAPI is not ours' 1 "$(grep -c '"openapi": "3.1.0"' openapi.json)"
released 0.2.0

sed -i 's/0\.2\.0/1.0.0/' Cargo.toml
released 1.0.0
commit -m 'perf: count faster'
equal 'from 1.0 speed moves the patch' 1.0.1 "$(release next)"
commit -m 'feat: count to twenty'
equal 'from 1.0 a feature moves the minor' 1.1.0 "$(release next)"
commit -m 'fix!: count from zero'
equal 'from 1.0 a breaking change moves the major' 2.0.0 "$(release next)"
