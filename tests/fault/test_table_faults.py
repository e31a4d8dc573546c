"""`prepare`, `import` and `batch` starved of memory or let down by the disk: each ends with an exit
status of its own and leaves a whole file or none; a batch goes on where it stopped."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["COPYMILL_FAULT"]
EXITS = (0, 1, 2, 3, 4)
UNHARMED_MAX = 6

CATALOG = """sku,title,description,category,Net weight
1,Canvas bag,"<p>A light canvas bag with two handles, made for the shopping of a week.</p>",Bags,1KG
2,Canvas bag,"A light canvas bag with two handles, made for the shopping of a week.",Bags,1 kg
3,Mug,call 13800138000,,
4,,,,
"""
TAXONOMY = "category,keywords\nHome > Mugs,mug\n"
CUSTOMERS = "CustomerID,Age,Spending\n" + "".join(f"{n},{20 + n % 50},{n % 90}\n"
                                                  for n in range(60))
AMAZON = json.dumps({"parent_asin": "B0", "title": "Wax", "description": ["Soft."],
                     "details": {"Form": "Wax"}}) + "\noops\n"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "A mug"}], "max_tokens": 8}
REQUESTS = "".join(json.dumps({"custom_id": f"r{n}", "method": "POST",
                               "url": "/v1/chat/completions", "body": {**CHAT, "seed": n}}) + "\n"
                   for n in range(6)) + "broken\n"


class Faults(unittest.TestCase):
    """Every fault in turn up to the end of the work, the later ones in larger steps."""

    def setUp(self):
        keeper = tempfile.TemporaryDirectory(prefix="copymill-fault-")
        self.addCleanup(keeper.cleanup)
        self.folder = pathlib.Path(keeper.name)
        for name, text in (("items.csv", CATALOG), ("taxonomy.csv", TAXONOMY),
                           ("customers.csv", CUSTOMERS), ("amazon.jsonl", AMAZON),
                           ("requests.jsonl", REQUESTS), ("model.gguf", "fake")):
            (self.folder / name).write_text(text, encoding="utf-8")

    def run_program(self, *arguments, **faults):
        environment = {**os.environ, **{name: str(value) for name, value in faults.items()}}
        result = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False,
                                timeout=60, cwd=self.folder, env=environment)
        self.assertIn(result.returncode, EXITS, (faults, result.stderr))
        return result

    def results(self, names):
        paths = [self.folder / name for name in names]
        return [path.read_bytes() if path.exists() else None for path in paths]

    def forget(self, names):
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def each_fault(self, kind, arguments, names, step=1, least=20):
        self.forget(names)
        self.assertEqual(self.run_program(*arguments).returncode, 0)
        whole = self.results(names)
        nth = failed = unharmed = 0
        while unharmed < UNHARMED_MAX:  # some faults are survived; past the last all are
            nth += 1 if nth < 40 else step
            self.forget(names)
            result = self.run_program(*arguments, **{kind: nth})
            if result.returncode == 0 and self.results(names) == whole:
                unharmed += 1
                continue
            unharmed = 0
            failed += 1
            self.assertTrue(result.stderr.strip(), (kind, nth))
            for found, expected in zip(self.results(names), whole):
                self.assertIn(found, (None, expected), (kind, nth))
        print(f"{arguments[0]}: {failed} of {nth - UNHARMED_MAX} faults ended it")
        self.assertGreaterEqual(failed, least)

    def test_prepare_catalog(self):
        names = ["out.csv", "report.csv"]
        arguments = ["prepare", "--catalog", "items.csv", "--taxonomy", "taxonomy.csv", "--out",
                     "out.csv", "--report", "report.csv"]
        self.each_fault("FAULT_ALLOC", arguments, names, step=7)
        self.each_fault("FAULT_IO", arguments, names, least=4)

    def test_prepare_segments(self):
        self.each_fault("FAULT_ALLOC", ["prepare", "--segments-from", "customers.csv", "--out",
                                        "out.csv"], ["out.csv"], step=7)

    def test_import(self):
        self.each_fault("FAULT_ALLOC", ["import", "amazon", "amazon.jsonl", "--out", "out.csv",
                                        "--pairs", "pairs.jsonl"], ["out.csv", "pairs.jsonl"],
                        step=7)

    def batch(self, **faults):
        return self.run_program("batch", "-i", "requests.jsonl", "-o", "out.jsonl", "--model",
                                "model.gguf", "--progress", "none", **faults)

    def answers(self):
        rows = [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]
        return [(row["custom_id"], row["response"]["body"]["choices"]) for row in rows]

    def test_batch(self):
        self.assertEqual(self.batch().returncode, 3)
        whole = self.answers()
        self.assertEqual(len(whole), 6)
        for kind, nths in (("FAULT_IO", range(1, 30)), ("FAULT_ALLOC", range(1, 400, 9))):
            for nth in nths:
                for path in self.folder.glob("out.*"):
                    path.unlink()
                first = self.batch(**{kind: nth})
                if first.returncode != 3:
                    self.assertTrue(first.stderr.strip(), (kind, nth))
                again = self.batch()
                self.assertEqual(again.returncode, 3, (kind, nth, first.stderr, again.stderr))
                self.assertEqual(self.answers(), whole, (kind, nth))
                errors = (self.folder / "out.errors.jsonl").read_text().splitlines()
                self.assertEqual(len(errors), 1)


if __name__ == "__main__":
    unittest.main()
