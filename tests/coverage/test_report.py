"""What report.py takes for a gap, and what it says of reasons, tried on a tree and traces that are made here."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPORT = pathlib.Path(__file__).resolve().parent / "report.py"
SOURCE = """int near(int n)
{
	if (n > 3) {
		log(n);
		return 1;
	}
	return 0;
}

static void far(void)
{
	work();
}
"""
FUNCTIONS = "FN:1,near\nFN:10,one.c:far\n"


def trace(root, hits, name="src/one.c"):
    return f"SF:{root}/{name}\n{FUNCTIONS}" + "".join(f"DA:{at},{count}\n" for at, count in hits.items()) + "end_of_record\n"


REACHED = {1: 2, 2: 2, 3: 2, 4: 1, 5: 1, 6: 1, 7: 2, 8: 2, 10: 1, 11: 1, 12: 1, 13: 1}
NOT_BOTH = {**REACHED, 4: 0, 5: 0, 10: 0, 11: 0, 12: 0, 13: 0}


class Report(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="loom-coverage-")
        self.addCleanup(place.cleanup)
        self.root = pathlib.Path(place.name).resolve()
        (self.root / "src").mkdir()
        (self.root / "src" / "one.c").write_text(SOURCE, encoding="ascii")

    def told(self, status, text, reasons="", least="0"):
        (self.root / "trace").write_text(text, encoding="ascii")
        (self.root / "reasons.txt").write_text(reasons, encoding="ascii")
        done = subprocess.run([sys.executable, REPORT, "--least", least, "--reasons", self.root / "reasons.txt", self.root,
                               self.root / "trace"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_all_is_reached(self):
        self.assertIn("100.00 % of 12 lines in 1 files", self.told(0, trace(self.root, REACHED), least="100"))

    def test_too_little_is_reached(self):
        self.assertIn("and not 92 %", self.told(1, trace(self.root, NOT_BOTH), "near\n\tlog :: no\nfar\n\t* :: no\n", "92"))

    def test_each_gap_wants_its_reason(self):
        said = self.told(1, trace(self.root, NOT_BOTH), "near\n\tlog(n) :: nobody asks\n")
        self.assertIn("src/one.c:10-13: not reached, and no reason: far", said)
        self.assertNotIn("one.c:4", said)
        self.assertIn("2 gaps, 1 of them with a reason", said)
        self.told(0, trace(self.root, NOT_BOTH), "near\n\tlog(n) :: nobody asks\nfar\n\t* :: nor for this\n")
        self.told(1, trace(self.root, NOT_BOTH), "far\n\tlog(n) :: of another function\nfar\n\t* :: is\n")
        self.told(0, trace(self.root, NOT_BOTH), "*\n\tlog( :: in any function\nfar\n\t* :: is\n")

    def test_a_reason_wants_its_gap(self):
        said = self.told(1, trace(self.root, REACHED), "# a remark\n\nnear\n\tlog(n) :: nobody asks\n")
        self.assertIn("reasons.txt:4: near: log(n): was reached, or is gone", said)
        self.assertIn("no such function", self.told(1, trace(self.root, REACHED), "nowhere\n\t~ * :: no\n"))

    def test_what_is_reached_sometimes(self):
        reasons = "near\n\t~ log(n) :: a race decides\n"
        self.told(0, trace(self.root, REACHED), reasons)
        self.told(0, trace(self.root, {**REACHED, 4: 0, 5: 0}), reasons)
        self.assertIn("no such line", self.told(1, trace(self.root, REACHED), "near\n\t~ nothing :: a race\n"))

    def test_no_reason_without_a_text(self):
        self.assertIn("reasons.txt:2: neither", self.told(1, trace(self.root, REACHED), "near\n\tlog(n)\n"))

    def test_others_lines_do_not_count(self):
        other = trace(self.root, {1: 0}, "tests/unit/test_one.c") + trace("/usr/include", {1: 0}, "src/one.c")
        self.assertIn("of 12 lines in 1 files", self.told(0, other + trace(self.root, REACHED)))
        self.assertIn("no line of src/", self.told(1, other))


outcome = unittest.main(exit=False).result
failed = len({getattr(test, "test_case", test).id() for test, _ in outcome.failures + outcome.errors})
print(f"{outcome.testsRun - failed} passed, {failed} failed, 0 skipped")
sys.exit(failed > 0)
