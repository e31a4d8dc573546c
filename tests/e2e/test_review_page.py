"""The review page in a real Chromium: clicks, keys, two tabs, refresh, offline, kills, hostile
texts, a foreign name for this machine, small screens. SCREENSHOTS names a folder for pictures."""

import json
import os
import pathlib
import sqlite3
import time
import unittest

import browser
from harness import EXIT_OK, CopymillTest, copymill, rows_of
from prepared_ledger import fill
from review_client import Review

READY = "document.documentElement.dataset.ready === 'true'"
PAYLOADS = ["<script>window.hacked=1</script>", "<img src=x onerror='window.hacked=1'>",
            "\"><svg onload=window.hacked=1>", "javascript:window.hacked=1",
            "{{constructor.constructor('window.hacked=1')()}}",
            "</textarea><script>window.hacked=1",
            "' onmouseover='window.hacked=1", "&lt;b&gt; &amp;", "\u202eright to left\u202c"]


class PageTest(CopymillTest):
    prepared = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        browser.executable()
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        super().setUp()
        self.job = self.folder / "copy.csv.job"
        if PageTest.prepared is None:
            self.run_job("copy.csv")
            fill(self.job)
            PageTest.prepared = self.job.read_bytes()
        self.job.write_bytes(PageTest.prepared)
        self.review = None

    def start(self, *options):
        self.review = Review(self.job, "--reviewer", "ann", *options)
        self.addCleanup(self.review.stop)
        return self.review

    def open_page(self, **size):
        page = self.browser.page(self.review.url, **size)
        page.wait(READY)
        return page

    def fresh_page(self, **size):
        self.start()
        page = self.open_page(**size)
        page.run("localStorage.clear()")
        page.open("about:blank")
        page.open(self.review.url)
        page.wait(READY)
        return page

    def decisions(self):
        """{row id: (state, reviewer, text, reason)} as the ledger has them."""
        ledger = sqlite3.connect(f"file:{self.job}?mode=ro", uri=True)
        rows = ledger.execute("SELECT copy_id, state, reviewer, text, reason FROM decision")
        found = {row[0]: row[1:] for row in rows}
        ledger.close()
        return found

    def shown(self, page):
        return page.run("state.row && state.row.id")

    def wait_for_other(self, page, row):
        page.wait(f"state.row && state.row.id !== {row} && !state.busy")

    def keep_picture(self, page, name):
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            time.sleep(0.3)
            page.screenshot(pathlib.Path(folder, name + ".png"))


