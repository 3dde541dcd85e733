#!/usr/bin/env bash
# `npm test` and `npm run test:full`: installs what is missing and runs everything; see test.ts.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
# The operator's guide, whose commands are run, looks at the plugin with curl.
command -v curl >/dev/null || install_packages curl
exec "$NODE" scripts/test.ts "$@"
