"""Files that are sent as they lie on the disk, and not from memory: for a client it makes no difference, until one is
written to under its download."""
import gzip
import os
import re
import signal
import stat
import threading
import unittest

import test_http
from case import Case, noise, write
from client import Client, Ended, Malformed, request
from server import LONG, VALGRIND, sanitized, wait_for

PARALLEL = 100 if VALGRIND else 1000 if LONG else 400
STALE = re.compile(r"(\d+) responses ended unfinished: a streamed file was changed in place")


def streamed_files(server):
    """Descriptors of regular files that the server holds, its standard error aside."""
    count = 0
    for name in os.listdir(f"/proc/{server.pid}/fd"):
        try:
            if os.readlink(f"/proc/{server.pid}/fd/{name}").startswith("/proc/"):
                continue  # the watch's: /proc/PID/mountinfo
            if name != "2" and stat.S_ISREG(os.stat(f"/proc/{server.pid}/fd/{name}").st_mode):
                count += 1
        except FileNotFoundError:
            pass
    return count


def parts_of(response):
    """A multipart/byteranges body as [(Content-Range, bytes)], read strictly."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=([\w-]+)", response["content-type"])[1].encode()
    rest, parts = response.body, []
    while True:
        if rest == b"--" + boundary + b"--\r\n":
            return parts
        head, _, rest = rest.partition(b"\r\n\r\n")
        match = re.fullmatch(b"--" + boundary + rb"\r\nContent-Type: [^\r]*\r\nContent-Range: (bytes (\d+)-(\d+)/\d+)", head)
        size = int(match[3]) - int(match[2]) + 1
        if rest[size:size + 2] != b"\r\n":
            raise Malformed("a part is not as long as it says")
        parts.append((match[1].decode(), rest[:size]))
        rest = rest[size + 2:]


class Streamed(Case):
    """Every file, however small."""
    shared = True
    arguments = ("--stream-above=0", "--settle=20ms", "--keep-generations=0")
    cost = 4

    @classmethod
    def plant(cls, root):
        cls.files = {
            "index.html": b"<!doctype html><title>home</title>",
            "small.txt": b"small",
            "one.bin": b"1",
            "style.css": b"body { color: black }\n" * 500,
            "mid.bin": noise("mid", 100000),
            "page.bin": noise("page", 4096 * 16),
            "big.bin": noise("big", (16 << 20) + 7),
        }
        for name, data in cls.files.items():
            write(root, name, data)
        write(root, "empty.txt", b"")

    def setUp(self):
        wait_for(lambda: streamed_files(self.server) == len(self.files), "the files alone to be held open")

    def target(self, name):
        return "/" if name == "index.html" else "/" + name

    def test_whole(self):
        with self.server.client() as client:
            for name, data in self.files.items():
                for fields in ((), ("Accept-Encoding: gzip, br, zstd",)):
                    got = client.ask(self.target(name), *fields)
                    self.assertEqual(got.status, 200)
                    self.assertTrue(got.body == data, name)
                    self.assertIsNone(got["content-encoding"])
                    self.assertEqual(got["accept-ranges"], "bytes")
                    head = client.ask(self.target(name), *fields, method="HEAD")
                    self.assertEqual(head.stable_head(), got.stable_head())
            self.assertEqual(client.ask("/empty.txt").body, b"")
            self.kept(client)

    def test_single_ranges(self):
        with self.server.client() as client:
            for name, data in self.files.items():
                size = len(data)
                for text, first, last in [("0-0", 0, 0), (f"{size - 1}-", size - 1, size - 1), ("-1", size - 1, size - 1),
                                          ("0-", 0, size - 1), (f"-{size + 5}", 0, size - 1),
                                          (f"{size // 2}-{size + 9}", size // 2, size - 1),
                                          (f"{size // 3}-{size // 3 * 2}", size // 3, size // 3 * 2)]:
                    if first > last or last >= size:
                        continue
                    got = client.ask(self.target(name), f"Range: bytes={text}")
                    self.assertEqual(got.status, 206)
                    self.assertEqual(got["content-range"], f"bytes {first}-{last}/{size}")
                    self.assertTrue(got.body == data[first:last + 1], f"{name} {text}")
                got = client.ask(self.target(name), f"Range: bytes={size}-")
                self.assertEqual((got.status, got["content-range"]), (416, f"bytes */{size}"))
            self.kept(client)

    def test_many_ranges(self):
        with self.server.client() as client:
            for name in ("mid.bin", "big.bin", "page.bin"):
                data = self.files[name]
                size = len(data)
                asked = [(0, 0), (5000, 9999), (20000, 20000), (size - 10000, size - 500), (100, 300), (size - 1, size - 1)]
                got = client.ask("/" + name, "Range: bytes=" + ",".join(f"{first}-{last}" for first, last in asked))
                self.assertEqual(got.status, 206)
                self.assertEqual([one for one, _ in parts_of(got)], [f"bytes {a}-{b}/{size}" for a, b in asked])
                self.assertTrue([body for _, body in parts_of(got)] == [data[a:b + 1] for a, b in asked])
                asked = [(at * (size // 16), at * (size // 16) + size // 32) for at in range(16)]
                got = client.ask("/" + name, "Range: bytes=" + ",".join(f"{first}-{last}" for first, last in asked))
                self.assertTrue([body for _, body in parts_of(got)] == [data[a:b + 1] for a, b in asked])
            self.kept(client)

    def test_if_range_and_conditions(self):
        data = self.files["mid.bin"]
        with self.server.client() as client:
            first = client.ask("/mid.bin", method="HEAD")
            tag, date = first["etag"], first["last-modified"]
            for field, status in [(f"If-Range: {tag}", 206), (f"If-Range: {date}", 206), ('If-Range: "x"', 200)]:
                got = client.ask("/mid.bin", field, "Range: bytes=70000-")
                self.assertEqual(got.status, status)
                self.assertTrue(got.body == (data[70000:] if status == 206 else data))
            for field, status in [(f"If-None-Match: {tag}", 304), (f"If-Modified-Since: {date}", 304),
                                  ('If-Match: "x"', 412), (f"If-Match: {tag}", 200)]:
                got = client.ask("/mid.bin", field)
                self.assertEqual(got.status, status)
                self.assertTrue(status != 200 or got.body == data)
            self.kept(client)

    def test_pipelined(self):
        asked = [(("GET", "HEAD")[at % 5 == 3], name) for at in range(6) for name in self.files if at < 2 or name != "big.bin"]
        asked += [("GET", "nothing")] + asked[::-1]
        with self.server.client() as client:
            sender = threading.Thread(target=client.send, daemon=True, args=(
                b"".join(request(self.target(name), method=method) for method, name in asked),))
            sender.start()
            for method, name in asked:
                got = client.response(method)
                self.assertEqual(got.status, 404 if name == "nothing" else 200)
                if method == "GET" and name != "nothing":
                    self.assertTrue(got.body == self.files[name], name)
            sender.join()
            self.kept(client)

    def test_the_last_answer(self):
        data = self.files["big.bin"]
        for more in ({"version": "HTTP/1.0"}, {"fields": ("Connection: close",)},
                     {"fields": ("Connection: close", "Range: bytes=9-")},):
            with self.server.client() as client:
                client.send(request("/big.bin", *more.get("fields", ()), version=more.get("version", "HTTP/1.1")))
                got = client.response()
                self.assertTrue(got.closes)
                self.assertTrue(got.body == (data if got.status == 200 else data[9:]))
                client.expect_end()
        with self.server.client() as client:  # no more requests will come, and this one is answered
            client.send(request("/big.bin") + request("/small.txt"))
            client.finish()
            self.assertTrue(client.response().body == data)
            self.assertEqual(client.response().body, b"small")
            client.expect_end()

    def test_slow_readers_and_those_who_leave(self):
        data = self.files["big.bin"]
        with self.server.client(rcvbuf=4 << 10) as slow:
            slow.send(request("/big.bin"))
            for at in range(60):
                with self.server.client(rcvbuf=16 << 10) as client:
                    client.send(request("/big.bin", *(["Range: bytes=5-5000000,6000000-"] if at % 3 == 0 else [])))
                    client.read_head()
                    client.read_body(at * 1000)
                    if at % 2:
                        client.reset()
            self.assertTrue(slow.response().body == data)
            self.kept(slow)

    def test_many_at_a_time(self):
        data, page = self.files["mid.bin"], self.files["page.bin"]
        clients = [self.server.client(rcvbuf=8 << 10) for _ in range(PARALLEL)]
        for client in clients:
            client.send(request("/mid.bin") + request("/page.bin", "Range: bytes=1-50000,60000-"))
        for client in clients:
            self.assertTrue(client.response().body == data)
            self.assertTrue([body for _, body in parts_of(client.response())] == [page[1:50001], page[60000:]])
            client.close()

    def test_draining_lets_them_end(self):
        server = self.start("--stream-above=0", "--grace=1h", "--send-timeout=1h")
        with server.client(rcvbuf=16 << 10) as client, server.client(rcvbuf=16 << 10) as ranges:
            client.send(request("/big.bin"))
            ranges.send(request("/big.bin", "Range: bytes=0-8000000,9000000-9000000,10000000-"))
            client.read_head()
            head = ranges.read_head()
            server.signal(signal.SIGTERM)
            wait_for(lambda: "draining" in server.log(), "the drain to begin")
            self.assertTrue(client.read_body(len(self.files["big.bin"])) == self.files["big.bin"])
            client.expect_end()
            ranges.read_body(int(re.search(rb"Content-Length: (\d+)", head)[1]))
            ranges.expect_end()
        server.wait_exit()

    def test_who_does_not_read_is_given_up(self):
        server = self.start("--stream-above=0", "--send-timeout=1s")
        server.rebase()
        with server.client(rcvbuf=4 << 10) as client:
            client.send(request("/big.bin"))
            client.read_head()
            wait_for(lambda: server.descriptors() <= server.baseline, "the connection to be given up")
            with self.assertRaises(Ended):
                client.read_body(len(self.files["big.bin"]))


class Mixed(Case):
    """Small files in memory, with their variants, and larger ones streamed."""
    matrix = "backends"
    shared = True
    arguments = ("--stream-above=64K",)

    @classmethod
    def plant(cls, root):
        cls.small = b"body { color: black }\n" * 500
        cls.large = b"body { color: white }\n" * 5000
        write(root, "small.css", cls.small)
        write(root, "large.css", cls.large)
        write(root, "limit.bin", noise("limit", 64 << 10))
        write(root, "above.bin", noise("above", (64 << 10) + 1))

    def test_codings(self):
        wait_for(lambda: self.server.get("/small.css", "Accept-Encoding: gzip")["content-encoding"] == "gzip",
                 "the variant", bound=120, step=0.05)
        with self.server.client() as client:
            for _ in range(3):
                client.send(request("/small.css", "Accept-Encoding: gzip") + request("/large.css", "Accept-Encoding: gzip")
                            + request("/small.css") + request("/above.bin") + request("/limit.bin"))
                self.assertEqual(gzip.decompress(client.response().body), self.small)
                large = client.response()
                self.assertIsNone(large["content-encoding"])
                self.assertTrue(large.body == self.large)
                self.assertEqual(client.response().body, self.small)
                self.assertTrue(client.response().body == noise("above", (64 << 10) + 1))
                self.assertTrue(client.response().body == noise("limit", 64 << 10))
            got = client.ask("/large.css", "Accept-Encoding: identity;q=0, gzip")
            self.assertEqual(got.status, 406)
            self.kept(client, "/small.css")
        self.assertEqual(streamed_files(self.server), 2)


class Changed(Case):
    """What becomes of a download when its file changes."""
    matrix = "backends"
    cost = 3
    size = (24 << 20) + 11

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")

    def serve(self, *arguments):
        root = self.directory()
        write(root, "index.html", b"home")
        write(root, "big.bin", noise("old", self.size))
        server = self.start("--stream-above=64K", "--settle=20ms", "--keep-generations=0", *arguments, root=root)
        wait_for(lambda: streamed_files(server) == 1, "one file to be held open")
        return root, server

    def begin(self, server, *fields):
        """A download of which most is still to come."""
        client = server.client(rcvbuf=16 << 10)
        client.send(request("/big.bin", *fields))
        head = client.read_head()
        client.length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        client.first = client.read_body(1000)
        return client

    def truncated(self, client):
        with self.assertRaises(Ended) as caught:
            client.read_body(client.length - 1000)
        self.assertFalse(caught.exception.at_boundary)

    def in_place(self, change, *fields):
        root, server = self.serve()
        client = self.begin(server, *fields)
        with open(os.path.join(root, "big.bin"), "r+b") as file:
            change(file)
        self.truncated(client)
        wait_for(lambda: STALE.search(server.log()), "the server to say that a file was changed in place")
        with open(os.path.join(root, "big.bin"), "rb") as file:
            now = file.read()
        wait_for(lambda: server.get("/big.bin", method="HEAD")["content-length"] == str(len(now)), "the new content")
        wait_for(lambda: self.download(server) == now, "the new content")
        self.assertEqual(server.get("/").body, b"home")

    def download(self, server):
        """The body, or None when the file had not been read again yet."""
        try:
            return server.get("/big.bin").body
        except Ended:
            return None

    def test_overwritten(self):
        self.in_place(lambda file: file.write(noise("new", 5000)))

    def test_overwritten_at_its_end(self):
        self.in_place(lambda file: (file.seek(-1, os.SEEK_END), file.write(b"!")))

    def test_truncated(self):
        self.in_place(lambda file: file.truncate(70000))

    def test_appended(self):
        self.in_place(lambda file: (file.seek(0, os.SEEK_END), file.write(b"more")))

    def test_overwritten_under_several_ranges(self):
        self.in_place(lambda file: file.write(b"new"), f"Range: bytes=0-9000000,9500000-9500000,10000000-{self.size - 5}")

    def test_replaced_by_rename(self):
        root, server = self.serve()
        client = self.begin(server)
        new = noise("new", 1 << 20)
        write(root, "big.bin", new)
        wait_for(lambda: server.get("/big.bin").body == new, "the new content")
        self.assertTrue(client.first + client.read_body(client.length - 1000) == noise("old", self.size))
        self.kept(client)
        client.close()
        wait_for(lambda: streamed_files(server) == 1, "the old file to be closed")
        self.assertIsNone(STALE.search(server.log()))

    def test_deleted(self):
        root, server = self.serve()
        client, ranges = self.begin(server), self.begin(server, "Range: bytes=0-9000000,10000000-")
        os.unlink(os.path.join(root, "big.bin"))
        wait_for(lambda: server.get("/big.bin").status == 404, "it to go")
        self.assertTrue(client.first + client.read_body(client.length - 1000) == noise("old", self.size))
        ranges.read_body(ranges.length - 1000)
        self.kept(client)
        self.kept(ranges)
        client.close()
        ranges.close()
        wait_for(lambda: streamed_files(server) == 0, "the old file to be closed")

    def test_descriptors_come_back(self):
        root, server = self.serve()
        for turn in range(20 if LONG else 6):
            with self.begin(server):  # leaves in the middle
                new = noise(turn, 100000 + turn)
                write(root, "big.bin", new)
                write(root, f"{turn % 3}.bin", new)
                wait_for(lambda: server.get("/big.bin").body == new, "the new content")  # noqa: B023
                write(root, "big.bin", noise("old", self.size))
                wait_for(lambda: server.get("/big.bin", method="HEAD")["content-length"] == str(self.size), "the old one")
        wait_for(lambda: streamed_files(server) == 4, "as many open files as are streamed")
        for turn in range(3):
            os.unlink(os.path.join(root, f"{turn}.bin"))
        wait_for(lambda: streamed_files(server) == 1, "as many open files as are streamed")
        wait_for(lambda: server.descriptors() <= server.baseline, "the descriptors of the beginning")


class Tables(test_http.Http):
    """The tables of test_http.py over streamed files: what they say of variants aside, since there are none."""
    matrix = "backends"
    arguments = ("--stream-above=64",)  # pages of errors are held in memory

    def setUp(self):
        super().setUp()
        if sanitized():
            raise unittest.SkipTest("test_http.py runs the same tables under the sanitizers")

    def settle(self, server):
        return ""

    def applies(self, row):
        text = " ".join(text for _, text in row.sent)
        return not (re.search("accept-encoding", text, re.I) or re.search("gzip|br|zstd|vary", row.name)
                    or any(name.lower() in ("vary", "content-encoding") for one in row.expected for name, _, _ in one.fields))
