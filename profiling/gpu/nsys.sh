#!/usr/bin/env bash
# A timeline of a short bench: kernels, copies, gaps between steps, NVTX ranges.
#
#     nsys.sh [--copymill FILE] [--out FOLDER] [bench options, e.g. --model M --batch 64]
#
# Needs Nsight Systems (nsys) and a build of the preset cuda. Leaves FOLDER/steps.nsys-rep for the
# viewer and prints: time by kernel, by copy, by NVTX range, and how long the device was idle.
set -euo pipefail
copymill=build/cuda/copymill
out=out/nsys
while [ $# -gt 0 ]; do
    case $1 in
        --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        --copymill) copymill=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) break ;;
    esac
done
if ! command -v nsys >/dev/null; then
    echo "nsys is missing: install NVIDIA Nsight Systems" >&2
    exit 77
fi
mkdir -p "$out"
nsys profile --force-overwrite true --output "$out/steps" --trace cuda,nvtx,cublas \
    --cuda-graph-trace node "$copymill" bench --device cuda --repeat 1 "$@"
for report in cuda_gpu_kern_sum cuda_gpu_mem_time_sum nvtx_gpu_proj_sum; do
    nsys stats --report "$report" --format table "$out/steps.nsys-rep" || true
done
# Idle time: the span from the first kernel to the last, less what the kernels took.
nsys stats --report cuda_gpu_trace --format csv --output - "$out/steps.nsys-rep" |
    awk -F, 'NR > 1 && $1 ~ /^[0-9]/ { end = $1 + $2; busy += $2; if (!first) first = $1
             if (end > last) last = end }
             END { if (last) printf "device busy %.1f %% of %.1f ms\n",
                   100 * busy / (last - first), (last - first) / 1e6 }'
