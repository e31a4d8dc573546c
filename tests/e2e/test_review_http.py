"""The review page's server: whom it lets in, what it refuses, what it keeps, how quick it is."""

import json
import pathlib
import shutil
import socket
import sqlite3
import time
import unittest

from harness import EXIT_OK, EXIT_USAGE, CopymillTest, binary, copymill
from prepared_ledger import fill, grow
from review_client import Review

# Sanitizers make everything slower.
PAGE_MS_MAX = 1000 if b"__asan_init" in pathlib.Path(binary()).read_bytes() else 200


class ReviewTest(CopymillTest):
    """Every test gets a copy of one prepared ledger, and a review of it."""

    prepared = None

    def setUp(self):
        super().setUp()
        self.job = self.folder / "copy.csv.job"
        if ReviewTest.prepared is None:
            self.run_job("copy.csv")
            fill(self.job)
            ReviewTest.prepared = self.job.read_bytes()
        self.job.write_bytes(ReviewTest.prepared)
        self.review = self.open_review()

    def open_review(self, *options):
        review = Review(self.job, "--reviewer", "ann", *options)
        self.addCleanup(review.stop)
        return review.sign_in()


class GateTest(ReviewTest):
    def status_of(self, method="GET", path="/api/job", body=None, **changed):
        return self.review.request(method, path, body, self.review.headers(**changed)).status

    def test_only_the_loopback_interface_listens(self):
        listening = set()
        for name in ("tcp", "tcp6"):
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                for line in file.readlines()[1:]:
                    address, port = line.split()[1].rsplit(":", 1)
                    if line.split()[3] == "0A" and int(port, 16) == self.review.port:
                        listening.add(address)
        self.assertEqual(listening, {"0100007F"})

    def test_a_foreign_host_is_refused(self):
        port = self.review.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil",
                     f"127.0.0.1:{port + 1}", "", None, f"127.0.0.1.nip.io:{port}"):
            self.assertIn(self.status_of(Host=host), (400, 421), host)
        self.assertEqual(self.status_of(Host=f"localhost:{port}"), 200)

    def test_a_foreign_host_is_refused_even_with_the_key(self):
        answer = self.review.request("GET", f"/?key={self.review.key}",
                                     headers={"Host": f"evil.example:{self.review.port}"})
        self.assertEqual(answer.status, 421)
        self.assertNotIn("Set-Cookie", answer.headers)

    def test_a_foreign_origin_is_refused(self):
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{self.review.port}",
                       f"http://127.0.0.1:{self.review.port + 1}"):
            self.assertEqual(self.status_of(Origin=origin), 403, origin)
        self.assertEqual(self.status_of(Sec_Fetch_Site="cross-site"), 403)
        self.assertEqual(self.status_of(Sec_Fetch_Site="same-site"), 403)

    def test_without_a_session_there_is_nothing(self):
        for path in ("/", "/app.js", "/api/job", "/api/export?format=csv"):
            self.assertEqual(self.status_of(path=path, Cookie=None), 401, path)
            self.assertEqual(self.status_of(path=path, Cookie=self.review.cookie[:-1] + "x"), 401)
        self.assertEqual(self.status_of(path="/?key=" + "0" * 32, Cookie=None), 401)

    def test_the_cookie_is_for_this_page_alone(self):
        answer = self.review.request("GET", f"/?key={self.review.key}",
                                     headers={"Host": self.review.host})
        self.assertRegex(answer.headers["Set-Cookie"], r"HttpOnly; SameSite=Strict$")
        self.assertEqual(answer.headers["Location"], "/")

    def test_a_change_needs_the_token_and_the_origin(self):
        row = self.review.rows()[0]
        change = {"id": row["id"], "version": 0, "action": "accept", "reviewer": "eve"}
        for changed in ({"X_CSRF_Token": None}, {"X_CSRF_Token": "0" * 32}, {"Origin": None},
                        {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            answer = self.review.post("/api/decide", change, **changed)
            self.assertEqual(answer.status, 403, changed)
        self.assertEqual(self.review.post("/api/decide", change, Content_Type="text/plain").status,
                         415)
        self.assertEqual(self.review.post("/api/decide", change, Cookie=None).status, 401)
        self.assertEqual(self.review.get("/api/row", id=row["id"]).json()["decision"]["state"],
                         "open")

    def test_every_answer_has_its_policy(self):
        for path in ("/", "/app.js", "/api/job", "/nothing"):
            headers = self.review.request("GET", path, headers=self.review.headers()).headers
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertNotIn("Access-Control-Allow-Origin", headers)

    def test_the_page_is_its_own(self):
        page = self.review.request("GET", "/", headers=self.review.headers()).body.decode()
        self.assertNotIn("http://", page)
        self.assertNotIn("https://", page)
        self.assertNotIn("onclick", page)
        self.assertNotIn("<script>", page)


class RequestTest(ReviewTest):
    def test_methods_and_paths(self):
        for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
            answer = self.review.request(method, "/api/job", headers=self.review.headers())
            self.assertEqual(answer.status, 405, method)
        for path in ("/../../etc/passwd", "/api/none", "/index.html/", "/%2e%2e/app.js"):
            answer = self.review.request("GET", path, headers=self.review.headers())
            self.assertEqual(answer.status, 404, path)

    def test_wrong_parameters(self):
        for parameters in ({"order": "up"}, {"rows": "201"}, {"rows": "-1"}, {"after": "x"},
                           {"after": "9" * 30}, {"decision": "maybe"}, {"score_min": "2"},
                           {"score_min": "nan"}, {"search": "x" * 2000}, {"evil": "1"},
                           {"backward": "2"}, {"status": "pending"}):
            answer = self.review.get("/api/rows", **parameters)
            self.assertEqual(answer.status, 400, (parameters, answer))
            self.assertIn("error", answer.json())
        answer = self.review.request("GET", "/api/rows?search=%ff%fe",
                                     headers=self.review.headers())
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.review.get("/api/row", id=987654).status, 404)
        self.assertEqual(self.review.get("/api/export", format="xml").status, 400)

    def test_wrong_bodies(self):
        row = self.review.rows()[0]["id"]
        for body in (b"", b"{", b"[]", b"null", b'{"action":"accept"', b"\xff\xfe", b"{}",
                     b'{"action":"accept","action":"reject"}', b"[" * 5000,
                     json.dumps({"id": "1", "action": "accept"}).encode(),
                     json.dumps({"id": row, "version": -1, "action": "accept"}).encode(),
                     json.dumps({"id": row, "action": "edit", "text": "a\x00b"}).encode(),
                     json.dumps({"id": row, "action": "edit", "text": "a\x1bb"}).encode(),
                     json.dumps({"id": row, "action": "edit", "text": "x" * 100001}).encode(),
                     json.dumps({"id": row, "action": "accept", "reviewer": "a\nb"}).encode(),
                     json.dumps({"id": row, "action": "back", "earlier": 5}).encode()):
            answer = self.review.post("/api/decide", body)
            self.assertIn(answer.status, (400, 404), (body[:80], answer))
        self.assertEqual(self.review.decide(987654, 0, "accept").status, 404)
        self.assertEqual(self.review.decide(row, 0, "edit", text="").status, 400)
        self.assertEqual(self.review.post("/api/decide-many", {"action": "reject"}).status, 400)

    def test_too_much_is_refused_and_the_server_lives(self):
        self.assertEqual(self.review.post("/api/decide", b'"' + b"x" * 300000 + b'"').status, 413)
        answer = self.review.request("GET", "/", headers=self.review.headers(X_Long="y" * 100000))
        self.assertIn(answer.status, (413, 431))
        connections = [self.review.connect() for _ in range(80)]
        for connection in connections:
            try:
                connection.connect()
            except OSError:
                pass
        for connection in connections:
            connection.close()
        time.sleep(0.2)
        self.assertEqual(self.review.get("/api/job").status, 200)

    def test_half_a_request_holds_nobody_up(self):
        slow = socket.create_connection(("127.0.0.1", self.review.port))
        slow.sendall(b"POST /api/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        began = time.monotonic()
        self.assertEqual(self.review.get("/api/job").status, 200)
        self.assertLess(time.monotonic() - began, 5)
        slow.close()


class DecisionTest(ReviewTest):
    def test_a_decision_and_the_way_back(self):
        row = self.review.rows(order="plan")[0]
        first = self.review.decide(row["id"], 0, "accept").json()
        self.assertEqual((first["state"], first["version"]), ("approved", 1))
        self.assertEqual(first["progress"]["own"], 1)
        second = self.review.decide(row["id"], 1, "edit", text="Quite another text.").json()
        self.assertEqual((second["state"], second["version"]), ("edited", 2))
        back = self.review.decide(row["id"], 2, "back", earlier=1).json()
        self.assertEqual((back["state"], back["version"]), ("approved", 3))
        open_again = self.review.decide(row["id"], 3, "back", earlier=0).json()
        self.assertEqual(open_again["state"], "open")
        history = self.review.get("/api/row", id=row["id"]).json()["history"]
        self.assertEqual([event["state"] for event in history],
                         ["approved", "edited", "approved", "open"])
        self.assertGreater(history[1]["distance"], 5)

    def test_nobody_overwrites_another(self):
        row = self.review.rows()[0]["id"]
        self.assertEqual(self.review.decide(row, 0, "accept", reviewer="ann").status, 200)
        late = self.review.decide(row, 0, "reject", reviewer="ben", reason="late")
        self.assertEqual(late.status, 409)
        self.assertEqual(late.json()["version"], 1)
        decision = self.review.get("/api/row", id=row).json()["decision"]
        self.assertEqual((decision["state"], decision["reviewer"]), ("approved", "ann"))
        news = self.review.get("/api/news", since=0).json()
        self.assertEqual(news["rows"], [{"id": row, "decision": "approved", "version": 1}])
        news = self.review.get("/api/news", since=news["progress"]["last"]).json()
        self.assertEqual(news["rows"], [])

    def test_an_edit_that_changes_nothing_is_an_approval(self):
        row = self.review.rows()[0]
        text = self.review.get("/api/row", id=row["id"]).json()["generated"]
        answer = self.review.decide(row["id"], 0, "edit", text=text).json()
        self.assertEqual(answer["state"], "approved")

    def test_many_at_once(self):
        total = len(self.review.rows())
        wanted = [row for row in self.review.rows(score_min=0.7) if row["status"] == "ok"]
        self.assertGreater(len(wanted), 1)
        done = self.review.post("/api/decide-many", {
            "action": "accept", "reviewer": "ann",
            "filter": {"score_min": "0.7", "status": "ok"}}).json()
        self.assertEqual(done["count"], len(wanted))
        self.assertEqual(len(self.review.rows(decision="approved")), len(wanted))
        self.assertEqual(len(self.review.rows(decision="open")), total - len(wanted))
        touched = wanted[0]["id"]
        self.assertEqual(self.review.decide(touched, 1, "reject", reason="no").status, 200)
        back = self.review.post("/api/decide-many",
                                {"action": "back", "batch": done["batch"]}).json()
        self.assertEqual(back["count"], len(wanted) - 1)
        self.assertEqual([row["id"] for row in self.review.rows(decision="rejected")], [touched])

    def test_filters_orders_and_pages(self):
        rows = self.review.rows(order="plan")
        for order, key in (("worst", lambda row: (row["score"], row["position"])),
                           ("best", lambda row: (-row["score"], -row["position"]))):
            self.assertEqual(self.review.rows(order=order), sorted(rows, key=key), order)
        audit = self.review.rows(order="audit")
        self.assertEqual(audit, self.review.rows(order="audit"))
        self.assertNotEqual(audit, rows)
        walked = self.review.rows(order="worst", rows=5)
        while True:
            page = self.review.rows(order="worst", rows=5, after=walked[-1]["id"])
            if not page:
                break
            walked += page
        self.assertEqual(walked, self.review.rows(order="worst"))
        before = self.review.rows(order="worst", rows=4, after=walked[9]["id"], backward=1)
        self.assertEqual([row["id"] for row in before[::-1]], [row["id"] for row in walked[5:9]])
        segment = rows[0]["segment"]
        self.assertEqual({row["segment"] for row in self.review.rows(segment=segment)}, {segment})
        flagged = self.review.rows(flag="unsupported-number")
        self.assertTrue(all("unsupported-number" in row["flags"] for row in flagged))
        self.assertEqual({row["status"] for row in self.review.rows(status="flagged")}, {"flagged"})

    def test_search(self):
        rows = self.review.rows(order="plan")
        title = rows[0]["title"]
        found = self.review.rows(search=title.upper(), order="plan")
        self.assertEqual({row["title"] for row in found}, {title})
        self.review.decide(rows[3]["id"], 0, "edit", text="Ein Äpfelchen, 107% _fein_ 杯子")
        for words in ("äPFELCHEN", "107%", "_FEIN_", "杯子"):
            self.assertEqual([row["id"] for row in self.review.rows(search=words)], [rows[3]["id"]])
        self.assertEqual(self.review.rows(search="' OR 1=1 --"), [])


class SafeTest(ReviewTest):
    def test_what_was_answered_survives_a_kill(self):
        """Killed at any moment: every decision that was answered is there, in order."""
        ids = [row["id"] for row in self.review.rows(order="plan")]
        answered = {}
        for round_number in range(4):
            for row in ids[round_number::4]:
                if self.review.decide(row, 0, "accept", reviewer=f"r{round_number}").status == 200:
                    answered[row] = f"r{round_number}"
            self.review.kill()
            self.review = self.open_review()
        for row, reviewer in answered.items():
            decision = self.review.get("/api/row", id=row).json()["decision"]
            self.assertEqual((decision["state"], decision["reviewer"]), ("approved", reviewer))

    def test_a_full_disk_loses_nothing_that_was_answered(self):
        self.review.stop()
        size = self.job.stat().st_size
        review = Review(self.job, file_bytes_max=size + 40000).sign_in()
        self.addCleanup(review.stop)
        rows = [row["id"] for row in review.rows(order="plan")]
        answered = {}
        for round_number in range(40):
            for row in rows:
                version = answered.get(row, 0)
                answer = review.decide(row, version, "edit", text=f"{round_number} " + "x" * 3000)
                if answer.status != 200:
                    break
                answered[row] = version + 1
            else:
                continue
            break
        self.assertEqual(answer.status, 500, answer)
        self.assertIn("disk", answer.json()["error"])
        self.assertGreater(len(answered), 0)
        self.assertNotEqual(review.finish(), 0, "the program says that it could not go on")
        self.review = self.open_review()
        for row in rows:
            decision = self.review.get("/api/row", id=row).json()["decision"]
            self.assertEqual(decision["version"], answered.get(row, 0))

    def test_a_second_review_and_a_run_are_refused(self):
        result = copymill("review", self.job)
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("another copymill process", result.stderr)
        result = self.call_job("copy.csv", "--overwrite")
        self.assertEqual(result.status, EXIT_USAGE, result)

    def test_reading_commands_work_meanwhile(self):
        self.review.decide(self.review.rows()[0]["id"], 0, "accept")
        result = copymill("export", self.job, "--format", "jsonl")
        self.assertEqual(result.status, EXIT_OK, result)
        self.assertEqual(len(result.stdout.splitlines()), 1)

    def test_a_rewritten_text_is_open_again(self):
        row = self.review.rows()[0]["id"]
        self.review.decide(row, 0, "accept")
        self.assertEqual(self.review.stop(), 0)
        ledger = sqlite3.connect(self.job)
        ledger.execute("UPDATE copy SET text = 'new' WHERE id = ?", (row,))
        ledger.commit()
        ledger.close()
        self.review = self.open_review()
        found = self.review.get("/api/row", id=row).json()
        self.assertEqual((found["decision"]["state"], found["decision"]["version"]), ("open", 2))
        self.assertEqual([event["state"] for event in found["history"]], ["approved", "open"])

    def test_a_taken_port(self):
        other = self.folder / "other.job"
        shutil.copyfile(self.folder / "copy.csv.job", other)
        result = copymill("review", other, "--port", self.review.port)
        self.assertEqual(result.status, EXIT_USAGE, result)
        self.assertIn("--port", result.stderr)

    def test_wrong_usage(self):
        for arguments, words in (((), "one job"), ((self.folder / "none.job",), "none.job"),
                                 ((self.catalog,), "no copymill ledger"),
                                 ((self.job, "--port", "0"), "port")):
            result = copymill("review", *arguments)
            self.assertEqual(result.status, EXIT_USAGE, result)
            self.assertRegex(result.stderr, words)


class LargeTest(CopymillTest):
    ROWS = 100_000

    def test_every_page_and_filter_is_quick(self):
        """Processor time of the program, so that a busy machine does not decide; the time that
        passed is printed beside it."""
        self.run_job("copy.csv")
        job = self.folder / "copy.csv.job"
        fill(job)
        grow(job, self.ROWS)
        with Review(job) as review:
            review.sign_in()
            self.assertEqual(review.get("/api/rows").json()["count"], self.ROWS)
            segment = review.rows(order="plan")[0]["segment"]
            questions = [dict(order=order, decision="open") for order in
                         ("worst", "best", "audit", "plan")]
            questions += [dict(segment=segment), dict(segment="nobody"), dict(status="flagged"),
                          dict(flag="repetition", order="audit"), dict(language="zh", order="best"),
                          dict(search="warranty"), dict(search="zzzzz"), dict(search="适合"),
                          dict(search="no. 99"), dict(decision="rejected"),
                          dict(search="warranty", segment=segment, status="flagged", order="best")]
            after = 0
            for _ in range(100):
                page = review.rows(order="worst", rows=200, after=after)
                after = page[-1]["id"]
            questions += [dict(order="worst", after=after), dict(order="best", after=after),
                          dict(order="audit", after=after, backward=1)]
            worst = 0
            for question in questions:
                used, began = review.cpu_ms(), time.monotonic()
                self.assertEqual(review.get("/api/rows", **question).status, 200)
                used, waited = review.cpu_ms() - used, 1000 * (time.monotonic() - began)
                print(f"{used:6.0f} ms of processor time, {waited:6.0f} ms in all: {question}")
                worst = max(worst, used)
            self.assertLess(worst, PAGE_MS_MAX)


if __name__ == "__main__":
    unittest.main()
