"""HTTP, case by case: the tables in tests/e2e/http, whose README.md says how they are written.

Every case is asked whole, first on its connection and after another request, and a byte at a time, in one of the two
places; in both with LOOM_E2E_LONG=1. The answers must be the same; a connection that is to be kept must then answer a plain request; one that is to be
closed must end, without a byte more, even if a further request was sent. HEAD in the place of GET must be answered
alike. To be quick, and so that single bytes are read singly, a batch of connections is served in turns: a byte to each
of them, and then the next byte.
"""
import datetime
import functools
import gzip
import os
import random
import re
import subprocess
import time
import zlib
from email.utils import format_datetime

from case import Case, write
from client import STRONG_ETAG, Ended, Malformed, close_all, http_time, request
from server import LONG, wait_for

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "http")
OLD = 1000000000  # Sun, 09 Sep 2001 01:46:40 GMT, the time of every planted file but a few
PATIENCE = 60  # seconds; only an answer that never comes takes so long
VARIANTS = 120  # seconds; they are made when nothing else wants the processor
BATCH = 64  # connections at a time
PAUSE = 0.0001  # seconds between two rounds of single bytes, for the server to read them
SINGLE = 320  # so many bytes at either end of a request go singly; the middle of a long one in larger pieces
FIRST = request("/next.txt")
AFTER = request("/next.txt?after")
WAYS = tuple((dripped, after) for after in (False, True) for dripped in (False, True))


def turns(row, way):
    """Whether it is this row's turn to be asked a byte at a time, first or after another: half of them are, each time."""
    return LONG or not way[0] or "first" in row.options or way[1] == (zlib.crc32(row.name.encode()) % 2 == 1)


# --- the tables ---------------------------------------------------------------------------------------------------


class BadTable(Exception):
    """A table that cannot be read: where, and why."""


class Expect:
    """One answer that must come."""

    def __init__(self, status, connection, head):
        self.status, self.connection, self.head = status, connection, head
        self.fields = []  # (name, how, value)
        self.only = None  # names of fields, or None: any
        self.body = None


class Row:
    """One case."""

    def __init__(self, file, line, name, sections):
        self.file, self.line, self.name, self.sections = file, line, name, sections
        self.sent = []  # (mark, text) in order; the marks are ?, > and >>
        self.expected = []
        self.options = set()
        self.nosniff = True

    @property
    def where(self):
        return f"{self.file}:{self.line} {self.name}"

    @property
    def closes(self):
        return bool(self.expected) and self.expected[-1].connection == "close"

    @property
    def base(self):
        return self.name.partition(".")[0]


SECTION = re.compile(r"\d{4} [\d.]+(?:, (?:\d{4} )?[\d.]+)*")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
STATUS = re.compile(r"(\d\d\d(?:\|\d\d\d)*) (keep|close|any)( head)?")
FIELD = re.compile(r"([A-Za-z-]+):(?: (.*))?")
OPTIONS = {"first", "whole", "finish"}
MEANING = re.compile(r"\$\{([^{}]*)\}")


def replaced(text, known):
    """The text with the macros and columns of the table; what only the server can tell is left."""
    return MEANING.sub(lambda match: known.get(match[1], match[0]), text)


