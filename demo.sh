#!/usr/bin/env bash
# From a fresh clone to personalised copy: installs what is missing, builds, fetches a small model
# and writes one copy for every item of examples/catalog.csv and every segment of
# examples/segments.csv. A second call goes on where the first one stopped and repeats nothing.
#
#     ./demo.sh                              the default model: English and Chinese, 491 MB
#     ./demo.sh --model smollm2-135m-it      smaller and faster, English, invents more (97 MB)
#     ./demo.sh --out DIR -- RUN-OPTION...   another folder; what follows -- goes to `copymill run`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/support/toolchain.sh
source tests/support/toolchain.sh

model=qwen2.5-coder-0.5b-it
out=out
while [ "$#" -gt 0 ]; do
    case $1 in
        --model | --out)
            [ "$#" -ge 2 ] || die "$1 needs a value"
            if [ "$1" = --model ]; then model=$2; else out=$2; fi
            shift 2
            ;;
        -h | --help)
            sed -n '/^# From/,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        *) die "unknown option $1; see ./demo.sh --help" ;;
    esac
done

require_packages "${BUILD_PACKAGES[@]}"
build_preset release copymill
copymill=build/release/copymill

# A path to a model file or folder needs no fetching.
if [ ! -e "$model" ]; then
    say "fetching the model $model (kept for the next time)"
    "$copymill" model fetch "$model"
fi

mkdir -p "$out"
name=$(basename "$model" .gguf)
copy="$out/copy-$name.csv"
say "writing copy for examples/catalog.csv x examples/segments.csv"
status=0
"$copymill" run --catalog examples/catalog.csv --segments examples/segments.csv \
    --model "$model" --out "$copy" --overwrite "$@" || status=$?
if [ "$status" -eq 4 ]; then
    say "interrupted; call ./demo.sh again to go on"
fi
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit "$status"

say "the copy:   $copy"
printf '   the ledger: %s (a second ./demo.sh reuses every row in it)\n' "$copy.job" >&2
exit "$status"
