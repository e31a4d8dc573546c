"""True copies of the items of examples/, written from their columns by sentence patterns: enough to
hold the judge to every kind of fault with nothing but this repository."""

import csv

from perturb import Copy

ENGLISH = [("material", "It is made of {}."), ("color", "It comes in {}."),
           ("size", "Its size is {}."), ("capacity", "You get {} of it."),
           ("features", "Good to know: {}.")]
CHINESE = [("material", "采用{}制成。"), ("color", "颜色为{}。"), ("size", "尺寸为{}。"),
           ("capacity", "规格为{}。"), ("features", "特点是{}。")]


def read(path):
    copies = []
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            chinese = any("\u4e00" <= character <= "\u9fff" for character in row["title"])
            facts = {name: value for name, value in row.items()
                     if value and name not in ("id", "brand", "price", "currency", "category")}
            start = "{brand}推出的{title}，适合每天使用，也可以送给家人。" if chinese else \
                "The {title} from {brand} is for every day and makes a present as well."
            parts = [pattern.format(row[name].replace(";", ",").replace("；", "，"))
                     for name, pattern in (CHINESE if chinese else ENGLISH) if row[name]]
            text = ("" if chinese else " ").join([start.format(**row), *parts])
            copies.append(Copy(row["id"], "zh" if chinese else "en", text, facts, row["brand"]))
    return copies