class Table:
    """One file of cases."""

    def __init__(self, path):
        self.file = os.path.relpath(path, os.path.dirname(HERE))
        self.rows = []
        self.arguments = []
        self.macros = {}
        with open(path, encoding="ascii") as file:
            lines = file.read().split("\n")
        blocks, current = [], None
        for number, line in enumerate(lines, 1):
            if line != line.rstrip():
                raise BadTable(f"{self.file}:{number}: white space at the end; write \\x20")
            if not line or line.startswith("#"):
                continue
            mark, _, text = line.partition(" ")
            if mark == "@" and current is None:
                self.arguments += text.split()
            elif mark == "$":
                name, _, value = text.partition(" = ")
                self.macros[name] = replaced(value, self.macros)
            elif mark == "=":
                current = [(number, mark, text)]
                blocks.append(current)
            elif current is not None and mark in ("?", ">", ">>", "<", "<!", "<<", "!", "|"):
                current.append((number, mark, text))
            else:
                raise BadTable(f"{self.file}:{number}: {line!r}")
        for block in blocks:
            self.read(block)

    def read(self, block):
        columns = [(number, text) for number, mark, text in block if mark == "|"]
        lines = [one for one in block if one[1] != "|"]
        if not columns:
            self.rows.append(self.row(lines, lines[0][0], "", {}))
        for at, (number, text) in enumerate(columns, 1):
            values = [("" if value == "-" else value) for value in re.split(r" +\| +", text.strip())]
            known = {str(index): replaced(value, self.macros) for index, value in enumerate(values, 1)}
            self.rows.append(self.row(lines, number, f".{at}", known))

    def row(self, lines, number, suffix, columns):
        known = {**self.macros, **columns}
        name, _, sections = lines[0][2].partition("  ")
        sections = sections.strip()
        if not NAME.fullmatch(name) or not SECTION.fullmatch(sections):
            raise BadTable(f"{self.file}:{lines[0][0]}: a row begins `= name  9112 2.2, 9110 5.5`")
        row = Row(self.file, number, name + suffix, sections)
        row.nosniff = "--no-nosniff" not in self.arguments
        for line, mark, text in lines[1:]:
            text = replaced(text, known)
            where = f"{self.file}:{line}"
            if re.search(r"\$\{\d*\}", text):
                raise BadTable(f"{where}: a column that {number} does not have")
            if mark in ("?", ">", ">>"):
                row.sent.append((mark, text))
            elif mark == "!":
                row.options |= set(text.split())
                if not row.options <= OPTIONS:
                    raise BadTable(f"{where}: options are {', '.join(sorted(OPTIONS))}")
            elif mark == "<" and STATUS.fullmatch(text):
                statuses, connection, head = STATUS.fullmatch(text).groups()
                row.expected.append(Expect([int(one) for one in statuses.split("|")], connection, bool(head)))
            elif mark == "<" and text == "nothing" and not row.expected:
                row.options.add("nothing")
            elif not row.expected:
                raise BadTable(f"{where}: an answer begins `< 200 keep`")
            elif mark == "<!":
                row.expected[-1].only = {one.lower() for one in text.split()}
            elif mark == "<<":
                row.expected[-1].body = text
            elif FIELD.fullmatch(text):
                field, value = FIELD.fullmatch(text).groups()
                value = value or ""
                how = {"~": "~", "-": "-", "*": "*"}.get(value.partition(" ")[0], "=")
                if how != "=":
                    value = value[2:]
                row.expected[-1].fields.append((field.lower(), how, value))
            else:
                raise BadTable(f"{where}: {text!r}")
        if not row.sent or not (row.expected or "nothing" in row.options):
            raise BadTable(f"{self.file}:{number}: nothing sent, or nothing expected")
        return row


@functools.lru_cache(maxsize=None)
def tables():
    """Every table, by its name."""
    names = sorted(name for name in os.listdir(HERE) if name.endswith(".cases"))
    return {name.removesuffix(".cases"): Table(os.path.join(HERE, name)) for name in names}


# --- from text to bytes -------------------------------------------------------------------------------------------

ESCAPE = re.compile(rb"\\(?:([rnt\\])|x([0-9a-fA-F]{2}))")
NAMED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}
SPEC = re.compile(r"(now|/\S*?)(?:([+-]\d+)([sdy]?))?")


def unescaped(text):
    return ESCAPE.sub(lambda match: NAMED[match[1]] if match[1] else bytes([int(match[2], 16)]), text.encode())


