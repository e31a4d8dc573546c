"""Real catalogs of all shop systems, run to completion with a real model. For --long.

Needs the reference data beside the project and a fetched SmolLM2 (for AdvertiseGen Qwen); skipped
where they are absent. The segments come out of a table of customers, by `copymill prepare`.
"""

import collections
import csv
import json
import unittest

from harness import (EXIT_OK, EXIT_PARTIAL, CopymillTest, cached_model, copymill, rows_of, shared)

USABLE_MIN = 0.99


def records(path, delimiter=","):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def distinct(path, column):
    return len({row[column] for row in records(path)} - {""})


class LargeCatalogTest(CopymillTest):
    OPTIONS = ("--max-tokens", "24", "--seed", "1", "--progress", "none")
    FINISH_S = 3000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.catalogs = shared("data", "catalog")
        cls.customers = shared("data", "segments", "mall_customers.csv")
        cls.pairs = shared("data", "zh", "advertisegen_devsplit_0001-0400.jsonl")

    def segments_of_customers(self, most):
        path = self.folder / "segments.csv"
        result = copymill("prepare", "--segments-from", self.customers, "--out", path,
                          "--overwrite", "--max-segments", most)
        self.assertEqual(result.status, EXIT_OK, result)
        return path, len(records(path))

    def check(self, catalog, items, *options, segments=3):
        """As many rows as items × segments, each with a text or a reason; returns what was said."""
        path, count = self.segments_of_customers(segments)
        result = self.call_job("copy.csv", *options, catalog=catalog, segments=path)
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        rows = rows_of(self.folder / "copy.csv")
        self.assertEqual(len(rows), items * count)
        self.assertEqual(len({row["row_key"] for row in rows}), len(rows))
        self.check_usable(rows)
        return result.stderr

    def check_usable(self, rows):
        usable = [row for row in rows if row["status"] in ("ok", "flagged") and row["text"]]
        flags = collections.Counter(flag.split(":")[0].strip() for row in rows
                                    for flag in row["flags"].split(";") if flag)
        print(f"{self.id().split('.')[-1]}: {len(rows)} rows, {len(usable)} usable, "
              f"{dict(flags.most_common(4))}", flush=True)
        self.assertGreaterEqual(len(usable), USABLE_MIN * len(rows))
        for row in rows:
            self.assertEqual(row["status"] == "failed", row["error"] != "", row)

    def test_bestbuy(self):
        self.check(self.catalogs / "bestbuy_ecommerce_3291.json", 300, "--limit", "300")

    def test_magento(self):
        path = self.catalogs / "magento_configurable_products.csv"
        self.assertEqual(sum(row["product_type"] == "configurable" for row in records(path)), 147)
        self.check(path, 147)

    def test_sephora(self):
        path = self.catalogs / "sephora_foundations.csv"
        self.check(path, len(records(path)), segments=1)

    def test_woocommerce(self):
        path = self.catalogs / "woocommerce_sample_products.csv"
        self.assertEqual(sum(row["Type"] != "variation" for row in records(path)), 18)
        self.check(path, 18)

    def test_spree(self):
        path = self.catalogs / "spree_products.csv"
        self.check(path, distinct(path, "slug"))

    def test_shopify(self):
        path = self.catalogs / "shopify_gatsby_example_products.csv"
        said = self.check(path, distinct(path, "Handle"))
        self.assertIn("mediocre-concrete-pants", said)  # its rows stand in two places

    def test_prestashop(self):
        said = self.check(self.catalogs / "prestashop_products_import.csv", 2)
        self.assertIn("40 cells where the header has 39", said)

    def test_advertisegen(self):
        """The attributes of its items, without the copy that goes with them."""
        model = cached_model("qwen2.5-coder-0.5b-it")
        if not model:
            self.skipTest("the model qwen2.5-coder-0.5b-it is not cached")
        catalog = self.folder / "items.jsonl"
        lines = self.pairs.read_text(encoding="utf-8").splitlines()
        with open(catalog, "w", encoding="utf-8") as file:
            for number, line in enumerate(lines):
                file.write(json.dumps(attributes(number, line), ensure_ascii=False) + "\n")
        result = copymill("run", "--catalog", catalog, "--language", "zh", "--model", model,
                          "--out", self.folder / "copy.csv", "--max-tokens", "48", "--progress",
                          "none", finish_s=self.FINISH_S)
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        rows = rows_of(self.folder / "copy.csv")
        self.assertEqual(len(rows), len(lines))
        self.check_usable(rows)
        chinese = sum("\u4e00" <= letter <= "\u9fff" for row in rows for letter in row["text"])
        self.assertGreater(chinese, 0.7 * sum(len(row["text"]) for row in rows))


def attributes(number, line):
    """"类型#裙*颜色#白色*…" as an item with a column for each attribute."""
    values = {}
    for pair in json.loads(line)["content"].split("*"):
        name, _, value = pair.partition("#")
        values.setdefault(name, []).append(value)
    title = values.get("颜色", [""])[0] + values["类型"][0]
    return {"id": f"item-{number}", "标题": title,
            **{name: "、".join(parts) for name, parts in values.items()}}


if __name__ == "__main__":
    unittest.main()
