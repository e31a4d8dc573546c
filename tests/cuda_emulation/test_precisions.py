"""Whole jobs on the emulated device in the precisions beside exact, through the command line.

    test_precisions.py WRITE_TINY_GGUF [NAME ...]

The argument is the program that writes checkpoints as GGUF files: weights that are integers.
"""

import pathlib
import subprocess
import sys
import unittest

from harness import EXIT_OK, EXIT_USAGE, TESTS
from test_jobs import DeviceTest

WRITER = None


class PrecisionTest(DeviceTest):
    """Rows do not see each other: what two texts at a time on one device say, any others say."""

    SEGMENTS = 2
    PRECISION = None
    GGUF_TYPE = None  # the model is a folder of float32 tensors
    BATCHES = ((1, "cuda"), (7, "cuda:0,1,2,3"), (64, "cuda:1"))

    @classmethod
    def setUpClass(cls):
        if cls.PRECISION is None:
            raise unittest.SkipTest("has no precision of its own")
        super().setUpClass()
        cls.OPTIONS += ("--precision", cls.PRECISION)
        cls.REFERENCE = {"more": ("--batch", "2")}
        if cls.GGUF_TYPE is not None:
            cls.model = pathlib.Path(cls.class_folder.name, "tiny.gguf")
            subprocess.run([WRITER, TESTS / "golden" / "tiny" / "llama", cls.GGUF_TYPE, cls.model],
                           check=True)

    def test_any_batch_and_number_of_devices(self):
        for seed, (batch, device) in enumerate(self.BATCHES):
            out = f"batch-{batch}.csv"
            result = self.on_device(out, "--batch", batch, devices=4, device=device, seed=seed)
            self.assert_same(result, out)
            self.assertRegex(result.stderr, f"cuda-sm90-blas[0-9]+-{self.PRECISION},")


class Fp16Test(PrecisionTest):
    PRECISION = "fp16"


class Int8Test(PrecisionTest):
    PRECISION = "int8"
    GGUF_TYPE = "q8_0"


class Int4Test(PrecisionTest):
    PRECISION = "int4"
    GGUF_TYPE = "q4_0"


class Fp8Test(PrecisionTest):
    PRECISION = "fp8"

    def test_a_device_without_it_is_refused_with_a_remedy(self):
        for capability in ("8.0", "8.6"):
            for device in ("cuda", "cuda:0,1"):
                result = self.on_device("old.csv", devices=2, device=device,
                                        capability=capability)
                self.assertEqual(result.status, EXIT_USAGE, result)
                self.assertIn(f"compute capability {capability}; --precision fp8 needs 8.9",
                              result.stderr)
                self.assertIn("Use int8, int4 or bf16", result.stderr)
                self.assertFalse((self.folder / "old.csv").exists())
        for remedy in ("int8", "int4", "bf16"):
            result = self.on_device(remedy + ".csv", "--precision", remedy, capability="8.6")
            self.assertEqual(result.status, EXIT_OK, result)
        result = self.on_device("newer.csv", capability="8.9")
        self.assertEqual(result.status, EXIT_OK, result)

    def test_a_device_too_old_for_any_is_refused_with_a_remedy(self):
        result = self.on_device("old.csv", "--precision", "int8", capability="7.5")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("compute capability 7.5; copymill needs 8.0", result.stderr)
        self.assertIn("Use --device cpu", result.stderr)


if __name__ == "__main__":
    WRITER = sys.argv.pop(1)
    unittest.main()
