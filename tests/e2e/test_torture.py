"""Torture: a tree in upheaval (upheaval.py) under clients that hammer. Each body is one whole version, or it is a lie.

Short by default; LOOM_E2E_LONG=1 makes it a minute each, with bursts of 20,000 files. The seed is random; it is
printed, and LOOM_E2E_SEED repeats what is done (though not how threads and processes meet).
"""
import os
import random
import re
import threading
import time

from case import Case
from client import Ended, Malformed, request
from server import LONG, VALGRIND, run, sanitized, wait_for
from upheaval import ALWAYS, ORDERED, Upheaval, begins, digest, family_of, judge, targets

SECONDS = 60 if LONG else 5
BURST = 20000 if LONG else 1000
SETTLE = 0.05
CLOCK = 0.012  # what a file's time may lie back: it is that of the kernel's last tick, at most a hundredth of a second
KEPT = 64 << 10  # bodies up to this size are kept for judging ranges


def options_of_binary():
    _, out, _ = run(["--help"])
    return set(re.findall(r"--[a-z-]+", out))


class Client(threading.Thread):
    """One client: asks for whatever there is, often with a condition or for a range, over connections that last."""

    def __init__(self, test, seed, rcvbuf=None):
        super().__init__(daemon=True)
        self.test, self.choice, self.rcvbuf = test, random.Random(seed), rcvbuf
        self.error = None
        self.answers = self.not_modified = self.absent = self.ranges = self.cut = self.mixed_cuts = 0
        self.versions = set()
        self.suspects = []  # (target, body): judged when it is known what the writers did
        self.seen = {}  # target: (version, ETag, the ETag before), on this connection

    def run(self):
        try:
            while not self.test.over.is_set():
                self.seen = {}
                with self.test.server.client(rcvbuf=self.rcvbuf) as client:
                    try:
                        self.talk(client)
                    except Ended as ended:
                        self.ended(ended)
        except Exception as error:  # whatever it is, the test must hear of it
            self.error = error

    def talk(self, client):
        for _ in range(50):
            if self.test.over.is_set():
                return
            time.sleep(self.test.pause)
            batch = [self.ask() for _ in range(self.choice.choice((1, 1, 4)) if not self.rcvbuf else 1)]
            client.send(b"".join(wire for wire, _, _ in batch))
            for _, target, sent in batch:
                self.target = target
                method = "HEAD" if sent == "HEAD" else "GET"
                if self.rcvbuf:
                    time.sleep(0.002)
                self.check(target, sent, client.response(method))

    def ask(self):
        """(bytes, target, what was sent with it)"""
        target = self.choice.choice(self.test.targets)
        _, tag, before = self.seen.get(target, (None, None, None))
        how = self.choice.random()
        if before and how < 0.1:
            return request(target, f"If-None-Match: {before}"), target, before
        if tag and how < 0.3:
            return request(target, f"If-None-Match: {tag}"), target, tag
        if tag and how < 0.4:
            first = self.choice.randrange(200)
            return request(target, f"Range: bytes={first}-{first + 5000}", f"If-Range: {tag}"), target, (first, tag)
        if how < 0.45:
            return request(target, method="HEAD"), target, "HEAD"
        return request(target), target, None

    def check(self, target, sent, response):
        self.answers += 1
        if response.status == 404 and target not in ALWAYS:
            self.absent += 1
            self.seen.pop(target, None)
            return
        if response.status == 416 and isinstance(sent, tuple):
            return
        tag = response["etag"]
        if response.status == 304 and isinstance(sent, str) and tag == sent:
            last, _, _ = self.seen.get(target, (0, None, None))
            if target in ORDERED and 0 < self.test.version_of.get(tag, 0) < last:
                raise Malformed(f"{target}: 304 for version {self.test.version_of[tag]}, and version {last} is served")
            self.not_modified += 1
            return
        if response.status == 206 and isinstance(sent, tuple) and tag == sent[1]:
            self.ranges += 1
            whole = self.test.bodies.get(tag)
            if whole is not None and whole[sent[0]:sent[0] + 5001] != response.body:
                raise Malformed(f"{target}: a range of another content than its ETag {tag} stands for")
            return
        if response.status != 200:
            raise Malformed(f"{target}: {response.status} with ETag {tag}, sent: {sent}")
        if sent == tag or isinstance(sent, tuple) and sent[1] == tag and sent[0] < len(response.body):
            raise Malformed(f"{target}: 200, but its ETag is the one that was sent: {tag}")
        if sent != "HEAD":
            self.judge(target, tag, response.body)

    def judge(self, target, tag, body):
        mark = digest(body)
        if self.test.of_tag.setdefault(tag, mark) != mark:
            raise Malformed(f"{target}: one ETag, two contents: {tag}")
        if self.test.tag_of.setdefault(mark, tag) != tag:
            raise Malformed(f"{target}: one content, two ETags: {tag}, {self.test.tag_of[mark]}")
        if len(body) <= KEPT:
            self.test.bodies[tag] = body
        verdict = judge(body)
        if verdict is None:
            self.suspects.append((target, body))
            return
        family, version = verdict
        if family and family not in family_of(target):
            raise Malformed(f"{target}: a content of {family}")
        if version:
            self.test.version_of[tag] = version
            self.versions.add((target, version))
        last, newest, before = self.seen.get(target, (0, None, None))
        if target in ORDERED and version and version < last:
            raise Malformed(f"{target}: version {version} after version {last}, on one connection")
        self.seen[target] = (version or 0, tag, before if newest == tag else newest)
        self.test.tags.setdefault(target, set()).add(tag)

    def ended(self, ended):
        """Only a streamed file that is changed in place may end a response, and with it the connection."""
        if ended.at_boundary and not ended.reset:
            return
        if not self.test.may_cut(self.target):
            raise Malformed(f"{self.target}: {ended}")
        self.cut += 1
        if ended.partial and not begins(ended.partial):
            self.mixed_cuts += 1


