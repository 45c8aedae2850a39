#!/usr/bin/env bash
# Makes the deep copies and the CustomResourceDefinitions from the Go types. With
# --check it fails if that changes anything: they were out of date.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line for each API package, and where its definitions go.
apis=(
  "./pkg/apis/core/v1alpha1 config/core/crds"
  "./functions/helloworld/api/v1alpha1 config/helloworld/crds"
  "./pkg/testdata/library/api/v1alpha1 pkg/testdata/library/config/crds"
)

fingerprint() { find config functions pkg \( -name 'zz_generated.*.go' -o -path '*/crds/*' \) -type f -print0 | sort -z | xargs -0 cksum; }

before=$(fingerprint)
go tool controller-gen object paths=./pkg/model
for api in "${apis[@]}"; do
  read -r package definitions <<<"$api"
  go tool controller-gen object crd:generateEmbeddedObjectMeta=false paths="$package" output:crd:dir="$definitions"
done
if [[ ${1:-} == --check && $before != "$(fingerprint)" ]]; then
  echo "generated files were out of date; they are up to date now, commit them" >&2
  exit 1
fi
