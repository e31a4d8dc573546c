"""The commands as a person types them: overview, mistakes, and `copymill bench` on a tiny model."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

COPYMILL = os.environ["COPYMILL"]
ROOT = pathlib.Path(__file__).parent.parent.parent
TINY = ROOT / "tests" / "golden" / "tiny" / "llama"
CATALOG = ROOT / "examples" / "catalog.csv"
SEGMENTS = ROOT / "examples" / "segments.csv"

BENCH_KEYS = [
    "copies_per_s", "wall_s", "prompt_tokens", "prefill_tokens", "cached_tokens", "output_tokens",
    "prefill_tokens_per_s", "decode_tokens_per_s", "output_tokens_per_s", "peak_rss_mib", "device",
    "threads", "precision", "batch", "machine_limit_gops", "machine_bandwidth_gbs",
    "fraction_of_limit",
]


def copymill(*arguments):
    return subprocess.run([COPYMILL, *arguments], capture_output=True, text=True, check=False)


class Overview(unittest.TestCase):
    def test_help_and_version(self):
        help_text = copymill("--help")
        self.assertEqual(help_text.returncode, 0)
        self.assertEqual(help_text.stderr, "")
        self.assertEqual(copymill("help").stdout, help_text.stdout)
        version = copymill("--version")
        self.assertRegex(version.stdout, r"^copymill \d+\.\d+\.\d+\n$")

    def test_every_command_of_the_overview_has_help(self):
        lines = copymill("--help").stdout.splitlines()
        commands = [line.split()[0] for line in lines if line.startswith("  ")]
        self.assertIn("run", commands)
        self.assertIn("bench", commands)
        for command in commands:
            if command in ("help", "version"):
                continue
            result = copymill(command, "--help")
            self.assertEqual(result.returncode, 0, command)
            self.assertIn(f"copymill {command}", result.stdout)
            for line in result.stdout.splitlines():
                self.assertLessEqual(len(line), 100)

    def test_a_timeout_is_a_number_of_seconds(self):
        for command in (("run", "--catalog", "a.csv", "--out", "b.csv"),
                        ("batch", "-i", "a.jsonl", "-o", "b.jsonl")):
            for value in ("0", "-1", "0.5", "soon", "nan", "inf", "1e9", ""):
                result = copymill(*command, "--device-timeout", value)
                self.assertEqual(result.returncode, 2, result)
                self.assertIn(f"--device-timeout {value}: expected a number from 1 to 86400",
                              result.stderr)

    def test_mistakes_are_wrong_usage(self):
        cases = [
            ((), "a command is missing"),
            (("bnech",), 'did you mean "bench"?'),
            (("frobnicate",), '"copymill --help" lists the commands'),
            (("--verbose",), "unknown command"),
            (("bench", "--bacth", "4"), "did you mean --batch?"),
            (("bench", "--batch", "many"), "--batch many: expected a whole number from 1 to 65536"),
            (("bench", "--shared-prefix", "9", "--prompt-tokens", "8"),
             "--shared-prefix 9: expected at most --prompt-tokens, 8"),
            (("bench", "--shared-prefix", "3", "--item-tokens", "6", "--prompt-tokens", "8"),
             "--item-tokens 6: expected at most 5"),
            (("bench", "--model", "no-such-model"), "no-such-model"),
            (("bench", "--catalog", str(CATALOG), "--prompt-tokens", "8"),
             "--item-tokens and --segments-per-item are for a synthetic workload"),
            (("bench", "--segments", str(SEGMENTS)), "expected --catalog FILE beside it"),
            (("bench", "--catalog", "-", "--repeat", "2"), "standard input can be read once"),
            (("bench", "--catalog", str(CATALOG), "--out", "copy.csv"), "unknown option --out"),
            (("run", "--catalog", str(CATALOG)), "--out is missing"),
            (("run", "--catalog", str(CATALOG), "--out", str(CATALOG)),
             "the same file as --catalog"),
            (("run", "--catalog", str(CATALOG), "--out", "c.csv", "--top-p", "1.5"),
             "--top-p 1.5: expected a number above 0 and at most 1"),
        ]
        for arguments, message in cases:
            result = copymill(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertEqual(result.stdout, "")
            self.assertIn(message, result.stderr)


class Bench(unittest.TestCase):
    def bench(self, *arguments):
        result = copymill("bench", "--model", str(TINY), "--prompt-tokens=40",
                          "--output-tokens=6", "--batch=5", "--threads=1", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_json_counts_every_token(self):
        figures = json.loads(self.bench("--json", "--repeat=3"))
        self.assertEqual(list(figures), BENCH_KEYS)
        self.assertEqual(figures["prompt_tokens"], 200)
        self.assertEqual(figures["prefill_tokens"], 200)
        self.assertEqual(figures["cached_tokens"], 0)
        self.assertEqual(figures["output_tokens"], 30)
        self.assertEqual(figures["threads"], 1)
        self.assertEqual(figures["batch"], 5)
        for key in ("copies_per_s", "peak_rss_mib", "machine_limit_gops", "fraction_of_limit"):
            self.assertGreater(figures[key], 0, key)

    def test_a_shared_prefix_is_computed_once(self):
        figures = json.loads(self.bench("--json", "--repeat=1", "--shared-prefix=32"))
        self.assertEqual(figures["prefill_tokens"] + figures["cached_tokens"], 200)
        self.assertEqual(figures["cached_tokens"], 4 * 32)

    def test_the_tokens_of_an_item_are_computed_once_for_its_segments(self):
        figures = json.loads(self.bench("--json", "--repeat=1", "--shared-prefix=16",
                                        "--item-tokens=16", "--segments-per-item=2"))
        self.assertEqual(figures["prefill_tokens"] + figures["cached_tokens"], 200)
        self.assertEqual(figures["cached_tokens"], 4 * 16 + 2 * 16)

    def test_the_table_names_the_limits(self):
        table = self.bench("--repeat=1")
        self.assertIn("copies/s", table)
        self.assertIn("machine limits: int8", table)

    def test_a_real_job_is_timed_and_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run(
                [COPYMILL, "bench", "--catalog", CATALOG, "--segments", SEGMENTS, "--model", TINY,
                 "--limit=2", "--max-tokens=4", "--threads=1", "--attempts=1", "--repeat=2",
                 "--json"],
                capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": folder})
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(os.listdir(folder), [])
        figures = json.loads(result.stdout)
        self.assertEqual(list(figures), BENCH_KEYS)
        self.assertEqual(figures["prefill_tokens"] + figures["cached_tokens"],
                         figures["prompt_tokens"])
        self.assertGreater(figures["cached_tokens"], 0)
        self.assertGreater(figures["copies_per_s"], 0)
        self.assertLessEqual(figures["output_tokens"], 12 * 4)


if __name__ == "__main__":
    unittest.main()
