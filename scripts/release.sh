#!/bin/sh
# Releases: versions and changes from the titles of pull requests, which are the subjects on main, by git-cliff.
#   scripts/release.sh prepare    writes the next version and moves the changelog's unreleased part under it;
#                                 prints the version, or nothing where there is nothing to release
#   scripts/release.sh propose    keeps one pull request open that holds this; merging it releases
#   scripts/release.sh pending    prints the version that is written but has no tag yet, or nothing
#   scripts/release.sh sbom       writes what each binary is built from, as CycloneDX JSON, to target/sbom
#   scripts/release.sh publish VERSION IMAGE… CHART
#                                 publishes the tag, the notes, the contracts as a crate, what each binary is
#                                 built from, and what operators tell a fleet with
# prepare and propose need uv; propose and publish need gh and GH_TOKEN.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
unreleased='^## \[Unreleased\]$'

cliff() { RUST_LOG=error uvx --quiet git-cliff@2.14.2 "$@"; }
current() { sed -n '/^\[workspace\.package\]$/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml; }
notes() { awk -v version="[$1]" '/^## / { inside = $2 == version; next } inside' CHANGELOG.md; }
tagged() { [ -n "$(git tag --list "v$1")" ]; }

prepare() {
    version=$(cliff --bumped-version)
    version=${version#v}
    if tagged "$version" || [ -n "$(notes "$version")" ]; then return 0; fi
    old=$(current | sed 's/\./\\./g')
    git ls-files -z -- Cargo.toml '*/Chart.yaml' '*openapi*' '*asyncapi*' |
        xargs -0 sed -Ei "s/^( *\"?(version|appVersion)\"? *[:=] *\"?)$old(\"?,?)\$/\\1$version\\3/"
    cargo update --workspace --quiet
    mkdir -p target
    {
        sed "/$unreleased/q" CHANGELOG.md
        printf '\n## [%s] - %s\n' "$version" "$(git log -1 --format=%cs)"
        cliff --unreleased --strip all
        sed "1,/$unreleased/d" CHANGELOG.md
    } >target/changelog.md
    mv target/changelog.md CHANGELOG.md
    echo "$version"
}

propose() {
    version=$(prepare)
    [ -n "$version" ] || { echo 'nothing to release'; return 0; }
    git switch --quiet --create release
    git add --all
    git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
        commit --quiet --message "chore: release $version"
    gh auth setup-git
    git push --quiet --force origin release
    number=$(gh pr list --head release --state open --json number --jq '.[].number')
    if [ -n "$number" ]; then
        gh pr edit "$number" --title "chore: release $version" --body "$(notes "$version")"
    else
        gh pr create --base main --head release --title "chore: release $version" --body "$(notes "$version")"
    fi
    # A push with the workflow's own token starts no workflow.
    gh workflow run ci.yml --ref release
}

pending() {
    version=$(current)
    if ! tagged "$version" && [ -n "$(notes "$version")" ]; then echo "$version"; fi
}

sbom() {
    tool=0.5.9
    cargo cyclonedx --version 2>/dev/null | grep -q " $tool\$" ||
        cargo install --quiet --locked --force --debug --version "$tool" cargo-cyclonedx
    # It writes beside each Cargo.toml.
    trap 'rm -f crates/*/*.cdx.json' EXIT
    cargo cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --target all
    rm -rf target/sbom
    mkdir -p target/sbom
    for main in crates/*/src/main.rs; do
        crate=$(basename "${main%/src/main.rs}")
        mv "crates/$crate/${crate}_bin.cdx.json" "target/sbom/$crate.json"
        echo "target/sbom/$crate.json: $(grep -c '^ *"purl"' "target/sbom/$crate.json") packages"
    done
}

publish() {
    version=$1
    shift
    mkdir -p target
    {
        notes "$version"
        printf '\n### Images and chart\n\n'
        printf -- '- %s\n' "$@"
    } >target/notes.md
    cargo package --locked --package contracts
    sbom
    gh release create "v$version" --target "$(git rev-parse HEAD)" --title "$version" --notes-file target/notes.md \
        "target/package/contracts-$version.crate" target/sbom/*.json scripts/vehicle-guard.sh
}

case $#:${1:-} in
    1:prepare | 1:propose | 1:pending | 1:sbom) "$1" ;;
    [3-9]:publish) "$@" ;;
    *) sed -n '2,11s/^# *//p' "$0" >&2; exit 2 ;;
esac
