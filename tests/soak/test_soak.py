#!/usr/bin/env python3
"""Each check of a soak can fail: a relay that lies between the client and loom, figures that must not be, a client that
holds a snapshot, a server that dies. And an honest soak of some seconds finds nothing, and leaves nothing behind.
"""
import copy
import glob
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

sys.dont_write_bytecode = True

import fit  # noqa: E402  pylint: disable=wrong-import-position
import lane  # noqa: E402  pylint: disable=wrong-import-position
import report  # noqa: E402  pylint: disable=wrong-import-position
import soak  # noqa: E402  pylint: disable=wrong-import-position
import tree  # noqa: E402  pylint: disable=wrong-import-position
import watch  # noqa: E402  pylint: disable=wrong-import-position

HERE = os.path.dirname(os.path.abspath(__file__))
LOOM, CLIENT = os.environ["LOOM_BINARY"], os.environ["SOAK_CLIENT"]
RESET = struct.pack("ii", 1, 0)


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def flip_body(pattern, blank_lines=1):
    """A lie that flips the first byte of the first body whose head has this, behind so many blank lines."""
    def lie(data):
        for head in re.finditer(rb"HTTP/1\.1 [\s\S]*?\r\n\r\n", data):
            if re.search(pattern, head[0]) and b"HTTP/1.1 304" not in head[0]:
                at = head.end()
                for _ in range(blank_lines - 1):
                    at = data.find(b"\r\n\r\n", at) + 4
                    if at < 4:
                        return data
                if at < len(data) and not data.startswith(b"HTTP/1.1", at):
                    return flip(data, at)
        return data
    return lie


def replace(pattern, by):
    return lambda data: re.sub(pattern, by, data, count=1)


def cut(data):
    """Ends within an answer."""
    at = data.find(b"\r\n\r\n")
    return data[:at + 2], "end"


LIES = {
    "a byte of a body": (flip_body(rb"ETag"), "differs from what was written|is no version of this file"),
    "a byte of a range": (flip_body(rb"Content-Range: bytes \d+-"), "differs from what was written"),
    "a byte of a part": (flip_body(rb"multipart/byteranges", 2), "part 0: a part that differs|part 0 differs"),
    "a byte of a coded body": (flip_body(rb"Content-Encoding: "),
                               "differs from what was written|no version of this file"),
    "a range from elsewhere": (replace(rb"(Content-Range: bytes )\d+-", rb"\g<1>0-"), "bytes 0-"),
    "another ETag": (replace(rb"(?s)(ETag: \")[^\"]+(\".*)", rb"\1liar\2"), "ETag|no version"),
    "no ETag": (replace(rb"ETag: [^\r]*\r\n", b""), "no ETag"),
    "another status": (replace(rb"HTTP/1\.1 200", b"HTTP/1.1 503"), "status 503"),
    "304 for all": (replace(rb"HTTP/1\.1 200", b"HTTP/1.1 304"), "status 304"),
    "a length too short": (replace(rb"(Content-Length: )\d", rb"\1"),
                           "length|bytes|status line|nobody has asked|no version"),
    "no coding": (replace(rb"Content-Encoding: [^\r]*\r\n", b""),
                  "another coding|bytes, which no version has|no version"),
    "a head that is none": (replace(rb"HTTP/1\.1", b"HTTP/1.0"), "not a status line"),
    "no date": (replace(rb"Date: [^\r]*\r\n", b""), "no Date"),
    "close for nothing": (replace(rb"Date: ", b"Connection: close\r\nDate: "), "nobody asked for"),
    "an answer twice": (replace(rb"(?s)(HTTP/1\.1 304 .*?\r\n\r\n)", rb"\1\1"), "."),
    "an end within": (cut, "ended within an answer"),
    "an end": (lambda data: (b"", "end"), "were not answered"),
    "a reset": (lambda data: (b"", "reset"), "reset by peer"),
}


