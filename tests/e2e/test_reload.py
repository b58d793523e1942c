"""The tree changes while it is served: no failed request, no torn body, and in the end the new tree is seen."""
import os
import random
import re
import shutil
import signal
import time
import unittest

from case import Case, Hammer, is_whole, noise, stamped, write
from client import Malformed, request
from server import LONG, VALGRIND, sanitized, wait_for

ROUNDS = 200 if LONG else 10 if VALGRIND else 40


class Watching(Case):
    """With inotify, and a settle time that makes for many reloads."""
    shared = True
    arguments = ("--settle=20ms",)
    cost = 6

    @classmethod
    def plant(cls, root):
        for at in range(40):
            write(root, f"f/{at}.bin", stamped(at, 200 + at * at * 40))
        write(root, "index.html", b"home")
        write(root, "keep.txt", b"never changed")

    def sees(self, target, check, what):
        """Polls until an answer is as it should be."""
        return wait_for(lambda: check(self.server.get(target)), what, step=0.02)

    def sees_body(self, target, body):
        self.sees(target, lambda response: response.status == 200 and response.body == body, f"new content of {target}")

    def test_rewritten_under_load(self):
        of_tag = {}

        def check(target, response):
            if response.status != 200:
                raise Malformed(f"{target}: {response.status}")
            if target == "/keep.txt":
                if response.body != b"never changed":
                    raise Malformed("another file's content")
                return
            if not is_whole(response.body):
                raise Malformed(f"{target}: a torn body of {len(response.body)} bytes")
            if of_tag.setdefault(response["etag"], response.body) != response.body:
                raise Malformed(f"{target}: one ETag, two contents")

        targets = [f"/f/{at}.bin" for at in range(40)] + ["/keep.txt"]
        before = self.server.log().count("\n")
        hammer = Hammer(self.server, targets, check, threads=3)
        choice = random.Random(7)
        try:
            for turn in range(ROUNDS):
                for at in choice.sample(range(40), 8):
                    write(self.root, f"f/{at}.bin", stamped((turn, at).__repr__(), choice.choice((70, 3000, 70000))))
                time.sleep(0.03)
            wait_for(lambda: hammer.answers > 100 or hammer.errors, "some load")
            last = stamped("last", 5000)
            write(self.root, "f/0.bin", last)
            self.sees_body("/f/0.bin", last)
        finally:
            hammer.stop()
        for at in range(40):
            with open(os.path.join(self.root, f"f/{at}.bin"), "rb") as file:
                self.assertEqual(self.server.get(f"/f/{at}.bin").body, file.read())
        wait_for(lambda: self.server.log().count("\n") > before, "a reload to be told")  # which is after it is live

    def test_written_in_place(self):
        """Editors that truncate and write: what is served is a whole state, in the end the last."""
        path = os.path.join(self.root, "place.txt")
        for turn in range(5):
            with open(path, "wb") as file:
                file.write(b"%d" % turn * 5000)
                file.flush()
                time.sleep(0.01)
                file.write(b"%d" % turn * 5000)
            self.sees_body("/place.txt", b"%d" % turn * 10000)

    def test_created_renamed_deleted(self):
        write(self.root, "new.txt", b"new")
        self.sees_body("/new.txt", b"new")
        os.rename(os.path.join(self.root, "new.txt"), os.path.join(self.root, "renamed.txt"))
        self.sees("/new.txt", lambda response: response.status == 404, "the old name to go")
        self.sees_body("/renamed.txt", b"new")
        os.unlink(os.path.join(self.root, "renamed.txt"))
        self.sees("/renamed.txt", lambda response: response.status == 404, "the deleted file to go")

    def test_new_directories(self):
        for turn in range(5):
            for depth in range(4):
                write(self.root, f"made{turn}/" + "d/" * depth + "x.txt", b"%d" % depth)
            write(self.root, f"made{turn}/index.html", b"index")
            for depth in range(4):
                self.sees_body(f"/made{turn}/" + "d/" * depth + "x.txt", b"%d" % depth)
            self.sees(f"/made{turn}", lambda response: response.status == 301, "the redirect to the new index")
            # and what happens in them later is seen as well
            write(self.root, f"made{turn}/d/d/later.txt", b"later")
            self.sees_body(f"/made{turn}/d/d/later.txt", b"later")
        os.rename(os.path.join(self.root, "made0"), os.path.join(self.root, "moved"))
        self.sees_body("/moved/d/x.txt", b"1")
        write(self.root, "moved/d/x.txt", b"changed")
        self.sees_body("/moved/d/x.txt", b"changed")
        self.sees("/made0/d/x.txt", lambda response: response.status == 404, "the old name to go")
        for name in ("moved", "made1", "made2", "made3", "made4"):
            shutil.rmtree(os.path.join(self.root, name))
        self.sees("/made4/", lambda response: response.status == 404, "the deleted directory to go")

    def test_an_answer_in_flight_keeps_its_content(self):
        first, second = noise("first", 16 << 20), noise("second", 1 << 20)
        write(self.root, "flight.bin", first)
        self.sees_body("/flight.bin", first)
        with self.server.client(rcvbuf=64 << 10) as client:
            client.send(request("/flight.bin"))
            head = client.read_head()
            write(self.root, "flight.bin", second)
            self.sees_body("/flight.bin", second)
            os.unlink(os.path.join(self.root, "flight.bin"))
            self.sees("/flight.bin", lambda response: response.status == 404, "it to go")
            self.assertIn(b"Content-Length: %d" % len(first), head)
            self.assertTrue(client.read_body(len(first)) == first)
            self.kept(client)

    def test_a_304_only_for_what_is_there_now(self):
        write(self.root, "tag.txt", b"one")
        self.sees_body("/tag.txt", b"one")
        tag = self.server.get("/tag.txt")["etag"]
        self.assertEqual(self.server.get("/tag.txt", f"If-None-Match: {tag}").status, 304)
        write(self.root, "tag.txt", b"two")
        self.sees("/tag.txt", lambda response: response.body == b"two", "the new content")
        self.assertEqual(self.server.get("/tag.txt", f"If-None-Match: {tag}").status, 200)


