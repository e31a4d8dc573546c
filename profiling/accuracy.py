#!/usr/bin/env python3
"""How far copymill and llama.cpp are from float32 on the same file and the same texts.

    profiling/accuracy.py --model FILE.gguf --texts FILE.json|FILE.csv ... [--texts-max 200]

Prints the mean Kullback-Leibler divergence from `--precision exact` per token and the share of
tokens with the same first choice, for both. llama.cpp runs on the file as it is, with float16 keys
and values, in the environment that peers/compare.py makes. Texts are the strings of a JSON file
that are long enough to be prose, or the rows of a CSV file, one text each; of those that begin
alike, the first.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "peers"))
TEXT_BYTES_MIN = 60
TEXT_WORDS_MIN = 8  # addresses and lists of tags are no prose
BEGINNING_CHARACTERS = 20


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_of(part)


def read_texts(path):
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        texts = ["\n".join(f"{name}: {cell}" for name, cell in row.items() if cell)
                 for row in rows]
    else:
        texts = strings_of(json.loads(path.read_text(encoding="utf-8")))
    chosen = {}  # one close choice near a beginning would count with every text that has it
    for text in texts:
        if len(text.encode()) >= TEXT_BYTES_MIN and len(text.split()) >= TEXT_WORDS_MIN:
            chosen.setdefault(text[:BEGINNING_CHARACTERS], text)
    return list(chosen.values())


def feed(arguments):
    """Writes tokens and llama.cpp's logits in divergence.c's form; runs in the environment."""
    import ctypes
    import llama_cpp as api
    import llama_cpp_peer as peer
    model, threads, texts = arguments[0], int(arguments[1]), json.loads(sys.stdin.read())
    api.llama_log_set(peer.be_quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    shape = {"sequences": 1, "prompt_tokens": 1024, "output_tokens": 0, "ubatch": 512,
             "threads": threads, "unified_kv": False, "flash_attention": True}
    engine = peer.Engine(model, shape)
    vocabulary = api.llama_model_get_vocab(engine.model)
    room = (api.llama_token * 1024)()
    for text in texts:
        data = text.encode()
        count = api.llama_tokenize(vocabulary, data, len(data), room, len(room), True, True)
        if count <= 0:
            continue
        engine.clear()
        for position in range(count):
            engine.add(room[position], position, 0, True)
        engine.compute()
        header = (ctypes.c_uint32 * 2)(count, engine.vocabulary)
        logits = api.llama_get_logits(engine.context)
        sys.stdout.buffer.write(bytes(header))
        sys.stdout.buffer.write(bytes((ctypes.c_int32 * count)(*room[:count])))
        sys.stdout.buffer.write(ctypes.string_at(logits, 4 * count * engine.vocabulary))


def main():
    import compare
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--texts-max", type=int, default=200, help="of each file (200)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--cache", type=pathlib.Path, default=compare.cache_folder())
    options = parser.parse_args()
    python = compare.prepare_environment(options.cache)
    for path in options.texts:
        texts = read_texts(path)[:options.texts_max]
        with subprocess.Popen([python, __file__, "feed", options.model, str(options.threads)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feeder:
            with subprocess.Popen([options.build / "profiling" / "divergence", options.model,
                                   str(options.threads)], stdin=feeder.stdout,
                                  stdout=subprocess.PIPE) as reader:
                feeder.stdin.write(json.dumps(texts).encode())
                feeder.stdin.close()
                report = json.loads(reader.stdout.read())
        print(json.dumps({"model": options.model.name, "texts": f"{len(texts)} of {path.name}",
                          **report}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["feed"]:
        feed(sys.argv[2:])
    else:
        main()