class Meanings:
    """What ${...} stands for, as far as it depends on the server; asked for once."""

    def __init__(self, server):
        self.server = server
        self.now = int(time.time())
        self.heads = {}
        self.known = {}

    def head(self, target, coding="identity"):
        key = (target, coding)
        if key not in self.heads:
            fields = [f"Accept-Encoding: {coding}, identity;q=0"] if coding != "identity" else []
            response = self.server.get(target, *fields, method="HEAD")
            if response.status != 200 or (response["content-encoding"] or "identity") != coding:
                raise Malformed(f"{target} cannot be had as {coding}")
            self.heads[key] = response
        return self.heads[key]

    def seconds(self, spec):
        match = SPEC.fullmatch(spec)
        if not match:
            raise BadTable(f"no time: {spec}")
        base, offset, unit = match.groups()
        seconds = self.now if base == "now" else int(http_time(self.head(base)["last-modified"] or ""))
        when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        if unit == "y":  # to the first of January, which every year has
            return when.replace(year=when.year + int(offset), month=1, day=1)
        return when + datetime.timedelta(seconds=int(offset or 0) * (86400 if unit == "d" else 1))

    def of(self, expression):
        repeat = re.fullmatch(r"(\d+)\*(.*)", expression, re.S)
        if repeat:
            return int(repeat[1]) * repeat[2]
        if expression not in self.known:
            self.known[expression] = self.ask(expression)
        return self.known[expression]

    def ask(self, expression):
        kind, _, rest = expression.partition(":")
        if kind in ("etag", "opaque"):
            tag = self.head(*rest.split())["etag"] or ""
            return tag if kind == "etag" else tag[1:-1]
        if kind == "size":
            return self.head(*rest.split())["content-length"]
        if kind == "smallest":
            target, *codings = rest.split()
            return min((int(self.head(target, one)["content-length"]), one) for one in codings)[1]
        if kind == "imf":
            return format_datetime(self.seconds(rest), usegmt=True)
        if kind == "850":
            return self.seconds(rest).strftime("%A, %d-%b-%y %H:%M:%S GMT")
        if kind == "asctime":
            when = self.seconds(rest)
            return when.strftime("%a %b ") + f"{when.day:2d}" + when.strftime(" %H:%M:%S %Y")
        raise BadTable(f"nothing is known of ${{{expression}}}")

    def text(self, text):
        while True:  # the innermost first
            new = MEANING.sub(lambda match: self.of(match[1]), text)
            if new == text:
                return text
            text = new

    def bytes(self, row):
        """The request. Ordinary lines (?) get version, Host, CRLF and an empty line; the others are as they are."""
        out, ordinary = [], False
        for mark, text in row.sent:
            text = self.text(text)
            if mark != "?":
                if ordinary:
                    out.append(b"\r\n")
                ordinary = False
                out.append(unescaped(text) + (b"\r\n" if mark == ">" else b""))
            elif text and not re.match(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:", text):
                if ordinary:
                    out.append(b"\r\n")
                version = b"" if text.count(" ") > 1 else b" HTTP/1.1"
                out.append(unescaped(text) + version + b"\r\nHost: loom.test\r\n")
                ordinary = True
            elif text:
                out.append(unescaped(text) + b"\r\n")
        return b"".join(out) + (b"\r\n" if ordinary else b"")


# --- the answers --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def decoded(coding, data):
    if coding == "gzip":
        return gzip.decompress(data)
    command = {"br": ["brotli", "-dc"], "zstd": ["zstd", "-dcq"]}[coding]
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=PATIENCE)
    if done.returncode != 0:
        raise Malformed(f"{command[0]} cannot read the body: {done.stderr.decode()!r}")
    return done.stdout


