// The review page. Everything it shows comes from /api/ of the program that served it; everything a
// person types is kept in this browser until the program has stored it.
"use strict";

const $ = id => document.getElementById(id);
const NEWS_MS = 4000;
const RETRY_MS = 1500;
const PAGE_ROWS = 50;
const FILTERS = ["order", "decision", "status", "segment", "flag", "language", "search"];
const DEFAULTS = { order: "worst", decision: "open" };

const state = {
  job: null, csrf: "", language: "en", filters: {}, rows: [], count: 0, row: null, wanted: 0,
  undo: [], busy: false, offline: false, closed: false, diff: false, last: 0,
};

// --- Words -------------------------------------------------------------------------------------

function word(name, values = {}) {
  const text = WORDS[state.language][name] ?? WORDS.en[name] ?? name;
  return typeof text === "string"
    ? text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole) : text;
}

function announce(text) {
  $("live").textContent = "";
  setTimeout(() => { $("live").textContent = text; }, 30);
}

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function applyWords() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const place of document.querySelectorAll("[data-word]")) place.textContent = word(place.dataset.word);
  for (const place of document.querySelectorAll("[data-label]")) {
    place.setAttribute("aria-label", word(place.dataset.label));
    if (place.tagName === "BUTTON") place.title = word(place.dataset.label);
  }
  for (const place of document.querySelectorAll("[data-placeholder]")) place.placeholder = word(place.dataset.placeholder);
  $("toggle-language").textContent = state.language === "zh" ? "English" : "中文";
  $("toggle-language").lang = state.language === "zh" ? "en" : "zh";
  $("keys").replaceChildren(...word("keys").flatMap(([key, what]) =>
    [element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: what })]));
  $("reasons").replaceChildren(...word("reasons").map((reason, i) => {
    const button = element("button", { type: "submit", value: "ok" },
      element("kbd", { textContent: i + 1 }), element("span", { textContent: reason }));
    button.dataset.reason = reason;
    return button;
  }));
  if (state.job) {
    fillSelects();
    showProgress(state.job.progress);
    showRows();
    showRow();
  }
}

// --- The program ------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, answer) {
    super((answer && answer.error) || String(status));
    this.status = status;
    this.answer = answer;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    wentOffline();
    throw new Refused(0, { error: word("offline") });
  }
  if (response.status === 401) {
    state.closed = true;
    banner(word("new_session"));
  } else if (state.offline) {
    state.offline = false;
    banner("");
    announce(word("online"));
  }
  const answer = response.headers.get("Content-Type")?.startsWith("application/json")
    ? await response.json() : null;
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return ask(text ? `${path}?${text}` : path);
}

function post(path, body) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": state.csrf },
    body: JSON.stringify({ reviewer: reviewer(), ...body }),
  });
}

function wentOffline() {
  if (!state.offline) setTimeout(listen, RETRY_MS);
  state.offline = true;
  banner(word("offline"));
}

function reviewer() {
  return localStorage.getItem("copymill.reviewer") || state.job?.reviewer || "";
}

// What others decided, and whether the program is still there.
async function listen() {
  if (state.closed || (document.hidden && !state.offline)) return;
  try {
    const news = await get("/api/news", { since: state.last, reviewer: reviewer() });
    showProgress(news.progress);
    for (const changed of news.rows) takeNews(changed);
  } catch {
    if (state.offline) setTimeout(listen, RETRY_MS);
  }
}

function takeNews(changed) {
  const row = state.rows.find(r => r.id === changed.id);
  if (row && row.version < changed.version) {
    Object.assign(row, { version: changed.version, decision: changed.decision });
    showRows();
  }
  const shown = state.row;
  if (shown && shown.id === changed.id && shown.decision.version < changed.version && !state.busy) {
    reload().then(conflict, () => {});
  }
}

// --- Drafts -----------------------------------------------------------------------------------

const draftKey = id => `copymill.draft.${state.job.key}.${id}`;
const draftOf = id => localStorage.getItem(draftKey(id));

function keepDraft() {
  if (!state.row) return;
  if ($("edit").value === publishedText(state.row)) localStorage.removeItem(draftKey(state.row.id));
  else localStorage.setItem(draftKey(state.row.id), $("edit").value);
  $("characters").textContent = word("characters", { n: [...$("edit").value].length });
}

