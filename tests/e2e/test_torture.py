"""Public torture files through the command line: every naughty string is catalog text, and damaged
model files are refused with a message. tests/unit and tests/fuzz read the same files one by one.
"""

import json
import random
import re
import shutil
import unittest

from harness import (COLUMNS, EXIT_FAILED, EXIT_OK, EXIT_USAGE, TESTS, CopymillTest, copymill,
                     write_csv)

NAUGHTY = TESTS / "data" / "torture" / "blns.json"
GGUF = TESTS / "fuzz" / "corpus" / "gguf" / "good"
DAMAGES_PER_FILE = 12


class TortureTest(CopymillTest):
    OPTIONS = ("--max-tokens", "8", "--attempts", "3", "--temperature", "0.8", "--seed", "7",
               "--progress", "none")

    def test_naughty_strings_are_catalog_text(self):
        strings = json.loads(NAUGHTY.read_text(encoding="utf-8"))
        self.assertGreater(len(strings), 500)
        catalog = write_csv(self.folder / "items.csv",
                            [["id", "title", "description"]] +
                            [[f"item-{i}", f"Mug {text}", text] for i, text in enumerate(strings)])
        segments = write_csv(self.folder / "one.csv", [["segment_id", "tone"], ["all", "calm"]])
        rows = self.run_job("copy.csv", catalog=catalog, segments=segments)
        self.assertEqual([row["item_id"] for row in rows],
                         [f"item-{i}" for i in range(len(strings))])
        self.assertEqual([row for row in rows if row["status"] == "failed"], [])

    def test_naughty_strings_as_segments_and_in_json(self):
        strings = [text for text in json.loads(NAUGHTY.read_text(encoding="utf-8"))
                   if text.strip() and not re.search(r"@|\d{4}", text)][::12]
        catalog = self.folder / "items.jsonl"
        catalog.write_text("".join(json.dumps({"id": i, "title": "Mug", "note": text}) + "\n"
                                   for i, text in enumerate(strings[:4])), encoding="utf-8")
        segments = write_csv(self.folder / "many.csv", [["segment_id", "interests"]] +
                             [[f"s-{i}", text] for i, text in enumerate(strings)])
        rows = self.run_job("copy.csv", catalog=catalog, segments=segments)
        self.assertEqual(len(rows), 4 * len(strings))
        self.assertEqual(list(rows[0]), COLUMNS)

    def damaged(self, content, draw):
        """Cut short, or with a few bits turned over, most of them where the structure is."""
        if draw.random() < 0.3:
            return content[:draw.randrange(len(content))]
        changed = bytearray(content)
        reach = len(content) if draw.random() < 0.3 else min(len(content), 3000)
        for _ in range(draw.randrange(1, 4)):
            changed[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        return bytes(changed)

    def check(self, path, name):
        result = copymill("model", "tokenize", path, "--text", "A steel mug, 350 ml")
        self.assertIn(result.status, (EXIT_OK, EXIT_FAILED, EXIT_USAGE), (name, result))
        if result.status != EXIT_OK:
            self.assertIn("copymill", result.stderr)
            self.assertGreater(len(result.stderr.strip()), 30, result)
        return result.status != EXIT_OK

    def test_damaged_model_folders(self):
        source = self.model if self.model.is_dir() else None
        if not source:
            self.skipTest("a folder is what gets damaged here")
        draw = random.Random(3)
        folder = self.folder / "broken"
        refused = 0
        names = ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"]
        for name in names:
            content = (source / name).read_bytes()
            for _ in range(DAMAGES_PER_FILE):
                shutil.copytree(source, folder, dirs_exist_ok=True)
                (folder / name).write_bytes(self.damaged(content, draw))
                refused += self.check(folder, name)
        self.assertGreater(refused, len(names) * DAMAGES_PER_FILE // 3)

    def test_damaged_gguf_files(self):
        draw = random.Random(4)
        content = GGUF.read_bytes()
        path = self.folder / "broken.gguf"
        refused = 0
        for _ in range(2 * DAMAGES_PER_FILE):
            path.write_bytes(self.damaged(content, draw))
            refused += self.check(path, "good")
        self.assertGreater(refused, DAMAGES_PER_FILE // 2)


if __name__ == "__main__":
    unittest.main()
