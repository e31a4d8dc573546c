"""The lint gate: house rules that no compiler checks.

    lint.py [--root FOLDER] [RULE...]

Prints "file:line: rule: what is wrong and what would be right" for each violation and exits with 1
when there is any. Reads the files git would commit; needs nothing but Python's standard library.
"""

import argparse
import functools
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

FUNCTION_LINES_MAX = 90
FILE_LINES_MAX = 700
LINE_CHARACTERS_MAX = 100

# The dependency law: what each folder may include.
MAY_INCLUDE = {
    "base": {"base"},
    "kernels": {"base", "kernels"},
    "loaders": {"base", "loaders"},
    "host": {"base", "kernels", "loaders", "host"},
    "jobs": {"base", "loaders", "host", "jobs"},
}
SOURCE_FOLDERS = (*MAY_INCLUDE, "tests", "profiling")
FOLDERS_WITH_README = (*SOURCE_FOLDERS, "examples")

# Headers of libraries that only some places may know.
LIBRARY_PLACES = {
    r"(cuda|cublas|nccl|mpi|omp)\w*\.h": "kernels/",
    r"csv\.h": ("loaders/", "jobs/csv_cell"),
    r"sqlite3\.h": "jobs/ledger",
    r"curl/.*": "jobs/",
}

# Calls that are wrong anywhere, with what to use instead.
BANNED = {
    "strcpy": "a bounded copy or cm_text_*", "strcat": "cm_text_*",
    "sprintf": "snprintf or cm_text_*", "vsprintf": "vsnprintf",
    "gets": "fgets", "atoi": "strtol", "atol": "strtol", "atof": "strtod",
    "strtok": "strcspn or strtok_r", "system": "posix_spawn", "popen": "posix_spawn",
    "alloca": "cm_alloc", "rand": "cm_philox_uniform", "srand": "cm_philox_uniform",
    "tmpnam": "mkstemp", "mktemp": "mkstemp",
}
# Calls that only `base` may make, because fault injection counts allocations there.
BANNED_OUTSIDE_BASE = {
    "malloc": "cm_alloc", "calloc": "cm_alloc", "realloc": "cm_realloc", "free": "cm_free",
    "strdup": "cm_strdup", "strndup": "cm_strndup", "aligned_alloc": "cm_alloc_aligned",
    "posix_memalign": "cm_alloc_aligned", "asprintf": "cm_text_*",
}
# Calls that only `jobs` may make: library code neither prints nor ends the process. `base` holds
# the log and the assertion.
BANNED_OUTSIDE_JOBS = {
    "printf": "cm_error_set", "puts": "cm_error_set", "putchar": "cm_error_set",
    "perror": "cm_error_set", "exit": "a status", "abort": "CM_ASSERT", "assert": "CM_ASSERT",
}

C_SUFFIXES = (".c", ".h", ".cu", ".cuh")
TEXT_SUFFIXES = (*C_SUFFIXES, ".py", ".sh", ".md", ".cmake")
TEXT_NAMES = ("CMakeLists.txt", "CMakePresets.json", ".clang-format", ".clang-tidy", ".gitignore")

# Hosts of package registries, and absolute paths of some machine, both of which make a clone depend
# on where it was written. This file and its test spell them, so they are the two exceptions.
FOREIGN = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|crates\.io|proxy\.golang"
                     r"|(?<![\w.}/-])/(?:root|home|work|Users|mnt)/")
FOREIGN_EXEMPT = ("tests/lint/lint.py", "tests/lint/test_lint.py")


class Violation(NamedTuple):
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class Source:
    """One file. `code` is the text with comments and literals blanked, line for line."""

    def __init__(self, root, path):
        self.path = path
        self.folder = path.split("/")[0] if "/" in path else ""
        self.name = path.rsplit("/", 1)[-1]
        self.text = (root / path).read_bytes().decode("utf-8", errors="replace")
        self.lines = self.text.split("\n")

    @functools.cached_property
    def code(self):
        return blank_literals(self.text).split("\n")

    def is_c(self):
        return self.path.endswith(C_SUFFIXES)

    def is_text(self):
        return self.path.endswith(TEXT_SUFFIXES) or self.name in TEXT_NAMES or "#!" == self.text[:2]

    def is_product(self):
        return self.folder in MAY_INCLUDE


def blank_literals(text):
    """Replaces comments, strings and character constants by blanks, so that offsets stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def files_of(root):
    """Paths of all files git tracks or would add; without git, all but hidden and build folders."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"],
                            capture_output=True, check=False)
    if listed.returncode == 0:
        paths = sorted(set(listed.stdout.decode().split("\0")) - {""})
    else:
        paths = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if f[0] != "." and f != "out"
                          and not f.startswith(("build", "__"))]
            paths += [(pathlib.Path(folder) / name).relative_to(root).as_posix() for name in names]
    return [path for path in paths if (root / path).is_file()]


# --- Rules: each takes the list of sources and yields (source, line number, message) -------------


def rule_banned_call(sources):
    for source in filter(Source.is_c, sources):
        banned = dict(BANNED)
        if source.is_product():
            if source.folder != "base":
                banned.update(BANNED_OUTSIDE_BASE)
            if source.folder not in ("base", "jobs"):
                banned.update(BANNED_OUTSIDE_JOBS)
        pattern = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
        for number, line in enumerate(source.code, 1):
            for match in pattern.finditer(line):
                name = match.group(1)
                yield source, number, f"{name} is banned here; use {banned[name]}"


