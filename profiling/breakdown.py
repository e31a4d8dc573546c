#!/usr/bin/env python3
"""Shows where the time of a prefill chunk and of a decode step goes, by source file.

    profiling/breakdown.py --model FILE.gguf [--batch 64] [--threads 2]

Samples `copymill bench` with perf's software clock, which virtual machines have too, from the last
sample of the limits' measurement on: loading is not counted. A function belongs to the source file
whose object in the build folder defines it, so no list of names can go stale. What is not in any of
them is the kernel's or a library's.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHAPES = {
    "prefill": {"prompt-tokens": 192, "output-tokens": 1},
    "decode": {"prompt-tokens": 192, "shared-prefix": 191, "output-tokens": 64},
}
LIMITS_FILE = "limits"


def source_files(build):
    """{function: source file} from the objects; variants of one file count as the file."""
    owners = {}
    for path in sorted(build.rglob("*.c.o")):
        if path.relative_to(build).parts[0] not in ("base", "loaders", "kernels", "host", "jobs"):
            continue
        stem = re.sub(r"_(avx2|avx512|avx512bf16|portable|vnni)+$", "", path.name.split(".")[0])
        listed = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True,
                                check=True)
        for line in listed.stdout.splitlines():
            _address, kind, name = line.split(maxsplit=2)
            if kind in "tT":
                owners.setdefault(name, stem)
    return owners


def sample(command, owners):
    """Samples by source file, after the limits were measured."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(pathlib.Path(folder) / "perf.data")
        subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", data, "--",
                        *command], stdout=subprocess.DEVNULL, check=True)
        script = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym,dso"],
                                capture_output=True, text=True, check=True)
    counts = collections.Counter()
    for line in script.stdout.splitlines():
        _address, symbol, place = re.match(r"\s*(\S+)\s+(.+?)\s+\((.*)\)$", line).groups()
        owner = owners.get(symbol.split(".")[0]) if "/copymill" in place else None
        if owner == LIMITS_FILE:
            counts.clear()
        else:
            elsewhere = "kernel" if "kernel" in place else place.rsplit("/", 1)[-1]
            counts[owner or f"({elsewhere})"] += 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    owners = source_files(options.build)
    for name, shape in SHAPES.items():
        command = [options.build / "copymill", "bench", "--json", "--repeat=1",
                   f"--model={options.model}", f"--batch={options.batch}",
                   f"--threads={options.threads}",
                   *(f"--{key}={value}" for key, value in shape.items())]
        counts = sample([str(part) for part in command], owners)
        total = sum(counts.values())
        print(f"{name}: {total} samples")
        for owner, count in counts.most_common():
            if count >= 0.003 * total:
                print(f"  {owner:20} {100 * count / total:5.1f} %")


if __name__ == "__main__":
    main()
