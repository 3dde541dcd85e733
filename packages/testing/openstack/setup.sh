#!/usr/bin/env bash
# Installs the programs that `src/daemons/openstack.ts` starts: Keystone and Barbican as Python packages of Debian, and a WSGI
# server. It does not install the packages `keystone` and `barbican-api`, so no service starts, no user is created, and nothing is
# written to /etc. A first installation takes about 190 packages, 165 MB on disk and two minutes.
set -euo pipefail
wanted=(python3-keystone python3-barbican gunicorn softhsm2 openssl)
missing=()
for name in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "OpenStack is not installed, and there is no apt-get to install it. Install these packages: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]} (about two minutes) ..."
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
