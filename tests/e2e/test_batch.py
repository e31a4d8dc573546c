"""`copymill batch`: OpenAI Batch files in, answers and errors out, whatever happens in between."""

import json
import os
import random
import re
import subprocess
import time
import unittest

from harness import (EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, CopymillTest, binary,
                     copymill)

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
KILLS = 12
SEED = int(os.environ.get("COPYMILL_KILL_SEED", str(random.SystemRandom().randrange(10**6))))


def line(custom_id, url=CHAT, method="POST", **body):
    body.setdefault("model", "gpt-4o-mini")
    if url == CHAT:
        body.setdefault("messages", [{"role": "user", "content": "A mug"}])
        body.setdefault("max_tokens", 3)
    elif url == COMPLETIONS:
        body.setdefault("prompt", "A mug")
        body.setdefault("max_tokens", 3)
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body})


def without_time(results):
    for result in results:
        result["response"]["body"].pop("created")
    return results


class BatchTest(CopymillTest):
    def call(self, lines, *more, out="out.jsonl"):
        source = self.folder / "in.jsonl"
        source.write_text("".join(text + "\n" for text in lines), encoding="utf-8")
        return copymill("batch", "-i", source, "-o", self.folder / out, "-e",
                        self.folder / (out + ".err"), "--model", self.model, "--progress", "none",
                        *more)

    def read(self, name):
        text = (self.folder / name).read_text(encoding="utf-8")
        return [json.loads(row) for row in text.splitlines()]

    def answer(self, lines, *more, status=EXIT_OK):
        result = self.call(lines, *more)
        self.assertEqual(result.status, status, result)
        return self.read("out.jsonl")

    def errors(self, lines):
        """custom_id -> code, for lines that are all broken."""
        result = self.call(lines)
        self.assertEqual(result.status, EXIT_FAILED, result)
        self.assertEqual(self.read("out.jsonl"), [])
        errors = self.read("out.jsonl.err")
        self.assertEqual(len(errors), len(lines))
        for error in errors:
            self.assertEqual(set(error), {"id", "custom_id", "response", "error"})
            self.assertIsNone(error["response"])
            self.assertTrue(error["error"]["message"].startswith("line "))
        return [(error["custom_id"], error["error"]["code"]) for error in errors]


