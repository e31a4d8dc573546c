"""Each mistake of mistakes.cu is reported, and the same kernel without it is not.

    test_mistakes.py PROGRAM BUILD      BUILD: plain, asan or tsan
"""

import re
import subprocess
import sys

# Name: {build: what is reported}. A build that is not named need not see the mistake.
RACE = {"tsan": r"data race"}
MISTAKES = {
    "reverse_block": {**RACE, "plain": r"wrong result"},
    "reuse_tile": RACE,
    "rotate_warp": {**RACE, "plain": r"wrong result"},
    "shuffle_as_fence": RACE,
    "weak_wait": {**RACE, "plain": r"wrong result", "asan": r"wrong result"},
    "static_row_short": {"asan": r"global-buffer-overflow|index \d+ out of bounds"},
    "dynamic_row_short": {"asan": r"heap-buffer-overflow"},
    "beyond_global": {"asan": r"use-after-poison", "plain": r"wrong result"},
    "use_after_free": {"asan": r"use-after-poison", "plain": r"wrong result"},
    "misaligned_load": {"asan": r"misaligned address"},
    "misaligned_matrix": dict.fromkeys(("plain", "asan", "tsan"), r"not 16-byte aligned"),
    "divergent_barrier": dict.fromkeys(("plain", "asan", "tsan"), r"divergent barrier"),
    "barrier_in_a_branch": dict.fromkeys(("plain", "asan", "tsan"), r"deadlock"),
    "shuffle_outside_mask": dict.fromkeys(("plain", "asan", "tsan"), r"not in the mask"),
    "shuffle_in_a_branch": dict.fromkeys(("plain", "asan", "tsan"), r"different warp operations"),
    "host_touches_device": {"asan": r"SEGV on unknown address", "plain": r""},
    "fresh_memory": dict.fromkeys(("plain", "asan", "tsan"), r"wrong result"),
    "pinned_too_early": dict.fromkeys(("plain", "asan", "tsan"), r"wrong result"),
}
SEEDS = (0, 1, 2)


def run(program, name, variant, seed):
    return subprocess.run([program, name, variant], capture_output=True, text=True, check=False,
                          timeout=60, env={"EMU_SEED": str(seed)})


def main():
    program, build = sys.argv[1:]
    failures = []
    for name, reports in MISTAKES.items():
        for seed in SEEDS:
            right = run(program, name, "right", seed)
            if right.returncode != 0:
                failures.append(f"{name}, seed {seed}: reported without a mistake:\n{right.stderr}")
        if build not in reports:
            continue
        wrongs = [run(program, name, "wrong", seed) for seed in SEEDS]
        if not any(w.returncode != 0 and re.search(reports[build], w.stderr) for w in wrongs):
            failures.append(f"{name}: not reported: {[w.returncode for w in wrongs]}\n"
                            f"{wrongs[0].stderr}")
    print("\n".join(failures))
    print(f"{len(MISTAKES)} mistakes, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
