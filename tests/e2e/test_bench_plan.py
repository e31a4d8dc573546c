"""`copymill bench --plan` on a tiny model, against numbers worked out by hand."""

import json
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
        self.assertEqual((step["rows"], step["context_tokens"]), (32, 64 + 4))
        qkv = ops["qkv"]
        self.assertEqual(qkv["count"], 2)
        self.assertEqual(qkv["bytes"], 2 * (128 * 64 * 2 + 32 * 64 * 4 + 32 * 128 * 4))
        self.assertEqual(qkv["flops"], 2 * 2 * 32 * 64 * 128)
        self.assertEqual(qkv["kernel_flops"], 2 * 2 * 64 * 64 * 128)  # 64 rows of a tile
        attention = ops["attention"]
        position = 2 * 2 * 16 * 2  # bytes of k and v, two heads, float16
        self.assertEqual(attention["bytes"], 2 * (32 * 68 * position + 2 * 32 * 64 * 4))
        self.assertEqual(attention["flops"], 2 * 4 * 32 * 64 * 68)
        self.assertEqual(attention["kernel_flops"], attention["flops"] * 16 / 2)
        self.assertEqual(ops["embed"]["bytes"], 32 * 64 * (4 + 4))
        self.assertEqual(ops["norm + residual"]["bytes"], 4 * 32 * 64 * 16)
        self.assertEqual(ops["gate + up"]["flops"], 2 * 2 * 32 * 64 * 352)
        self.assertEqual(ops["head"]["bytes"], 600 * 64 * 2 + 32 * 64 * 4 + 32 * 600 * 4)
        self.assertEqual(ops["sample"]["bytes"], 32 * 600 * 4)
        for name in ("bytes", "flops", "roofline_s", "designed_s"):
            self.assertAlmostEqual(step[name], sum(op[name] for op in step["ops"]), delta=1e-12)
        self.assertAlmostEqual(attention["roofline_s"], attention["bytes"] / 3350e9, delta=1e-15)

    def test_the_workload(self):
        plan = self.plan()
        # 32 x 64 prompt tokens in steps of 32 + 256 rows, whose tokens see 32.5 each; 7 more steps.
        prefill, decode = plan["prefill"], plan["decode"]
        self.assertAlmostEqual(prefill["steps"], 32 * 64 / 288, delta=1e-6)
        self.assertEqual(prefill["context_tokens"], 32.5)
        self.assertEqual(decode["steps"], 7)
        seconds = sum(step["steps"] * step["designed_s"] for step in (prefill, decode))
        self.assertAlmostEqual(plan["designed_s"], seconds, delta=1e-9)
        self.assertAlmostEqual(plan["designed_copies_per_s"], 32 / seconds, delta=1)
        self.assertLess(plan["roofline_s"], plan["designed_s"])

    def test_shared_tokens_are_read_once(self):
        step = self.plan("--shared-prefix", 64)["decode"]
        attention = next(op for op in step["ops"] if op["op"] == "attention")
        self.assertEqual(attention["bytes"], 2 * ((64 + 32 * 4) * 128 + 2 * 32 * 64 * 4))

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
        for words in ("NVIDIA A100", "prefill step: 288 rows", "decode step: 32 rows", "qkv",
                      "roofline = max(", "copies/s"):
            self.assertIn(words, result.stdout)

    def test_wrong_usage(self):
        for arguments, word in ((("--plan", "tpu"), "h100, h200 or a100"),
                                (("--plan", "h100", "--catalog", "x.csv"), "--catalog"),
                                (("--plan", "h100", "--precision", "int8"), "bf16")):
            result = copymill("bench", *arguments, *WORKLOAD[:2])
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertIn(word, result.stderr)


if __name__ == "__main__":
    unittest.main()
