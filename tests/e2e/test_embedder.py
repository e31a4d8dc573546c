"""`copymill score --embedder`: aim at the audience and repetition by meaning.

A tiny random encoder shows that everything is connected; COPYMILL_EMBEDDER names a real one (the
folder of a sentence-transformers model), with which the meaning is looked at too.
"""

import csv
import io
import json
import os
import pathlib
import tempfile
import unittest

from harness import EXIT_OK, EXIT_USAGE, TESTS, copymill, write_csv

BERT = TESTS / "golden" / "tiny" / "bert"
REAL = os.environ.get("COPYMILL_EMBEDDER")

OUTDOOR = "Take the steel bottle up the trail and to your camp: it keeps water cold on every hike."
OFFICE = "Keep the steel bottle on your desk: cool water in long meetings keeps you productive."
REWORDED = ("Have the steel bottle at your desk: cold water during long meetings keeps you "
            "productive.")


class Embedder(unittest.TestCase):
    def setUp(self):
        keeper = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        self.addCleanup(keeper.cleanup)
        self.folder = pathlib.Path(keeper.name)
        self.segments = write_csv(self.folder / "segments.csv", [
            ["segment_id", "interests"], ["outdoor", "hiking, camping, mountains"],
            ["office", "work, meetings, productivity"]])

    def score(self, rows, *more, status=EXIT_OK):
        copy = write_csv(self.folder / "copy.csv", [["item_id", "segment_id", "text"], *rows])
        result = copymill("score", copy, "--segments", self.segments, "--evidence", "--out", "-",
                          *more)
        self.assertEqual(result.status, status, result)
        return list(csv.DictReader(io.StringIO(result.stdout, newline=""))), result.stderr

    def aims(self, rows):
        return [json.loads(row["judgement"])["scores"]["targeting"] for row in rows]

    ROWS = [["1", "outdoor", OUTDOOR], ["1", "office", OFFICE], ["1", "outdoor", REWORDED],
            ["2", "office", REWORDED]]

    def test_aim_is_part_of_the_score(self):
        without, _ = self.score(self.ROWS)
        rows, _ = self.score(self.ROWS, "--embedder", BERT)
        self.assertNotEqual(self.aims(without), self.aims(rows))
        self.assertEqual(rows, self.score(self.ROWS, "--embedder", BERT)[0])
        alone, _ = self.score(self.ROWS[3:], "--embedder", BERT)
        self.assertEqual(self.aims(alone), self.aims(rows)[3:])

    def test_other_models_are_refused(self):
        _, stderr = self.score(self.ROWS, "--embedder", TESTS / "golden" / "tiny" / "llama",
                               status=EXIT_USAGE)
        self.assertIn("BERT", stderr)

    @unittest.skipUnless(REAL, "COPYMILL_EMBEDDER names no model")
    def test_meaning(self):
        rows, _ = self.score(self.ROWS, "--embedder", REAL)
        outdoor, office, swapped, other = self.aims(rows)
        self.assertLess(swapped, outdoor)
        self.assertLess(swapped, office)
        self.assertGreater(other, swapped)
        self.assertIn("near-duplicate: means the same as 1/office", rows[2]["flags"])
        self.assertNotIn("means the same", rows[1]["flags"] + rows[0]["flags"])
        self.assertNotIn("means the same", rows[3]["flags"])


if __name__ == "__main__":
    unittest.main()
