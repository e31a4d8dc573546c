"""Takes one safeguard after the other out of the kernels and shows that a test notices.

    mutate.py BUILD [--kinds KIND,...] [--sample N] [--jobs N] [--file NAME] [--table FILE]

BUILD is the folder of an emulated build: of cuda-emulated-tsan for the kinds barrier, syncwarp and
wait, of cuda-emulated-asan for the kind shared. A mutant differs from the source in one place:

    barrier   a __syncthreads() is gone
    syncwarp  a __syncwarp() is gone
    wait      a cm_cp_async_wait<N>() is gone
    shared    a shared array has one row less, in each of its dimensions but the last, or a launch
              asks for 16 bytes less

All mutants of the first three kinds are compiled at once: each statement becomes one that is left
out where $EMU_MUTANT is its number. The others are compiled one by one. The object files are linked
before the library that holds the real ones; nothing in the source or build folders changes. Prints
a table, which --table adds to a file, too; exits with 1 when a mutant survives all tests, or when a
test fails without any.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels" / "cuda"
# What may notice, by the beginning of the kernel file's name: programs with their arguments, the
# quickest first. emulation_kernels is the product's own self-test.
KERNEL_TEST = "emulation_kernels"
FAMILIES = {
    "answers": [(KERNEL_TEST, "wrapper")],
    "attention": [("test_cuda_attention", "rows*"), (KERNEL_TEST, "attention"),
                  ("test_cuda_attention",), ("test_attention",)],
    "beam": [(KERNEL_TEST, "beam"), ("test_beam",)],
    "device": [(KERNEL_TEST, "sums"), (KERNEL_TEST, "norm"), ("test_row_ops",)],
    "controls": [("test_sample", "wide*"), ("test_comm", "*split*"), (KERNEL_TEST, "sample"),
                 ("test_sample",), ("test_beam",)],
    "distribution": [("test_sample", "ties*"), (KERNEL_TEST, "sample"), ("test_sample", "many*"),
                     (KERNEL_TEST, "beam"), ("test_sample",), ("test_beam",)],
    "matmul": [("test_cuda_quantised",), (KERNEL_TEST, "matmul"), ("test_cuda_matmul",)],
    "narrow": [("test_cuda_quantised",), (KERNEL_TEST, "matmul")],
    "norm": [(KERNEL_TEST, "norm"), ("test_row_ops",)],
    "order": [("test_sample", "ties*"), ("test_sample", "many*"), ("test_beam", "ties*"),
              ("test_comm", "*split*"), (KERNEL_TEST, "sample"), (KERNEL_TEST, "beam"),
              ("test_sample",), ("test_beam",)],
    "rope": [(KERNEL_TEST, "attention"), ("test_attention",)],
    "row": [("test_sample", "ties*"), ("test_sample", "wide*"), ("test_sample", "many*"),
            ("test_comm", "*split*"), (KERNEL_TEST, "sample"), ("test_sample",), ("test_beam",)],
    "sample_split": [("test_comm", "*split*"), ("test_comm", "*largest*")],
    "sample": [(KERNEL_TEST, "sample"), ("test_sample",)],
}
OTHERS = [(KERNEL_TEST, ""), ("test_comm",)]
TESTS = (KERNEL_TEST, "test_attention", "test_beam", "test_comm", "test_cuda_attention",
         "test_cuda_matmul", "test_cuda_quantised", "test_row_ops", "test_sample")
TEST_TIMEOUT_S = 600
RUNS_MAX = 3
SLOW = "has not answered for 120 s"  # the watchdog's default, which no test waits for
STATEMENTS = {"barrier": r"__syncthreads\(\);", "syncwarp": r"__syncwarp\([^;]*\);",
              "wait": r"cm_cp_async_wait<[^;]*>\(\);"}


# With its body; a template's, or a specialisation's, too.
STRUCTURE = r"struct {}(?:<[^>]*>)? {{(.*?)\n}};"


class Mutant(NamedTuple):
    path: pathlib.Path
    kind: str
    line: int
    what: str
    text: str  # of the whole file
    span: tuple  # of what is changed


def blank_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), text,
                  flags=re.S)


def replaced(path, text, kind, span, by, shown=None):
    """`shown` is the span of what the table shows, changed; else what is replaced."""
    begin, end = span
    line = text.count("\n", 0, begin) + 1
    what = text[begin:end]
    if shown:
        what = text[shown[0]:begin] + by + text[end:shown[1]]
    return Mutant(path, kind, line, " ".join(what.split()), text[:begin] + by + text[end:], span)


def dimensions(code, begin, end):
    """Spans of every `name[E]...` that is declared between two offsets, with those of its E but the
    last, which is as long as a row; of the only one, where there is only one."""
    for declarator in re.finditer(r"\w+\s*((?:\[[^\[\];]+\])+)\s*(?=[,;])", code[begin:end]):
        at = begin + declarator.start(1)
        spans = [(at + match.start(1), at + match.end(1))
                 for match in re.finditer(r"\[([^\]]*)\]", declarator.group(1))]
        for span in spans[:-1] or spans:
            yield (begin + declarator.start(), begin + declarator.end(1)), span


def shared_arrays(code):
    """Spans of every shared array, declared so or a member of a structure that stands in shared
    memory, with those of its dimensions."""
    for match in re.finditer(r"__shared__(?:\s+__align__\(\d+\))?[^;()]*(?:;|\[[^;]*;)", code):
        yield from dimensions(code, match.start(), match.end())
    for name in SHARED_STRUCTURES:
        for body in re.finditer(STRUCTURE.format(name), code, re.S):
            yield from dimensions(code, body.start(1), body.end(1))


def shared_structures(code):
    """Names of the structures that stand in shared memory, by themselves or in another."""
    aliases = dict(re.findall(r"using (\w+) = (?:struct )?(\w+)", code))
    named = set(re.findall(r"(?:__shared__|CM_DYNAMIC_SHARED\()\s*(?:struct )?(\w+)", code))
    named = {aliases.get(name, name) for name in named}
    before = set()
    while named != before:
        before = set(named)
        for name in before:
            for body in re.finditer(STRUCTURE.format(name), code, re.S):
                named.update(re.findall(r"struct (\w+)", body.group(1)))
    return sorted(name for name in named if re.search(STRUCTURE.format(name), code, re.S))


def launch_sizes(code):
    """Spans of the shared_bytes argument of every launch that asks for any."""
    for match in re.finditer(r"CM_LAUNCH\(", code):
        depth, begin, arguments = 1, match.end(), []
        for at in range(match.end(), len(code)):
            depth += {"(": 1, ")": -1, "{": 1, "}": -1}.get(code[at], 0)
            if depth == 0 or (depth == 1 and code[at] == ","):
                begin += len(code[begin:at]) - len(code[begin:at].lstrip())
                arguments.append((begin, at))
                begin = at + 1
            if depth == 0:
                break
        # Commas inside <> of a template stand inside parentheses, as CM_LAUNCH demands.
        if len(arguments) > 3 and code[slice(*arguments[3])].strip() not in ("0", "shared_bytes"):
            yield arguments[3]


ALL_CODE = "\n".join(blank_comments(path.read_text()) for path in sorted(KERNELS.glob("*"))
                     if path.suffix in (".cu", ".h"))
SHARED_STRUCTURES = shared_structures(ALL_CODE)


def mutants_of(path):
    text = path.read_text()
    code = blank_comments(text)
    for kind, pattern in STATEMENTS.items():
        for match in re.finditer(pattern, code):
            yield replaced(path, text, kind, match.span(), ";")
    for shown, (begin, end) in shared_arrays(code):
        yield replaced(path, text, "shared", (begin, end), f"({text[begin:end]}) - 1", shown)
    for begin, end in launch_sizes(code):
        yield replaced(path, text, "shared", (begin, end), f"({text[begin:end]}) - 16",
                       (begin, end))


class Build:
    """Compiles and links as the build folder's own commands do."""

    def __init__(self, folder, tests=TESTS):
        self.folder = pathlib.Path(folder).resolve()
        entries = json.loads((self.folder / "compile_commands.json").read_text())
        self.compiles = {pathlib.Path(e["file"]).resolve(): shlex.split(e["command"])
                         for e in entries if e["file"].endswith(".cu")
                         and pathlib.Path(e["file"]).resolve().parent == KERNELS}
        self.links = {test: self.link_command(test) for test in tests}

    def link_command(self, test):
        commands = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", test],
                                  capture_output=True, text=True, check=True).stdout
        return shlex.split(commands.strip().splitlines()[-1])

    def run(self, command):
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True,
                              errors="replace", check=False)

    def compile(self, source, shadow, options):
        target = shadow / (source.name + ".o")
        original = self.compiles[source]
        command = list(original)
        command[command.index("-o") + 1] = str(target)
        mutated = shadow / "kernels" / "cuda" / source.name
        command[command.index("-c") + 1] = str(mutated if mutated.exists() else source)
        # Before all other folders, or the real header is found first.
        first = next(i for i, word in enumerate(command) if word.startswith(("-I", "-isystem")))
        command.insert(first, f"-I{shadow}")
        result = self.run(command + options)
        return target, result

    def link(self, test, objects, shadow):
        program = shadow / test
        command = [word for word in self.links[test] if word not in (":", "&&")]
        at = command.index("-o")
        command[at + 1:at + 2] = [str(program), *map(str, objects)]
        result = self.run(command)
        if result.returncode != 0:
            raise RuntimeError(f"cannot link {test}:\n{result.stderr}")
        return program


