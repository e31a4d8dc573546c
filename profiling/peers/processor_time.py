#!/usr/bin/env python3
"""copymill and llama.cpp by processor time on one thread: for a machine that is never quiet.

    profiling/peers/processor_time.py --model FILE.gguf [--format q4_0] [--rounds 3]

Other programs steal wall time, and from engines that wait by spinning more than from others. User
time of one thread suffers only from shared caches and memory, which hit both alike. Each engine
loads and computes next to nothing, then the prompts, then the prompts and the output; what one call
takes more than the one before is the time of the prompts and of decoding. The least of several
rounds counts, engines in turn.
"""

import argparse
import datetime
import json
import pathlib
import resource
import subprocess

import compare

PHASES = ("load", "prefill", "decode")


def shapes_of(options):
    nothing = compare.PLAIN | {"prompt_tokens": 1, "output_tokens": 1, "sequences": 1}
    prompts = compare.PLAIN | {"prompt_tokens": options.prompt_tokens, "output_tokens": 1,
                               "sequences": options.batch}
    return (nothing, prompts, prompts | {"output_tokens": options.output_tokens})


def user_s(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def commands_of(options, engine, python, models, shape):
    if engine == "copymill":
        command = compare.copymill_command(options, shape)
        return [part if part != "--repeat=3" else "--repeat=1" for part in command]
    settings = shape | compare.LLAMA_CPP | {"threads": 1, "share": "nothing"}
    return [python, compare.HERE / "llama_cpp_peer.py", "run", models[engine],
            json.dumps(settings)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--copymill", default=compare.ROOT / "build" / "release" / "copymill")
    parser.add_argument("--format", nargs="+", choices=("shipped", "q4_0", "q8_0"),
                        default=["q4_0"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=pathlib.Path, default=compare.cache_folder())
    parser.add_argument("--out", type=pathlib.Path,
                        help="where the JSON goes (profiling/results/cpu-DATE-MODEL.json)")
    options = parser.parse_args()
    options.threads, options.precision = 1, "auto"
    python = compare.prepare_environment(options.cache)
    models = {form: compare.prepare_model(python, options.model, form, options.cache)
              for form in options.format}
    engines = ["copymill", *options.format]
    least = {engine: [float("inf")] * len(PHASES) for engine in engines}
    for _ in range(options.rounds):
        for engine in engines:
            for phase, shape in enumerate(shapes_of(options)):
                command = commands_of(options, engine, python, models, shape)
                least[engine][phase] = min(least[engine][phase], user_s(command))
    seconds = {engine: {"prefill": calls[1] - calls[0], "decode": calls[2] - calls[1]}
               for engine, calls in least.items()}
    ratios = {form: {phase: seconds[form][phase] / seconds["copymill"][phase]
                     for phase in PHASES[1:]} for form in options.format}
    now = datetime.datetime.now(datetime.timezone.utc)
    report = {"date": now.isoformat(timespec="seconds"), "processor": compare.processor_name(),
              "model": options.model.name, "threads": 1, "rounds": options.rounds,
              "shape": shapes_of(options)[2], "peers": compare.PEER_PACKAGES[:1],
              "user_seconds": seconds, "times_the_peer_takes": ratios}
    out = options.out or (compare.ROOT / "profiling" / "results" /
                          f"cpu-{now:%Y%m%d-%H%M}-{options.model.stem}.json")
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for form, ratio in ratios.items():
        print(f"llama.cpp {form} takes {ratio['prefill']:.2f} times copymill's processor time in "
              f"prefill, {ratio['decode']:.2f} times in decode")
    print(out)


if __name__ == "__main__":
    main()
