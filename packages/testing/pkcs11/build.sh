#!/usr/bin/env bash
# Compiles shim.c, if that has not been done for this very source, and prints the path of the module.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/pkcs11-shim
hash=$(cat shim.c build.sh | sha256sum)
module=$cache/shim-${hash:0:16}.so
if [ ! -e "$module" ]; then
  mkdir -p "$cache"
  # Never unloaded (nodelete): a thread may be in it for ever, as it was told. Renamed, since others may build too.
  gcc -std=c11 -Wall -Wextra -Werror -O2 -shared -fPIC -fvisibility=hidden -pthread -Wl,-z,nodelete \
    -o "$module.$$" shim.c -ldl
  mv "$module.$$" "$module"
fi
echo "$module"
