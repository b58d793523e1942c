"""What the tests of this folder share: where things are, what may be missing, and a closing line that ci/count reads."""
import os
import pathlib
import shutil
import subprocess
import unittest

BUILD = pathlib.Path(os.environ["LOOM_BUILD"])
SOURCE = pathlib.Path(os.environ["LOOM_SOURCE"])
LOOM, LOOMCTL = BUILD / "src" / "loom", BUILD / "src" / "loomctl"
BOUND = 120  # seconds that no command takes on a machine that is alive


def said(*command, status=0, **more):
    """What the command prints, which has to end with the status."""
    more.setdefault("env", {name: value for name, value in os.environ.items() if not name.startswith("LOOM_")})
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=BOUND, check=False,
                          stdin=subprocess.DEVNULL, **more)
    if done.returncode != status:
        raise AssertionError(f"{command[0]} ended with status {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
    return done.stdout


def needs(program):
    """Skips the test without the program; where LOOM_REQUIRE_CLIENTS says that all are there, that is a failure."""
    if not shutil.which(program):
        if os.environ.get("LOOM_REQUIRE_CLIENTS"):
            raise AssertionError(f"{program} is missing (ci/setup test)")
        raise unittest.SkipTest(f"no {program}")


def main():
    outcome = unittest.main(module="__main__", exit=False, verbosity=2).result
    # A test of which several parts have failed is one that has.
    failed = len({getattr(test, "test_case", test).id() for test, _ in outcome.failures + outcome.errors})
    skipped = len(outcome.skipped)
    print(f"{outcome.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    raise SystemExit(failed > 0)
