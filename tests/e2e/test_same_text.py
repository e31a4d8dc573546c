"""Same row, same text: whatever the batch, the threads, the neighbours and the order."""

import csv
import os
import random
import unittest
import unittest.mock

from harness import (EXIT_OK, EXIT_USAGE, ROW_COLUMNS, CopymillTest, by_key, is_tiny, rows_of,
                     write_csv)


class SameTextTest(CopymillTest):
    ITEMS = 10
    SEGMENTS = 6

    reference = None  # the bytes of the undisturbed run, made once

    def setUp(self):
        super().setUp()
        if SameTextTest.reference is None:
            self.run_job("reference.csv")
            SameTextTest.reference = self.bytes_of("reference.csv")
        (self.folder / "reference.csv").write_bytes(self.reference)

    def test_any_batch(self):
        for batch in (self.smallest_batch, 7, 64, 1024):
            self.run_job(f"batch-{batch}.csv", "--batch", batch)
            self.assertEqual(self.bytes_of(f"batch-{batch}.csv"), self.reference, f"batch {batch}")

    def test_any_number_of_threads(self):
        for threads in (1, 2):
            self.run_job(f"threads-{threads}.csv", "--threads", threads)
            self.assertEqual(self.bytes_of(f"threads-{threads}.csv"), self.reference)

    def test_threads_in_groups_with_texts_of_their_own(self):
        for threads, groups in ((4, "4 threads in 4 groups"), (1, "1 thread,")):
            out = f"groups-{threads}.csv"
            result = self.call_job(out, "--threads", threads, "--batch", 1024)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertIn(groups, result.stderr)
            self.assertEqual(self.bytes_of(out), self.reference)

    def test_a_copy_of_the_model_on_each_node(self):
        """On a machine of hwloc's imagination, with one replica for each of its NUMA nodes."""
        with unittest.mock.patch.dict(os.environ, {"HWLOC_SYNTHETIC": "numa:2 core:1 pu:2"}):
            result = self.call_job("nodes.csv")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("2 threads in 2 groups", result.stderr)
        self.assertEqual(self.bytes_of("nodes.csv"), self.reference)

    def test_a_row_alone(self):
        rows = rows_of(self.folder / "reference.csv")
        table = by_key(rows, ROW_COLUMNS)
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            key = row["item_id"], row["segment_id"]
            alone = self.run_job(f"only-{key[0]}.csv", "--only", ":".join(key))
            self.assertEqual(by_key(alone, ROW_COLUMNS), {key: table[key]})

    def test_some_items_alone(self):
        rows = rows_of(self.folder / "reference.csv")
        items = [rows[0]["item_id"], rows[-1]["item_id"]]
        alone = self.run_job("items.csv", "--only", ",".join(items))
        self.assertEqual([row["text"] for row in alone],
                         [row["text"] for row in rows if row["item_id"] in items])

    def test_another_order_of_the_catalog(self):
        with open(self.catalog, encoding="utf-8", newline="") as file:
            header, *items = csv.reader(file)
        random.Random(5).shuffle(items)
        shuffled = write_csv(self.folder / "shuffled.csv", [header, *items])
        rows = self.run_job("shuffled-copy.csv", catalog=shuffled)
        self.assertEqual(by_key(rows, ROW_COLUMNS),
                         by_key(rows_of(self.folder / "reference.csv"), ROW_COLUMNS))

    def test_another_order_of_the_segments(self):
        with open(self.segments, encoding="utf-8", newline="") as file:
            header, *segments = csv.reader(file)
        turned = write_csv(self.folder / "turned.csv", [header, *reversed(segments)])
        rows = self.run_job("turned-copy.csv", segments=turned)
        self.assertEqual(by_key(rows, ROW_COLUMNS),
                         by_key(rows_of(self.folder / "reference.csv"), ROW_COLUMNS))

    def test_texts_differ_between_rows_and_seeds(self):
        """Without this, a program that writes one text everywhere would pass the others."""
        texts = by_key(rows_of(self.folder / "reference.csv"))
        self.assertGreater(len(set(texts.values())), len(texts) // 2)
        other = by_key(self.run_job("seed.csv", "--seed", "8"))
        self.assertNotEqual(texts, other)

    def test_exact_precision_too(self):
        for name, batch in (("one", self.smallest_batch), ("many", 64)):
            self.run_job(f"{name}.csv", "--precision", "exact", "--batch", batch, "--limit", "3")
        self.assertEqual(self.bytes_of("one.csv"), self.bytes_of("many.csv"))

    def test_keys_and_values_of_8_bits_too(self):
        kept = ("--device", "cpu", "--precision", "int8", "--kv-cache", "int8", "--limit", "3")
        for name, batch in (("one", self.smallest_batch), ("many", 64)):
            self.run_job(f"{name}.csv", *kept, "--batch", batch)
        self.assertEqual(self.bytes_of("one.csv"), self.bytes_of("many.csv"))
        result = self.call_job("exact.csv", "--device", "cpu", "--precision", "exact",
                               "--kv-cache", "int8")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("--kv-cache int8 rounds keys and values", result.stderr)

    @unittest.skipUnless(is_tiny(), "other models' heads may not be even in number")
    def test_devices_that_compute_together(self):
        """Groups of threads of the CPU stand for devices; they round in a way of their own."""
        texts = []
        for batch in (self.smallest_batch, 7, 64):
            out = f"together-{batch}.csv"
            self.run_job(out, "--device", "cpu", "--tp", 2, "--batch", batch, "--limit", 3)
            texts.append(self.bytes_of(out))
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])


if __name__ == "__main__":
    unittest.main()
