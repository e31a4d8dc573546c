"""`copymill report`, `run --report`, `run --metrics` and `copymill explain`."""

import html
import html.parser
import json
import os
import pathlib
import re
import shutil
import sqlite3
import time
import unittest

import browser
from harness import EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CopymillTest, copymill, rows_of
from prepared_ledger import fill, grow
from review_client import Review

VOID = {"meta", "line", "rect", "br"}


class Balance(html.parser.HTMLParser):
    """Collects what does not close where it should, and every attribute and element."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.problems = []
        self.elements = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append((tag, self.getpos()))


def check_page(test, text):
    page = Balance()
    page.feed(text)
    page.close()
    test.assertEqual((page.problems, page.open), ([], []))
    names = {tag for tag, _ in page.elements}
    test.assertEqual(names & {"script", "link", "img", "iframe", "object"}, set())
    for _, attributes in page.elements:
        for name, value in attributes.items():
            test.assertFalse(name.startswith("on") or name in ("src", "href"), (name, value))
    test.assertNotIn("url(", text)
    test.assertNotIn("@import", text)
    return page


class ReportTest(CopymillTest):
    def setUp(self):
        super().setUp()
        self.job = self.folder / "copy.csv.job"
        self.run_job("copy.csv")
        fill(self.job)

    def report(self, *options):
        out = self.folder / "report.html"
        result = copymill("report", self.job, "--out", out, "--overwrite", *options)
        self.assertEqual(result.status, EXIT_OK, result)
        return out.read_text(encoding="utf-8")

    def rows_written(self, out, *options):
        """Runs a job in which a row or two may fail: a random model sometimes writes nothing."""
        result = self.call_job(out, *options)
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        written = sum(row["error"] == "" for row in rows_of(self.folder / out))
        self.assertGreaterEqual(written, self.ITEMS * self.SEGMENTS - 2, result)
        return written

    def test_what_a_report_holds(self):
        text = self.report("--hourly-cost", "2.5")
        check_page(self, text)
        ledger = sqlite3.connect(self.job)
        rows, flagged = ledger.execute("SELECT count(*), sum(status = 3) FROM copy").fetchone()
        segments = [row[0] for row in ledger.execute("SELECT DISTINCT segment_id FROM copy")]
        best = ledger.execute("SELECT text FROM copy ORDER BY score DESC LIMIT 1").fetchone()[0]
        worst = ledger.execute("SELECT text FROM copy ORDER BY score LIMIT 1").fetchone()[0]
        ledger.close()
        self.assertIn(f"<b>{rows}</b><span>rows", text)
        self.assertIn(f"<b>{100 * flagged / rows:.1f} %</b><span>flagged", text)
        for words in (*segments, best, worst, "unsupported-number", "accuracy", "creativity",
                      "machine time", "cost of 1,000 copies", "--temperature 0.8 --seed 7"):
            self.assertIn(words, html.unescape(text))
        self.assertGreater(text.count("<rect"), 10)
        bars = [int(n) for n in re.findall(r": (\d+) (?:nothing found|flagged)</title>", text)]
        self.assertEqual(sum(bars), rows)

    def test_a_run_writes_its_report_and_may_write_it_again(self):
        out = self.folder / "run.html"
        for _ in range(2):
            result = self.call_job("other.csv", "--report", out)
            self.assertEqual(result.status, EXIT_OK, result)
            check_page(self, out.read_text(encoding="utf-8"))
        out.write_text("precious")
        result = self.call_job("other.csv", "--report", out)
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("--report", result.stderr)
        self.assertEqual(out.read_text(), "precious")
        result = self.call_job("other.csv", "--report", self.catalog, "--overwrite")
        self.assertEqual(result.status, EXIT_USAGE, result)

    def test_samples_become_a_plot(self):
        ledger = sqlite3.connect(self.job)
        run_id = ledger.execute("SELECT max(id) FROM run").fetchone()[0]
        figures = json.loads(ledger.execute("SELECT figures FROM run").fetchone()[0])
        figures.update(bf16_gflops=40.0, int8_gops=40.0, fp32_gflops=40.0, wall_s=60)
        ledger.execute("UPDATE run SET figures = ?", (json.dumps(figures),))
        ledger.execute("DELETE FROM sample")
        ledger.executemany("INSERT INTO sample VALUES(?, ?, ?, ?, ?, ?, ?)",
                           [(run_id, 1000 * i, i, 500 * i, 900 * i, 100 * i, 8)
                            for i in range(1, 61)])
        ledger.commit()
        ledger.close()
        text = self.report()
        check_page(self, text)
        self.assertEqual(text.count("<polyline"), 2)
        self.assertIn("limit of this machine", text)
        points = re.search(r'polyline class="a" points="([^"]+)"', text).group(1).split()
        self.assertGreater(len(points), 30)

    def test_scores_are_held_to_decisions(self):
        self.assertNotIn("Scores against decisions", self.report())
        grow(self.job, 60)
        with Review(self.job) as review:
            review.sign_in()
            rows = review.rows(order="plan", rows=200)
            lies = [row for row in rows if "unsupported-number" in row["flags"]]
            self.assertTrue(len(rows) == 60 and len(lies) > 5, len(lies))
            for row in rows:
                if row in lies:
                    review.decide(row["id"], row["version"], "reject", reason="it lies")
                else:
                    review.decide(row["id"], row["version"], "accept")
        text = self.report()
        check_page(self, text)
        words = html.unescape(text)
        self.assertIn("Scores against decisions", words)
        # Lies score under 0.6 and all else above it; some that do not lie are flagged, too.
        self.assertIn(f"Of {len(rows)} texts that people decided about they took "
                      f"{len(rows) - len(lies)} as they were written.", words)
        self.assertIn("(area 1.00)", words)
        self.assertIn("keeps 100 % of the accepted and holds back 100 % of the others", words)
        self.assertRegex(words, r"kappa 0\.[5-9]\d|kappa 1\.00")

    def test_lengths_against_the_limits_of_a_channel(self):
        written = self.rows_written("parts.csv", "--channel", "google-merchant")
        result = copymill("report", self.folder / "parts.csv", "--out", "-")
        check_page(self, result.stdout)
        part = re.search(r"<tr><td>short_title</td>(.*)</tr>", result.stdout).group(1)
        values, longest, _, _, hard, over = re.findall(r'number">(\w+)<', part)
        self.assertEqual((int(values), hard, over), (written, "65", "0"))
        self.assertTrue(0 < int(longest) <= 65)
        self.rows_written("post.csv", "--channel", "x", "--scenario", "social")
        result = copymill("report", self.folder / "post.csv", "--out", "-")
        self.assertIn("The channel allows 280", result.stdout)

    def test_hostile_texts_stay_text(self):
        payload = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
        ledger = sqlite3.connect(self.job)
        ledger.execute("UPDATE copy SET text=?, segment_id=?, language=?, flags=?, judgement=?",
                       (payload, payload, payload, "bad: " + payload,
                        json.dumps({"flags": [{"rule": payload}], "scores": {payload: 0.5}})))
        ledger.execute("UPDATE item SET title = ?", (payload,))
        ledger.execute("UPDATE setting SET value = ?", (payload,))
        ledger.execute("UPDATE run SET began = ?, figures = ?", (payload, json.dumps(
            {"variant": payload, "computed_tokens": 5})))
        ledger.commit()
        ledger.close()
        check_page(self, self.report())

    def test_an_empty_and_a_failed_job(self):
        ledger = sqlite3.connect(self.job)
        ledger.execute("UPDATE copy SET text = '', status = 4, error = 'no'")
        ledger.commit()
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ledger.close()
        check_page(self, self.report())
        ledger = sqlite3.connect(self.job)
        for table in ("plan", "run", "sample"):
            ledger.execute(f"DELETE FROM {table}")
        ledger.commit()
        ledger.close()
        check_page(self, self.report())

    def test_in_a_browser(self):
        if not (os.environ.get("CHROMIUM") or any(map(shutil.which, browser.NAMES))):
            self.skipTest("no Chromium is installed")
        out = self.folder / "report.html"
        self.report()
        with browser.Browser() as chromium:
            page = chromium.page(out.as_uri())
            page.wait("document.readyState === 'complete' && "
                      "document.querySelector('svg') !== null")
            for dark in (False, True):
                page.dark(dark)
                self.assertTrue(page.run("document.documentElement.scrollWidth <= 1280"))
                if os.environ.get("SCREENSHOTS"):
                    time.sleep(0.2)
                    page.screenshot(pathlib.Path(os.environ["SCREENSHOTS"],
                                                 f"report-{'dark' if dark else 'light'}.png"))
            page.size(390, 844, mobile=True)
            page.wait("innerWidth === 390")
            self.assertTrue(page.run("document.documentElement.scrollWidth <= 390"))
            self.assertEqual(page.problems(), [])


class MetricsTest(CopymillTest):
    def test_figures_for_prometheus(self):
        path = self.folder / "copymill.prom"
        result = self.call_job("copy.csv", "--metrics", path)
        self.assertEqual(result.status, EXIT_OK, result)
        rows = rows_of(self.folder / "copy.csv")
        samples = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# "):
                self.assertRegex(line, r"^# (HELP|TYPE) copymill_\w+ (gauge$|counter$|[A-Z0-9])")
                continue
            name, labels, value = re.fullmatch(r"(copymill_\w+)\{(.*)\} (\S+)", line).groups()
            self.assertIn('job="copy.csv.job",model="', labels)
            kind = re.search(r',(?:status|kind)="(\w+)"', labels)
            samples[name + ("." + kind.group(1) if kind else "")] = float(value)
        self.assertEqual(samples["copymill_up"], 0)
        self.assertEqual(samples["copymill_rows_planned"], len(rows))
        self.assertEqual(samples["copymill_rows.ok"] + samples["copymill_rows.flagged"], len(rows))
        self.assertGreaterEqual(samples["copymill_tokens_total.output"],
                                sum(int(row["output_tokens"]) for row in rows))
        updated = samples["copymill_updated_timestamp_seconds"]
        self.assertAlmostEqual(updated, time.time(), delta=600)
        self.assertEqual(self.call_job("copy.csv", "--metrics", path).status, EXIT_OK)
        for wrong in (self.catalog, self.folder / "copy.csv", self.folder / "no" / "such.prom"):
            before = wrong.exists() and wrong.read_bytes()
            result = self.call_job("copy.csv", "--metrics", wrong)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn("--metrics", result.stderr)
            self.assertEqual(wrong.exists() and wrong.read_bytes(), before)


class ExplainTest(CopymillTest):
    def test_everything_that_led_to_a_text(self):
        rows = self.run_job("copy.csv")
        job = self.folder / "copy.csv.job"
        fill(job)
        with Review(job, "--reviewer", "ann") as review:
            review.sign_in()
            row = review.rows(order="plan")[0]
            review.decide(row["id"], 0, "reject", reason="too loud")
            review.decide(row["id"], 1, "edit", text="A calm text.")
        name = f"{rows[0]['item_id']}:{rows[0]['segment_id']}"
        result = copymill("explain", job, name)
        self.assertEqual(result.status, EXIT_OK, result)
        for words in ("A calm text.", "too loud", "edited by ann", "rejected by ann",
                      rows[0]["row_key"], rows[0]["model"], "attempt kept", "material", "interests",
                      "matched", "accuracy", "temperature=0.8", "model_sha256", "template"):
            self.assertIn(words, result.stdout)
        for other in ("#1", rows[0]["row_key"], rows[0]["row_key"][:10]):
            again = copymill("explain", self.folder / "copy.csv", other)
            self.assertEqual(again.stdout, result.stdout, other)
        both = copymill("explain", job, rows[0]["item_id"])
        self.assertEqual(both.stdout.count("How it was written"), self.SEGMENTS)
        for arguments, words in (((job, "nothing"), "ITEM:SEGMENT"), ((job,), "a row"),
                                 ((self.folder / "none", "x"), "no such job")):
            result = copymill("explain", *arguments)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(words, result.stderr)

    def test_control_characters_do_not_reach_the_terminal(self):
        self.run_job("copy.csv")
        job = self.folder / "copy.csv.job"
        ledger = sqlite3.connect(job)
        evidence = {"flags": [{"rule": "r", "severity": "low", "reason": "\x1b[31m"}],
                    "spans": [{"kind": "found", "begin": 0, "end": 4, "note": "\x1b[0m"}]}
        ledger.execute("UPDATE copy SET text = ?, judgement = ?",
                       ("a\x1b[2Jb\x07\nc", json.dumps(evidence)))
        ledger.commit()
        ledger.close()
        result = copymill("explain", job, "#1")
        self.assertNotIn("\x1b", result.stdout)
        self.assertIn("a [2Jb ", result.stdout)
        self.assertEqual(len(rows_of(self.folder / "copy.csv")), self.ITEMS * self.SEGMENTS)


if __name__ == "__main__":
    unittest.main()
