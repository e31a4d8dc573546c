"""Compiles every kernel for every architecture and holds it to what was planned for it.

    check_kernels.py [--update] [--arch sm_90] [FILE.cu ...]

No spills and no local memory: those are errors of the assembler. Registers and static shared memory
per kernel at most as in kernels.tsv, which --update writes anew; a kernel that the table does not
name fails. Where cuobjdump is found, kernels that use tensor cores, ldmatrix or cp.async must have
their instructions, as many as the table says at least. Skipped where there is no nvcc. cuobjdump
and the nvdisasm it calls are in the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

import argparse
import concurrent.futures
import csv
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
SKIPPED = 77
INSTRUCTIONS = {"mma": r"\b(?:HMMA|IMMA|QMMA)\b", "ldmatrix": r"\bLDSM\b",
                "cp_async": r"\bLDGSTS\b"}
COLUMNS = ("architecture", "file", "kernel", "registers", "shared_bytes", *INSTRUCTIONS)


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


def instructions_of(cubin, name):
    """How often each kind occurs in a kernel's machine code; empty without cuobjdump."""
    cuobjdump = find("cuobjdump")
    if not cuobjdump:
        return dict.fromkeys(INSTRUCTIONS, "")
    code = subprocess.run([cuobjdump, "-sass", "-fun", name, cubin], capture_output=True,
                          text=True, check=True).stdout
    return {kind: str(len(re.findall(pattern, code))) for kind, pattern in INSTRUCTIONS.items()}


def compile_kernels(source, architecture):
    """One row per kernel of a file."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder, "kernels.cubin")
        result = subprocess.run(
            [find("nvcc"), "-std=c++17", "-O3", "-fmad=false", "-cubin", f"-arch={architecture}",
             f"-I{ROOT}", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra",
             "-Xptxas=-v,-warn-spills,-warn-lmem-usage,-Werror", "-o", cubin, source],
            capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{source.name} for {architecture}:\n{result.stderr}")
        rows = []
        for part in result.stderr.split("Compiling entry function '")[1:]:
            name = part.split("'")[0]
            shared = re.search(r"(\d+) bytes smem", part)
            rows.append({"architecture": architecture, "file": source.name,
                         "kernel": demangled(name),
                         "registers": re.search(r"Used (\d+) registers", part).group(1),
                         "shared_bytes": shared.group(1) if shared else "0",
                         **instructions_of(cubin, name)})
        return rows


def key_of(row):
    return row["architecture"], row["file"], row["kernel"]


def complaints_about(row, planned):
    if not planned:
        yield "is not in the table; run check_kernels.py --update and look at the change"
        return
    for column in ("registers", "shared_bytes"):
        if int(row[column]) > int(planned[column]):
            yield f"{column} {row[column]}, planned {planned[column]}"
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
