"""What `copymill run` writes: rows, columns, formats, exit codes, and what it refuses to do."""

import csv
import io
import json
import unittest

from harness import (COLUMNS, EXIT_OK, EXIT_USAGE, ROOT, CopymillTest, by_key, copymill, rows_of,
                     write_csv)


def ids_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


class RowsTest(CopymillTest):
    def test_one_row_per_item_and_segment_in_order(self):
        rows = self.run_job("copy.csv")
        expected = [(item, segment) for item in ids_of(self.catalog)
                    for segment in ids_of(self.segments)]
        self.assertEqual([(row["item_id"], row["segment_id"]) for row in rows], expected)

    def test_values_of_the_columns(self):
        rows = self.run_job("copy.csv")
        self.assertEqual({row["scenario"] for row in rows}, {"description"})
        self.assertEqual({row["channel"] for row in rows}, {"generic"})
        self.assertEqual({row["language"] for row in rows}, {"en"})
        self.assertEqual(len({row["model"] for row in rows}), 1)
        self.assertEqual(len({row["row_key"] for row in rows}), len(rows))
        for row in rows:
            self.assertIn(row["status"], ("ok", "flagged"))
            self.assertEqual(row["error"], "")
            self.assertIn(row["finish_reason"], ("stop", "length"))
            self.assertGreater(int(row["prompt_tokens"]), 0)
            self.assertLess(int(row["cached_tokens"]), int(row["prompt_tokens"]))
            self.assertLessEqual(int(row["output_tokens"]), 12)
            self.assertTrue(0 <= float(row["score"]) <= 1, row)
            self.assertEqual(row["status"] == "flagged", row["flags"] != "", row)

    def test_items_share_their_prompts(self):
        """All but a job's first row find at least the template in place."""
        rows = self.run_job("copy.csv")
        self.assertEqual([row for row in rows[1:] if int(row["cached_tokens"]) == 0], [])
        self.assertEqual(rows[0]["cached_tokens"], "0")

    def test_without_segments_there_is_one_row_per_item(self):
        result = copymill("run", "--catalog", self.catalog, "--model", self.model,
                          "--out", self.folder / "copy.csv", *self.OPTIONS)
        self.assertEqual(result.status, EXIT_OK, result)
        rows = rows_of(self.folder / "copy.csv")
        self.assertEqual([row["item_id"] for row in rows], ids_of(self.catalog))

    def test_the_segment_decides_the_language(self):
        segments = write_csv(self.folder / "two.csv", [["segment_id", "language"],
                                                       ["english", "en"], ["chinese", "zh"]])
        rows = self.run_job("copy.csv", segments=segments)
        self.assertEqual([row["language"] for row in rows], ["en", "zh"] * self.ITEMS)
        rows = self.run_job("german.csv", "--language", "zh", segments=segments)
        self.assertEqual({row["language"] for row in rows}, {"zh"})

    def test_limit_and_scenario(self):
        rows = self.run_job("copy.csv", "--limit", "2", "--scenario", "recommend")
        self.assertEqual(len(rows), 2 * self.SEGMENTS)
        self.assertEqual({row["scenario"] for row in rows}, {"recommend"})


class FormatsTest(CopymillTest):
    def test_jsonl_holds_what_csv_holds(self):
        rows = self.run_job("copy.csv")
        result = self.call_job("copy.jsonl")
        self.assertEqual(result.status, EXIT_OK, result)
        lines = self.bytes_of("copy.jsonl").decode("utf-8").splitlines()
        self.assertEqual(len(lines), len(rows))
        for line, row in zip(lines, rows):
            record = json.loads(line)
            self.assertEqual(list(record), COLUMNS)
            for column in COLUMNS:
                value = record[column]
                if column == "score":
                    self.assertAlmostEqual(float(value), float(row[column]), places=6)
                elif value is None or value == {}:
                    self.assertEqual(row[column], "")
                else:
                    self.assertEqual(str(value), row[column])

    def test_csv_is_as_rfc_4180_says_with_plain_line_ends(self):
        catalog = write_csv(self.folder / "quotes.csv",
                            [["id", "title"], ['a, "b"', "Mug"], ["plain", "Cup"]])
        rows = self.run_job("copy.csv", catalog=catalog)
        self.assertEqual(rows[0]["item_id"], 'a, "b"')
        content = self.bytes_of("copy.csv")
        self.assertNotIn(b"\r", content)
        self.assertTrue(content.startswith(b"item_id,"))
        self.assertTrue(content.endswith(b"\n"))

    def test_excel_cannot_execute_a_cell(self):
        catalog = write_csv(self.folder / "formulas.csv",
                            [["id", "title"], ["=1+1", "Mug"], ["@SUM(A1)", "Cup"], ["-2", "Jug"]])
        self.run_job("plain.csv", catalog=catalog)
        result = self.call_job("excel.csv", "--excel", catalog=catalog)
        self.assertEqual(result.status, EXIT_OK, result)
        content = self.bytes_of("excel.csv")
        self.assertTrue(content.startswith(b"\xef\xbb\xbf"))
        self.assertEqual(content.count(b"\r\n"), 1 + 3 * self.SEGMENTS)
        text = content.decode("utf-8-sig")
        records = list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(records[0], COLUMNS)
        for record in records[1:]:
            for cell in record:
                self.assertNotIn(cell.lstrip(" ")[:1], tuple("=+@\t\r"), record)
        self.assertEqual({rows["item_id"] for rows in rows_of(self.folder / "plain.csv")},
                         {"=1+1", "@SUM(A1)", "-2"})

    def test_output_to_standard_output(self):
        self.run_job("copy.csv")
        arguments = self.arguments("-", "--job", self.folder / "stdout.job")
        arguments[arguments.index("--out") + 1] = "-"
        result = copymill(*arguments)
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(result.stdout.encode("utf-8"), self.bytes_of("copy.csv"))

    def test_catalog_from_standard_input(self):
        self.run_job("copy.csv")
        arguments = self.arguments("stdin.csv")
        arguments[arguments.index("--catalog") + 1] = "-"
        result = copymill(*arguments, stdin=self.catalog.read_bytes())
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(by_key(rows_of(self.folder / "stdin.csv")),
                         by_key(rows_of(self.folder / "copy.csv")))

    def test_an_own_template(self):
        template = self.folder / "template.txt"
        template.write_text("[user]\n{{item.title}} for {{segment.id}}{{#if item.price}}, "
                            "{{item.price}}{{/if}}\n", encoding="utf-8")
        short = self.run_job("short.csv", "--template", template)
        long = self.run_job("long.csv")
        self.assertLess(int(short[0]["prompt_tokens"]), int(long[0]["prompt_tokens"]))

    def test_the_template_of_the_examples(self):
        # A tiny model sometimes ends a text before its first word.
        rows = self.run_job("copy.csv", "--template", ROOT / "examples" / "template.txt",
                            "--attempts", 8, "--min-score", 0,
                            segments=ROOT / "examples" / "segments.csv",
                            catalog=ROOT / "examples" / "catalog.csv")
        self.assertEqual(len(rows), 30 * 6)


