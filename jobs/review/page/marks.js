// Which parts of a text the facts hold and which they do not. The program's judgement says so in bytes
// of UTF-8; without one, values of facts are looked for word for word.
"use strict";

// bytes -> index in the string, for all borders that are needed.
function indexOfBytes(text, wanted) {
  const borders = [...new Set(wanted)].sort((a, b) => a - b);
  const found = new Map();
  let bytes = 0;
  let next = 0;
  for (let i = 0; i <= text.length; i++) {
    while (next < borders.length && borders[next] <= bytes) found.set(borders[next++], i);
    if (i === text.length) break;
    const code = text.codePointAt(i);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (code > 0xffff) i++;
  }
  while (next < borders.length) found.set(borders[next++], text.length);
  return found;
}

function spansOfJudgement(text, judgement) {
  const spans = (judgement.spans || []).filter(s => s && s.end > s.begin && s.begin >= 0);
  const index = indexOfBytes(text, spans.flatMap(s => [s.begin, s.end]));
  const minor = new Set((judgement.flags || []).filter(f => f && f.severity === "low").map(f => f.rule));
  return spans.map(s => ({ ...s, kind: minor.has(s.rule) && s.kind !== "matched" ? "minor" : s.kind,
    from: index.get(s.begin), to: index.get(s.end) }));
}

// Values that stand in the text as they are; short ones would be found anywhere.
function spansOfFacts(text, facts) {
  const spans = [];
  const lower = text.toLowerCase();
  for (const [fact, value] of Object.entries(facts || {})) {
    if (fact === "description" || fact === "language" || typeof value !== "string") continue;
    for (const part of value.split(/[,;|\/]\s*/).map(p => p.trim().toLowerCase())) {
      const long = /\p{sc=Han}/u.test(part) ? part.length >= 2 : part.length >= 3;
      if (!long || part.length > 200 || lower.length !== text.length) continue;
      for (let at = lower.indexOf(part); at >= 0; at = lower.indexOf(part, at + part.length)) {
        const whole = !/[\p{L}\p{N}]/u.test(part[0]) || !/[a-z0-9]/i.test(lower[at - 1] || " ");
        if (whole) spans.push({ kind: "found", fact, from: at, to: at + part.length });
      }
    }
  }
  return spans;
}

// Writes the text into an element, with a <mark> for every stretch that a span covers. Text only: what
// a model wrote is never markup.
function writeMarked(element, text, spans, describe) {
  const borders = [...new Set([0, text.length, ...spans.flatMap(s => [s.from, s.to])])]
    .sort((a, b) => a - b);
  element.replaceChildren();
  for (let i = 0; i + 1 < borders.length; i++) {
    const [from, to] = [borders[i], borders[i + 1]];
    const over = spans.filter(s => s.from <= from && s.to >= to);
    if (!over.length) {
      element.append(text.slice(from, to));
      continue;
    }
    const mark = document.createElement("mark");
    mark.textContent = text.slice(from, to);
    mark.className = over.map(s => "m-" + String(s.kind).replace(/[^a-z]/g, "")).join(" ");
    mark.title = over.map(describe).join("; ");
    mark.dataset.facts = over.map(s => s.fact || "").filter(Boolean).join("\n");
    element.append(mark);
  }
}
