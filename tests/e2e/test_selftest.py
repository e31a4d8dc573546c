"""`copymill selftest --device cpu`; tests/cuda_emulation has the same for GPUs."""

import re
import unittest

from harness import EXIT_OK, EXIT_USAGE, copymill


class SelftestTest(unittest.TestCase):
    def test_every_instruction_set_agrees_with_plain_c(self):
        for only in ("norm", "matmul", "golden"):
            result = copymill("selftest", "--device", "cpu", "--only", only)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertRegex(result.stdout, "instruction set: [a-z]+")
            self.assertIn(" 0 failed", result.stdout)
        self.assertRegex(result.stdout, "(?m)^ok +model +golden logits, int8 ")
        self.assertRegex(result.stdout, "(?m)^skipped +model +golden logits, fp8 .*--device cuda")

    def test_times_stand_beside_the_roofline(self):
        result = copymill("selftest", "--device", "cpu", "--only", "timing")
        self.assertEqual(result.status, EXIT_OK, result)
        limits = re.search(r"limits, measured now: memory ([\d.]+) GB/s, float32 ([\d.]+) Gflop/s",
                           result.stdout)
        self.assertIsNotNone(limits, result.stdout)
        # Of the products in float32: us, GB/s, Gflop/s, roofline us, reached.
        rows = re.findall(r"(?m)^time +timing exact +matmul, .*?(\d+) x (\d+) -> (\d+) +([\d.]+) "
                          r"+([\d.]+) +([\d.]+) +([\d.]+) +(\d+)%$", result.stdout)
        self.assertEqual(len(rows), 4, result.stdout)
        for row in rows:
            n_rows, n_in, n_out, taken, _, gflops, roofline, reached = map(float, row)
            flops = 2 * n_rows * n_in * n_out
            self.assertAlmostEqual(gflops, flops / taken / 1e3, delta=0.1 + gflops / 50)
            seconds = max(flops / (float(limits[2]) * 1e9),
                          4 * (n_in * n_out + n_rows * (n_in + n_out)) /
                          (float(limits[1]) * 1e9))
            self.assertAlmostEqual(roofline, 1e6 * seconds, delta=roofline / 10)
            self.assertAlmostEqual(reached, 100 * roofline / taken, delta=1 + reached / 50)

    def test_threads_stand_in_for_devices(self):
        result = copymill("selftest", "--device", "cpu", "--only", "link")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertRegex(result.stdout, "(?m)^ok +link +all-reduce, 2 threads ")
        self.assertRegex(result.stdout, "(?m)^skipped +link .*one device alone")

    def test_wrong_usage(self):
        for arguments, word in ((("--device", "tpu"), "tpu"), (("--only", "teapot"), "teapot"),
                                (("--shape", "1"), "shape")):
            result = copymill("selftest", *arguments)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main()
