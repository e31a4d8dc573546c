"""`copymill review` as a test talks to it: the program, its session, requests with any headers."""

import http.client
import json
import os
import re
import resource
import signal
import subprocess
import urllib.parse

from harness import FINISH_S, binary


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status}\n{self.headers}\n{self.body[:2000]!r}"


class Review:
    """A running review. `file_bytes_max`: no file of its may grow past that."""

    def __init__(self, job, *options, file_bytes_max=None):
        def limit():
            if file_bytes_max:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

        # SIGXFSZ stays ignored, so that a write past the limit fails as on a full disk.
        self.process = subprocess.Popen([binary(), "review", str(job), *map(str, options)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=limit, restore_signals=False)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.stderr.read())
        self.port = int(re.search(r":(\d+)/", self.url).group(1))
        self.key = self.url.split("key=")[1]
        self.host = f"127.0.0.1:{self.port}"
        self.cookie = self.csrf = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Control-C; gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.finish()

    def kill(self):
        self.process.kill()
        return self.finish()

    def finish(self):
        self.process.wait(FINISH_S)
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode

    def cpu_ms(self):
        """Processor time the program has used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=None, headers=()):
        """Exactly these headers, and none that anybody adds."""
        connection = self.connect()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in dict(headers).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def sign_in(self):
        answer = self.request("GET", f"/?key={self.key}", headers={"Host": self.host})
        assert answer.status == 303, answer
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        self.csrf = self.get("/api/session").json()["csrf"]
        return self

    def headers(self, **changed):
        """Those of the page; None leaves one out."""
        headers = {"Host": self.host, "Cookie": self.cookie, "Sec-Fetch-Site": "same-origin"}
        headers.update({name.replace("_", "-"): value for name, value in changed.items()})
        return {name: value for name, value in headers.items() if value is not None}

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        return self.request("GET", path + ("?" + query if query else ""), headers=self.headers())

    def post(self, path, data, **changed):
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        page = {"Origin": f"http://{self.host}", "X_CSRF_Token": self.csrf,
                "Content_Type": "application/json"}
        return self.request("POST", path, body, self.headers(**{**page, **changed}))

    def decide(self, row_id, version, action, reviewer="ann", **more):
        return self.post("/api/decide", {"id": row_id, "version": version, "action": action,
                                         "reviewer": reviewer, **more})

    def rows(self, **parameters):
        answer = self.get("/api/rows", **parameters)
        assert answer.status == 200, answer
        return answer.json()["rows"]
