"""What the end-to-end tests share: the program, models, small inputs, and reading what it wrote.

The program under test is $COPYMILL. The model is $COPYMILL_MODEL: "tiny" (a random checkpoint of
tests/golden/tiny: its copy is gibberish, everything else is real) or the name of a real one, in
which case a test that finds no such model in the cache is skipped.
"""

import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SKIPPED = 77

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_PARTIAL, EXIT_INTERRUPTED = range(5)

COLUMNS = ("item_id,segment_id,scenario,channel,language,status,text,fields,score,flags,"
           "finish_reason,prompt_tokens,cached_tokens,output_tokens,attempt,seed,model,row_key,"
           "error").split(",")

# The columns that belong to the row alone: `cached_tokens` counts what the rest of the plan shares.
ROW_COLUMNS = [name for name in COLUMNS if name != "cached_tokens"]

# Longer than the checkpoints were made for, because their 600 tokens cut text into small pieces.
# Rotary positions have no table that could end.
TINY_POSITIONS = 4096

FINISH_S = 600


class Result:
    """A finished call of the program."""

    def __init__(self, completed):
        self.status = completed.returncode
        self.stdout = completed.stdout.decode("utf-8", errors="replace")
        self.stderr = completed.stderr.decode("utf-8", errors="replace")

    def __repr__(self):
        return f"exit {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def binary():
    path = os.environ.get("COPYMILL")
    if not path:
        sys.exit("set COPYMILL to the program under test")
    return path


def copymill(*arguments, stdin=b"", environment=None, finish_s=FINISH_S):
    """Runs the program to its end."""
    completed = subprocess.run([binary(), *map(str, arguments)], input=stdin, capture_output=True,
                               timeout=finish_s, check=False,
                               env={**os.environ, **(environment or {})})
    return Result(completed)


def cached_model(name):
    """The path of a fetched model, or None."""
    cache = os.environ.get("COPYMILL_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "copymill")
    path = pathlib.Path(cache, "models", name + ".gguf")
    return path if path.is_file() else None


def tiny_model(family, folder):
    """A copy of a tiny checkpoint that takes long prompts."""
    target = pathlib.Path(folder, "tiny-" + family)
    shutil.copytree(TESTS / "golden" / "tiny" / family, target,
                    ignore=shutil.ignore_patterns("logits.f32", "expected.json"))
    config = json.loads((target / "config.json").read_text())
    config["max_position_embeddings"] = TINY_POSITIONS
    (target / "config.json").write_text(json.dumps(config))
    return target


def is_tiny():
    return os.environ.get("COPYMILL_MODEL", "tiny") == "tiny"


def skip(reason):
    print("skipped:", reason)
    sys.exit(SKIPPED)


def shared_or_none(*parts):
    """As `shared`, for test cases that are only a part of their file."""
    path = pathlib.Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"), *parts)
    return path if path.exists() else None


def shared(*parts):
    """A file of the reference data beside the project; the test is skipped where it is absent."""
    path = shared_or_none(*parts)
    if not path:
        skip(f"no reference data for {'/'.join(parts)}")
    return path


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def rows_of(path):
    """The rows of a copy file as dictionaries, after checking its header."""
    text = pathlib.Path(path).read_bytes().decode("utf-8")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = list(reader)
    assert reader.fieldnames == COLUMNS, f"header of {path} is {reader.fieldnames}"
    assert all(None not in row and None not in row.values() for row in rows), "ragged rows"
    return rows


def by_key(rows, columns=("text",)):
    """(item, segment) -> the chosen columns, each pair once."""
    table = {(row["item_id"], row["segment_id"]): tuple(row[c] for c in columns) for row in rows}
    assert len(table) == len(rows), "a row occurs twice"
    return table


class CopymillTest(unittest.TestCase):
    """A test with a folder of its own, a model, and a small job."""

    ITEMS = 6
    SEGMENTS = 3
    OPTIONS = ("--max-tokens", "12", "--temperature", "0.8", "--seed", "7", "--progress", "none")

    FINISH_S = FINISH_S

    maxDiff = 2000

    smallest_batch = 1

    @classmethod
    def setUpClass(cls):
        cls.class_folder = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        cls.addClassCleanup(cls.class_folder.cleanup)
        name = os.environ.get("COPYMILL_MODEL", "tiny")
        cls.model = tiny_model("llama", cls.class_folder.name) if is_tiny() else cached_model(name)
        if not cls.model:
            skip(f"the model {name} is not cached; `copymill model fetch {name}` gets it")

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="copymill-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.catalog = self.example("catalog.csv", self.ITEMS)
        self.segments = self.example("segments.csv", self.SEGMENTS)
        if os.environ.get("COPYMILL_CONTROLS") == "every":
            self.switch_on_every_control()

    def switch_on_every_control(self):
        """Everything that has a say in what is written, at once."""
        ban = self.folder / "ban.txt"
        ban.write_text("the\nand\nperfect\n", encoding="utf-8")
        self.OPTIONS += ("--beams", "3", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.01",
                         "--repetition-penalty", "1.1", "--no-repeat-ngram", "3", "--best-of", "2",
                         "--stop", "zzz", "--ban", str(ban), "--fact-lock", "on")
        self.smallest_batch = 3

    def example(self, name, count):
        """The header and the first `count` records of a file of examples/, in this folder."""
        with open(ROOT / "examples" / name, encoding="utf-8", newline="") as file:
            return write_csv(self.folder / name, list(csv.reader(file))[:count + 1])

    def arguments(self, out, *more, catalog=None, segments=None):
        return ["run", "--catalog", str(catalog or self.catalog),
                "--segments", str(segments or self.segments), "--model", str(self.model),
                "--out", str(self.folder / out), *self.OPTIONS, *map(str, more)]

    def run_job(self, out, *more, status=EXIT_OK, catalog=None, segments=None):
        """Runs a job to its end, checks the exit status and returns its rows."""
        result = self.call_job(out, *more, catalog=catalog, segments=segments)
        self.assertEqual(result.status, status, result)
        return rows_of(self.folder / out)

    def call_job(self, out, *more, catalog=None, segments=None):
        return copymill(*self.arguments(out, *more, catalog=catalog, segments=segments),
                        finish_s=self.FINISH_S)

    def bytes_of(self, out):
        return (self.folder / out).read_bytes()
