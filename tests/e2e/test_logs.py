"""The access log: every field of both formats, true of every answer; rotation, full disks, stalled readers, syslog; and
where the error log goes."""
import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import sys
import termios
import time
from datetime import datetime, timezone

from case import Case, Hammer, noise, write
from client import Ended, request
from server import BOUND, libc, run, wait_for

PAGE = b"<p>A page that compresses. A page that compresses. A page that compresses.</p>\n" * 30
COMBINED = re.compile(r'(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "((?:[^"\\]|\\.)*)" (\d{3}) '
                      r'(-|[1-9]\d*) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"')
MEMBERS = ["time", "client", "method", "target", "protocol", "status", "bytes", "referer", "user_agent", "duration_us",
           "coding", "snapshot", "complete"]

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x00020000, 0x10000000, 0x4000, 1 << 18


def lines_of(path, whole=False):
    """The whole lines of a log. whole: nobody writes to it any more, and so there is no other. A write(2) that crosses a page may
    be seen by half while it is under way."""
    with open(path, "rb") as file:
        data = file.read()
    end = data.rfind(b"\n") + 1
    assert end == len(data) or not whole, f"{path} ends with half a line: {data[end:]!r}"
    data = data[:end]
    return data.decode("ascii" if not data.startswith(b"{") else "utf-8").splitlines()


def wait_lines(path, count):
    """So many lines, and no more."""
    wait_for(lambda: os.path.exists(path) and len(lines_of(path)) >= count, f"{count} lines in the log")
    lines = lines_of(path)
    assert len(lines) == count, f"{len(lines)} lines instead of {count}: {lines[-3:]}"
    return lines


def records_of(lines):
    """JSON lines as objects; each has all members, in order, and no other but what says that something was cut."""
    records = [json.loads(line) for line in lines]
    for record in records:
        names = [name for name in record if name != "truncated"]
        assert names == MEMBERS, names
    return records


class LogCase(Case):
    matrix = "backends"

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"<!doctype html><title>home</title>")
        write(root, "page.html", PAGE)
        write(root, "data.bin", noise(1, 5000))
        write(root, "big.bin", noise(2, 6 << 20))

    def begin(self, *arguments, **more):
        self.path = os.path.join(self.directory(), "access.log")
        return self.start(f"--access-log={self.path}", *arguments, **more)

    def records(self, count):
        return records_of(wait_lines(self.path, count))