// --- The queue --------------------------------------------------------------------------------

function fillSelects() {
  const facets = state.job.facets;
  const fill = (select, options) => {
    const value = state.filters[select.name] ?? "";
    select.replaceChildren(...options.map(([key, text]) => element("option", { value: key, textContent: text })));
    select.value = value;
  };
  const named = (kind, prefix) => [["", word("any")], ...(facets[kind] || []).map(([value, count]) =>
    [value, `${prefix ? word(prefix + value) : value} (${count})`])];
  const form = $("filters");
  fill(form.order, ["worst", "best", "audit", "plan"].map(o => [o, word("order_" + o)]));
  fill(form.decision, [["", word("any")],
    ...["open", "approved", "edited", "rejected"].map(d => [d, word("decision_" + d)])]);
  fill(form.status, named("status", "status_"));
  fill(form.segment, named("segment"));
  fill(form.flag, named("flag"));
  fill(form.language, named("language"));
  form.search.value = state.filters.search ?? "";
  const segment = $("export-segment").value;
  $("export-segment").replaceChildren(...named("segment").map(([key, text]) =>
    element("option", { value: key, textContent: text })));
  $("export-segment").value = segment;
}

function remember() {
  const kept = new URLSearchParams();
  for (const name of FILTERS) {
    if ((state.filters[name] ?? "") !== (DEFAULTS[name] ?? "")) kept.set(name, state.filters[name] ?? "");
  }
  if (state.row) kept.set("id", state.row.id);
  history.replaceState(null, "", "#" + kept.toString());
}

// Reads a page of rows: the first, or the one after or before what is shown.
async function loadRows(where) {
  const parameters = { ...state.filters, rows: PAGE_ROWS };
  if (where === "after" && state.rows.length) parameters.after = state.rows.at(-1).id;
  if (where === "before" && state.rows.length) {
    parameters.after = state.rows[0].id;
    parameters.backward = 1;
  }
  const token = ++state.wanted;
  const answer = await get("/api/rows", parameters);
  if (token !== state.wanted) return false;
  const rows = parameters.backward ? answer.rows.reverse() : answer.rows;
  state.count = answer.count;
  if (where !== "first" && !rows.length) return false;
  state.rows = rows;
  showRows();
  $("rows").scrollTop = 0;
  return true;
}

function showRows() {
  $("count").textContent = state.count === 1 ? word("count_one") : word("count", { n: state.count.toLocaleString() });
  $("rows").replaceChildren(...state.rows.map(row => {
    const pill = draftOf(row.id) !== null ? ["draft", word("draft")]
      : row.decision !== "open" ? [row.decision, word("decision_" + row.decision)]
        : row.status !== "ok" ? [row.status, word("status_" + row.status)] : null;
    const button = element("button", { type: "button" },
      element("span", { className: "score", textContent: row.score.toFixed(2) }),
      element("span", { className: "name", textContent: row.title || row.item }),
      pill ? element("span", { className: "mark pill " + pill[0], textContent: pill[1] }) : element("span"),
      element("span", { className: "under", textContent: `${row.segment} · ${row.text}` }));
    button.dataset.id = row.id;
    if (state.row && row.id === state.row.id) button.setAttribute("aria-current", "true");
    return element("li", {}, button);
  }));
}

async function filter() {
  for (const name of FILTERS) state.filters[name] = $("filters").elements[name].value;
  try {
    await loadRows("first");
    await open(state.rows[0]?.id);
  } catch (problem) {
    tell(problem);
  }
}

// --- The row ----------------------------------------------------------------------------------

function publishedText(row) {
  return row.decision.state === "edited" ? row.decision.text : row.generated;
}

async function open(id) {
  if (id === undefined) {
    state.row = null;
    showRow();
    remember();
    return;
  }
  const token = ++state.wanted;
  const row = await get("/api/row", { id });
  if (token !== state.wanted) return;
  state.row = row;
  state.comparison = undefined;
  showRow();
  remember();
  markCurrent();
}

async function reload() {
  const id = state.row.id;
  await open(id);
  const row = state.rows.find(r => r.id === id);
  if (row && state.row) {
    Object.assign(row, { version: state.row.decision.version, decision: state.row.decision.state });
    showRows();
  }
}

