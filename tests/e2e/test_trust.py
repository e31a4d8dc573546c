"""What --fact-lock, --ban and the length budget promise, over 300 copies of a real model: no number
that the facts do not hold, none with another unit, no banned word, texts that end with a sentence;
and that the lock does not drive out the numbers that the facts do hold. For --long; prints its
figures.

Numbers are read here by other code than the program's. Skipped without the reference data or the
model.
"""

import json
import re
import unicodedata
import unittest

from harness import EXIT_OK, EXIT_PARTIAL, CopymillTest, rows_of, shared, write_csv

ITEMS, SEGMENTS, TOKENS = 100, 3, 80
LOOSE_ITEMS = 20
KEPT_MIN, CLOSED_MIN = 0.7, 0.95
BANNED = ["perfect", "best", "ultimate", "premium", "luxury", "luxurious", "must-have", "stylish",
          "high-quality", "amazing", "exceptional", "elevate", "unique"]
UNITS = {"cm": "cm", "mm": "mm", "m": "m", "kg": "kg", "g": "g", "grams": "g", "gram": "g",
         "ml": "ml", "oz": "oz", "ounces": "oz", "ounce": "oz", "inch": "in", "inches": "in",
         "lb": "lb", "lbs": "lb", "pounds": "lb", "day": "d", "days": "d", "week": "w",
         "weeks": "w", "month": "mo", "months": "mo", "year": "y", "years": "y", "%": "%",
         "percent": "%"}
NUMBER = re.compile(r"\d+(?:[.,'’]\d+)*")
CLOSED = re.compile(r"[.!?。！？…][\"'”’)]*$")
UNIT = re.compile(r"[\s\u00a0-]*([A-Za-z]+|%)")


def strings(value):
    if isinstance(value, dict):
        return [text for key, part in value.items() for text in [key, *strings(part)]]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [str(value)]


def readings(text):
    """The values that a number can have: 1,299 is 1299 and 1.299."""
    plain = re.sub("[,'’]", "", text)
    european = text.replace(".", "").replace(",", ".")
    values = set()
    for form in (plain, european):
        try:
            values.add(round(float(form), 6))
        except ValueError:
            values |= {float(part) for part in re.findall(r"\d+", text)}
    return values


def numbers_of(text):
    """Pairs of possible values and unit ("": none)."""
    text = unicodedata.normalize("NFKC", text)
    for found in NUMBER.finditer(text):
        unit = UNIT.match(text, found.end())
        yield found.group(), readings(found.group()), UNITS.get(unit.group(1).lower(), "") \
            if unit else ""


class Facts:
    def __init__(self, item):
        self.values = {}
        for text in strings(item):
            for _, values, unit in numbers_of(text):
                for value in values:
                    self.values.setdefault(value, set()).add(unit)

    def hold(self, values, unit):
        return any(unit in units or unit == "" or ("" in units and unit != "%")
                   for units in (self.values.get(value) for value in values) if units)


class TrustTest(CopymillTest):
    OPTIONS = ("--max-tokens", str(TOKENS), "--seed", "5", "--progress", "none")
    FINISH_S = 3000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = shared("data", "catalog", "dummyjson_products.json")

    def make_catalog(self):
        """What a shop would hand over; reviews, stock and codes are none of the copy's business."""
        products = json.loads(self.source.read_text(encoding="utf-8"))
        products = products["products"] if isinstance(products, dict) else products
        items = [{"id": str(product["id"]), "title": product["title"],
                  "description": product["description"], "category": product["category"],
                  "price": f"{product['price']} USD",
                  "discount": f"{round(product['discountPercentage'])}%",
                  "size": " x ".join(str(product["dimensions"][side])
                                     for side in ("width", "height", "depth")) + " cm",
                  "weight": f"{product['weight']} oz",
                  "warranty": product["warrantyInformation"],
                  "delivery": product["shippingInformation"]} for product in products[:ITEMS]]
        path = self.folder / "items.json"
        path.write_text(json.dumps(items), encoding="utf-8")
        return path, {item["id"]: Facts(item) for item in items}

    def run_copies(self, out, items, *options):
        result = self.call_job(out, *options, "--limit", items, catalog=self.items,
                               segments=self.customers)
        self.assertIn(result.status, (EXIT_OK, EXIT_PARTIAL), result)
        rows = rows_of(self.folder / out)
        self.assertEqual(len(rows), items * SEGMENTS)
        return {(row["item_id"], row["segment_id"]): row for row in rows}

    def unsupported(self, row):
        facts = self.facts[row["item_id"]]
        return [text + " " + unit for text, values, unit in numbers_of(row["text"])
                if not facts.hold(values, unit)]

    def uses_a_fact(self, row):
        facts = self.facts[row["item_id"]]
        return any(facts.hold(values, unit) for _, values, unit in numbers_of(row["text"]))

    def banned_in(self, row):
        text = unicodedata.normalize("NFKC", row["text"]).lower()
        return [word for word in BANNED if re.search(rf"(?<![a-z0-9]){word}", text)]

    def test_300_copies(self):
        self.items, self.facts = self.make_catalog()
        self.customers = write_csv(self.folder / "segments.csv", [
            ["segment_id", "language", "interests", "tone"], ["students", "en", "price", "casual"],
            ["experts", "en", "technical details and sizes", "precise"],
            ["gifts", "en", "presents, delivery", "warm"]])
        ban = self.folder / "ban.txt"
        ban.write_text("\n".join(BANNED) + "\n", encoding="utf-8")
        loose = self.run_copies("loose.csv", LOOSE_ITEMS, "--fact-lock", "off")
        free = self.run_copies("free.csv", ITEMS, "--ban", ban, "--fact-lock", "off")
        locked = self.run_copies("locked.csv", ITEMS, "--ban", ban)

        with_banned = sum(bool(self.banned_in(row)) for row in loose.values())
        with_invented = sum(bool(self.unsupported(row)) for row in free.values())
        users = [key for key, row in free.items() if self.uses_a_fact(row)]
        still = [key for key in users if self.uses_a_fact(locked[key])]
        closed = [row for row in locked.values() if CLOSED.search(row["text"])]
        print(f"without bans {with_banned} of {len(loose)} copies hold a banned word\n"
              f"without the lock {with_invented} of {len(free)} copies name a number that is no "
              f"fact\nof {len(users)} copies with a number of the facts, {len(still)} have one "
              f"with the lock\n{len(closed)} of {len(locked)} copies end with a sentence",
              flush=True)

        self.assertGreater(with_banned, LOOSE_ITEMS // 2)
        self.assertEqual([row["text"] for row in locked.values() if self.unsupported(row)], [])
        self.assertEqual([row["text"] for row in locked.values() if self.banned_in(row)], [])
        self.assertGreaterEqual(len(still), KEPT_MIN * len(users))
        self.assertGreaterEqual(len(closed), CLOSED_MIN * len(locked))
        self.assertLessEqual(max(int(row["output_tokens"]) for row in locked.values()), TOKENS)


if __name__ == "__main__":
    unittest.main()
