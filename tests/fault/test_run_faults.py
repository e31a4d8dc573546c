"""`copymill run` when it is killed, interrupted, starved of memory or let down by the disk: nothing
is lost, nothing is doubled, and the next run ends with the bytes of an undisturbed one.

The program under test has a fake engine (tests/support/fake_engine.c), so a job takes milliseconds.
"""

import csv
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

PROGRAM = os.environ["COPYMILL_FAULT"]
ITEMS = 30
SEGMENTS = ["students", "families", "gifts", "seniors"]


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def items():
    rows = [[f"sku-{i}", f"Mug number {i}", "Hearth", "stoneware", f"{i % 7}.50"]
            for i in range(ITEMS)]
    rows.insert(7, rows[3])  # the same item twice
    rows.insert(9, ["sku-3", "Another mug under the same id", "Hearth", "glass", "3.00"])
    rows.insert(12, ["sku-long", "x" * 200, "Hearth " * 900, "clay " * 900, "1.00"])
    return rows


class Job(unittest.TestCase):
    def setUp(self):
        self.folder_keeper = tempfile.TemporaryDirectory(prefix="copymill-fault-")
        self.folder = pathlib.Path(self.folder_keeper.name)
        write_csv(self.path("items.csv"), ["sku", "title", "brand", "material", "price"], items())
        write_csv(self.path("segments.csv"), ["segment_id", "audience"],
                  [[name, f"people like {name}"] for name in SEGMENTS])
        self.path("model.gguf").write_bytes(b"fake")

    def tearDown(self):
        self.folder_keeper.cleanup()

    def path(self, name):
        return self.folder / name

    def command(self, *more, out="copy.csv", catalog="items.csv"):
        return [PROGRAM, "run", "--catalog", str(self.path(catalog)), "--segments",
                str(self.path("segments.csv")), "--model", str(self.path("model.gguf")),
                "--out", str(self.path(out)), "--progress", "none", "--no-samples",
                "--max-length", "1200", "--min-score", "0.6", *more]

    def environment(self, faults):
        return {**os.environ, **{name: str(value) for name, value in faults.items()}}

    def run_job(self, *more, out="copy.csv", catalog="items.csv", **faults):
        return subprocess.run(self.command(*more, out=out, catalog=catalog), capture_output=True,
                              text=True, check=False, timeout=60, env=self.environment(faults))

    def undisturbed(self):
        result = self.run_job(out="undisturbed.csv")
        self.assertEqual(result.returncode, 3, result.stderr)
        return self.path("undisturbed.csv").read_bytes()

    def rows(self, name="copy.csv"):
        with open(self.path(name), newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def forget(self):
        for file in self.folder.glob("copy.csv*"):
            file.unlink()

    def stored(self):
        """Rows of the ledger, read as another program would."""
        if not self.path("copy.csv.job").exists():
            return 0
        database = sqlite3.connect(self.path("copy.csv.job"))
        try:
            return database.execute("SELECT count(*) FROM copy").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # killed before there was a table
        finally:
            database.close()


class Whole(Job):
    def test_every_row_is_there_in_order_with_its_fate(self):
        self.undisturbed()
        rows = self.rows("undisturbed.csv")
        expected = [(item[0], segment) for item in items() for segment in SEGMENTS]
        self.assertEqual([(row["item_id"], row["segment_id"]) for row in rows], expected)
        self.assertEqual(len({row["row_key"] for row in rows}), len(rows))
        fates = {status: [row for row in rows if row["status"] == status]
                 for status in ("ok", "flagged", "failed")}
        self.assertEqual(sum(map(len, fates.values())), len(rows))
        for row in fates["failed"]:
            self.assertEqual(row["text"], "")
            self.assertIn("items.csv:", row["error"])
        self.assertTrue(any("sku-long" in row["error"] for row in fates["failed"]))
        self.assertTrue(any("wrote nothing" in row["error"] for row in fates["failed"]))
        self.assertTrue(any(row["attempt"] == "2" for row in rows))
        for row in fates["ok"]:
            self.assertEqual(row["error"], "")
            self.assertTrue(row["text"])

    def test_order_of_the_catalog_changes_no_text(self):
        self.undisturbed()
        shuffled = items()
        random.Random(5).shuffle(shuffled)
        write_csv(self.path("shuffled.csv"), ["sku", "title", "brand", "material", "price"],
                  shuffled)
        self.run_job(out="copy.csv", catalog="shuffled.csv")
        before = {row["row_key"]: row["text"] for row in self.rows("undisturbed.csv")}
        after = {row["row_key"]: row["text"] for row in self.rows()}
        self.assertEqual(before, after)

    def test_reused_rows_of_another_order_count_their_new_neighbours(self):
        reordered = list(reversed(items()))
        write_csv(self.path("reordered.csv"), ["sku", "title", "brand", "material", "price"],
                  reordered)
        self.run_job(out="fresh.csv", catalog="reordered.csv")
        self.run_job()
        self.run_job("--overwrite", catalog="reordered.csv")
        fresh = [{**row, "error": ""} for row in self.rows("fresh.csv")]
        reused = [{**row, "error": ""} for row in self.rows()]
        self.assertEqual(fresh, reused)

    def test_only_gives_the_rows_of_the_whole_job(self):
        self.undisturbed()
        result = self.run_job("--only", "sku-3:gifts,sku-9")
        self.assertIn(result.returncode, (0, 3), result.stderr)
        wanted = [row for row in self.rows("undisturbed.csv") if row["item_id"] == "sku-9" or
                  (row["item_id"] == "sku-3" and row["segment_id"] == "gifts")]
        self.assertEqual(len(wanted), 7)
        self.assertEqual(self.rows(), wanted)
        result = self.run_job("--only", "sku-3,sku-none", out="other.csv")
        self.assertEqual(result.returncode, 2)
        self.assertIn('"sku-none"', result.stderr)

    def test_limit_gives_the_first_items(self):
        self.undisturbed()
        self.run_job("--limit", "5")
        self.assertEqual(self.rows(), self.rows("undisturbed.csv")[:5 * len(SEGMENTS)])

    def test_jsonl_holds_the_same(self):
        self.undisturbed()
        self.run_job(out="copy.jsonl")
        lines = self.path("copy.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [{name: str(value) for name, value in json.loads(line).items()} for line in lines]
        self.assertEqual(rows, self.rows("undisturbed.csv"))

    def test_an_empty_catalog_is_wrong_input(self):
        write_csv(self.path("items.csv"), ["sku", "title"], [])
        result = self.run_job()
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertFalse(self.path("copy.csv").exists())


class Resume(Job):
    def test_the_same_command_again_reuses_everything(self):
        expected = self.undisturbed()
        result = self.run_job(out="undisturbed.csv")
        self.assertIn("are used again", result.stderr)
        self.assertEqual(self.path("undisturbed.csv").read_bytes(), expected)

    def test_another_model_makes_new_rows_and_says_so(self):
        self.undisturbed()
        result = self.run_job(out="undisturbed.csv", FAKE_MODEL="other")
        self.assertIn("rows of other settings", result.stderr)
        self.assertNotIn("are used again", result.stderr)

    def test_the_gate_decides_what_can_be_reused(self):
        for settings in (("--min-score", "0.99"), ("--attempts", "1"), ("--min-score", "0"),
                         ("--attempts", "3", "--min-score", "0.9")):
            self.forget()
            self.run_job()
            self.run_job(*settings)
            reused = self.rows()
            self.run_job(*settings, "--overwrite", "--job", str(self.path("fresh.job")))
            self.assertEqual(reused, self.rows(), settings)
            self.path("fresh.job").unlink()

    def test_an_output_of_somebody_else_stays(self):
        self.path("copy.csv").write_text("mine\n", encoding="utf-8")
        result = self.run_job()
        self.assertEqual(result.returncode, 2)
        self.assertIn("--overwrite", result.stderr)
        self.assertEqual(self.path("copy.csv").read_text(encoding="utf-8"), "mine\n")
        self.assertFalse(self.path("copy.csv.job").exists())

    def test_a_second_process_is_told_to_wait(self):
        with subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True,
                              env=self.environment({"FAKE_STEP_US": 300000})) as first:
            while self.stored() == 0:
                time.sleep(0.01)
            second = self.run_job()
            self.assertEqual(second.returncode, 2, second.stderr)
            self.assertIn("another copymill process", second.stderr)
            first.kill()
            first.communicate()
        self.assertEqual(self.run_job().returncode, 3)

    def test_killed_at_random_moments(self):
        expected = self.undisturbed()
        moments = random.Random(11)
        kills = 0
        for _ in range(15):
            self.forget()
            for _ in range(2):
                with subprocess.Popen(self.command(), stderr=subprocess.DEVNULL,
                                      env=self.environment({"FAKE_STEP_US": 3000})) as process:
                    time.sleep(moments.uniform(0.005, 0.15))
                    process.send_signal(signal.SIGKILL)
                    kills += process.wait() == -signal.SIGKILL
            result = self.run_job()
            self.assertEqual(result.returncode, 3, result.stderr)
            self.assertEqual(self.path("copy.csv").read_bytes(), expected)
        self.assertGreater(kills, 15)

    def test_interrupted_once_and_twice(self):
        expected = self.undisturbed()
        for signals in (1, 2):
            self.forget()
            with subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True,
                                  env=self.environment({"FAKE_STEP_US": 5000})) as process:
                while self.stored() == 0:
                    time.sleep(0.005)
                for _ in range(signals):
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.002)
                message = process.communicate(timeout=20)[1]
                self.assertEqual(process.returncode, 4, message)
            if signals == 1:
                self.assertIn("the same command continues", message)
                self.assertIn(f"{self.stored()} finished rows", message)
            self.assertFalse(self.path("copy.csv").exists())
            self.assertEqual(self.run_job().returncode, 3)
            self.assertEqual(self.path("copy.csv").read_bytes(), expected)