class Relay:
    """Hands on what client and server say, and lies about answers. A connection a thread."""

    def __init__(self, server, lie):
        self.server, self.lie = server, lie
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.server)
            threading.Thread(target=self.hand_on, args=(client, server, lambda data: data), daemon=True).start()
            threading.Thread(target=self.hand_on, args=(server, client, self.lie), daemon=True).start()

    @staticmethod
    def hand_on(source, to, lie):
        try:
            while data := source.recv(1 << 18):
                data = lie(data)
                how = None
                if isinstance(data, tuple):
                    data, how = data
                to.sendall(data)
                if how == "reset":
                    to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    to.close()
                    return
                if how:
                    break
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """What is connected ends with its client."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class NoSoak:
    """What a lane asks of a soak."""
    began = None

    def __init__(self):
        self.failures = []

    def fail(self, why):
        self.failures.append(why)

    def guard(self, pid):
        pass

    def now(self):
        return time.monotonic()


def options(scratch, **more):
    found = soak.read_options(["--loom", LOOM, "--client", CLIENT, "--output", os.path.join(scratch, "out"),
                               "--seed", "1", "--scratch", scratch, "0.01"])
    vars(found).update(more)
    return found


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="loom-soak-test-")
        cls.lane = lane.Lane(NoSoak(), "epoll", os.path.join(cls.scratch, "epoll"), options(cls.scratch))

    @classmethod
    def tearDownClass(cls):
        os.kill(cls.lane.pid, signal.SIGKILL)
        os.waitpid(cls.lane.pid, 0)
        shutil.rmtree(cls.scratch)

    def client(self, address, seconds, rate=2000):
        """(exit status, what it said on standard error, its last line)"""
        process = subprocess.Popen([CLIENT, self.lane.tree.base, address[0], str(address[1]), str(rate), "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=600)
        return process.returncode, err.decode("utf-8", "replace"), json.loads((["{}"] + out.decode().splitlines())[-1])

    def test_each_lie_is_found(self):
        for name, (lie, said) in LIES.items():
            with self.subTest(name):
                relay = Relay(self.lane.address, lie)
                status, err, _ = self.client(relay.address, 200)
                relay.close()
                self.assertEqual(status, 1, f"it was not found:\n{err}")
                self.assertRegex(err.splitlines()[0], said)

    def test_what_is_out_of_date_or_refused_is_found(self):
        for file in self.lane.tree.files:
            self.lane.tree.table.floor(file, 1)
        status, err, _ = self.client(self.lane.address, 200)
        for file in self.lane.tree.files:
            self.lane.tree.table.floor(file, 0)
        self.assertEqual(status, 1)
        self.assertIn("out of date", err)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            status, err, _ = self.client(nobody.getsockname(), 30)
        self.assertEqual(status, 1)
        self.assertIn("Connection refused", err)

    def test_the_truth_is_believed(self):
        kinds = ("whole", "coded", "heads", "not_modified", "partial", "multipart", "unsatisfiable", "absent", "connects",
                 "aborted", "slow", "halves", "etags")
        for seconds in 2, 10, 60:  # on a busy machine it may hardly have begun after two
            relay = Relay(self.lane.address, lambda data: data)
            status, err, said = self.client(relay.address, seconds)
            relay.close()
            if all(said.get(kind) for kind in kinds):
                break
        self.assertEqual((status, err), (0, ""))
        for kind in kinds:
            self.assertGreater(said[kind], 0, kind)

    def test_a_client_that_holds_a_snapshot_is_seen(self):
        one = self.lane
        one.wait(lambda: one.take() and not one.take()["variants_pending"] and not one.take()["connections"], "rest")
        first = one.at_rest()
        self.assertEqual(watch.judge_end(first, first) + watch.judge(first, first), [])
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        holder.connect(one.address)
        holder.sendall(b"GET /l/3.bin HTTP/1.1\r\nHost: soak.test\r\n\r\n")
        holder.recv(1)
        for _ in range(4):
            one.tree.rename(one.tree.files[-20])
            watch.admin(one.admin, "reload")
        taken = one.take()
        said = "; ".join(watch.judge_end(taken, first))
        self.assertRegex(said, "1 connections")
        self.assertRegex(said, "descriptors that are sockets")
        held = dict(taken, retired_ids=["x"], generations_retired=1, pins_retired=1)
        self.assertRegex("; ".join(watch.judge_end(held, first)), "1 retired snapshots with 1 pins")
        retired = watch.Retired()
        self.assertEqual(retired.judge(held), [])
        self.assertRegex(retired.judge(dict(held, time=held["time"] + 1000))[0], "a pin is not given back")
        holder.close()
        last = one.settled_sample(lambda taken: watch.judge_end(taken, first))
        self.assertEqual(watch.judge_end(last, first), [])

        # And whatever else may be too much.
        for change, complaint in (
                ({"fds": {"sockets": 500, "others": 3, "files": 0}}, "sockets, of 76"),
                ({"fds": {"sockets": 3, "others": 300, "files": 0}}, "neither sockets nor of the site"),
                ({"fds": {"sockets": 3, "others": 3, "files": 300}}, "files of the site are open"),
                ({"tasks": {"loom": 100}}, "threads"), ({"unfinished": 1}, "broken off"),
                ({"failed_reloads": 1}, "reloads failed")):
            self.assertRegex("; ".join(watch.judge(dict(last, **change), first)), complaint)
        for change, complaint in (
                ({"fds": dict(last["fds"], files=last["fds"]["files"] + 9)}, "are streamed"),
                ({"fds": dict(last["fds"], others=last["fds"]["others"] + 1)}, "that are others"),
                ({"pins_current": 2}, "2 pins of the current"), ({"pins_kept": 1}, "1 of kept ones"),
                ({"variants_pending": 1}, "wait to be compressed"), ({"tasks": dict(last["tasks"], more=1)}, "threads"),
                ({"tasks": dict(last["tasks"], **{"iou-wrk": 3})}, "kernel threads are left")):
            self.assertRegex("; ".join(watch.judge_end(dict(copy.deepcopy(last), **change), first)), complaint)


class Memory(unittest.TestCase):
    @staticmethod
    def samples(growth, noise, across=0.0):
        """An hour of three processes; growth within each and from each to the next, in KiB an hour."""
        choice = random.Random(1)
        return [{"pid": seconds // 1200, "seconds": seconds,
                 **{name: 10000 + growth * (seconds % 1200) / 3600 + across * (seconds // 1200) / 3 +
                    choice.gauss(0, noise) for name, _ in report.MEMORY}} for seconds in range(0, 3600, 5)]

    def judge(self, *arguments):
        return "; ".join(report.judge_slopes(report.slopes(self.samples(*arguments), 3600)))

    def test_flat_is_flat(self):
        self.assertEqual(self.judge(0, 100), "")

    def test_growth_is_seen(self):
        self.assertRegex(self.judge(1500, 100), "within processes")
        self.assertRegex(self.judge(0, 100, 1500), "from process to process")

    def test_that_processes_grow_up_is_no_growth(self):
        """As a soak has them: young ones, one that becomes old, young ones."""
        choice = random.Random(3)
        began = [*range(0, 1080, 150), *range(2880, 3600, 150)]
        samples = []
        for seconds in range(0, 3600, 5):
            pid = max(start for start in began if start <= seconds)
            size = 13000 - 4000 * math.exp(-(seconds - pid) / 90) + choice.gauss(0, 100)
            samples.append({"pid": pid, "seconds": seconds, **{name: size for name, _ in report.MEMORY}})
        self.assertEqual("; ".join(report.judge_slopes(report.slopes(samples, 3600))), "")
        for taken in samples:
            taken["rss"] += 1500 * taken["pid"] / 3600
        self.assertRegex("; ".join(report.judge_slopes(report.slopes(samples, 3600))), "^RSS grows.*from process to process")

    def test_what_cannot_be_known_does_not_pass(self):
        self.assertRegex(self.judge(0, 10000), "or may grow")
        self.assertRegex("; ".join(report.judge_slopes(report.slopes([], 3600))), "too few samples")

    def test_lines_are_found_and_neighbours_widen_them(self):
        line = fit.slope([[(x, 5 + 3 * x + random.Random(x).gauss(0, 1)) for x in range(200)]])
        self.assertTrue(line["low"] < 3 < line["high"], line)
        choice, walk = random.Random(2), [0.0]
        for _ in range(999):
            walk.append(0.9 * walk[-1] + choice.gauss(0, 1))
        line = fit.slope([list(enumerate(walk))])
        self.assertGreater(line["correlation"], 0.8)
        self.assertTrue(line["low"] < 0 < line["high"], line)


BOUND = lane.BEGIN_BOUND + 200  # seconds


class Whole(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="loom-soak-test-")
        self.output = os.path.join(self.scratch, "out")
        offered = os.environ.get("LOOM_REQUIRE_BACKENDS") or subprocess.check_output(
            [os.path.join(HERE, "..", "..", "ci", "backends")], stderr=subprocess.DEVNULL).decode()
        self.backends = offered.split()
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "soak.py"), "--loom", LOOM, "--client", CLIENT, "--output", self.output,
             "--scratch", os.path.join(self.scratch, "run"), "--rate=1000", "--deploy-every=0.5", "--upgrade-every=100",
             *(f"--backend={backend}" for backend in self.backends), "0.05"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(shutil.rmtree, self.scratch)
        self.addCleanup(self.process.kill)

    def ours(self):
        """Processes that have our directory among their arguments."""
        found = {}
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(self.scratch.encode()) for word in words[1:]) and b"soak.py" not in words[1]:
                found[int(path.split("/")[2])] = os.path.basename(words[0].decode())
        return found

    def end(self, act):
        """(exit status, output), some seconds after clients have begun, and of `act`."""
        end = time.monotonic() + BOUND
        while sum(name == "soak_client" for name in self.ours().values()) < len(self.backends):
            self.assertIsNone(self.process.poll(), "it has ended")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        time.sleep(2)
        act()
        out = self.process.communicate(timeout=BOUND)[0].decode()
        self.assertEqual({pid: name for pid, name in self.ours().items() if name in ("loom", "soak_client")}, {}, out)
        return self.process.returncode, out

    def test_an_interrupt_ends_it_with_a_report_and_nothing_left(self):
        status, out = self.end(lambda: self.process.send_signal(signal.SIGINT))
        self.assertEqual(status, 0, out)
        with open(os.path.join(self.output, "soak.json"), encoding="utf-8") as file:
            found = json.load(file)
        self.assertTrue(found["passed"])
        self.assertEqual(found["interrupted"], "SIGINT")
        self.assertEqual(list(found["lanes"]), self.backends)
        for one in found["lanes"].values():
            self.assertGreater(one["client"]["answers"], 100)
        for name in ("soak.md", "soak-rss.svg", "soak-held.svg", "soak-descriptors.svg"):
            self.assertTrue(os.path.exists(os.path.join(self.output, name)))
        self.assertFalse(os.path.exists(os.path.join(self.scratch, "run")))

    def test_a_server_that_dies_is_seen_and_its_logs_are_kept(self):
        status, out = self.end(lambda: os.kill(min(pid for pid, name in self.ours().items() if name == "loom"),
                                               signal.SIGKILL))
        self.assertEqual(status, 1, out)
        self.assertIn("FAILED", out)
        self.assertTrue(glob.glob(os.path.join(self.scratch, "run", "*", "server.log")))


class Contents(unittest.TestCase):
    def test_versions_differ_and_fit(self):
        for file in tree.plan():
            self.assertEqual(len(set(file.bodies)), len(file.bodies), file.target)
            if "place" in file.ways:
                self.assertEqual(len({len(body) for body in file.bodies}), 1)
                self.assertLessEqual(len(file.bodies[0]), tree.PAGE)
            self.assertEqual(file.kind == "streamed", any(len(body) > tree.STREAM_ABOVE for body in file.bodies))

    def test_upgrades_spare_the_middle(self):
        self.assertTrue(all(not 1080 < at < 2880 for at in soak.moments(3600, 150)))
        self.assertGreater(len(soak.moments(3600, 150)), 8)

    def test_complaints_are_found(self):
        log = "loom: sandbox: off; not: built with a sanitizer\nloom: reloaded: snapshot x\n"
        log += "loom: cannot reload, the old snapshot stays: y\n"
        self.assertEqual(watch.complaints(log), ["loom: cannot reload, the old snapshot stays: y"])


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    unittest.main(warnings="ignore")
