#!/bin/sh
# Lints and renders the Helm chart with each example, checks what comes out, also by the services'
# own `check`, and scans it for policies. Needs promtool. Offline once its tools are installed, from
# PyPI into target/tools.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

scripts/install-python.sh helm helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 PyYAML==6.0.3
scripts/install-python.sh checkov checkov==3.3.30
cargo build --quiet --locked --package vehicle-service --package insurance-service --bins

manifests=target/tools/helm-manifests
rm -rf "$manifests"
PYTHONDONTWRITEBYTECODE=1 target/tools/helm/bin/python deploy/helm/check \
    "$manifests" "${CARGO_TARGET_DIR:-target}/debug"
report=$(target/tools/checkov/bin/checkov --config-file deploy/helm/check/checkov.yaml -d "$manifests" 2>&1) || {
    echo "$report" >&2
    exit 1
}
# A scan that found nothing to scan is no scan.
echo "$report" | grep 'Passed checks: [1-9]'
