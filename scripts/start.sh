#!/usr/bin/env bash
# `npm start`: installs what is missing and runs the plugin on an embedded default; see start.ts.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
ulimit -c 0
exec "$NODE" --disable-sigusr1 --conditions=teapot-source scripts/start.ts "$@"
