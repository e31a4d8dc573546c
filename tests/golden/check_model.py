"""Holds a model to its reference through `copymill model check`.

    check_model.py tiny FAMILY [REFERENCE]   a checkpoint of tests/golden/tiny; REFERENCE names
                                             the family whose numbers it must meet
    check_model.py cuda FAMILY               the same on a CUDA device, in exact and bf16; families
                                             that are not copied here come from the shared data
    check_model.py narrow FAMILY             one case on a CUDA device, in fp16, int8 and fp8
    check_model.py tp FAMILY DEVICE RANKS    one case on several devices that compute together
    check_model.py logits MODEL              a fetched model, tokens and logits
    check_model.py tokenizer MODEL           a fetched model, tokenizer cases

The references of real models quote texts that may not be copied here; without them, or without the
model, the test is skipped.
"""

import contextlib
import json
import pathlib
import shutil
import sys
import tempfile

from harness import EXIT_FAILED, EXIT_OK, TESTS, cached_model, copymill, shared, skip

TINY = TESTS / "golden" / "tiny"


def check(model, expected, *more, status=EXIT_OK, precision="exact", device="cpu"):
    result = copymill("model", "check", model, "--expected", expected, "--precision", precision,
                      "--device", device, *more)
    print(result)
    if result.status != status:
        sys.exit(f"model check of {model} ended with {result.status} instead of {status}")


def check_that_a_wrong_token_is_noticed(model, expected):
    changed = json.loads(expected.read_text())
    case = changed["cases"][1]
    clearest = case["greedy_margin"].index(max(case["greedy_margin"]))
    case["greedy"][clearest] ^= 1
    expected.write_text(json.dumps(changed))
    check(model, expected, status=EXIT_FAILED)


def check_that_a_wrong_reference_is_noticed(name, model, reference):
    """A check that cannot fail proves nothing: one greedy token, then one value, is changed."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = pathlib.Path(folder, "wrong")
        shutil.copytree(reference, wrong)
        expected = wrong / "expected.json"
        values = wrong / ("hidden.f32" if name == "bert" else "logits.f32")
        content = expected.read_text()
        if name != "bert":
            check_that_a_wrong_token_is_noticed(model, expected)
        expected.write_text(content)
        changed_values = bytearray(values.read_bytes())
        changed_values[-1] ^= 0x40  # the exponent of the last value
        values.write_bytes(changed_values)
        check(model, expected, status=EXIT_FAILED)


def tiny_or_shared(name):
    return TINY / name if (TINY / name).exists() else shared("golden", "tiny", name)


@contextlib.contextmanager
def with_one_case(name):
    """A copy of the checkpoint whose reference has one case."""
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder, "model")
        shutil.copytree(tiny_or_shared(name), model)
        expected = model / "expected.json"
        reference = json.loads(expected.read_text())
        reference["cases"] = reference["cases"][:1]
        expected.write_text(json.dumps(reference))
        yield model, expected


def main():
    kind, name, *more = sys.argv[1:]
    if kind == "tp":
        device, ranks = more
        with with_one_case(name) as (model, expected):
            check(model, expected, "--tp", ranks, device=device)
        return
    if kind == "narrow":
        with with_one_case(name) as (model, expected):
            for precision in ("fp16", "int8", "fp8"):
                check(model, expected, precision=precision, device="cuda")
        return
    if kind == "tiny":
        reference = TINY / (more[0] if more else name)
        check(TINY / name, reference / "expected.json")
        check_that_a_wrong_reference_is_noticed(name, TINY / name, reference)
        return
    if kind == "cuda":
        model = tiny_or_shared(name)
        for precision in ("exact", "bf16"):
            check(model, model / "expected.json", precision=precision, device="cuda")
        return
    expected = shared("golden", "models" if kind == "logits" else "tokenizers", name + ".json")
    model = cached_model(name)
    if not model:
        skip(f"the model {name} is not cached; `copymill model fetch {name}` gets it")
    check(model, expected)


if __name__ == "__main__":
    main()