class Fields(LogCase):
    def ask_everything(self, server):
        """Requests of every kind, one after another: what the log must say of each."""
        expected = []

        def expect(response, method, target, protocol="HTTP/1.1", referer=None, agent=None, coding="identity"):
            expected.append({"client": "127.0.0.1", "method": method, "target": target, "protocol": protocol,
                             "status": response.status, "bytes": len(response.body), "referer": referer,
                             "user_agent": agent, "coding": coding, "complete": True})

        with server.client() as client:
            expect(client.ask("/", "Referer: http://a/b?c", "User-Agent: Mozilla/5.0 (X11)"), "GET", "/",
                   referer="http://a/b?c", agent="Mozilla/5.0 (X11)")
            expect(client.ask("/data.bin?x=1%20y", "user-agent:", "REFERER:  spaced "), "GET", "/data.bin?x=1%20y",
                   referer="spaced", agent="")
            expect(client.ask("/", "User-Agent: one", "User-Agent: two"), "GET", "/", agent="one")
            expect(client.ask("/page.html", "Accept-Encoding: gzip"), "GET", "/page.html", coding="gzip")
            expect(client.ask("/page.html", "Accept-Encoding: br"), "GET", "/page.html", coding="br")
            expect(client.ask("/page.html", "Accept-Encoding: gzip", method="HEAD"), "HEAD", "/page.html",
                   coding="gzip")
            expect(client.ask("/", "If-None-Match: *"), "GET", "/")
            expect(client.ask("/data.bin", "Range: bytes=10-19"), "GET", "/data.bin")
            expect(client.ask("/data.bin", "Range: bytes=0-9,2000-2009"), "GET", "/data.bin")
            expect(client.ask("/data.bin", "Range: bytes=9999-"), "GET", "/data.bin")
            expect(client.ask("/nothing"), "GET", "/nothing")
            expect(client.ask("http://host.test/data.bin"), "GET", "http://host.test/data.bin")
            expect(client.ask("*", method="OPTIONS"), "OPTIONS", "*")
            expect(client.ask("/", method="DELETE"), "DELETE", "/")
            expect(client.ask("/big.bin"), "GET", "/big.bin")
            expect(client.ask("/", "Content-Length: 4", method="POST", body=b"body"), "POST", "/")
        statuses = [one["status"] for one in expected]
        self.assertEqual(statuses, [200, 200, 200, 200, 200, 200, 304, 206, 206, 416, 404, 200, 200, 405, 200, 405])
        # Another worker may take the next connection, and lines are in order of one worker alone.
        wait_for(lambda: len(lines_of(self.path)) >= len(expected), "the lines of the first connection")
        with server.client() as client:
            client.send(request("/", version="HTTP/1.0", host=None))
            expect(client.response(), "GET", "/", protocol="HTTP/1.0")
        wait_for(lambda: len(lines_of(self.path)) >= len(expected), "the line of the second one")
        return expected

    def wait_variants(self, server):
        for coding in "gzip", "br":
            wait_for(lambda one=coding: server.get("/page.html", f"Accept-Encoding: {one}")["Content-Encoding"] == one,
                     f"the variant in {coding}")

    def begin_with_variants(self, *arguments, **more):
        """A server whose log begins when the variants are there."""
        server = self.begin(*arguments, **more)
        self.wait_variants(server)
        server.get("/the-last")
        wait_for(lambda: any("/the-last" in line for line in lines_of(self.path)), "the line of the last request")
        os.rename(self.path, self.path + ".1")
        server.signal(signal.SIGUSR1)
        wait_for(lambda: os.path.exists(self.path), "a new log")
        return server

    def test_json(self):
        server = self.begin_with_variants("--access-format=json", "--snapshot-header")
        before = time.time()
        expected = self.ask_everything(server)
        with server.client() as client:
            snapshot = client.ask("/")["Loom-Snapshot"]
        records = self.records(len(expected) + 1)[:-1]
        after = time.time()
        for record, one in zip(records, expected):
            self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            at = datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
            self.assertGreaterEqual(at, before - 0.1)  # clocks of the kernel differ by a tick
            self.assertLessEqual(at, after + 0.1)
            self.assertLess(record["duration_us"], (after - before + 0.1) * 1e6)
            self.assertEqual(record["snapshot"], snapshot)
            self.assertEqual({name: record[name] for name in one}, one)
            self.assertNotIn("truncated", record)
        self.assertGreater(sum(record["duration_us"] for record in records), 0)

    def test_combined(self):
        server = self.begin_with_variants(env={"TZ": "UTC-05:30"})
        before = int(time.time())
        expected = self.ask_everything(server)
        lines = wait_lines(self.path, len(expected))
        for line, one in zip(lines, expected):
            match = COMBINED.fullmatch(line)
            self.assertTrue(match, line)
            client, at, asked, status, count, referer, agent = match.groups()
            self.assertEqual(client, "127.0.0.1")
            self.assertTrue(at.endswith(" +0530"), at)
            self.assertGreaterEqual(datetime.strptime(at, "%d/%b/%Y:%H:%M:%S %z").timestamp(), before - 1)
            self.assertEqual(asked, f"{one['method']} {one['target']} {one['protocol']}")
            self.assertEqual(status, str(one["status"]))
            self.assertEqual(count, str(one["bytes"] or "-"))
            self.assertEqual(referer, "-" if one["referer"] is None else one["referer"])
            self.assertEqual(agent, "-" if one["user_agent"] is None else one["user_agent"])

    def test_what_clients_send_stays_in_its_field(self):
        """Control bytes cannot come in; quotes, backslashes and bytes that are no text can."""
        for form in "json", "combined":
            server = self.begin(f"--access-format={form}")
            with server.client() as client:
                for _ in range(2):  # the second time its field lines are known
                    client.ask(b'/"\\x', b'Referer: "} \\ \t\xc3\xa9', b"User-Agent: caf\xe9 \xf0\x9f\x98\x80")
                    client.ask("/", 'Referer: "', "User-Agent: plain")
                    client.ask("/", "Referer: plain", "User-Agent: \\")
            lines = wait_lines(self.path, 6)
            for line in lines[0], lines[3]:
                if form == "json":
                    record, = records_of([line])
                    self.assertEqual(record["target"], '/"\\x')
                    self.assertEqual(record["referer"], '"} \\ \t\xe9')
                    self.assertEqual(record["user_agent"], "caf\ufffd \U0001f600")
                else:
                    self.assertTrue(line.endswith(' "\\"} \\\\ \\t\\xc3\\xa9" "caf\\xe9 \\xf0\\x9f\\x98\\x80"'), line)
                    self.assertIn('"GET /\\"\\\\x HTTP/1.1"', line)
            for line, referer, agent in zip(lines[1:3] + lines[4:], ('\\"', "plain") * 2, ("plain", "\\\\") * 2):
                self.assertIn(f'"referer":"{referer}","user_agent":"{agent}"' if form == "json"
                              else f' "{referer}" "{agent}"', line)

    def test_long_fields_are_cut_and_say_so(self):
        server = self.begin("--access-format=json")
        with server.client() as client:
            client.ask("/" + "t" * 2047, "Referer: " + "r" * 1024, "User-Agent: " + "a" * 512)
            client.ask("/" + "t" * 2048, "Referer: " + "r" * 1025, "User-Agent: " + "a" * 513)
        whole, cut = self.records(2)
        for record in whole, cut:
            self.assertEqual(record["target"], "/" + "t" * 2047)
            self.assertEqual(record["referer"], "r" * 1024)
            self.assertEqual(record["user_agent"], "a" * 512)
        self.assertNotIn("truncated", whole)
        self.assertEqual(cut["truncated"], ["target", "referer", "user_agent"])

    def ask_nonsense(self, access_format):
        """(lines of the log, what was asked: data, status, method, target, protocol, whether the target is cut)."""
        server = self.begin(f"--access-format={access_format}", "--header-timeout=300ms", "--max-request-line=1K",
                            "--max-head=2K")
        cases = [
            (b"NONSENSE\r\n\r\n", 400, None, None, None),
            (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, None, None, None),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, None, None, None),
            (b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 501, None, None, None),
            (b"GET / HTTP/1.1\r\n\r\n", 400, "GET", "/", "HTTP/1.1"),  # no Host
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "GET", "/", "HTTP/2.0"),
            (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400, "GET", "/", "HTTP/1.0"),
            (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 414, "GET", "/" + "x" * 1020, None),
            (b"GET /h HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2100 + b"\r\n\r\n", 431, "GET", "/h", "HTTP/1.1"),
            (b"GET /late HTTP/1.1\r\nHost: a\r\nUser-Agent: slow\r\nX", 408, "GET", "/late", "HTTP/1.1"),
            (b"GET /lat", 408, "GET", "/lat", None),
        ]
        for at, case in enumerate(cases):
            with server.begun(case[0]) as client:
                self.assertEqual(client.response().status, case[1], case[0][:50])
            wait_lines(self.path, at + 1)
        return wait_lines(self.path, len(cases)), [(*case, case[1] == 414 or case[3] == "/lat") for case in cases]

    def test_requests_that_were_none(self):
        lines, cases = self.ask_nonsense("json")
        records = records_of(lines)
        for record, (data, status, method, target, protocol, cut) in zip(records, cases):
            self.assertEqual(record["status"], status)
            self.assertEqual([record["method"], record["target"], record["protocol"]], [method, target, protocol],
                             data[:50])
            self.assertTrue(record["complete"])
            self.assertEqual(record.get("truncated"), ["target"] if cut else None)
        self.assertEqual(records[-2]["user_agent"], "slow")

    def test_requests_that_were_none_combined(self):
        lines, cases = self.ask_nonsense("combined")
        for line, (_, status, method, target, protocol, cut) in zip(lines, cases):
            request = f"{method} {target}" + ("..." if cut else "") + (f" {protocol}" if protocol else "")
            self.assertIn(f'] "{request if target else "-"}" {status} ', line)
        self.assertTrue(lines[-2].endswith('"-" "slow"'), lines[-2])

    def test_other_addresses(self):
        listen = ["127.0.0.1:0", "unix:" + os.path.join(self.directory(), "socket")]
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
            listen.append("[::1]:0")
        except OSError:
            self.note("no IPv6 here")
        server = self.begin("--access-format=json", listen=listen)
        clients = ["127.0.0.1", "unix:", "::1"][:len(listen)]
        for at, address in enumerate(server.addresses):
            server.address = address
            server.get("/")
            self.assertEqual(self.records(at + 1)[at]["client"], clients[at])

    def test_pipelined(self):
        """Each of a batch, in order, whatever the batch: more than an output holds, or than its notes."""
        server = self.begin("--access-format=json")
        asked = [("/data.bin", 5000), ("/", 34), ("/nothing", None), ("/big.bin", 6 << 20)]
        batch = [asked[(at * at) % (4 if at % 40 == 5 else 3)] for at in range(300)]
        agents = ["x" * (at * 37 % 500) for at in range(len(batch))]
        with server.client() as client:
            client.send(b"".join(request(target, f"User-Agent: {agent}") for (target, _), agent in zip(batch, agents)))
            bodies = [len(client.response().body) for _ in batch]
        records = self.records(len(batch))
        self.assertEqual([record["target"] for record in records], [target for target, _ in batch])
        self.assertEqual([record["bytes"] for record in records], bodies)
        self.assertEqual([record["user_agent"] for record in records], agents)
        self.assertTrue(all(record["complete"] for record in records))


