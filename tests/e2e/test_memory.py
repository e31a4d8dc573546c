"""A job takes the memory that --dry-run says, not more and not much less."""

import os
import re
import unittest

from harness import EXIT_OK, EXIT_PARTIAL, CopymillTest, binary, copymill, is_tiny

RATIO_MAX = 1.2
GIB = 1 << 30
SPARE = (4 << 20) / GIB  # planned for the ledger and rows on their way; small jobs take less


def peak_of(arguments):
    """Exit status and the largest resident size of a call of the program, in bytes."""
    pid = os.posix_spawn(binary(), [binary(), *map(str, arguments)], os.environ)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


class MemoryTest(CopymillTest):
    ITEMS = 30
    SEGMENTS = 6

    def check(self, *options):
        result = copymill(*self.arguments("copy.csv", *options), "--dry-run")
        self.assertEqual(result.status, EXIT_OK, result)
        line = re.search(r"^memory +([\d.]+) GiB: ([\d.]+) weights, ([\d.]+) KV cache, "
                         r"([\d.]+) the rest$", result.stdout, re.MULTILINE)
        self.assertTrue(line, result)
        planned, *parts = map(float, line.groups())
        self.assertAlmostEqual(planned, sum(parts), delta=0.002)
        status, peak_bytes = peak_of(self.arguments("copy.csv", *options, "--overwrite"))
        # A random model sometimes ends a text before it began, and then that row has failed.
        self.assertIn(status, (EXIT_OK, EXIT_PARTIAL))
        ratio = peak_bytes / GIB / planned
        print(f"{' '.join(options)}: planned {planned:.3f} GiB, taken {peak_bytes / GIB:.3f}, "
              f"ratio {ratio:.2f}")
        self.assertLess(ratio, RATIO_MAX)
        self.assertGreater(peak_bytes / GIB, planned / RATIO_MAX - SPARE)
        return planned

    def test_the_plan_of_memory_holds(self):
        """For jobs that fill a batch several times, and for one that is smaller than a batch."""
        options = ("--max-tokens", "24")
        small = self.check("--limit", "2", *options)
        if is_tiny():
            self.check("--batch", "8", *options)
            large = self.check(*options)
        else:
            large = self.check("--limit", "20", *options)  # two groups of threads
            less = self.check("--limit", "20", "--kv-cache", "int8", *options)
            self.assertLess(less, large)
        self.assertGreater(large, small)


if __name__ == "__main__":
    unittest.main()
