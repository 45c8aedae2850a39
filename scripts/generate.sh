#!/usr/bin/env bash
# Makes what comes from Go types and steps: all of hello-world's resources, and of the
# other models deep copies and CustomResourceDefinitions. With --check it fails if that
# changes anything: they were out of date.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line for each API package, and where its definitions go.
apis=(
  "./pkg/apis/core/v1alpha1 config/core/crds"
  "./pkg/testdata/library/api/v1alpha1 pkg/testdata/library/config/crds"
  "./pkg/testdata/workflow/api/v1alpha1 pkg/testdata/workflow/config/crds"
  "./pkg/testdata/testservice/api/v1alpha1 pkg/testdata/testservice/config/crds"
  "./pkg/testdata/device/api/v1alpha1 pkg/testdata/device/config/crds"
)

generated() { find config functions pkg \( -name 'zz_generated.*.go' -o -path '*/crds/*' \) -type f -print0; }

go run ./scripts/synchronizer generate functions/helloworld ${1+"$1"}

before=$(mktemp -d)
trap 'rm -r "$before"' EXIT
while read -r -d '' file; do
  mkdir -p "$before/$(dirname "$file")"
  cp -p "$file" "$before/$file"
done < <(generated)
go tool controller-gen object paths=./pkg/model
for api in "${apis[@]}"; do
  read -r package definitions <<<"$api"
  # The dangerous types are floats, which models of XOS have.
  go tool controller-gen object crd:generateEmbeddedObjectMeta=false,allowDangerousTypes=true paths="$package" output:crd:dir="$definitions"
done
# What has not changed keeps its time: go test runs tests again that have opened a file with another one.
changed=
while read -r -d '' file; do
  if cmp -s "$before/$file" "$file"; then
    touch -r "$before/$file" "$file"
  else
    changed=yes
  fi
done < <(generated)
if [[ ${1:-} == --check && -n $changed ]]; then
  echo "generated files were out of date; they are up to date now, commit them" >&2
  exit 1
fi