class Unfinished(LogCase):
    def cut_off(self, *arguments, more=0):
        """A small answer, a large one that its client gives up, and some that were ready to be sent behind that."""
        server = self.begin("--access-format=json", *arguments)
        with server.client(rcvbuf=64 << 10) as client:
            client.send(request("/data.bin") + request("/big.bin") + request("/") * more)
            self.assertEqual(len(client.response().body), 5000)
            client.read_head()
            got = len(client.read_body(1 << 20))
            client.reset()
        first, second, *others = self.records(2 + more)
        self.assertEqual((first["target"], first["bytes"], first["complete"]), ("/data.bin", 5000, True))
        self.assertEqual((second["target"], second["status"], second["complete"]), ("/big.bin", 200, False))
        # All that was acknowledged: that may be more than the client has read, or less by what it has not said yet.
        self.assertGreater(second["bytes"], got - (128 << 10))
        self.assertLess(second["bytes"], 6 << 20)
        for other in others:
            self.assertEqual([other["target"], other["status"], other["bytes"], other["complete"]],
                             ["/", 200, 0, False])

    def test_a_client_that_goes(self):
        self.cut_off()

    def test_a_client_that_goes_from_a_copy(self):
        """A body that is copied, unlike one that is sent by reference, does not end what goes out as one."""
        self.cut_off("--splice-above=off", more=2)

    def test_a_client_that_goes_from_a_streamed_file(self):
        self.cut_off("--stream-above=1M")

    def test_parts_of_a_streamed_file(self):
        server = self.begin("--access-format=json", "--stream-above=1M")
        ranges = "Range: bytes=0-9,100000-5999999,6200000-6200009"
        with server.client() as client:
            whole = len(client.ask("/big.bin", ranges).body)
        self.records(1)  # another worker may take the next one
        with server.client(rcvbuf=64 << 10) as client:
            client.send(request("/big.bin", ranges))
            client.read_head()
            client.read_body(1 << 20)
            client.reset()
        first, second = self.records(2)
        self.assertEqual((first["bytes"], first["complete"]), (whole, True))
        self.assertFalse(second["complete"])
        self.assertGreater(second["bytes"], 800 << 10)
        self.assertLess(second["bytes"], whole)

    def test_a_client_that_does_not_read(self):
        """Until the server gives up: the record is of that moment, and there is none before."""
        server = self.begin("--access-format=json", "--send-timeout=500ms")
        with server.client(rcvbuf=16 << 10) as client:
            client.send(request("/big.bin"))
            record, = self.records(1)
            self.assertFalse(record["complete"])
            self.assertGreaterEqual(record["duration_us"], 450000)

    def test_what_an_end_cuts_off(self):
        """A second signal ends at once; the log says what came of the answers all the same."""
        server = self.begin("--access-format=json")
        with server.client(rcvbuf=16 << 10) as client:
            client.send(request("/big.bin"))
            client.read_head()
            server.signal(signal.SIGTERM)
            wait_for(lambda: "draining" in server.log(), "draining")
            server.signal(signal.SIGTERM)
            server.wait_exit()
        record, = self.records(1)
        self.assertFalse(record["complete"])
        self.assertLess(record["bytes"], 6 << 20)


