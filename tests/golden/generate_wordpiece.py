"""Makes tests/golden/wordpiece: a small WordPiece vocabulary trained on the examples and pages of
this project, and what the Hugging Face package `tokenizers` makes of some texts.

    pip install tokenizers && python3 tests/golden/generate_wordpiece.py
"""

import json
import pathlib

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "tests" / "golden" / "wordpiece"
SOURCES = [ROOT / "examples" / "catalog.csv", ROOT / "examples" / "segments.csv",
           ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

TEXTS = [
    "", " ", "A stoneware mug, 350 ml.", "STONEWARE Mugs & saucers (set of 4) - $19.90!",
    "unaffable untouchables", "naïve café, Zoë's piñata, Łódź, ÅNGSTRÖM, ﬁne", "e\u0301te\u0301",
    "产品名称：无线蓝牙耳机，续航30小时。", "保温杯500ml，不锈钢", "㐀䶵豈𠀀 mixed漢字text",
    "ひらがなカタカナ", "한국어 텍스트", "Привет, мир! Ёлка", "Ελληνικά ΣΊΣΥΦΟΣ", "שָׁלוֹם עולם",
    "สวัสดีชาวโลก", "हिन्दी में", "tabs\tand\nlines\r\nand\u00a0spaces\u3000wide\u2028sep",
    "zero\u200bwidth\u200djoiner\ufeffmark\u00adhyphen", "bell\x07 null-free \x1b[0m control\x7f",
    "\ufffd replacement \ufffd", "emoji 😀👍🏽 👨‍👩‍👧 ❤️", "###hash ##tags #one _under_score_",
    "don't it's we'll",
    "https://example.com/a?b=c&d=%20e", "a.b,c;d:e!f?g", "1,299.00 12-pack 2024-01-15 16:9",
    "x" * 99, "x" * 100, "x" * 101, "wordpiece " * 20, "İstanbul DİYARBAKIR ß ẞ", "½ ¾ ① ⅷ ²³",
    "“curly” ‘quotes’ … – — ‐", "`~!@#$%^&*()-_=+[{]}\\|;:'\",<.>/?",
    "¡Hola! ¿Qué? «oui»", "\u0300\u0301",
    "a\u0328\u0301", "ＦＵＬＬ ｗｉｄｔｈ １２３", "Ⅷ ℌ ℃ ™ ©", "<|im_end|> </s> [mask] [cls", "𝒜𝓁𝓅𝒽𝒶 𝟙𝟚",
    "the quick brown fox jumps over the lazy dog", "copymill writes product copy overnight",
]


def main():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.train([str(path) for path in SOURCES], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    TARGET.mkdir(exist_ok=True)
    tokenizer.save(str(TARGET / "tokenizer.json"), pretty=False)
    cases = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in TEXTS]
    (TARGET / "cases.json").write_text(
        json.dumps({"n_vocab": tokenizer.get_vocab_size(), "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
