#!/usr/bin/env bash
# The first step of test.ts: fetches and builds what tests need beside npm's packages. One checkout at a time.
# usage: set-up-tests.sh KUBERNETES-VERSION...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
mkdir -p "$cache"
exec 9>"$cache/set-up.lock"
flock 9
# Shells whose completion is checked.
missing=()
for command in zsh fish; do command -v "$command" >/dev/null || missing+=("$command"); done
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
bash packages/testing/openstack/setup.sh
bash packages/testing/openstack/setup-deployment.sh
bash e2e/setup.sh "$@"
bash scripts/debian-programs.sh prometheus prometheus
bash scripts/floor-node.sh >/dev/null
# Go programs that load the plugin and stand beside it.
node --conditions=teapot-source packages/bench/src/load/build.ts