class Answers(BatchTest):
    def test_chat_and_completions(self):
        chat, text = self.answer([line("a"), line("b", COMPLETIONS, n=3, prompt=["x", "y"])])
        self.assertEqual((chat["custom_id"], chat["error"]), ("a", None))
        self.assertEqual(chat["response"]["status_code"], 200)
        self.assertTrue(chat["id"] and chat["response"]["request_id"])
        body = chat["response"]["body"]
        self.assertEqual((body["object"], body["choices"][0]["message"]["role"]),
                         ("chat.completion", "assistant"))
        self.assertEqual(body["usage"]["total_tokens"],
                         body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"])
        self.assertEqual((body["usage"]["completion_tokens"],
                          body["choices"][0]["finish_reason"]), (3, "length"))
        body = text["response"]["body"]
        self.assertEqual((body["object"], [c["index"] for c in body["choices"]]),
                         ("text_completion", list(range(6))))
        self.assertGreater(len({c["text"] for c in body["choices"]}), 1)
        self.assertEqual(body["usage"]["completion_tokens"], 18)

    def test_same_request_same_text(self):
        prompts = [line(f"r{i}", seed=i, temperature=1.5, max_tokens=8) for i in range(40)]
        first = self.answer(prompts, "--batch", "1")
        self.assertEqual(self.call(prompts[::-1], "--batch", "16", out="other.jsonl").status,
                         EXIT_OK)
        second = self.read("other.jsonl")[::-1]
        self.assertEqual(without_time(first), without_time(second))
        # The seed alone decides, not the name.
        a, b, c = self.answer([line("a", seed=7, temperature=1.5), line("b", seed=7,
                               temperature=1.5), line("c", seed=8, temperature=1.5)],
                              "--overwrite")
        text = [r["response"]["body"]["choices"][0]["message"]["content"] for r in (a, b, c)]
        self.assertEqual(text[0], text[1])
        self.assertNotEqual(text[0], text[2])

    def test_stop_and_limits(self):
        whole = self.answer([line("a", temperature=0, max_completion_tokens=20)])[0]
        text = whole["response"]["body"]["choices"][0]["message"]["content"]
        stop = re.findall("[ -~]{2}", text[1:])[-1]
        cut = self.answer([line("a", temperature=0, max_completion_tokens=20, stop=[stop, "~~"])],
                          "--overwrite")[0]["response"]["body"]["choices"][0]
        self.assertEqual(cut["message"]["content"], text[:text.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_messages_in_parts_and_harmless_parameters(self):
        plain = [{"role": "system", "content": "Brief."}, {"role": "user", "content": "A mug"}]
        parts = [{"role": "developer", "content": "Brief."},
                 {"role": "user", "content": [{"type": "text", "text": "A "},
                                              {"type": "text", "text": "mug"}], "name": "x"}]
        same = {"temperature": 0, "max_tokens": 8}
        harmless = {"user": "me", "metadata": {"a": "b"}, "stream": False, "logprobs": None,
                    "presence_penalty": 0, "tools": [], "response_format": {"type": "text"},
                    "store": True, "stop": None, "n": 1, "logit_bias": {}}
        a, b = self.answer([line("a", messages=plain, **same),
                            line("b", messages=parts, **same, **harmless)])
        self.assertEqual(a["response"]["body"]["choices"], b["response"]["body"]["choices"])

    def test_broken_requests(self):
        broken = [
            ("{", None, "invalid_json_line"),
            ("[1]", None, "invalid_json_line"),
            ('{"custom_id": 5}', None, "missing_required_parameter"),
            (line("method", method="GET"), "method", "invalid_method"),
            (line("url", "/v1/embeddings"), "url", "invalid_url"),
            (line("messages", messages=[]), "messages", "missing_required_parameter"),
            (line("role", messages=[{"role": "tool", "content": "x"}]), "role", "invalid_value"),
            (line("content", messages=[{"role": "user", "content": 5}]), "content",
             "invalid_type"),
            (line("image", messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
             "image", "unsupported_parameter"),
            (line("tools", tools=[{}]), "tools", "unsupported_parameter"),
            (line("logprobs", logprobs=True), "logprobs", "unsupported_parameter"),
            (line("stream", stream=True), "stream", "unsupported_parameter"),
            (line("penalty", presence_penalty=0.5), "penalty", "unsupported_parameter"),
            (line("echo", COMPLETIONS, echo=True), "echo", "unsupported_parameter"),
            (line("ids", COMPLETIONS, prompt=[1, 2]), "ids", "unsupported_parameter"),
            (line("typo", temprature=1), "typo", "unknown_parameter"),
            (line("hot", temperature=3), "hot", "invalid_value"),
            (line("text", temperature="1"), "text", "invalid_type"),
            (line("none", max_tokens=0), "none", "invalid_value"),
            (line("half", n=1.5), "half", "invalid_type"),
            (line("stop", stop=[""]), "stop", "invalid_value"),
            (line("long", messages=[{"role": "user", "content": "word " * 5000}]), "long",
             "context_length_exceeded"),
            (line("much", max_tokens=100000), "much", "context_length_exceeded"),
            (line("empty", COMPLETIONS, prompt=""), "empty", "invalid_value"),
        ]
        found = self.errors([text for text, _, _ in broken])
        expected = [(name, code) for _, name, code in broken]
        # A model whose texts begin with a token of their own answers an empty prompt.
        self.assertEqual(found[:-1], expected[:-1])

    def test_errors_stand_apart(self):
        lines = [line("a"), "oops", line("a"), line("b"), ""]
        rows = self.answer(lines, status=EXIT_PARTIAL)
        self.assertEqual([row["custom_id"] for row in rows], ["a", "b"])
        errors = self.read("out.jsonl.err")
        self.assertEqual([(e["custom_id"], e["error"]["code"]) for e in errors],
                         [(None, "invalid_json_line"), ("a", "duplicate_custom_id")])
        self.assertIn("line 2:", errors[0]["error"]["message"])

    def test_usage(self):
        self.assertEqual(copymill("batch").status, EXIT_USAGE)
        self.assertEqual(copymill("batch", "-i", "none.jsonl", "-o", self.folder / "o", "--model",
                                  self.model).status, EXIT_USAGE)
        self.assertEqual(self.call([]).status, EXIT_USAGE)
        self.assertEqual(self.call([line("a")]).status, EXIT_OK)
        again = self.call([line("a")])
        self.assertEqual(again.status, EXIT_OK, again)
        self.assertIn("1 from the ledger", again.stderr)
        (self.folder / "out.jsonl").write_text("mine")
        self.assertEqual(self.call([line("a")]).status, EXIT_USAGE)
        self.assertEqual((self.folder / "out.jsonl").read_text(), "mine")


class Resume(BatchTest):
    """5,000 requests, 50 of them broken: 4,950 answers and 50 errors, also when killed."""

    def lines(self):
        broken = ["no json", line("r0"), line("x", method="PUT"), line("y", "/v1/files"),
                  line("z", top_logprobs=2)]
        lines = []
        for i in range(5000):
            if i % 100 == 57:
                lines.append(broken[i // 100 % len(broken)].replace('"x"', f'"x{i}"')
                             .replace('"y"', f'"y{i}"').replace('"z"', f'"z{i}"'))
            elif i % 2:
                lines.append(line(f"r{i}", COMPLETIONS, prompt=f"Item {i} is", n=1 + (i % 9 == 0)))
            else:
                lines.append(line(f"r{i}", messages=[{"role": "user", "content": f"Item {i}"}]))
        return lines

    def test_killed_batches_end_alike(self):
        lines = self.lines()
        started = time.monotonic()
        result = self.call(lines, out="reference.jsonl")
        undisturbed_s = time.monotonic() - started
        self.assertEqual(result.status, EXIT_PARTIAL, result)
        reference = without_time(self.read("reference.jsonl"))
        errors = self.read("reference.jsonl.err")
        self.assertEqual((len(reference), len(errors)), (4950, 50))
        moments = random.Random(SEED)
        print(f"COPYMILL_KILL_SEED={SEED}, undisturbed {undisturbed_s:.2f} s")
        arguments = [binary(), "batch", "-i", self.folder / "in.jsonl", "-o",
                     self.folder / "killed.jsonl", "-e", self.folder / "err.jsonl", "--model",
                     self.model, "--progress", "none"]
        for _ in range(KILLS):
            with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
                try:
                    process.wait(timeout=moments.uniform(0.1, undisturbed_s / 2))
                except subprocess.TimeoutExpired:
                    process.kill()
        with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
            stderr = process.communicate()[1].decode()
        self.assertEqual(process.returncode, EXIT_PARTIAL, stderr)
        self.assertEqual(without_time(self.read("killed.jsonl")), reference)
        self.assertEqual(self.read("err.jsonl"), errors)


class OpenAiTypes(BatchTest):
    """The bodies are what the openai package itself takes, nothing more and nothing less."""

    def test_bodies(self):
        try:
            from openai.types import Completion
            from openai.types.chat import ChatCompletion
        except ImportError:
            self.skipTest("the package openai is not installed")
        rows = self.answer([line("a", n=2), line("b", COMPLETIONS), line("c", stop="e")])
        for row, kind in zip(rows, (ChatCompletion, Completion, ChatCompletion)):
            body = row["response"]["body"]
            parsed = kind.model_validate(body, strict=True)
            self.assertEqual(parsed.model_extra, {})
            self.assertEqual(parsed.model_dump(mode="json", exclude_unset=True), body)


if __name__ == "__main__":
    unittest.main()
