"""`copymill bench --plan` on a tiny model, against numbers worked out by hand."""

import json
import shutil
import tempfile
import unittest

from harness import EXIT_OK, EXIT_USAGE, TESTS, copymill

MODEL = TESTS / "golden" / "tiny" / "llama"  # float32; 2 layers of 64, 4 heads of 16 over 2, 176
WORKLOAD = ("--model", MODEL, "--batch", 32, "--prompt-tokens", 64, "--output-tokens", 8)


class BenchPlanTest(unittest.TestCase):
    def plan(self, *more, device="h100"):
        result = copymill("bench", "--plan", device, "--json", *WORKLOAD, *more)
        self.assertEqual(result.status, EXIT_OK, result)
        return json.loads(result.stdout)

    def test_a_decode_step(self):
        step = self.plan()["decode"]
        ops = {op["op"]: op for op in step["ops"]}
        # 32 texts are two waves of 16.
        self.assertEqual((step["rows"], step["context_tokens"]), (16, 64 + 4))
        qkv = ops["qkv"]
        self.assertEqual(qkv["count"], 2)
        self.assertEqual(qkv["bytes"], 2 * (128 * 64 * 2 + 16 * 64 * 4 + 16 * 128 * 4))
        self.assertEqual(qkv["flops"], 2 * 2 * 16 * 64 * 128)
        self.assertEqual(qkv["kernel_flops"], 2 * 2 * 64 * 64 * 128)  # 64 rows of a tile
        attention = ops["attention"]
        position = 2 * 2 * 16 * 2  # bytes of k and v, two heads, float16
        self.assertEqual(attention["bytes"], 2 * (16 * 68 * position + 2 * 16 * 64 * 4))
        self.assertEqual(attention["flops"], 2 * 4 * 16 * 64 * 68)
        self.assertEqual(attention["kernel_flops"], attention["flops"] * 16 / 2)
        self.assertEqual(ops["embed"]["bytes"], 16 * 64 * (4 + 4))
        self.assertEqual(ops["norm + residual"]["bytes"], 4 * 16 * 64 * 16)
        self.assertEqual(ops["gate + up"]["flops"], 2 * 2 * 16 * 64 * 352)
        self.assertEqual(ops["head"]["bytes"], 600 * 64 * 2 + 16 * 64 * 4 + 16 * 600 * 4)
        self.assertEqual(ops["sample"]["bytes"], 16 * 600 * 4)
        for name in ("bytes", "flops", "roofline_s", "designed_s"):
            self.assertAlmostEqual(step[name], sum(op[name] for op in step["ops"]), delta=1e-12)
        self.assertAlmostEqual(attention["roofline_s"], attention["bytes"] / 3350e9, delta=1e-15)

    def test_the_workload(self):
        plan = self.plan()
        # 32 x 64 prompt tokens in steps of 32 + 1024 rows, whose tokens see 32.5 each; then 7 more
        # tokens of each of the two waves.
        prefill, decode = plan["prefill"], plan["decode"]
        self.assertAlmostEqual(prefill["steps"], 32 * 64 / 1056, delta=1e-6)
        self.assertEqual(prefill["context_tokens"], 32.5)
        self.assertEqual(decode["steps"], 2 * 7)
        seconds = sum(step["steps"] * step["designed_s"] for step in (prefill, decode))
        self.assertAlmostEqual(plan["designed_s"], seconds, delta=1e-9)
        self.assertAlmostEqual(plan["designed_copies_per_s"], 32 / seconds, delta=1)
        self.assertLess(plan["roofline_s"], plan["designed_s"])

    def test_shared_tokens_are_read_once(self):
        step = self.plan("--shared-prefix", 64)["decode"]
        attention = next(op for op in step["ops"] if op["op"] == "attention")
        self.assertEqual(attention["bytes"], 2 * ((64 + 16 * 4) * 128 + 2 * 16 * 64 * 4))

    def test_what_items_share_is_computed_once(self):
        plan = self.plan("--batch", 64, "--shared-prefix", 10, "--item-tokens", 30,
                         "--segments-per-item", 8)
        tokens = 10 + 8 * 30 + 64 * 24
        self.assertAlmostEqual(plan["prefill"]["steps"], tokens / 1088, delta=1e-6)

    def test_few_texts_are_one_wave(self):
        decode = self.plan("--batch", 8)["decode"]
        self.assertEqual((decode["rows"], decode["steps"]), (8, 7))

    def test_weights_and_cache_have_the_bytes_of_the_precision(self):
        x_and_y = 16 * 64 * 4 + 16 * 128 * 4
        # Of 64 x 128: float32 weights of the file become 8 bits with a scale for 32 inputs.
        for precision, weights in (("exact", 4 * 64 * 128), ("fp16", 2 * 64 * 128),
                                   ("fp8", 64 * 128 + 4 * 128), ("int8", 64 * 128 * 36 / 32),
                                   ("int4", 64 * 128 * 36 / 32)):
            plan = self.plan("--precision", precision)
            ops = {op["op"]: op for op in plan["decode"]["ops"]}
            self.assertEqual(plan["precision"], precision)
            self.assertEqual(ops["qkv"]["bytes"], 2 * (weights + x_and_y), precision)
            head = {"exact": 4 * 16, "fp8": 16 + 1}.get(precision, 2 * 16)
            self.assertEqual(ops["attention"]["bytes"],
                             2 * (16 * 68 * 2 * 2 * head + 2 * 16 * 64 * 4), precision)

    def test_config_json_is_enough(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(MODEL / "config.json", folder)
            plan = self.plan("--model", folder)
            whole = self.plan()
            for name in ("qkv", "attention", "head", "sample"):
                op, expected = ([op for op in one["decode"]["ops"] if op["op"] == name]
                                for one in (plan, whole))
                self.assertEqual(op, expected)
            result = copymill("bench", "--model", folder)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn("tokenizer.json", result.stderr)

    def test_precision_and_device_matter(self):
        exact = self.plan("--precision", "exact")["decode"]
        plain = self.plan()["decode"]
        self.assertGreater(exact["bytes"], plain["bytes"])
        faster = self.plan(device="h200")["decode"]
        self.assertEqual(faster["bytes"], plain["bytes"])
        self.assertLess(faster["roofline_s"], plain["roofline_s"])

    def test_the_table(self):
        result = copymill("bench", "--plan", "a100", *WORKLOAD)
        self.assertEqual(result.status, EXIT_OK, result)
        for words in ("NVIDIA A100", "prefill step: 1056 rows", "decode step: 16 rows", "qkv",
                      "roofline = max(", "copies/s"):
            self.assertIn(words, result.stdout)

    def test_wrong_usage(self):
        for arguments, word in ((("--plan", "tpu"), "h100, h200 or a100"),
                                (("--plan", "h100", "--catalog", "x.csv"), "--catalog"),
                                (("--plan", "a100", "--precision", "fp8"), "int8, int4 or bf16"),
                                (("--plan", "h100", "--precision", "fp7"), "fp8")):
            result = copymill("bench", *arguments, *WORKLOAD[:2])
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main()
