"""Makes tests/golden/tokenizers: small vocabularies of every kind that tokenizer.json files come
in, trained on texts of this repository, and the ids that the reference library gives to texts.

    pip install tokenizers==0.23.3 && python3 tests/golden/generate_tokenizers.py [FOLDER]

Special tokens in a text are not recognised there either (`encode_special_tokens`). The unigram
model of the library finds markers, and the names of byte tokens, in text all the same, which
SentencePiece itself does not; it is not asked for texts that hold one.
"""

import json
import pathlib
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers,
                        trainers)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
UNASKED = SPECIAL + ["<0x"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
          r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n\n\n", "\t", " \n ", "a", " a", "a ", "  a  b   ",
    "Steel mug, 350 ml", " Steel mug, 350 ml ", "It's what we'd LIKE: they'RE here, I'm not",
    "12.5 cm × 3 m (½ price!) 1,299.00 USD, 1234567890", "100%", "$19.99", "3x 4X 12oz",
    "caf\u00e9", "cafe\u0301", "\u1ebf e\u0302\u0301", "\uac00\u1100\u1161", "\ufb01 \u2126 \u212b",
    "产品：不锈钢杯，容量350毫升。", "类型#上衣*材质#针织*风格#清新", "１２３．５％", "日本語のテキスト",
    "Стальная кружка", "كوب من الصلب ٣٥٠ مل", "स्टील का मग ३५०", "ถ้วยเหล็ก", "한국어 텍스트",
    "🦙 llama 👩\u200d👩\u200d👧 🇩🇪", "\u00a0non\u00a0breaking\u2003em\u3000wide", "a\u200bb\ufeffc",
    "<s>text</s>", "<|im_start|>system\nrules<|im_end|>", "<unk>", "<0x41> <0x0A>", "[INST]",
    f"{SPACE}marked{SPACE}{SPACE}text {SPACE}", f"{SPACE}", f" {SPACE}a",
    "<table><tr>", "a<table>b <table> c", "<table>\n\n<table>", "\n\na\nb", "tool<tool>tool",
    "line\r\nline\rline\r\n\r\n  indented\n\tx = {1: [2, 3]};", "!!!???...---***===",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "\x01\x02\x7f\x85",
    "\U0001d400\U0001d401 \U00020000", "e\u0301\u0327\u0301", "x\u0301", "\u0301x", " \u0301",
    "the the The THE t h e", "https://example.com/a?b=c&d=%20#e", "user@example.com",
]


def corpus():
    texts = []
    for pattern in ("*.md", "examples/*", "jobs/templates/*", "*/README.md"):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                texts += path.read_text(encoding="utf-8").splitlines(keepends=True)
    return texts


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(corpus(), trainer)
    return json.loads(tokenizer.to_str())


def added(contents, first, special):
    return [{"id": first + i, "content": content, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": special}
            for i, content in enumerate(contents)]


def byte_level(size, steps, normalizer=None, user_defined=(), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = steps
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    content = trained(tokenizer, trainer)
    count = len(content["model"]["vocab"])
    content["added_tokens"] = (added(SPECIAL, count, True) +
                               added(user_defined, count + len(SPECIAL), False))
    return content


def sentencepiece(size, normalizer, pre_tokenizer, user_defined=()):
    """Trained with words cut off, so that merges stay short; then used without."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, limit_alphabet=120,
                                  special_tokens=SPECIAL + BYTES + list(user_defined))
    content = trained(tokenizer, trainer)
    content["added_tokens"] = [token for token in content["added_tokens"]
                               if token["content"] not in BYTES]
    for token in content["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
        token["normalized"] = False
    content["normalizer"] = normalizer and json.loads(normalizer.__getstate__())
    content["pre_tokenizer"] = pre_tokenizer and json.loads(pre_tokenizer.__getstate__())
    return content


def unigram(size, normalizer, pre_tokenizer, byte_fallback, user_defined=()):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = SPECIAL + (BYTES if byte_fallback else []) + list(user_defined)
    trainer = trainers.UnigramTrainer(vocab_size=size, show_progress=False, unk_token="<unk>",
                                      special_tokens=special)
    tokenizer.train_from_iterator((line for line in corpus() if line.isascii()), trainer)
    content = json.loads(tokenizer.to_str())
    content["model"]["byte_fallback"] = byte_fallback
    content["added_tokens"] = [token for token in content["added_tokens"]
                               if token["content"] not in BYTES]
    for token in content["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
        token["normalized"] = False
    content["normalizer"] = normalizer and json.loads(normalizer.__getstate__())
    content["pre_tokenizer"] = pre_tokenizer and json.loads(pre_tokenizer.__getstate__())
    return content


def kinds():
    marks = normalizers.Replace(" ", SPACE)
    prepend = normalizers.Sequence([normalizers.Prepend(SPACE), marks])
    first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    words = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    never = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    gemma_split = pre_tokenizers.Split(" ", "merged_with_previous")
    own = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    lines = ("\n", "\n\n", "<table>", "<tool>")

    def split(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), rest])

    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), own])
    return {
        "byte_gpt2": byte_level(600, own),
        "byte_gpt2_prefix": byte_level(400, pre_tokenizers.ByteLevel(add_prefix_space=True),
                                       user_defined=("<tool>",)),
        "byte_llama3": byte_level(600, split(LLAMA3), ignore_merges=True),
        "byte_qwen2": byte_level(600, split(QWEN2), normalizers.NFC(), user_defined=("<tool>",)),
        "byte_smollm": byte_level(600, digits),
        "llama_prepend": sentencepiece(700, prepend, None),
        "llama_metaspace": sentencepiece(700, None, first, user_defined=("<tool>",)),
        "metaspace_never": sentencepiece(500, None, never),
        "gemma": sentencepiece(700, marks, gemma_split, user_defined=lines),
        "unigram_words": unigram(500, None, words, False, user_defined=("<tool>",)),
        "unigram_bytes": unigram(700, prepend, None, True, user_defined=("<table>",)),
    }


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/golden/tokenizers"
    for name, content in kinds().items():
        into = folder / name
        into.mkdir(parents=True, exist_ok=True)
        source = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (into / "tokenizer.json").write_text(source + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_str(source)
        tokenizer.encode_special_tokens = True
        cases = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in TEXTS
                 if "unigram" not in name or not any(name in text for name in UNASKED)]
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
        (into / "cases.json").write_text(
            f'{{"n_vocab": {tokenizer.get_vocab_size()}, "cases": [\n{lines}\n]}}\n',
            encoding="utf-8")
        print(f"{name}: {tokenizer.get_vocab_size()} tokens, {len(cases)} cases")


if __name__ == "__main__":
    main()
