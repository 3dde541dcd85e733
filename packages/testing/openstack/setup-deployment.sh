#!/usr/bin/env bash
# Installs what k8s/barbican's image contains, as programs for tests, into the cache: Keystone, Barbican and gunicorn with the
# versions and hashes of requirements.txt, and MariaDB's programs from Debian's packages. No service starts, and nothing is
# installed into the system but Debian's own venv module where it is missing.
# usage: setup-deployment.sh        prints nothing if all is there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teapot-kms
bash scripts/debian-programs.sh --tree mariadb mariadb-server-core mariadb-server mariadb-client-core galera-4 \
  libaio1 libnuma1 liburing2 rsync
lock=k8s/barbican/image/requirements.txt
# A venv does not work in another place, so the last file says that it is whole.
venv=$cache/barbican-$(sha256sum $lock | cut -c1-16)
if [ -e "$venv/complete" ]; then exit; fi
echo "installing Keystone and Barbican (half a minute) ..."
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
rm -rf "$venv"
/usr/bin/python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r $lock
touch "$venv/complete"
