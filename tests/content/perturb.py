"""Copies with one known fault each: what the judge of copy is held to.

A true copy is a text that says only what its item's facts hold. Each kind of fault changes it in
one way and names the rules of which one must catch it.
"""

import random
import re

# Claims in the spellings that people use to get past a filter.
CHINESE_CLAIMS = [
    ("国家级品质", {"superlative"}), ("最佳选择", {"superlative"}), ("顶级享受", {"superlative"}),
    ("极品之选", {"superlative"}), ("全网最低价", {"superlative"}), ("史无前例", {"superlative"}),
    ("销量第一", {"ranking"}), ("行业领先", {"ranking"}), ("遥遥领先", {"ranking"}),
    ("药到病除", {"medical-claim"}), ("根治失眠", {"medical-claim"}), ("抗癌", {"medical-claim"}),
    ("稳赚不赔", {"finance-claim"}), ("无效退款", {"guarantee"}),
]
ENGLISH_CLAIMS = [
    ("the world's best", {"superlative"}), ("unbeatable", {"superlative"}),
    ("number one", {"ranking"}), ("No. 1", {"ranking"}), ("market leader", {"ranking"}),
    ("clinically proven", {"medical-claim"}), ("miracle cure", {"medical-claim"}),
    ("guaranteed returns", {"finance-claim"}), ("get rich quick", {"finance-claim"}),
    ("results guaranteed", {"guarantee"}), ("bullshit", {"profanity"}),
]
TRADITIONAL = str.maketrans("国级极顶选择价销药无领业", "國級極頂選擇價銷藥無領業")

OTHER_LANGUAGES = {
    "en": ["这款商品做工精细，使用方便，适合每天使用，也可以作为礼物送给家人和朋友。",
           "Dieses Produkt ist für den Alltag und passt auch als Geschenk für die Familie.",
           "Ce produit est fait pour la vie de tous les jours et plaît aussi comme cadeau.",
           "Este producto está hecho para el día a día y también es un regalo para la familia."],
    "zh": ["This product is made for every day, and it is a present for the family as well.",
           "Dieses Produkt ist für den Alltag und passt auch als Geschenk für die Familie."],
}
LEAKS = {
    "en": [("Here is a product description: ", ""), ("Sure, here you go. ", ""),
           ("", " As an AI language model, I cannot say more."),
           ("Target audience: families. ", ""),
           ("", " <|im_end|>"), ("Product: this one.\n", "")],
    "zh": [("以下是商品描述：", ""), ("好的，", ""), ("", "作为一个人工智能语言模型，我无法提供更多信息。"),
           ("目标人群：年轻人。", ""), ("", "<|im_end|>")],
}
TEMPLATE_PHRASES = {
    "en": [" Look no further.", " Take it to the next level.", " It is a real game-changer.",
           " Elevate your day.", " Say goodbye to worries."],
    "zh": ["您还在等什么？", "让您的生活更加美好。", "居家旅行必备。", "心动不如行动。", "它是您的不二之选。"],
}
PERSONAL = {"en": [" Call 415-555-2671 or write to lena.berg@example.com."],
            "zh": ["详情请联系13812345678。"]}

