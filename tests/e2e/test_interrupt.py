"""A job that is killed or interrupted goes on where it stopped and ends with the same bytes."""

import json
import os
import pty
import random
import signal
import subprocess
import time
import unittest

from harness import (EXIT_INTERRUPTED, EXIT_OK, FINISH_S, CopymillTest, binary, copymill)

KILLS = int(os.environ.get("COPYMILL_KILLS", "20"))
SEED = int(os.environ.get("COPYMILL_KILL_SEED", str(random.SystemRandom().randrange(10**6))))


# What a run says when everything is open and the first step is about to come, and options that make
# it long enough to be interrupted there however busy the machine is.
BEGUN = b"model: "
SLOW = ("--attempts", "4", "--min-score", "1")


class InterruptTest(CopymillTest):
    ITEMS = 16
    SEGMENTS = 6
    OPTIONS = ("--max-tokens", "24", "--temperature", "0.8", "--seed", "7", "--batch", "8")

    def setUp(self):
        super().setUp()
        started = time.monotonic()
        self.run_job("reference.csv", "--progress", "none")
        self.undisturbed_s = time.monotonic() - started
        self.reference = self.bytes_of("reference.csv")

    def test_kill_at_random_moments(self):
        """Jobs are killed again and again until they end; each ends as if nothing had happened."""
        moments = random.Random(SEED)
        print(f"COPYMILL_KILL_SEED={SEED}, undisturbed {self.undisturbed_s:.2f} s")
        killed = jobs = 0
        while killed < KILLS:
            jobs += 1
            out = f"killed-{jobs}.csv"
            while not self.run_and_kill(out, moments.uniform(0, self.undisturbed_s)):
                killed += 1
                if (self.folder / out).exists():  # killed after the file had its name
                    self.assertEqual(self.bytes_of(out), self.reference, f"job {jobs}")
            self.assertEqual(self.bytes_of(out), self.reference, f"job {jobs}, {killed} kills")
        leftovers = [path.name for path in self.folder.iterdir() if "tmp" in path.name]
        self.assertEqual(leftovers, [])

    def run_and_kill(self, out, after_s):
        """Whether the job ended before its time was up."""
        arguments = self.arguments(out, "--progress", "none", "--overwrite")
        with subprocess.Popen([binary(), *arguments], stderr=subprocess.PIPE) as process:
            try:
                _, stderr = process.communicate(timeout=after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return False
            self.assertEqual(process.returncode, EXIT_OK, stderr.decode())
            return True

    def test_rows_that_were_reported_survive_a_kill(self):
        """The program may not say that a row is done before the disk has it."""
        arguments = self.arguments("slow.csv", "--attempts", "8", "--min-score", "1",
                                   "--threads", "1", "--progress", "json")
        reported = 0
        with subprocess.Popen([binary(), *arguments], stderr=subprocess.PIPE) as process:
            for line in process.stderr:
                if line.startswith(b"{"):
                    reported = max(reported, json.loads(line)["rows_done"])
                if reported:
                    process.kill()
                    break
        self.assertGreater(reported, 0)
        self.assertEqual(process.returncode, -signal.SIGKILL, "ended before it could be killed")
        result = copymill(*arguments)
        self.assertEqual(result.status, EXIT_OK, result)
        reports = [json.loads(line) for line in result.stderr.splitlines() if line[:1] == "{"]
        self.assertGreaterEqual(reports[-1]["rows_reused"], reported)

    def test_control_c_once_ends_the_step_and_can_be_resumed(self):
        status, screen = self.run_in_terminal("copy.csv", presses=1)
        self.assertEqual(status, EXIT_INTERRUPTED, screen)
        self.assertFalse((self.folder / "copy.csv").exists())
        self.resume_and_compare("copy.csv")

    def test_control_c_twice_ends_at_once_and_can_be_resumed(self):
        status, screen = self.run_in_terminal("copy.csv", presses=2)
        self.assertEqual(status, EXIT_INTERRUPTED, screen)
        self.resume_and_compare("copy.csv")

    def test_terminate_is_as_control_c(self):
        arguments = self.arguments("copy.csv", *SLOW, "--progress", "json")
        with subprocess.Popen([binary(), *arguments], stderr=subprocess.PIPE) as process:
            seen = b""
            while BEGUN not in seen:
                seen += process.stderr.read1(4096)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=FINISH_S)
        self.assertEqual(process.returncode, EXIT_INTERRUPTED, (seen + stderr).decode())
        self.resume_and_compare("copy.csv")

    def resume_and_compare(self, out):
        """Ends the slow job and holds it against one that nobody disturbed."""
        result = copymill(*self.arguments(out, *SLOW, "--progress", "none"))
        self.assertEqual(result.status, EXIT_OK, result)
        self.run_job("slow-reference.csv", *SLOW, "--progress", "none")
        self.assertEqual(self.bytes_of(out), self.bytes_of("slow-reference.csv"))

    def run_in_terminal(self, out, presses):
        """Runs the job in a terminal of its own and presses Control-C once it has begun."""
        child, terminal = pty.fork()
        if child == 0:
            os.execv(binary(), [binary(), *self.arguments(out, *SLOW)])
        screen = b""
        try:
            while BEGUN not in screen:
                screen += os.read(terminal, 65536)
            for _ in range(presses):
                os.write(terminal, b"\x03")
                time.sleep(0.01)
            while chunk := os.read(terminal, 65536):
                screen += chunk
        except OSError:  # how Linux says that the other side has closed
            pass
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), screen.decode("utf-8", errors="replace")


if __name__ == "__main__":
    unittest.main()
