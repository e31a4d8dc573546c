"""`copymill prepare --catalog`: clean, labelled items come out, and every item is accounted for."""

import csv
import io
import json
import pathlib
import re
import tempfile
import unittest

from harness import EXIT_OK, EXIT_USAGE, copymill, shared_or_none, write_csv

HEADER = ["sku", "title", "brand", "category", "description", "price", "Net weight", "Color"]
LONG = ("A light canvas bag with two long handles and an inner pocket for keys, woven from organic "
        "cotton and made to carry the shopping of a whole week without a creak.")

ROWS = [
    HEADER,
    ["b1", "Canvas Bag", "Acme", "Bags", f"<p>{LONG}</p>", "19.90", "500 GRAMS", "Red"],
    ["b2", "Canvas Bag", "Acme", "Bags", LONG, "19.90", "500 g", "Red"],
    ["b3", "Canvas Bag", "Acme", "Bags", LONG, "19.90", "500 g", "Blue"],
    ["b4", "canvas bag!", "Acme", "", LONG.replace("light", "very light"), "", "", ""],
    ["m1", "Stoneware mug&nbsp;&amp; saucer", "", "", "Write to ann@example.com or call "
     "13800138000; glazed by hand in a small workshop by the sea.", "12", "0.4KGS", ""],
    ["z1", "保温杯", "", "", "这款保温杯采用不锈钢内胆，容量大，保温时间长，客服电话：４００-８２０-８８２０。",
     "59", "３５０克", "白色"],
    ["x1", "", "", "", "", "3", "", ""],
]


