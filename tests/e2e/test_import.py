"""`copymill import`: public data sets become catalogs and pairs of facts and copy."""

import csv
import json
import pathlib
import tempfile
import unittest

from harness import EXIT_OK, EXIT_USAGE, copymill, shared_or_none, write_csv

AMAZON = [
    {"parent_asin": "B0A", "title": "Leather Conditioner &amp; Wax", "features": ["Cleans", "8 oz"],
     "description": ["A soft <b>wax</b>.", "For shoes."], "price": 12.5, "store": "Howard",
     "categories": ["Home", "Care"], "details": {"UPC": "617390882781", "Item Form": "Wax",
                                                 "Best Sellers Rank": {"Home": 3}}},
    {"parent_asin": "B0B", "title": "Bare", "features": [], "description": [], "price": None,
     "store": None, "categories": [], "details": {}, "main_category": "Toys"},
]
ADVERTISEGEN = [
    {"content": "类型#裤*版型#宽松*风格#性感*风格#复古*裤型#阔腿裤", "summary": "宽松的阔腿裤。"},
    {"content": "类型#裤*版型#宽松*风格#性感*风格#复古*裤型#阔腿裤", "summary": "同一条裤子。"},
]


class DataSetTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def convert(self, kind, source):
        out = self.folder / "out"
        result = copymill("import", kind, source, "--out", f"{out}/")
        self.assertEqual(result.status, EXIT_OK, result)
        with open(out / "catalog.csv", encoding="utf-8", newline="") as file:
            items = list(csv.DictReader(file))
        pairs = [json.loads(line)
                 for line in (out / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
        for pair in pairs:
            self.assertEqual(list(pair), ["item_id", "segment_id", "scenario", "channel",
                                          "language", "facts", "segment", "text"])
            self.assertIn(pair["item_id"], {item["id"] for item in items})
        return items, pairs, result.stderr

    def lines(self, records, *more):
        path = self.folder / "in.jsonl"
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
                        + "".join(more), encoding="utf-8")
        return path


class Import(DataSetTest):
    def test_amazon(self):
        items, pairs, stderr = self.convert("amazon", self.lines(AMAZON, "oops\n"))
        self.assertEqual([item["id"] for item in items], ["B0A", "B0B"])
        first = items[0]
        self.assertEqual((first["title"], first["brand"], first["category"], first["price"],
                          first["currency"], first["features"], first["Item Form"]),
                         ("Leather Conditioner & Wax", "Howard", "Home > Care", "12.5", "USD",
                          "Cleans; 8 oz", "Wax"))
        self.assertEqual(items[1]["category"], "Toys")
        self.assertNotIn("UPC", first)
        self.assertEqual([pair["text"] for pair in pairs], ["A soft wax.\nFor shoes."])
        self.assertNotIn("description", pairs[0]["facts"])
        self.assertIn("in.jsonl:3: left out", stderr)
        self.assertIn("3 records: 2 items", stderr)

    def test_advertisegen(self):
        items, pairs, _ = self.convert("advertisegen", self.lines(ADVERTISEGEN))
        self.assertEqual(len(items), 1)
        self.assertEqual((items[0]["title"], items[0]["category"], items[0]["风格"],
                          items[0]["language"]), ("宽松阔腿裤裤", "裤", "性感, 复古", "zh"))
        self.assertEqual([pair["text"] for pair in pairs], ["宽松的阔腿裤。", "同一条裤子。"])
        self.assertEqual(pairs[0]["facts"]["版型"], "宽松")

    def test_e2e(self):
        meaning = "name[The Vaults], eatType[pub], priceRange[more than £30]"
        source = write_csv(self.folder / "e2e.csv",
                           [["mr", "ref"], [meaning, "The Vaults is a pub."],
                            [meaning, "A dear pub, The Vaults."], ["area[centre]", "Somewhere."]])
        items, pairs, stderr = self.convert("e2e", source)
        self.assertEqual((items[0]["title"], items[0]["eat type"], items[0]["price range"]),
                         ("The Vaults", "pub", "more than £30"))
        self.assertEqual((len(items), len(pairs)), (1, 2))
        self.assertIn("1 damaged", stderr)

    def test_taobao(self):
        source = write_csv(self.folder / "tb.csv", [["title", "aspect", "user_category",
                                                     "description"],
                                                    ["北欧风落地灯", "外观", "文艺青年", "简约大方。"]])
        _, pairs, _ = self.convert("taobao", source)
        self.assertEqual((pairs[0]["segment_id"], pairs[0]["segment"]),
                         ("文艺青年", {"aspect": "外观", "user_category": "文艺青年"}))

    def test_taobao_in_parallel_files(self):
        for ending, text in (("src", "北欧 风 落地灯 E27 LED\n餐桌\n"), ("tgt", "很 美\n结实\n"),
                             ("cond", "1 12\n2 3\n")):
            (self.folder / f"train.{ending}").write_text(text, encoding="utf-8")
        items, pairs, _ = self.convert("taobao", self.folder / "train.src")
        self.assertEqual([item["title"] for item in items], ["北欧风落地灯E27 LED", "餐桌"])
        self.assertEqual([pair["text"] for pair in pairs], ["很美", "结实"])
        (self.folder / "train.tgt").write_text("很 美\n", encoding="utf-8")
        result = copymill("import", "taobao", self.folder / "train.src", "--out",
                          self.folder / "x.csv")
        self.assertEqual(result.status, EXIT_USAGE)
        self.assertIn("train.src:2", result.stderr)

    def test_a_file_of_its_own(self):
        out = self.folder / "catalog.jsonl"
        result = copymill("import", "amazon", self.lines(AMAZON), "--out", out, "--limit", "1")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual([json.loads(line)["id"] for line in out.read_text().splitlines()],
                         ["B0A"])
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()),
                         ["catalog.jsonl", "in.jsonl"])

    def test_mistakes(self):
        source = self.lines(AMAZON)
        for arguments in ([], ["amazon"], ["amazon", source], ["ebay", source, "--out", "x"],
                          ["amazon", self.folder / "none", "--out", self.folder / "x.csv"],
                          ["e2e", source, "--out", self.folder / "x.csv"],
                          ["amazon", source, "--out", source]):
            result = copymill("import", *arguments)
            self.assertEqual(result.status, EXIT_USAGE, (arguments, result))
            self.assertFalse((self.folder / "x.csv").exists())
        self.assertEqual(copymill("import", "--help").status, EXIT_OK)


SHARED = shared_or_none("data")


@unittest.skipUnless(SHARED, "no reference data")
class RealData(DataSetTest):
    def test_every_record_is_there(self):
        for kind, path, records in (
                ("advertisegen", SHARED / "zh" / "advertisegen_devsplit_0001-0400.jsonl", 400),
                ("advertisegen", SHARED / "zh" / "advertisegen_train_subset.jsonl", 28),
                ("e2e", SHARED / "eval" / "e2e_devset.csv", 4672)):
            with tempfile.TemporaryDirectory() as folder:
                self.folder = pathlib.Path(folder)
                _, pairs, stderr = self.convert(kind, path)
                self.assertIn(f"{records} records", stderr)
                self.assertEqual(len(pairs), records)


if __name__ == "__main__":
    unittest.main()
