#!/usr/bin/env bash
# Makes a bare Debian 12 with systemd in the cache, once, and prints its directory. Needs root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms/debian-12-systemd
if [ ! -d "$cache" ]; then
  { command -v debootstrap || install_packages debootstrap; } >&2
  unfinished=$(mktemp -d "$cache.XXXXXX")
  debootstrap --variant=minbase --include=systemd,libatomic1 bookworm "$unfinished" >&2
  chmod 0755 "$unfinished"
  # Another checkout may have been faster.
  mv -T "$unfinished" "$cache" 2>/dev/null || rm -rf "$unfinished"
fi
echo "$cache"