function markCurrent() {
  for (const button of $("rows").querySelectorAll("button")) {
    const current = state.row && Number(button.dataset.id) === state.row.id;
    if (current) {
      button.setAttribute("aria-current", "true");
      button.scrollIntoView({ block: "nearest" });
    } else {
      button.removeAttribute("aria-current");
    }
  }
}

function showRow() {
  const row = state.row;
  $("row").hidden = !row;
  $("nothing").hidden = !!row;
  for (const id of ["accept", "edit-button", "reject", "skip", "previous", "next"]) $(id).disabled = !row;
  if (!row) {
    $("nothing").textContent = word(state.filters.decision === "open" ? "all_done" : "empty_queue");
    return;
  }
  $("item-title").textContent = row.title || row.item;
  $("about").textContent = [row.item, word("about", { segment: row.segment_id, language: row.language, score: row.score.toFixed(2) }),
    row.tries > 1 ? word("attempts", { n: row.attempt, tries: row.tries }) : ""].filter(Boolean).join(" · ");
  showFacts(row);
  showText(row);
  showFlags(row);
  showHistory(row);
  $("copy").scrollTop = 0;
}

const factName = name => WORDS[state.language]["fact_" + name] ?? name.replaceAll("_", " ");

function showFacts(row) {
  const pairs = Object.entries(row.facts || {});
  $("facts").replaceChildren(...(pairs.length ? pairs.flatMap(([name, value]) => {
    const dd = element("dd", { textContent: value });
    dd.dataset.fact = name;
    if (String(value).length > 160) {
      dd.className = "long";
      dd.tabIndex = 0;
    }
    return [element("dt", { textContent: factName(name) }), dd];
  }) : [element("p", { className: "note", textContent: word("no_facts") })]));
  $("audience").replaceChildren(...Object.entries({ segment: row.segment_id, ...(row.segment || {}) }).flatMap(([name, value]) =>
    [element("dt", { textContent: name === "segment" ? word("segment") : factName(name) }), element("dd", { textContent: value })]));
}

function describeSpan(span) {
  const kind = ["matched", "found"].includes(span.kind) ? word("legend_" + span.kind)
    : span.kind === "unsupported" ? word("legend_unsupported") : span.rule || span.kind;
  return [kind, span.fact ? factName(span.fact) : "", span.note || ""].filter(Boolean).join(": ");
}

function showText(row) {
  const draft = draftOf(row.id);
  const text = publishedText(row);
  const judged = row.judgement && row.decision.state !== "edited";
  const spans = judged ? spansOfJudgement(text, row.judgement) : spansOfFacts(text, row.facts);
  if (text) writeMarked($("text"), text, spans, describeSpan);
  else $("text").textContent = word("no_text", { why: row.error });
  $("text").lang = row.language;
  for (const dd of $("facts").querySelectorAll("dd")) {
    dd.classList.toggle("used", spans.some(s => s.fact === dd.dataset.fact && ["matched", "found"].includes(s.kind)));
  }
  const known = { matched: "matched", found: "found", unsupported: "unsupported", banned: "banned", pii: "banned" };
  const kinds = new Set(spans.map(s => known[s.kind] ?? "minor"));
  $("legend").replaceChildren(...["matched", "found", "unsupported", "banned", "minor"].filter(k => kinds.has(k)).map(kind =>
    element("span", {}, element("mark", { className: "m-" + kind, textContent: word("legend_" + kind) }))));
  const parts = row.decision.state === "edited" ? [] : Object.entries(row.fields || {});
  $("parts").replaceChildren(...parts.flatMap(([name, value]) => [element("dt", { textContent: name.replaceAll("_", " ") }),
    element("dd", { textContent: Array.isArray(value) ? value.join("\n") : typeof value === "object" ? JSON.stringify(value) : value })]));
  $("state").className = "state " + row.decision.state;
  $("state").textContent = word("decision_" + row.decision.state)
    + (row.decision.reason && row.decision.state === "rejected" ? ": " + row.decision.reason : "");
  $("accept").disabled = !text;
  edit(draft !== null, draft ?? text);
  showComparison();
}

