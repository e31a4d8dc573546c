"""Whole jobs on the emulated device, through the command line."""

import os
import unittest
import unittest.mock

from harness import EXIT_OK, EXIT_USAGE, TESTS, CopymillTest, copymill, shared_or_none


class JobTest(CopymillTest):
    ITEMS = 2
    SEGMENTS = 3
    OPTIONS = ("--max-tokens", "6", "--temperature", "0.8", "--seed", "7", "--progress", "none",
               "--precision", "exact")

    reference = None  # the bytes of one run on one device in plain order, made once

    def on_device(self, out, *more, devices=1, device="cuda", **settings):
        """Calls a job on `device` of a machine with so many; settings are those of the README."""
        values = {"EMU_DEVICES": str(devices),
                  **{"EMU_" + name.upper(): str(value) for name, value in settings.items()}}
        with unittest.mock.patch.dict(os.environ, values):
            return self.call_job(out, "--device", device, *more)

    def setUp(self):
        super().setUp()
        if JobTest.reference is None:
            result = self.on_device("reference.csv")
            self.assertEqual(result.status, EXIT_OK, result)
            JobTest.reference = self.bytes_of("reference.csv")

    def assert_same(self, result, out):
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(self.bytes_of(out), self.reference, out)

    def test_any_schedule(self):
        for seed in (1, 2):
            out = f"seed-{seed}.csv"
            self.assert_same(self.on_device(out, seed=seed), out)

    def test_any_batch_and_size_of_device(self):
        for batch, sm_count in ((1, 1), (7, 132)):
            out = f"batch-{batch}.csv"
            self.assert_same(self.on_device(out, "--batch", batch, sm_count=sm_count), out)

    def test_any_number_of_devices(self):
        for device in ("cuda:1", "cuda:0,1", "cuda:0,1,2,3"):
            out = f"{device[-1]}.csv"
            self.assert_same(self.on_device(out, devices=4, device=device), out)

    def test_a_device_that_dies_is_put_aside(self):
        result = self.on_device("dies.csv", devices=2, device="cuda:0,1", fault="device:1:150")
        self.assertIn("dies here", result.stderr)
        self.assert_same(result, "dies.csv")

    def test_no_allocation_is_taken_for_granted(self):
        refused = 0
        for nth in (1, 2, 5, 12, 30, 60):
            result = self.on_device(f"malloc-{nth}.csv", fault=f"malloc:{nth}")
            self.assertGreaterEqual(result.status, 0, f"allocation {nth}: {result}")
            if result.status != EXIT_OK:
                refused += 1
                self.assertIn("memory", result.stderr, f"allocation {nth}")
        self.assertGreater(refused, 2)

    def test_a_device_that_is_not_there(self):
        result = self.on_device("absent.csv", device="cuda:3")
        self.assertEqual(result.status, EXIT_USAGE, result)


class GoldenTest(unittest.TestCase):
    """Logits and greedy texts of every decoder family that there is a checkpoint of."""

    FAMILIES = ("llama", "qwen2", "llama3_rope", "mistral", "qwen3", "gemma3", "gpt2")

    def test_families(self):
        for seed, family in enumerate(self.FAMILIES):
            own = TESTS / "golden" / "tiny" / family
            model = own if own.is_dir() else shared_or_none("golden", "tiny", family)
            if not model:
                print(f"no checkpoint of {family} here")
                continue
            result = copymill("model", "check", model, "--expected", model / "expected.json",
                              "--precision", "exact", "--device", "cuda",
                              environment={"EMU_SEED": str(seed)})
            self.assertEqual(result.status, EXIT_OK, f"{family}: {result}")


if __name__ == "__main__":
    unittest.main()
