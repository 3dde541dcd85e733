#!/usr/bin/env bash
# `npm test` and `npm run test:full`: installs what is missing and runs everything; see test.ts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/debian-packages.sh
source scripts/debian-packages.sh
# Before npm's packages, one of which is compiled. The operator's guide, whose commands are run, looks at the plugin with curl.
missing=()
for command in g++ make python3 curl; do command -v "$command" >/dev/null || missing+=("$command"); done
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
bash packages/testing/pkcs11/setup.sh
# shellcheck source=scripts/setup.sh
source scripts/setup.sh
exec "$NODE" scripts/test.ts "$@"
