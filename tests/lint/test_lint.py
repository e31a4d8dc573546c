"""The lint gate's own test: for each rule a small tree that breaks it, and one that does not."""

import pathlib
import tempfile
import unittest

import lint

HEADER = """/* What this header is for, in a sentence. */
#ifndef CM_LOADERS_THING_H
#define CM_LOADERS_THING_H
#endif
"""


def found(rule, files):
    """The lines that `rule` complains about in a tree of `files`, as "path:line"."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            target = pathlib.Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="")
        return [f"{v.path}:{v.line}" for v in lint.check(folder, [rule])]


class LintTest(unittest.TestCase):
    def assert_bad(self, rule, path, text, line=1, **others):
        self.assertEqual(found(rule, {path: text, **others}), [f"{path}:{line}"])

    def assert_good(self, rule, path, text, **others):
        self.assertEqual(found(rule, {path: text, **others}), [])

    def test_banned_calls(self):
        for name in lint.BANNED:
            self.assert_bad("banned-call", "tests/unit/a.c", f"int f(void)\n  {name} (x);\n", 2)
        for name in lint.BANNED_OUTSIDE_BASE:
            self.assert_bad("banned-call", "host/a.c", f"{name}(x);\n")
            self.assert_good("banned-call", "base/a.c", f"{name}(x);\n")
        for name in lint.BANNED_OUTSIDE_JOBS:
            self.assert_bad("banned-call", "kernels/cpu/a.c", f"{name}(x);\n")
            self.assert_good("banned-call", "jobs/a.c", f"{name}(x);\n")

    def test_banned_names_that_are_no_calls(self):
        for text in ("/* free(x) */", "// free(x)", 'say("free(x)");', "cm_free(x);", "p->free(x);",
                     "/*\n * free(x)\n */", "int free;", "q.free(x);"):
            self.assert_good("banned-call", "host/a.c", text + "\n")

    def test_includes(self):
        for folder, target in (("loaders", "kernels"), ("kernels", "loaders"), ("base", "loaders"),
                               ("host", "jobs"), ("jobs", "kernels")):
            self.assert_bad("include", f"{folder}/a.c", f'#include "{target}/b.h"\n')
        self.assert_bad("include", "host/a.c", '\n#include "../base/status.h"\n', 2)
        self.assert_bad("include", "tests/unit/a.c", '#include "../../base/status.h"\n')
        self.assert_bad("include", "host/a.c", '#include "engine.h"\n')
        self.assert_good("include", "host/a.c", '#include "host/engine.h"\n#include <stdio.h>\n')
        self.assert_good("include", "tests/unit/a.c", '#include "jobs/run.h"\n')

    def test_library_headers_in_their_places(self):
        for header, wrong, right in (("sqlite3.h", "host", "jobs/ledger.c"),
                                     ("cuda_runtime.h", "host", "kernels/cuda/a.c"),
                                     ("omp.h", "jobs", "kernels/a.c"),
                                     ("csv.h", "jobs", "loaders/a.c"),
                                     ("csv.h", "host", "jobs/csv_cell.c")):
            self.assert_bad("include", f"{wrong}/a.c", f"#include <{header}>\n")
            self.assert_good("include", right, f"#include <{header}>\n")

    def test_dead_files(self):
        self.assert_bad("dead-file", "host/gone.c", "", **{"host/CMakeLists.txt": "x SOURCES on.c"})
        self.assert_bad("dead-file", "host/one.c", "", **{"host/CMakeLists.txt": "twenty-one.cc"})
        self.assert_good("dead-file", "host/on.c", "", **{"host/CMakeLists.txt": "x SOURCES on.c"})
        self.assert_good("dead-file", "kernels/cpu/norm.c", "",
                         **{"kernels/CMakeLists.txt": "SOURCES cpu/norm.c"})
        self.assert_bad("dead-file", "tests/e2e/lonely.py", "")
        self.assert_good("dead-file", "tests/e2e/on.py", "", **{"tests/CMakeLists.txt": "on.py"})

    def test_function_length(self):
        def function(lines):
            return "int f(void)\n{\n" + "    g();\n" * (lines - 2) + "}\n"
        self.assert_good("function-length", "host/a.c", function(lint.FUNCTION_LINES_MAX))
        self.assert_bad("function-length", "host/a.c", function(lint.FUNCTION_LINES_MAX + 1), 2)
        table = "const int table[] = {\n" + "    1,\n" * 200 + "};\n"
        self.assert_good("function-length", "host/a.c", table)

    def test_file_length(self):
        self.assert_good("file-length", "host/a.c", "\n" * lint.FILE_LINES_MAX)
        self.assert_bad("file-length", "host/a.c", "\n" * (lint.FILE_LINES_MAX + 1))

    def test_layout(self):
        self.assert_bad("layout", "host/a.c", "int a;\nint b; \n", 2)
        self.assert_bad("layout", "host/README.md", "text\r\n")
        self.assert_bad("layout", "host/a.c", "\tint a;\n")
        self.assert_bad("layout", "test.sh", "x" * 101 + "\n")
        self.assert_bad("layout", "host/a.c", "int a;\nint b;", 2)
        self.assert_good("layout", "examples/README.md", "x" * 101 + "\n")
        self.assert_good("layout", "examples/catalog.csv", "a\tb \r\n")

    def test_header(self):
        self.assert_good("header", "loaders/thing.h", HEADER)
        self.assert_bad("header", "loaders/other.h", HEADER)
        self.assert_bad("header", "loaders/thing.h", HEADER.replace("#define CM_", "#define CM"))
        self.assert_bad("header", "loaders/thing.h", HEADER.split("\n", 1)[1])
        self.assert_bad("header", "loaders/thing.h", HEADER.replace(", in a sentence", "")
                        .replace("What this header is for", "Things"))

    def test_readme(self):
        self.assert_bad("readme", "host/a.c", "")
        self.assert_bad("readme", "kernels/cpu/a.c", "", **{"kernels/README.md": ""})
        self.assert_good("readme", "host/a.c", "", **{"host/README.md": ""})
        self.assert_good("readme", "tests/unit/a.c", "", **{"tests/README.md": ""})

    def test_foreign_names(self):
        for text in ("open('/root/x')", "see /home/me/x", '"/work/x"', "https://pypi.org/simple"):
            self.assert_bad("foreign-name", "host/a.c", text + "\n")
        self.assert_good("foreign-name", "host/a.c", "a/home/x build/work/x ~/.cache/work/x\n")

    def test_an_empty_tree_is_clean(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(lint.check(folder), [])


if __name__ == "__main__":
    unittest.main()
