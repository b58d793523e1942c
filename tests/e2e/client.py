"""A raw HTTP/1.1 client: bytes in, responses out.

It is written for these tests and shares nothing with the server. It is strict where a browser forgives: every line of a
head ends with CRLF, a field has a name and no space before its colon, the framing is one Content-Length and is obeyed
to the byte, what may have no body has none. Whatever is not as it must be raises Malformed. Reading is bounded in time;
the bound is generous, and reaching it is always an error.
"""
import os
import re
import select
import socket
import struct
import time
from email.utils import parsedate_to_datetime

# Seconds that any one wait may take, or twice that; sanitizers and busy machines included.
BOUND = 240.0 if os.environ.get("LOOM_E2E_VALGRIND", "") not in ("", "0") else 60.0

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\x20-\x7e]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
                        rb"[\x21-\x7e\x80-\xff])?)?[ \t]*")
IMF_FIXDATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d "
                         r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} [0-2]\d:[0-5]\d:[0-6]\d GMT")
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]+"')


class Malformed(Exception):
    """The server sent what it must not send."""


class Ended(Exception):
    """The connection ended; at_boundary tells whether it was between two responses; partial is what came of a body."""

    def __init__(self, at_boundary, why, partial=b""):
        super().__init__(f"the connection ended {'between responses' if at_boundary else 'within a response'}: {why}")
        self.at_boundary = at_boundary
        self.partial = partial
        self.reset = isinstance(why, OSError)


def http_time(text):
    """An IMF-fixdate, and nothing else, as seconds since the epoch."""
    if not IMF_FIXDATE.fullmatch(text):
        raise Malformed(f"not an IMF-fixdate: {text!r}")
    return parsedate_to_datetime(text).timestamp()


