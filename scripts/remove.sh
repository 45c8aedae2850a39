#!/usr/bin/env bash
# Removes a synchronizer from the cluster of KUBECONFIG, with all its models:
#
#   scripts/remove.sh helloworld    what config/helloworld and eventing/helloworld have added
#   scripts/remove.sh DIRECTORY     the same for DIRECTORY/config and DIRECTORY/eventing, or for
#                                   what `kubectl kustomize DIRECTORY` renders
#   scripts/remove.sh core          the core, when no synchronizer is left
#
# First it stops what makes models, then it deletes the models and waits, so that their
# steps can clean up, and then it removes the rest. What it waits for may take
# REMOVE_TIMEOUT seconds (300). It can be run again at any time.
set -euo pipefail
shopt -s inherit_errexit

readonly core=synchronizer-system label=synchronizer.xos-knative.dev/model
timeout=${REMOVE_TIMEOUT:-300}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'remove: %s\n' "$@" >&2
  exit 1
}

# render NAME|DIRECTORY writes the resources to $work, eventing.yaml and config.yaml.
render() {
  local config=$root/config/$1 eventing=$root/eventing/$1
  if [[ -f $1/kustomization.yml || -f $1/kustomization.yaml ]]; then
    kubectl kustomize "$1" >"$work/config.yaml"
    return
  elif [[ -d $1/config ]]; then
    config=$1/config eventing=$1/eventing
  fi
  [[ -d $config ]] || fail "$1: expected $config, or a directory with config/ and eventing/ or a kustomization"
  concatenate "$config" >"$work/config.yaml"
  [[ ! -d $eventing ]] || concatenate "$eventing" >"$work/eventing.yaml"
}

# concatenate DIRECTORY prints the files that `ko apply -R` reads.
concatenate() {
  local file
  find "$1" -name '*.yaml' | LC_ALL=C sort | while read -r file; do
    echo ---
    cat "$file"
  done
}

# names KIND [NAMESPACE] prints the names of that kind among the resources.
names() {
  kubectl create --dry-run=client --validate=false -f "$work" \
    -o jsonpath='{.kind} {.metadata.name} {.metadata.namespace}{"\n"}' |
    awk -v kind="$1" -v namespace="${2:-}" '$1 == kind && (namespace == "" || $3 == namespace) { print $2 }'
}

# kinds prints the kinds of all models, separated by commas; nothing if there are none.
kinds() { kubectl api-resources --categories=models --verbs=delete -o name | paste -sd, -; }

# models SCOPE... prints the models in a namespace (-n NAMESPACE) or in all (-A).
models() {
  local all
  all=$(kinds)
  [[ -z $all ]] || kubectl get "$all" "$@" --ignore-not-found \
    -o jsonpath='{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}'
}

# refuse_others fails if a definition that would go has models of somebody else.
refuse_others() {
  local definition others
  for definition in $(names CustomResourceDefinition); do
    kubectl get crd "$definition" -o name >/dev/null 2>&1 || continue
    others=$(kubectl get "$definition" -A -o jsonpath='{range .items[*]}{.metadata.namespace}{"\n"}{end}' | sort -u | grep -vx "$namespace" | paste -sd' ' - || true)
    [[ -z $others ]] || fail "$definition has objects in other namespaces: $others" \
      "Remove the synchronizers of these namespaces first."
  done
}

# refuse_synchronizers fails if there are definitions that are not the core's.
refuse_synchronizers() {
  local others
  others=$(kubectl get crd -l "$label" -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' | grep -vxF "$(names CustomResourceDefinition)" | paste -sd' ' - || true)
  [[ -z $others ]] || fail "a synchronizer still needs the core: there is $others" \
    "Remove it first, with scripts/remove.sh NAME."
}

# delete_models SCOPE... deletes models until none is left: something that was under way
# may make one more.
delete_models() {
  local left end=$((SECONDS + timeout))
  while true; do
    left=$(models "$@")
    [[ -n $left ]] || return 0
    ((SECONDS < end)) || fail "these models are still there after $timeout s:" "$left" \
      "\`kubectl describe\` shows in the status of each what it waits for, and" \
      "\`kubectl logs -n NAMESPACE -l serving.knative.dev/service -c user-container\` what its steps say." \
      "Everything that cleans up is still there. Run this again when the cause is fixed."
    kubectl delete "$(kinds)" --all "$@" --wait=false >/dev/null
    sleep 1
  done
}

# delete_triggers removes the Triggers in the namespace of the core, one after another, each
# with its Subscription: when several go at once, Knative can leave subscribers in the
# channel of the Broker.
delete_triggers() {
  local trigger
  for trigger in $(names Trigger "$core"); do
    kubectl delete trigger "$trigger" -n "$core" --ignore-not-found --cascade=foreground --timeout="${timeout}s"
    sleep 1 # Knative works on a copy of the channel that is a moment old.
  done
}

# delete_resources removes what was rendered. A namespace with pods of Knative in it takes
# minutes to go, so the pods go first.
delete_resources() {
  local bounded="--timeout=${timeout}s"
  # What makes pods of its own goes before these.
  [[ ! -f $work/eventing.yaml ]] || kubectl delete --ignore-not-found "$bounded" -f "$work/eventing.yaml"
  kubectl delete services.serving.knative.dev --all -n "$namespace" --cascade=foreground "$bounded"
  kubectl delete deployments,statefulsets,daemonsets,cronjobs,jobs --all -n "$namespace" "$bounded"
  kubectl wait pods --all -n "$namespace" --for=delete "$bounded"
  kubectl delete --ignore-not-found "$bounded" -f "$work/config.yaml"
}

(($# == 1)) || fail 'expected one argument: the name of a synchronizer, its directory, or core'
render "$1"
namespace=$(names Namespace)
if [[ $1 == core ]]; then
  refuse_synchronizers
  delete_models -A
else
  [[ -n $namespace && $namespace != *[[:space:]]* ]] || fail "$1: expected one Namespace among its resources, got ${namespace:-none}"
  [[ $namespace != "$core" ]] || fail "$1 is the core: remove it with scripts/remove.sh core"
  refuse_others
  kubectl delete pingsources.sources.knative.dev,triggers.eventing.knative.dev --all -n "$namespace" --timeout="${timeout}s"
  delete_models -n "$namespace"
fi
delete_triggers
delete_resources
echo "remove: $1 is removed"