function showFlags(row) {
  const flags = row.judgement?.flags ?? row.flags.split(/; (?=[a-z0-9-]+(?::|;|$))/).filter(Boolean).map(flag => {
    const [rule, ...rest] = flag.split(": ");
    return { rule, reason: rest.join(": ") };
  });
  $("flags").replaceChildren(...flags.map(flag => element("li", {},
    element("span", { className: "pill " + (flag.severity || "plain"), textContent: flag.severity ? word("severity_" + flag.severity) : "!" }),
    element("span", { textContent: [flag.rule, flag.reason].filter(Boolean).join(": ") }))));
  const scores = Object.entries(row.judgement?.scores ?? {}).filter(([, value]) => typeof value === "number");
  $("scores").replaceChildren(...scores.flatMap(([name, value]) => {
    const label = WORDS[state.language]["score_" + name] ?? name;
    const meter = element("meter", { min: 0, max: 1, low: 0.5, high: 0.75, optimum: 1, value });
    meter.setAttribute("aria-label", label);
    return [element("dt", { textContent: label }), element("dd", { className: "meter" }, meter), element("dd", { textContent: value.toFixed(2) })];
  }));
}

function showHistory(row) {
  $("history").hidden = !row.history.length;
  $("events").replaceChildren(...row.history.map(event => {
    const time = new Date(event.time).toLocaleString(document.documentElement.lang);
    const what = word("decision_" + event.state);
    const text = event.reason === "rewritten" && !event.reviewer ? word("event_rewritten", { time })
      : word("event", { time, what, who: event.reviewer });
    return element("li", { textContent: [text, event.reason && event.reviewer ? event.reason : "",
      event.distance ? word("changed", { n: event.distance }) : ""].filter(Boolean).join(" · ") });
  }));
}

// The earlier copy: the generated text of an edited row, the catalog's description, an earlier run.
function showComparison() {
  const row = state.row;
  $("comparison").hidden = !state.diff;
  $("toggle-diff").setAttribute("aria-pressed", state.diff);
  if (!state.diff) return;
  const text = $("editor").hidden ? publishedText(row) : $("edit").value;
  const choices = [["generated", text !== row.generated ? row.generated : ""], ["earlier", row.earlier],
    ["description", row.facts?.description]].filter(([, old]) => old);
  if (!choices.length) {
    $("comparison-heading").textContent = word("compare_nothing");
    $("difference").replaceChildren();
    return;
  }
  const [kind, old] = choices[(state.comparison ?? 0) % choices.length];
  $("comparison-heading").textContent = word("compare_" + kind);
  $("difference").replaceChildren(...difference(old, text).map(([what, part]) =>
    what === "same" ? part : element(what === "new" ? "ins" : "del", { textContent: part })));
}

// --- Editing ----------------------------------------------------------------------------------

function edit(on, text) {
  $("editor").hidden = !on;
  $("text").hidden = on;
  $("legend").hidden = on;
  if (!on) {
    if (document.activeElement === $("edit")) $("copy").focus(); // or the next key would be lost in it
    return;
  }
  const parts = Object.keys(state.row.fields || {}).filter(name => !name.startsWith("question"));
  $("edit-parts").hidden = !parts.length;
  $("edit-parts").textContent = word("edit_parts", { parts: parts.map(p => p.replaceAll("_", " ")).join(", ") });
  $("edit").value = text;
  $("edit").lang = state.row.language;
  $("characters").textContent = word("characters", { n: [...text].length });
  fitEditor();
}

function fitEditor() {
  $("edit").style.height = "auto";
  $("edit").style.height = Math.min($("edit").scrollHeight + 4, window.innerHeight * 0.6) + "px";
}

function startEdit() {
  if (!state.row) return;
  edit(true, draftOf(state.row.id) ?? publishedText(state.row));
  showComparison();
  $("edit").focus();
}

function leaveEdit(discard) {
  if (discard) localStorage.removeItem(draftKey(state.row.id));
  const kept = draftOf(state.row.id) !== null;
  edit(false);
  showComparison();
  showRows();
  $("copy").focus();
  if (kept) announce(word("draft_kept"));
}

