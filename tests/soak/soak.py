"""A soak: loom on both backends at once, with all that clients, deploys and upgrades can do, for hours. See ci/soak.

    soak.py --loom PATH --client PATH --output DIR [OPTION...] HOURS

This thread waits for the end, for a signal, or for the first check that fails; then all is ended in order and reported.
"""
import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

import lane  # noqa: E402  pylint: disable=wrong-import-position
import report  # noqa: E402  pylint: disable=wrong-import-position

PR_SET_CHILD_SUBREAPER = 36
AWAY = 5  # seconds without a look at the clock, which is looked at every second, that nobody has worked in


class Guard:
    """A process that kills who is left, should this one be killed. It learns of them through a pipe."""

    def __init__(self):
        out, self.to = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.close(self.to)
            os.setsid()
            with os.fdopen(out, "r", encoding="ascii") as lines:
                words = lines.read().split()
            if "done" not in words:
                for pid in map(int, words):
                    try:
                        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                            ours = file.read().startswith(("loom", "soak_client"))
                        if ours:
                            os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
            os._exit(0)
        os.close(out)

    def add(self, word):
        os.write(self.to, f"{word}\n".encode())

    def done(self):
        self.add("done")
        os.close(self.to)
        os.waitpid(self.pid, 0)


class Soak:
    def __init__(self, options):
        self.options = options
        self.began = None  # of self.now()
        self.looked, self.away = time.monotonic(), 0.0
        self.failures = []
        self.interrupted = None
        self.wake = threading.Event()
        self.lock, self.clock = threading.Lock(), threading.Lock()
        self.guarding = Guard()
        self.guard = self.guarding.add
        self.lanes = []

    def fail(self, why):
        with self.lock:
            self.failures.append(why)
        print(f"soak: FAILED: {why}", flush=True)
        self.wake.set()

    def now(self):
        """Monotonic seconds, but for what this machine, or who stops all of a soak with SIGSTOP, took away."""
        with self.clock:
            read = time.monotonic()
            if read - self.looked > AWAY:
                self.away += read - self.looked - 1
            self.looked = read
            return read - self.away

    def interrupt(self, number, _):
        self.interrupted = signal.Signals(number).name
        self.wake.set()

    def run(self):
        options = self.options
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.interrupt)
        os.makedirs(options.scratch, exist_ok=True)
        for name in ("loom", "client"):  # a build meanwhile is not what an upgrade starts
            copied = os.path.join(options.scratch, os.path.basename(getattr(options, name)))
            shutil.copy(getattr(options, name), copied)
            setattr(options, name, copied)
        try:
            for backend in options.backends:
                self.lanes.append(lane.Lane(self, backend, os.path.join(options.scratch, backend), options))
            self.began = self.now()
            self.date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            for one in self.lanes:
                one.begin()
            self.wait(self.began + options.seconds)
        except lane.Failed as failed:
            self.fail(str(failed))
        finally:
            self.lasted = self.now() - self.began if self.began else 0
            for one in self.lanes:
                one.over.set()
            for one in self.lanes:
                self.end(one)
            self.guarding.done()
        return self.finish()

    def end(self, one):
        try:
            if one.client:
                one.end()
        except Exception as error:  # pylint: disable=broad-except
            self.fail(f"{one.backend}: ending: {type(error).__name__}: {error}")
        finally:
            one.kill()

    def wait(self, end):
        said = self.now()
        while not self.wake.is_set() and (left := end - self.now()) > 0:
            self.wake.wait(min(left, 1))
            if self.now() - said >= 60:
                said = self.now()
                for one in self.lanes:
                    taken = one.samples[-1] if one.samples else {}
                    answers = one.said.get("answers", 0)
                    print(f"soak: {said - self.began:5.0f} s {one.backend:8} {answers:>11,} answers, "
                          f"RSS {taken.get('rss', 0):,} KiB, held {taken.get('held', 0):,.0f} KiB, "
                          f"{one.deploys} deploys, {one.upgrades} upgrades", flush=True)

    def finish(self):
        results = report.results(self)
        self.failures += report.verdicts(results)
        results["failures"] = self.failures
        results["passed"] = not self.failures
        report.write(results, self.options.output)
        print(report.summary(results), flush=True)
        if self.failures:
            print("soak: FAILED:\n" + "\n".join(f"  {why}" for why in self.failures))
            print(f"soak: what is there to look into: {self.options.scratch}", flush=True)
            return 1
        if not self.options.keep:
            shutil.rmtree(self.options.scratch, ignore_errors=True)
        return 0


def moments(seconds, every):
    """When upgrades are begun: all the while, but for the middle half, in which one process shows whether it grows."""
    found, at = [], every / 2
    while at < seconds - min(every / 2, 45):
        if not 0.3 * seconds < at < 0.8 * seconds:
            found.append(at)
        at += every
    return found


def read_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loom", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--output", required=True, help="directory for soak.md, soak.json and the charts")
    parser.add_argument("--commit", default="")
    parser.add_argument("--backend", dest="backends", action="append", choices=("epoll", "io_uring"))
    parser.add_argument("--rate", type=float, default=11000, help="requests a second of kept connections, each backend")
    parser.add_argument("--deploy-every", type=float, default=3)
    parser.add_argument("--upgrade-every", type=float, default=150)
    parser.add_argument("--upgrades-throughout", action="store_true", help="no half without any")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--scratch", help="directory for trees and logs; kept when something fails")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--server-option", dest="server_options", action="append", default=[])
    parser.add_argument("hours", type=float)
    options = parser.parse_args(arguments)
    options.backends = options.backends or ["epoll", "io_uring"]
    options.seconds = options.hours * 3600
    options.through = None
    options.upgrade_moments = moments(options.seconds, options.upgrade_every)
    if options.upgrades_throughout:
        options.upgrade_moments = [options.upgrade_every * (at + 0.5)
                                   for at in range(int(options.seconds / options.upgrade_every))]
    options.scratch = os.path.realpath(options.scratch or tempfile.mkdtemp(prefix="loom-soak-"))
    return options


def main():
    options = read_options()
    lane.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    print(f"soak: {options.seconds:.0f} s, seed {options.seed}, in {options.scratch}", flush=True)
    return Soak(options).run()


if __name__ == "__main__":
    sys.exit(main())
