#!/usr/bin/env bash
# Holds every C file to .clang-format. Versions of clang-format lay out differently, so only 14 counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

formatter=
for candidate in clang-format-14 clang-format; do
    if "$candidate" --version 2>/dev/null | grep -q 'version 14\.'; then
        formatter=$candidate
        break
    fi
done
if [ -z "$formatter" ]; then
    echo "skipped: no clang-format 14 here (Debian package clang-format-14)"
    exit 77
fi

if git rev-parse --git-dir >/dev/null 2>&1; then
    list() { git ls-files -co --exclude-standard -- '*.c' '*.h'; }
else
    list() { find . -path ./build -prune -o -name '*.[ch]' -print; }
fi
list | xargs "$formatter" --dry-run -Werror