FULL_WIDTH = {ord(c): chr(ord(c) + 0xFEE0) for c in
              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.'"}


class Copy:
    """A text with its item's facts (name -> value), language and, where it has one, a brand."""

    def __init__(self, item_id, language, text, facts, brand=""):
        self.item_id, self.language, self.text = item_id, language, text
        self.facts, self.brand = facts, brand


def sentences(text):
    return [part for part in re.split(r"(?<=[.!?。！？])\s*", text) if part.strip()]


def join(language, parts):
    return ("" if language == "zh" else " ").join(part.strip() for part in parts)


def claim(copy, rng):
    """A forbidden claim in one of the spellings of it."""
    chinese = copy.language == "zh"
    words, rules = rng.choice(CHINESE_CLAIMS if chinese else ENGLISH_CLAIMS)
    if chinese:
        variants = [words, words.translate(TRADITIONAL), " ".join(words), "-".join(words),
                    "·".join(words), "\u200b".join(words)]
        return copy.text + f"这就是{rng.choice(variants)}。", rules
    variants = [words, words.upper(), words.translate(FULL_WIDTH), "\u200b".join(words)]
    return copy.text + f" It is {rng.choice(variants)}.", rules


def spaced_claim(copy, rng):
    """The letters of one word, spaced out."""
    if copy.language == "zh":
        words, rules = rng.choice(CHINESE_CLAIMS)
        return copy.text + f"这就是{'  '.join(words)}。", rules
    words, rules = rng.choice([c for c in ENGLISH_CLAIMS if " " not in c[0] and "." not in c[0]])
    return copy.text + f" It is {rng.choice([' ', '.', '-']).join(words)}.", rules


def invented_number(copy, rng):
    held = set(re.findall(r"\d+", " ".join(copy.facts.values()) + copy.text))
    number = next(n for n in iter(lambda: str(rng.randrange(113, 989)), None) if n not in held)
    chinese = [f"重量仅{number}克。", f"续航长达{number}小时。", f"已有{number}位顾客选择。"]
    english = [f" It weighs only {number} g.", f" It lasts {number} hours.",
               f" Now {number}% lighter.", f" It costs just ${number}."]
    added = rng.choice(chinese if copy.language == "zh" else english)
    return copy.text + added, {"unsupported-number", "unsupported-unit"}


def other_language(copy, rng):
    return rng.choice(OTHER_LANGUAGES[copy.language]), {"wrong-language"}


def repetition(copy, rng):
    parts = sentences(copy.text)
    long = [p for p in parts if len(p) > (10 if copy.language == "zh" else 30)]
    if not long:
        return None
    return join(copy.language, [*parts, rng.choice(long)]), {"repetition"}


def cut(copy, rng):
    """Ends inside the last sentence."""
    parts = sentences(copy.text)
    if copy.language == "zh":
        last = parts[-1].rstrip("。！？!?.")
        if len(copy.text) < 30 or len(last) < 8:
            return None
        return copy.text[:-(rng.randrange(2, 5) + 1)].rstrip("，、；：。！？ "), {"cut-off"}
    words = copy.text.rstrip(".!?").split()
    if len(words) < 16 or len(parts[-1].split()) < 6:
        return None
    return " ".join(words[:-rng.randrange(1, 4)]).rstrip(".,;:!?"), {"cut-off"}


def leak(copy, rng):
    before, after = rng.choice(LEAKS[copy.language])
    return before + copy.text + after, {"prompt-leak"}


def template_phrase(copy, rng):
    return copy.text + rng.choice(TEMPLATE_PHRASES[copy.language]), {"template-phrase"}


def personal_data(copy, rng):
    return copy.text + rng.choice(PERSONAL[copy.language]), {"personal-data"}


def replace_once(text, old, new):
    pattern = re.escape(old)
    if re.match(r"\w", old[0]) and ord(old[0]) < 0x250:
        pattern = r"\b" + pattern + r"\b"
    return re.subn(pattern, lambda _: new, text, flags=re.IGNORECASE)


# Words that speak of a column only beside its name: "moderate food" says nothing about a price.
VAGUE = {"high", "low", "average", "moderate", "cheap"}


def speaks_of(text, name, value):
    if value.lower() not in VAGUE:
        return True
    words = [word[:3] for word in re.findall(r"[A-Za-z][a-z]+", name)]
    around = re.search(rf".{{0,20}}\b{re.escape(value)}\b.{{0,20}}", text, re.IGNORECASE)
    return any(re.search(rf"\b{word}", around.group(), re.IGNORECASE) for word in words)


def changed_fact(copy, rng, values):
    """A value of a column, where the text says it, becomes the value of another item."""
    said = [(name, value) for name, value in copy.facts.items()
            if name in values and len(value) > 2 - (copy.language == "zh") and
            replace_once(copy.text, value, "")[1] > 0 and speaks_of(copy.text, name, value)]
    rng.shuffle(said)
    for name, value in said:
        others = [other for other in values[name]
                  if other.lower() not in " ".join(copy.facts.values()).lower() and
                  value.lower() not in other.lower() and
                  # "5 out of 5" and "high" may mean the same
                  bool(re.search(r"\d", other)) == bool(re.search(r"\d", value))]
        if others:
            text, _ = replace_once(copy.text, value, rng.choice(sorted(others)))
            return text, {"contradicted-fact", "unsupported-brand", "unsupported-number"}
    return None


def swapped_brand(copy, rng, brands):
    others = [b for b in brands if b != copy.brand and b.lower() not in
              " ".join(copy.facts.values()).lower() and copy.brand.lower() not in b.lower()]
    if not copy.brand or not others or not replace_once(copy.text, copy.brand, "")[1]:
        return None
    text, _ = replace_once(copy.text, copy.brand, rng.choice(sorted(others)))
    return text, {"unsupported-brand", "contradicted-fact"}


SIMPLE_KINDS = [claim, spaced_claim, invented_number, other_language, repetition, cut, leak,
                template_phrase, personal_data]


def perturbed(copies, seed=1, kinds=None):
    """(kind, copy, text, rules) for every fault that can be put into each copy."""
    rng = random.Random(seed)
    values, brands = {}, set()
    for copy in copies:
        brands.add(copy.brand)
        for name, value in copy.facts.items():
            values.setdefault(name, set()).add(value)
    brands.discard("")
    # Columns of few values tell what an item is not; titles and prose do not.
    values = {name: held for name, held in values.items()
              if name not in ("title", "price", "brand", "category", "tags", "类型") and
              1 < len(held) <= 200}
    for copy in copies:
        faults = [(kind.__name__, kind(copy, rng)) for kind in SIMPLE_KINDS]
        faults.append(("changed_fact", changed_fact(copy, rng, values)))
        faults.append(("swapped_brand", swapped_brand(copy, rng, brands)))
        for name, fault in faults:
            if fault is not None and (kinds is None or name in kinds):
                yield name, copy, *fault
