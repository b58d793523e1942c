"""Connections: how requests arrive in pieces and in batches, in what order answers leave, when a connection ends."""
import os
import random
import threading
import time

from case import Case, noise, write
from client import Ended, chunked, request


class Wire(Case):
    """One tree, one server, many ways to say the same."""
    shared = True
    cost = 8

    @classmethod
    def plant(cls, root):
        cls.big = noise("big", (2 << 20) + 11)
        write(root, "index.html", b"<!doctype html><title>home</title>")
        write(root, "small.txt", b"small")
        write(root, "big.bin", cls.big)
        write(root, "empty.txt", b"")
        write(root, "dir/index.html", b"dir")
        for at in range(50):
            write(root, f"n/{at}.txt", b"%d." % at * (at * 7 + 1))

    def content(self, path):
        with open(os.path.join(self.root, path), "rb") as file:
            return file.read()

    def mixture(self, seed, count, big):
        """Requests of every kind: [(bytes, method, status, body)]; about every big-th is for a large file."""
        choice = random.Random(seed)
        tag = self.server.get("/small.txt")["etag"]
        out = []
        for at in range(count):
            number = choice.randrange(50)
            numbered = self.content(f"n/{number}.txt")
            kinds = [
                (request(f"/n/{number}.txt"), "GET", 200, numbered),
                (request(f"/n/{number}.txt", f"X-Padding: {'x' * choice.randrange(200)}"), "GET", 200, numbered),
                (request(f"/n/{number}.txt", method="HEAD"), "HEAD", 200, b""),
                (request(f"/missing/{at}"), "GET", 404, None),
                (request("/small.txt", f"If-None-Match: {tag}"), "GET", 304, b""),
                (request("/dir?" + str(at)), "GET", 301, None),
                (request("/big.bin", "Range: bytes=5-14"), "GET", 206, self.big[5:15]),
                # of many parts: more than is left of an output that holds other answers already
                (request("/big.bin", "Range: bytes=" + ",".join(f"{one * 1000}-{one * 1000 + 99}" for one in range(16))),
                 "GET", 206, None),
                (request("/empty.txt"), "GET", 200, b""),
                (request("/small.txt", "Content-Length: 0", method="POST"), "POST", 405, None),
                (request("/small.txt", "Content-Length: 10", method="PUT", body=b"GET / HTTP"), "PUT", 405, None),
                (request("/small.txt", "Transfer-Encoding: chunked", method="POST", body=chunked(b"0\r\n\r\n" * 9, 7)),
                 "POST", 405, None),
                (request("/small.txt", "Content-Length: 5", body=b"hello"), "GET", 200, b"small"),
                (b"\r\n" + request("/small.txt"), "GET", 200, b"small")]
            out.append(choice.choice(kinds) if choice.randrange(big)
                       else (request("/big.bin"), "GET", 200, self.big))
        return out

    def answers(self, client, requests):
        for at, (data, method, status, body) in enumerate(requests):
            response = client.response(method)
            self.assertEqual(response.status, status, f"answer {at} to {data[:80]!r}")
            if body is not None:
                self.assertTrue(response.body == body, f"body {at} to {data[:80]!r}")
            if status == 301:
                self.assertEqual(response["location"].encode(), b"/dir/?" + data.split(b"?")[1].split()[0])
            self.assertFalse(response.closes, f"answer {at} to {data[:80]!r} closes")

    def pipelined(self, client, requests):
        """All in one write, while the answers are being read."""
        writer = threading.Thread(target=client.send, args=(b"".join(one[0] for one in requests),), daemon=True)
        writer.start()
        self.answers(client, requests)
        writer.join()

    def test_keep_alive(self):
        with self.server.client() as client:
            for _ in range(500):
                self.assertEqual(client.ask("/small.txt").body, b"small")
            self.assertTrue(client.nothing_left())

    def test_connection_close(self):
        for field in ("Connection: close", "connection: Close", "Connection: foo, close",
                      "Connection: close, keep-alive"):
            with self.server.client() as client:
                response = client.ask("/small.txt", field)
                self.assertEqual(response.body, b"small")
                self.assertTrue(response.closes, field)
                client.expect_end()

    def test_close_ends_a_pipeline(self):
        with self.server.client() as client:
            client.send(request("/small.txt") * 3 + request("/big.bin", "Connection: close")
                        + request("/small.txt") * 3)
            for body in (b"small", b"small", b"small", self.big):
                response = client.response()
                self.assertTrue(response.body == body)
            self.assertTrue(response.closes)
            client.expect_end()  # what came after is not answered

    def test_http_1_0(self):
        with self.server.client() as client:
            response = client.ask("/small.txt", version="HTTP/1.0", host=None)
            self.assertEqual(response.body, b"small")
            client.expect_end()
        with self.server.client() as client:
            for _ in range(3):
                response = client.ask("/small.txt", "Connection: keep-alive", version="HTTP/1.0")
                self.assertEqual(response.body, b"small")
                self.assertEqual((response["connection"] or "").lower(), "keep-alive")
            response = client.ask("/small.txt", version="HTTP/1.0")
            client.expect_end()

    def test_pipelines_of_hundreds(self):
        for seed in range(4):
            requests = self.mixture(seed, 400, big=60)
            with self.server.client() as client:
                self.pipelined(client, requests)
                self.assertTrue(client.nothing_left())
                self.kept(client)

    def test_pipeline_then_half_close(self):
        requests = self.mixture("half", 300, big=50)
        with self.server.client() as client:
            data = b"".join(one[0] for one in requests)
            writer = threading.Thread(target=lambda: (client.send(data), client.finish()), daemon=True)
            writer.start()
            self.answers(client, requests)
            writer.join()
            client.expect_end()

    def test_pipeline_in_random_pieces(self):
        choice = random.Random(5)
        requests = self.mixture("pieces", 200, big=80)
        data = b"".join(one[0] for one in requests)

        def write_pieces(client):
            at = 0
            while at < len(data):
                size = choice.choice((1, 2, 3, 10, 100, 1000, 5000))
                client.send(data[at:at + size])
                at += size
                if choice.randrange(8) == 0:
                    time.sleep(0.001)

        with self.server.client() as client:
            writer = threading.Thread(target=write_pieces, args=(client,), daemon=True)
            writer.start()
            self.answers(client, requests)
            writer.join()
            self.assertTrue(client.nothing_left())

    def test_a_pipeline_whose_reader_is_late(self):
        """Answers of more than all buffers together: the server must stop reading, and lose nothing."""
        requests = self.mixture("late", 300, big=10)
        with self.server.client(rcvbuf=65536) as client:
            writer = threading.Thread(target=client.send, args=(b"".join(one[0] for one in requests),), daemon=True)
            writer.start()
            time.sleep(0.3)
            self.answers(client, requests)
            writer.join()
            self.assertTrue(client.nothing_left())

    def test_split_at_every_byte(self):
        data = request("/small.txt?a=b", "If-None-Match: \"x\"", "Connection: keep-alive, x")
        body = request("/small.txt", "Content-Length: 5", method="POST", body=b"hello")
        chunks = request("/small.txt", "Transfer-Encoding: chunked", method="POST", body=chunked(b"hello", 3, b";a=b"))
        with self.server.client() as client:
            for one, status in ((data, 200), (body, 405), (chunks, 405)):
                for at in range(1, len(one)):
                    client.send(one[:at])
                    time.sleep(0.0005)
                    client.send(one[at:] + data)
                    self.assertEqual(client.response().status, status, f"split at {at}")
                    self.assertEqual(client.response().body, b"small", f"after a split at {at}")
            self.assertTrue(client.nothing_left())

    def test_a_byte_at_a_time(self):
        requests = self.mixture("drip", 25, big=1000)
        with self.server.client() as client:
            for one in requests:
                client.drip(one[0], 0.0001)
            self.answers(client, requests)
            self.assertTrue(client.nothing_left())
            self.kept(client)

    def test_half_close_after_the_request(self):
        for target, body in (("/small.txt", b"small"), ("/big.bin", self.big)):
            with self.server.client() as client:
                client.send(request(target))
                client.finish()
                self.assertTrue(client.response().body == body)
                client.expect_end()

    def test_half_close_in_a_request(self):
        for part in (b"", b"GET / HT", request("/")[:-2],
                     request("/", "Content-Length: 9", method="POST", body=b"four")):
            with self.server.client() as client:
                client.send(part)
                client.finish()
                # nothing is owed; an error is fine, an answer as if the request had been whole is not
                try:
                    response = client.response()
                    self.assertIn(response.status, (400, 405, 408))
                    client.expect_end()
                except Ended as ended:
                    self.assertTrue(ended.at_boundary)

    def test_bodies_are_read_past(self):
        with self.server.client() as client:
            for size in (0, 1, 1000, 16384, 65535, 65536):
                for method, status in (("POST", 405), ("GET", 200), ("HEAD", 200), ("DELETE", 405)):
                    body = noise(size, size)
                    client.send(request("/small.txt", f"Content-Length: {size}", method=method, body=body)
                                + request("/small.txt", "Transfer-Encoding: chunked", method=method,
                                          body=chunked(body[:60000], 4096, b";x=\"y\"", b"Trailer: t\r\n"))
                                + request("/small.txt"))
                    self.assertEqual(client.response(method).status, status)
                    self.assertEqual(client.response(method).status, status)
                    self.assertEqual(client.response().body, b"small")
            self.assertTrue(client.nothing_left())

    def test_a_slow_body(self):
        with self.server.client() as client:
            client.send(request("/small.txt", "Content-Length: 40", method="POST"))
            client.drip(b"x" * 40 + request("/small.txt"), 0.002)
            self.assertEqual(client.response().status, 405)
            self.assertEqual(client.response().body, b"small")

    def test_expect_continue(self):
        """A final answer, or 100 and then the answer; the body may follow in either case."""
        with self.server.client() as client:
            client.send(request("/small.txt", "Content-Length: 10", "Expect: 100-continue", method="POST"))
            response = client.response(interim=True)
            self.assertIn(response.status, (100, 405, 417))
            if response.status == 100 or not response.closes:
                client.send(b"x" * 10)
                if response.status == 100:
                    response = client.response()
                    self.assertEqual(response.status, 405)
            self.agrees(client, response)

    def test_many_connections_in_turn(self):
        clients = [self.server.client() for _ in range(100)]
        for turn in range(5):
            for client in clients:
                client.send(request(f"/n/{turn}.txt"))
            for client in reversed(clients):
                self.assertEqual(client.response().body, self.content(f"n/{turn}.txt"))
