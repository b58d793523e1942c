"""Real clients agree: curl, wget, Python's http.client, Node's fetch and a headless chromium.

They bring their own reading of HTTP. What they are asked to do here is what people use them for: parts of files and
resumed downloads, compressed answers, revalidation, many requests over a connection, pages with scripts, a film that is
scrubbed. A client that is not installed is a skip, and a failure with LOOM_REQUIRE_CLIENTS=1. clients/ holds what is
needed to drive them.
"""
import base64
import gzip
import http.client
import json
import os
import random
import re
import shutil
import struct
import subprocess
import unittest
import urllib.request
import zlib
from email.utils import formatdate

from case import Case, noise, write
from client import BOUND, Malformed, Response
from clients import chromium, film
from server import environment, wait_for

OLD = 1000000000  # Sun, 09 Sep 2001 01:46:40 GMT
CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
WORDS = """thread loom shuttle weft warp heddle reed cloth yarn spool bobbin treadle selvage twill satin damask linen
cotton silk wool hemp dye madder indigo weld fulling teasel carding spindle distaff whorl""".split()


def prose(seed, size):
    """Text that compresses as text does, the same for the same seed."""
    choice = random.Random(seed)
    out, length = [], 0
    while length < size:
        line = " ".join(choice.choice(WORDS) + choice.choice(("", "", "s", "ing", ",")) for _ in range(12))
        out.append(line)
        length += len(line) + 1
    return "\n".join(out)[:size]


def html(title, head="", body="", size=8000):
    return (f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\n"
            f"<link rel=icon href=data:,>{head}</head>\n"
            f"<body>{body}<p>{prose(title, size)}</p></body></html>\n").encode()


def commented(text, size=8000):
    """Source of a script or a style sheet."""
    return f"/* {prose(text, size)} */\n{text}\n".encode()


def required(program):
    """Where the program is. Without it the class is skipped, or has failed if clients are required."""
    path = shutil.which(program)
    if path:
        return path
    if os.environ.get("LOOM_REQUIRE_CLIENTS", "") not in ("", "0"):
        raise AssertionError(f"{program} is not installed, and LOOM_REQUIRE_CLIENTS is set")
    raise unittest.SkipTest(f"{program} is not installed")


def byteranges(response, whole, media_type):
    """The parts of a multipart/byteranges answer, [(first, last)], read strictly and compared with the whole."""
    match = re.fullmatch(r'multipart/byteranges; ?boundary=(?:"([^"]+)"|([0-9A-Za-z_-]+))', response["content-type"])
    if not match:
        raise Malformed(f"Content-Type {response['content-type']!r}")
    delimiter = b"\r\n--" + (match[1] or match[2]).encode()
    body = response.body if response.body.startswith(b"\r\n") else b"\r\n" + response.body
    if not body.startswith(delimiter):
        raise Malformed(f"no delimiter at the beginning: {body[:100]!r}")
    pieces = body.split(delimiter)
    if pieces[-1] not in (b"--", b"--\r\n") or pieces[0]:
        raise Malformed(f"the end of the parts: {pieces[-1]!r}")
    spans = []
    for piece in pieces[1:-1]:
        head, blank, data = piece.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if not blank or lines[0]:
            raise Malformed(f"a part's head: {piece[:200]!r}")
        fields = dict(line.decode().split(": ", 1) for line in lines[1:])
        fields = {name.lower(): value for name, value in fields.items()}
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields.pop("content-range"))
        first, last, total = map(int, span.groups())
        if fields != {"content-type": media_type} or total != len(whole) or data != whole[first:last + 1]:
            raise Malformed(f"a part: {head!r}, {len(data)} bytes")
        spans.append((first, last))
    return spans