class SecondCallTest(CopymillTest):
    def test_a_second_call_writes_the_same_and_computes_nothing(self):
        self.run_job("copy.csv")
        first = self.bytes_of("copy.csv")
        result = self.call_job("copy.csv", "--overwrite", "--progress", "json")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(self.bytes_of("copy.csv"), first)
        last = [json.loads(line) for line in result.stderr.splitlines() if line[:1] == "{"][-1]
        self.assertEqual(last["rows_reused"], self.ITEMS * self.SEGMENTS)
        self.assertEqual(last["output_tokens"], 0)

    def test_a_larger_job_reuses_what_is_there(self):
        self.run_job("copy.csv", "--limit", "2")
        result = self.call_job("copy.csv", "--overwrite", "--progress", "json")
        self.assertEqual(result.status, EXIT_OK, result)
        last = [json.loads(line) for line in result.stderr.splitlines() if line[:1] == "{"][-1]
        self.assertEqual(last["rows_reused"], 2 * self.SEGMENTS)
        grown = self.bytes_of("copy.csv")
        self.run_job("whole.csv")
        self.assertEqual(grown, self.bytes_of("whole.csv"))

    def test_other_settings_are_other_rows(self):
        first = by_key(self.run_job("copy.csv"), ["row_key"])
        other = by_key(self.run_job("copy.csv", "--overwrite", "--seed", "8"), ["row_key"])
        self.assertEqual(set(first.values()) & set(other.values()), set())

    def test_an_existing_file_is_not_overwritten_unasked(self):
        (self.folder / "copy.csv").write_text("precious")
        result = self.call_job("copy.csv")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("--overwrite", result.stderr)
        self.assertEqual(self.bytes_of("copy.csv"), b"precious")

    def test_the_input_is_never_overwritten(self):
        before = self.catalog.read_bytes()
        result = self.call_job(self.catalog.name, "--overwrite")
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertEqual(self.catalog.read_bytes(), before)

    def test_dry_run_writes_nothing(self):
        before = sorted(self.folder.iterdir())
        result = self.call_job("copy.csv", "--dry-run")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(sorted(self.folder.iterdir()), before)
        self.assertIn(str(self.ITEMS * self.SEGMENTS), result.stdout + result.stderr)


class WrongUsageTest(CopymillTest):
    def assert_refused(self, result, *words):
        self.assertEqual(result.status, EXIT_USAGE, result)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_unknown_option_command_and_values(self):
        self.assert_refused(copymill("run", "--no-such-option"), "no-such-option")
        self.assert_refused(copymill("no-such-command"), "no-such-command")
        self.assert_refused(copymill("run"), "--catalog")
        self.assert_refused(self.call_job("copy.csv", "--top-p", "7"), "top-p")
        self.assert_refused(self.call_job("copy.csv", "--batch", "many"), "batch")
        self.assert_refused(self.call_job("copy.csv", "--scenario", "poem"), "poem", "description")

    def test_files_that_are_not_there(self):
        missing = self.folder / "missing.csv"
        self.assert_refused(self.call_job("copy.csv", catalog=missing), str(missing))
        self.assert_refused(self.call_job("copy.csv", segments=missing), str(missing))
        self.assert_refused(self.call_job("copy.csv", "--model", self.folder / "missing.gguf"),
                            "missing.gguf")
        self.assert_refused(self.call_job("no/such/folder/copy.csv"), "no/such/folder")

    def test_a_segment_named_twice(self):
        twice = write_csv(self.folder / "twice.csv", [["segment_id"], ["a"], ["b"], ["a"]])
        self.assert_refused(self.call_job("copy.csv", segments=twice), "twice.csv", "4")

    def test_a_template_that_does_not_close(self):
        template = self.folder / "template.txt"
        template.write_text("[user]\n{{#if item.price}} {{item.title}}\n", encoding="utf-8")
        self.assert_refused(self.call_job("copy.csv", "--template", template), "template.txt", "2")

    def test_help_and_version(self):
        for arguments in (["--help"], ["run", "--help"], ["model", "--help"], ["bench", "--help"]):
            result = copymill(*arguments)
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertIn("--", result.stdout + result.stderr)
        self.assertRegex(copymill("--version").stdout, r"^copymill \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
