#!/usr/bin/env bash
# Runs the fuzz targets one after the other: every func Fuzz in the tests is one.
#
#   scripts/fuzz.sh [--light] TIME [WORD]
#
# TIME is for each target, such as 10s. With WORD only targets with it in their package or name are run. With --light
# those whose tests link an API server are left out: to build one for fuzzing takes minutes.
#
# Inputs that reach new code are kept in the build cache, or in $FUZZCACHE. One that fails is written to testdata/fuzz of its
# package, where it is a test from then on: commit it.
set -euo pipefail
cd "$(dirname "$0")/.."

light=
[[ ${1:-} != --light ]] || { light=yes; shift; }
fuzztime=${1:?'expected the time for each target, such as 10s'}
word=${2:-}

output=$(mktemp)
trap 'rm -f "$output"' EXIT

targets=$(grep -r --include='*_test.go' -o -E '^func Fuzz[A-Za-z0-9_]+' functions pkg scripts | sed -E 's|/[^/]+:func |:|' | sort -u)
for target in $targets; do
  package=./${target%%:*} name=${target##*:}
  [[ $target == *"$word"* ]] || continue
  if [[ $light && $'\n'$(go list -deps -test "$package")$'\n' == *$'\nk8s.io/apiserver/pkg/server\n'* ]]; then
    echo "-- $package $name: not here, make fuzz runs it"
    continue
  fi
  echo "-- $package $name"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 10x "$package" \
    ${FUZZCACHE:+-args "-test.fuzzcachedir=$FUZZCACHE"} 2>&1 | tee "$output" || {
    # Up to Go 1.26 the end of TIME can itself be reported as a failure, https://go.dev/issue/75804. What fuzzing finds has
    # another message, and its input is written.
    grep -A 1 -e "^--- FAIL: $name " "$output" | grep -q -x ' *context deadline exceeded' &&
      ! grep -q 'Failing input written' "$output" || exit 1
    echo "-- $package $name: only its time was over"
  }
done
