#!/usr/bin/env bash
# Installs what `src/openstack.ts` starts: Keystone and Barbican as Python packages of Debian, and a WSGI server. The packages
# `keystone` and `barbican-api` are not among them: nothing is written to /etc, no user is made, no service starts.
# 190 packages or so, 165 MB on disk, about two minutes where none of them is there.
set -euo pipefail
wanted=(python3-keystone python3-barbican gunicorn softhsm2 openssl)
missing=()
for name in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "no OpenStack here, and no apt-get to get it with; needed: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]} (two minutes or so) ..."
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
