"""`copymill export`: what is approved, in the formats of others, and back through our reader."""

import csv
import io
import json
import sqlite3
import unittest

from harness import (EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CopymillTest, copymill, rows_of, write_csv)
from prepared_ledger import fill
from review_client import Review

SHOPIFY = ["Title", "URL handle", "Description", "SEO title", "SEO description"]
GOOGLE = ["id", "title", "structured_title", "structured_description"]
AIGC = ["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator",
        "PropagateID", "ReservedCode2"]


class ExportTest(CopymillTest):
    def setUp(self):
        super().setUp()
        self.job = self.folder / "copy.csv.job"

    def prepare(self, catalog=None, approve=lambda row: True, edits=None):
        """A job whose rows are approved, or edited to what `edits` says."""
        self.run_job("copy.csv", catalog=catalog)
        fill(self.job)
        with Review(self.job, "--reviewer", "ann") as review:
            review.sign_in()
            rows = review.rows(order="plan", rows=200)
            for row in rows:
                text = (edits or {}).get((row["item"], row["segment"]))
                if text is not None:
                    answer = review.decide(row["id"], 0, "edit", text=text)
                elif approve(row):
                    answer = review.decide(row["id"], 0, "accept")
                else:
                    answer = review.decide(row["id"], 0, "reject", reason="dull")
                self.assertEqual(answer.status, 200, answer)
        return rows

    def export(self, *options, status=EXIT_OK):
        result = copymill("export", self.job, *options)
        self.assertEqual(result.status, status, result)
        return result.stdout

    def table(self, *options, delimiter=",", status=EXIT_OK):
        text = self.export(*options, status=status)
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


class OwnFormatsTest(ExportTest):
    def test_only_what_is_approved(self):
        self.run_job("copy.csv")
        result = copymill("export", self.job)
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(len(result.stdout.splitlines()), 1)
        self.assertIn("not approved", result.stderr)
        self.assertEqual(len(self.table("--all")), self.ITEMS * self.SEGMENTS)

    def test_csv_and_jsonl_hold_the_same(self):
        first = None
        rows = self.prepare(approve=lambda row: row["position"] % 3 != 0)
        first = next(row for row in rows if row["position"] % 3)
        table = self.table()
        self.assertEqual(len(table), len([row for row in rows if row["position"] % 3]))
        lines = [json.loads(line) for line in self.export("--format", "jsonl").splitlines()]
        self.assertEqual([line["row_key"] for line in lines], [row["row_key"] for row in table])
        self.assertEqual([line["text"] for line in lines], [row["text"] for row in table])
        self.assertEqual({row["decision"] for row in table}, {"approved"})
        self.assertEqual({row["reviewer"] for row in table}, {"ann"})
        self.assertEqual(table[0]["item_id"], first["item"])
        self.assertEqual(len(self.table("--all")), len(table))

    def test_an_edited_text_takes_the_place(self):
        text = 'Edited, "quoted"\nand longer 杯子'
        rows = self.run_job("copy.csv")
        key = (rows[1]["item_id"], rows[1]["segment_id"])
        self.prepare(edits={key: text})
        row = next(row for row in self.table() if (row["item_id"], row["segment_id"]) == key)
        self.assertEqual((row["text"], row["decision"]), (text, "edited"))
        self.assertGreater(int(row["edit_distance"]), 0)
        pairs = [json.loads(line) for line in self.export("--format", "pairs").splitlines()]
        pair = next(pair for pair in pairs if (pair["item_id"], pair["segment_id"]) == key)
        self.assertEqual((pair["text"], pair["rejected"]), (text, row["generated"]))
        self.assertEqual(pair["facts"]["title"], row["title"])
        self.assertIn("interests", pair["segment"])

    def test_origin(self):
        self.prepare()
        plain = self.table()
        self.assertNotIn("AIGC", plain[0])
        both = self.table("--origin", "both", "--producer", "Sample Shop")
        for row, old in zip(both, plain):
            self.assertRegex(row["text"], r"(\(AI-generated\)|（本文由AI生成）)$")
            self.assertTrue(row["text"].startswith(old["text"]))
            label = json.loads(row["AIGC"])
            self.assertEqual(list(label), AIGC)
            self.assertEqual((label["Label"], label["ContentProducer"], label["ProduceID"]),
                             ("1", "Sample Shop", row["row_key"]))

    def test_excel_cannot_execute_a_cell(self):
        rows = self.run_job("copy.csv")
        key = (rows[0]["item_id"], rows[0]["segment_id"])
        self.prepare(edits={key: "=HYPERLINK(1)"})
        text = self.export("--excel")
        self.assertTrue(text.startswith("\ufeff"))
        self.assertIn("'=HYPERLINK(1)", text)
        self.assertEqual(text.count("\r\n"), 1 + len(rows))
        self.assertIn("=HYPERLINK(1)", self.export("--format", "jsonl"))

    def test_files_and_wrong_usage(self):
        self.prepare()
        out = self.folder / "approved.csv"
        self.export("--out", out)
        self.assertEqual(out.read_text(encoding="utf-8"), self.export())
        self.assertEqual(copymill("export", "--format", "csv", self.folder / "copy.csv").stdout,
                         out.read_text(encoding="utf-8"), "the copy file names its job")
        for options, words in ((("--out", out), "--overwrite"), (("--format", "xml"), "shopify"),
                               (("--segment", "nobody"), "nobody"),
                               (("--format", "jsonl", "--excel"), "--excel"),
                               (("--format", "shopify"), "--segment"), (("more",), "one job")):
            result = copymill("export", self.job, *options)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(words, result.stderr)
        result = copymill("export", self.folder / "none.job")
        self.assertEqual(result.status, EXIT_USAGE, result)


