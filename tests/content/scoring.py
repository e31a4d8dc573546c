"""Runs `copymill score` over copies and gives the rules that each was flagged with."""

import csv
import pathlib
import tempfile

from harness import copymill


def score(copies_and_texts, *options):
    """[(Copy, text)] -> [{rule: detail}], in order."""
    copies = list({id(copy): copy for copy, _ in copies_and_texts}.values())
    names = sorted({name for copy in copies for name in copy.facts} - {"title"})
    with tempfile.TemporaryDirectory(prefix="copymill-score-") as folder:
        folder = pathlib.Path(folder)
        with open(folder / "catalog.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "title", "brand", *names])
            for copy in copies:
                writer.writerow([copy.item_id, copy.facts["title"], copy.brand,
                                 *(copy.facts.get(name, "") for name in names)])
        with open(folder / "copy.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["item_id", "language", "text"])
            for copy, text in copies_and_texts:
                writer.writerow([copy.item_id, copy.language, text])
        result = copymill("score", folder / "copy.csv", "--catalog", folder / "catalog.csv",
                          "--out", folder / "scored.csv", "--near-duplicate", "1", *options)
        assert result.status == 0, result
        with open(folder / "scored.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    assert len(rows) == len(copies_and_texts), (len(rows), len(copies_and_texts))
    return [flags_of(row["flags"]) for row in rows]


def flags_of(text):
    """"rule: detail; rule" as a dictionary; low-score is a sum, not a finding."""
    parts = [part.split(": ", 1) for part in text.split("; ") if part]
    return {part[0]: part[-1] for part in parts if part[0] not in ("low-score", "near-duplicate")}
