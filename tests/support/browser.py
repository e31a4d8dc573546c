"""Chromium, driven over its DevTools pipe with the standard library alone: no port, no driver.

    with browser.Browser() as chromium:
        page = chromium.page(url)
        page.wait("document.title === 'ready'")
        page.click("#button")
        page.press("a")

A test without a Chromium is skipped, and says so.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from harness import skip

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ANSWER_S = 30

# Key names of the DevTools protocol: (code, virtual key, text).
KEYS = {
    "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " "),
    "Tab": ("Tab", 9, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""), "ArrowDown": ("ArrowDown", 40, ""),
}
CONTROL = 2


def executable():
    named = os.environ.get("CHROMIUM")
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        skip("no Chromium is installed; the Debian package is called chromium")
    return path


def high_pipe():
    """A pipe whose ends keep clear of descriptors 3 and 4, which the browser uses."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20))
        os.close(end)
    return ends


class Browser:
    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory(prefix="copymill-browser-",
                                                  ignore_cleanup_errors=True)
        read_child, self.write_end = high_pipe()
        self.read_end, write_child = high_pipe()

        def connect():
            os.dup2(read_child, 3)
            os.dup2(write_child, 4)

        self.process = subprocess.Popen(
            [executable(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--remote-debugging-pipe", "--lang=en-US",
             f"--user-data-dir={self.folder.name}", *arguments, "about:blank"],
            preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(read_child)
        os.close(write_child)
        self.buffer = b""
        self.number = 0
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (EOFError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.read_end)
        os.close(self.write_end)
        self.folder.cleanup()

    def message(self, until):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_end], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            read = os.read(self.read_end, 1 << 16)
            if not read:
                raise EOFError("the browser is gone")
            self.buffer += read
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.write_end, data):]
        until = time.monotonic() + ANSWER_S
        while True:
            answer = self.message(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def page(self, url=None, width=1280, height=800):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, target)
        page.size(width, height)
        if url:
            page.open(url)
        return page


class Page:
    def __init__(self, browser, target):
        self.browser = browser
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if mobile else 1, mobile=mobile)

    def dark(self, on=True):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def offline(self, on):
        self.call("Network.emulateNetworkConditions", offline=on, latency=0,
                  downloadThroughput=-1, uploadThroughput=-1)

    def open(self, url):
        self.call("Page.bringToFront")
        self.call("Page.navigate", url=url)

    def front(self):
        self.call("Page.bringToFront")

    def run(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=20):
        until = time.monotonic() + seconds
        while True:
            try:
                value = self.run(expression)
            except RuntimeError:
                value = None
            if value:
                return value
            if time.monotonic() > until:
                raise TimeoutError(f"never became true: {expression}")
            time.sleep(0.03)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView("
                 "{block: 'nearest'})")
        x, y = self.run("(r => [r.x + r.width / 2, r.y + r.height / 2])"
                        f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, modifiers=0):
        code, virtual, text = KEYS.get(key) or (f"Key{key.upper()}", ord(key.upper()), key)
        if modifiers & CONTROL:
            text = ""
        common = {"key": key, "code": code, "windowsVirtualKeyCode": virtual,
                  "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text,
                  **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def problems(self):
        """Uncaught exceptions and violations of the policy, as the browser reported them."""
        self.run("0")
        return [event["params"] for event in self.browser.events
                if event.get("sessionId") == self.session
                and (event.get("method") == "Runtime.exceptionThrown"
                     or (event.get("method") == "Log.entryAdded"
                         and event["params"]["entry"]["source"] in ("security", "javascript")))]

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
