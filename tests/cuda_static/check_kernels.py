"""Compiles every kernel for every architecture and holds it to what was planned for it.

    check_kernels.py [--update] [--arch sm_90] [FILE.cu ...]

No spills and no local memory: those are errors of the assembler. Registers and shared memory per
kernel at most as in kernels.tsv, which --update writes anew; a kernel that the table does not name
fails. Blocks that a multiprocessor of an A100 (sm_80) or H100 (sm_90) holds, computed by the
toolkit's cuda_occupancy.h, are at least as many as the table and the kernel's own contract say:

    Occupancy of attend<128,*>: 1 on sm_80, 2 on sm_90

in the first comment of its file; of several such lines the first counts whose pattern fits. Where
cuobjdump is found, kernels that use tensor cores, ldmatrix or cp.async must have their
instructions, as many as the table says at least. Skipped where there is no nvcc. cuobjdump and the
nvdisasm it calls are in the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

import argparse
import concurrent.futures
import csv
import fnmatch
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels" / "cuda"
TABLE = pathlib.Path(__file__).with_name("kernels.tsv")
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
OCCUPANCY_OF = ("sm_80", "sm_90")
SKIPPED = 77
INSTRUCTIONS = {"mma": r"\b(?:HMMA|IMMA|QMMA)\b", "ldmatrix": r"\bLDSM\b",
                "cp_async": r"\bLDGSTS\b"}
COLUMNS = ("architecture", "file", "kernel", "registers", "shared_bytes", "dynamic_bytes",
           "threads", "blocks", *INSTRUCTIONS)
# The dynamic shared memory of kernels by file, as their launches ask for it.
DYNAMIC = {
    "attention.cu": {f"attend<{t}>": "sizeof(struct tile)"
                     for t in ("float", "__half", "__nv_fp8_e4m3")},
    "attention_mma.cu": {f"attend<{kind}>": f"sizeof(layout<{kind}>)"
                         for kind in map(", ".join, itertools.product(
                             ("32", "64", "80", "96", "128", "256"), ("false", "true"),
                             ("1", "4")))},
    "matmul_integer.cu": {f"multiply<{kind}>": f"sizeof(struct ring<{kind}>)"
                          for kind in map(", ".join, itertools.product(
                              ("4, 1", "8, 1", "8, 2"),
                              ("1, false", "2, false", "4, false", "4, true")))},
}
# Compiled behind a file: kernels that carry these sizes in their names.
PROBE = "template <int AT, size_t BYTES> static __global__ void dynamic_bytes() {}\n"


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")


def demangled(name):
    readable = subprocess.run(["c++filt", name], capture_output=True, text=True,
                              check=True).stdout.strip()
    readable = re.sub(r"\(anonymous namespace\)::|\w*_INTERNAL_\w+::", "", readable)
    readable = readable.removeprefix("void ")
    depth = 0
    for at, character in enumerate(readable):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            return readable[:at]
    return readable


def instructions_in(cubin):
    """By kernel, how often each kind occurs in the machine code; empty without cuobjdump."""
    cuobjdump = find("cuobjdump")
    if not cuobjdump:
        return {}
    code = subprocess.run([cuobjdump, "-sass", cubin], capture_output=True, text=True,
                          check=True).stdout
    return {part.split(maxsplit=1)[0]: {kind: str(len(re.findall(pattern, part)))
                                        for kind, pattern in INSTRUCTIONS.items()}
            for part in code.split("Function :")[1:]}


def with_probes(source):
    sizes = DYNAMIC.get(source.name, {}).values()
    uses = [f"template __global__ void dynamic_bytes<{at}, {size}>();\n"
            for at, size in enumerate(sizes)]
    return f'#include "kernels/cuda/{source.name}"\n' + (PROBE if uses else "") + "".join(uses)


def compile_kernels(source, architecture):
    """One row per kernel of a file."""
    with tempfile.TemporaryDirectory() as folder:
        wrapper = pathlib.Path(folder, "wrapper.cu")
        cubin = pathlib.Path(folder, "wrapper.cubin")
        wrapper.write_text(with_probes(source))
        result = subprocess.run(
            [find("nvcc"), "-std=c++17", "-O3", "-fmad=false", "-cubin", f"-arch={architecture}",
             f"-I{ROOT}", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra", "-keep",
             f"-keep-dir={folder}", "-Xptxas=-v,-warn-spills,-warn-lmem-usage,-Werror", "-o", cubin,
             wrapper], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{source.name} for {architecture}:\n{result.stderr}")
        ptx = pathlib.Path(folder, "wrapper.ptx").read_text()
        threads = dict(re.findall(r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)", ptx))
        instructions = instructions_in(cubin)
        unknown = dict.fromkeys(INSTRUCTIONS, "")
        rows = []
        sizes = {}
        for part in result.stderr.split("Compiling entry function '")[1:]:
            name = part.split("'")[0]
            kernel = demangled(name)
            probe = re.match(r"dynamic_bytes<(\d+), (\d+)", kernel)
            if probe:
                sizes[list(DYNAMIC[source.name])[int(probe.group(1))]] = probe.group(2)
                continue
            shared = re.search(r"(\d+) bytes smem", part)
            rows.append({"architecture": architecture, "file": source.name, "kernel": kernel,
                         "registers": re.search(r"Used (\d+) registers", part).group(1),
                         "shared_bytes": shared.group(1) if shared else "0",
                         "threads": threads[name], **instructions.get(name, unknown)})
        for row in rows:
            row["dynamic_bytes"] = sizes.get(row["kernel"], "0")
        if "extern .shared" in ptx and not sizes:
            raise RuntimeError(f"{source.name}: DYNAMIC lacks its dynamic shared memory")
        return rows


def add_occupancy(rows):
    """Sets `blocks` of the rows of architectures whose multiprocessors we know."""
    known = [row for row in rows if row["architecture"] in OCCUPANCY_OF]
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder, "occupancy")
        include = pathlib.Path(find("nvcc")).resolve().parents[1] / "include"
        subprocess.run([os.environ.get("CXX", "g++"), f"-I{include}", "-o", program,
                        pathlib.Path(__file__).with_name("occupancy.cpp")], check=True)
        lines = [" ".join(row[column] for column in ("architecture", "registers", "threads",
                                                     "shared_bytes", "dynamic_bytes"))
                 for row in known]
        answers = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True,
                                 check=True).stdout.split()
    for row in rows:
        row["blocks"] = ""
    for row, blocks in zip(known, answers, strict=True):
        row["blocks"] = blocks


def stated_occupancy(row):
    """What the contract says that a multiprocessor holds at least, or None."""
    source = (KERNELS / row["file"]).read_text()
    contract = source[:source.index("*/")]
    for pattern, *blocks in re.findall(r"Occupancy of (\S+): (\d+) on sm_80, (\d+) on sm_90",
                                       contract):
        if fnmatch.fnmatchcase(row["kernel"].replace(" ", ""), pattern):
            return int(blocks[OCCUPANCY_OF.index(row["architecture"])])
    return None


def key_of(row):
    return row["architecture"], row["file"], row["kernel"]


def complaints_about(row, planned):
    if row["blocks"]:
        stated = stated_occupancy(row)
        if stated is None:
            yield "its contract states no occupancy"
        elif int(row["blocks"]) < stated:
            yield f"{row['blocks']} blocks a multiprocessor, designed for {stated}"
    if not planned:
        yield "is not in the table; run check_kernels.py --update and look at the change"
        return
    for column in ("registers", "shared_bytes", "dynamic_bytes"):
        if int(row[column]) > int(planned[column]):
            yield f"{column} {row[column]}, planned {planned[column]}"
    if row["blocks"] and int(row["blocks"]) < int(planned["blocks"]):
        yield f"{row['blocks']} blocks a multiprocessor, planned {planned['blocks']}"
    for kind in INSTRUCTIONS:
        if row[kind] and planned[kind] and int(row[kind]) < int(planned[kind]):
            yield f"{row[kind]} {kind} instructions, planned {planned[kind]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--arch", action="append", choices=ARCHITECTURES)
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    if not find("nvcc") or not KERNELS.is_dir():
        print("skipped: there is no nvcc here, or there are no kernels")
        return SKIPPED
    sources = [KERNELS / name for name in arguments.files] or sorted(KERNELS.glob("*.cu"))
    jobs = [(source, arch) for arch in arguments.arch or ARCHITECTURES for source in sources]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = [row for made in pool.map(lambda job: compile_kernels(*job), jobs) for row in made]
    add_occupancy(rows)
    with open(TABLE, encoding="utf-8", newline="") as file:
        table = {key_of(row): row for row in csv.DictReader(file, delimiter="\t")}
    if arguments.update:
        is_all = not arguments.files and not arguments.arch
        table = {**({} if is_all else table), **{key_of(row): row for row in rows}}
        with open(TABLE, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for _, row in sorted(table.items()))
    failures = [f"{' '.join(key_of(row))}: {text}" for row in rows
                for text in complaints_about(row, table.get(key_of(row)))]
    print("\n".join(failures))
    print(f"{len(rows)} kernels compiled, {len(failures)} complaints")
    return 1 if failures and not arguments.update else 0


if __name__ == "__main__":
    sys.exit(main())