class Faults(Job):
    def fails_cleanly(self, expected, **fault):
        """One run with the fault, then one without. Returns whether the fault had any effect."""
        self.forget()
        result = self.run_job(**fault)
        self.assertIn(result.returncode, (0, 1, 2, 3, 4), (fault, result.stderr))
        disturbed = result.returncode != 3
        if disturbed:
            self.assertIn("error: ", result.stderr, fault)
            self.assertFalse(self.path("copy.csv").exists() and result.returncode != 4, fault)
        again = self.run_job()
        self.assertEqual(again.returncode, 3, (fault, again.stderr))
        self.assertEqual(self.path("copy.csv").read_bytes(), expected, fault)
        self.assertEqual(list(self.folder.glob("*-part")), [], fault)
        return disturbed

    def test_the_nth_write_or_sync_fails(self):
        expected = self.undisturbed()
        disturbed = [self.fails_cleanly(expected, FAULT_IO=n) for n in range(1, 70)]
        self.assertGreater(sum(disturbed), 20)

    def test_the_nth_allocation_fails(self):
        expected = self.undisturbed()
        points = [*range(1, 40), *range(40, 6000, 211)]
        disturbed = [self.fails_cleanly(expected, FAULT_ALLOC=n) for n in points]
        self.assertGreater(sum(disturbed), 20)

    def test_the_device_fails(self):
        expected = self.undisturbed()
        self.assertTrue(self.fails_cleanly(expected, FAKE_FAIL_STEP=9))

    def test_a_folder_that_cannot_be_written(self):
        result = self.run_job(out="nowhere/copy.csv")
        self.assertEqual(result.returncode, 2)
        self.assertIn("nowhere", result.stderr)


if __name__ == "__main__":
    unittest.main()
