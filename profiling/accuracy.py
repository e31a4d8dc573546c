#!/usr/bin/env python3
"""How far copymill and a peer are from float32 on the same file and the same texts.

    profiling/accuracy.py --model FILE.gguf --texts FILE.json|FILE.csv ... [--texts-max 200]
                          [--format shipped|q4_0|q8_0|ct2]

Prints the mean Kullback-Leibler divergence from `--precision exact` per token and the share of
tokens with the same first choice, for both. The peer is llama.cpp on the file as it is, with
float16 keys and values, or in another format in which peers/compare.py times it; with ct2 it is
CTranslate2 in int8. Both run in the environment that compare.py makes. Texts are the strings of a
JSON file that are long enough to be prose, or the rows of a CSV file, one text each; of those that
begin alike, the first.
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
    """Writes tokens and the peer's logits in divergence.c's form; runs in the environment."""
    import ctypes
    import llama_cpp as api
    import llama_cpp_peer as peer
    model, peer_model, threads = arguments[0], arguments[1], int(arguments[2])
    texts = json.loads(sys.stdin.read())
    api.llama_log_set(peer.be_quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    shape = {"sequences": 1, "prompt_tokens": 1024, "output_tokens": 0, "ubatch": 512,
             "threads": threads, "unified_kv": False, "flash_attention": True}
    is_ct2 = peer_model.endswith(".ct2")
    engine = peer.Engine(model if is_ct2 else peer_model, shape)
    logits_of = ct2_logits(peer_model, threads) if is_ct2 else llama_cpp_logits(engine)
    vocabulary = api.llama_model_get_vocab(engine.model)
    room = (api.llama_token * 1024)()
    for text in texts:
        data = text.encode()
        count = api.llama_tokenize(vocabulary, data, len(data), room, len(room), True, True)
        if count <= 0:
            continue
        header = (ctypes.c_uint32 * 2)(count, engine.vocabulary)
        sys.stdout.buffer.write(bytes(header))
        sys.stdout.buffer.write(bytes((ctypes.c_int32 * count)(*room[:count])))
        sys.stdout.buffer.write(logits_of(room[:count]))


def llama_cpp_logits(engine):
    import ctypes
    import llama_cpp as api

    def logits_of(ids):
        engine.clear()
        for position, token in enumerate(ids):
            engine.add(token, position, 0, True)
        engine.compute()
        logits = api.llama_get_logits(engine.context)
        return ctypes.string_at(logits, 4 * len(ids) * engine.vocabulary)
    return logits_of


def ct2_logits(folder, threads):
    import ctranslate2
    import numpy
    generator = ctranslate2.Generator(folder, device="cpu", compute_type="int8", inter_threads=1,
                                      intra_threads=threads)
    return lambda ids: numpy.array(generator.forward_batch([list(ids)])).tobytes()


def main():
    import compare
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--texts-max", type=int, default=200, help="of each file (200)")
    parser.add_argument("--format", choices=compare.FORMATS, default="shipped", help="the peer's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--cache", type=pathlib.Path, default=compare.cache_folder())
    options = parser.parse_args()
    python = compare.prepare_environment(options.cache)
    peer_model = compare.prepare_model(python, options.model, options.format, options.cache)
    for path in options.texts:
        texts = read_texts(path)[:options.texts_max]
        with subprocess.Popen([python, __file__, "feed", options.model, peer_model,
                               str(options.threads)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feeder:
            with subprocess.Popen([options.build / "profiling" / "divergence", options.model,
                                   str(options.threads)], stdin=feeder.stdout,
                                  stdout=subprocess.PIPE) as reader:
                feeder.stdin.write(json.dumps(texts).encode())
                feeder.stdin.close()
                report = json.loads(reader.stdout.read())
        print(json.dumps({"model": options.model.name, "texts": f"{len(texts)} of {path.name}",
                          "format": options.format, **report}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["feed"]:
        feed(sys.argv[2:])
    else:
        main()
