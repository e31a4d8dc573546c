"""Runs one of the public checkers over the files it is meant for.

    tools.py format        clang-format 14 (versions lay out differently, so only this one counts)
    tools.py shell         shellcheck
    tools.py static BUILD  clang-tidy and cppcheck, with the compile commands of a build folder

Exits with 77, the mark of a skipped test, where the checker is not installed.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import lint

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77


def find(package, *names, version=""):
    """The first of `names` that is installed in the wanted version; ends the test where none is."""
    for name in names:
        path = shutil.which(name)
        if path and version in subprocess.run([path, "--version"], capture_output=True, text=True,
                                              check=False).stdout:
            return path
    print(f"skipped: {names[0]} is not installed (Debian package {package})")
    sys.exit(SKIPPED)


def files(*suffixes):
    return [path for path in lint.files_of(ROOT) if path.endswith(suffixes)]


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def check_format():
    formatter = find("clang-format-14", "clang-format-14", "clang-format", version="version 14.")
    return run(formatter, "--dry-run", "-Werror", *files(".c", ".h"))


def check_shell():
    return run(find("shellcheck", "shellcheck"), "--external-sources", ".ci/run", *files(".sh"))


def check_static(build):
    tidy = find("clang-tidy-14", "clang-tidy-14", "clang-tidy")
    cppcheck = find("cppcheck", "cppcheck")
    product = [path for path in files(".c") if path.split("/")[0] in lint.MAY_INCLUDE]
    tidy_all = f'xargs -P {os.cpu_count()} -n 1 "$0" --quiet -p "$1"'
    tidy_status = subprocess.run(["sh", "-c", tidy_all, tidy, build], cwd=ROOT, text=True,
                                 input="\n".join(product), check=False).returncode
    cppcheck_status = run(
        cppcheck, "--quiet", "--std=c11", "--error-exitcode=1", "--inline-suppr",
        "--enable=warning,performance,portability", "--suppress=missingIncludeSystem",
        # log(0) is minus infinity where it is used; and arrays are taken for read when their
        # address is.
        "--suppress=invalidFunctionArg", "--suppress=legacyUninitvar",
        f"-I{ROOT}", *product)
    return tidy_status or cppcheck_status


def main():
    checks = {"format": check_format, "shell": check_shell, "static": check_static}
    if len(sys.argv) < 2 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    sys.exit(checks[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