class Clients(Case):
    """One tree for all of them."""
    shared = True
    matrix = "backends"  # one worker answers a connection, whatever others do
    coded = ("/page.html", "/app.js", "/style.css", "/data.json", "/drawing.svg")
    mirrored = ("index.html", "page.html", "app.js", "style.css", "drawing.svg", "sub/index.html", "noise.bin")

    @classmethod
    def setUpClass(cls):
        for program in getattr(cls, "programs", ()):
            required(program)
        super().setUpClass()

    @classmethod
    def plant(cls, root):
        cls.files = {
            "index.html": html("home", "<link rel=stylesheet href=/style.css><script src=/app.js></script>",
                               "<a href=page.html>page</a><a href=sub/>sub</a><a href=noise.bin>noise</a>"
                               "<img src=drawing.svg alt=''>"),
            "page.html": html("page", size=30000),
            "app.js": commented("document.title += ' of a loom';", 20000),
            "style.css": commented("body { color: #123; }", 10000),
            "data.json": json.dumps([{"word": word, "at": at} for at, word in enumerate(WORDS * 20)]).encode(),
            "drawing.svg": f"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><!--{prose(4, 9000)}--></svg>"
                           .encode(),
            "sub/index.html": html("sub"),
            "noise.bin": noise("noise", 300000),
            "large.bin": noise("large", 6 << 20),
            "old.txt": b"old",
            "empty.txt": b"",
            **{f"many/{number}.bin": noise(number, 20000) for number in range(40)},
        }
        for name, data in cls.files.items():
            write(root, name, data)
        os.utime(os.path.join(root, "old.txt"), (OLD, OLD))

    def setUp(self):
        self.here = self.directory()

    def url(self, target, server=None):
        host, port = (server or self.server).address
        return f"http://{host}:{port}{target}"

    def path(self, name):
        return os.path.join(self.here, name)

    def identical(self, got, wanted):
        """Of megabytes, where they differ is enough to know."""
        if got != wanted:
            at = next((at for at, (one, other) in enumerate(zip(got, wanted)) if one != other), "the end")
            self.fail(f"{len(got)} bytes in place of {len(wanted)}; the first difference is at {at}")

    def put(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def content(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def tool(self, *command, data=None, statuses=(0,)):
        """Runs a program to its end, in the test's directory, without the habits of who runs the tests."""
        env = {name: value for name, value in environment().items() if not name.lower().endswith("_proxy")}
        env.update(HOME=self.here, LC_ALL="C.UTF-8", TZ="UTC")
        try:
            done = subprocess.run(command, input=data, stdin=subprocess.DEVNULL if data is None else None,
                                  capture_output=True, timeout=2 * BOUND, cwd=self.here, env=env, check=False)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {2 * BOUND:g} s: {' '.join(command)}") from None
        self.assertIn(done.returncode, statuses, f"{' '.join(command)}: {done.stderr.decode('utf-8', 'replace')}")
        return done

    def await_codings(self, server=None, targets=None, codings=("br", "zstd", "gzip")):
        """Variants are built behind a snapshot that serves already: they come some time after."""
        for target in targets or self.coded:
            for coding in codings:
                wait_for(lambda: (server or self.server).get(target, f"Accept-Encoding: {coding}")["content-encoding"]
                         == coding, f"{target} in {coding}", step=0.05)


class Curl(Clients):
    cost = 6
    programs = ("curl",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        told = subprocess.run(["curl", "-q", "--version"], capture_output=True, text=True, check=True).stdout
        cls.features = re.search(r"(?m)^Features: (.*)$", told)[1].split()

    def curl(self, target, *arguments, status=200, output="body", method="GET", statuses=(0,)):
        """One request; the answer with its body, and what curl has measured."""
        for name in ("heads", *([output] if "-C" not in arguments and "-z" not in arguments else ())):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        done = self.tool("curl", "-q", "--silent", "--show-error", "--max-time", "60", "--dump-header", "heads",
                         "--write-out", "%{json}", "--output", output, *arguments, self.url(target), statuses=statuses)
        heads = [head for head in self.content("heads").split(b"\r\n\r\n") if head]
        self.assertEqual(len(heads), 1, heads)
        response = Response(heads[0], method)
        self.assertEqual(response.status, status, (target, arguments))
        response.body = self.content(output) if os.path.exists(self.path(output)) else b""
        response.measured = json.loads(done.stdout)
        return response

    def test_a_range(self):
        whole = self.files["noise.bin"]
        for asked, first, last in (("100-199", 100, 199), ("0-0", 0, 0), ("299990-", 299990, 299999),
                                   ("-100", 299900, 299999), ("299999-400000", 299999, 299999)):
            response = self.curl("/noise.bin", "--range", asked, status=206)
            self.assertEqual(response["content-range"], f"bytes {first}-{last}/300000")
            self.identical(response.body, whole[first:last + 1])
        response = self.curl("/noise.bin", "--range", "300000-", status=416)
        self.assertEqual(response["content-range"], "bytes */300000")

    def test_several_ranges(self):
        whole = self.files["noise.bin"]
        for asked, spans in (("0-99,1000-1099,-100", [(0, 99), (1000, 1099), (299900, 299999)]),
                             ("200000-,0-9", [(200000, 299999), (0, 9)]),
                             ("5000-5009,100-109,9999999-", [(5000, 5009), (100, 109)])):
            response = self.curl("/noise.bin", "--range", asked, status=206)
            self.assertIsNone(response["content-range"])
            self.assertEqual(byteranges(response, whole, "application/octet-stream"), spans)
        response = self.curl("/noise.bin", "--range", "0-99,50-149", status=206)  # joined: they overlap
        self.assertEqual(response["content-range"], "bytes 0-149/300000")
        self.assertEqual(response.body, whole[:150])

    def test_compressed(self):
        self.await_codings()
        for target in self.coded:
            whole = self.files[target[1:]]
            response = self.curl(target, "--compressed")
            self.identical(response.body, whole)
            self.assertIn(response["content-encoding"], ("br", "zstd", "gzip"))
            self.assertLess(response.measured["size_download"], len(whole) / 2)
            self.assertEqual(response["vary"], "Accept-Encoding")
            plain = self.curl(target)
            self.assertEqual(plain.body, whole)
            self.assertIsNone(plain["content-encoding"])
            self.assertEqual(plain["vary"], "Accept-Encoding")
            self.assertNotEqual(plain["etag"], response["etag"])
        response = self.curl("/noise.bin", "--compressed")
        self.assertEqual(response.body, self.files["noise.bin"])
        self.assertIsNone(response["content-encoding"])

    def test_each_coding_that_this_curl_reads(self):
        self.await_codings()
        for feature, coding in (("libz", "gzip"), ("brotli", "br"), ("zstd", "zstd")):
            if feature not in self.features:
                continue
            for target in self.coded:
                response = self.curl(target, "--compressed", "--header", f"Accept-Encoding: {coding}")
                self.assertEqual(response["content-encoding"], coding)
                self.assertEqual(response.body, self.files[target[1:]])
                head = self.curl(target, "--head", "--header", f"Accept-Encoding: {coding}", method="HEAD")
                self.assertEqual(head["content-encoding"], coding)
                self.assertEqual(head["content-length"], response["content-length"])
                # a range of a coded answer would be of no use to curl: what matters is that it says which it is
                part = self.curl(target, "--range", "0-9", "--header", f"Accept-Encoding: {coding}", status=206)
                self.assertEqual(part["content-encoding"], coding)
                self.assertEqual(part["content-range"], f"bytes 0-9/{response['content-length']}")
                self.assertEqual(part["etag"], response["etag"])
                # several parts: no field could say what the coding is of, so it is the whole
                whole = self.curl(target, "--range", "0-9,500-509", "--compressed", "--header",
                                  f"Accept-Encoding: {coding}")
                self.assertEqual(whole.body, self.files[target[1:]])

    def test_time_conditions(self):
        early, late = (formatdate(OLD + offset, usegmt=True) for offset in (-86400, 86400))
        self.assertEqual(self.curl("/old.txt", "--time-cond", early).body, b"old")
        self.assertEqual(self.curl("/old.txt", "--time-cond", late, status=304).body, b"")
        self.curl("/old.txt", "--time-cond", f"-{early}", status=412)
        self.curl("/old.txt", "--time-cond", f"-{late}")
        # a file: its own time is what is asked with
        self.curl("/old.txt", "--remote-time", output="copy")
        self.assertEqual(int(os.stat(self.path("copy")).st_mtime), OLD)
        self.curl("/old.txt", "-z", "copy", output="copy", status=304)
        self.assertEqual(self.content("copy"), b"old")
        os.utime(self.path("copy"), (OLD - 100, OLD - 100))
        self.put("copy", b"stale")
        os.utime(self.path("copy"), (OLD - 100, OLD - 100))
        self.curl("/old.txt", "-z", "copy", output="copy")
        self.assertEqual(self.content("copy"), b"old")

    def test_etags(self):
        self.await_codings(targets=("/page.html",))
        for arguments in ((), ("--compressed",)):
            tag = self.curl("/page.html", *arguments, "--etag-save", "tag")["etag"]
            self.assertEqual(self.content("tag").decode().strip(), tag)
            response = self.curl("/page.html", *arguments, "--etag-compare", "tag", "--etag-save", "tag", status=304)
            self.assertEqual(response["etag"], tag)
            self.assertEqual(response["vary"], "Accept-Encoding")
            self.assertEqual(self.content("tag").decode().strip(), tag)
            self.put("other", b'"other"\n')
            response = self.curl("/page.html", *arguments, "--etag-compare", "other")
            self.assertEqual(response.body, self.files["page.html"])

    def test_resumed_download(self):
        whole = self.files["large.bin"]
        for have in (1, len(whole) // 2, len(whole) - 1):
            self.put("large", whole[:have])
            response = self.curl("/large.bin", "-C", "-", output="large", status=206)
            self.assertEqual(response["content-range"], f"bytes {have}-{len(whole) - 1}/{len(whole)}")
            self.assertEqual(response.measured["size_download"], len(whole) - have)
            self.identical(response.body, whole)
        response = self.curl("/large.bin", "-C", "-", output="large", status=416)  # there is nothing more to have
        self.identical(self.content("large"), whole)

    def test_download_that_breaks_off(self):
        whole = self.files["large.bin"]
        # so slow that curl takes a buffer of this size; it looks at the rate and at the time after a hundred of them
        self.tool("curl", "-q", "--silent", "--limit-rate", "20k", "--max-time", "0.5", "--output", "large",
                  self.url("/large.bin"), statuses=(28,))
        # on a busy machine the time may be over before the first byte
        have = os.path.getsize(self.path("large")) if os.path.exists(self.path("large")) else 0
        self.assertLess(have, len(whole))
        self.identical(self.curl("/large.bin", "-C", "-", output="large", status=206 if have else 200).body, whole)

    def test_resumed_after_a_deploy(self):
        """curl sends no If-Range: it gets the part of the new file that it asks for, and does not know."""
        root = self.directory()
        old, new = noise("old", 100000), noise("new", 120000)
        write(root, "file.bin", old)
        server = self.start("--settle=50ms", root=root)
        self.put("file", old[:40000])
        write(root, "file.bin", new)
        wait_for(lambda: server.get("/file.bin").body == new, "the new file")
        self.curl_of(server, "/file.bin", "-C", "-", "--output", "file")
        self.identical(self.content("file"), old[:40000] + new[40000:])
        # who does send it, by hand, gets the whole
        tag = server.get("/file.bin")["etag"]
        for condition, want in (('"old"', new), (tag, new[40000:])):
            self.curl_of(server, "/file.bin", "--range", "40000-", "--header", f"If-Range: {condition}",
                         "--output", "part")
            self.identical(self.content("part"), want)

    def curl_of(self, server, target, *arguments):
        return self.tool("curl", "-q", "--silent", "--show-error", "--fail", "--max-time", "60", *arguments,
                         self.url(target, server)).stdout

    def test_http_1_0(self):
        response = self.curl("/noise.bin", "--http1.0")
        self.assertEqual(response.body, self.files["noise.bin"])
        self.assertTrue(response.closes)
        told = self.curl_of(self.server, "/page.html", "--http1.0", "--write-out", "%{num_connects} ", "--output", "a",
                            self.url("/noise.bin"), "--output", "b")
        self.assertEqual(told.split(), [b"1", b"1"])
        self.assertEqual({self.content("a"), self.content("b")}, {self.files["noise.bin"], self.files["page.html"]})
        response = self.curl("/page.html", "--http1.0", "--header", "Connection: keep-alive")
        self.assertEqual(response["connection"], "keep-alive")
        self.curl("/page.html", "--http1.0", "--header", "Host:")

    def test_head(self):
        self.await_codings(targets=("/page.html", "/"))
        for target in ("/noise.bin", "/page.html", "/", "/empty.txt"):
            for arguments in ((), ("--compressed",)):
                got = self.curl(target, *arguments)
                head = self.curl(target, "--head", *arguments, method="HEAD")
                self.assertEqual(head.stable_head(), got.stable_head())
        response = self.curl("/noise.bin", "--head", "--range", "0-9", method="HEAD")
        self.assertEqual(response["content-length"], "300000")
        self.curl("/not-there", "--head", method="HEAD", status=404)

    def test_one_connection_for_all(self):
        """No answer of these ends the connection."""
        tag = self.server.get("/page.html")["etag"]
        requests = ([self.url("/page.html")], [self.url("/not-there")], ["--head", self.url("/noise.bin")],
                    ["--header", f"If-None-Match: {tag}", self.url("/page.html")],
                    ["--range", "7-8", self.url("/noise.bin")], ["--range", "7-8,1000-2000", self.url("/noise.bin")],
                    ["--range", "999999-", self.url("/noise.bin")], [self.url("/sub")],
                    ["--header", "If-Match: \"x\"", self.url("/page.html")],
                    ["--request", "OPTIONS", self.url("/page.html")], ["--data", "a=b", self.url("/page.html")],
                    ["--compressed", self.url("/app.js")], [self.url("/")])
        command = []
        for number, request in enumerate(requests):
            command += ["--next"] if command else []
            command += ["--silent", "--show-error", "--max-time", "60", "--output", f"out{number}",
                        "--write-out", "%{http_code} %{num_connects}\n", *request]
        told = [line.split() for line in self.tool("curl", "-q", *command).stdout.decode().splitlines()]
        self.assertEqual([status for status, _ in told],
                         "200 404 200 304 206 206 416 301 412 200 405 200 200".split())
        self.assertEqual([connects for _, connects in told], ["1"] + ["0"] * (len(requests) - 1))
        self.assertEqual(self.content("out12"), self.files["index.html"])

    def test_many_at_once(self):
        self.tool("curl", "-q", "--silent", "--show-error", "--fail", "--max-time", "60", "--parallel",
                  "--parallel-max", "16", "--output", "#1", self.url("/many/[0-39].bin"))
        for number in range(40):
            self.assertEqual(self.content(str(number)), self.files[f"many/{number}.bin"])

    def test_redirect_is_followed(self):
        response = self.tool("curl", "-q", "--silent", "--show-error", "--location", "--write-out",
                             "%{http_code} %{num_redirects} %{url_effective}", "--output", "body",
                             self.url("/sub?a=b&c=%20")).stdout.decode().split()
        self.assertEqual(response, ["200", "1", self.url("/sub/?a=b&c=%20")])
        self.assertEqual(self.content("body"), self.files["sub/index.html"])

    def test_dot_segments(self):
        for target, status in (("/../page.html", 400), ("/sub/../../page.html", 400), ("/%2e%2e/page.html", 400),
                               ("/sub/../page.html", 200), ("/./page.html", 200), ("/sub/%2E%2e/page.html", 200),
                               ("//page.html", 200), ("/sub/..%2fpage.html", 404), ("/..page.html", 404)):
            response = self.curl(target, "--path-as-is", status=status)
            if status == 200:
                self.assertEqual(response.body, self.files["page.html"])
        self.curl("/../../page.html")  # curl takes the dots out by itself

    def test_uploads_are_refused_at_once(self):
        """With Expect, not a byte of the body is sent; without, curl stops when it hears the answer."""
        self.put("big", bytes(4 << 20))
        self.put("small", bytes(60 << 10))
        for status, *arguments in ((405, "--upload-file", "small"), (405, "--data-binary", "@small"),
                                   (405, "--upload-file", "big", "--header", "Transfer-Encoding: chunked"),
                                   (413, "--upload-file", "big"), (413, "--data-binary", "@big")):
            response = self.curl("/page.html", *arguments, "--header", "Expect: 100-continue",
                                 "--expect100-timeout", "50", status=status)
            if status == 405:
                self.assertIn("GET", response["allow"])
            self.assertTrue(response.closes)
            self.assertEqual(response.measured["size_upload"], 0)
            self.assertLess(response.measured["time_total"], 40)
        for arguments in (("--upload-file", "big"), ("--data-binary", "@big"),
                          ("--upload-file", "big", "--header", "Transfer-Encoding: chunked")):
            response = self.curl("/page.html", *arguments, "--header", "Expect:", status=413)
            self.assertTrue(response.closes)
        response = self.curl("/page.html", "--data", "a=b", status=405)
        self.assertFalse(response.closes)

    def test_what_it_offers_is_passed_over(self):
        """h2c in Upgrade, and TE."""
        if "HTTP2" in self.features:
            self.assertEqual(self.curl("/page.html", "--http2").body, self.files["page.html"])
        self.assertEqual(self.curl("/page.html", "--tr-encoding").body, self.files["page.html"])


class Wget(Clients):
    cost = 3
    programs = ("wget",)

    def wget(self, *arguments, statuses=(0,)):
        return self.tool("wget", "--no-config", "--no-proxy", "--tries=1", "--timeout=60", "--server-response",
                         *arguments, statuses=statuses).stderr.decode("utf-8", "replace")

    def test_continue(self):
        whole = self.files["large.bin"]
        self.put("large.bin", whole[:1 << 20])
        said = self.wget("--continue", self.url("/large.bin"))
        self.assertIn(" 206 ", said)
        self.identical(self.content("large.bin"), whole)
        said = self.wget("--continue", self.url("/large.bin"))
        self.assertIn(" 416 ", said)
        self.identical(self.content("large.bin"), whole)

    def test_timestamping(self):
        self.assertIn(" 200 ", self.wget("--timestamping", self.url("/old.txt")))
        self.assertEqual(int(os.stat(self.path("old.txt")).st_mtime), OLD)
        self.assertIn(" 304 ", self.wget("--timestamping", self.url("/old.txt")))
        self.assertEqual(self.content("old.txt"), b"old")

    def test_gzip(self):
        self.await_codings(targets=("/page.html",), codings=("gzip",))
        said = self.wget("--compression=gzip", self.url("/page.html"))
        self.assertIn("Content-Encoding: gzip", said)
        self.assertEqual(self.content("page.html"), self.files["page.html"])

    def test_mirror(self):
        """All that the pages name, over one connection."""
        said = self.wget("--recursive", "--no-host-directories", "-e", "robots=off", self.url("/"))
        for name in self.mirrored:
            self.assertEqual(self.content(name), self.files[name])
        self.assertEqual(said.count("connected."), 1)


class HttpClient(Clients):
    """Python's own."""

    def connection(self):
        connection = http.client.HTTPConnection(*self.server.address, timeout=BOUND)
        self.addCleanup(connection.close)
        return connection

    def test_one_connection(self):
        connection = self.connection()
        connection.connect()
        sock = connection.sock

        def ask(target, status, method="GET", body=None, **fields):
            connection.request(method, target, body, {name.replace("_", "-"): value for name, value in fields.items()})
            response = connection.getresponse()
            data = response.read()
            self.assertEqual((response.status, response.version), (status, 11))
            self.assertIs(connection.sock, sock, f"the connection ended after {method} {target}")
            return response, data

        for _ in range(3):
            for name in ("page.html", "noise.bin", "empty.txt", "old.txt", "large.bin"):
                response, data = ask("/" + name, 200)
                self.identical(data, self.files[name])
                tag = response.getheader("ETag")
                self.assertEqual(ask("/" + name, 304, If_None_Match=tag)[1], b"")
                self.assertEqual(ask("/" + name, 200, method="HEAD")[1], b"")
                since = response.getheader("Last-Modified")
                self.assertEqual(ask("/" + name, 304, If_Modified_Since=since)[1], b"")
                if data:
                    response, part = ask("/" + name, 206, Range="bytes=0-0", If_Range=tag)
                    self.assertEqual(response.getheader("Content-Range"), f"bytes 0-0/{len(data)}")
                    self.assertEqual(part, data[:1])
                    self.identical(ask("/" + name, 200, Range="bytes=0-0", If_Range='"x"')[1], data)
                ask("/" + name, 412, If_Match='"x"')
            ask("/not-there", 404)
            ask("/page.html", 405, method="POST", body=b"a=b")
            ask("/page.html", 405, method="PUT", body=iter([b"in ", b"chunks"]))

    def test_gzip(self):
        self.await_codings(codings=("gzip",))
        connection = self.connection()
        for target in self.coded:
            for field in ("gzip", "gzip, deflate", "br;q=0, gzip;q=0.5", "x-gzip"):
                connection.request("GET", target, headers={"Accept-Encoding": field})
                response = connection.getresponse()
                data = response.read()
                self.assertEqual(response.getheader("Content-Encoding"), "gzip", field)
                self.assertLess(len(data), len(self.files[target[1:]]))
                self.assertEqual(gzip.decompress(data), self.files[target[1:]])

    def test_download_in_parts(self):
        """Four connections, a quarter each, as download managers do."""
        whole = self.files["large.bin"]
        quarter = len(whole) // 4
        connections = [self.connection() for _ in range(4)]
        for number, connection in enumerate(connections):
            last = (number + 1) * quarter - 1 if number < 3 else ""
            connection.request("GET", "/large.bin", headers={"Range": f"bytes={number * quarter}-{last}"})
        parts = [connection.getresponse().read() for connection in connections]
        self.identical(b"".join(parts), whole)

    def test_urllib(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url("/sub?x=1"), timeout=BOUND) as response:
            self.assertEqual(response.read(), self.files["sub/index.html"])
            self.assertEqual(response.url, self.url("/sub/?x=1"))


class Node(Clients):
    """fetch() of Node: undici, with its own pool of connections and its own decoders."""
    cost = 2
    programs = ("node",)

    def fetch(self, *requests, together=False):
        """(target, {field: value}) or a target alone; the answers in order, and how many connections there were."""
        asked = []
        for one in requests:
            target, headers, more = (*((one,) if isinstance(one, str) else one), {}, {})[:3]
            asked.append({"url": self.url(target), "options": {"headers": headers, **more.get("options", {})},
                          "abort": more.get("abort", False)})
        done = self.tool("node", os.path.join(CLIENTS, "fetch.mjs"),
                         data=json.dumps({"together": together, "requests": asked}).encode())
        told = json.loads(done.stdout)
        for answer in told["answers"]:
            self.assertNotIn("error", answer)
            if "body" in answer:
                answer["body"] = base64.b64decode(answer["body"])
        return told["answers"], told["connections"]

    def test_decoding(self):
        self.await_codings()
        asked = [(target, {"Accept-Encoding": codings} if codings else {}, (codings or "gzip, br").split(", "))
                 for target in self.coded for codings in (None, "br", "gzip", "br, gzip")]
        answers, connections = self.fetch(*[(target, fields) for target, fields, _ in asked])
        self.assertEqual(connections, 1)
        for (target, _, codings), answer in zip(asked, answers):
            self.assertEqual((answer["status"], answer["body"]), (200, self.files[target[1:]]))
            self.assertIn(answer["fields"].get("content-encoding"), codings)

    def test_ranges(self):
        whole = self.files["noise.bin"]
        answers, _ = self.fetch(("/noise.bin", {"Range": "bytes=10-19"}), ("/noise.bin", {"Range": "bytes=-7"}),
                                ("/noise.bin", {"Range": "bytes=300000-"}))
        self.assertEqual([answer["status"] for answer in answers], [206, 206, 416])
        self.assertEqual(answers[0]["body"], whole[10:20])
        self.assertEqual(answers[1]["body"], whole[-7:])
        # of a text fetch() asks for the bytes as they are: it adds Accept-Encoding: identity
        answers, _ = self.fetch(("/page.html", {"Range": "bytes=100-199"}))
        self.assertEqual((answers[0]["status"], answers[0]["body"]), (206, self.files["page.html"][100:200]))

    def test_conditions(self):
        self.await_codings(targets=("/page.html",))
        answers, _ = self.fetch("/noise.bin", "/page.html")
        tags = [answer["fields"]["etag"] for answer in answers]
        answers, connections = self.fetch(("/noise.bin", {"If-None-Match": tags[0]}),
                                          ("/page.html", {"If-None-Match": f'"x", W/{tags[1]}'}),
                                          ("/noise.bin", {"If-None-Match": '"x"'}))
        self.assertEqual([answer["status"] for answer in answers], [304, 304, 200])
        self.assertEqual([answer["length"] for answer in answers], [0, 0, 300000])
        self.assertEqual(connections, 1)

    def test_redirect(self):
        answers, _ = self.fetch("/sub?q=1%202", ("/sub", {}, {"options": {"redirect": "manual"}}))
        self.assertEqual((answers[0]["status"], answers[0]["redirected"], answers[0]["url"]),
                         (200, True, self.url("/sub/?q=1%202")))
        self.assertEqual(answers[0]["body"], self.files["sub/index.html"])
        self.assertEqual((answers[1]["status"], answers[1]["fields"]["location"]), (301, "/sub/"))

    def test_head(self):
        answers, _ = self.fetch(("/noise.bin", {}, {"options": {"method": "HEAD"}}), "/noise.bin")
        self.assertEqual([answer["fields"]["content-length"] for answer in answers], ["300000"] * 2)
        self.assertEqual([answer["length"] for answer in answers], [0, 300000])

    def test_keep_alive(self):
        """HEAD and redirects are not among these: after them undici ends the connection by itself."""
        answers, connections = self.fetch(*[f"/many/{number}.bin" for number in range(40)], "/not-there", "/large.bin",
                                          ("/page.html", {}, {"options": {"method": "POST", "body": "a=b"}}), "/")
        self.assertEqual([answer["status"] for answer in answers], [200] * 40 + [404, 200, 405, 200])
        for number in range(40):
            self.assertEqual(answers[number]["body"], self.files[f"many/{number}.bin"])
        self.assertEqual(connections, 1)

    def test_together(self):
        answers, _ = self.fetch(*[f"/many/{number}.bin" for number in range(40)] * 2, together=True)
        for number, answer in enumerate(answers):
            self.assertEqual(answer["body"], self.files[f"many/{number % 40}.bin"])

    def test_given_up(self):
        """A download that is aborted disturbs nothing else."""
        answers, _ = self.fetch(("/large.bin", {}, {"abort": True}), "/page.html",
                                ("/large.bin", {}, {"abort": True}), "/large.bin")
        self.assertEqual(answers[1]["body"], self.files["page.html"])
        self.identical(answers[3]["body"], self.files["large.bin"])


FRAMES = 32  # that are drawn, 130 KB each; the film has all of them several times, a second each
LENGTH = 128  # of the film, in seconds
PICTURES = """(async (first, last) => {
    const canvas = new OffscreenCanvas(640, 360), context = canvas.getContext('2d', {alpha: false});
    const noise = context.createImageData(640, 260);
    const pictures = [];
    for (let number = first; number < last; number++) {
        for (let at = 0; at < noise.data.length; at += 65536)
            crypto.getRandomValues(noise.data.subarray(at, at + 65536));
        for (let at = 3; at < noise.data.length; at += 4)
            noise.data[at] = 255;
        context.putImageData(noise, 0, 100);
        for (let bit = 0; bit < 8; bit++) {  // which picture it is can be read in its first hundred lines
            context.fillStyle = number >> bit & 1 ? '#fff' : '#000';
            context.fillRect(bit * 80, 0, 80, 100);
        }
        const blob = await canvas.convertToBlob({type: 'image/webp', quality: 0.9});
        const bytes = new Uint8Array(await blob.arrayBuffer());
        let text = '';
        for (let at = 0; at < bytes.length; at += 32768)
            text += String.fromCharCode(...bytes.subarray(at, at + 32768));
        pictures.push(btoa(text));
    }
    return pictures;
})"""

WATCH = """
const video = document.querySelector('video');
const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
let failure = null;
video.onerror = () => { failure = video.error.message; };
/* the number of the picture that is to be seen */
function seen() {
    if (failure)
        throw new Error(failure);
    context.canvas.width = 640, context.canvas.height = 360;
    context.drawImage(video, 0, 0);
    let number = 0;
    for (let bit = 0; bit < 8; bit++)
        number |= (context.getImageData(bit * 80 + 40, 50, 1, 1).data[0] > 127) << bit;
    return number;
}
function seek(seconds) {
    return new Promise((resolve, reject) => {
        video.onerror = () => reject(new Error(video.error.message));
        video.onseeked = () => resolve(video.currentTime);
        video.currentTime = seconds;
    });
}
"""


def png(seed, side=48):
    """A picture of noise."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + noise(f"{seed}{row}", 3 * side) for row in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Chromium(Clients):
    """Asked itself, over its DevTools protocol, what it sent, what came over the wire, and what became of it."""
    cost = 12
    programs = ("chromium",)
    arguments = ("--cache-control=no-cache",)
    scripts = ("/app.js", "/lib/hello.js", "/lib/vendor.0123abcd.js", "/classic.js")
    coded = ("/", *scripts, "/style.css", "/drawing.svg", "/data.json")
    done = "window.told === 'hello, vendor, classic, 20' && document.images.length === 2 " \
           "&& [...document.images].every(image => image.naturalWidth > 0) " \
           "&& getComputedStyle(document.body).color === 'rgb(1, 2, 3)'"

    @classmethod
    def setUpClass(cls):
        for program in cls.programs:
            required(program)
        cls.browser = chromium.Browser()
        try:
            super().setUpClass()
        except BaseException:
            cls.browser.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        super().tearDownClass()

    @classmethod
    def plant(cls, root):
        cls.plant_page(root)
        pictures = []
        with cls.browser.page() as page:
            for first in range(0, FRAMES, 16):
                pictures += page.evaluate(f"{PICTURES}({first}, {min(first + 16, FRAMES)})")
        cls.film = film.webm([base64.b64decode(picture) for picture in pictures] * (LENGTH // FRAMES), 1000)
        write(root, "film.webm", cls.film)
        write(root, "film.html", html("film", body="<video src=/film.webm muted preload=metadata></video>"
                                                   "<script src=/watch.js></script>"))
        write(root, "watch.js", commented(WATCH))

    @classmethod
    def plant_page(cls, root):
        for name, data in {
            "index.html": html(
                "home", "<link rel=stylesheet href=/style.css><script src=/classic.js defer></script>"
                        "<script type=module src=/app.js></script>",
                "<img src=/drawing.svg alt=''><img src=/picture.png alt=''>"),
            "app.js": commented(
                "import {hello} from './lib/hello.js';\nimport {vendor} from './lib/vendor.0123abcd.js';\n"
                "const data = await (await fetch('/data.json')).json();\n"
                "window.told = [hello, vendor, window.classic, data.length].join(', ');\n"),
            "lib/hello.js": commented("export const hello = 'hello';"),
            "lib/vendor.0123abcd.js": commented("export const vendor = 'vendor';"),
            "classic.js": commented("window.classic = 'classic';"),
            "style.css": commented("body { color: rgb(1, 2, 3); background: url(/picture.png); }"),
            "drawing.svg": f"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><!--{prose(4, 9000)}--></svg>"
                           .encode(),
            "data.json": json.dumps([prose(number, 200) for number in range(20)]).encode(),
            "picture.png": png(1),
        }.items():
            write(root, name, data)

    def sound(self, page, exchanges, count):
        """The page is whole: all of its requests have been answered well, and its scripts have done their work."""
        page.until(self.done)
        self.assertEqual(page.complaints, [])
        self.assertEqual([one for one in exchanges if one.error or one.shown not in (200, 206, 304)], [])
        self.assertEqual(len({one.url for one in exchanges}), count)

    def test_page_and_reloads(self):
        self.await_codings()
        with self.browser.page() as page:
            first = page.load(self.url("/"))
            self.sound(page, first, 9)
            for one in first:
                target = one.url.removeprefix(self.url(""))
                self.assertEqual(one.status, 200, one)
                if target in self.coded:
                    self.assertIn(one.fields.get("content-encoding"), ("br", "zstd", "gzip"), one)
                    self.assertIn(one.fields["content-encoding"], one.asked["accept-encoding"])
                    self.assertEqual(one.fields.get("vary"), "Accept-Encoding")
                else:
                    self.assertNotIn("content-encoding", one.fields, one)
            # reloads: what is no-cache is asked for anew and has not changed; what never changes is not asked for
            for _ in range(2):
                again = page.reload()
                self.sound(page, again, 9)
                for one in again:
                    if one.url.endswith("/vendor.0123abcd.js"):
                        self.assertTrue(one.cached and one.status is None, one)
                    elif one.status is None:  # the picture is named twice, and memory has it for the second
                        self.assertTrue(one.cached and one.url.endswith("/picture.png"), one)
                    else:
                        self.assertEqual(one.status, 304, one)
                        self.assertIn("if-none-match", one.asked)
                        self.assertLess(one.wire_bytes, 600, one)
            # and past the caches, when it is told to
            whole = page.reload(ignore_cache=True)
            self.sound(page, whole, 9)
            self.assertEqual({one.status for one in whole if one.status}, {200})

    def test_default_policy(self):
        """Without options the page is asked for anew, and nothing that has not changed comes in full a second time."""
        server = self.start()
        self.await_codings(server)
        with self.browser.page() as page:
            self.sound(page, page.load(self.url("/", server)), 9)
            again = page.reload()
            self.sound(page, again, 9)
            self.assertEqual([one for one in again if one.status not in (304, None)], [])
            document, = [one for one in again if one.url == self.url("/", server)]
            self.assertEqual(document.status, 304, document)

    def test_deploy_between_loads(self):
        """Only what has changed comes again, and all the rest is still known by its validators."""
        root = self.directory()
        self.plant_page(root)
        server = self.start("--settle=50ms", *self.arguments, root=root)
        self.await_codings(server)
        with self.browser.page() as page:
            self.sound(page, page.load(self.url("/", server)), 9)
            new = commented("export const hello = 'hallo';")
            write(root, "lib/hello.js", new)
            wait_for(lambda: server.get("/lib/hello.js").body == new, "the new script")
            again = page.reload()
            page.until(self.done.replace("hello", "hallo"))
            self.assertEqual({one.url.removeprefix(self.url("", server)) for one in again if one.status == 200},
                             {"/lib/hello.js"})
            self.assertGreaterEqual(len([one for one in again if one.status == 304]), 6)

    def test_film(self):
        """Scrubbing: the browser asks for the part that it needs, and what is then to be seen is what belongs there."""
        with self.browser.page() as page:
            page.load(self.url("/film.html"))
            page.until("video.readyState >= 1 && !failure")
            self.assertEqual(page.evaluate("video.duration"), LENGTH)
            for seconds in (90.5, 5.5, 65.25, 126.5, 40.75, 0.5, 110.5):
                self.assertAlmostEqual(page.evaluate(f"seek({seconds})"), seconds, places=3)
                page.until(f"seen() === {int(seconds) % FRAMES}")
            page.evaluate("video.play()")
            page.until("video.currentTime > 110.6")
            asked = [one for one in page.exchanges() if one.url == self.url("/film.webm") and one.status]
            starts = set()
            for one in asked:
                for sent, (status, fields) in zip(one.sent, one.answers):
                    # what chromium has kept of the film it asks for by If-None-Match beside Range
                    self.assertIn(status, (206, 304) if "if-none-match" in sent else (206,), one)
                    if status == 206:
                        start, last = re.fullmatch(r"bytes=(\d+)-(\d*)", sent["range"]).groups()
                        self.assertEqual(fields["content-range"],
                                         f"bytes {start}-{last or len(self.film) - 1}/{len(self.film)}")
                        self.assertNotIn("content-encoding", fields)
                        starts.add(int(start))
            self.assertGreaterEqual(len(starts), 3, f"the browser has not asked for parts: {asked}")
            self.assertEqual(page.complaints, [])
