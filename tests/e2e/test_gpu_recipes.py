"""The recipes of profiling/gpu, as far as they go without a GPU."""

import importlib.util
import pathlib
import subprocess
import sys
import unittest

GPU = pathlib.Path(__file__).resolve().parents[2] / "profiling" / "gpu"


def call(name, *arguments):
    command = [sys.executable, GPU / name] if name.endswith(".py") else [GPU / name]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


class RecipesTest(unittest.TestCase):
    def test_help(self):
        for name, word in (("nsys.sh", "Nsight Systems"), ("ncu.sh", "Nsight Compute"),
                           ("compare_gpu.py", "tensorrt-llm")):
            result = call(name, "--help")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(word, result.stdout)

    def test_a_family_must_be_named(self):
        result = call("ncu.sh", "teapot")
        self.assertEqual(result.returncode, 2)
        self.assertIn("attention, matmul, norm or sample", result.stderr)


class CompareTest(unittest.TestCase):
    def test_dry_run(self):
        result = call("compare_gpu.py", "--model", "some-model", "--items", "3", "--dry-run",
                      "--output-tokens", "5")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("24 prompts, 5 tokens after each", result.stdout)
        self.assertIn("--model some-model", result.stdout)
        self.assertIn("garden chair model 0", result.stdout)

    def test_unknown_engine(self):
        result = call("compare_gpu.py", "--model", "m", "--engines", "teapot", "--dry-run")
        self.assertEqual(result.returncode, 2)
        self.assertIn("teapot", result.stderr)

    def test_medians_and_ratios(self):
        spec = importlib.util.spec_from_file_location("compare_gpu", GPU / "compare_gpu.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        turns = []
        for number, (ours, theirs) in enumerate(((200, 100), (300, 100), (100, 200))):
            for engine, rate in (("copymill", ours), ("vllm", theirs)):
                turns.append({"round": number, "engine": engine, "tokens_per_s": rate,
                              "copies_per_s": rate / 10})
        ours, theirs = module.summary(turns)
        self.assertEqual((ours["tokens_per_s"], theirs["tokens_per_s"]), (200, 100))
        self.assertEqual(theirs["copymill_ratio"], 2)  # of 2, 3 and 0.5
        self.assertEqual(ours["copymill_ratio"], 1)
        prompts = module.made_up_prompts(2, 8)
        self.assertEqual(len(set(prompts)), 16)
        self.assertEqual(len({prompt.split("Audience")[0] for prompt in prompts}), 2)


if __name__ == "__main__":
    unittest.main()
