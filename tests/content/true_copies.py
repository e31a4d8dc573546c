"""Descriptions that are known to be true, with the facts beside them: from public data sets in the
reference data. The text under judgement is never among its facts."""

import csv
import json
import os
import pathlib
import re

from perturb import Copy


def e2e(shared, count, skip=0):
    """Restaurants: one text each of different meaning representations (E2E, CC BY-SA 4.0)."""
    copies, seen = [], set()
    with open(shared / "data/eval/e2e_devset.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["mr"] in seen:
                continue
            seen.add(row["mr"])
            facts = dict(re.findall(r"(\w[\w ]*)\[([^\]]*)\]", row["mr"]))
            facts["title"] = facts.pop("name")
            copies.append(Copy(f"e2e-{len(seen)}", "en", row["ref"], facts))
    return copies[skip:skip + count]


def dummyjson(shared, count, skip=0):
    """Products of a demo shop (DummyJSON, MIT)."""
    products = json.loads((shared / "data/catalog/dummyjson_products.json").read_text("utf-8"))
    copies = []
    for item in (products if isinstance(products, list) else products["products"]):
        facts = {"title": item["title"], "category": item["category"], "price": str(item["price"]),
                 "tags": ", ".join(item["tags"]), "weight": str(item["weight"]),
                 "warranty": item["warrantyInformation"]}
        copies.append(Copy(f"dj-{item['id']}", "en", item["description"], facts,
                           item.get("brand", "")))
    return copies[skip:skip + count]


def spree(shared, count, skip=0):
    """Products of a demo shop (Spree, BSD-3-Clause)."""
    copies, seen = [], set()
    with open(shared / "data/catalog/spree_products.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["slug"] in seen or not row["description"]:
                continue
            seen.add(row["slug"])
            facts = {name.split(".")[-1]: row[name] for name in row
                     if row[name] and (name.startswith("custom_field") or name in (
                         "tags", "product_type", "category1", "weight"))}
            facts["title"] = row["name"]
            copies.append(Copy("sp-" + row["slug"], "en", row["description"], facts))
    return copies[skip:skip + count]


def advertisegen(shared, count, skip=0):
    """Chinese fashion (AdvertiseGen)."""
    copies = []
    path = shared / "data/zh/advertisegen_devsplit_0001-0400.jsonl"
    for number, line in enumerate(path.read_text("utf-8").splitlines()):
        record = json.loads(line)
        if "<UNK>" in record["summary"]:
            continue
        facts = {}
        for pair in record["content"].split("*"):
            name, value = pair.split("#", 1)
            facts[name] = facts[name] + "、" + value if name in facts else value
        facts["title"] = facts.get("类型", "商品")
        copies.append(Copy(f"ag-{number}", "zh", record["summary"], facts))
    return copies[skip:skip + count]


def says_only_known_numbers(copy):
    """Texts with numbers that no other column holds are left out: to flag those is right."""
    held = set(re.findall(r"\d+", " ".join([*copy.facts.values(), copy.brand])))
    return set(re.findall(r"\d+", copy.text)) <= held


def all_of(shared, skip=0):
    """300 of them."""
    shared = pathlib.Path(shared)
    counts = {e2e: 80, dummyjson: 120, spree: 15, advertisegen: 85}
    copies = []
    for source, count in counts.items():
        fit = [copy for copy in source(shared, 10**6) if says_only_known_numbers(copy)]
        step = max(1, (len(fit) - skip) // count)
        copies += fit[skip::step][:count]
    return copies


def shared_folder(root):
    """The reference data beside the project; None where it is not there."""
    path = pathlib.Path(os.environ.get("SHARED_DIR", root.parent / "shared"))
    return path if (path / "data/eval/e2e_devset.csv").exists() else None