class Rotation(LogCase):
    def test_no_line_is_lost_or_torn(self):
        server = self.begin("--access-format=json", workers=2)

        def check(target, response):
            assert response.status == 200

        hammer = Hammer(server, ["/", "/data.bin", "/page.html"], check, threads=4, depth=8)
        files = [self.path]
        for at in range(10):
            before = hammer.answers
            wait_for(lambda: hammer.answers > before + 100 or hammer.errors, "answers between two rotations")
            files.append(f"{self.path}.{at}")
            os.rename(self.path, files[-1])
            server.signal(signal.SIGUSR1)
            wait_for(lambda: os.path.exists(self.path), "a new log")
        answers = hammer.stop()
        server.wait_quiet()
        server.signal(signal.SIGTERM)
        server.wait_exit()
        counts = [len(records_of(lines_of(path, whole=True))) for path in files]
        self.assertEqual(sum(counts), answers, counts)
        self.assertNotIn("dropped", server.log())

    def test_one_that_cannot_be_opened_leaves_the_old_one(self):
        server = self.begin()
        server.get("/")
        wait_lines(self.path, 1)
        os.rename(self.path, self.path + ".1")
        os.mkdir(self.path)
        server.signal(signal.SIGUSR1)
        wait_for(lambda: "goes on being written" in server.log(), "an error in the error log")
        self.assertIn(f"cannot write the access log to {self.path}: Is a directory", server.log())
        server.get("/")
        wait_lines(self.path + ".1", 2)

    def test_mode(self):
        old = os.umask(0)
        try:
            self.begin()
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)


