#!/bin/sh
# Builds the images and the chart of a release.
#   scripts/images.sh push SERVICE VERSION           builds for this machine's architecture, pushes
#                                                    without a tag and prints the digest
#   scripts/images.sh join SERVICE VERSION DIGEST…   puts the architectures under the version's tag and
#                                                    prints the whole by digest
#   scripts/images.sh sign REFERENCE…                signs them with the workflow's own identity
#   scripts/images.sh chart CHART VERSION            packages and pushes deploy/helm/CHART beside the
#                                                    images and prints it by digest
# IMAGES is where to, as in ghcr.io/owner/name. Needs Docker's buildx, logged in; `sign` needs cosign and
# `chart` Helm, which use Docker's login.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
usage() {
    sed -n '2,12s/^# *//p' "$0" >&2
    exit 2
}
[ $# -ge 2 ] || usage
verb=$1 service=$2 version=${3:-}
case $verb in
    sign) shift ;;
    *) [ -n "$version" ] || usage; shift 3 ;;
esac
images=$(echo "${IMAGES:?}" | tr '[:upper:]' '[:lower:]')
name=$images/$service

# A format that begins with {{.Manifest is not taken for one.
digest_of() {
    answer=$(docker buildx imagetools inspect "$1" --format '{{json .Manifest.Digest}}')
    case $answer in
        '"sha256:'*'"') answer=${answer#'"'} && echo "${answer%'"'}" ;;
        *) echo "no digest of $1: $answer" >&2; return 1 ;;
    esac
}

case $verb in
    push)
        # The base images by digest, so that both architectures and the provenance name the same.
        set --
        for stage in build runtime; do
            image=$(sed -n "s/^FROM \(.*\) AS $stage-image\$/\1/p" Dockerfile)
            digest=$(digest_of "${image:?the Dockerfile has no stage $stage-image}")
            set -- "$@" --build-arg "$(echo "$stage" | tr '[:lower:]' '[:upper:]')_IMAGE=$image@$digest"
        done
        metadata=$(mktemp)
        trap 'rm -f "$metadata"' EXIT
        # The builder that Docker comes with cannot attest.
        docker buildx inspect attesting >/dev/null 2>&1 ||
            docker buildx create --name attesting --driver docker-container >/dev/null
        docker buildx build --builder attesting --target "$service" \
            --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD)" \
            --build-arg "SOURCE=https://github.com/${images#*/}" "$@" \
            --sbom true --provenance mode=max \
            --output "type=image,name=$name,push=true,push-by-digest=true,name-canonical=true" \
            --metadata-file "$metadata" . >&2
        python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$metadata"
        ;;
    join)
        [ $# -gt 0 ] || usage
        for digest in "$@"; do
            shift
            set -- "$@" "$name@$digest"
        done
        docker buildx imagetools create --tag "$name:$version" "$@" >&2
        digest=$(digest_of "$name:$version")
        echo "$name:$version@$digest"
        ;;
    sign)
        # Keyless: the certificate names this repository's workflow.
        for reference in "$@"; do
            cosign sign --yes "${reference#oci://}"
        done
        ;;
    chart)
        helm package "deploy/helm/$service" --destination target/charts >&2
        said=$(helm push "target/charts/$service-$version.tgz" "oci://$images/charts" 2>&1)
        digest=$(echo "$said" | sed -n 's/^Digest: //p')
        echo "oci://$images/charts/$service:$version@${digest:?no digest in: $said}"
        ;;
    *) usage ;;
esac