def seen(clients):
    """How many versions of files, by all together."""
    return len(set().union(*(client.versions for client in clients)))


class Torture(Case):
    """Everything in memory, changes told by inotify."""
    matrix = "backends"
    cost = 20
    more = ("--stream-above=off",)
    stream_above = 0
    in_place = True
    slow_clients = 0
    reloads_min = 2 if LONG else 1
    patience = 300
    pause = 0  # seconds, of a client between two questions

    def may_cut(self, target):
        # Its own rename changes a file's ctime as a write does that has set mtime back: nobody can tell them apart.
        return self.stream_above and (self.in_place and target.startswith("/place/") or target.startswith("/moves/"))

    def test_every_body_is_one_whole_version(self):
        seed = int(os.environ.get("LOOM_E2E_SEED") or random.randrange(1 << 32))
        upheaval = Upheaval(self.directory(), seed, large=self.stream_above, in_place=self.in_place)
        self.note(f"LOOM_E2E_SEED={seed}")
        self.targets = targets()
        self.over = threading.Event()
        self.of_tag, self.tag_of, self.version_of, self.bodies, self.tags = {}, {}, {}, {}, {}
        # What is gone is gone at once, so that the tree and what is served can be compared; nor has the gate a say.
        wanted = (f"--settle={SETTLE * 1000:.0f}ms", "--settle-max=300ms", "--gate=none", "--keep-generations=0",
                  "--max-memory=2G", "-v", *self.more)
        there = options_of_binary()
        self.server = self.start(*(one for one in wanted if one.split("=")[0] in there | {"-v"}), root=upheaval.root)
        if self.stream_above:
            self.server.streams_from = upheaval.base + "/"
            self.server.baseline = self.server.descriptors()
        upheaval.start(SECONDS, self.server.pid, BURST)
        clients = [Client(self, f"{seed}.{at}") for at in range(3)]
        clients += [Client(self, f"{seed}.slow.{at}", rcvbuf=16 << 10) for at in range(self.slow_clients)]
        for client in clients:
            client.start()
        try:
            upheaval.finish(SECONDS * 10 + 120)
            since = time.monotonic()
            self.converge(upheaval)
            took = time.monotonic() - since
            self.no_false_304()
            # With one build in all that time they have seen the beginning, and have yet to see the end.
            wait_for(lambda: seen(clients) > len(self.targets) or any(client.error for client in clients),
                     "clients to see more than the beginning")
        finally:
            self.over.set()
            for client in clients:
                client.join(120)
            type(self).server = None  # of this test, and not shared: Case.run() ends it
        if self.stream_above:
            large = sum(len(body) > self.stream_above for body in upheaval.on_disk().values())
            # A thread of the lowest priority may have one open still, on a busy machine for long.
            wait_for(lambda: self.server.streamed() <= large + 4, "no more files to be open than are streamed")
        self.verdict(upheaval, clients, took)

    def converge(self, upheaval):
        """In the end the tree is served as it lies on the disk, and nothing else is."""
        # A build is niced: where clients, and who else is on the machine, take all of it, one gets a fiftieth of a processor.
        self.pause = 0.02
        disk = upheaval.on_disk()
        differs = []

        def same():
            differs.clear()
            with self.server.client() as client:
                for target in sorted({*disk, *self.targets, "/swap/.part-0.bin", "/burst/many/0/0.bin"}):
                    try:
                        response = client.ask(target)
                    except Ended:  # streamed, and of a snapshot that is older than the file
                        differs.append(target)
                        break
                    if response.body != disk[target] if target in disk else response.status != 404:
                        differs.append(target)
                        break
            return not differs

        try:
            wait_for(same, "the tree that is served to be the one on the disk", bound=self.patience, step=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}; first difference: {differs}") from None

    def no_false_304(self):
        """Of all the ETags that a name ever had, one is left that gets a 304."""
        with self.server.client() as client:
            for target, tags in list(self.tags.items()):
                now = client.ask(target)
                for tag in list(tags) if now.status == 200 else ():
                    status = client.ask(target, f"If-None-Match: {tag}").status
                    self.assertEqual(status, 304 if tag == now["etag"] else 200, f"{target}, If-None-Match: {tag}")

    def verdict(self, upheaval, clients, took):
        for client in clients:
            if client.error:
                raise AssertionError(repr(client.error)) from client.error
            self.assertFalse(client.is_alive(), "a client did not end")
        torn, early, rested = [], [], 0
        for target, body in [suspect for client in clients for suspect in client.suspects]:
            rest = upheaval.rested(target, body)
            line = f"{target}: {len(body)} bytes, {body[:40]!r}..."
            if not rest:
                torn.append(line)
            elif rest + CLOCK < SETTLE:
                early.append(f"{line} {rest * 1000:.1f} ms")
            else:
                rested += 1
        total = {name: sum(getattr(client, name) for client in clients)
                 for name in ("answers", "not_modified", "ranges", "absent", "cut", "mixed_cuts")}
        versions = seen(clients)

        def count_reloads():
            return len(re.findall("reloaded: snapshot", self.server.log()))

        # The line is written when the snapshot is live already.
        wait_for(lambda: count_reloads() >= self.reloads_min, f"{self.reloads_min} reloads to be told")
        reloads = count_reloads()
        self.note(f"{versions} of {upheaval.version} versions seen, {reloads} reloads, "
                  + ", ".join(f"{count} {name}" for name, count in total.items() if count)
                  + f"; half-written states that rested and were served: {rested}; equal to the disk after "
                  f"{took:.2f} s (settling is {SETTLE:g} s); writers: {upheaval.counts}")
        for what, found in (("that no file ever held", torn),
                            ("of files that were being written and had not rested", early)):
            if found:
                self.fail(f"{len(found)} bodies {what}, {len(set(found))} of them different\n"
                          + "".join(f"{line}\n" for line in sorted(set(found))[:10]))
        # It was torture, and not a walk in the park.
        self.assertGreater(total["answers"], 100)
        self.assertGreater(versions, len(self.targets))
        for kind in ("burst", "overflow", "release"):
            self.assertGreater(upheaval.counts[kind], 0)


class Streamed(Torture):
    """Files above 64 KiB are streamed, and replaced as they should be: by rename. Every body is whole all the same."""
    more = ("--stream-above=64K",)
    stream_above = 64 << 10
    in_place = False
    slow_clients = 2


class StreamedInPlace(Torture):
    """Streamed files that are changed under a response: it may end early, and is never a mixture that looks whole."""
    more = ("--stream-above=64K",)
    stream_above = 64 << 10
    slow_clients = 2


class Polled(Torture):
    """Without inotify: the tree is looked at every few seconds, and when it is asked for."""
    reloads_min = 1
    patience = 600  # what a look takes on a busy machine, twenty times over, is the pause until the next one
    more = ("--stream-above=off", "--watch=poll")
