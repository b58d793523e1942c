"""Clients that take their time: timeouts that end what they must, and leave alone what they must.

No test passes or fails by how long something took, only by whether it came about within a generous bound. Where a client
has to be in time, its first bytes are there before the server looks (Server.held), or what it did counts only when it kept
its pace (Case.at_pace).
"""
import select
import socket
import time

from case import Case, noise, write
from client import Ended, request
from server import wait_for

HUGE = 24 << 20  # well past what all socket buffers hold


class HeaderTimeout(Case):
    """A request head has to be whole within --header-timeout of its first byte, however it trickles."""
    shared = True
    matrix = "backends"  # each worker has its own deadlines
    arguments = ("--header-timeout=300ms", "--keepalive-timeout=1h")

    def cut(self, client):
        response = client.response()
        self.assertEqual(response.status, 408)
        self.assertTrue(response.closes)
        client.expect_end()

    def test_half_a_head_gets_408(self):
        for part in (b"G", b"GET / HTTP/1.1", request("/")[:-1], request("/")[:-2] + b"X: y\r\n"):
            with self.server.begun(part) as client:
                self.cut(client)

    def test_half_a_head_after_a_request_gets_408(self):
        with self.server.begun(request("/") * 3 + b"GET /x") as client:
            for _ in range(3):
                self.assertEqual(client.response().status, 200)
            self.cut(client)

    def test_a_trickle_does_not_extend_it(self):
        with self.server.begun(b"GET / HTTP/1.1\r\nX: ") as client:
            end = time.monotonic() + 60
            while not select.select([client.sock], [], [], 0.03)[0]:
                self.assertLess(time.monotonic(), end, "a trickling head was never cut")
                client.send(b"y")
            response = client.response()
            self.assertEqual((response.status, response.closes), (408, True))

    def test_a_trickling_body_does_not_extend_it(self):
        chunks = "Transfer-Encoding: chunked"
        for what, fields, begin, byte in (("a body", "Content-Length: 60000", b"", b"y"),
                                          ("chunks", chunks, b"", b"1\r\ny\r\n"),
                                          ("a chunk's extension", chunks, b"1;x=", b"y"),
                                          ("trailers", chunks, b"0\r\nX: ", b"y")):
            with self.server.begun(request("/", fields, method="POST", body=begin)) as client:
                end = time.monotonic() + 60
                while not select.select([client.sock], [], [], 0.03)[0]:
                    self.assertLess(time.monotonic(), end, f"{what}, byte by byte, went on for ever")
                    client.send(byte)
                response = client.response()
                self.assertEqual((response.status, response.closes), (408, True), what)

    def test_a_body_that_does_not_come_is_cut(self):
        with self.server.begun(request("/", "Content-Length: 10", method="POST", body=b"four")) as client:
            try:
                while client.response().status not in (408,):
                    pass
            except Ended as ended:
                self.assertTrue(ended.at_boundary)

    def test_a_connection_without_a_request_is_closed(self):
        for data in (b"", b"\r\n"):
            with self.server.client() as client:
                client.send(data)
                try:
                    self.assertEqual(client.response().status, 408)
                    client.expect_end()
                except Ended as ended:
                    self.assertTrue(ended.at_boundary)

    def test_idle_connections_are_not_its_business(self):
        with self.server.begun(request("/")) as client:
            self.assertEqual(client.response().status, 200)
            time.sleep(0.8)
            self.kept(client)

    def test_many_at_once_and_the_others_are_served(self):
        other = self.server.begun(request("/"))
        self.assertEqual(other.response().status, 200)
        slow = []
        with self.server.held():
            for _ in range(100):  # no more than there are buffers to receive at once
                slow.append(self.server.client())
                slow[-1].send(b"GET / HTTP/1.1\r\n")  # at once: who has not begun is closed without a word
        while not select.select([slow[-1].sock], [], [], 0)[0]:
            self.assertEqual(other.ask("/").status, 200)
        for client in slow:
            self.cut(client)


