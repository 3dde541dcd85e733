#!/usr/bin/env bash
# Runs the unit tests on the oldest Node that the packages' `engines` promise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
floor=$(node -p 'require("./packages/core/package.json").engines.node.replace(">=", "")')
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/node-$floor
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
if [ ! -x "$cache/node_modules/node-linux-$arch/bin/node" ]; then
  npm install --silent --no-audit --no-fund --no-save --prefix "$cache" "node-linux-$arch@$floor"
fi
exec "$cache/node_modules/node-linux-$arch/bin/node" --no-warnings scripts/run-tests.ts packages/core/test packages/server/test
