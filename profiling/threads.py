#!/usr/bin/env python3
"""Compares all threads with one, and with all beside a program that keeps one core busy.

    profiling/threads.py --model FILE.gguf [--threads N] [--rounds 5]

Each round measures one thread, all of them, all beside the busy program, and one thread again; the
ratios of a round are to its own turns of one thread, and to its own turn of all threads. Every
thread has --texts copies in flight, so each turn does the same work for each thread. The busy
program may run on any core, or on the one that --core names.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ("prefill_tokens_per_s", "decode_tokens_per_s", "copies_per_s")
BUSY_START_S = 0.5


def measure(options, threads):
    command = [options.copymill, "bench", "--json", "--repeat=3", f"--model={options.model}",
               f"--threads={threads}", f"--batch={threads * options.texts}",
               f"--prompt-tokens={options.prompt_tokens}",
               f"--output-tokens={options.output_tokens}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_beside_busy(options):
    command = [sys.executable, "-c", "while True: pass"]
    if options.core is not None:
        command = ["taskset", "-c", str(options.core), *command]
    with subprocess.Popen(command) as busy:
        try:
            time.sleep(BUSY_START_S)
            return measure(options, options.threads)
        finally:
            busy.kill()


def run_round(options):
    """{figure: (all to one, beside the busy program to all)}"""
    before = measure(options, 1)
    together = measure(options, options.threads)
    beside = measure_beside_busy(options)
    after = measure(options, 1)
    return {figure: (2 * together[figure] / (before[figure] + after[figure]),
                     beside[figure] / together[figure]) for figure in FIGURES}


def print_ratios(label, ratios):
    print(f"  {label:34} {statistics.median(ratios):.2f}  "
          f"({min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--copymill", default=ROOT / "build" / "release" / "copymill")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=64, help="copies in flight per thread (64)")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=48)
    parser.add_argument("--core", type=int, help="which the busy program keeps (any)")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        rounds.append(run_round(options))
        print("  ".join(f"{figure} x{both[0]:.2f} x{both[1]:.2f}"
                        for figure, both in rounds[-1].items()), file=sys.stderr)
    share = (options.threads - 0.5) / options.threads
    for figure in FIGURES:
        print(figure)
        print_ratios(f"{options.threads} threads against one", [r[figure][0] for r in rounds])
        print_ratios(f"beside a busy core ({share:.2f} is the share)",
                     [r[figure][1] for r in rounds])


if __name__ == "__main__":
    main()
