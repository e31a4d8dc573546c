"""Real catalogs of three shop systems, run to completion with a real model. For --long.

Needs the reference data beside the project and a fetched SmolLM2; skipped where either is absent.
"""

import csv
import unittest

from harness import EXIT_OK, EXIT_PARTIAL, CopymillTest, rows_of, shared

USABLE_MIN = 0.99


def distinct(path, column):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return len({row[column] for row in csv.DictReader(file)} - {""})


class LargeCatalogTest(CopymillTest):
    SEGMENTS = 3
    OPTIONS = ("--max-tokens", "24", "--seed", "1", "--progress", "none")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bestbuy = shared("data", "catalog", "bestbuy_ecommerce_3291.json")
        cls.spree = shared("data", "catalog", "spree_products.csv")
        cls.shopify = shared("data", "catalog", "shopify_gatsby_example_products.csv")

    def check(self, catalog, items, *options):
        result = self.call_job("copy.csv", *options, catalog=catalog)
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        rows = rows_of(self.folder / "copy.csv")
        self.assertEqual(len(rows), items * self.SEGMENTS)
        usable = [row for row in rows if row["status"] in ("ok", "flagged") and row["text"]]
        self.assertGreaterEqual(len(usable), USABLE_MIN * len(rows))
        for row in rows:
            self.assertEqual(row["status"] == "failed", row["error"] != "", row)

    def test_bestbuy(self):
        self.check(self.bestbuy, 200, "--limit", "200")

    def test_spree(self):
        self.assertEqual(distinct(self.spree, "slug"), 37)
        self.check(self.spree, 37)

    def test_shopify(self):
        self.assertEqual(distinct(self.shopify, "Handle"), 99)
        self.check(self.shopify, 99)


if __name__ == "__main__":
    unittest.main()