def records(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


class PrepareCatalog(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.report = self.folder / "report.csv"

    def prepare(self, rows, *more, status=EXIT_OK):
        source = write_csv(self.folder / "raw.csv", rows)
        result = copymill("prepare", "--catalog", source, "--out", "-", "--report", self.report,
                          "--overwrite", *more)
        self.assertEqual(result.status, status, result)
        items = {row["id"]: row for row in records(result.stdout)}
        return items, result.stderr

    def reasons(self, action):
        rows = records(self.report.read_text(encoding="utf-8"))
        return [(row["item_id"], row["field"], row["reason"]) for row in rows
                if row["action"] == action]

    def test_items_are_cleaned_and_labelled(self):
        items, stderr = self.prepare(ROWS)
        self.assertEqual(items["b1"]["description"], LONG)
        self.assertEqual(items["b1"]["Net weight"], "500 g")
        self.assertEqual(items["m1"]["title"], "Stoneware mug & saucer")
        self.assertEqual(items["m1"]["Net weight"], "0.4 kg")
        self.assertIn("Write to [e-mail] or call [phone];", items["m1"]["description"])
        self.assertIn("客服电话：[phone]。", items["z1"]["description"])
        self.assertEqual((items["z1"]["language"], items["z1"]["Net weight"]), ("zh", "350克"))
        self.assertEqual(items["b1"]["language"], "en")
        changed = self.reasons("changed")
        self.assertIn(("b1", "description", "HTML and entities to text"), changed)
        self.assertIn(("m1", "description", "e-mail address masked"), changed)
        self.assertIn(("m1", "Net weight", "measure"), changed)
        for secret in ("ann@example", "13800138000", "８２０"):
            self.assertNotIn(secret, self.report.read_text(encoding="utf-8") + stderr)

    def test_every_item_is_accounted_for(self):
        items, stderr = self.prepare(ROWS)
        kept, merged, dropped = map(self.reasons, ("kept", "merged", "dropped"))
        self.assertEqual(set(items), {item for item, _, _ in kept})
        self.assertEqual(len(kept) + len(merged) + len(dropped), len(ROWS) - 1)
        self.assertTrue(all(reason for _, _, reason in kept + merged + dropped))
        self.assertIn("7 items read: 4 kept, 2 merged, 1 dropped", stderr)
        self.assertEqual([(i, r) for i, _, r in merged],
                         [("b2", "exact duplicate"), ("b4", "near duplicate")])
        self.assertEqual(dropped[0][0], "x1")
        self.assertEqual(items["b3"]["near_duplicate_of"], "b1")

    def test_a_merged_item_gives_what_the_other_lacks(self):
        rows = [HEADER, ["b4", "Canvas Bag", "Acme", "", LONG, "", "", ""], ROWS[1]]
        items, _ = self.prepare(rows)
        self.assertEqual(list(items), ["b4"])
        self.assertEqual((items["b4"]["category"], items["b4"]["Net weight"]), ("Bags", "500 g"))
        self.assertEqual(items["b4"]["price"], "19.90")

    def test_the_result_is_clean(self):
        out = self.folder / "clean.csv"
        source = write_csv(self.folder / "raw.csv", ROWS)
        self.assertEqual(copymill("prepare", "--catalog", source, "--out", out).status, EXIT_OK)
        again = copymill("prepare", "--catalog", out, "--out", "-", "--report", self.report)
        self.assertEqual(again.stdout, out.read_text(encoding="utf-8"))
        self.assertEqual(self.reasons("changed"), [])
        lines = self.folder / "clean.jsonl"
        self.assertEqual(copymill("prepare", "--catalog", out, "--out", lines).status, EXIT_OK)
        objects = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([o["id"] for o in objects], ["b1", "b3", "m1", "z1"])
        self.assertNotIn("Color", objects[2])
        back = copymill("prepare", "--catalog", lines, "--out", "-")
        self.assertEqual(records(back.stdout), records(again.stdout))

    def test_taxonomy(self):
        taxonomy = write_csv(self.folder / "taxonomy.csv",
                             [["category", "keywords"], ["Home > Mugs", "mug"],
                              ["Fashion > Bags", ""], ["家居 > 杯子", "保温杯"]])
        items, _ = self.prepare(ROWS, "--taxonomy", taxonomy)
        self.assertEqual([items[i]["category"] for i in ("b1", "m1", "z1")],
                         ["Fashion > Bags", "Home > Mugs", "家居 > 杯子"])
        _, stderr = self.prepare(ROWS, "--taxonomy", self.folder / "none.csv", status=EXIT_USAGE)
        self.assertIn("none.csv", stderr)

    def test_identifiers_can_be_refused(self):
        _, stderr = self.prepare(ROWS, "--pii", "refuse", status=EXIT_USAGE)
        self.assertRegex(stderr, r"raw\.csv:6: the item m1 ")
        self.assertFalse(self.report.exists())

    def test_placeholder_texts_are_no_facts(self):
        rows = [HEADER, ["1", "Mug", "", "", "<p>Lorem ipsum dolor sit amet, et cetera.</p>"],
                ["2", "Cup", "", "", "Pellentesque habitant morbi tristique et netus et fames."]]
        items, _ = self.prepare(rows)
        self.assertEqual([item["description"] for item in items.values()], ["", ""])
        self.assertIn(("1", "description", "placeholder text removed"), self.reasons("changed"))

    def test_raw_texts(self):
        texts = self.folder / "texts.txt"
        texts.write_text(f"<p>{LONG}</p>\n\n{LONG}\n{LONG.replace('light', 'LIGHT')}!\n"
                         "这款保温杯保温时间长，客服电话13800138000。\n", encoding="utf-8")
        result = copymill("prepare", "--texts", texts, "--out", "-", "--report", self.report)
        self.assertEqual(result.status, EXIT_OK, result)
        rows = records(result.stdout)
        self.assertEqual([row["description"] for row in rows],
                         [LONG, "这款保温杯保温时间长，客服电话[phone]。"])
        self.assertEqual([row["language"] for row in rows], ["en", "zh"])
        self.assertIn("4 items read: 2 kept, 2 merged, 0 dropped", result.stderr)
        self.assertTrue(all(row["id"].startswith("text-") for row in rows))
        result = copymill("prepare", "--texts", texts, "--map", "title=x", "--out", "-")
        self.assertEqual(result.status, EXIT_USAGE)

    def test_rubbish(self):
        for content in (b"", b"\0\0\0", b"title\n", b'title\n"open', b"a,b\n1,2\n", b"[1,2]",
                        b"{}"):
            source = self.folder / "rubbish.csv"
            source.write_bytes(content)
            out = self.folder / "nothing.csv"
            result = copymill("prepare", "--catalog", source, "--out", out)
            self.assertIn(result.status, (1, 2), (content, result))
            self.assertIn("rubbish.csv", result.stderr)
            self.assertFalse(out.exists(), content)
        self.assertEqual(copymill("prepare", "--out", "-").status, EXIT_USAGE)
        self.assertEqual(copymill("prepare", "--catalog", "x", "--segments-from", "y", "--out",
                                  "-").status, EXIT_USAGE)

    def test_damaged_rows_are_dropped_by_name(self):
        source = self.folder / "damaged.csv"
        source.write_text('sku,title\n1,Cup\n2,"Mug"x\n3,Plate\n')
        result = copymill("prepare", "--catalog", source, "--out", "-", "--report", self.report)
        self.assertEqual([r["id"] for r in records(result.stdout)], ["1", "3"])
        rows = records(self.report.read_text())
        self.assertEqual([r["line"] for r in rows if r["action"] == "dropped"], ["3"])


CATALOGS = shared_or_none("data", "catalog")


@unittest.skipUnless(CATALOGS, "no reference data")
class RealCatalogs(unittest.TestCase):
    """Rows of the file = items + rows that went into items; items = kept + merged + dropped."""

    SUMS = re.compile(r"(\d+) items read: (\d+) kept, (\d+) merged, (\d+) dropped")
    ROWS = re.compile(r"; (\d+) rows, (\d+) items")
    OTHERS = re.compile(r"^rows (?:joined|left out): .*: (\d+)$", re.M)

    def rows_of(self, path):
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return len(json.loads(text))
        if path.suffix == ".jsonl":
            return len(text.splitlines())
        delimiter = ";" if path.name.startswith("prestashop") else ","
        csv.field_size_limit(1 << 24)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return sum(any(cell.strip() for cell in row) for row in rows) - 1

    def test_no_item_is_lost(self):
        paths = sorted(CATALOGS.iterdir()) + sorted((CATALOGS.parent / "zh").glob("*.jsonl"))
        for path in paths:
            if path.name == "prestashop_combinations_import.csv":
                continue  # variants without titles: refused, as it says
            with self.subTest(path.name), tempfile.TemporaryDirectory() as folder:
                out, report = pathlib.Path(folder, "out.jsonl"), pathlib.Path(folder, "r.jsonl")
                result = copymill("prepare", "--catalog", path, "--out", out, "--report", report)
                self.assertEqual(result.status, EXIT_OK, result)
                read, kept, merged, dropped = map(int, self.SUMS.search(result.stderr).groups())
                rows, items = map(int, self.ROWS.search(result.stderr).groups())
                others = sum(map(int, self.OTHERS.findall(result.stderr)))
                self.assertEqual(read, items)
                self.assertEqual(kept + merged + dropped, read)
                self.assertEqual(rows, items + others)
                self.assertEqual(rows, self.rows_of(path))
                lines = [json.loads(line) for line in report.read_text().splitlines()]
                for action, count in (("kept", kept), ("merged", merged), ("dropped", dropped)):
                    found = [line for line in lines if line["action"] == action]
                    self.assertEqual(len(found), count)
                    self.assertTrue(all(line["reason"] for line in found))
                self.assertEqual(len(out.read_text().splitlines()), kept)


if __name__ == "__main__":
    unittest.main()
