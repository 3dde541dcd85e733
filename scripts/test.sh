#!/usr/bin/env bash
# `npm test`, `npm run test:full` and `npm run test:busy`: installs what is missing and runs everything; see test.ts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
# The cache and the system's packages are shared by all checkouts: one of them at a time.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
mkdir -p "$cache"
exec 9>"$cache/set-up.lock"
flock 9
# Before npm's packages, one of which is compiled. The commands of the operator's guide, which a test runs, need curl.
missing=()
for command in g++ make python3 curl; do command -v "$command" >/dev/null || missing+=("$command"); done
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
bash packages/testing/pkcs11/setup.sh
# shellcheck source=scripts/setup.sh
source scripts/setup.sh
exec 9>&-
exec "$NODE" --conditions=teapot-source scripts/test.ts "$@"
