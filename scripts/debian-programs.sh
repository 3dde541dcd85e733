#!/usr/bin/env bash
# Gets programs for tests from Debian packages, into a directory of the cache, once. Nothing is installed into the system, because
# Debian starts a service that is installed.
# usage: debian-programs.sh [--tree] NAME PACKAGE...    NAME: of the directory
#   --tree    all files of the packages, at their paths; else the programs only, in one directory
set -euo pipefail
tree=no
if [ "$1" = --tree ]; then
  tree=yes
  shift
fi
name=$1
shift
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
if [ -d "$cache/$name" ]; then exit; fi
echo "getting the programs of the Debian packages $* ..."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
# The sandbox user cannot write here. Old package lists name files that are gone.
download=(apt-get -qq -o APT::Sandbox::User=root download "$@")
"${download[@]}" 2>/dev/null || { "${as_root[@]}" apt-get -qq update && "${download[@]}"; }
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
mkdir -p "$cache" programs unpacked/usr/bin unpacked/usr/sbin
if [ $tree = yes ]; then
  rm -r programs
  mv unpacked programs
else
  find unpacked/usr/bin unpacked/usr/sbin -type f -exec mv -t programs {} +
fi
# Another checkout may have been faster.
mv -T programs "$cache/$name" 2>/dev/null || [ -d "$cache/$name" ]
