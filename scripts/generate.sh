#!/usr/bin/env bash
# Makes the deep copies and the CustomResourceDefinitions from the Go types.
# With --check it fails if that changes anything: they were stale.
set -euo pipefail
cd "$(dirname "$0")/.."

fingerprint() { find pkg config/crds \( -name 'zz_generated.*.go' -o -path 'config/crds/*' \) -type f -print0 | sort -z | xargs -0 cksum; }

before=$(fingerprint)
go tool controller-gen object paths=./pkg/model paths=./pkg/apis/...
go tool controller-gen crd:generateEmbeddedObjectMeta=false paths=./pkg/apis/... output:crd:dir=config/crds
if [[ ${1:-} == --check && $before != "$(fingerprint)" ]]; then
  echo "generated files were stale; they are up to date now, commit them" >&2
  exit 1
fi
