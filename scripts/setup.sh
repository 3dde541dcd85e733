#!/usr/bin/env bash
# Installs the project's npm packages, the pinned Node among them, if they are not there as package-lock.json says.
# Needs Node >= 20 and npm. Sourced by start.sh and test.sh; leaves $NODE set to the pinned Node.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' 2>/dev/null; then
  echo "Teapot KMS needs Node >= 20 and npm to install its own Node; found: $(node --version 2>/dev/null || echo none)" >&2
  exit 1
fi

# The pinned Node is linked against libatomic, which a small Debian does not have.
if [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) != *libatomic.so.1* ]]; then install_packages libatomic1; fi

# pkcs11js is compiled when it is installed, against the headers that come with the pinned Node: npm installs that one
# before it compiles anything. node-gyp would otherwise get the headers of the Node that runs npm from nodejs.org.
npm_config_nodedir=$PWD/node_modules/node/node_modules/node-linux-$(node -p process.arch)
export npm_config_nodedir
binding=node_modules/pkcs11js/build/Release/pkcs11.node
# Whether the binding can be compiled here and is not. It is optional: without a compiler all but pkcs11: keys works.
lacks_binding() {
  [ ! -e "$binding" ] && command -v g++ >/dev/null && command -v make >/dev/null && command -v python3 >/dev/null
}

# npm leaves out an optional package that it could not compile. It comes with a new installation once there is a
# compiler; where there was one already, trying again does not help.
cannot_compile=node_modules/.pkcs11js-cannot-be-compiled
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ] ||
  { [ ! -e node_modules/pkcs11js ] && lacks_binding && [ ! -e $cannot_compile ]; }; then
  echo "installing npm packages (a minute or so) ..."
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
  if [ ! -e node_modules/pkcs11js ] && lacks_binding; then touch $cannot_compile; fi
fi
# npm may have been told not to run install scripts (ignore-scripts, or none that is not approved): those that count.
run_install_script() {
  npm rebuild "$1" --ignore-scripts=false --loglevel=error
}
NODE=$PWD/node_modules/node/bin/node
if [ ! -x "$NODE" ]; then run_install_script node; fi
if [ -e node_modules/pkcs11js ] && lacks_binding; then
  [ -e "$npm_config_nodedir/include/node/node_api.h" ] || run_install_script node
  run_install_script pkcs11js || echo "pkcs11js cannot be compiled here, so there are no pkcs11: keys" >&2
fi
export PATH="$PWD/node_modules/.bin:$PATH"
