"""`copymill selftest` passes on the emulated device, and fails where an op or a wrapper is broken.

    test_selftest.py BUILD      the folder of the plain emulated build
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from typing import NamedTuple

from harness import EXIT_FAILED, EXIT_OK, EXIT_USAGE, TESTS, copymill
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
    devices: int = 1


MISTAKES = (
    Mistake("", "norm.cu", "(plus + weight.x)", "(1.0f + weight.x * plus)", "norm",
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
    Mistake("", "attention_split.h", "(codes & 0x007f007f) << 7", "(codes & 0x003f003f) << 7",
            "wrapper", "value["),
    Mistake("", "narrow.cu", "row_scales[blockIdx.x]", "row_scales[0]", "op fp8", "y["),
    Mistake("", "matmul_integer.cu", "(word & 0x00800080) | EIGHTS", "EIGHTS", "block types", "y["),
    Mistake("", "rope.cu", "(127 - exponent) << 23", "(126 - exponent) << 23", "op fp8",
            "first text["),
    Mistake("", "sum_parts.cu", "sum += parts", "sum = parts", "link", "elements of sums", 3),
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
        for only in ("wrapper", "op fp8", "norm", "logits, fp16"):
            result = copymill("selftest", "--device", "cuda", "--only", only)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertIn(" 0 failed", result.stdout)
            self.assertIn("Emulated device 0", result.stdout)

    def test_each_device_is_tested(self):
        result = copymill("selftest", "--device", "cuda:0,1", "--only", "wrapper",
                          environment={"EMU_DEVICES": "2"})
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("cuda:1, Emulated device 1", result.stdout)

    def test_what_a_device_lacks_is_skipped_with_the_reason(self):
        result = copymill("selftest", "--device", "cuda", "--only", "op fp8",
                          environment={"EMU_CAPABILITY": "8.0"})
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertRegex(result.stdout, r"(?m)^skipped +op fp8 .*needs 8\.9")

    def test_times_stand_beside_the_roofline(self):
        result = copymill("selftest", "--device", "cuda", "--only", "timing")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("AN EMULATED DEVICE", result.stdout)
        for precision in ("exact", "bf16", "fp16", "int8", "int4", "fp8"):
            for op in ("matmul, gate + up", "matmul, down"):
                rows = [line for line in result.stdout.splitlines()
                        if line.startswith("time ") and f"timing {precision} " in line
                        and op in line]
                self.assertEqual(len(rows), 2, result.stdout)  # decode and prefill
        # us, GB/s, Gflop/s, roofline us, reached, designed
        row = re.search(r"(?m)^time +timing exact +attention +decode, .*? +([\d.]+) +([\d.]+) "
                        r"+([\d.]+) +([\d.]+) +(\d+)% +(\d+)%$", result.stdout)
        self.assertIsNotNone(row, result.stdout)
        taken, roofline, reached = (float(row[i]) for i in (1, 4, 5))
        self.assertAlmostEqual(reached, 100 * roofline / taken, delta=1 + reached / 100)

    def test_links_between_devices(self):
        result = copymill("selftest", "--device", "cuda:0,1,2", "--only", "link",
                          environment={"EMU_DEVICES": "3"})
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertRegex(result.stdout, r"(?m)^ok +link +all-reduce, 3 devices ")
        for pair in ("cuda:0, cuda:1", "cuda:0, cuda:2", "cuda:1, cuda:2"):
            self.assertRegex(result.stdout,
                             rf"(?m)^ok +link +{pair} .*GB/s there.*by way of the host")
        result = copymill("selftest", "--device", "cuda", "--only", "link")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertRegex(result.stdout, "(?m)^skipped +link .*one device alone")

    def test_bench_sets_what_was_planned_beside_it(self):
        workload = ("bench", "--device", "cuda", "--model", TESTS / "golden" / "tiny" / "llama",
                    "--batch", 4, "--prompt-tokens", 20, "--output-tokens", 3, "--repeat", 1)
        result = copymill(*workload)
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertRegex(result.stdout, r"(?m)^decode( +[\d.]+){3}( +\d+%){2}$")
        result = copymill(*workload, "--json", "--precision", "int8")
        self.assertEqual(result.status, EXIT_OK, result)
        plan = json.loads(result.stdout)["plan"]
        for phase in (plan["prefill"], plan["decode"]):
            self.assertGreater(phase["measured_s"], 0)
            self.assertLess(phase["roofline_s"], phase["designed_s"])

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
                target, compiled = build.compile(KERNELS / kernel, shadow, [])
                self.assertEqual(compiled.returncode, 0, compiled.stderr)
                program = build.link("copymill", [target], shadow)
                devices = "cuda:" + ",".join(str(i) for i in range(mistake.devices))
                result = subprocess.run([program, "selftest", "--device", devices, "--only",
                                         mistake.only], capture_output=True, text=True, check=False,
                                        env={**os.environ, "EMU_DEVICES": str(mistake.devices)})
                self.assertEqual(result.returncode, EXIT_FAILED, result)
                self.assertIn(mistake.reported, result.stdout)


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main()