def request(target, *fields, method="GET", host="loom.test", version="HTTP/1.1", body=b""):
    """The bytes of a request. host None leaves the Host field out; fields are whole lines without CRLF."""
    if isinstance(target, str):
        target = target.encode()
    lines = [b"%s %s %s" % (method.encode(), target, version.encode())]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    lines += [field if isinstance(field, bytes) else field.encode() for field in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(data, size=1000, extension=b"", trailers=b""):
    """A body in chunks."""
    out = bytearray()
    for at in range(0, len(data), size):
        piece = data[at:at + size]
        out += b"%x%s\r\n" % (len(piece), extension) + piece + b"\r\n"
    return bytes(out) + b"0\r\n" + trailers + b"\r\n"


class Response:
    def __init__(self, head, method):
        lines = head.split(b"\r\n")
        match = STATUS_LINE.fullmatch(lines[0])
        if not match:
            raise Malformed(f"status line {lines[0]!r}")
        self.head = head
        self.status = int(match[1])
        self.fields = []
        self.body = b""
        for line in lines[1:]:
            match = FIELD_LINE.fullmatch(line)
            if not match:
                raise Malformed(f"field line {line!r}")
            self.fields.append((match[1].decode().lower(), (match[2] or b"").decode("latin-1")))
        for name, count in [(name, len(self.all(name))) for name in set(dict(self.fields))]:
            if count > 1:
                raise Malformed(f"{count} {name} fields")
        if self.status >= 200 and abs(http_time(self["date"] or "") - time.time()) > BOUND:
            raise Malformed(f"Date is far from now: {self['date']}")
        if self["transfer-encoding"] is not None:
            raise Malformed("Transfer-Encoding where the length is known")
        self.length = self.framing(method)

    def framing(self, method):
        """The length of the body that follows."""
        length = self["content-length"]
        if length is not None and not re.fullmatch("0|[1-9][0-9]*", length):
            raise Malformed(f"Content-Length {length!r}")
        if self.status < 200 or self.status == 204:
            if length is not None:
                raise Malformed(f"Content-Length in a {self.status}")
            return 0
        if self.status == 304:
            return 0
        if length is None:
            raise Malformed(f"a {self.status} without Content-Length")
        return 0 if method == "HEAD" else int(length)

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def __getitem__(self, name):
        values = self.all(name.lower())
        return values[0] if values else None

    @property
    def closes(self):
        return "close" in [option.strip().lower() for option in (self["connection"] or "").split(",")]

    def stable_head(self):
        """The head without Date, which may differ between two answers that are otherwise the same."""
        return re.sub(rb"(?mi)^Date:[^\r]*", b"Date:", self.head)


class Client:
    """One connection."""

    live = []  # all that were made and not closed; the harness closes them after each test

    def __init__(self, address, rcvbuf=None, bound=BOUND, source=None):
        family = socket.AF_UNIX
        if not isinstance(address, str):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if rcvbuf:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if source:
                self.sock.bind((source, 0))
            self.sock.settimeout(bound)
            self.sock.connect(address)
            if family != socket.AF_UNIX:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.sock.close()
            raise
        self.buffer = bytearray()
        self.at = 0
        Client.live.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        if self in Client.live:
            Client.live.remove(self)
        self.sock.close()

    def reset(self):
        """Ends the connection with an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def finish(self):
        """Half-closes: no more is going to be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data)

    def patiently(self, receive, *arguments):
        """Waits twice: the first time may have passed while this process, or the server, was not let run."""
        try:
            return receive(*arguments)
        except socket.timeout:
            return receive(*arguments)

    def receive(self, at_boundary=False, size=1 << 18):
        """Takes what has come into the buffer."""
        try:
            data = self.patiently(self.sock.recv, size)
        except socket.timeout:
            raise Malformed(f"no answer within {self.sock.gettimeout()} s; so far: "
                            f"{bytes(self.buffer[self.at:self.at + 200])!r}") from None
        except ConnectionResetError as error:
            raise Ended(at_boundary and self.at == len(self.buffer), error) from None
        if not data:
            raise Ended(at_boundary and self.at == len(self.buffer), "end of stream")
        if self.at > 1 << 16:
            del self.buffer[:self.at]
            self.at = 0
        self.buffer += data

    def read_head(self):
        while True:
            end = self.buffer.find(b"\r\n\r\n", self.at)
            if end >= 0:
                head = bytes(self.buffer[self.at:end])
                self.at = end + 4
                return head
            if len(self.buffer) - self.at > 1 << 16:
                raise Malformed(f"a head without an end: {bytes(self.buffer[self.at:self.at + 200])!r}")
            self.receive(at_boundary=True)

    def read_body(self, length):
        take = min(length, len(self.buffer) - self.at)
        if take == length:
            body = bytes(self.buffer[self.at:self.at + length])
            self.at += length
            return body
        body = bytearray(length)
        body[:take] = self.buffer[self.at:self.at + take]
        self.buffer.clear()
        self.at = 0
        view = memoryview(body)
        while take < length:
            try:
                count = self.patiently(self.sock.recv_into, view[take:])
            except socket.timeout:
                raise Malformed(f"the body stopped after {take} of {length} bytes") from None
            except ConnectionResetError as error:
                raise Ended(False, error, bytes(view[:take])) from None
            if count == 0:
                raise Ended(False, f"end of stream after {take} of {length} bytes of a body", bytes(view[:take]))
            take += count
        return bytes(body)

    def response(self, method="GET", interim=False):
        """The next response; interim ones (1xx) are passed over unless they are asked for."""
        while True:
            response = Response(self.read_head(), method)
            if response.status >= 200 or interim:
                break
        response.body = self.read_body(response.length)
        return response

    def ask(self, target, *fields, method="GET", **more):
        self.send(request(target, *fields, method=method, **more))
        return self.response(method)

    def nothing_left(self):
        """Whether all that came has been read, without waiting."""
        return self.at == len(self.buffer) and not select.select([self.sock], [], [], 0)[0]

    def expect_end(self):
        """The server closes, and says nothing before. By a FIN: an RST can take away an answer that is on its way."""
        try:
            self.receive(at_boundary=True)
        except Ended as ended:
            if not ended.at_boundary or ended.reset:
                raise Malformed(str(ended)) from None
            return
        raise Malformed(f"bytes where the end was due: {bytes(self.buffer[self.at:self.at + 200])!r}")

    def drip(self, data, pause=0.0005):
        """Sends a byte at a time, so that the server reads them so: mostly, which is enough."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            time.sleep(pause)


def close_all():
    for client in list(Client.live):
        client.close()


def raise_descriptor_limit():
    """As many descriptors as this process may have: tests open a thousand connections."""
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_files(pid):
    """What each descriptor of a process leads to."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return found


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
