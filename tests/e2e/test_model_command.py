"""`copymill model info`, `tokenize`, `embed` and `check` on a tiny checkpoint."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

COPYMILL = os.environ["COPYMILL"]
TINY = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tiny" / "llama"
EXPECTED = json.loads((TINY / "expected.json").read_text(encoding="utf-8"))


def run(*arguments, text=None):
    return subprocess.run([COPYMILL, "model", *map(str, arguments)], input=text,
                          capture_output=True, text=True, encoding="utf-8", check=False)


class InfoTest(unittest.TestCase):
    def test_json(self):
        result = run("info", TINY, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        info = json.loads(result.stdout)
        self.assertEqual((info["family"], info["layers"], info["heads"], info["kv_heads"]),
                         ("llama", 2, 4, 2))
        self.assertEqual(info["vocabulary"], 600)
        self.assertEqual(info["types"], {"F32": {"tensors": 21, "bytes": info["weights_bytes"]}})
        self.assertEqual(info["parameters"] * 4, info["weights_bytes"])
        self.assertEqual(info["kv_token_bytes"], 2 * 2 * 2 * 16 * 4)

    def test_text(self):
        result = run("info", TINY)
        self.assertEqual(result.returncode, 0, result.stderr)
        for part in ("llama", "512 tokens", "ChatML", "F32", "<|endoftext|>"):
            self.assertIn(part, result.stdout)


class TokenizeTest(unittest.TestCase):
    def test_there_and_back(self):
        for case in EXPECTED["cases"]:
            result = run("tokenize", TINY, "--text", case["text"], "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            answer = json.loads(result.stdout)
            self.assertEqual(answer["ids"], case["ids"])
            self.assertEqual(answer["count"], len(case["ids"]))
            ids = ", ".join(map(str, case["ids"]))
            self.assertEqual(run("tokenize", TINY, "--decode", ids).stdout, case["text"] + "\n")

    def test_standard_input_and_lines(self):
        result = run("tokenize", TINY, text="a\n耳<|im_end|>")
        lines = result.stdout.splitlines()
        self.assertEqual(lines[0].split("\t")[1], '"a"')
        self.assertEqual(lines[1].split("\t")[1], '"\\n"')
        self.assertNotIn("2", [line.split("\t")[0] for line in lines])  # the marker stays text
        self.assertEqual(run("tokenize", TINY, text="").stdout, "")

    def test_wrong_usage(self):
        for arguments in ([TINY, "--decode", "600"], [TINY, "--decode", "1 x"],
                          [TINY, "--text", "a", "--decode", "1"], [TINY, "two"], [],
                          ["no-such-model"], [TINY, "--nonsense"]):
            with self.subTest(arguments):
                result = run("tokenize", *arguments)
                self.assertEqual(result.returncode, 2)
                self.assertNotEqual(result.stderr, "")


class EmbedTest(unittest.TestCase):
    BERT = TINY.parent / "bert"

    def test_vectors_of_lines(self):
        lines = [f"mug number {i}" for i in range(70)]
        result = run("embed", self.BERT, text="\n".join(lines) + "\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        vectors = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual((len(vectors), {len(v) for v in vectors}), (70, {64}))
        for vector in vectors:
            self.assertAlmostEqual(sum(x * x for x in vector), 1, places=4)
        alone = run("embed", self.BERT, "--text", lines[65])
        self.assertEqual(json.loads(alone.stdout), vectors[65])

    def test_similarity(self):
        result = run("embed", self.BERT, "--to", "a mug", "--exact", text="a mug\n杯子\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        pairs = [line.split("\t") for line in result.stdout.splitlines()]
        self.assertEqual([text for _, text in pairs], ["a mug", "杯子"])
        self.assertEqual(pairs[0][0], "1.0000")
        self.assertLess(float(pairs[1][0]), 1)

    def test_wrong_model_and_usage(self):
        result = run("embed", TINY, "--text", "x")
        self.assertEqual(result.returncode, 2)
        self.assertIn("BERT", result.stderr)
        self.assertEqual(run("embed").returncode, 2)
        self.assertEqual(run("embed", self.BERT / "none", "--text", "x").returncode, 2)


class CheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, content):
        path = self.folder / "expected.json"
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return path

    def test_full_logits(self):
        for precision in ("exact", "bf16", "int8"):
            result = run("check", TINY, "--expected", TINY / "expected.json",
                         "--precision", precision)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertIn("18 of 18 with the same bytes", result.stdout)

    def test_logits_of_another_model(self):
        logits = bytearray((TINY / "logits.f32").read_bytes())
        logits[3] ^= 0x01  # the sign and exponent of the first value
        (self.folder / "logits.f32").write_bytes(logits)
        result = run("check", TINY, "--expected", self.write(EXPECTED))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("falls short", result.stdout)

    def test_another_greedy_text(self):
        shutil.copy(TINY / "logits.f32", self.folder)
        cases = [dict(case) for case in EXPECTED["cases"]]
        cases[1]["greedy"] = [cases[1]["greedy"][0] ^ 1] + cases[1]["greedy"][1:]
        result = run("check", TINY, "--expected", self.write({**EXPECTED, "cases": cases}))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)

    def test_highest_logits(self):
        case = EXPECTED["cases"][0]
        rows = memoryview((TINY / "logits.f32").read_bytes()).cast("f")
        row = list(rows[(len(case["ids"]) - 1) * 600:len(case["ids"]) * 600])
        order = sorted(range(600), key=lambda token: -row[token])[:20]
        top = {"text": case["text"], "ids": case["ids"], "greedy": order[:1],
               "top20": [[[token, row[token]] for token in order]], "mean_logprob": -6.0}
        result = run("check", TINY, "--expected", self.write({"cases": [top]}))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        top["top20"][0][3][1] += 0.001
        top["top20"][0].sort(key=lambda pair: -pair[1])
        result = run("check", TINY, "--expected", self.write({"cases": [top]}))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)

    def test_tokenizer_cases(self):
        cases = [[case["text"], list(case["ids"])] for case in EXPECTED["cases"]]
        result = run("check", TINY, "--expected", self.write({"cases": cases}))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        cases[2][1][0] += 1
        result = run("check", TINY, "--expected", self.write({"cases": cases}))
        self.assertEqual(result.returncode, 1)
        self.assertIn("case 3", result.stdout)

    def test_unreadable_references(self):
        case = EXPECTED["cases"][0]
        (self.folder / "logits.f32").write_bytes(bytes(600 * 4))
        for content in ([], {}, {"cases": []}, {"cases": [{}]}, {"cases": [["a", [-1]]]},
                        {"cases": [["a", [1.5]]]}, {"cases": [["a"]]},
                        {**EXPECTED, "n_vocab": 0}, {**EXPECTED, "n_vocab": 601}, EXPECTED,
                        {**EXPECTED, "cases": [{**case, "logits_row": -1}]},
                        {**EXPECTED, "cases": [{**case, "greedy_margin": []}]},
                        {"cases": [{"ids": [], "greedy": [], "top20": []}]},
                        {"cases": [{"ids": [1], "greedy": [1], "top20": [[[1, 0], [700, -1]]]}]},
                        {"cases": [{"ids": [700], "greedy": [1], "top20": [[[1, 0], [2, -1]]]}]}):
            with self.subTest(content if len(str(content)) < 200 else str(content)[-200:]):
                result = run("check", TINY, "--expected", self.write(content))
                self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
                self.assertNotEqual(result.stderr, "")

    def test_wrong_usage(self):
        for arguments in ([TINY], ["--expected", "x"], [TINY, "--expected", "no/such/file"],
                          [TINY, "--expected", TINY / "expected.json", "--precision", "fp3"]):
            with self.subTest(arguments):
                self.assertEqual(run("check", *arguments).returncode, 2)


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False).result.wasSuccessful())