def users_of(path, sources):
    """The .cu files that a file is, or is included by, through other headers too."""
    names, before = {path.name}, set()
    while names != before:
        before = set(names)
        for each in KERNELS.iterdir():
            if each.suffix in (".cu", ".h") and any(
                    f'"kernels/cuda/{name}"' in each.read_text() for name in before):
                names.add(each.name)
    return [source for source in sources if source.name in names]


def summary_of(output):
    for pattern in (r"(.*WRONG: .*)", r"WARNING: (ThreadSanitizer: .*?) \(pid",
                    r"ERROR: (AddressSanitizer: \S+)", r"runtime error: (.*)",
                    r"cuda emulation: (.*)", r"(static assertion failed.*)",
                    r"\[  ERROR   \] --- (.*)"):
        match = re.search(pattern, output)
        if match:
            return match.group(1)[:60]
    return "failed"


def tests_of(path):
    """The longest beginning of the file's name that FAMILIES knows."""
    known = [name for name in FAMILIES if path.stem.startswith(name)]
    return FAMILIES[max(known, key=len)] if known else OTHERS


def run_test(program, arguments, number=0):
    """What the test says against the mutant, or None."""
    devices = 1
    if program.name == "test_comm":  # the largest group takes gigabytes under ThreadSanitizer
        devices = 16 if "*largest*" in arguments else 4
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "EMU_SEED": "1",
                   "EMU_DEVICES": str(devices), "EMU_MUTANT": str(number)}
    for _ in range(RUNS_MAX):
        try:
            result = subprocess.run([program, *arguments], capture_output=True, text=True,
                                    check=False, errors="replace", env=environment,
                                    timeout=TEST_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return None  # slow is not noticed; the emulation reports a deadlock by itself
        if result.returncode in (0, 77):
            return None
        if SLOW not in result.stdout + result.stderr:
            return summary_of(result.stdout + result.stderr)
    return None


class Programs:
    """Tests linked with some object files, when they are first asked for."""

    def __init__(self, build, objects, shadow):
        self.build, self.objects, self.shadow = build, objects, shadow
        self.lock = threading.Lock()
        self.linked = {}

    def get(self, test):
        with self.lock:
            if test not in self.linked:
                self.linked[test] = self.build.link(test, self.objects, self.shadow)
            return self.linked[test]

    def noticed(self, path, number=0):
        for test, *arguments in tests_of(path):
            complaint = run_test(self.get(test), arguments, number)
            if complaint:
                return f"{' '.join((test, *arguments))}: {complaint}"
        return None


def compile_all(build, sources, shadow, options=()):
    objects = []
    for source in sources:
        target, result = build.compile(source, shadow, list(options))
        if result.returncode != 0:
            raise RuntimeError(f"cannot compile {source.name}:\n{result.stderr}")
        objects.append(target)
    return objects


def statement_programs(build, mutants, shadow):
    """All statements of all files, each left out on demand; number 0 leaves out none."""
    folder = shadow / "kernels" / "cuda"
    folder.mkdir(parents=True)
    by_path = {}
    for number, mutant in enumerate(mutants, 1):
        by_path.setdefault(mutant.path, []).append((mutant.span, number))
    for path, places in by_path.items():
        text = path.read_text()
        for (begin, end), number in sorted(places, reverse=True):
            text = f"{text[:begin]}if (emu_mutant != {number}) {text[begin:end]}{text[end:]}"
        (folder / path.name).write_text(f'extern "C" int emu_mutant;\n#line 1\n{text}')
    source = shadow / "mutant.c"
    source.write_text("#include <stdlib.h>\nint emu_mutant;\n"
                      "__attribute__((constructor)) static void read_number(void)\n{\n"
                      '    const char *text = getenv("EMU_MUTANT");\n'
                      "    emu_mutant = text == NULL ? 0 : atoi(text);\n}\n")
    target = shadow / "mutant.o"
    subprocess.run(["cc", "-c", "-o", target, source], check=True)
    users = {user for path in by_path for user in users_of(path, build.compiles)}
    return Programs(build, [target, *compile_all(build, sorted(users), shadow)], shadow)


def try_statements(build, mutants, jobs):
    """Yields (mutant, what noticed it)."""
    if not mutants:
        return
    with tempfile.TemporaryDirectory() as folder:
        programs = statement_programs(build, mutants, pathlib.Path(folder))
        # The tests to be tried first; the others are tests of their own.
        tests = sorted({tests_of(mutant.path)[0] for mutant in mutants})
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            unchanged = pool.map(lambda test: run_test(programs.get(test[0]), test[1:]), tests)
            for test, complaint in zip(tests, unchanged):
                if complaint:
                    raise RuntimeError(f"{' '.join(test)} fails without a mutant: {complaint}")
            answers = pool.map(lambda pair: programs.noticed(pair[1].path, pair[0]),
                               enumerate(mutants, 1))
            yield from zip(mutants, answers)


def try_array(build, mutant):
    with tempfile.TemporaryDirectory() as folder:
        shadow = pathlib.Path(folder)
        (shadow / "kernels" / "cuda").mkdir(parents=True)
        (shadow / "kernels" / "cuda" / mutant.path.name).write_text(mutant.text)
        try:
            # For one test that stops at once: compiling takes a tenth of the time so.
            objects = compile_all(build, users_of(mutant.path, build.compiles), shadow,
                                  ["-O0", "-g0"])
        except RuntimeError as error:
            return "compiler: " + summary_of(str(error))
        return Programs(build, objects, shadow).noticed(mutant.path)


def choose(mutants, count):
    """`count` of them, spread over the list and over the kinds; all, without a count."""
    if not count or count >= len(mutants):
        return mutants
    mutants = sorted(mutants, key=lambda m: m.kind)
    return [mutants[(2 * i + 1) * len(mutants) // (2 * count)] for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("build")
    parser.add_argument("--kinds", default="barrier,syncwarp,wait,shared")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--file", default="")
    parser.add_argument("--table")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if not KERNELS.is_dir():
        print("skipped: there are no kernels to mutate")
        return 77
    build = Build(arguments.build)
    mutants = [mutant for path in sorted(KERNELS.iterdir()) if path.suffix in (".cu", ".h")
               and arguments.file in path.name for mutant in mutants_of(path)
               if mutant.kind in kinds]
    chosen = choose(mutants, arguments.sample)
    statements = [mutant for mutant in chosen if mutant.kind in STATEMENTS]
    arrays = [mutant for mutant in chosen if mutant.kind not in STATEMENTS]
    survivors = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        answers = itertools.chain(
            try_statements(build, statements, arguments.jobs),
            zip(arrays, pool.map(lambda mutant: try_array(build, mutant), arrays)))
        for mutant, noticed in answers:
            survivors += noticed is None
            line = (f"{mutant.kind:<8} {mutant.path.name}:{mutant.line:<4} {mutant.what[:40]:<40} "
                    f"{noticed or 'SURVIVES'}")
            print(line, flush=True)
            if arguments.table:
                with open(arguments.table, "a", encoding="utf-8") as file:
                    file.write(f"| {mutant.kind} | {mutant.path.name}:{mutant.line} | "
                               f"`{mutant.what[:60]}` | {noticed or '**survives**'} |\n")
    print(f"{len(chosen)} of {len(mutants)} mutants tried, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
