#!/usr/bin/env python3
"""copymill against vLLM and TensorRT-LLM on one GPU: the same model, prompts and output lengths.

    compare_gpu.py --model FOLDER [--prompts FILE] [--rounds N] [--engines NAME,...]
                   [--copymill FILE] [--out FILE] [--dry-run]

FOLDER is a Hugging Face model that all of them read; FILE has one prompt a line (without it: texts
of a template, an item and a segment, 8 segments an item). Every engine writes the same number of
tokens after each prompt, greedily and without a stop, in bfloat16, and may share prefixes. In each
round the engines take turns, each in a process of its own; the model's loading is not counted.

Installs nothing. An engine that is missing is said and left out:

    vllm           pip install vllm
    tensorrt_llm   pip install tensorrt-llm       (and its MPI libraries)

Prints the median of each engine's copies and tokens a second, and the median of copymill's ratios
to each within the rounds. --dry-run prints what would be run, with the first prompts.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ENGINES = ("copymill", "vllm", "tensorrt_llm")
INSTALL = {"vllm": "pip install vllm", "tensorrt_llm": "pip install tensorrt-llm"}
TEMPLATE = ("You write product copy for an online shop. Use only the facts that are given, name no "
            "price that is not there, and write two sentences that fit the audience.\n\n")


def made_up_prompts(items, segments):
    """Prompts that share what a job's prompts share: a template, then an item's facts."""
    prompts = []
    for item in range(items):
        facts = (f"Product: garden chair model {item}. Material: teak, oiled. Weight: "
                 f"{4 + item % 5} kg. Width: {50 + item} cm. Foldable: yes. "
                 f"Warranty: {1 + item % 3} years.\n")
        for segment in range(segments):
            prompts.append(f"{TEMPLATE}{facts}Audience: customers of group {segment}, who like to "
                           f"read about {'design' if segment % 2 else 'durability'}.\nText:")
    return prompts


def read_prompts(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


# --- One engine, in a process of its own ---------------------------------------------------------


def run_vllm(job):
    import vllm  # pylint: disable=import-error,import-outside-toplevel
    engine = vllm.LLM(model=job["model"], dtype="bfloat16", enable_prefix_caching=True,
                      max_num_seqs=job["batch"])
    sampling = vllm.SamplingParams(temperature=0, max_tokens=job["output_tokens"], ignore_eos=True)
    start = time.perf_counter()
    results = engine.generate(job["prompts"], sampling)
    seconds = time.perf_counter() - start
    return seconds, sum(len(result.outputs[0].token_ids) for result in results)


def run_tensorrt_llm(job):
    import tensorrt_llm  # pylint: disable=import-error,import-outside-toplevel
    engine = tensorrt_llm.LLM(model=job["model"], dtype="bfloat16", max_batch_size=job["batch"])
    sampling = tensorrt_llm.SamplingParams(temperature=0, max_tokens=job["output_tokens"],
                                           ignore_eos=True, end_id=-1)
    start = time.perf_counter()
    results = engine.generate(job["prompts"], sampling)
    seconds = time.perf_counter() - start
    return seconds, sum(len(result.outputs[0].token_ids) for result in results)


RUNNERS = {"vllm": run_vllm, "tensorrt_llm": run_tensorrt_llm}


def child(engine, job_path):
    """Runs in the engine's own process; the last line of its output is the result."""
    seconds, tokens = RUNNERS[engine](json.loads(pathlib.Path(job_path).read_text()))
    print("\n" + json.dumps({"seconds": seconds, "tokens": tokens}))


# --- copymill, as an OpenAI batch ----------------------------------------------------------------


def batch_lines(job):
    for number, prompt in enumerate(job["prompts"]):
        body = {"model": "any", "prompt": prompt, "max_tokens": job["output_tokens"],
                "temperature": 0}
        yield json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/completions",
                          "body": body})


def copymill_command(job, folder):
    return [job["copymill"], "batch", "-i", str(folder / "in.jsonl"), "-o",
            str(folder / "out.jsonl"), "-e", str(folder / "err.jsonl"), "--model", job["model"],
            "--device", "cuda", "--precision", "bf16", "--batch", str(job["batch"])]


