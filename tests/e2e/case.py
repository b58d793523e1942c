"""What the tests of every file share: a tree to serve, a server for it, and the checks after each test.

The runner makes one class for each pair of a backend and a number of workers out of every test class. A class with
`shared` set has one server for all its tests, started with `arguments`; any test may start more with self.start(), and
all of them are checked and drained when it ends.
"""
import functools
import hashlib
import os
import random
import shutil
import tempfile
import threading
import time
import unittest

from client import Ended, Malformed, close_all, request
from server import Server


@functools.lru_cache(maxsize=8)
def noise(seed, size):
    """Bytes that do not compress, do not repeat, and are the same for the same seed."""
    return random.Random(seed).randbytes(size)


def stamped(seed, size):
    """Content that can be checked without knowing it: a hash, and what it is the hash of."""
    body = noise(seed, max(size - 65, 0))
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def is_whole(body):
    return body[:65] == hashlib.sha256(body[65:]).hexdigest().encode() + b"\n"


def write(root, path, data):
    """Creates or replaces a file as good editors do: whole, by rename."""
    full = os.path.join(os.fsencode(root), os.fsencode(path))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    # beside the file, hidden, so that no one is served half of it
    beside = os.path.join(os.path.dirname(full), b".new-" + hashlib.md5(full).hexdigest().encode())
    with open(beside, "wb") as file:
        file.write(data)
    os.rename(beside, full)


class Case(unittest.TestCase):
    backend = "auto"
    workers = 1
    matrix = "full"  # "full": on every backend and number of workers; "once": not tied to either
    shared = False
    arguments = ()
    cost = 1  # relative; the runner starts the dearest first
    server = None
    root = None
    maxDiff = 2000

    @classmethod
    def plant(cls, root):
        """Fills the tree that the class serves."""
        write(root, "index.html", b"<!doctype html><title>home</title>")

    @classmethod
    def setUpClass(cls):
        cls.base = tempfile.mkdtemp(prefix="loom-e2e-tree-")
        os.chmod(cls.base, 0o755)
        cls.root = os.path.join(cls.base, "root")
        os.mkdir(cls.root)
        cls.plant(cls.root)
        if cls.shared:
            cls.server = cls.launch(cls.root, *cls.arguments)

    @classmethod
    def tearDownClass(cls):
        try:
            if cls.server:
                cls.server.stop()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{server_log(cls.server)}") from None
        finally:
            if cls.server:
                cls.server.discard()
            shutil.rmtree(cls.base, ignore_errors=True)

    @classmethod
    def launch(cls, root, *arguments, **more):
        more.setdefault("backend", cls.backend)
        more.setdefault("workers", cls.workers)
        return Server(root, *arguments, **more)

    def start(self, *arguments, root=None, **more):
        """A server of this test's own."""
        server = self.launch(root or self.root, *arguments, **more)
        self.own.append(server)
        return server

    def note(self, text):
        """Something measured, which decides nothing: the runner prints it."""
        self.notes.append(text)

    def directory(self):
        """A directory of this test's own."""
        path = tempfile.mkdtemp(dir=self.base)
        os.chmod(path, 0o755)
        return path

    def run(self, result=None):
        """The test, and then the checks of its servers, which count as part of it."""
        self.own = []
        self.notes = []
        name = self._testMethodName
        test = getattr(self, name)

        def with_checks():
            servers = [self.server] if self.server else []
            try:
                if self.server and not self.server.running():
                    type(self).server = self.launch(self.root, *self.arguments)
                test()
                close_all()
                for server in self.own:
                    server.stop()
                if self.server:
                    self.server.check()
            except unittest.SkipTest:
                raise
            except BaseException as error:
                logs = "".join(server_log(server) for server in (self.own or servers))
                if logs:
                    error.add_note(logs)
                raise
            finally:
                close_all()
                for server in self.own:
                    server.discard()

        setattr(self, name, with_checks)
        try:
            return super().run(result)
        finally:
            delattr(self, name)

    def at_pace(self, attempt, most, tries=30):
        """For a server that must not cut off a client of a certain speed. attempt(pace) calls pace() for each step that the
        client takes; a failure says nothing when it was for longer than `most` seconds that this machine let it take none."""
        for _ in range(tries):
            steps = [time.monotonic()]
            try:
                return attempt(lambda: steps.append(time.monotonic()))
            except (AssertionError, Ended, Malformed, OSError):
                steps.append(time.monotonic())
                if max(after - before for before, after in zip(steps, steps[1:])) <= most:
                    raise
                close_all()
        raise AssertionError(f"in {tries} attempts this machine never kept the pace of a step every {most} s")

    def kept(self, client, target="/", fields=(), status=200):
        """The connection goes on: nothing was said that is not asked for, and the next request is answered."""
        self.assertTrue(client.nothing_left(), "bytes after the response")
        self.assertEqual(client.ask(target, *fields).status, status)

    def agrees(self, client, response):
        """The connection ends or goes on as the response says."""
        if response.closes:
            client.expect_end()
        else:
            self.kept(client)

    def refused(self, data, statuses, closes=True, server=None):
        """The bytes of a bad request get one of the statuses; closes None: either way, but as it says."""
        if isinstance(statuses, int):
            statuses = (statuses,)
        with (server or self.server).client() as client:
            client.send(data)
            response = client.response()
            self.assertIn(response.status, statuses, data[:100])
            if closes is not None:
                self.assertEqual(response.closes, closes, f"Connection: close after {data[:100]!r}")
            self.agrees(client, response)
            return response


def server_log(server):
    lines = server.log().splitlines()
    if len(lines) > 40:
        lines = lines[:10] + [f"[{len(lines) - 40} lines left out]"] + lines[-30:]
    return f"stderr of loom {' '.join(server.arguments)}:\n" + "".join(f"    | {line}\n" for line in lines)


class Hammer:
    """Clients in threads that ask and check without a pause until they are told to stop."""

    def __init__(self, server, targets, check, threads=4, depth=4, per_connection=200, end_allowed=lambda: False):
        self.server, self.targets, self.check_response = server, targets, check
        self.depth, self.per_connection, self.end_allowed = depth, per_connection, end_allowed
        self.errors = []
        self.counts = [0] * threads  # of answers; each thread has its own
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(seed,), daemon=True) for seed in range(threads)]
        for thread in self.threads:
            thread.start()

    @property
    def answers(self):
        return sum(self.counts)

    def work(self, seed):
        choice = random.Random(seed)
        try:
            while not self.stopping.is_set():
                with self.server.client() as client:
                    for _ in range(self.per_connection // self.depth):
                        batch = [choice.choice(self.targets) for _ in range(self.depth)]
                        client.send(b"".join(request(target) for target in batch))
                        for target in batch:
                            self.check_response(target, client.response())
                            self.counts[seed] += 1
                        if self.stopping.is_set():
                            break
        except (Ended, OSError) as error:
            # a server that drains may end a connection, but only between two responses
            if not (self.end_allowed() and getattr(error, "at_boundary", True)):
                self.errors.append(repr(error))
        except Exception as error:  # whatever it is, the test must hear of it
            self.errors.append(repr(error))

    def stop(self):
        """The number of answers; an error of any client is an AssertionError."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
            if thread.is_alive():
                self.errors.append("a client did not end")
        if self.errors:
            raise AssertionError(f"{len(self.errors)} of {len(self.threads)} clients failed, {self.answers} answers: "
                                 + "; ".join(self.errors[:3]))
        return self.answers
