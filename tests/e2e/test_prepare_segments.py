"""`copymill prepare --segments-from`: groups of customers come out, never persons."""

import csv
import io
import json
import pathlib
import random
import tempfile
import unittest

from harness import EXIT_OK, EXIT_USAGE, copymill, shared_or_none, write_csv

HEADER = ["CustomerID", "Gender", "Age", "Annual Income (k$)", "Spending Score (1-100)", "Club"]


def customers(count, seed=7):
    """Older customers spend more and are in the club."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        age = chance.randint(18, 80)
        spending = min(100, max(1, int(age + chance.gauss(0, 12))))
        rows.append([number, chance.choice(["Male", "Female"]), age, chance.randint(15, 140),
                     spending, "Yes" if age > 50 else "No"])
    return [HEADER, *rows]


class SegmentsFromCustomers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def prepare(self, rows, *more, status=EXIT_OK):
        source = write_csv(self.folder / "customers.csv", rows)
        result = copymill("prepare", "--segments-from", source, "--out", "-", *more)
        self.assertEqual(result.status, status, result)
        return list(csv.DictReader(io.StringIO(result.stdout, newline=""))), result.stderr

    def test_groups_of_age_and_spending(self):
        segments, _ = self.prepare(customers(300))
        self.assertGreaterEqual(len(segments), 4)
        self.assertEqual(len({s["segment_id"] for s in segments}), len(segments))
        for segment in segments:
            self.assertIn(segment["age_range"][:2], ("18", "25", "35", "45", "55", "65"))
            self.assertIn(segment["spending"], ("low", "medium", "high", "low or medium",
                                                "medium or high", ""))
            self.assertTrue(segment["tone"] and segment["language"] == "en")
        old = [s for s in segments if s["age_range"] == "65+"]
        self.assertTrue(any("Club: Yes" in s["traits"] for s in old), segments)

    def test_every_customer_is_counted_and_no_group_is_small(self):
        rows = customers(300)
        rows[5][2] = 16
        rows[6][2] = ""
        report = self.folder / "report.jsonl"
        self.prepare(rows, "--min-size", "25", "--report", report)
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        sizes = [int(line["customers"]) for line in lines if line["action"] == "segment"]
        left_out = sum(int(line["customers"]) for line in lines
                       if line["subject"] == "customers" and line["action"] == "left out")
        self.assertGreaterEqual(min(sizes), 25)
        self.assertEqual((sum(sizes), left_out), (298, 2))

    def test_persons_are_masked_or_refused(self):
        rows = customers(60)
        rows[0] += ["Full Name", "Note", "Religion"]
        for number, row in enumerate(rows[1:]):
            row += [f"Ann Example{number}", "call 13800138000" if number == 3 else "x", "any"]
        segments, stderr = self.prepare(rows)
        for name in ("Full Name", "Note", "Religion", "CustomerID"):
            self.assertRegex(stderr, rf"left out: {name} \(")
        self.assertNotIn("Example", str(segments))
        self.assertNotIn("13800138000", str(segments) + stderr)
        _, stderr = self.prepare(rows, "--pii", "refuse", status=EXIT_USAGE)
        self.assertRegex(stderr, r"customers\.csv:2: the column Full Name")
        segments, _ = self.prepare(rows, "--by", "Religion,Age", "--allow", "religion",
                                   status=EXIT_USAGE)
        rows[7][-1] = "none"
        segments, _ = self.prepare(rows, "--by", "Religion,Age", "--allow", "religion")
        self.assertIn("religion", segments[0])

    def test_same_table_same_segments(self):
        first = self.prepare(customers(200))[0]
        rows = customers(200)
        self.assertEqual(first, self.prepare([rows[0], *reversed(rows[1:])])[0])

    def test_chinese(self):
        rows = [["会员编号", "年龄", "月消费"]] + [[n, 20 + n % 50, n % 90] for n in range(200)]
        segments, _ = self.prepare(rows)
        self.assertEqual({s["language"] for s in segments}, {"zh"})
        self.assertIn("花小钱也要买得值", {s["motive"] for s in segments})

    def test_what_cannot_be_grouped_is_refused(self):
        _, stderr = self.prepare([["story"]] + [[f"text {n}"] for n in range(50)],
                                 status=EXIT_USAGE)
        self.assertIn("no column to group customers by", stderr)
        _, stderr = self.prepare(customers(4), status=EXIT_USAGE)
        self.assertIn("too few for a segment", stderr)
        _, stderr = self.prepare(customers(50), "--by", "Shoe", status=EXIT_USAGE)
        self.assertIn("no such column", stderr)
        self.prepare([[]], status=EXIT_USAGE)

    def test_run_takes_the_segments(self):
        source = write_csv(self.folder / "customers.csv", customers(100))
        segments = self.folder / "segments.csv"
        result = copymill("prepare", "--segments-from", source, "--out", segments)
        self.assertEqual(result.status, EXIT_OK, result)
        again = copymill("prepare", "--segments-from", source, "--out", segments)
        self.assertEqual(again.status, EXIT_USAGE, again)
        self.assertIn("--overwrite", again.stderr)


SEGMENTS = shared_or_none("data", "segments")


@unittest.skipUnless(SEGMENTS, "no reference data")
class RealCustomers(unittest.TestCase):
    def test_tables_of_the_reference_data(self):
        for name, rows in (("mall_customers.csv", 200), ("telco_customer_churn.csv", 7043)):
            result = copymill("prepare", "--segments-from", SEGMENTS / name,
                              "--out", "-")
            self.assertEqual(result.status, EXIT_OK, result)
            self.assertIn(f"{rows} customers read, {rows} of them in", result.stderr)
        persons = SEGMENTS / "synthetic_persona_chat_valid.csv"
        self.assertEqual(copymill("prepare", "--segments-from", persons, "--out", "-").status,
                         EXIT_USAGE)


if __name__ == "__main__":
    unittest.main()