class ShopTest(ExportTest):
    def prepare_one_segment(self, catalog, **more):
        segments = write_csv(self.folder / "one.csv", [["segment_id"], ["everybody"]])
        self.segments = segments
        return self.prepare(catalog=catalog, **more)

    def test_shopify_opens_again_as_the_same_product(self):
        catalog = write_csv(self.folder / "shop.csv", [
            ["Title", "URL handle", "Description", "Vendor", "Product category", "Price"],
            ["Oak Table", "oak-table", "<p>Old.</p>", "Woodish", "Furniture", "499"],
            ["Tee & Co \"Deluxe\"", "tee-co", "Old", "Loom", "Clothing", "19"],
            ["橡木椅", "橡木椅", "", "木作", "家具", "129"]])
        edits = {("tee-co", "everybody"): "Soft <b>&</b> light.\n\n- washes well\n"
                                          "- dries \"fast\"\nBuy, 1 > 0."}
        self.prepare_one_segment(catalog, edits=edits)
        out = self.folder / "out.csv"
        self.export("--format", "shopify", "--out", out)
        text = out.read_text(encoding="utf-8")
        table = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        self.assertEqual(list(table[0]), SHOPIFY)
        self.assertEqual(table[1]["Description"],
                         "<p>Soft &lt;b&gt;&amp;&lt;/b&gt; light.</p><ul><li>washes well</li>"
                         "<li>dries \"fast\"</li></ul><p>Buy, 1 &gt; 0.</p>")
        again = self.run_job("again.csv", catalog=out)
        before = rows_of(self.folder / "copy.csv")
        self.assertEqual([row["item_id"] for row in again], [row["item_id"] for row in before])
        ledger = sqlite3.connect(self.folder / "again.csv.job")
        items = {title: json.loads(facts)
                 for title, facts in ledger.execute("SELECT title, facts FROM item")}
        ledger.close()
        self.assertEqual(set(items), {"Oak Table", "Tee & Co \"Deluxe\"", "橡木椅"})
        description = items["Tee & Co \"Deluxe\""]["description"]
        self.assertEqual(" ".join(description.split()[:3]), "Soft <b>&</b> light.")
        self.assertIn("washes well", description)
        self.assertTrue(description.endswith("Buy, 1 > 0."))

    def test_other_ids_become_handles(self):
        catalog = write_csv(self.folder / "odd.csv", [
            ["id", "title"], ["SKU 12/A", "Mug"], ["sku-12-a", "Mug again"], ["!!", "Jug"]])
        self.prepare_one_segment(catalog)
        result = copymill("export", self.job, "--format", "shopify")
        self.assertEqual(result.status, EXIT_PARTIAL, result)
        self.assertIn("2 rows cannot go into this format", result.stderr)
        table = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
        self.assertEqual([row["URL handle"] for row in table], ["sku-12-a"])

    def test_google_merchant(self):
        catalog = write_csv(self.folder / "feed.csv", [
            ["id", "title", "link"], ["g1", "Mug", "x"], ["g2", "Jug", "x"],
            ["g3", "T" * 151, "x"]])
        edits = {("g1", "everybody"): "Line one.\nLine\ttwo.",
                 ("g2", "everybody"): 'Fits: a "big" hand, really'}
        self.prepare_one_segment(catalog, edits=edits)
        table = self.table("--format", "google-merchant", delimiter="\t", status=EXIT_PARTIAL)
        self.assertEqual(list(table[0]), GOOGLE)
        self.assertEqual([row["id"] for row in table], ["g1", "g2"])
        self.assertEqual([row["title"] for row in table], ["Mug", "Jug"])
        self.assertEqual(table[0]["structured_description"],
                         "trained_algorithmic_media:Line one. Line two.")
        self.assertEqual(table[1]["structured_description"],
                         'trained_algorithmic_media:"Fits: a ""big"" hand, really"')
        text = self.export("--format", "google-merchant", status=EXIT_PARTIAL)
        self.assertEqual(len(text.splitlines()), 3)
        feed = self.folder / "feed.txt"
        feed.write_text(text, encoding="utf-8")
        again = self.run_job("again.csv", catalog=feed)
        self.assertEqual([row["item_id"] for row in again], ["g1", "g2"])

    def test_parts_survive_an_edit_line_by_line(self):
        catalog = write_csv(self.folder / "feed.csv",
                            [["id", "title"], ["g1", "Mug"], ["g2", "Jug"]])
        self.segments = write_csv(self.folder / "one.csv", [["segment_id"], ["everybody"]])
        self.run_job("copy.csv", catalog=catalog)
        fields = {"title": "A mug", "description": "Holds tea."}
        ledger = sqlite3.connect(self.job)
        ledger.execute("UPDATE copy SET text = 'A mug\nHolds tea.', fields = ?",
                       (json.dumps(fields),))
        ledger.commit()
        ledger.close()
        with Review(self.job, "--reviewer", "ann") as review:
            review.sign_in()
            first, second = review.rows(order="plan")
            review.decide(first["id"], 0, "edit", text="The mug\n\nHolds tea, and stays warm.")
            review.decide(second["id"], 0, "edit", text="Holds everything")
        table = self.table("--format", "google-merchant", "--origin", "mark", delimiter="\t",
                           status=EXIT_PARTIAL)
        self.assertEqual([row["id"] for row in table], ["g1"])
        self.assertEqual(table[0]["structured_title"], "trained_algorithmic_media:The mug")
        self.assertEqual(table[0]["structured_description"], "trained_algorithmic_media:"
                         "Holds tea, and stays warm. (AI-generated)")
        lines = [json.loads(line) for line in self.export("--format", "jsonl").splitlines()]
        self.assertEqual(lines[0]["fields"], {"title": "The mug",
                                              "description": "Holds tea, and stays warm."})
        self.assertEqual(lines[1]["fields"], {})

    def test_parts_of_a_text_go_where_they_belong(self):
        catalog = write_csv(self.folder / "feed.csv", [["id", "title"], ["g1", "Mug"]])
        self.prepare_one_segment(catalog)
        fields = {"title": "A mug: yours", "description": "Holds tea.", "seo_title": "Mug",
                  "seo_description": "A mug"}
        ledger = sqlite3.connect(self.job)
        ledger.execute("UPDATE copy SET fields = ?", (json.dumps(fields),))
        ledger.commit()
        ledger.close()
        row, = self.table("--format", "google-merchant", delimiter="\t")
        self.assertEqual(row["title"], "")
        self.assertEqual(row["structured_title"], 'trained_algorithmic_media:"A mug: yours"')
        self.assertEqual(row["structured_description"], "trained_algorithmic_media:Holds tea.")
        row, = self.table("--format", "shopify")
        self.assertEqual((row["Title"], row["SEO title"], row["SEO description"]),
                         ("Mug", "Mug", "A mug"))
        self.assertEqual(row["Description"], "<p>Holds tea.</p>")


if __name__ == "__main__":
    unittest.main()