def parts_of(response):
    """The parts of a multipart/byteranges body, read as strictly as RFC 2046 lets a sender write it."""
    match = re.fullmatch(r"multipart/byteranges; ?boundary=([0-9A-Za-z'+_.-]{1,70})",  # a token, and a boundary
                         response["content-type"] or "")
    if not match:
        raise Malformed(f"Content-Type {response['content-type']!r} of several ranges")
    line = b"--" + match[1].encode()
    body = response.body.removeprefix(b"\r\n")
    if not body.startswith(line + b"\r\n"):
        raise Malformed(f"the body does not begin with its boundary: {body[:80]!r}")
    pieces = (b"\r\n" + body).split(b"\r\n" + line)
    if pieces[0] or pieces[-1] not in (b"--", b"--\r\n"):
        raise Malformed(f"the body does not end with its boundary: {body[-80:]!r}")
    found = []
    for piece in pieces[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        fields = {}
        for one in head.decode("latin-1").removeprefix("\r\n").split("\r\n"):
            name, _, value = one.partition(":")
            fields[name.lower()] = value.strip()
        found.append((fields, data))
    return found


def obeys(response, sent, method, nosniff):
    """What holds for every answer. What is wrong, in words."""
    status, wrong = response.status, []
    if status < 200:
        return [f"a {status} that nobody wants"]
    content = int(response["content-length"] or 0) > 0 and status != 304
    if response["last-modified"] and http_time(response["last-modified"]) > http_time(response["date"]):
        wrong.append("Last-Modified is later than Date (9110 8.8.2.1)")
    if response["etag"] and not STRONG_ETAG.fullmatch(response["etag"]):
        wrong.append(f"ETag {response['etag']} (9110 8.8.3)")
    if status == 405 and not response["allow"]:
        wrong.append("405 without Allow (9110 15.5.6)")
    if status == 304 and set(dict(response.fields)) - {"date", "etag", "vary", "cache-control", "connection"}:
        wrong.append(f"a 304 with {sorted(dict(response.fields))} (9110 15.4.5)")
    if content and status != 206 and not response["content-type"]:
        wrong.append("content without Content-Type (9110 8.3)")
    if nosniff and content and status != 206 and response["x-content-type-options"] != "nosniff":
        wrong.append("content without X-Content-Type-Options: nosniff (docs/http.md)")
    if response["connection"] not in (None, "close", "keep-alive"):
        wrong.append(f"Connection: {response['connection']} (9110 7.6.1)")
    if response["content-range"] and status not in (206, 416):
        wrong.append(f"Content-Range in a {status} (9110 14.4)")
    if status == 206:
        given = response["content-range"]
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", given or "")
        if given and not match:
            wrong.append(f"Content-Range {given} (9110 14.4)")
        elif match:
            first, last, whole = map(int, match.groups())
            if not first <= last < whole or last - first + 1 != int(response["content-length"]):
                wrong.append(f"Content-Range {given}, Content-Length {response['content-length']} (9110 14.4)")
        elif not (response["content-type"] or "").startswith("multipart/byteranges"):
            wrong.append("206 with neither Content-Range nor multipart/byteranges (9110 15.3.7)")
    if method == "HEAD" and response.body:
        wrong.append("content in an answer to HEAD (9110 9.3.2)")
    if b"\n" in response.head.replace(b"\r\n", b"") or b"\r" in response.head.replace(b"\r\n", b""):
        wrong.append("a bare CR or LF in the head (9112 2.2)")
    if status >= 400 and b"<script>" in sent and b"<script>" in response.body:
        wrong.append("the request is reflected")
    return wrong


def signature(response):
    """What must be the same whichever way was asked."""
    fields = sorted(field for field in response.fields if field[0] != "date")
    modified = response["last-modified"]
    if modified and abs(http_time(modified) - http_time(response["date"])) < 600:
        fields.remove(("last-modified", modified))  # a file from the future: it may follow Date
    body = response.body
    match = re.search(r"boundary=(\S+)", response["content-type"] or "")
    if match:  # each answer may have a boundary of its own
        body = body.replace(match[1].encode(), b"boundary")
        fields = [(name, value.replace(match[1], "boundary")) for name, value in fields]
    return response.status, fields, body


class Exchange:
    """One case, asked in one way."""

    def __init__(self, row, data, way):
        self.row, self.data = row, data
        self.dripped, self.after = way
        self.way = ("a byte at a time" if self.dripped else "whole") + (", after another" if self.after else ", first")
        self.client = None
        self.responses = []
        self.wrong = []
        self.broken = False  # the server reads no more
        self.stuck = False

    def open(self, server):
        self.client = server.client(bound=PATIENCE)
        if self.after:
            self.client.send(FIRST)

    def begun(self):
        if self.after:
            response = self.client.response()
            if (response.status, response.body) != (200, b"next\n"):
                self.wrong.append(f"{response.status} to the request before")

    def pieces(self):
        data = self.data
        if not self.dripped:
            # what comes behind must not be answered; coming later, it could reset the connection of a client that
            # has said close itself
            return [data + AFTER] if self.after and self.row.closes else [data]
        if len(data) <= 2 * SINGLE:
            return [data[at:at + 1] for at in range(len(data))]
        middle = data[SINGLE:-SINGLE]
        step = max(len(middle) // SINGLE, 1)
        return ([data[at:at + 1] for at in range(SINGLE)]
                + [middle[at:at + step] for at in range(0, len(middle), step)]
                + [data[at:at + 1] for at in range(len(data) - SINGLE, len(data))])

    def send(self, piece):
        if not self.broken:
            try:
                self.client.send(piece)
            except OSError:
                self.broken = True  # whether that was right, the answer tells

    def finish(self):
        try:
            self.client.finish()
        except OSError:
            self.broken = True

    def methods(self):
        single = len(self.row.expected) == 1 and self.data.lstrip(b"\r\n").startswith(b"HEAD ")
        return ["HEAD" if expected.head or single else "GET" for expected in self.row.expected]

    def read(self, meanings, content):
        """Takes the answers and compares them with what is expected."""
        try:
            for expected, method in zip(self.row.expected, self.methods()):
                response = self.client.response(method, interim=True)
                self.responses.append(response)
                self.wrong += obeys(response, self.data, method, self.row.nosniff)
                self.wrong += compared(expected, response, method, meanings, content)
            closes = self.responses[-1].closes if self.responses else True
            more = bytes(self.client.buffer[self.client.at:])
            if more:
                self.wrong.append(f"more than the answer: {more[:60]!r}")
            elif closes:
                self.client.expect_end()
            else:
                self.client.send(AFTER)
                response = self.client.response()
                if (response.status, response.body, response.closes) != (200, b"next\n", False):
                    self.wrong.append(f"{response.status} {response.body[:60]!r} to the request after")
        except (Malformed, Ended, OSError) as error:
            self.wrong.append(str(error))
            self.stuck = "no answer within" in str(error)


def compared(expected, response, method, meanings, content):
    wrong = []
    if response.status not in expected.status:
        return [f"{response.status}, not {' or '.join(map(str, expected.status))}"]
    if expected.connection != "any" and response.closes != (expected.connection == "close"):
        wrong.append(f"Connection: {response['connection']}, though the connection is to {expected.connection}")
    for name, how, value in expected.fields:
        got = response[name]
        value = meanings.text(value)
        if how == "-" and got is not None:
            wrong.append(f"{name}: {got}, which should be absent")
        elif how == "*" and got is None:
            wrong.append(f"no {name}")
        elif how == "~" and not re.fullmatch(value, got or ""):
            wrong.append(f"{name}: {got}, not ~ {value}")
        elif how == "=" and got != unescaped(value).decode("latin-1"):
            wrong.append(f"{name}: {got}, not {value}")
    if expected.only is not None:
        more = set(dict(response.fields)) - expected.only - {"connection"}
        if more:
            wrong.append(f"fields {', '.join(sorted(more))} are too many")
    if expected.body is not None and method != "HEAD":
        wrong += body_compared(meanings, meanings.text(expected.body), response, content)
    return wrong


def body_compared(meanings, wanted, response, content):
    kind, _, rest = wanted.partition(" ")
    body = response.body
    if kind == "empty":
        return [] if body == b"" else [f"{len(body)} bytes of content, not none"]
    if kind == "=":
        return [] if body == unescaped(rest) else [f"content {body[:80]!r}"]
    if kind == "~":
        return [] if re.search(rest.encode(), body, re.S) else [f"content {body[:80]!r}"]
    words = rest.split()
    whole = content(words[0])
    if kind in ("gzip", "br", "zstd"):
        try:
            same = decoded(kind, body) == whole
        except (OSError, EOFError) as error:
            return [f"not {kind}: {error}"]
        return [] if same else [f"the {kind} body is not that of {words[0]}"]
    ranges = [tuple(map(int, one.split("-"))) for one in words[1:]]
    if kind == "file":
        first, last = ranges[0] if ranges else (0, len(whole) - 1)
        return [] if body == whole[first:last + 1] else [f"content {body[:80]!r}... is not that of {wanted}"]
    if kind != "parts":
        raise BadTable(f"no such content: {wanted}")
    wrong = []
    found = parts_of(response)
    spans = [fields.get("content-range") for fields, _ in found]
    due = [f"bytes {first}-{last}/{len(whole)}" for first, last in ranges]
    if spans != due:
        return [f"parts {spans}, not {due}"]
    kind = meanings.head("/" + words[0])["content-type"]
    for (fields, data), (first, last) in zip(found, ranges):
        if data != whole[first:last + 1]:
            wrong.append(f"part {first}-{last} is {data[:40]!r}")
        if fields.get("content-type") != kind:
            wrong.append(f"part {first}-{last} has Content-Type {fields.get('content-type')}, not {kind}")
    return wrong


# --- the tests ----------------------------------------------------------------------------------------------------


def prose(seed, size):
    """Text that compresses as text does, the same for the same seed."""
    choice = random.Random(seed)
    words = "loom thread weft warp shuttle cloth web of the and in a to is that under over beam reed heddle".split()
    out = []
    length = 0
    while length < size:
        line = " ".join(choice.choice(words) for _ in range(12)) + f" {choice.randrange(1000)}\n"
        out.append(line)
        length += len(line)
    return "".join(out)[:size].encode()


FILES = {
    "index.html": b"<!doctype html>\n<title>home</title>\n" + prose("home", 3000),
    "page.html": b"<!doctype html>\n<title>page</title>\n" + prose("page", 6000),
    "style.css": b"/* style */\n" + prose("style", 3000),
    "app.js": b"// app\n" + prose("app", 5000),
    "app.0123abcd.js": b"// fingerprinted\n" + prose("fingerprinted", 3000),
    "vendor-9f8e7d6c5b.min.css": b"/* vendor */\n" + prose("vendor", 3000),
    "chunk_abcdef01.chunk.js": b"// chunk\n" + prose("chunk", 3000),
    "about.0123abcd.html": b"<!doctype html>\n<title>never immutable</title>\n" + prose("about", 3000),
    "deadbeef-abcdefab.js": b"// no figure in it\n",
    "photo-12345678.js": b"// no letter in it\n",
    "short.0123abc.js": b"// too short\n",
    "upper.0123ABCD.js": b"// not in lower case\n",
    "mid.0123abcd.x.js": b"// not at the end\n",
    "big.txt": prose("big", 100000),
    "digits.txt": b"0123456789" * 100,
    "ten.txt": b"0123456789",
    "next.txt": b"next\n",
    "empty.txt": b"",
    "noise.bin": random.Random("noise").randbytes(5000),
    "img.png": b"\x89PNG\r\n\x1a\n" + random.Random("png").randbytes(1000),
    "data.unheardof": b"something",
    "epoch.txt": b"from the epoch\n",
    "future.txt": b"from tomorrow\n",
    "new.txt": b"just now\n",
    "dir/index.html": b"<!doctype html>\n<title>dir</title>\n",
    "dir/a.txt": b"a\n",
    "noindex/file.txt": b"file\n",
    "sp ace/index.html": b"<!doctype html>\n<title>space</title>\n",
    "sp ace.txt": b"space\n",
    "a+b.txt": b"plus\n",
    "100%.txt": b"percent\n",
    "%41.txt": b"percent forty-one\n",
    "semi;colon.txt": b"semicolon\n",
    "back\\slash.txt": b"backslash\n",
    "back\\dir/index.html": b"backslash\n",
    "caf\u00e9.txt": b"coffee\n",
    "caf\u00e9/index.html": b"coffee house\n",
    os.fsdecode(b"latin-\xe9.txt"): b"latin\n",
    "quo\"te<>.txt": b"quotes\n",
    "[1]{2}|3^`.txt": b"odd\n",
    "404.html": b"<!doctype html>\n<title>not here</title>\n",
    "412.html": b"<!doctype html>\n<title>condition</title>\n",
    "416.html": b"<!doctype html>\n<title>range</title>\n",
    ".secret": b"secret\n",
    ".dir/x.txt": b"secret\n",
    ".well-known/security.txt": b"Contact: mailto:security@loom.test\n",
    "side.js": b"// with a sidecar\n" + prose("side", 4000),
    "wrong.js": b"// with a sidecar of other content\n" + prose("wrong", 4000),
    "broken.js": b"// with a sidecar that is no gzip\n" + prose("broken", 4000),
    "broken.js.gz": b"this is no gzip",
    "wrong.js.gz": gzip.compress(b"// other content\n" + prose("other", 4000), 9, mtime=0),
}
FILES["side.js.gz"] = gzip.compress(FILES["side.js"], 9, mtime=0)
CODED = ("index.html", "page.html", "style.css", "app.js", "app.0123abcd.js", "vendor-9f8e7d6c5b.min.css", "big.txt",
         "side.js", "wrong.js", "broken.js")  # those that the server is to have variants of


class Http(Case):
    """The tables, over one server, or over one of a table's own where it asks for other options."""
    shared = True
    matrix = "backends"  # how many workers there are makes no difference to a request; test_wire.py has both
    cost = 9
    settled = None  # the server whose variants have come

    @classmethod
    def plant(cls, root):
        for path, data in FILES.items():
            write(root, path, data)
            os.utime(os.path.join(root, path), (OLD, OLD))
        os.utime(os.path.join(root, "epoch.txt"), (0, 0))
        os.utime(os.path.join(root, "future.txt"), (time.time() + 86400 * 2,) * 2)
        os.utime(os.path.join(root, "new.txt"))

    def content(self, path):
        return FILES[path]

    def settle(self, server):
        """Waits for the variants, which come with a later snapshot. Why they did not, or an empty text."""
        if type(self).settled == server.pid:
            return ""

        def lacking():
            for name in CODED:
                for coding in ("br", "zstd", "gzip"):
                    response = server.get("/" + name, f"Accept-Encoding: {coding}", method="HEAD")
                    if response["content-encoding"] != coding:
                        return f"/{name} as {coding}"
            return ""

        try:
            wait_for(lambda: not lacking(), "the variants", bound=VARIANTS, step=0.05)
        except AssertionError:
            return f"no variants within {VARIANTS} s: {lacking()}"
        finally:
            type(self).settled = server.pid  # once is enough to wait
        return ""

    def applies(self, row):
        """For classes that serve the same tree otherwise."""
        return True

    def batch(self, server, meanings, exchanges):
        """Many connections in turns."""
        for one in exchanges:
            one.open(server)
        for one in exchanges:
            one.begun()
        pieces = [one.pieces() for one in exchanges]
        for at in range(max(len(of_one) for of_one in pieces)):
            for one, of_one in zip(exchanges, pieces):
                if at < len(of_one):
                    one.send(of_one[at])
                    if at == len(of_one) - 1 and "finish" in one.row.options:
                        one.finish()
            if at < 2 * SINGLE and exchanges[0].dripped:
                time.sleep(PAUSE)
        for one in exchanges:
            one.read(meanings, self.content)
        for one in exchanges:
            one.client.close()

    def table(self, name):
        table = tables()[name]
        server = self.start(*self.arguments, *table.arguments) if table.arguments else self.server
        failures = [("all rows", why) for why in [self.settle(server)] if why]
        meanings = Meanings(server)
        asked = {row.name: [] for row in table.rows}
        stuck = set()
        ready = []
        for row in filter(self.applies, table.rows):
            try:
                ready.append((row, meanings.bytes(row)))
            except Malformed as error:
                failures.append((row.where, str(error)))
        for way in WAYS:
            due = [Exchange(row, data, way) for row, data in ready if row.name not in stuck and turns(row, way)
                   and not (way[0] and "whole" in row.options) and not (way[1] and "first" in row.options)]
            for at in range(0, len(due), BATCH):
                batch = due[at:at + BATCH]
                try:
                    self.batch(server, meanings, batch)
                finally:
                    close_all()
                for one in batch:
                    asked[one.row.name].append(one)
                    if one.stuck:
                        stuck.add(one.row.name)
            if not server.running():
                failures.append(("all rows", "the server died"))
                break
        heads = [Exchange(row, b"HEAD" + data[3:], (False, False)) for row, data in ready
                 if len(row.expected) == 1 and re.match(rb"GET [/h](?!.*\n(?i:range):)", data, re.S)
                 and asked[row.name] and row.name not in stuck]
        for at in range(0, len(heads), BATCH):
            self.batch(server, meanings, heads[at:at + BATCH])
        for one in heads:
            failures += self.mirrored(one, asked[one.row.name][0])
        for row, _ in ready:
            failures += self.told(row, asked[row.name])
        if failures:
            rows = len({where for where, _ in failures})
            raise AssertionError(f"{rows} of {len(table.rows)} rows fail\n" + "\n".join(gathered(failures)))

    def mirrored(self, head, get):
        """HEAD is answered as GET is, without content."""
        if head.wrong or not (head.responses and get.responses):
            return [(head.row.where, f"with HEAD instead of GET: {why}") for why in head.wrong if why not in get.wrong]
        status, fields, _ = signature(get.responses[0])
        mirror = signature(head.responses[0])
        if mirror == (status, fields, b""):
            return []
        return [(head.row.where, f"with HEAD instead of GET: {mirror}, not {status, fields}")]

    def told(self, row, exchanges):
        """The failures of one row: once where all ways have the same."""
        said = {}
        for one in exchanges:
            for why in one.wrong:
                said.setdefault(why, []).append(one.way)
        out = [(row.where, why + ("" if len(set(ways)) == len(exchanges) else f" [{'; '.join(ways)}]"))
               for why, ways in said.items()]
        kinds = {repr([signature(response) for response in one.responses]) for one in exchanges}
        if len(kinds) > 1 and not out:
            out.append((row.where, "the answers differ: " + " / ".join(sorted(kind[:300] for kind in kinds))))
        return out


def gathered(failures):
    """A line a failure; one line for what many rows have in common."""
    rows = {}
    for where, why in failures:
        rows.setdefault(why, []).append(where)
    common = {why: wheres for why, wheres in rows.items() if len(wheres) > 12}
    return ([f"{len(wheres)} rows: {why}: {', '.join(wheres[:4])}, ..." for why, wheres in common.items()]
            + [f"{where}: {why}" for where, why in failures if why not in common])


def add_tests():
    """A test for each table."""
    for name in tables():
        def test(self, name=name):
            self.table(name)

        test.__doc__ = f"tests/e2e/http/{name}.cases"
        setattr(Http, f"test_{name}", test)


class Tables(Case):
    """The tables as such."""
    matrix = "once"

    def test_rows_are_many_and_named(self):
        rows = [row for table in tables().values() for row in table.rows]
        self.assertGreaterEqual(len(rows), 400)
        seen = {}
        for row in rows:
            self.assertNotIn(row.name, seen, f"{row.where} and {seen.get(row.name)}")
            seen[row.name] = row.where
            self.assertTrue(row.sections, row.where)
            self.assertLess(len(row.expected), 12, row.where)

    def test_requirements_name_rows_that_exist(self):
        """MUSTS.md: each line of its lists names rows, or says why there is none."""
        rows = {row.base for table in tables().values() for row in table.rows}
        with open(os.path.join(HERE, "MUSTS.md"), encoding="utf-8") as file:
            lines = file.read().split("\n")
        requirements = 0
        for number, line in enumerate(lines, 1):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("|") or len(cells) != 3 or cells[0] in ("section", "---"):
                continue
            requirements += 1
            section, what, proof = cells
            self.assertTrue(re.fullmatch(r"[\d.]+", section) and what and proof, f"MUSTS.md:{number}")
            names = re.findall(r"`([^`]+)`", proof)
            for name in names:
                self.assertIn(name, rows, f"MUSTS.md:{number}")
            self.assertTrue(names or len(proof) > 3, f"MUSTS.md:{number}: neither a row nor a reason")
        self.assertGreater(requirements, 150)


add_tests()