class KeepaliveTimeout(Case):
    """A connection with nothing to say is closed without a word."""
    shared = True
    matrix = "backends"
    arguments = ("--keepalive-timeout=200ms", "--header-timeout=1h")

    def test_idle_after_a_request(self):
        with self.server.client() as client:
            self.assertEqual(client.ask("/").status, 200)
            client.expect_end()

    def test_an_empty_line_is_no_request(self):
        with self.server.client() as client:
            client.send(request("/") + b"\r\n")
            self.assertEqual(client.response().status, 200)
            client.expect_end()

    def test_a_slow_head_is_not_its_business(self):
        with self.server.client() as client:
            client.send(b"GET / HTTP/1.1\r\n")
            time.sleep(0.6)
            client.send(b"Host: x\r\n\r\n")
            self.assertEqual(client.response().status, 200)

    def test_hundreds(self):
        clients = [self.server.client() for _ in range(300)]
        for client in clients:
            client.send(request("/"))
        for client in clients:
            self.assertEqual(client.response().status, 200)
        for client in clients:
            client.expect_end()


class SlowReaders(Case):
    """Large bodies, and readers that are slow."""
    shared = True
    matrix = "backends"
    arguments = ("--send-timeout=1s",)
    cost = 4

    @classmethod
    def plant(cls, root):
        cls.huge = noise("huge", HUGE)
        write(root, "index.html", b"home")
        write(root, "huge.bin", cls.huge)

    def begin(self, client):
        """Asks for the huge file, and reads the head of the answer only."""
        client.send(request("/huge.bin"))
        head = client.read_head()
        self.assertIn(b"200 OK", head)

    def take(self, client, at, size):
        """Reads and compares the next piece; gives where the one after begins."""
        size = min(size, HUGE - at)
        self.assertTrue(client.read_body(size) == self.huge[at:at + size], f"bytes {at} to {at + size} differ")
        return at + size

    def test_one_that_reads_slowly_gets_all(self):
        def attempt(pace):
            with self.server.client(rcvbuf=128 << 10) as client:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
                self.begin(client)
                # a slow start, for more than twice the send timeout, then as fast as it goes
                at = self.take(client, 0, 100 << 10)
                until = time.monotonic() + 2.5
                while time.monotonic() < until:
                    at = self.take(client, at, 100 << 10)
                    pace()
                    time.sleep(0.05)
                while at < HUGE:
                    at = self.take(client, at, 1 << 20)
                    pace()
                self.kept(client)

        self.at_pace(attempt, 0.5)

    def test_fast_readers_get_all(self):
        server = self.start()
        for _ in range(2):
            with server.client() as client:
                self.begin(client)
                at = 0
                while at < HUGE:
                    at = self.take(client, at, 1 << 20)
                self.kept(client)

    def test_many_share(self):
        server = self.start()
        clients = [server.client() for _ in range(3)]
        for client in clients:
            self.begin(client)
        at = 0
        while at < HUGE:
            after = [self.take(client, at, 1 << 20) for client in clients]
            at = after[0]
        for client in clients:
            self.kept(client)


class StoppedReaders(Case):
    """Clients that ask for much and then read nothing: they are cut after --send-timeout without harm to the others."""
    shared = True
    matrix = "backends"
    arguments = ("--send-timeout=500ms",)
    cost = 2

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "big.bin", noise("big", 16 << 20))  # well past what all socket buffers hold

    def setUp(self):
        self.server.rebase()

    def begin(self):
        client = self.server.client(rcvbuf=32 << 10)
        client.send(request("/big.bin"))
        self.assertIn(b"200 OK", client.read_head())
        return client

    def test_they_are_cut_and_the_others_are_served(self):
        stopped = [self.begin() for _ in range(5)]
        # All five, before any is read from again; the connection of the get() before is closed by then, or a little later.
        wait_for(lambda: self.server.descriptors() <= self.server.baseline and self.server.get("/").status == 200,
                 "the readers that stopped to be cut", step=0.02)
        for client in stopped:
            with self.assertRaises(Ended):
                client.read_body(16 << 20)

    def test_a_pipeline_that_is_not_read_is_cut(self):
        client = self.begin()
        client.sock.setblocking(False)
        try:
            for _ in range(200):
                client.sock.send(request("/big.bin") * 20)
        except OSError:
            pass
        self.server.wait_quiet()
        self.assertEqual(self.server.get("/").status, 200)
