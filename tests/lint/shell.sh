#!/usr/bin/env bash
# Holds every shell script to shellcheck.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v shellcheck >/dev/null; then
    echo "skipped: no shellcheck here (Debian package shellcheck)"
    exit 77
fi
find . -path ./build -prune -o -name '*.sh' -print | xargs shellcheck --external-sources .ci/run
