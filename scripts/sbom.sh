#!/bin/sh
# Writes what each binary is built from, as CycloneDX JSON, to target/sbom. Installs
# cargo-cyclonedx, from crates.io, into target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
version=0.5.9
cyclonedx=target/tools/cargo/bin/cargo-cyclonedx
"$cyclonedx" cyclonedx --version 2>/dev/null | grep -q " $version\$" ||
    cargo install --quiet --locked --force --debug --root target/tools/cargo --version "$version" cargo-cyclonedx

# It writes beside each Cargo.toml.
trap 'rm -f crates/*/*.cdx.json' EXIT
"$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --target all
rm -rf target/sbom
mkdir -p target/sbom
for main in crates/*/src/main.rs; do
    crate=$(basename "${main%/src/main.rs}")
    mv "crates/$crate/${crate}_bin.cdx.json" "target/sbom/$crate.json"
    echo "target/sbom/$crate.json: $(grep -c '^ *"purl"' "target/sbom/$crate.json") packages"
done
