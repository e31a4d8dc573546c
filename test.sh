#!/usr/bin/env bash
# Builds and tests everything: the whole suite in the release build, all that is quick enough under
# AddressSanitizer and UndefinedBehaviorSanitizer, and the GPU kernels on an emulated device.
#
#     ./test.sh           what a change must pass (minutes)
#     ./test.sh --long    also large catalogs, all reference models, many kills, static analysis,
#                         ten minutes of fuzzing for each reader
#
# Ends with ctest's closing line for the release suite and fails if any test of either build failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/support/toolchain.sh
source tests/support/toolchain.sh

long=false
case ${1-} in
    '') ;;
    --long) long=true ;;
    *) die "usage: ./test.sh [--long]" ;;
esac

require_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
build_preset release
build_preset asan

# Tests skip, and say so, when a model they need is not there; these make sure it is.
models=(smollm2-135m-it)
suite=()
if "$long"; then
    require_packages "${LONG_TEST_PACKAGES[@]}"
    models+=(qwen2.5-coder-0.5b-it)
    suite=(--build-config Long)
fi
for model in "${models[@]}"; do
    build/release/copymill model fetch "$model"
done

run_ctest() {
    local preset=$1
    shift
    say "testing ($preset)"
    ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
        --parallel "$(nproc)" "$@" | tee "build/$preset/test.log"
}

# Under the sanitizers the real models would take minutes and show nothing that tiny ones do not.
run_ctest asan --label-exclude 'real-model|lint|cuda-static'
# The kernels on the emulated device: plain, then under the sanitizers, which see what a GPU would
# not tell. No GPU and no toolkit is needed.
tests/cuda_emulation/fetch_headers.sh
build_preset cuda-emulated cuda_tests
run_ctest cuda-emulated --label-regex '^cuda$' "${suite[@]}"
# Under the sanitizers every family and whole jobs take long: one family on two devices stands for
# all, and for the long op tests the self-test, which runs every kernel, and the short ones.
few=(--exclude-regex 'emulation_jobs|golden_cuda_tp4|^test_(row_ops|attention|beam|sample)$'\
'|golden_cuda_(tp2_)?(gpt2|llama3_rope|mistral|qwen2|qwen3|gemma3)'\
'|golden_cuda_llama(_narrow)?$')
if "$long"; then
    few=()
fi
for preset in cuda-emulated-asan cuda-emulated-tsan; do
    build_preset "$preset" cuda_tests
    run_ctest "$preset" --label-regex '^cuda$' "${few[@]}" "${suite[@]}"
done

run_ctest release "${suite[@]}"
printf '\n'
grep -E '^[0-9]+% tests passed' build/release/test.log