class Trouble(LogCase):
    """What is wrong with the log is no trouble of the clients."""

    heavy = ("Referer: " + "r" * 1000, "User-Agent: " + "a" * 500)  # 3.6 KiB a record: 4 MiB are soon full

    def ask_many(self, server, count):
        """Pipelined, each answered as if there were no log."""
        target = "/" + "x" * 2000
        with server.client() as client:
            for _ in range(count // 20):
                client.send(request(target, *self.heavy) * 20)
                for _ in range(20):
                    self.assertEqual(client.response().status, 404)

    def said(self, server, pattern):
        """All numbers in lines of the error log."""
        return [int(number) for number in re.findall(pattern, server.log())]

    def test_a_full_device(self):
        server = self.start("--access-log=/dev/full")
        self.ask_many(server, 2000)
        wait_for(lambda: "cannot write the access log /dev/full: No space left on device" in server.log(), "an error")
        server.wait_quiet()
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertEqual(server.log().count("cannot write the access log"), 1)
        self.assertEqual(self.said(server, r"ends without the last (\d+) records: No space left on device"), [2000])

    def test_a_full_disk_that_has_room_again(self):
        mount = self.directory()

        def small_file_system():
            flags = CLONE_NEWNS if os.geteuid() == 0 else CLONE_NEWNS | CLONE_NEWUSER
            uid, gid = os.geteuid(), os.getegid()
            if libc.unshare(flags) != 0:
                os._exit(77)
            if flags & CLONE_NEWUSER:
                for name, text in ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"):
                    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                        file.write(text)
            libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
            if libc.mount(b"none", mount.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=16m") != 0:
                os._exit(77)
            with open(os.path.join(mount, "filler"), "wb") as filler:
                filler.write(bytes((16 << 20) - (256 << 10)))

        try:
            server = self.start(f"--access-log={mount}/log", "--access-format=json", before_exec=small_file_system)
        except AssertionError as error:
            if "exit status 77" not in str(error):
                raise
            self.skipTest("no file system can be mounted here")
        inside = f"/proc/{server.pid}/root{mount}"
        self.ask_many(server, 2400)
        wait_for(lambda: "No space left on device" in server.log(), "an error")
        os.unlink(f"{inside}/filler")
        first, = wait_for(lambda: self.said(server, r"is written again: (\d+) records? w"), "the log to go on")
        self.assertGreater(first, 0)
        self.ask_many(server, 20)

        def dropped():
            return first + sum(self.said(server, r"requests: (\d+) record"))  # the ring may have been full still

        wait_for(lambda: len(lines_of(f"{inside}/log")) + dropped() >= 2420, "all lines")
        self.assertEqual(len(records_of(lines_of(f"{inside}/log"))) + dropped(), 2420)

    def fifo(self):
        path = os.path.join(self.directory(), "fifo")
        os.mkfifo(path)
        return path

    def test_a_fifo_without_a_reader(self):
        path = self.fifo()
        status, _, log = run(["--listen=127.0.0.1:0", f"--access-log={path}", self.root])
        self.assertEqual(status, 1)
        self.assertIn(f"--access-log: cannot write the access log to {path}: it is a FIFO that nobody reads", log)

    def test_a_reader_that_sleeps(self):
        path = self.fifo()
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            server = self.start(f"--access-log={path}", "--access-format=json")
            self.ask_many(server, 2400)
            server.wait_quiet()
            data = bytearray()

            def read_on():
                while select.select([reader], [], [], 0)[0]:
                    piece = os.read(reader, 1 << 20)
                    if not piece:
                        break
                    data.extend(piece)
                return data.count(b"\n") + sum(self.said(server, r"requests: (\d+) record")) >= 2400

            wait_for(read_on, "all lines, or the number of those that were dropped")
            dropped = sum(self.said(server, r"not written as fast as there are requests: (\d+) record"))
            self.assertEqual(len(records_of(data.decode().splitlines())) + dropped, 2400)
            self.assertGreater(dropped, 0)

            # And an end does not wait for it for long.
            self.ask_many(server, 400)
            server.wait_quiet()
            server.signal(signal.SIGTERM)
            server.wait_exit()
            rest = os.read(reader, 1 << 20).decode().count("\n")
            lost, = self.said(server, r"ends without the last (\d+) records: nobody reads it")
            self.assertIn(rest + lost, (400, 401))  # a line may be there by half
        finally:
            os.close(reader)

    def test_a_fifo_that_is_opened_again(self):
        """It is the same one: what it has half of a line is followed by the other half."""
        path = self.fifo()
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            server = self.start(f"--access-log={path}", "--access-format=json")
            fields = ("Referer: " + '"' * 1000, "User-Agent: " + '"' * 500)  # 5 KiB a line: more than a pipe takes at once
            with server.client() as client:
                client.ask("/")  # so that the pipe is full within a line, and not between two
                for _ in range(59):
                    client.ask("/" + "x" * 2000, *fields)
            server.wait_quiet()
            for _ in range(3):
                server.signal(signal.SIGUSR1)
                server.wait_quiet()
            data = bytearray()

            def read_on():
                while select.select([reader], [], [], 0)[0]:
                    data.extend(os.read(reader, 1 << 20))
                return data.count(b"\n") >= 60

            wait_for(read_on, "all lines")
            self.assertEqual(len(records_of(data.decode().splitlines())), 60)
        finally:
            os.close(reader)

    def test_lines_of_several_in_one_pipe(self):
        """Where others write as well, a predecessor say, a line is there whole or not at all."""
        read_end, write_end = os.pipe()
        try:
            server = self.start("--access-log=stdout", "--access-format=json", stdout=write_end)
            self.ask_many(server, 100)
            server.wait_quiet()

            def waiting():
                there = bytearray(4)
                fcntl.ioctl(read_end, termios.FIONREAD, there)
                return int.from_bytes(there, sys.byteorder)

            wait_for(lambda: waiting() > 16 << 10, "a pipe that is nearly full")
            data = os.read(read_end, waiting())
            self.assertTrue(data.endswith(b"\n"), data[-100:])
            records_of(data.decode().splitlines())
        finally:
            os.close(read_end)
            os.close(write_end)

    def test_mistakes_at_the_start(self):
        missing = os.path.join(self.directory(), "missing", "log")
        for value, why in ((missing, "No such file or directory"), (self.base, "Is a directory"),
                           (os.path.join(self.root, "log"), "lies in ROOT, where it would be served"),
                           (f"syslog:{missing}", "is a log daemon running?")):
            for option in "access-log", "error-log":
                status, _, log = run(["--listen=127.0.0.1:0", f"--{option}={value}", self.root])
                self.assertEqual(status, 1, log)
                self.assertEqual(log.count("\n"), 1, log)
                self.assertIn(f"loom: --{option}: ", log)
                self.assertIn(why, log)
                if not value.startswith("syslog:"):  # its daemon may come later
                    status, _, log = run(["--test", "--listen=127.0.0.1:0", f"--{option}={value}", self.root])
                    self.assertEqual(status, 1, log)
                    self.assertIn(f"loom: --{option}: ", log)
                    self.assertIn(why, log)
        status, _, log = run(["--listen=127.0.0.1:0", "--access-log=stdout", self.root], before_exec=lambda: os.close(1))
        self.assertEqual(status, 1, log)
        self.assertIn("standard output is closed", log)
        path = os.path.join(self.base, "a-log")
        status, out, _ = run(["--test", "--listen=127.0.0.1:0", f"--access-log={path}", self.root])
        self.assertEqual(status, 0)
        self.assertIn(f"{path}: ok\n", out)
        self.assertFalse(os.path.exists(path))


class Places(LogCase):
    def test_standard_output(self):
        """A pipe, whose other end has its own idea of blocking; a socket, as under systemd; a file."""
        def drain(fd):
            data = b""
            while select.select([fd], [], [], BOUND)[0]:
                piece = os.read(fd, 1 << 16)
                data += piece
                if not piece or data.count(b"\n") == 100:
                    return data
            return data

        read_end, write_end = os.pipe()
        one, other = socket.socketpair()
        path = os.path.join(self.directory(), "out")
        with open(path, "wb") as file, one, other:
            for stdout in write_end, other.fileno(), file:
                server = self.start("--access-log=stdout", "--access-format=json", stdout=stdout)
                with server.client() as client:
                    for at in range(100):
                        client.ask(f"/{at}")
                if stdout is file:
                    lines = wait_lines(path, 100)
                else:
                    lines = drain(read_end if stdout == write_end else one.fileno()).decode().splitlines()
                self.assertEqual([record["target"] for record in records_of(lines)], [f"/{at}" for at in range(100)])
        self.assertTrue(os.get_blocking(write_end), "the pipe's flags are not ours")
        os.close(read_end)
        os.close(write_end)

    def test_syslog(self):
        path = os.path.join(self.directory(), "log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            daemon.settimeout(60)
            server = self.start(f"--access-log=syslog:{path}", "--access-format=json")
            server.get("/one")
            match = re.fullmatch(rb"<30>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d loom\[(\d+)\]: (.*)", daemon.recv(9999))
            self.assertEqual(int(match[1]), server.pid)
            record, = records_of([match[2].decode()])
            self.assertEqual(record["target"], "/one")
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:  # it is started anew
            daemon.bind(path)
            daemon.settimeout(60)
            server.get("/two")
            self.assertIn(b'"target":"/two"', daemon.recv(9999))

    def test_an_orderly_stop_writes_everything(self):
        server = self.begin(workers=2)
        for _ in range(3):
            with server.client() as client:
                client.send(request("/") * 200)
                for _ in range(200):
                    client.response()
        server.wait_quiet()
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertEqual(len(lines_of(self.path, whole=True)), 600)

    def test_after_a_rest(self):
        """The thread that writes sleeps when there is nothing to do, and is woken."""
        server = self.begin()
        server.get("/")
        wait_lines(self.path, 1)
        thread, = [task for task in os.listdir(f"/proc/{server.pid}/task")
                   if open(f"/proc/{server.pid}/task/{task}/comm", encoding="ascii").read() == "loom-log\n"]

        def switches():
            with open(f"/proc/{server.pid}/task/{thread}/status", encoding="ascii") as file:
                return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M)[1])

        def is_asleep():
            before = switches()
            time.sleep(0.5)
            return switches() == before

        wait_for(is_asleep, "the thread to sleep")
        for count in 2, 3:
            server.get("/")
            wait_lines(self.path, count)

    def test_the_error_log_in_a_file(self):
        path = os.path.join(self.directory(), "error.log")
        port_holder = socket.create_server(("127.0.0.1", 0))
        with port_holder:
            address = f"127.0.0.1:{port_holder.getsockname()[1]}"
            status, _, log = run([f"--listen={address}", f"--error-log={path}", self.root])
        self.assertEqual(status, 1)
        self.assertIn(f"loom: cannot listen on {address}", log)  # who starts it sees it
        line = lines_of(path)[-1]
        self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z loom\[\d+\] error: cannot listen on ")

    def test_levels(self):
        for level, expected in ("error", []), ("warn", []), ("info", ["stopped: "]):
            path = os.path.join(self.directory(), "error.log")
            listen = "unix:" + os.path.join(self.directory(), "socket")
            process = self.start_quietly(f"--error-log={path}", f"--log-level={level}", f"--listen={listen}")
            wait_for(lambda one=listen: os.path.exists(one[5:]), "the socket")
            with process:
                wait_for(lambda one=listen: self.answers(one[5:]), "an answer")
                process.terminate()
                self.assertEqual(process.wait(60), 0)
            lines = [line for line in lines_of(path) if "stopped: " in line]
            self.assertEqual(len(lines), len(expected))

    def start_quietly(self, *arguments):
        """A server that says nothing on standard error, which Server() would wait for."""
        import subprocess
        from server import command, environment
        return subprocess.Popen(command([f"--backend={self.backend}", "--workers=1", *arguments, self.root]),
                                env=environment(), stdin=subprocess.DEVNULL)

    def answers(self, path):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(60)
            try:
                one.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            one.sendall(request("/", "Connection: close"))
            return one.recv(12) == b"HTTP/1.1 200"
