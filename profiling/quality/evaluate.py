"""How good is the copy, and what does the gate do? One command:

    COPYMILL=build/release/copymill profiling/quality/evaluate.py [--items 300] [--out FOLDER]

Real items × 3 segments × 5 scenarios, each twice: without the gate (one attempt, no fact lock, no
channel) and with it. Both are judged by `copymill score` and put side by side in FOLDER/report.md,
with the worst rows. The same command goes on where it stopped.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "content"), str(ROOT / "tests" / "support")]

import true_copies  # noqa: E402

SEGMENTS = [["segment_id", "age_range", "interests", "tone", "motive"],
            ["students", "18-24", "music, city life, saving money", "casual and upbeat",
             "good value for a small budget"],
            ["parents", "28-40", "family time, cooking, practical design", "warm and reassuring",
             "things that save time and last"],
            ["gifts", "30-60", "presents, craftsmanship", "friendly and elegant",
             "a present with a story"]]
QUESTIONS = {"en": [("What is it made of?", ""), ("How heavy is it?", ""),
                    ("Can I use it in space?", ""),
                    ("Can I send it back?", "Unused goods can be returned within 30 days.")],
             "zh": [("是什么材质的？", ""), ("有什么颜色？", ""), ("可以在太空使用吗？", ""),
                    ("可以退货吗？", "未使用的商品可在30天内退货。")]}
# The channel of each scenario, behind the gate.
CHANNELS = {"description": "google-merchant", "ad": "google-ads", "social": "x",
            "recommend": "generic", "answer": "generic"}
COMPLIANCE = {"superlative", "ranking", "urgency", "guarantee", "eco-claim", "medical-claim",
              "finance-claim", "profanity"}
UNSUPPORTED = {"unsupported-number", "unsupported-unit", "unsupported-brand", "contradicted-fact",
               "not-in-facts"}


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_inputs(folder, count, shared):
    """Half demo-shop products, a fifth appliances, the rest Chinese fashion."""
    copies = true_copies.dummyjson(shared, count // 2) + true_copies.spree(shared, count // 5)
    copies += true_copies.advertisegen(shared, count - len(copies))
    names = sorted({name for copy in copies for name in copy.facts} - {"title"})
    write(folder / "items.csv", [["id", "title", "brand", "language", *names]] + [
        [copy.item_id, copy.facts["title"], copy.brand, copy.language,
         *(copy.facts.get(name, "") for name in names)] for copy in copies])
    write(folder / "segments.csv", SEGMENTS)
    questions = [["question_id", "item_id", "question", "policy", "language"]]
    for number, copy in enumerate(copies):
        text, policy = QUESTIONS[copy.language][number % 4]
        questions.append([f"q{number}", copy.item_id, text, policy, copy.language])
    write(folder / "questions.csv", questions)
    return copies


def run(folder, scenario, gate, model):
    out = folder / f"{scenario}-{'after' if gate else 'before'}.csv"
    command = [os.environ["COPYMILL"], "run", "--catalog", folder / "items.csv", "--segments",
               folder / "segments.csv", "--scenario", scenario, "--model", model, "--out", out,
               "--no-samples"]
    command += (["--channel", CHANNELS[scenario], "--attempts", "3"] if gate else
                ["--attempts", "1", "--fact-lock", "off"])
    if scenario == "answer":
        command += ["--questions", folder / "questions.csv"]
    status = subprocess.run([str(part) for part in command], check=False).returncode
    if status not in (0, 3):
        sys.exit(f"{scenario}: copymill run ended with {status}")
    return out


def judged(folder, out):
    """Rows with their judgement, by the judge that knows the whole catalog."""
    scored = out.with_name(out.stem + "-scored.csv")
    command = [os.environ["COPYMILL"], "score", out, "--catalog", folder / "items.csv",
               "--segments", folder / "segments.csv", "--questions", folder / "questions.csv",
               "--out", scored, "--overwrite", "--evidence", "--worst", "0"]
    summary = subprocess.run([str(part) for part in command], check=True, capture_output=True,
                             text=True).stdout
    with open(scored, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(out, encoding="utf-8", newline="") as file:
        for row, written in zip(rows, csv.DictReader(file)):
            row["run_flags"] = written["flags"]
            row["judgement"] = json.loads(row["judgement"] or "{}")
            # A reply that says that nothing is known claims nothing.
            row["rules"] = {flag["rule"] for flag in row["judgement"].get("flags", [])
                            if (flag["rule"], flag["severity"]) != ("not-in-facts", "low")}
    variety = re.search(r"distinct-2 ([\d.]+), (\d+) near duplicates, self-BLEU ([\d.]+)", summary)
    return rows, variety.groups()


def too_long(folder, out, scenario):
    """The share of texts that exceed a hard limit of the scenario's channel, whatever channel they
    were written for."""
    command = [os.environ["COPYMILL"], "score", out, "--catalog", folder / "items.csv",
               "--channel", CHANNELS[scenario], "--worst", "0"]
    summary = subprocess.run([str(part) for part in command], check=True, capture_output=True,
                             text=True).stdout
    found = re.search(r"^ *too-long +\d+ +([\d.]+ %)", summary, re.MULTILINE)
    return found.group(1) if found else "0.0 %"


def share(rows, test):
    return f"{100 * sum(bool(test(row)) for row in rows) / len(rows):.1f} %" if rows else "–"


def coverage(rows):
    """Key facts said, as the spans of the judge tell: the mean number of different ones."""
    said = [len({span["fact"] for span in row["judgement"].get("spans", [])
                 if span["kind"] == "matched"}) for row in rows]
    return f"{sum(said) / len(said):.2f}" if said else "–"


def column(rows, variety, too_long_share):
    texts = [row for row in rows if row["text"]]
    return [len(texts), coverage(texts), share(texts, lambda r: r["rules"] & UNSUPPORTED),
            share(texts, lambda r: "unsupported-number" in r["rules"]),
            share(texts, lambda r: r["rules"] & COMPLIANCE),
            too_long_share,
            share(texts, lambda r: "repaired" in r["run_flags"]), *variety,
            share(texts, lambda r: "wrong-language" not in r["rules"]),
            share(texts, lambda r: r["status"] == "flagged"),
            f"{sum(float(r['score']) for r in texts) / max(1, len(texts)):.3f}"]


NAMES = ["texts", "facts said (mean)", "unsupported claims", "unsupported numbers",
         "compliance hits", "hard limit exceeded", "cut or completed", "distinct-2",
         "near duplicates", "self-BLEU", "right language", "flagged", "mean score"]


def promises(rows):
    """What no row that the run called ok may have; by the judge of the run, which a catalog's other
    items do not influence."""
    broken = collections.Counter()
    for row in rows:
        if row["status"] != "ok":
            continue
        severe = {flag["rule"] for flag in row["judgement"].get("flags", [])
                  if flag["severity"] == "high"}
        broken["high compliance hit"] += bool(severe & COMPLIANCE)
        broken["unsupported number"] += "unsupported-number" in row["rules"]
    broken["hard limit exceeded"] = sum("too-long" in row["rules"] for row in rows)
    return broken


def write_report(options, lines, worst, broken):
    """The tables so far, the promises, and the worst rows."""
    parts = [f"# {options.items} items × 3 segments, {options.model}", *lines,
             "\n## Promises behind the gate\n"]
    parts += [f"* {name}: {broken[name]}" for name in
              ("hard limit exceeded", "high compliance hit", "unsupported number")]
    parts += ["\n## The ten worst rows behind the gate\n"]
    for row in sorted(worst, key=lambda row: float(row["score"]))[:10]:
        parts.append(f"* {row['scenario']}, {row['item_id']}, {row['segment_id']}: "
                     f"{row['score']}, {row['status']}, {row['flags']}\n  > {row['text'][:300]!r}")
    report = "\n".join([*parts, ""])
    (options.out / "report.md").write_text(report, encoding="utf-8")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out" / "quality")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-it")
    parser.add_argument("--scenario", choices=CHANNELS, action="append")
    options = parser.parse_args()
    shared = true_copies.shared_folder(ROOT)
    if shared is None or not os.environ.get("COPYMILL"):
        sys.exit("needs the reference data beside the project and the program in $COPYMILL")
    options.out.mkdir(parents=True, exist_ok=True)
    write_inputs(options.out, options.items, shared)
    lines, worst, broken = [], [], collections.Counter()
    for scenario in options.scenario or CHANNELS:
        paths = [run(options.out, scenario, gate, options.model) for gate in (False, True)]
        before, after = (judged(options.out, path) for path in paths)
        broken += promises(after[0])
        lines += [f"\n## {scenario} ({CHANNELS[scenario]})\n", "| | before | after |",
                  "|---|---|---|"]
        lines += [f"| {name} | {a} | {b} |" for name, a, b in
                  zip(NAMES, column(*before, too_long(options.out, paths[0], scenario)),
                      column(*after, too_long(options.out, paths[1], scenario)))]
        worst += [row for row in after[0] if row["text"]]
        report = write_report(options, lines, worst, broken)  # a run that is cut has one too
    print(report)


if __name__ == "__main__":
    main()
