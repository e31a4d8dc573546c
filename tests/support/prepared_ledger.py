"""A ledger as a real job leaves it, without a real model: `copymill run` makes it with a tiny one,
and then its rows get texts, scores, flags and evidence that a person could have to review."""

import json
import random
import sqlite3

FILLERS = ["It keeps its shape year after year, whatever the day brings.",
           "Made to be used every day and to look good while it is.",
           "Simple to clean, simple to put away, and pleasant to hold.",
           "A quiet pleasure at home or on the road.", "Ready when you are, for years to come."]
FILLERS_ZH = ["日常使用恰到好处，陪伴每一个清晨和夜晚。", "经久耐用，不易变形，越用越顺手。",
              "清洗方便，收纳省心，拿在手里也舒服。", "在家或出门都合适，送人也体面。"]


def byte_span(text, part, **more):
    at = text.encode().find(part.encode())
    return {"begin": at, "end": at + len(part.encode()), **more} if at >= 0 else None


def write_copy(chance, title, facts, segment, language):
    """A text, its spans, and whether it says what the facts do not hold."""
    material = facts.get("material") or facts.get("category") or "fine material"
    price = facts.get("price", "")
    lies = chance.random() < 0.3
    if language == "zh":
        text = f"{title}，{material}制成，适合{segment}。{''.join(chance.sample(FILLERS_ZH, 3))}"
        invented = "保修 25 年。"
    else:
        text = f"{title} in {material}, chosen for {segment}. {' '.join(chance.sample(FILLERS, 3))}"
        invented = "It comes with a 25-year warranty."
    if price:
        text += f" 仅售 {price}。" if language == "zh" else f" Yours for {price}."
    text += (" " + invented) if lies else ""
    spans = [byte_span(text, title, kind="matched", rule="title", fact="title", note=""),
             byte_span(text, material, kind="matched", rule="fact", fact="material", note=""),
             byte_span(text, price, kind="matched", rule="fact", fact="price", note="")
             if price else None,
             byte_span(text, "25", kind="unsupported", rule="unsupported-number", fact="",
                       note="no fact holds 25") if lies else None]
    return text, [span for span in spans if span], lies


def judge(chance, spans, lies):
    score = round(chance.uniform(0.3, 0.6) if lies else chance.uniform(0.6, 0.99), 4)
    flags = [{"rule": "unsupported-number", "severity": "high",
              "reason": "25 stands in no fact of the item"}] if lies else []
    if chance.random() < 0.1:
        flags.append({"rule": "repetition", "severity": "low", "reason": "a phrase comes twice"})
    scores = {name: round(min(1, max(0, score + chance.uniform(-0.2, 0.2))), 4)
              for name in ("accuracy", "targeting", "fluency", "safety", "creativity")}
    return score, {"score": score, "scores": scores, "flags": flags, "spans": spans}


def fill(path, seed=1):
    """Gives every row of the ledger a plausible text."""
    chance = random.Random(seed)
    ledger = sqlite3.connect(path)
    rows = ledger.execute("SELECT copy.id, item.title, item.facts, segment_id, copy.language"
                          " FROM copy JOIN item ON item.id = copy.item ORDER BY copy.id").fetchall()
    for row_id, title, facts, segment, language in rows:
        text, spans, lies = write_copy(chance, title, json.loads(facts), segment, language)
        score, judgement = judge(chance, spans, lies)
        flags = "; ".join(f"{flag['rule']}: {flag['reason']}" for flag in judgement["flags"])
        ledger.execute("UPDATE copy SET text=?, score=?, flags=?, status=?, judgement=?, error=''"
                       " WHERE id=?", (text, score, flags, 3 if flags else 2,
                                       json.dumps(judgement, ensure_ascii=False), row_id))
    ledger.commit()
    ledger.close()


def grow(path, rows_count, seed=2):
    """Adds planned rows until there are `rows_count`, as of many more items."""
    chance = random.Random(seed)
    ledger = sqlite3.connect(path)
    columns = [row[1] for row in ledger.execute("PRAGMA table_info(copy)")]
    models = [dict(zip(columns, row)) for row in ledger.execute("SELECT * FROM copy")]
    titles = dict(ledger.execute("SELECT id, title FROM item"))
    facts = dict(ledger.execute("SELECT id, facts FROM item"))
    have = ledger.execute("SELECT count(*) FROM plan").fetchone()[0]
    last_id = ledger.execute("SELECT max(id) FROM copy").fetchone()[0]
    last_item = max(titles)
    for i in range(rows_count - have):
        row = dict(models[i % len(models)])
        if i % 3 == 0:
            last_item += 1
            title = f"{titles[row['item']]} No. {last_item}"
            ledger.execute("INSERT INTO item VALUES(?, ?, ?, ?)",
                           (last_item, f"grown-{last_item}", title, facts[row["item"]]))
        text, spans, lies = write_copy(chance, title, json.loads(facts[row["item"]]),
                                       row["segment_id"], row["language"])
        score, judgement = judge(chance, spans, lies)
        flags = "; ".join(f"{flag['rule']}: {flag['reason']}" for flag in judgement["flags"])
        row.update(id=last_id + 1 + i, row_key="%032x" % chance.getrandbits(128),
                   item_id=f"item-{last_item}", item=last_item, text=text, score=score,
                   flags=flags, status=3 if flags else 2, judgement=json.dumps(judgement))
        ledger.execute(f"INSERT INTO copy({','.join(row)}) VALUES({','.join('?' * len(row))})",
                       list(row.values()))
        ledger.execute("INSERT INTO plan VALUES(?, ?)", (have + i, row["id"]))
    ledger.commit()
    ledger.close()