function save() {
  const text = $("edit").value.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
  if (!text.trim()) {
    banner(word("empty_text"));
    return;
  }
  decide("edit", { text }, "announce_edited");
}

// --- Deciding ---------------------------------------------------------------------------------

function tell(problem) {
  if (!(problem instanceof Refused)) throw problem;
  if (problem.status && problem.status !== 401) banner(word("failed", { why: problem.message }));
}

function conflict() {
  const decision = state.row.decision;
  banner(word("conflict", { who: decision.reviewer || word("somebody"), what: word("decision_" + decision.state) }));
}

// One decision at a time, and the next row only when this one is stored.
async function decide(action, more, announcement) {
  const row = state.row;
  if (!row || state.busy) return;
  state.busy = true;
  try {
    const before = row.decision.version;
    const answer = await post("/api/decide", { id: row.id, version: before, action, ...more });
    localStorage.removeItem(draftKey(row.id));
    banner("");
    taken(row.id, answer);
    state.undo.push({ id: row.id, version: answer.version, earlier: before });
    announce(word(announcement));
    await step(1, true);
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 409) await reload().then(conflict, tell);
    else tell(problem);
  } finally {
    state.busy = false;
  }
}

function taken(id, answer) {
  const row = state.rows.find(r => r.id === id);
  if (row) Object.assign(row, { version: answer.version, decision: answer.state });
  if (state.row?.id === id) Object.assign(state.row.decision, { version: answer.version, state: answer.state });
  showProgress(answer.progress);
  showRows();
}

async function undo() {
  const last = state.undo.at(-1);
  if (!last || state.busy) {
    if (!last) announce(word("announce_nothing_to_undo"));
    return;
  }
  state.busy = true;
  try {
    if (last.batch) {
      const answer = await post("/api/decide-many", { action: "back", batch: last.batch });
      state.undo.pop();
      showProgress(answer.progress);
      banner(word("bulk_undone", { n: answer.count }));
      await loadRows("first");
      await open(state.rows[0]?.id);
    } else {
      const answer = await post("/api/decide", { id: last.id, version: last.version, action: "back", earlier: last.earlier });
      state.undo.pop();
      for (const entry of state.undo) if (entry.id === last.id && entry.version === last.earlier) entry.version = answer.version;
      taken(last.id, answer);
      await open(last.id);
      banner("");
    }
    announce(word("announce_undone"));
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 409) {
      state.undo.pop();
      await open(last.id).then(conflict, tell);
    } else {
      tell(problem);
    }
  } finally {
    state.busy = false;
  }
}

// To the neighbour in the list, over the page's end where need be. After a decision rows that were
// decided already are passed over while the queue shows open ones.
async function step(by, decided = false) {
  const at = state.row ? state.rows.findIndex(r => r.id === state.row.id) : -1;
  let next = at + by;
  const passes = r => decided && state.filters.decision === "open" && r.decision !== "open";
  while (state.rows[next] && passes(state.rows[next])) next += by;
  if (!state.rows[next]) {
    const found = await loadRows(by > 0 ? "after" : "before");
    if (!found) {
      if (decided && state.filters.decision === "open") {
        await loadRows("first");
        await open(state.rows[0]?.id);
      } else {
        announce(word(by > 0 ? "announce_last" : "announce_first"));
        if (state.row) await open(state.row.id);
      }
      return;
    }
    next = by > 0 ? 0 : state.rows.length - 1;
  }
  await open(state.rows[next].id);
}

function showProgress(progress) {
  state.job.progress = progress;
  state.last = progress.last;
  const total = progress.open + progress.approved + progress.edited + progress.rejected;
  const done = total - progress.open;
  for (const kind of ["approved", "edited", "rejected"]) {
    document.querySelector(".bar ." + kind).style.width = total ? 100 * progress[kind] / total + "%" : "0";
  }
  const text = word("progress", { done: done.toLocaleString(), total: total.toLocaleString(), own: progress.own.toLocaleString() });
  $("progress-numbers").textContent = text;
  $("progress").setAttribute("aria-label", text);
}

// --- Dialogs ----------------------------------------------------------------------------------

function ask_dialog(id) {
  return new Promise(resolve => {
    const dialog = $(id);
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
    dialog.showModal();
  });
}

