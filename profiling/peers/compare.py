#!/usr/bin/env python3
"""Measures copymill and its peers in turns and prints medians and ratios.

    profiling/peers/compare.py --model FILE.gguf [--rounds 3] [--shape NAME ...]

The first call makes a virtual environment with llama-cpp-python, compiled for this processor, and
CTranslate2, and brings the model into their other formats; both lie in a cache folder. Every engine
is given the same token shapes and the same threads. A turn during which other programs took more of
the processors than --foreign allows is measured again: engines that wait by spinning lose far more
to a busy machine than others, so that noise does not hit both alike. Before and after each turn
`line_transfer` tells whether two processors share a cache just then; ratios are given for all turns
and for those between which they did, or did not.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEER_PACKAGES = ("llama-cpp-python==0.3.36", "ctranslate2==4.8.5", "gguf==0.19.0")
FORMATS = ("shipped", "q4_0", "q8_0", "ct2")

# Settings of llama.cpp for every shape; README.md of `profiling` has what the others gave.
LLAMA_CPP = {"ubatch": 512, "unified_kv": False, "flash_attention": True}

# A cache line that two processors write in turn takes some 60 ns where they share a cache, and some
# 330 where they do not.
TOGETHER_NS_MAX = 150

PLAIN = {"template_tokens": 0, "item_tokens": 0, "segments_per_item": 1}
SHAPES = {
    "prompts-32": PLAIN | {"prompt_tokens": 192, "output_tokens": 32, "sequences": 32},
    "decode-64": PLAIN | {"prompt_tokens": 64, "output_tokens": 32, "sequences": 64},
    "job": {"prompt_tokens": 192, "output_tokens": 64, "sequences": 128, "template_tokens": 64,
            "item_tokens": 80, "segments_per_item": 8},
}
# What counts for each shape; the peer's best format is chosen for each figure by itself.
FIGURES = {
    "prompts-32": ("prefill_tokens_per_s", "decode_tokens_per_s"),
    "decode-64": ("decode_tokens_per_s",),
    "job": ("copies_per_s",),
}


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "copymill" / "peers"


def prepare_environment(folder):
    """The Python of the environment; compiles the peer where that has not been done."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    probe = subprocess.run([python, "-c", "import llama_cpp, ctranslate2, gguf"],
                           capture_output=True, check=False)
    if probe.returncode != 0:
        print("Installing the peers; compiling takes some minutes ...", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True,
                       env=os.environ | {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"})
    return python


def prepare_model(python, model, name, folder):
    if name == "shipped":
        return model
    path = folder / "models" / f"{model.stem}.{name}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        if name == "ct2":
            command = [python, HERE / "ctranslate2_peer.py", "convert", model, partial]
        else:
            command = [python, HERE / "llama_cpp_peer.py", "quantize", model, partial, name]
        subprocess.run(command, check=True)
        partial.rename(path)
    return path


def copymill_command(options, shape):
    """Three passes: the first one also touches its memory for the first time, which the peer has
    done before its clock starts."""
    return [options.copymill, "bench", "--json", "--repeat=3", f"--model={options.model}",
            f"--threads={options.threads}", f"--precision={options.precision}",
            f"--batch={shape['sequences']}", f"--prompt-tokens={shape['prompt_tokens']}",
            f"--output-tokens={shape['output_tokens']}",
            f"--shared-prefix={shape['template_tokens']}", f"--item-tokens={shape['item_tokens']}",
            f"--segments-per-item={shape['segments_per_item']}"]


def commands_of(options, name, python, models):
    """The engines that take part in a shape, in their order of turns."""
    shape = SHAPES[name]
    commands = {"copymill": copymill_command(options, shape)}
    shares = ("template", "item") if shape["template_tokens"] > 0 else ("nothing",)
    for share in shares:
        settings = shape | LLAMA_CPP | {"threads": options.threads, "share": share}
        suffix = "" if share == "nothing" else f", {share} shared"
        for form in [form for form in options.format if form != "ct2"]:
            commands[f"llama.cpp {form}{suffix}"] = [
                python, HERE / "llama_cpp_peer.py", "run", models[form], json.dumps(settings)]
    if "ct2" in options.format:
        suffix = ", template shared" if shape["template_tokens"] > 0 else ""
        commands[f"ctranslate2 int8{suffix}"] = [
            python, HERE / "ctranslate2_peer.py", "run", models["ct2"],
            json.dumps(shape | {"threads": options.threads})]
    return commands


def busy_s():
    """Processor seconds that the machine has spent on anything, its host included."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(count) for count in stat.readline().split()[1:9]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # less idle and waiting


def children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_turn(command):
    busy, own, start = busy_s(), children_s(), time.perf_counter()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}")
    available = (time.perf_counter() - start) * os.cpu_count()
    figures = json.loads(done.stdout)
    figures["foreign_share"] = max(0, busy_s() - busy - (children_s() - own)) / available
    return figures


def wait_for_quiet(options):
    """Until others leave the processors alone for a second, or the patience ends."""
    end = time.monotonic() + options.wait
    while time.monotonic() < end:
        busy = busy_s()
        time.sleep(1)
        if (busy_s() - busy) / os.cpu_count() <= options.foreign:
            return


def line_ns(options):
    """What a cache line takes between two processors and back; None where that is not known."""
    program = pathlib.Path(options.copymill).parent / "profiling" / "line_transfer"
    if not program.exists():
        return None
    done = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def state_of(turns):
    """Where the processors were around these turns."""
    readings = [reading for turn in turns for reading in turn["line_ns"]]
    if None in readings:
        return "unknown"
    if max(readings) <= TOGETHER_NS_MAX:
        return "together"
    return "apart" if min(readings) > TOGETHER_NS_MAX else "mixed"


def quiet_turn(name, command, options):
    """The turn with the least disturbance among a few; the first quiet one ends the search."""
    turns = []
    for _ in range(options.tries):
        wait_for_quiet(options)
        before = line_ns(options)
        turns.append(run_turn(command))
        turns[-1]["line_ns"] = [before, line_ns(options)]
        best = min(turns, key=lambda turn: turn["foreign_share"])
        if best["foreign_share"] <= options.foreign:
            break
    best["quiet"] = best["foreign_share"] <= options.foreign
    print(f"  {name:36} {best['copies_per_s']:7.2f} copies/s  {best['prefill_tokens_per_s']:7.0f} "
          f"prefill  {best['decode_tokens_per_s']:7.0f} decode tok/s  "
          f"{100 * best['foreign_share']:3.0f} % taken by others, {state_of([best])}",
          file=sys.stderr)
    return best


def spread(ratios):
    return {"count": len(ratios), "median": statistics.median(ratios), "least": min(ratios),
            "most": max(ratios)}


def summarise(name, turns):
    """Medians of the quiet turns, and copymill's ratios to the best peer, paired by round."""
    medians, ratios = {}, {}
    for engine, results in turns.items():
        quiet = [turn for turn in results if turn["quiet"]]
        medians[engine] = {"quiet_turns": len(quiet)}
        for figure in FIGURES[name]:
            values = [turn[figure] for turn in quiet]
            medians[engine][figure] = statistics.median(values) if values else None
    for figure in FIGURES[name]:
        for share in sorted({engine.partition(",")[2] for engine in turns if engine != "copymill"}):
            peers = {engine: medians[engine][figure] for engine in turns
                     if engine != "copymill" and engine.partition(",")[2] == share}
            peers = {engine: value for engine, value in peers.items() if value is not None}
            if not peers:
                continue
            best = max(peers, key=peers.get)
            pairs = [(state_of(pair), pair[0][figure] / pair[1][figure])
                     for pair in zip(turns["copymill"], turns[best])
                     if pair[0]["quiet"] and pair[1]["quiet"]]
            for state in ("all", "together", "apart"):
                chosen = [ratio for at, ratio in pairs if state in ("all", at)]
                if chosen:
                    suffix = "" if state == "all" else f", processors {state}"
                    ratios[f"{figure} / {best}{suffix}"] = spread(chosen)
    return {"medians": medians, "ratios": ratios}


def processor_name():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        rows = dict(line.split(":", 1) for line in lines if ":" in line)
    rows = {key.strip(): value.strip() for key, value in rows.items()}
    return (f"{rows.get('model name', platform.processor())}, family {rows.get('cpu family')}, "
            f"model {rows.get('model')}")


def print_summary(name, summary):
    print(f"\n{name}")
    for engine, figures in summary["medians"].items():
        values = ", ".join(f"{key.replace('_per_s', '/s')} {value:,.1f}" for key, value
                           in figures.items() if key != "quiet_turns" and value is not None)
        print(f"  {engine:36} {values or 'no quiet turn'}   ({figures['quiet_turns']} turns)")
    for pair, ratio in summary["ratios"].items():
        print(f"  copymill's {pair}: {ratio['median']:.2f} ({ratio['least']:.2f} to "
              f"{ratio['most']:.2f}; {ratio['count']})")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--copymill", default=ROOT / "build" / "release" / "copymill")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--foreign", type=float, default=0.05,
                        help="share of the processors that others may take in a turn (0.05)")
    parser.add_argument("--tries", type=int, default=3, help="most tries for a quiet turn (3)")
    parser.add_argument("--wait", type=float, default=60,
                        help="most seconds to wait for a quiet machine before a turn (60)")
    parser.add_argument("--cache", type=pathlib.Path, default=cache_folder())
    parser.add_argument("--out", type=pathlib.Path,
                        help="where the JSON goes (profiling/results/peers-DATE-MODEL.json)")
    return parser.parse_args()


def main():
    options = parse_arguments()
    python = prepare_environment(options.cache)
    models = {form: prepare_model(python, options.model, form, options.cache)
              for form in options.format}
    now = datetime.datetime.now(datetime.timezone.utc)
    report = {"date": now.isoformat(timespec="seconds"), "processor": processor_name(),
              "cores": os.cpu_count(), "threads": options.threads, "peers": PEER_PACKAGES,
              "model": options.model.name, "settings": LLAMA_CPP, "shapes": {}}
    out = options.out or (ROOT / "profiling" / "results" /
                          f"peers-{now:%Y%m%d-%H%M}-{options.model.stem}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.shape:
        commands = commands_of(options, name, python, models)
        turns = {engine: [] for engine in commands}
        for number in range(options.rounds):
            print(f"{name}, round {number + 1} of {options.rounds}", file=sys.stderr)
            for engine, command in commands.items():
                turns[engine].append(quiet_turn(engine, command, options))
        summary = summarise(name, turns)
        report["shapes"][name] = {"shape": SHAPES[name], **summary, "turns": turns}
        print_summary(name, summary)
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{out}")


if __name__ == "__main__":
    main()
