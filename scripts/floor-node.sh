#!/usr/bin/env bash
# Runs test files on the oldest Node that the packages' `engines` promise. Without arguments it only installs that Node.
# usage: floor-node.sh [FILE|DIRECTORY...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
floor=$(node -p 'require("./packages/core/package.json").engines.node.replace(">=", "")')
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/node-$floor
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
node=$cache/node_modules/node-linux-$arch/bin/node
if [ ! -x "$node" ]; then
  mkdir -p "$(dirname "$cache")"
  unfinished=$(mktemp -d "$cache.XXXXXX")
  npm install --silent --no-audit --no-fund --no-save --prefix "$unfinished" "node-linux-$arch@$floor"
  # Another checkout may have been faster.
  mv -T "$unfinished" "$cache" 2>/dev/null || rm -rf "$unfinished"
fi
[ $# -eq 0 ] || exec "$node" --no-warnings scripts/run-tests.ts "$@"
