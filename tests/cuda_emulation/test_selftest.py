"""`copymill selftest` passes on the emulated device, and fails where an op or a wrapper is broken.

    test_selftest.py BUILD      the folder of the plain emulated build
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from typing import NamedTuple

from harness import EXIT_FAILED, EXIT_OK, EXIT_USAGE, copymill
from mutate import KERNELS, Build

DEVICE_FOLDER = pathlib.Path(__file__).with_name("device")
BUILD = None  # set below


class Mistake(NamedTuple):
    header: str   # of the emulated device, or "": the kernel file is changed
    kernel: str   # the file that is compiled anew
    old: str
    new: str
    only: str     # the tests that are run
    reported: str


MISTAKES = (
    Mistake("", "norm.cu", "(plus + args.weight[i])", "(1.0f + args.weight[i] * plus)", "norm",
            "norm["),
    Mistake("", "rope.cu", "*a * cosines[i] - *b", "*a * cosines[i] + *b", "op bf16",
            "first text["),
    Mistake("", "attention_mma.cu", "at <= position", "at < position", "op bf16", "first text["),
    Mistake("ptx.h", "answers.cu", "emu::load_matrices(r, 4, true,",
            "emu::load_matrices(r, 4, false,", "wrapper", "register["),
    Mistake("ptx.h", "answers.cu", "valid ? global : nullptr", "global", "wrapper", "late["),
    Mistake("ptx.h", "answers.cu", "emu::MmaType::f16, d, a, b", "emu::MmaType::bf16, d, a, b",
            "wrapper", "d["),
    Mistake("", "device.h", "offset > 0; offset /= 2", "offset > 1; offset /= 2", "sums", "sum["),
)


def break_source(mistake, shadow):
    """A copy of what the mistake is in, with it."""
    if mistake.header:
        shutil.copytree(DEVICE_FOLDER, shadow / "device")
        path = shadow / "device" / mistake.header
        text = path.read_text()
    else:
        path = shadow / "kernels" / "cuda" / mistake.kernel
        path.parent.mkdir(parents=True)
        text = (KERNELS / mistake.kernel).read_text()
    assert mistake.old in text, f"{mistake.old} is not in {path.name} any more"
    path.write_text(text.replace(mistake.old, mistake.new))


class SelftestTest(unittest.TestCase):
    def test_the_device_passes(self):
        for only in ("wrapper", "matmul", "norm"):
            result = copymill("selftest", "--device", "cuda", "--only", only)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertIn(" 0 failed", result.stdout)
            self.assertIn("Emulated device 0", result.stdout)

    def test_each_device_is_tested(self):
        result = copymill("selftest", "--device", "cuda:0,1", "--only", "wrapper",
                          environment={"EMU_DEVICES": "2"})
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("cuda:1, Emulated device 1", result.stdout)

    def test_a_device_that_is_not_there(self):
        result = copymill("selftest", "--device", "cuda:7")
        self.assertEqual(result.status, EXIT_USAGE, result)

    def test_a_device_that_dies(self):
        result = copymill("selftest", "--device", "cuda", "--only", "norm",
                          environment={"EMU_FAULT": "device:0:20"})
        self.assertEqual(result.status, EXIT_FAILED, result)
        self.assertIn("CUDA device 0 failed", result.stdout)

    def test_mistakes_are_reported(self):
        build = Build(BUILD, tests=("copymill",))
        for mistake in MISTAKES:
            with self.subTest(mistake.new), tempfile.TemporaryDirectory() as folder:
                shadow = pathlib.Path(folder)
                break_source(mistake, shadow)
                kernel = "answers.cu" if mistake.kernel.endswith(".h") else mistake.kernel
                target, compiled = build.compile(KERNELS / kernel, shadow)
                self.assertEqual(compiled.returncode, 0, compiled.stderr)
                program = build.link("copymill", [target], shadow)
                result = subprocess.run([program, "selftest", "--device", "cuda", "--only",
                                         mistake.only], capture_output=True, text=True, check=False,
                                        env=os.environ)
                self.assertEqual(result.returncode, EXIT_FAILED, result)
                self.assertIn(mistake.reported, result.stdout)


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main()
