"""The scenario `answer`: rows are item x segment x question."""

import json
import unittest

from harness import EXIT_OK, EXIT_USAGE, CopymillTest, copymill, rows_of, write_csv

HEADER = ["question_id", "item_id", "question", "policy", "language"]
QUESTIONS = [
    HEADER,
    ["wash", "shirt-oxford", "How hot may I wash it?", "", ""],
    ["back", "*", "Can I send it back?", "Within 30 days.", ""],
    ["rain", "jacket-rain", "下大雨可以穿吗？", "", "zh"],
    ["lost", "no-such-item", "Is it there?", "", ""],
    ["size", "shirt-oxford", "Is there a size 52?", "", ""],
]


def places(rows):
    return [(row["item_id"], row["segment_id"], json.loads(row["fields"])["question_id"])
            for row in rows]


class AnswerTest(CopymillTest):
    ITEMS = 4
    SEGMENTS = 2

    def setUp(self):
        super().setUp()
        self.questions = write_csv(self.folder / "questions.csv", QUESTIONS)

    def answer(self, out, *more):
        return self.run_job(out, "--scenario", "answer", "--questions", self.questions, *more)

    def test_rows_follow_catalog_segments_and_questions(self):
        rows = self.answer("copy.csv")
        asked = {"shirt-oxford": ["wash", "back", "size"], "dress-linen": ["back"],
                 "socks-merino": ["back"], "jacket-rain": ["back", "rain"]}
        self.assertEqual(places(rows), [(item, segment, question) for item in asked
                                        for segment in ("students", "young-parents")
                                        for question in asked[item]])
        self.assertEqual(len({row["row_key"] for row in rows}), len(rows))
        self.assertEqual({row["language"] for row in rows if "rain" in row["fields"]
                          and row["item_id"] == "jacket-rain"
                          and json.loads(row["fields"])["question_id"] == "rain"}, {"zh"})
        self.assertEqual(json.loads(rows[0]["fields"])["question"], "How hot may I wash it?")
        # Questions about one item and segment share what stands before them.
        self.assertGreater(int(rows[1]["cached_tokens"]), int(rows[1]["prompt_tokens"]) / 2)

    def test_a_lost_question_is_named_with_its_line(self):
        result = self.call_job("copy.csv", "--scenario", "answer", "--questions", self.questions)
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn('questions.csv:5: question "lost" is for item "no-such-item"', result.stderr)

    def test_a_finished_job_is_written_out_again(self):
        self.answer("copy.csv")
        before = self.bytes_of("copy.csv")
        result = self.call_job("copy.csv", "--scenario", "answer", "--questions", self.questions)
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(self.bytes_of("copy.csv"), before)
        self.assertIn("holds 14 finished rows", result.stderr)

    def test_a_changed_question_makes_new_rows_only_for_itself(self):
        before = self.answer("copy.csv")
        changed = [list(row) for row in QUESTIONS]
        changed[1][2] = "How cold may I wash it?"
        write_csv(self.questions, changed)
        after = self.answer("copy.csv")
        for old, new, place in zip(before, after, places(after)):
            self.assertEqual(old["row_key"] == new["row_key"], place[2] != "wash", place)

    def test_only_gives_the_rows_of_the_whole_job(self):
        whole = self.answer("copy.csv")
        some = self.answer("some.csv", "--only", "jacket-rain:students,dress-linen")
        wanted = [row for row in whole if row["item_id"] == "dress-linen"
                  or (row["item_id"], row["segment_id"]) == ("jacket-rain", "students")]
        self.assertEqual(some, wanted)

    def test_items_without_questions_have_no_rows(self):
        write_csv(self.questions, [HEADER, QUESTIONS[1]])
        rows = self.answer("copy.csv")
        self.assertEqual({row["item_id"] for row in rows}, {"shirt-oxford"})
        result = self.call_job("none.csv", "--scenario", "answer", "--questions", self.questions,
                               "--only", "dress-linen")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("no question is for a chosen item", result.stderr)

    def test_a_dry_run_counts_the_same_rows(self):
        result = copymill("run", "--catalog", self.catalog, "--segments", self.segments,
                          "--model", self.model, "--scenario", "answer",
                          "--questions", self.questions, "--dry-run")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertIn("rows             14 (4 items, 2 segments)", result.stdout)

    def test_questions_and_scenario_belong_together(self):
        for more in (["--scenario", "answer"], ["--questions", self.questions]):
            result = self.call_job("copy.csv", *more)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn("--questions", result.stderr)
        self.assertFalse((self.folder / "copy.csv").exists())

    def test_the_other_scenarios_run(self):
        for scenario in ("ad", "social"):
            rows = self.run_job(scenario + ".csv", "--scenario", scenario, "--limit", "1")
            part = {"ad": "headline", "social": "post"}[scenario]
            self.assertTrue(all(part in json.loads(row["fields"]) for row in rows), rows)
        self.assertEqual(len(rows_of(self.folder / "ad.csv")), self.SEGMENTS)


if __name__ == "__main__":
    unittest.main()
