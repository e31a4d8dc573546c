"""Beam search and --max-length through the command line, as in Hugging Face's generate()."""

import unittest

from harness import EXIT_USAGE, CopymillTest


class BeamsTest(CopymillTest):
    ITEMS = 3
    OPTIONS = ("--fact-lock", "off", "--seed", "7", "--progress", "none")

    def texts(self, out, *options):
        return [row["text"] for row in self.run_job(out, "--max-tokens", "12", *options)]

    def test_beams_are_deterministic_unless_a_temperature_is_given(self):
        greedy = self.texts("greedy.csv", "--temperature", "0")
        searched = self.texts("beams.csv", "--beams", "4")
        self.assertNotEqual(searched, greedy)
        self.assertEqual(self.texts("seed.csv", "--beams", "4", "--seed", "8"), searched)
        self.assertEqual(self.texts("top.csv", "--beams", "4", "--top-k", "2", "--top-p", "0.1"),
                         searched)
        drawn = self.texts("drawn.csv", "--beams", "4", "--temperature", "1")
        self.assertNotEqual(drawn, searched)
        self.assertNotEqual(
            self.texts("other.csv", "--beams", "4", "--temperature", "1", "--seed", "8"), drawn)

    def test_beams_say_the_same_in_any_batch(self):
        for temperature in ("0", "0.9"):
            options = ("--beams", "4", "--temperature", temperature, "--max-tokens", "20",
                       "--repetition-penalty", "1.2", "--no-repeat-ngram", "3", "--fact-lock", "on")
            rows = self.run_job(f"any-{temperature}.csv", *options)
            for batch, threads in (("4", "1"), ("9", "2"), ("64", "1")):
                again = self.run_job(f"batch-{temperature}-{batch}.csv", *options, "--batch", batch,
                                     "--threads", threads)
                self.assertEqual(again, rows)

    def test_max_length_counts_the_prompt_and_is_then_the_only_limit(self):
        rows = self.run_job("copy.csv", "--max-length", "1000")
        for row in rows:
            self.assertLessEqual(int(row["prompt_tokens"]) + int(row["output_tokens"]), 1000)
        self.assertGreater(max(int(row["output_tokens"]) for row in rows), 160)

    def test_a_batch_too_small_for_the_beams_is_refused(self):
        result = self.call_job("copy.csv", "--beams", "4", "--batch", "3")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("--batch 3 holds no search over --beams 4", result.stderr)


if __name__ == "__main__":
    unittest.main()
