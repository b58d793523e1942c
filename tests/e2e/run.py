#!/usr/bin/env python3
"""Runs the end-to-end suite: every test class on every backend and number of workers, several at a time.

    run.py [--backend NAME] [--workers N] [--jobs N] [--without PATTERN] [--list] [PATTERN ...]

A PATTERN is a part of `file.Class.test`. Environment: LOOM_BINARY, the server; LOOM_REQUIRE_BACKENDS, backends whose
lack is a failure and not a skip; LOOM_E2E_LONG=1, the long variants; LOOM_E2E_TREE, one more directory to serve and
compare file by file; LOOM_E2E_VALGRIND=1, the server under valgrind; LOOM_E2E_OPTIONS, more options for every server, with
blanks between. The last line is `N passed, N failed, N skipped`.
"""
import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True  # the tree of the sources stays as it is

import case  # noqa: E402 (after the path is set)
import client  # noqa: E402
import server  # noqa: E402

BACKENDS = ("epoll", "io_uring")
WORKERS = (1, 2)
JOB_BOUND = 1800  # seconds; a class that takes longer hangs


def classes():
    """Every test class, by its name as patterns see it."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, case.Case) and value.__module__ == path.stem:
                found[f"{path.stem.removeprefix('test_')}.{name}"] = value
    return found


def tests_of(name, cls, patterns):
    names = unittest.TestLoader().getTestCaseNames(cls)
    return [test for test in names if not patterns or any(one in f"{name}.{test}" for one in patterns)]


def label(backend, workers):
    return f"[{backend}, {workers} worker{'s' if workers > 1 else ''}]" if backend != "any" else "[once]"


class Result(unittest.TestResult):
    """One record a test: what the parent process wants to know."""

    def __init__(self):
        super().__init__()
        self.records = []

    def record(self, test, outcome, text=""):
        name = getattr(test, "_testMethodName", None) or str(test).split(" ")[0]  # or setUpClass, tearDownClass
        self.records.append({"test": name, "outcome": outcome, "text": text,
                             "seconds": time.monotonic() - getattr(self, "began", time.monotonic())})

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def addSuccess(self, test):
        self.record(test, "passed", "; ".join(test.notes))

    def addSkip(self, test, reason):
        self.record(test, "skipped", reason)

    def addError(self, test, err):
        notes = "".join(f"measured: {note}\n" for note in getattr(test, "notes", ()))
        self.record(test, "failed", told(err) + notes)

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err:
            self.record(subtest, "failed", f"{subtest._subDescription()}: {told(err)}")


def told(err):
    """An exception as text: what it says first, then where, then what the servers had to say."""
    kind, value, trace = err
    notes = getattr(value, "__notes__", [])
    frames = [frame for frame in traceback.extract_tb(trace) if str(HERE) in frame.filename
              and not frame.filename.endswith("case.py")] or traceback.extract_tb(trace)[-1:]
    where = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
    text = str(value) if issubclass(kind, AssertionError) else f"{kind.__name__}: {value}"
    first, _, rest = text.partition("\n")
    return f"{first} ({where})\n" + (rest + "\n" if rest else "") + "".join(notes)


def run_job(name, backend, workers, tests):
    """One class on one backend, in this process; the records go to standard output as JSON."""
    client.raise_descriptor_limit()
    sys.setswitchinterval(0.0005)  # threads of clients must not keep the test itself from its turn
    base = classes()[name]
    cls = type(base.__name__, (base,), {"backend": "auto" if backend == "any" else backend, "workers": int(workers)})
    result = Result()
    unittest.TestSuite([unittest.TestSuite([cls(test) for test in tests])]).run(result)
    cpu = sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF,
                                                                                 resource.RUSAGE_CHILDREN)))
    print(json.dumps({"records": result.records, "cpu": cpu}))


def start_job(job):
    name, backend, workers, tests = job
    began = time.monotonic()
    broken, cpu = "", 0
    try:
        done = subprocess.run([sys.executable, __file__, "--job", name, backend, str(workers), *tests],
                              capture_output=True, timeout=JOB_BOUND, check=False)
        told = json.loads(done.stdout.decode().splitlines()[-1]) if done.stdout else {"records": [], "cpu": 0}
        records, cpu = told["records"], told["cpu"]
        if done.returncode != 0 or not done.stdout:
            broken = f"the tests' process ended with status {done.returncode}\n{done.stderr.decode()}"
    except subprocess.TimeoutExpired:
        records, broken = [], f"no end within {JOB_BOUND} s\n"
    if broken:
        records.append({"test": "*", "outcome": "failed", "text": broken, "seconds": 0})
    return job, records, time.monotonic() - began, cpu


def missing(backend):
    """Why this backend cannot be had here, or None. By trying it."""
    if server.VALGRIND and backend != "epoll":
        return "valgrind keeps all threads waiting while one waits in io_uring_enter"
    with tempfile.TemporaryDirectory(prefix="loom-e2e-probe-") as root:
        try:
            one = server.Server(root, backend=backend)
        except AssertionError as error:
            return str(error).strip().splitlines()[-1]
        one.discard()
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--workers", action="append", type=int)
    parser.add_argument("--jobs", type=int, default=2 * len(os.sched_getaffinity(0)))
    parser.add_argument("--without", action="append", default=[], metavar="PATTERN", help="leave these out")
    parser.add_argument("--times", action="store_true", help="say how long each test took, and each class's CPU time")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    options = parser.parse_args()

    if options.job:
        run_job(*options.job[:3], options.job[3:])
        return 0
    jobs = []
    for name, cls in classes().items():
        tests = tests_of(name, cls, options.patterns)
        tests = [test for test in tests if not any(one in f"{name}.{test}" for one in options.without)]
        counts = (options.workers or WORKERS)[:1 if cls.matrix == "backends" else None]
        pairs = [("any", 2)] if cls.matrix == "once" else [
            (backend, workers) for backend in options.backend or BACKENDS for workers in counts]
        jobs += [(name, backend, workers, tests) for backend, workers in pairs if tests]
    if options.list:
        for name, backend, workers, tests in jobs:
            print("\n".join(f"{name}.{test} {label(backend, workers)}" for test in tests))
        return 0
    if not os.access(server.BINARY, os.X_OK):
        print(f"LOOM_BINARY={server.BINARY!r} is no program: it must name the server to test", file=sys.stderr)
        print("0 passed, 1 failed, 0 skipped")
        return 1

    required = os.environ.get("LOOM_REQUIRE_BACKENDS", "").replace(",", " ").split()
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for backend in sorted({job[1] for job in jobs} - {"any"}):
        why = missing(backend)
        if why is None:
            continue
        lost = sum(len(job[3]) for job in jobs if job[1] == backend)
        jobs = [job for job in jobs if job[1] != backend]
        outcome = "failed" if backend in required else "skipped"
        count[outcome] += lost
        print(f"{'FAIL' if outcome == 'failed' else '*** SKIP'}: {lost} tests on the backend {backend}, which cannot "
              f"be had here: {why}", flush=True)

    began = time.monotonic()
    jobs.sort(key=lambda job: -classes_cost(job[0]))
    skips, all_cpu = {}, 0
    with concurrent.futures.ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        for future in concurrent.futures.as_completed([pool.submit(start_job, job) for job in jobs]):
            (name, backend, workers, _), records, seconds, cpu = future.result()
            all_cpu += cpu
            for one in records:
                count[one["outcome"]] += 1
                title = f"{name}.{one['test']} {label(backend, workers)}"
                if one["outcome"] == "failed":
                    first, _, rest = one["text"].partition("\n")
                    print(f"FAIL {title}: {first}")
                    print("".join(f"  {line}\n" for line in rest.splitlines()), end="", flush=True)
                elif one["outcome"] == "passed" and one["text"]:
                    print(f"measured {title}: {one['text']}", flush=True)
                elif one["outcome"] == "skipped":
                    skips.setdefault(one["text"], []).append(title)
                if options.times:
                    print(f"  {one['seconds']:7.2f} s {one['outcome']} {title}")
            if options.times:
                print(f"{seconds:9.2f} s, {cpu:.2f} s of CPU: {name} {label(backend, workers)}", flush=True)
    for reason, titles in skips.items():
        print(f"SKIP {len(titles)} x {titles[0]}: {reason}")
    print(f"{time.monotonic() - began:.0f} seconds, {all_cpu:.0f} of CPU")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


def classes_cost(name):
    return COSTS.setdefault(name, classes()[name].cost)


COSTS = {}

if __name__ == "__main__":
    sys.exit(main())