def rule_include(sources):
    for source in filter(Source.is_c, sources):
        for number, line in enumerate(source.lines, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not match:
                continue
            quote, target = match.groups()
            if ".." in target.split("/"):
                yield source, number, 'relative include; write "folder/file.h"'
            elif quote == "<":
                for library, place in LIBRARY_PLACES.items():
                    if re.fullmatch(library, target) and source.is_product() \
                            and not source.path.startswith(place):
                        yield source, number, f"<{target}> may be included under {place} only"
            elif source.is_product() and target.split("/")[0] not in MAY_INCLUDE[source.folder]:
                allowed = ", ".join(sorted(MAY_INCLUDE[source.folder]))
                yield source, number, f"{source.folder} may include from {allowed} only: {target}"


def names_file(build, path):
    """Whether a CMakeLists.txt above `path` lists it, relative to its own folder."""
    folder = os.path.dirname(build.path)
    relative = re.escape(os.path.relpath(path, folder or "."))
    return path.startswith(folder) and re.search(rf"(?<![\w./]){relative}\b", build.text)


def rule_dead_file(sources):
    """A source that no CMakeLists.txt names, a script that nobody calls."""
    builds = [s for s in sources if s.name == "CMakeLists.txt"]
    mentions = "\n".join(s.text for s in sources if s.is_text())
    for source in sources:
        if source.folder not in SOURCE_FOLDERS:
            continue
        if source.path.endswith((".c", ".cu")):
            if not any(names_file(build, source.path) for build in builds):
                yield source, 1, "no CMakeLists.txt names this file"
        elif source.path.endswith((".py", ".sh")):
            module = rf"^\s*(?:import|from) {re.escape(source.name[:-3])}\b"
            called = source.name in mentions.replace(source.text, "")
            if not called and not re.search(module, mentions, re.M):
                yield source, 1, "no build file, script or page names this file"


def rule_function_length(sources):
    for source in filter(Source.is_c, sources):
        start = None
        for number, line in enumerate(source.code, 1):
            if line.rstrip() == "{":
                start = number
            elif line.rstrip() == "}" and start:
                length = number - start + 1
                if length > FUNCTION_LINES_MAX:
                    yield source, start, (f"function of {length} lines; "
                                          f"{FUNCTION_LINES_MAX} at most, 70 is the aim")
                start = None


def rule_file_length(sources):
    for source in sources:
        if source.path.endswith((*C_SUFFIXES, ".py", ".sh")):
            length = len(source.lines) - 1
            if length > FILE_LINES_MAX:
                yield source, 1, f"{length} lines; {FILE_LINES_MAX} at most, 500 is the aim"


def rule_layout(sources):
    for source in filter(Source.is_text, sources):
        if source.text and not source.text.endswith("\n"):
            yield source, len(source.lines), "no line end at the end of the file"
        for number, line in enumerate(source.lines, 1):
            if line != line.rstrip():
                yield source, number, "trailing blanks or a carriage return"
            if "\t" in line:
                yield source, number, "a tab; use blanks"
            if len(line) > LINE_CHARACTERS_MAX and not source.path.endswith((".md", ".json")):
                yield source, number, (f"line of {len(line)} characters; "
                                       f"{LINE_CHARACTERS_MAX} at most")


def rule_header(sources):
    """A header opens with its contract and guards itself with a macro named after its path."""
    for source in sources:
        if not source.path.endswith((".h", ".cuh")):
            continue
        contract = re.match(r"/\*(.*?)\*/", source.text, re.S)
        if not contract or len(contract.group(1).split()) < 5:
            yield source, 1, "opens without a comment that says what it is for"
        guard = "CM_" + re.sub(r"\W", "_", source.path).upper()
        if not re.search(rf"^#ifndef {guard}\n#define {guard}$", source.text, re.M):
            yield source, 1, f"no include guard {guard}"


def rule_readme(sources):
    """Every folder with sources explains itself; the kinds of tests share one page."""
    paths = {source.path for source in sources}
    folders = {os.path.dirname(path) for path in paths if path.endswith(C_SUFFIXES)}
    folders = {f for f in folders if f and not f.startswith("tests/")} | set(FOLDERS_WITH_README)
    for folder in sorted(folders):
        inside = [s for s in sources if s.path.startswith(folder + "/")]
        if inside and f"{folder}/README.md" not in paths:
            yield inside[0], 1, f"{folder}/README.md is missing"


def rule_foreign_name(sources):
    for source in sources:
        if source.is_text() and source.path not in FOREIGN_EXEMPT:
            for number, line in enumerate(source.lines, 1):
                match = FOREIGN.search(line)
                if match:
                    yield source, number, f"a registry's host or a machine's path: {match.group()}"


RULES = {name[len("rule_"):].replace("_", "-"): rule
         for name, rule in list(globals().items()) if name.startswith("rule_")}


def check(root, rules=None):
    root = pathlib.Path(root)
    sources = [Source(root, path) for path in files_of(root)]
    found = []
    for name in rules or RULES:
        found += [Violation(source.path, line, name, message)
                  for source, line, message in RULES[name](sources)]
    return sorted(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("rules", nargs="*", choices=[[], *RULES], help="all, when none is given")
    arguments = parser.parse_args()
    violations = check(arguments.root, arguments.rules)
    for violation in violations:
        print(violation)
    print(f"{len(violations)} violations", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