def run_copymill(job):
    """The job's own clock starts when the model is loaded; a text may stop early, so tokens are
    counted from the answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "in.jsonl").write_text("\n".join(batch_lines(job)) + "\n", encoding="utf-8")
        start = time.perf_counter()
        subprocess.run(copymill_command(job, folder), check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start - job["copymill_load_s"]
        answers = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    tokens = sum(json.loads(line)["response"]["body"]["usage"]["completion_tokens"]
                 for line in answers)
    return seconds, tokens


def copymill_load_s(job):
    """A batch of one prompt and one token: what a process costs before it works."""
    single = {**job, "prompts": job["prompts"][:1], "output_tokens": 1, "copymill_load_s": 0.0}
    return run_copymill(single)[0]


# --- Rounds --------------------------------------------------------------------------------------


def run_engine(engine, job, job_path):
    if engine == "copymill":
        seconds, tokens = run_copymill(job)
    else:
        result = subprocess.run([sys.executable, __file__, "--child", engine, job_path], check=True,
                                stdout=subprocess.PIPE, text=True)
        answer = json.loads(result.stdout.strip().splitlines()[-1])
        seconds, tokens = answer["seconds"], answer["tokens"]
    return {"engine": engine, "seconds": seconds, "tokens": tokens,
            "copies_per_s": len(job["prompts"]) / seconds, "tokens_per_s": tokens / seconds}


def is_installed(engine):
    probe = f"import importlib.util as u; raise SystemExit(u.find_spec('{engine}') is None)"
    return subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def summary(turns):
    """Medians of each engine, and of copymill's ratios within the rounds."""
    lines = []
    engines = list(dict.fromkeys(turn["engine"] for turn in turns))
    for engine in engines:
        own = [turn for turn in turns if turn["engine"] == engine]
        line = {"engine": engine, "turns": len(own)}
        for figure in ("copies_per_s", "tokens_per_s"):
            line[figure] = statistics.median(turn[figure] for turn in own)
        ratios = []
        for turn in own:
            ours = [t["tokens_per_s"] for t in turns
                    if t["engine"] == "copymill" and t["round"] == turn["round"]]
            ratios += [rate / turn["tokens_per_s"] for rate in ours]
        line["copymill_ratio"] = statistics.median(ratios) if ratios else None
        lines.append(line)
    return lines


def print_summary(lines):
    print(f"{'engine':<14} {'turns':>5} {'copies/s':>10} {'tokens/s':>10} {'copymill is':>12}")
    for line in lines:
        ratio = line["copymill_ratio"]
        print(f"{line['engine']:<14} {line['turns']:>5} {line['copies_per_s']:>10.1f} "
              f"{line['tokens_per_s']:>10.0f} {f'{ratio:.2f} x' if ratio else '':>12}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0],
                                     epilog=__doc__.split("\n\n", maxsplit=1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts")
    parser.add_argument("--items", type=int, default=64, help="of the made-up prompts")
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--copymill", default="build/cuda/copymill")
    parser.add_argument("--out", help="every turn, as JSON")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.engines.split(",")) - set(ENGINES)
    if unknown:
        parser.error(f"--engines: there is no {', '.join(sorted(unknown))}; "
                     f"known are {', '.join(ENGINES)}")
    return arguments


def main():
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return 0
    arguments = parse_arguments()
    prompts = (read_prompts(arguments.prompts) if arguments.prompts
               else made_up_prompts(arguments.items, 8))
    engines = arguments.engines.split(",")
    job = {"model": arguments.model, "prompts": prompts, "batch": arguments.batch,
           "output_tokens": arguments.output_tokens, "copymill": arguments.copymill}
    present = [engine for engine in engines if engine == "copymill" or is_installed(engine)]
    for engine in engines:
        if engine not in present:
            print(f"{engine} is not installed and is left out: {INSTALL[engine]}")
    if arguments.dry_run:
        print(f"{len(prompts)} prompts, {job['output_tokens']} tokens after each, at most "
              f"{job['batch']} at a time, {arguments.rounds} rounds of {', '.join(present)}")
        print("copymill: " + " ".join(copymill_command(job, pathlib.Path("FOLDER"))))
        print("first prompt:\n" + prompts[0])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        job["copymill_load_s"] = copymill_load_s(job) if "copymill" in present else 0.0
        job_path = pathlib.Path(folder, "job.json")
        job_path.write_text(json.dumps(job), encoding="utf-8")
        turns = []
        for number in range(arguments.rounds):
            for engine in present:
                turns.append({"round": number, **run_engine(engine, job, str(job_path))})
                print(json.dumps(turns[-1]), flush=True)
    if arguments.out:
        pathlib.Path(arguments.out).write_text(json.dumps(turns, indent=1) + "\n", encoding="utf-8")
    print_summary(summary(turns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
