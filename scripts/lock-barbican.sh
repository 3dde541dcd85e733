#!/usr/bin/env bash
# Makes k8s/barbican/image/requirements.txt, every package with its version and hash, from requirements.in. The hashes are of
# the wheels for this machine's architecture and Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../k8s/barbican/image"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --dry-run --ignore-installed --only-binary :all: \
  --report "$work/report.json" -r requirements.in
/usr/bin/python3 - "$work/report.json" >"$work/requirements.txt" <<'CODE'
import json
import platform
import sys

report = json.load(open(sys.argv[1]))
print("# scripts/lock-barbican.sh makes this from requirements.in (%s, Python %s)."
      % (platform.machine(), ".".join(platform.python_version_tuple()[:2])))
for line in sorted("%s==%s --hash=sha256:%s" % (
        package["metadata"]["name"].lower(), package["metadata"]["version"],
        package["download_info"]["archive_info"]["hashes"]["sha256"]) for package in report["install"]):
    print(line)
CODE
cp "$work/requirements.txt" requirements.txt
