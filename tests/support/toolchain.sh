# shellcheck shell=bash disable=SC2034 # the lists are used by the scripts that source this
# What demo.sh and test.sh have in common: the Debian packages the build needs, and the build.
# Sourced, never run. Everything is checked before anything is fetched, so that a second call needs
# no network and takes no time.

readonly BUILD_PACKAGES=(
    build-essential cmake ninja-build pkg-config
    libcsv-dev libsqlite3-dev libjansson-dev libutf8proc-dev libpcre2-dev
    libcurl4-openssl-dev libssl-dev libmicrohttpd-dev libhwloc-dev libcmocka-dev
    ca-certificates python3 python3-pip
)
readonly TEST_PACKAGES=(clang-format-14 shellcheck chromium) LONG_TEST_PACKAGES=(
    clang-tidy-14 cppcheck clang libclang-rt-14-dev
)

say() {
    printf '\n== %s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# require_packages PACKAGE... installs those that are missing.
require_packages() {
    local package missing=() as_root=()
    if ! command -v dpkg-query >/dev/null; then
        say "no dpkg here; the build needs the equivalents of these Debian packages: $*"
        return
    fi
    for package in "$@"; do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "packages are missing and there is no sudo. As root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq ||
        die "apt-get update failed. When the network is there, run: apt-get install ${missing[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        die "could not install: ${missing[*]}"
}

# build_preset PRESET [TARGET...] configures and builds into build/PRESET.
build_preset() {
    local preset=$1 launcher=() targets=()
    shift
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    if [ "$#" -gt 0 ]; then
        targets=(--target "$@")
    fi
    say "building ($preset)"
    cmake --preset "$preset" "${launcher[@]}" >&2
    cmake --build "build/$preset" "${targets[@]}" >&2
}
