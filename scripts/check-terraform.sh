#!/bin/sh
# Formats, validates and tests deploy/terraform. Offline: no module needs a provider.
#   scripts/check-terraform.sh             checks, where Terraform is installed
#   scripts/check-terraform.sh --require   fails where it is not
#   scripts/check-terraform.sh --write     writes the chart's sized-by-terraform.yaml anew, and checks
# Terraform is in none of the package registries that the other checks install from.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../deploy/terraform"
if ! command -v terraform >/dev/null; then
    echo 'SKIPPED: terraform is not installed; deploy/terraform was not checked' >&2
    [ "${1:-}" != --require ]
    exit
fi
# A configuration file that is named but missing is a warning in each command.
[ -e "${TF_CLI_CONFIG_FILE:-/}" ] || unset TF_CLI_CONFIG_FILE
root=$PWD/../..
export CHECKPOINT_DISABLE=1 TF_CLI_ARGS=-no-color TF_IN_AUTOMATION=1

terraform fmt -check -diff -recursive
for folder in modules/sizing examples/threadpilot; do
    export TF_DATA_DIR="$root/target/tools/terraform/$folder"
    terraform -chdir="$folder" init -backend=false -input=false >/dev/null
    terraform -chdir="$folder" validate
    if [ "${1:-}" = --write ] && [ "$folder" = examples/threadpilot ]; then
        state=$TF_DATA_DIR/example.tfstate
        terraform -chdir="$folder" apply -auto-approve -input=false -state="$state" >/dev/null
        terraform -chdir="$folder" output -raw -state="$state" helm_values \
            >"$root/deploy/helm/threadpilot/examples/sized-by-terraform.yaml"
    fi
    terraform -chdir="$folder" test
done