async function reject() {
  if (!state.row || state.busy) return;
  $("reason").value = "";
  if (await ask_dialog("reject-dialog")) await decide("reject", { reason: $("reason").value.trim() }, "announce_rejected");
  $("copy").focus();
}

function bulkFilter() {
  const filter = { ...state.filters, decision: "open", score_min: $("bulk-score").value || "0" };
  delete filter.order;
  if (!$("bulk-flagged").checked) filter.status = "ok";
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== "" && value !== undefined).map(([k, v]) => [k, String(v)]));
}

async function countBulk() {
  try {
    const { count } = await get("/api/count", bulkFilter());
    $("bulk-count").textContent = count ? word("bulk_count", { n: count.toLocaleString() }) : word("bulk_none");
    $("bulk-ok").disabled = !count;
  } catch (problem) {
    tell(problem);
  }
}

async function bulk() {
  $("bulk-count").textContent = "";
  countBulk();
  if (!await ask_dialog("bulk-dialog")) return;
  try {
    const answer = await post("/api/decide-many", { action: "accept", filter: bulkFilter() });
    if (answer.count) state.undo.push({ batch: answer.batch });
    showProgress(answer.progress);
    banner(word("bulk_done", { n: answer.count.toLocaleString() }));
    await loadRows("first");
    await open(state.rows[0]?.id);
  } catch (problem) {
    tell(problem);
  }
}

async function download() {
  const parameters = new URLSearchParams({
    format: $("export-format").value, segment: $("export-segment").value, origin: $("export-origin").value,
    excel: $("export-excel").checked && ["csv", "shopify"].includes($("export-format").value) ? 1 : 0,
    all: $("export-all").checked ? 1 : 0,
  });
  let response;
  try {
    response = await fetch("/api/export?" + parameters, { credentials: "same-origin" });
  } catch {
    wentOffline();
    return;
  }
  if (!response.ok) {
    $("export-note").textContent = word("failed", { why: (await response.json().catch(() => ({}))).error ?? response.status });
    return;
  }
  const link = element("a", {
    href: URL.createObjectURL(await response.blob()),
    download: /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))?.[1] ?? "copy",
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  $("export-note").textContent = word("exported", { n: response.headers.get("X-Rows-Written"),
    waiting: response.headers.get("X-Rows-Waiting"), refused: response.headers.get("X-Rows-Refused") });
}

async function askName() {
  $("name").value = reviewer();
  if (await ask_dialog("name-dialog") && $("name").value.trim()) {
    localStorage.setItem("copymill.reviewer", $("name").value.trim());
    $("reviewer-name").textContent = reviewer();
    listen();
  }
}

// --- Keys and clicks --------------------------------------------------------------------------

const ACTIONS = {
  a: () => state.row && !$("accept").disabled && decide("accept", {}, "announce_approved"),
  x: reject,
  e: startEdit,
  u: undo,
  " ": () => { announce(word("announce_skipped")); return step(1); },
  ArrowDown: () => step(1), ArrowRight: () => step(1), j: () => step(1),
  ArrowUp: () => step(-1), ArrowLeft: () => step(-1), k: () => step(-1),
  d: toggleDiff, b: bulk,
  "/": () => { showQueue(true); $("search").focus(); },
  h: () => $("help-dialog").showModal(), "?": () => $("help-dialog").showModal(),
};

