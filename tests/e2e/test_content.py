"""Channels, `score` and `comply` through the command line."""

import csv
import json
import unicodedata
import unittest

from harness import (EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CopymillTest, copymill, write_csv)


def units(text):
    """East Asian wide characters count two. What Python says of those without a name is not so."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" and unicodedata.category(c) != "Cn"
               else 1 for c in text)


class Channels(CopymillTest):
    def test_parts_keep_hard_limits_whatever_the_model_writes(self):
        rows = self.run_job("ads.csv", "--scenario", "ad", "--channel", "google-ads",
                            "--max-tokens", "60")
        for row in rows:
            parts = json.loads(row["fields"])
            self.assertTrue(3 <= len(parts["headlines"]) <= 15, parts)
            self.assertTrue(2 <= len(parts["descriptions"]) <= 4, parts)
            self.assertTrue(all(units(text) <= 30 for text in parts["headlines"]), parts)
            self.assertTrue(all(units(text) <= 90 for text in parts["descriptions"]), parts)

    def test_an_unknown_channel_is_refused(self):
        result = self.call_job("x.csv", "--channel", "radio")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("google-ads", result.stderr)


class Judging(CopymillTest):
    GOOD = "The Oxford shirt is made for long days and looks good with jeans as well."

    def write_copy(self, *texts):
        return write_csv(self.folder / "in.csv", [["item_id", "note", "language", "text"]] + [
            ["shirt-oxford", "kept", "en", text] for text in texts])

    def test_score_fills_the_rows_and_shows_where(self):
        path = self.write_copy(self.GOOD, self.GOOD + " It costs only 12 dollars.")
        result = copymill("score", path, "--catalog", self.catalog, "--out",
                          self.folder / "out.csv", "--evidence")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("unsupported-number", result.stdout)
        with open(self.folder / "out.csv", encoding="utf-8", newline="") as file:
            good, bad = csv.DictReader(file)
        self.assertEqual((good["flags"], good["note"]), ("", "kept"))
        self.assertIn("unsupported-number: 12", bad["flags"])
        self.assertLess(float(bad["score"]), float(good["score"]))
        judgement = json.loads(bad["judgement"])
        spans = [span for span in judgement["spans"] if span["kind"] == "unsupported"]
        self.assertEqual([bad["text"].encode()[s["begin"]:s["end"]] for s in spans], [b"12"])
        self.assertEqual(set(judgement["scores"]), {"accuracy", "targeting", "fluency", "safety",
                                                    "creativity"})

    def test_comply_ends_with_3_where_something_grave_is_found(self):
        self.assertEqual(copymill("comply", self.write_copy(self.GOOD)).status, EXIT_OK)
        result = copymill("comply", self.write_copy("这是國 家 級的好茶，适合送礼。"))
        self.assertEqual(result.status, EXIT_PARTIAL, result)
        self.assertIn("superlative", result.stdout)

    def test_mistakes_are_named(self):
        no_text = write_csv(self.folder / "no.csv", [["item_id", "words"], ["1", "a"]])
        for arguments, words in [(["score"], "FILE"), (["score", no_text], "text"),
                                 (["score", self.folder / "nowhere.csv"], "nowhere.csv"),
                                 (["comply", self.write_copy("a"), "--channel", "radio"],
                                  "google-ads")]:
            result = copymill(*arguments)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
