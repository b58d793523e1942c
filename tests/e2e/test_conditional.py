"""If-None-Match and If-Modified-Since (RFC 9110 13.1): when 304 is the answer, and what is in it."""
import os
from email.utils import formatdate

from case import Case, write
from client import request

OLD = 1000000000  # Sun, 09 Sep 2001 01:46:40 GMT


class Conditional(Case):
    matrix = "backends"
    shared = True

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"<!doctype html><title>home</title>")
        write(root, "old.txt", b"old")
        os.utime(os.path.join(root, "old.txt"), (OLD, OLD))

    def expect(self, status, *fields, target="/old.txt", method="GET"):
        with self.server.client() as client:
            response = client.ask(target, *fields, method=method)
            self.assertEqual(response.status, status, fields)
            self.assertEqual(response.body, b"old" if status == 200 and method == "GET" else response.body)
            self.kept(client)
            return response

    def test_if_none_match(self):
        tag = self.server.get("/old.txt")["etag"]
        for value in (tag, f"W/{tag}", "*", f'"x", {tag}', f'{tag}, "x"', f'"x",{tag},"y"', f'W/"x" ,\t{tag}',
                      f', ,{tag}', f'"a,b", {tag}', f' {tag} '):
            self.expect(304, f"If-None-Match: {value}")
            self.expect(304, f"If-None-Match: {value}", method="HEAD")
        for value in ('"x"', 'W/"x"', tag.strip('"'), tag[:-1], tag[1:], f'"{tag[1:-2]}"', f'"x{tag[1:]}', '""', "",
                      tag.swapcase(), f'"{tag[1:-1]}x"'):
            self.expect(200, f"If-None-Match: {value}")
            self.expect(200, f"If-None-Match: {value}", method="HEAD")

    def test_two_lines_of_it(self):
        tag = self.server.get("/old.txt")["etag"]
        for lines, statuses in (((f"If-None-Match: {tag}", 'If-None-Match: "x"'), (200, 304)),
                                (('If-None-Match: "x"', f"If-None-Match: {tag}"), (200, 304)),
                                (('If-None-Match: "x"', 'If-None-Match: "y"'), (200,))):
            self.assertIn(self.server.get("/old.txt", *lines).status, statuses)

    def test_if_modified_since(self):
        for seconds, status in ((OLD, 304), (OLD + 1, 304), (OLD - 1, 200), (0, 200), (OLD + 86400 * 365, 304)):
            for method in ("GET", "HEAD"):
                self.expect(status, f"If-Modified-Since: {formatdate(seconds, usegmt=True)}", method=method)
        for value in ("yesterday", "", "0", str(OLD + 10), "Sun, 09 Sep 2001 01:46:40", "Sun, 99 Sep 2031 01:46:40 GMT",
                      "Sun, 09 Xxx 2031 01:46:40 GMT"):
            self.expect(200, f"If-Modified-Since: {value}")

    def test_if_none_match_goes_first(self):
        tag = self.server.get("/old.txt")["etag"]
        late, early = formatdate(OLD + 5, usegmt=True), formatdate(OLD - 5, usegmt=True)
        self.expect(200, 'If-None-Match: "x"', f"If-Modified-Since: {late}")
        self.expect(304, f"If-None-Match: {tag}", f"If-Modified-Since: {early}")

    def test_a_304_carries_what_it_must(self):
        full = self.server.get("/old.txt")
        response = self.expect(304, f"If-None-Match: {full['etag']}")
        self.assertEqual(response["etag"], full["etag"])
        self.assertIsNotNone(response["date"])
        self.assertIn(response["content-length"], (None, "3"))
        self.assertEqual(response["cache-control"], full["cache-control"])

    def test_only_for_what_is_there(self):
        self.expect(404, "If-None-Match: *", target="/missing")
        self.expect(405, "If-None-Match: *", method="POST")

    def test_closing_304(self):
        with self.server.client() as client:
            client.send(request("/old.txt", "If-None-Match: *", "Connection: close"))
            response = client.response()
            self.assertEqual((response.status, response.closes), (304, True))
            client.expect_end()
