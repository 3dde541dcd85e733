#!/usr/bin/env bash
# Installs the project's npm packages, the pinned Node among them, if they are not there as package-lock.json says.
# Needs Node >= 20 and npm. Sourced by start.sh and test.sh; leaves $NODE set to the pinned Node.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' 2>/dev/null; then
  echo "Teapot KMS needs Node >= 20 and npm to install its own Node; found: $(node --version 2>/dev/null || echo none)" >&2
  exit 1
fi
# Installs Debian packages, as root or with sudo.
install_packages() {
  echo "installing $* ..."
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

# The pinned Node is linked against libatomic, which a small Debian does not have.
if [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) != *libatomic.so.1* ]]; then install_packages libatomic1; fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "installing npm packages (a minute or so) ..."
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
NODE=$PWD/node_modules/node/bin/node
if [ ! -x "$NODE" ]; then
  # npm was told not to run install scripts (ignore-scripts): run the one that links the binary.
  npm rebuild node --foreground-scripts --ignore-scripts=false --loglevel=error
fi
export PATH="$PWD/node_modules/.bin:$PATH"
