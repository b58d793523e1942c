"""What is no request, or not one for a server of files: the status, and whether the connection goes on."""
import threading

from case import Case, write
from client import chunked, request


class Errors(Case):
    matrix = "backends"
    shared = True

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"<!doctype html><title>home</title>")
        write(root, "dir/index.html", b"dir")

    def test_no_request_at_all_is_400(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), b"GET\r\n\r\n", b"GET /\r\n\r\n",
                     b"GET / HTTX/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
                     b" GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\rHost: x\r\r", b"\0\0\0\0\r\n\r\n",
                     b"GET / HTTP/1.x\r\nHost: x\r\n\r\n", b"GET / http/1.1\r\nHost: x\r\n\r\n"):
            # an unknown first word may as well be taken for a method, and no version for a bad one
            self.refused(data, (400, 501, 505))

    def test_bad_field_lines_are_400(self):
        for line in (b"Name : value", b": value", b"Na me: value", b"Name", b"Name\x00: x", b"Name: a\x00b",
                     b"Name: a\rb", b"Name: a\x01b", b"N(me: x", b" Folded: from the start", b"Name: a\r\n folded"):
            self.refused(b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n", 400)

    def test_line_ends(self):
        """A lone LF may end a line or be refused (RFC 9112 2.2); a lone CR may not."""
        with self.server.client() as client:
            client.send(b"GET / HTTP/1.1\nHost: x\n\n")
            response = client.response()
            self.assertIn(response.status, (200, 400))
            self.agrees(client, response)
        self.refused(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", 400)
        with self.server.client() as client:
            for _ in range(3):
                client.send(b"\r\n" + request("/"))  # one empty line before a request is forgiven
                self.assertEqual(client.response().status, 200)

    def test_host(self):
        for host, status in ((None, 400), ("", 200), ("loom.test", 200), ("loom.test:8080", 200), ("[::1]:80", 200)):
            with self.server.client() as client:
                response = client.ask("/", host=host)
                self.assertEqual(response.status, status, host)
                self.agrees(client, response)
        for fields in (("Host: loom.test", "Host: loom.test"), ("Host: a", "Host: b"), ("hOST: a", "X: y", "HOST: a")):
            self.refused(request("/", *fields, host=None), 400, closes=None)
        for host in ("a b", "a/b", "u@a", "a:b", "a\x7f", "[::1", "<a>"):
            self.refused(request("/", host=host), 400, closes=None)
        self.assertEqual(self.server.get("/", host=None, version="HTTP/1.0").status, 200)

    def test_other_methods_are_405(self):
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
            with self.server.client() as client:
                response = client.ask("/", method=method)
                self.assertEqual(response.status, 405, method)
                self.assertEqual({one.strip() for one in response["allow"].split(",")}, {"GET", "HEAD", "OPTIONS"})
                self.agrees(client, response)
        for target in ("*", "/"):
            with self.server.client() as client:
                response = client.ask(target, method="OPTIONS")
                self.assertEqual((response.status, response["allow"]), (200, "GET, HEAD, OPTIONS"))
                self.kept(client)
        self.refused(b"CONNECT loom.test:443 HTTP/1.1\r\nHost: loom.test\r\n\r\n", 405)

    def test_unknown_methods_are_501(self):
        for method in (b"FROB", b"get", b"GETT", b"G"):
            self.refused(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n", 501, closes=None)

    def test_unknown_versions_are_505(self):
        for version in (b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9"):
            self.refused(b"GET / " + version + b"\r\nHost: x\r\n\r\n", 505)
        self.refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505))

    def test_framing_that_cannot_be_known_is_400(self):
        for fields in (["Content-Length: 5", "Transfer-Encoding: chunked"], ["Content-Length: 5", "Content-Length: 6"],
                       ["Content-Length: -5"], ["Content-Length: +5"], ["Content-Length: 0x5"], ["Content-Length: 5,6"],
                       ["Content-Length:"], ["Content-Length: five"], ["Content-Length: 5 5"],
                       ["Transfer-Encoding: chunked, chunked"], ["Transfer-Encoding: chunked, identity"],
                       ["Transfer-Encoding: xchunked"], ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"]):
            for method in ("GET", "POST"):
                # what is not known may be a coding, too: 501 (RFC 9112 6.1)
                self.refused(request("/", *fields, method=method, body=b"0\r\n\r\n" + request("/dir/")),
                             (400, 501) if "Transfer" in "".join(fields) else 400)

    def test_chunks_of_an_http_1_0_client_end_the_connection(self):
        """Its framing cannot be trusted (RFC 9112 6.1), whatever else it says."""
        for fields in ([], ["Connection: keep-alive"]):
            with self.server.client() as client:
                client.send(request("/", "Transfer-Encoding: chunked", *fields, version="HTTP/1.0", body=b"0\r\n\r\n"))
                self.assertIn(client.response().status, (200, 400, 501))
                client.expect_end()

    def test_other_transfer_codings_are_501(self):
        """Or 400; where the end is known all the same, the method may be what is told first."""
        self.refused(request("/", "Transfer-Encoding: gzip", method="POST", body=b"0\r\n\r\n"), (400, 501))
        self.refused(request("/", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (400, 501), closes=None)

    def test_bad_chunks_are_400(self):
        for body in (b"x\r\n", b"-1\r\n", b"5\r\nhelloX\r\n", b"5 \x00\r\n", b"1ffffffffffffffff\r\n",
                     b"ffffffffffffffff\r\n" + b"x" * 70000, b"5\rhello\r\n", b";\r\n\r\n",
                     b"0\r\nbad trailer\r\n\r\n"):
            with self.server.client() as client:
                client.send(request("/", "Transfer-Encoding: chunked", method="POST", body=body))
                response = client.response()
                # a huge chunk is too much as well as wrong; 405 may be said before the body is looked at
                self.assertIn(response.status, (400, 413, 405), body)
                self.assertTrue(response.closes, body)
                client.expect_end()

    def test_bodies_past_the_limit_are_413(self):
        for data in (request("/", "Content-Length: 65537", method="POST"),
                     request("/", "Content-Length: 99999999999", method="POST"),
                     request("/", "Content-Length: 70000", method="POST", body=b"x" * 70000),
                     request("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"x" * 70000)),
                     request("/", "Transfer-Encoding: chunked", method="POST", body=b"fffff\r\n" + b"x" * 70000)):
            self.refused(data, 413)
        self.refused(request("/", "Content-Length: 99999999999999999999999", method="POST"), (400, 413))

    def test_request_lines_past_the_limit_are_414(self):
        self.assertEqual(self.server.get("/" + "x" * 8000).status, 404)
        self.assertEqual(self.server.get("/?" + "x" * 8000).status, 200)
        for size in (8192, 9000, 16384, 20000):
            self.refused(request("/" + "x" * size), 414)
        self.refused(b"GET /" + b"x" * 9000, 414)  # and does not wait for the rest

    def test_heads_past_the_limit_are_431(self):
        def filler(size):
            return [f"X-{at}: {'y' * 1000}" for at in range(size // 1000)]

        self.assertEqual(self.server.get("/", *filler(14000)).status, 200)
        self.refused(request("/", *filler(20000)), 431)
        self.refused(request("/", "X: " + "y" * 20000), 431)
        self.refused(request("/", "X" * 20000 + ": y"), 431)
        self.refused(request("/", "X: " + "y" * 20000)[:-1000], 431)

    def test_fields_past_the_limit_are_431(self):
        self.assertEqual(self.server.get("/", *[f"X-{at}: y" for at in range(99)]).status, 200)  # and Host
        self.refused(request("/", *[f"X-{at}: y" for at in range(110)]), 431, closes=None)

    def test_the_answer_reaches_a_client_that_goes_on_sending(self):
        """A close with unread input would be an RST, which can take the answer away from the client."""
        for _ in range(20):
            with self.server.client() as client:
                data = b"GET /" + b"x" * (256 << 10)
                writer = threading.Thread(target=attempt, args=(client, data), daemon=True)
                writer.start()
                response = client.response()
                self.assertEqual(response.status, 414)
                self.assertTrue(response.closes)
                writer.join()
                client.expect_end()

    def test_pipelined_before_and_after_an_error(self):
        """What came before is answered; what comes after an error of unknown framing is not."""
        with self.server.client() as client:
            client.send(request("/") * 5 + b"GET / HTTP/1.1\r\nHost: x\r\nBad line\r\n\r\n" + request("/dir/") * 5)
            for _ in range(5):
                self.assertEqual(client.response().status, 200)
            response = client.response()
            self.assertEqual((response.status, response.closes), (400, True))
            client.expect_end()

    def test_errors_say_something_and_are_not_cached_by_name(self):
        for data, status in ((request("/missing"), 404), (b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
                             (request("/", method="POST"), 405)):
            with self.server.client() as client:
                client.send(data)
                response = client.response()
                self.assertEqual(response.status, status)
                self.assertTrue(response.body)
                self.assertIsNotNone(response["content-type"])
                self.assertIsNone(response["etag"])
                self.assertIsNone(response["last-modified"])

    def test_nothing_of_the_request_is_reflected(self):
        for data in (request("/<script>evil"), request("/%3Cscript%3Eevil"), request("/", host="<script>evil"),
                     b"<script>evil / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with self.server.client() as client:
                client.send(data)
                self.assertNotIn(b"evil", client.response().body)


def attempt(client, data):
    """Sends what the server will not read to the end; being cut off is no error."""
    try:
        client.send(data)
    except OSError:
        pass
