"""`copymill selftest --device cpu`; tests/cuda_emulation has the same for GPUs."""

import unittest

from harness import EXIT_OK, EXIT_USAGE, copymill


class SelftestTest(unittest.TestCase):
    def test_every_instruction_set_agrees_with_plain_c(self):
        for only in ("norm", "matmul", "golden"):
            result = copymill("selftest", "--device", "cpu", "--only", only)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertRegex(result.stdout, "instruction set: [a-z]+")
            self.assertIn(" 0 failed", result.stdout)

    def test_wrong_usage(self):
        for arguments, word in ((("--device", "tpu"), "tpu"), (("--only", "teapot"), "teapot"),
                                (("--shape", "1"), "shape")):
            result = copymill("selftest", *arguments)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main()
