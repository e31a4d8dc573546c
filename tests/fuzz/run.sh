#!/usr/bin/env bash
# Builds the fuzz targets with clang's libFuzzer and runs each for some seconds, one by one.
#
#     tests/fuzz/run.sh SECONDS [NAME...]
#
# Starts from corpus/NAME and from what earlier runs found in build/fuzz/found/NAME. An input that
# crashes, leaks, hangs or breaks a promise is kept as build/fuzz/finding-NAME-*, and the script
# ends with 1. Ends with 77, the mark of a skipped test, where clang has no libFuzzer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/support/toolchain.sh
source tests/support/toolchain.sh

[ "$#" -ge 1 ] || die "usage: tests/fuzz/run.sh SECONDS [NAME...]"
seconds=$1
shift
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
    for corpus in tests/fuzz/corpus/*/; do
        names+=("$(basename "$corpus")")
    done
fi

probe='int LLVMFuzzerTestOneInput(const char *bytes, unsigned long size);
int LLVMFuzzerTestOneInput(const char *bytes, unsigned long size) { return size > 0 && !bytes; }'
if ! clang -fsanitize=fuzzer,address -x c -o /dev/null - <<<"$probe" 2>/dev/null; then
    echo "skipped: clang has no libFuzzer (Debian packages clang, libclang-rt-14-dev)"
    exit 77
fi
build_preset fuzz fuzzers

failed=()
for name in "${names[@]}"; do
    say "fuzzing $name for $seconds s"
    found=build/fuzz/found/$name
    mkdir -p "$found"
    "build/fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -max_len=32768 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/finding-$name-" "$found" "tests/fuzz/corpus/$name" ||
        failed+=("$name")
done
[ "${#failed[@]}" -eq 0 ] || die "findings in: ${failed[*]}"
