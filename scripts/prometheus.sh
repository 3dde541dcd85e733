#!/usr/bin/env bash
# Gets Prometheus and promtool for tests, from Debian's package, into the cache, once. Nothing is installed into the system,
# because Debian starts a service that is installed.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
if [ -x "$cache/prometheus/promtool" ]; then exit; fi
echo "getting prometheus and promtool from the Debian package prometheus ..."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
# The sandbox user cannot write here. Old package lists name files that are gone.
download=(apt-get -qq -o APT::Sandbox::User=root download prometheus)
"${download[@]}" 2>/dev/null || { "${as_root[@]}" apt-get -qq update && "${download[@]}"; }
dpkg-deb -x prometheus_*.deb unpacked
mkdir -p "$cache"
# Another checkout may have been faster.
mv -T unpacked/usr/bin "$cache/prometheus" 2>/dev/null || [ -x "$cache/prometheus/promtool" ]