class SnapshotHeader(Case):
    """--snapshot-header: each answer says which snapshot it is of."""

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "dir/index.html", b"dir")
        write(root, "large.bin", noise("large", 100000))

    def test_every_answer_says_it(self):
        server = self.start("--snapshot-header", "--settle=20ms")
        ident = re.search(r"snapshot ([\w-]{22}),", server.log())[1]
        tag = server.get("/")["etag"]
        asked = [("/", (), 200), ("/large.bin", (), 200), ("/dir", (), 301), ("/nothing", (), 404), ("/%00", (), 400),
                 ("/large.bin", ("Range: bytes=5-",), 206), ("/large.bin", ("Range: bytes=5-9,5000-50000",), 206),
                 ("/large.bin", ("Range: bytes=100000-",), 416), ("/", (f"If-None-Match: {tag}",), 304),
                 ("/", ('If-Match: "x"',), 412), ("/", ("Connection: close",), 200)]
        with server.client() as client:
            for method in ("GET", "HEAD", "OPTIONS"):
                client.send(b"".join(request(target, *fields, method=method) for target, fields, _ in asked[:-1]))
                for target, fields, status in asked[:-1]:
                    response = client.response(method)
                    self.assertEqual(response["loom-snapshot"], ident, (method, target, fields))
                    if method == "GET":
                        self.assertEqual(response.status, status)
                        self.assertTrue(target != "/large.bin" or status != 200 or len(response.body) == 100000)
            self.assertEqual(client.ask(asked[-1][0], *asked[-1][1])["loom-snapshot"], ident)
            client.expect_end()
        for bad in (b"GET / HTTP/1.1\r\n\r\n", b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
            self.assertEqual(self.refused(bad, (400, 501), server=server)["loom-snapshot"], ident)

        with server.client() as client:
            self.assertEqual(client.ask("/")["loom-snapshot"], ident)
            write(self.root, "new.txt", b"new")
            wait_for(lambda: client.ask("/new.txt").status == 200, "the new snapshot", step=0.02)
            later = client.ask("/")["loom-snapshot"]
            self.assertNotEqual(later, ident)
            # the line comes after the snapshot
            wait_for(lambda: f"snapshot {later}" in server.log(), "the line of the new snapshot")

    def test_nobody_says_it_unasked(self):
        server = self.start()
        for target in ("/", "/nothing"):
            self.assertIsNone(server.get(target)["loom-snapshot"])


class Rebuilds(Case):
    """Reloads that are asked for, that fail, and that do not fit."""
    matrix = "backends"  # no worker has a part in it
    cost = 3

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")

    def tree(self):
        """A root within a directory, so that it can be moved away."""
        root = os.path.join(self.directory(), "root")
        write(root, "index.html", b"one")
        return root

    def sees(self, server, body, target="/"):
        wait_for(lambda: server.get(target).body == body, f"{body!r} at {target}", step=0.02)

    def test_without_watching_only_sighup_rebuilds(self):
        root = self.tree()
        server = self.start("--watch=off", root=root)
        for turn in range(5):
            body = b"turn %d" % turn
            write(root, "index.html", body)
            time.sleep(0.1)
            self.assertNotEqual(server.get("/").body, body)
            server.signal(signal.SIGHUP)
            self.sees(server, body)

    def test_sighup_rebuilds_while_watching(self):
        root = self.tree()
        server = self.start("--settle=1h", root=root)
        write(root, "index.html", b"two")
        server.signal(signal.SIGHUP)
        self.sees(server, b"two")

    def test_storms_of_sighup(self):
        root = self.tree()
        server = self.start("--settle=10ms", root=root)
        hammer = Hammer(server, ["/"], lambda target, response: self.assertEqual(response.status, 200), threads=2)
        try:
            for turn in range(200):
                server.signal(signal.SIGHUP)
                if turn % 20 == 0:
                    write(root, "index.html", b"turn %d" % turn)
                time.sleep(0.002)
        finally:
            hammer.stop()
        self.sees(server, b"turn 180")

    def test_a_root_that_vanishes_goes_on_being_served(self):
        for arguments in (("--watch=off",), ("--settle=20ms",)):
            root = self.tree()
            server = self.start(*arguments, root=root)
            lines = server.log().count("\n")
            os.rename(root, root + ".away")
            server.signal(signal.SIGHUP)
            wait_for(lambda: server.log().count("\n") > lines, "a line that says that the build has failed")
            self.assertEqual(server.get("/").body, b"one")
            os.rename(root + ".away", root)
            write(root, "index.html", b"back")
            server.signal(signal.SIGHUP)
            self.sees(server, b"back")

    def test_a_switched_symlink(self):
        base = self.directory()
        for release in range(4):
            write(base, f"releases/{release}/index.html", b"release %d" % release)
        current = os.path.join(base, "current")
        os.symlink("releases/0", current)
        server = self.start("--settle=20ms", root=current)
        for release in range(1, 4):
            os.symlink(f"releases/{release}", current + ".new")
            os.rename(current + ".new", current)
            self.sees(server, b"release %d" % release)

    def test_a_tree_that_has_grown_too_large(self):
        root = self.tree()
        write(root, "some.bin", noise(1, 1 << 20))
        server = self.start("--max-memory=8M", "--stream-above=off", "--settle=20ms", root=root)
        lines = server.log().count("\n")
        write(root, "index.html", b"two")
        write(root, "huge.bin", noise(2, 16 << 20))
        wait_for(lambda: server.log().count("\n") > lines, "a line that says that it does not fit")
        self.assertTrue(server.get("/some.bin").body == noise(1, 1 << 20))
        self.assertEqual(server.get("/huge.bin").status, 404)
        os.unlink(os.path.join(root, "huge.bin"))
        self.sees(server, b"two")

    def test_what_does_not_fit_is_streamed(self):
        root = self.tree()
        write(root, "some.bin", noise(1, 1 << 20))
        # A generation that is kept holds its files open.
        server = self.start("--max-memory=8M", "--settle=20ms", "--keep-generations=0", root=root)
        write(root, "huge.bin", noise(2, 16 << 20))
        wait_for(lambda: self.length(server, "/huge.bin") == 16 << 20, "the huge file")
        self.assertTrue(server.get("/some.bin").body == noise(1, 1 << 20))
        self.assertLess(server.resident(), 64 << 20)
        os.unlink(os.path.join(root, "huge.bin"))
        wait_for(lambda: self.length(server, "/huge.bin") is None, "its end, and that of its descriptor")

    def length(self, server, target):
        """Of its content, by HEAD; None when it is not there."""
        with server.client() as client:
            client.send(request(target, method="HEAD"))
            response = client.response(method="HEAD")
            return int(response["content-length"]) if response.status == 200 else None

    def test_memory_comes_back(self):
        if not LONG or sanitized():
            raise unittest.SkipTest("the long variant (LOOM_E2E_LONG=1), without sanitizers, measures memory")
        root = self.tree()
        for at in range(500):
            write(root, f"d{at % 20}/{at}.bin", stamped(at, 20000))
        server = self.start("--settle=5ms", root=root)
        hammer = Hammer(server, [f"/d{at % 20}/{at}.bin" for at in range(500)],
                        lambda target, response: self.assertTrue(is_whole(response.body)))
        try:
            def turn(number):
                for at in random.Random(number).sample(range(500), 50):
                    write(root, f"d{at % 20}/{at}.bin", stamped(number * 1000 + at, 20000))
                write(root, "index.html", b"turn %d" % number)
                self.sees(server, b"turn %d" % number)

            for number in range(20):
                turn(number)
            before = server.resident()
            for number in range(20, 220):
                turn(number)
            after = server.resident()
        finally:
            hammer.stop()
        self.assertLess(after, before * 1.3 + (8 << 20), f"resident memory after 200 reloads; {before} before")
