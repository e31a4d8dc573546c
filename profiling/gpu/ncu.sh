#!/usr/bin/env bash
# What one kernel waits for: throughput of memory and arithmetic, occupancy, stalls, bank conflicts.
#
#     ncu.sh [--out FOLDER] FAMILY [ladder options, e.g. --rows 64]
#
# FAMILY is attention, matmul, norm or sample: the last rungs of its ladder are the product's
# kernels. Needs Nsight Compute (ncu), a build of the preset cuda, and a driver that lets users read
# counters (NVreg_RestrictProfilingToAdminUsers=0, or root). Leaves FOLDER/FAMILY.ncu-rep.
set -euo pipefail
out=out/ncu
while [ $# -gt 0 ]; do
    case $1 in
        --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        --out) out=$2; shift 2 ;;
        *) break ;;
    esac
done
case ${1-} in
    attention | matmul | norm | sample) family=$1 ;;
    *) echo "ncu.sh: which family? attention, matmul, norm or sample" >&2; exit 2 ;;
esac
shift
command -v ncu >/dev/null || { echo "ncu is missing: install NVIDIA Nsight Compute" >&2; exit 77; }
mkdir -p "$out"
ncu --force-overwrite --export "$out/$family" --set full --import-source yes \
    "build/cuda/profiling/ladder_$family" --calls 1 "$@"
ncu --import "$out/$family.ncu-rep" --page details --print-summary per-kernel \
    --section SpeedOfLight --section Occupancy --section WarpStateStats \
    --section MemoryWorkloadAnalysis_Tables
