#!/usr/bin/env bash
# Installs the Debian packages that the tests with PKCS#11 tokens need, as root or with sudo, and compiles the shim.
# No service is started: that of tpm2-abrmd needs a TPM and systemd, and a policy forbids its start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

library=/usr/lib/$(uname -m)-linux-gnu
missing=()
# needs FILE PACKAGE...: the packages are missing if the file is missing
needs() {
  [ -e "$1" ] || missing+=("${@:2}")
}
needs /usr/bin/gcc gcc libc6-dev
needs /usr/lib/softhsm/libsofthsm2.so softhsm2
needs /usr/bin/swtpm swtpm
needs /usr/bin/tpm2_getcap tpm2-tools
needs /usr/sbin/tpm2-abrmd tpm2-abrmd
needs /usr/bin/dbus-daemon dbus-daemon
needs "$library/libtss2-tcti-swtpm.so.0" libtss2-tcti-swtpm0
needs "$library/libtss2-tcti-tabrmd.so.0" libtss2-tcti-tabrmd0
needs "$library/pkcs11/libtpm2_pkcs11.so" libtpm2-pkcs11-1
needs /usr/bin/tpm2_ptool libtpm2-pkcs11-tools
needs /usr/libexec/p11-kit/p11-kit-server p11-kit
needs "$library/pkcs11/p11-kit-client.so" p11-kit-modules
needs "$library/libsoftokn3.so" libnss3

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get. Install these packages: ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]} ..."
  # This policy forbids the start of services during the installation. A policy of the administrator is kept.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
  fi
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
  as_root "${apt[@]}" update
  as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
bash build.sh >/dev/null