class KeyboardTest(PageTest):
    def test_deciding_with_keys_alone(self):
        page = self.fresh_page()
        first = self.shown(page)
        page.press("a")
        self.wait_for_other(page, first)
        second = self.shown(page)
        page.press("x")
        page.wait("document.querySelector('#reject-dialog').open")
        page.press("2")
        self.wait_for_other(page, second)
        third = self.shown(page)
        page.press("e")
        page.wait("document.activeElement.id === 'edit'")
        page.press("a", browser.CONTROL)
        page.type("Written by a person, ax eu h.")
        page.press("Enter", browser.CONTROL)
        self.wait_for_other(page, third)
        found = self.decisions()
        self.assertEqual(found[first][:2], (1, "ann"))
        self.assertEqual(found[second][0], 2)
        self.assertEqual(found[second][3], "Says what the facts do not hold")
        self.assertIn("Written by a person, ax eu h.", found[third][2])

        page.press("u")
        page.wait(f"state.row.id === {third} && !state.busy")
        self.assertEqual(self.decisions()[third][0], 0)
        page.press("u")
        page.wait(f"state.row.id === {second} && !state.busy")
        page.press("u")
        page.wait(f"state.row.id === {first} && !state.busy")
        self.assertEqual({state for state, *_ in self.decisions().values()}, {0})

    def test_going_through_rows(self):
        page = self.fresh_page()
        order = page.run("state.rows.map(r => r.id)")
        for key, at in (("ArrowDown", 1), ("ArrowRight", 2), (" ", 3), ("ArrowUp", 2),
                        ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
            page.press(key)
            page.wait(f"state.row.id === {order[at]}")
        page.press("h")
        page.wait("document.querySelector('#help-dialog').open")
        self.keep_picture(page, "help")
        page.press("Escape")
        page.wait("!document.querySelector('#help-dialog').open")
        self.assertEqual(self.decisions(), {})

    def test_own_reason(self):
        page = self.fresh_page()
        first = self.shown(page)
        page.press("x")
        page.wait("document.querySelector('#reject-dialog').open")
        self.keep_picture(page, "reject")
        page.run("document.querySelector('#reason').focus()")
        page.type("reads like a list")
        page.press("Enter")
        self.wait_for_other(page, first)
        self.assertEqual(self.decisions()[first][3], "reads like a list")
        second = self.shown(page)
        page.press("x")
        page.wait("document.querySelector('#reject-dialog').open")
        page.press("Escape")
        page.wait("!document.querySelector('#reject-dialog').open")
        self.assertNotIn(second, self.decisions())

    def test_search_and_filters(self):
        page = self.fresh_page()
        page.press("/")
        page.wait("document.activeElement.id === 'search'")
        title = page.run("state.rows[3].title")
        page.type(title)
        page.wait(f"state.rows.length && state.rows.every(r => r.title === {json.dumps(title)})")
        page.press("Escape")
        page.run("document.activeElement.blur()")
        page.run("(s => { s.value = ''; s.dispatchEvent(new Event('input', {bubbles: true})); })"
                 "(document.querySelector('#search'))")
        page.wait(f"state.rows.length === {self.ITEMS * self.SEGMENTS}")
        page.run("(s => { s.value = 'flagged'; s.dispatchEvent(new Event('change',"
                 " {bubbles: true})); })(document.querySelector('[name=status]'))")
        page.wait("state.rows.length && state.rows.every(r => r.status === 'flagged')")


class ClickTest(PageTest):
    def test_deciding_with_clicks(self):
        page = self.fresh_page()
        first = self.shown(page)
        self.keep_picture(page, "laptop")
        page.click("#accept")
        self.wait_for_other(page, first)
        page.click("#rows li:nth-child(5) button")
        page.wait("state.row.id === state.rows[4].id")
        fifth = self.shown(page)
        page.click("#edit-button")
        page.wait("document.activeElement.id === 'edit'")
        page.run("document.querySelector('#edit').select()")
        page.type("Clicked together.")
        self.keep_picture(page, "edit")
        page.click("#save")
        self.wait_for_other(page, fifth)
        page.click("#toggle-diff")
        page.wait("!document.querySelector('#comparison').hidden")
        self.assertEqual(self.decisions()[first][0], 1)
        self.assertEqual(self.decisions()[fifth][2], "Clicked together.")
        self.assertIn("2 of", page.text("#progress-numbers"))
        self.assertEqual(page.problems(), [])

    def test_evidence_is_marked(self):
        page = self.fresh_page()
        marks = page.run("[...document.querySelectorAll('#text mark')].map(m => [m.className, "
                         "m.textContent, m.title])")
        kinds = {kind for kind, _, _ in marks}
        self.assertIn("m-matched", kinds)
        self.assertIn("m-unsupported", kinds)
        self.assertEqual([text for kind, text, _ in marks if kind == "m-unsupported"], ["25"])
        self.assertTrue(all(title for _, _, title in marks))
        self.assertTrue(page.run("document.querySelector('#facts dd.used') !== null"))
        self.assertEqual(page.run("document.querySelector('#text').textContent"),
                         page.run("state.row.generated"))

    def test_many_at_once_and_back(self):
        page = self.fresh_page()
        page.press("b")
        page.wait("!document.querySelector('#bulk-ok').disabled "
                  "&& /\\d/.test(document.querySelector('#bulk-count').textContent)")
        self.keep_picture(page, "bulk")
        page.click("#bulk-ok")
        page.wait("state.undo.length === 1")
        accepted = len([1 for state, *_ in self.decisions().values() if state == 1])
        self.assertGreater(accepted, 0)
        page.wait("!state.busy")
        page.press("u")
        page.wait("state.undo.length === 0")
        self.assertEqual({state for state, *_ in self.decisions().values()}, {0})

    def test_words_in_chinese_and_a_dark_page(self):
        page = self.fresh_page()
        page.click("#toggle-language")
        self.assertEqual(page.run("document.documentElement.lang"), "zh-CN")
        self.assertIn("通过", page.text("#accept"))
        missing = page.run("Object.keys(WORDS.en).filter(k => !(k in WORDS.zh)).concat("
                           "Object.keys(WORDS.zh).filter(k => !(k in WORDS.en)))")
        self.assertEqual(missing, [])
        self.keep_picture(page, "chinese")
        page.click("#toggle-theme")
        self.assertEqual(page.run("document.documentElement.dataset.theme"), "dark")
        self.keep_picture(page, "dark")
        page.open("about:blank")
        page.open(self.review.url)
        page.wait(READY)
        self.assertEqual(page.run("document.documentElement.dataset.theme"), "dark")
        self.assertIn("通过", page.text("#accept"))

    def test_a_small_screen(self):
        page = self.fresh_page()
        page.size(390, 844, mobile=True)
        page.wait("innerWidth === 390")
        self.assertTrue(page.run("document.documentElement.scrollWidth <= 390"))
        self.keep_picture(page, "phone")
        page.click("#open-queue")
        page.wait("document.querySelector('#rows').getBoundingClientRect().height > 100")
        self.assertTrue(page.run("document.documentElement.scrollWidth <= 390"))
        self.keep_picture(page, "phone-queue")
        page.click("#rows li:nth-child(3) button")
        page.wait("state.row.id === state.rows[2].id && "
                  "document.querySelector('#copy').getBoundingClientRect().height > 100")
        third = self.shown(page)
        page.click("#accept")
        self.wait_for_other(page, third)
        self.assertEqual(self.decisions()[third][0], 1)

    def test_it_can_be_used_without_eyes(self):
        """Every control has a name, every field a label, and the contrast of text is enough."""
        page = self.fresh_page()
        nameless = page.run("""[...document.querySelectorAll('button, input, select, textarea, a')]
            .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label')
                           || e.labels?.length))
            .map(e => e.outerHTML)""")
        self.assertEqual(nameless, [])
        low = """(() => {
            const rgb = c => c.match(/[\\d.]+/g).map(Number);
            const light = c => rgb(c).slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const ground = e => { for (; e; e = e.parentElement) {
                const c = getComputedStyle(e).backgroundColor;
                if (rgb(c).length < 4 || rgb(c)[3] > 0) return c; } return 'rgb(255, 255, 255)'; };
            return [...document.querySelectorAll('body *')].filter(e => e.offsetParent
                && !e.disabled
                && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
                .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))]
                    .sort((x, y) => y - x);
                    return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 90)]; })
                .filter(([ratio]) => ratio < 4.5); })()"""
        self.assertEqual(page.run(low), [])
        page.click("#toggle-theme")
        time.sleep(0.3)
        self.assertEqual(page.run(low), [])
        page.press("a")
        page.wait("document.querySelector('#live').textContent.includes('Approved')")


class SafetyTest(PageTest):
    def test_two_tabs_do_not_overwrite_each_other(self):
        one = self.fresh_page()
        two = self.open_page()
        two.run("listen = async () => {}")  # it shall not hear of the other before it asks
        row = self.shown(one)
        self.assertEqual(self.shown(two), row)
        one.run("localStorage.setItem('copymill.reviewer', 'ann')")
        one.front()
        one.press("a")
        self.wait_for_other(one, row)
        two.front()
        two.run("localStorage.setItem('copymill.reviewer', 'ben')")
        two.press("x")
        two.wait("document.querySelector('#reject-dialog').open")
        two.press("1")
        two.wait("document.querySelector('#banner').textContent.includes('ann')")
        self.assertEqual(self.decisions()[row][:2], (1, "ann"))
        two.wait("document.querySelector('#state').textContent === 'approved'")

    def test_one_tab_hears_of_the_other(self):
        one = self.fresh_page()
        row = one.run("state.rows[4].id")
        review = self.review.sign_in()
        self.assertEqual(review.decide(row, 0, "accept", reviewer="ben").status, 200)
        one.wait(f"state.rows.find(r => r.id === {row}).decision === 'approved'")

    def test_a_draft_survives_refresh_and_kill(self):
        page = self.fresh_page()
        row = self.shown(page)
        page.press("e")
        page.wait("document.activeElement.id === 'edit'")
        page.run("document.querySelector('#edit').select()")
        page.type("Half a thought")
        page.call("Page.reload")
        page.wait(READY)
        page.wait(f"state.row.id === {row} && document.querySelector('#edit').value"
                  " === 'Half a thought'")
        self.review.kill()
        page.run("document.querySelector('#edit').focus()")
        page.type(" and more")
        page.press("Enter", browser.CONTROL)
        page.wait("document.querySelector('#banner').textContent.includes('does not answer')")
        self.keep_picture(page, "offline")
        self.assertNotIn(row, self.decisions())
        self.start("--port", str(self.review.port))
        page.wait("document.querySelector('#banner').textContent.includes('started again')")
        page.open("about:blank")
        page.open(self.review.url)
        page.wait(READY)
        page.run(f"open({row})")
        page.wait("document.querySelector('#edit').value.includes('and more')"
                  " && document.querySelector('#edit').value.includes('Half a thought')")
        page.run("document.querySelector('#edit').focus()")
        page.press("Enter", browser.CONTROL)
        self.wait_for_other(page, row)
        self.assertIn("Half a thought", self.decisions()[row][2])
        self.assertIsNone(page.run(f"draftOf({row})"))

    def test_offline_and_online_again(self):
        page = self.fresh_page()
        row = self.shown(page)
        page.offline(True)
        page.press("a")
        page.wait("!document.querySelector('#banner').hidden")
        self.assertEqual(self.shown(page), row)
        self.assertEqual(self.decisions(), {})
        page.offline(False)
        page.wait("document.querySelector('#banner').hidden")
        page.press("a")
        self.wait_for_other(page, row)
        self.assertEqual(self.decisions()[row][0], 1)

    def test_hostile_texts_are_only_text(self):
        ledger = sqlite3.connect(self.job)
        for i, (row, item, segment) in enumerate(ledger.execute(
                "SELECT id, item, segment FROM copy ORDER BY id").fetchall()):
            payload = PAYLOADS[i % len(PAYLOADS)]
            evidence = {"score": 0.5, "flags": [{"rule": payload, "severity": payload,
                                                 "reason": payload}],
                        "spans": [{"kind": payload, "begin": 0, "end": 5, "rule": payload,
                                   "fact": payload, "note": payload},
                                  {"kind": "matched", "begin": -4, "end": 10 ** 9}]}
            ledger.execute("UPDATE copy SET text=?, item_id=?, flags=?, judgement=?, language=?,"
                           " fields=? WHERE id=?",
                           (payload, payload + str(i), payload, json.dumps(evidence), payload,
                            json.dumps({payload: payload}), row))
            ledger.execute("UPDATE item SET title=?, facts=? WHERE id=?",
                           (payload, json.dumps({payload: payload, "description": payload}), item))
            ledger.execute("UPDATE segment SET attributes=? WHERE id=?",
                           (json.dumps({payload: payload}), segment))
        ledger.execute("UPDATE copy SET segment_id = ?", (PAYLOADS[1],))
        ledger.commit()
        ledger.close()
        page = self.fresh_page()
        page.run(f"localStorage.setItem('copymill.reviewer', {json.dumps(PAYLOADS[1])})")
        seen = set()
        while self.shown(page) is not None:
            row = self.shown(page)
            seen.add(page.run("document.querySelector('#text').textContent"))
            page.press("d")
            page.press("d")
            page.press("e")
            page.wait("document.activeElement.id === 'edit'")
            page.press("Escape")
            page.press("a")
            page.wait(f"state.row === null || state.row.id !== {row}")
        self.assertEqual(len(seen), len(PAYLOADS))
        self.assertEqual(page.run("typeof window.hacked"), "undefined")
        self.assertEqual(page.problems(), [])

    def test_a_foreign_name_for_this_machine(self):
        """DNS rebinding: a page of another name that points here learns and changes nothing."""
        self.start()
        with browser.Browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as chromium:
            page = chromium.page(f"http://evil.example:{self.review.port}/?key={self.review.key}")
            page.wait("document.body && document.body.textContent.includes('127.0.0.1')")
            self.assertNotIn("copymill review", page.run("document.title"))
            self.assertEqual(page.run("fetch('/api/job').then(r => r.status)"), 421)
            page.open(self.review.url)
            page.wait(READY)
            page.open(f"http://evil.example:{self.review.port}/")
            page.wait("location.hostname === 'evil.example'")
            blocked = page.run(f"fetch('http://127.0.0.1:{self.review.port}/api/decide', {{method: "
                               "'POST', credentials: 'include', body: '{\"id\":1,\"version\":0,"
                               "\"action\":\"accept\"}'}).then(r => r.status, () => 'blocked')")
            self.assertEqual(blocked, "blocked")
        self.assertEqual(self.decisions(), {})


class WholeWayTest(PageTest):
    def test_from_a_catalog_to_an_approved_export(self):
        """What a shop does: run, review in the browser, export, read it back."""
        self.run_job("copy.csv")
        page = self.fresh_page()
        while self.shown(page) is not None:
            row = self.shown(page)
            if row % 5 == 0:
                page.press("x")
                page.wait("document.querySelector('#reject-dialog').open")
                page.press("4")
            elif row % 3 == 0:
                page.press("e")
                page.wait("document.activeElement.id === 'edit'")
                page.run("document.querySelector('#edit').select()")
                page.type(f"Edited copy of row {row}.")
                page.press("Enter", browser.CONTROL)
            else:
                page.press("a")
            page.wait(f"(state.row === null || state.row.id !== {row}) && !state.busy")
        self.assertFalse(page.run("document.querySelector('#nothing').hidden"))
        self.keep_picture(page, "done")
        self.assertLess(page.run("document.querySelector('footer').offsetHeight"), 100)
        folder = self.folder / "downloads"
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        page.click("#open-export")
        page.wait("document.querySelector('#export-dialog').open")
        self.keep_picture(page, "export")
        page.click("#export-ok")
        page.wait("/rows written/.test(document.querySelector('#export-note').textContent)")
        deadline = time.monotonic() + 20
        while not (folder / "copy-csv.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        downloaded = (folder / "copy-csv.csv").read_bytes()
        self.assertEqual(self.review.stop(), 0)
        result = copymill("export", self.job, "--out", self.folder / "approved.csv")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual((self.folder / "approved.csv").read_bytes(), downloaded)
        decided = self.decisions()
        approved = [row for row, (state, *_) in decided.items() if state in (1, 3)]
        self.assertEqual(len(decided), len(rows_of(self.folder / "copy.csv")))
        self.assertEqual(downloaded.count(b"Edited copy of row"),
                         len([1 for state, *_ in decided.values() if state == 3]))
        self.assertIn(f"{len(approved)} rows written", result.stderr)


if __name__ == "__main__":
    unittest.main()
