#!/usr/bin/env bash
# `npm run package`: installs what is missing and makes the packages in dist; see package/main.ts.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
npm run --silent build
exec "$NODE" --conditions=teapot-source scripts/package/main.ts "$@"