function onKey(event) {
  const at = event.target;
  if (document.querySelector("dialog[open]")) {
    const number = Number(event.key);
    if ($("reject-dialog").open && at.id !== "reason" && number >= 1 && number <= $("reasons").children.length) {
      event.preventDefault();
      $("reasons").children[number - 1].click();
    }
    return;
  }
  if (at.id === "edit") {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else if (event.key === "Escape") leaveEdit(false);
    else return;
    event.preventDefault();
    return;
  }
  if (at.matches("input, select, textarea")) {
    if (event.key === "Escape") $("copy").focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if ((event.key === " " || event.key === "Enter") && at.matches("button, summary, a")) return;
  const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  run(action);
}

function run(action) {
  Promise.resolve(action()).catch(tell);
}

function toggleDiff() {
  if (!state.row) return;
  const row = state.row;
  const count = [publishedText(row) !== row.generated, row.earlier, row.facts?.description].filter(Boolean).length;
  if (!state.diff) {
    state.diff = true;
    state.comparison = 0;
  } else if ((state.comparison ?? 0) + 1 < count) {
    state.comparison = (state.comparison ?? 0) + 1;
  } else {
    state.diff = false;
  }
  showComparison();
}

function showQueue(on) {
  document.body.classList.toggle("queue-open", on);
}

function point(event) {
  const mark = event.target.closest?.("mark");
  const facts = mark ? (mark.dataset.facts || "").split("\n") : [];
  for (const dd of $("facts").querySelectorAll("dd")) dd.classList.toggle("pointed", facts.includes(dd.dataset.fact));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function connect() {
  const click = (id, action) => $(id).addEventListener("click", () => run(action));
  document.addEventListener("keydown", onKey);
  click("accept", ACTIONS.a);
  click("edit-button", startEdit);
  click("reject", reject);
  click("skip", ACTIONS[" "]);
  click("undo", undo);
  click("previous", () => step(-1));
  click("next", () => step(1));
  click("save", save);
  click("leave-edit", () => leaveEdit(false));
  click("discard", () => leaveEdit(true));
  click("toggle-diff", toggleDiff);
  click("open-bulk", bulk);
  click("open-export", () => { $("export-note").textContent = ""; $("export-dialog").showModal(); });
  click("export-ok", download);
  click("open-help", ACTIONS.h);
  click("open-name", askName);
  click("open-queue", () => showQueue(true));
  click("close-queue", () => showQueue(false));
  click("later-page", async () => { if (await loadRows("after")) await open(state.rows[0].id); });
  click("earlier-page", async () => { if (await loadRows("before")) await open(state.rows[0].id); });
  click("toggle-language", () => {
    state.language = state.language === "zh" ? "en" : "zh";
    localStorage.setItem("copymill.language", state.language);
    applyWords();
  });
  click("toggle-theme", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("copymill.theme", theme);
    setTheme(theme);
  });
  $("rows").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    showQueue(false);
    run(async () => {
      await open(Number(button.dataset.id));
      $("copy").focus();
    });
  });
  $("reasons").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button) $("reason").value = [button.dataset.reason, $("reason").value.trim()].filter(Boolean).join(": ");
  });
  // A form sends with its first button, which must not be a ready-made reason when words were typed.
  $("reason").addEventListener("keydown", event => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    $("reject-dialog").close("ok");
  });
  $("edit").addEventListener("input", () => {
    keepDraft();
    fitEditor();
    if (state.diff) showComparison();
  });
  $("text").addEventListener("mouseover", point);
  $("text").addEventListener("mouseout", () => point({ target: document.body }));
  $("filters").addEventListener("submit", event => event.preventDefault());
  $("filters").addEventListener("change", event => { if (event.target.id !== "search") run(filter); });
  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => run(filter), 250);
  });
  for (const [from, to] of [["bulk-range", "bulk-score"], ["bulk-score", "bulk-range"]]) {
    $(from).addEventListener("input", () => { $(to).value = $(from).value; countBulk(); });
  }
  $("bulk-flagged").addEventListener("change", countBulk);
  setInterval(() => { if (!state.offline) listen(); }, NEWS_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) listen(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", event => {
    if (!localStorage.getItem("copymill.theme")) setTheme(event.matches ? "dark" : "light");
  });
}

async function start() {
  setTheme(localStorage.getItem("copymill.theme")
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  state.language = localStorage.getItem("copymill.language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of FILTERS) state.filters[name] = kept.get(name) ?? DEFAULTS[name] ?? "";
  applyWords();
  connect();
  state.csrf = (await get("/api/session")).csrf;
  state.job = await get("/api/job", { reviewer: localStorage.getItem("copymill.reviewer") ?? "" });
  $("job-name").textContent = state.job.name;
  document.title = `${state.job.name} · copymill`;
  $("reviewer-name").textContent = reviewer();
  applyWords();
  await loadRows("first");
  const id = Number(kept.get("id"));
  try {
    await open(id || state.rows[0]?.id);
  } catch {
    await open(state.rows[0]?.id);
  }
  $("copy").focus();
  document.documentElement.dataset.ready = "true";
}

start().catch(tell);
