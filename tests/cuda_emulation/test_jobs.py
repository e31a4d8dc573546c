"""Whole jobs on the emulated device, through the command line."""

import json
import os
import sqlite3
import unittest
import unittest.mock

from harness import (EXIT_FAILED, EXIT_OK, EXIT_USAGE, TESTS, CopymillTest, copymill,
                     shared_or_none)


class DeviceTest(CopymillTest):
    """A small job on emulated devices, and what one undisturbed run of it wrote."""

    ITEMS = 2
    SEGMENTS = 3
    OPTIONS = ("--max-tokens", "6", "--temperature", "0.8", "--seed", "7", "--progress", "none",
               "--precision", "exact")
    REFERENCE = {}  # how the reference is run: arguments of on_device
    TIMEOUT = ("--device-timeout", 30)  # more than a step takes on a busy machine

    def on_device(self, out, *more, devices=1, device="cuda", **settings):
        """Calls a job on `device` of a machine with so many; settings are those of the README."""
        values = {"EMU_DEVICES": str(devices),
                  **{"EMU_" + name.upper(): str(value) for name, value in settings.items()}}
        with unittest.mock.patch.dict(os.environ, values):
            return self.call_job(out, "--device", device, *more)

    def setUp(self):
        super().setUp()
        if not hasattr(type(self), "reference"):
            result = self.on_device("reference.csv", *self.REFERENCE.get("more", ()),
                                    devices=self.REFERENCE.get("devices", 1),
                                    device=self.REFERENCE.get("device", "cuda"))
            self.assertEqual(result.status, EXIT_OK, result)
            type(self).reference = self.bytes_of("reference.csv")

    def assert_same(self, result, out):
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(self.bytes_of(out), self.reference, out)

    def figures(self, out):
        """Of the last run that the ledger of `out` tells of."""
        with sqlite3.connect(self.folder / (out + ".job")) as ledger:
            rows = ledger.execute("SELECT figures FROM run ORDER BY id DESC LIMIT 1").fetchall()
        return json.loads(rows[0][0])

    def assert_lost(self, result, out, lost, devices):
        """It wrote what an undisturbed run writes, and says how many devices it lost."""
        self.assert_same(result, out)
        self.assertEqual(self.figures(out)["devices_lost"], lost)
        self.assertIn(f"{lost} of {devices} devices were put aside", result.stderr)


class JobTest(DeviceTest):
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


class TogetherTest(DeviceTest):
    """Devices that compute one copy of the model together."""

    REFERENCE = {"devices": 2, "device": "cuda:0,1", "more": ("--tp", 2)}

    def test_any_batch_schedule_and_number_of_groups(self):
        for batch, seed, device in ((1, 1, "cuda:0,1"), (7, 2, "cuda:1,3"),
                                    (64, 3, "cuda:0,1,2,3")):
            out = f"batch-{batch}.csv"
            result = self.on_device(out, "--tp", 2, "--batch", batch, devices=4, device=device,
                                    seed=seed)
            self.assert_same(result, out)

    def lose_a_group(self, name, fault, *more):
        result = self.on_device(name + ".csv", "--tp", 2, "--batch", 2, *more, devices=4,
                                device="cuda:0,1,2,3", fault=fault)
        self.assert_lost(result, name + ".csv", 2, 4)
        return result

    def test_a_device_that_dies_takes_its_group_along(self):
        result = self.lose_a_group("dies", "device:1:200")
        self.assertIn("dies here", result.stderr)

    def test_a_rank_that_hangs_is_given_up(self):
        self.lose_a_group("hangs", "hang:2:25", *self.TIMEOUT)

    def test_without_another_group_the_job_goes_on_later(self):
        result = self.on_device("later.csv", "--tp", 2, *self.TIMEOUT, devices=2,
                                device="cuda:0,1", fault="hang:1:60")
        self.assertEqual(result.status, EXIT_FAILED, result)
        self.assertIn("has not answered for 30 s", result.stderr)
        self.assert_same(self.on_device("later.csv", "--tp", 2, devices=2, device="cuda:0,1"),
                         "later.csv")

    def test_what_cannot_be_shared_is_refused(self):
        for devices, tp, said in (("cuda:0,1,2", 3, "--tp 2, 4"), ("cuda:0,1,2", 2, "groups of 2"),
                                  ("cuda:0", 2, "groups of 2")):
            result = self.on_device("refused.csv", "--tp", tp, devices=4, device=devices)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(said, result.stderr)


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
