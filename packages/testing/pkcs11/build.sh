#!/usr/bin/env bash
# Compiles shim.c if the cache has no module of this source. Prints the path of the module.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/pkcs11-shim
hash=$(cat shim.c build.sh | sha256sum)
module=$cache/shim-${hash:0:16}.so
if [ ! -e "$module" ]; then
  mkdir -p "$cache"
  # nodelete: the module is never unloaded, because a hang order keeps a thread in it forever. The build is renamed at the end,
  # because other processes may build at the same time.
  gcc -std=c11 -Wall -Wextra -Werror -O2 -shared -fPIC -fvisibility=hidden -pthread -Wl,-z,nodelete \
    -o "$module.$$" shim.c -ldl
  mv "$module.$$" "$module"
fi
echo "$module"
