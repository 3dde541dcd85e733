#!/usr/bin/env bash
# `npm start`: installs what is missing and runs the plugin on an embedded default; see start.ts.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
"$NODE" --conditions=teapot-source scripts/check-built.ts 2>/dev/null || npm run --silent build
exec "$NODE" --conditions=teapot-source scripts/start.ts "$@"
