"""The decoding controls of `copymill run`: what the copy may hold, where it ends, how often it is
written."""

import re
import unicodedata
import unittest

from harness import (EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CopymillTest, by_key, rows_of,
                     write_csv)

# A random model writes everything there is, so a control that does nothing shows at once.
LONG = ("--max-tokens", "60", "--temperature", "1.5", "--top-k", "0", "--top-p", "1")


class ControlsTest(CopymillTest):
    def texts(self, out, *options):
        return [row["text"] for row in self.run_job(out, *LONG, *options)]

    def test_numbers_come_from_the_facts(self):
        catalog = write_csv(self.folder / "items.csv",
                            [["id", "title", "size"]] +
                            [[f"item-{i}", "Steel mug", f"{i + 3}50 ml"] for i in range(6)])
        free = self.run_job("free.csv", *LONG, "--fact-lock", "off", catalog=catalog)
        self.assertTrue(any(re.search(r"\d", row["text"]) for row in free))
        for row in self.run_job("locked.csv", *LONG, catalog=catalog):
            allowed = {str(int(row["item_id"][-1]) + 3) + "50"}
            text = "".join(str(unicodedata.decimal(letter, letter))  # digits of every script
                           for letter in row["text"])
            self.assertLessEqual(set(re.findall(r"[0-9]+", text)), allowed, row)

    def test_banned_words_do_not_occur(self):
        ban = self.folder / "ban.txt"
        ban.write_text("# short ones, since the model knows no words\nto\nin\n'\n,\n",
                       encoding="utf-8")
        pattern = re.compile(r"\b(to|in)\b|'|,", re.ASCII | re.IGNORECASE)
        self.assertTrue(any(pattern.search(text) for text in self.texts("free.csv")))
        self.assertEqual([text for text in self.texts("clean.csv", "--ban", ban)
                          if pattern.search(text)], [])

    def test_a_stop_text_is_not_shown(self):
        self.assertTrue(any("e" in text for text in self.texts("free.csv")))
        result = self.call_job("stopped.csv", *LONG, "--stop", "e", "--stop", "zzz")
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)  # a text may begin with it
        rows = rows_of(self.folder / "stopped.csv")
        self.assertEqual([row for row in rows if "e" in row["text"]], [])

    def test_best_of_keeps_the_best_and_is_used_again(self):
        once = self.run_job("once.csv", "--attempts", "1")
        best = self.run_job("best.csv", "--attempts", "1", "--best-of", "4")
        self.assertEqual({row["attempt"] for row in once}, {"1"})
        self.assertGreater(len({row["attempt"] for row in best}), 1)
        mean = sum(float(row["score"]) for row in best) / len(best)
        self.assertGreater(mean, sum(float(row["score"]) for row in once) / len(once))
        before = self.bytes_of("best.csv")
        again = self.call_job("best.csv", "--attempts", "1", "--best-of", "4", "--progress",
                              "plain")
        self.assertIn(f"({len(best)} from an earlier run)", again.stderr)
        self.assertEqual(self.bytes_of("best.csv"), before)

    def test_controls_are_part_of_the_key(self):
        """No text of other settings is used again."""
        plain = by_key(self.run_job("copy.csv"), ("row_key",))
        ban = self.folder / "ban.txt"
        ban.write_text("best\n", encoding="utf-8")
        for options in (("--fact-lock", "off"), ("--ban", ban), ("--stop", "x"),
                        ("--no-repeat-ngram", "3"), ("--best-of", "2"), ("--beams", "2")):
            other = by_key(self.run_job("copy.csv", *options), ("row_key",))
            self.assertEqual(set(plain.values()) & set(other.values()), set(), options)

    def test_a_control_changes_only_what_it_must(self):
        """Other settings draw the same random numbers for a row, under another key."""
        ban = self.folder / "ban.txt"
        ban.write_text("zzqxzzqx\n", encoding="utf-8")
        free = self.run_job("free.csv", *LONG)
        other = self.run_job("other.csv", *LONG, "--ban", ban, "--stop", "zzqxzzqx")
        self.assertEqual([row["text"] for row in free], [row["text"] for row in other])
        self.assertEqual({row["row_key"] for row in free} & {row["row_key"] for row in other},
                         set())
        seeded = self.run_job("seeded.csv", *LONG, "--seed", "8")
        self.assertNotEqual([row["text"] for row in free], [row["text"] for row in seeded])

    def test_a_bad_ban_list_is_named(self):
        empty = self.folder / "empty.txt"
        empty.write_text("# nothing\n", encoding="utf-8")
        result = self.call_job("copy.csv", "--ban", empty)
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("empty.txt", result.stderr)


if __name__ == "__main__":
    unittest.main()
