"""Whole jobs on the emulated device, through the command line."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import unittest
import unittest.mock

from harness import (EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, TESTS, CopymillTest,
                     binary, copymill, rows_of, shared_or_none)


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

    def assert_lost(self, result, out, lost, devices, requeued=True):
        """It wrote what an undisturbed run writes; message, ledger and metrics tell the loss."""
        self.assert_same(result, out)
        self.assertIn(f"{lost} of {devices} devices were put aside", result.stderr)
        figures = self.figures(out)
        self.assertEqual((figures["devices"], figures["devices_lost"]), (devices, lost))
        self.assertEqual(figures["rows_requeued"] > 0, requeued, figures)
        if (self.folder / "metrics").exists():
            metrics = (self.folder / "metrics").read_text()
            self.assertRegex(metrics, rf"copymill_devices_lost{{.*}} {lost}\n")
            self.assertRegex(metrics, rf"copymill_rows_requeued_total{{.*}} "
                                      rf"{figures['rows_requeued']}\n")

    def lose_all(self, out, fault, said, *more, **settings):
        """A job that loses its devices is interrupted, and the same command goes on."""
        result = self.on_device(out, *more, fault=fault, **settings)
        self.assertEqual(result.status, EXIT_INTERRUPTED, result)
        self.assertIn("no device is left: ", result.stderr)
        self.assertIn(said, result.stderr)
        self.assertIn("the same command continues from there", result.stderr)
        self.assertFalse((self.folder / out).exists())
        figures = self.figures(out)
        self.assertEqual((figures["outcome"], figures["devices_lost"]),
                         ("stopped", settings["devices"]))
        kept = int(re.search(r"stopped: (\d+) finished rows", result.stderr)[1])
        self.assert_same(self.on_device(out, *more, **settings), out)
        self.assertEqual(self.figures(out)["rows_reused"], kept)
        return kept


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

    def test_the_processor_writes_the_same_texts(self):
        texts = []
        for device in ("cpu", "cuda"):
            out = f"on-{device}.csv"
            result = self.on_device(out, "--temperature", 0, device=device)
            self.assertEqual(result.status, EXIT_OK, result)
            texts.append([row["text"] for row in rows_of(self.folder / out)])
        self.assertEqual(*texts)

    # With --batch 1 a device takes one item at a time, so that both devices have one. More than a
    # hundred launches belong to the start, which tries algorithms of products out.
    def test_a_device_that_dies_is_put_aside(self):
        result = self.on_device("dies.csv", "--batch", 1, "--metrics", self.folder / "metrics",
                                "--report", self.folder / "report.html", devices=2,
                                device="cuda:0,1", fault="device:1:200")
        self.assertIn("dies here", result.stderr)
        self.assertIn("CUDA device 1 failed", result.stderr)
        self.assert_lost(result, "dies.csv", 1, 2)
        report = (self.folder / "report.html").read_text()
        self.assertRegex(report, r"of these lost on the way</t[hd]>\s*<td[^>]*>1<")

    def test_a_kernel_that_never_ends_is_given_up(self):
        result = self.on_device("hangs.csv", "--batch", 1, *self.TIMEOUT, devices=2,
                                device="cuda:0,1", fault="kernel:0:150")
        self.assertIn("CUDA device 0 failed. running a step: it has not answered for",
                      result.stderr)
        self.assert_lost(result, "hangs.csv", 1, 2)

    def test_a_job_that_loses_all_devices_goes_on_later(self):
        self.lose_all("both.csv", "device:0:200,device:1:300", "CUDA device", "--batch", 1,
                      devices=2, device="cuda:0,1")
        self.assertEqual(self.lose_all("only.csv", "device:0:150", "CUDA device 0", devices=1), 0)

    def test_a_process_that_was_stopped_blames_no_device(self):
        arguments = self.arguments("stopped.csv", "--device", "cuda", "--device-timeout", 20)
        with subprocess.Popen([binary(), *map(str, arguments)], stderr=subprocess.PIPE,
                              text=True) as process:
            said = []
            while not said or not said[-1].startswith("model: "):
                said.append(process.stderr.readline())
                self.assertTrue(said[-1], said)
            process.send_signal(signal.SIGSTOP)
            time.sleep(21)
            process.send_signal(signal.SIGCONT)
            self.assertEqual(process.wait(self.FINISH_S), EXIT_OK, process.stderr.read())
        self.assertEqual(self.bytes_of("stopped.csv"), self.reference)

    def test_a_device_without_memory_is_put_aside_at_the_start(self):
        result = self.on_device("small.csv", devices=2, device="cuda:0,1", fault="malloc:2")
        self.assertIn("cuda:0 put aside: ", result.stderr)
        self.assert_lost(result, "small.csv", 1, 2, requeued=False)

    def test_no_allocation_is_taken_for_granted(self):
        refused = 0
        for nth in (1, 2, 5, 12, 30, 60):
            result = self.on_device(f"malloc-{nth}.csv", fault=f"malloc:{nth}")
            self.assertGreaterEqual(result.status, 0, f"allocation {nth}: {result}")
            if result.status != EXIT_OK:
                refused += 1
                self.assertIn("memory", result.stderr, f"allocation {nth}")
        self.assertGreater(refused, 2)

    def test_help_tells_the_options_of_devices(self):
        for command in ("run", "batch"):
            help_text = copymill(command, "--help").stdout
            for option in ("--device NAME", "--tp N", "--device-timeout S"):
                self.assertIn(option, help_text)

    def test_a_device_that_is_not_there(self):
        result = self.on_device("absent.csv", device="cuda:3")
        self.assertEqual(result.status, EXIT_USAGE, result)


class GroupTest(DeviceTest):
    """Devices that compute one copy of the model together."""

    REFERENCE = {"devices": 2, "device": "cuda:0,1", "more": ("--tp", 2)}

    # With --batch 1 both groups have an item when one is lost.
    def lose_a_group(self, name, fault, *more, **figures):
        result = self.on_device(name + ".csv", "--tp", 2, "--batch", 1, "--metrics",
                                self.folder / "metrics", *more, devices=4,
                                device="cuda:0,1,2,3", fault=fault)
        self.assert_lost(result, name + ".csv", 2, 4, **figures)
        return result


class TogetherTest(GroupTest):
    def test_any_batch_schedule_and_number_of_groups(self):
        for batch, seed, device in ((1, 1, "cuda:0,1"), (7, 2, "cuda:1,3"),
                                    (64, 3, "cuda:0,1,2,3")):
            out = f"batch-{batch}.csv"
            result = self.on_device(out, "--tp", 2, "--batch", batch, devices=4, device=device,
                                    seed=seed)
            self.assert_same(result, out)

    def test_four_devices_round_differently_but_write_what_they_always_do(self):
        one, other = "one.csv", "other.csv"
        for out, batch, seed in ((one, 64, 0), (other, 2, 4)):
            result = self.on_device(out, "--tp", 4, "--batch", batch, devices=4,
                                    device="cuda:0,1,2,3", seed=seed)
            self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(self.bytes_of(one), self.bytes_of(other))
        keys = {row["row_key"] for row in rows_of(self.folder / one)}
        self.on_device("two.csv", "--tp", 2, devices=2, device="cuda:0,1")
        self.assertFalse(keys & {row["row_key"] for row in rows_of(self.folder / "two.csv")})

    def test_a_device_that_dies_takes_its_group_along(self):
        result = self.lose_a_group("dies", "device:1:200")
        self.assertIn("dies here", result.stderr)

    def test_a_rank_that_hangs_is_given_up(self):
        self.lose_a_group("hangs", "hang:2:25", *self.TIMEOUT)

    def test_what_cannot_be_shared_is_refused(self):
        for devices, tp, said in (("cuda:0,1,2", 3, "--tp 2, 4"), ("cuda:0,1,2", 2, "groups of 2"),
                                  ("cuda:0", 2, "groups of 2")):
            result = self.on_device("refused.csv", "--tp", tp, devices=4, device=devices)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(said, result.stderr)


class TogetherLongTest(GroupTest):
    def test_a_draw_from_all_tokens_and_beams(self):
        """Candidates do not settle these; the logits are gathered."""
        for number, more in enumerate((("--top-k", 0, "--top-p", 1), ("--beams", 3),
                                       ("--top-k", 0, "--top-p", 0.95, "--temperature", 1.5))):
            texts = []
            for batch in (3, 64):
                out = f"draw-{number}-{batch}.csv"
                result = self.on_device(out, "--tp", 2, "--batch", batch, *more, devices=2,
                                        device="cuda:0,1")
                self.assertEqual(result.status, EXIT_OK, result)
                texts.append(self.bytes_of(out))
            self.assertEqual(*texts)

    def test_a_kernel_that_never_ends_is_given_up(self):
        result = self.lose_a_group("endless", "kernel:3:250", *self.TIMEOUT)
        self.assertIn("it has not answered for", result.stderr)

    def test_a_rank_without_memory_takes_its_group_along(self):
        result = self.lose_a_group("small", "malloc:2", requeued=False)
        self.assertIn("cuda:0,1 put aside: ", result.stderr)
        self.assertIn("memory", result.stderr)

    def test_without_another_group_the_job_goes_on_later(self):
        self.lose_all("hangs.csv", "hang:1:60", "it has not answered for 30 s", "--tp", 2,
                      *self.TIMEOUT, devices=2, device="cuda:0,1")
        self.lose_all("both.csv", "device:0:200,device:3:200", "CUDA device", "--tp", 2,
                      "--batch", 1, devices=4, device="cuda:0,1,2,3")

    def test_no_allocation_is_taken_for_granted(self):
        refused = 0
        for nth in (1, 5, 12, 30, 60, 90):
            result = self.on_device(f"malloc-{nth}.csv", "--tp", 2, devices=2, device="cuda:0,1",
                                    fault=f"malloc:{nth}")
            self.assertGreaterEqual(result.status, 0, f"allocation {nth}: {result}")
            if result.status != EXIT_OK:
                refused += 1
                self.assertIn("memory", result.stderr, f"allocation {nth}")
        self.assertGreater(refused, 2)


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
