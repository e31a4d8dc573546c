"""Writes beams.json: what transformers makes of tests/golden/tiny/llama with beam search.

    pip install torch transformers
    python tests/golden/generate_beams.py

Made with torch 2.15.0 and transformers 5.23.0 in float32. Each case: prompt ids, settings in
generate()'s words, and the returned texts (without prompt and end of text) with their scores. Two
of three prompts stand shortly before a place where the model is inclined to end.
"""

import json
import pathlib
import random

import torch
import transformers

FOLDER = pathlib.Path(__file__).parent
N_VOCAB = 600
STOPS = [0, 2]  # <|endoftext|> and <|im_end|>, which ends a turn
SETTINGS = [
    {"num_beams": 4, "max_length": 70, "top_k": 50, "top_p": 0.95},
    {"num_beams": 2, "max_length": 60},
    {"num_beams": 3, "max_length": 64, "repetition_penalty": 1.3},
    {"num_beams": 5, "max_length": 64, "no_repeat_ngram_size": 2},
    {"num_beams": 8, "max_length": 56, "repetition_penalty": 1.1,
     "no_repeat_ngram_size": 3},
    {"num_beams": 12, "max_length": 48},
]


def likely_ends(model):
    """Prompts of random tokens and what the model makes of them, cut before an end of text."""
    with torch.no_grad():
        start = torch.randint(3, N_VOCAB, (3000, 8), generator=torch.Generator().manual_seed(7))
        texts = model.generate(start, attention_mask=torch.ones_like(start), do_sample=False,
                               max_new_tokens=28, eos_token_id=None, pad_token_id=0)
        ranks = (model(texts).logits.argsort(-1, descending=True) == STOPS[0]).float().argmax(-1)
    prompts = []
    for text, rank in zip(texts.tolist(), ranks.tolist()):
        ends = [i for i in range(12, len(rank)) if rank[i] < 3]
        if ends:
            prompts.append(text[: ends[0] + 1 - random.randrange(0, 5)])
    return prompts


def search(model, prompt, settings):
    with torch.no_grad():
        result = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_return_sequences=settings["num_beams"],
            do_sample=False,
            eos_token_id=STOPS,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    texts = []
    for sequence, score in zip(result.sequences.tolist(), result.sequences_scores.tolist()):
        tokens = sequence[len(prompt):]
        ends = [i for i, token in enumerate(tokens) if token in STOPS]
        ended = bool(ends)
        if ended:
            tokens = tokens[: ends[0]]
        texts.append({"tokens": tokens, "score": round(score, 5), "ended": ended})
    return texts


def clear_cut(texts):
    """Scores far enough apart that rounding cannot change their order."""
    scores = [text["score"] for text in texts]
    return all(a - b > 5e-5 for a, b in zip(scores, scores[1:]))


def main():
    random.seed(7)
    folder = FOLDER / "tiny" / "llama"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ends = likely_ends(model)
    cases = []
    for settings in SETTINGS:
        wanted = {True: 2, False: 1}  # by whether a text ends early
        while any(wanted.values()):
            prompt = [random.randrange(3, N_VOCAB) for _ in range(random.randrange(1, 40))]
            if wanted[True] > 0:
                prompt = ends.pop()
            texts = search(model, prompt, settings)
            ended = any(text["ended"] for text in texts)
            if wanted[ended] > 0 and clear_cut(texts):
                wanted[ended] -= 1
                cases.append({"ids": prompt, "settings": settings, "texts": texts})
                print(settings, ended, flush=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    (FOLDER / "beams.json").write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
