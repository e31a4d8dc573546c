"""An item's prompt is computed once, however many segments it is written for."""

import csv
import json
import unittest

from harness import EXIT_OK, EXIT_PARTIAL, ROOT, CopymillTest, copymill, rows_of, write_csv

PAGE_TOKENS = 16


class SharingTest(CopymillTest):
    ITEMS = 6

    def setUp(self):
        super().setUp()
        with open(ROOT / "examples" / "segments.csv", encoding="utf-8", newline="") as file:
            header, first, *_ = csv.reader(file)
        self.eight = write_csv(self.folder / "eight.csv",
                               [header, *([f"s{n}", *first[1:]] for n in range(8))])

    def measure(self, segments, *options):
        """The counters of one timed run, and the plan's own arithmetic from the rows."""
        result = self.call_job("copy.csv", "--overwrite", *options, segments=segments)
        # A random model sometimes ends a text before it began, and then that row has failed.
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        rows = rows_of(self.folder / "copy.csv")
        arguments = self.arguments("bench.csv", *options, segments=segments)
        arguments[0] = "bench"
        for option in ("--out", "--progress"):
            del arguments[arguments.index(option):arguments.index(option) + 2]
        result = copymill(*arguments, "--json")
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        distinct = sum(int(row["prompt_tokens"]) - int(row["cached_tokens"]) for row in rows)
        return json.loads(result.stdout), distinct, rows

    def test_prompt_tokens_are_computed_once(self):
        """All that may be computed twice is the part-filled page at the end of each prompt."""
        counters, distinct, rows = self.measure(self.eight, "--attempts", "1")
        print(f"{distinct} distinct tokens, {counters['prefill_tokens']} computed for {len(rows)}")
        self.assertEqual(counters["prompt_tokens"], sum(int(row["prompt_tokens"]) for row in rows))
        self.assertGreaterEqual(counters["prefill_tokens"], distinct)
        self.assertLessEqual(counters["prefill_tokens"], distinct + len(rows) * PAGE_TOKENS)
        self.assertLess(distinct, counters["prompt_tokens"] / 3)

    def test_a_retry_finds_its_prompt_in_place(self):
        once, distinct, rows = self.measure(self.eight, "--attempts", "1")
        options = ("--attempts", "3", "--min-score", "1")
        thrice, distinct_thrice, _ = self.measure(self.eight, *options)
        self.assertEqual(distinct, distinct_thrice)
        self.assertGreater(thrice["output_tokens"], 2 * once["output_tokens"])
        self.assertLessEqual(thrice["prefill_tokens"],
                             once["prefill_tokens"] + 2 * len(rows) * PAGE_TOKENS)

    def test_more_segments_cost_little_prefill(self):
        with open(self.eight, encoding="utf-8", newline="") as file:
            records = list(csv.reader(file))
        one = write_csv(self.folder / "one.csv", records[:2])
        alone, _, _ = self.measure(one)
        together, _, _ = self.measure(self.eight)
        self.assertLess(together["prefill_tokens"], 3 * alone["prefill_tokens"])
        self.assertEqual(len(rows_of(self.folder / "copy.csv")), 8 * self.ITEMS)


if __name__ == "__main__":
    unittest.main()
