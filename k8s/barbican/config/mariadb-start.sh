#!/bin/sh
# Makes MariaDB's files where there are none, whole or not at all, and becomes the server.
# usage: mariadb-start.sh CONFIGURATION DATADIR [OPTION...]     MARIADB_BASE: where its programs are, /usr by default
set -eu
base=${MARIADB_BASE:-/usr}
configuration=$1
data=$2
shift 2
if [ ! -d "$data" ]; then
  rm -rf "$data.new"
  sh "$base/bin/mariadb-install-db" --defaults-file="$configuration" --basedir="$base" --datadir="$data.new" \
    --skip-test-db --skip-name-resolve --auth-root-authentication-method=socket "$@" >&2
  sync
  mv "$data.new" "$data"
fi
exec "$base/sbin/mariadbd" --defaults-file="$configuration" --basedir="$base" --lc-messages-dir="$base/share/mysql" "$@"
