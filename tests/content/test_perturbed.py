"""The judge against copies with one known fault each, and against true ones.

With the items of examples/ always; with 300 true descriptions of public data sets where the
reference data is there. `test_perturbed.py -v` prints what was missed."""

import collections
import sys
import unittest

import example_copies
import perturb
import true_copies
from harness import ROOT
from scoring import score

CAUGHT_MIN = 0.95
FALSE_MAX = 0.03


class Perturbed(unittest.TestCase):
    def report(self, copies, cases_min):
        false = [(copy, flags) for copy, flags in
                 zip(copies, score([(copy, copy.text) for copy in copies])) if flags]
        cases = list(perturb.perturbed(copies))
        totals, caught, missed = collections.Counter(), collections.Counter(), []
        for (kind, copy, text, rules), flags in zip(
                cases, score([(copy, text) for _, copy, text, _ in cases])):
            totals[kind] += 1
            caught[kind] += bool(rules & set(flags))
            if not rules & set(flags):
                missed.append((kind, copy.item_id, text[-80:], flags))
        print(f"\n{len(false)} of {len(copies)} true copies flagged; of {len(cases)} faults "
              f"{sum(caught.values())} caught: " + ", ".join(
                  f"{kind} {caught[kind]}/{totals[kind]}" for kind in totals))
        if "-v" in sys.argv:
            print(*false_lines(false), *missed, sep="\n")
        self.assertGreaterEqual(len(cases), cases_min)
        self.assertLessEqual(len(false), FALSE_MAX * len(copies), false_lines(false))
        for kind in totals:
            self.assertGreaterEqual(caught[kind], CAUGHT_MIN * totals[kind],
                                    [line for line in missed if line[0] == kind])

    def test_examples(self):
        self.report(example_copies.read(ROOT / "examples" / "catalog.csv"), 250)

    def test_public_descriptions(self):
        shared = true_copies.shared_folder(ROOT)
        if shared is None:
            self.skipTest("no reference data beside the project")
        self.report(true_copies.all_of(shared), 300)


def false_lines(false):
    return [f"{copy.item_id}: {flags} {copy.text[:90]}" for copy, flags in false]


if __name__ == "__main__":
    unittest.main()
