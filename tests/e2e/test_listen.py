"""What is listened on: options of a listener, sockets that somebody else has opened, and the PROXY protocol."""
import os
import re
import signal
import socket
import stat
import struct
import subprocess

from case import Case, noise, write
from client import BOUND, Client, Ended, request
from server import BINARY, run, wait_for

LOOMCTL = os.path.join(os.path.dirname(BINARY), "loomctl")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IN4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack(">HH", 56324, 80)
IN6 = (socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
       + struct.pack(">HH", 56324, 80))


def version2(command, family, block, length=None):
    size = struct.pack(">H", len(block) if length is None else length)
    return SIGNATURE + bytes([0x20 | command, family]) + size + block


HEADERS = {
    "v1, IPv4": b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n",
    "v1, IPv6": b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 80\r\n",
    "v1, unknown": b"PROXY UNKNOWN\r\n",
    "v1, unknown, as long as can be": b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n",
    "v2, IPv4": version2(1, 0x11, IN4),
    "v2, IPv6": version2(1, 0x21, IN6),
    "v2, Unix": version2(1, 0x31, b"/run/client".ljust(216, b"\0")),
    "v2, local": version2(0, 0, b""),
    "v2, local, with addresses": version2(0, 0x11, IN4),
    "v2, fields": version2(1, 0x11, IN4 + b"\x04\0\x64" + b"x" * 100),
    "v2, as long as can be": version2(1, 0x11, IN4.ljust(4080, b"\0")),
}

# Each ends the connection, and is never answered.
MALFORMED = {
    "a request": request("/"),
    "nothing of either": b"\0\1\2\3",
    "a bare LF": b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\n" + request("/"),
    "a port too large": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n" + request("/"),
    "an address of another family": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n" + request("/"),
    "small letters": b"proxy TCP4 192.0.2.1 192.0.2.2 56324 80\r\n" + request("/"),
    "a line too long": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n" + request("/"),
    "a line without an end": b"PROXY UNKNOWN " + b"f" * 5000,
    "version 3": SIGNATURE + b"\x31\x11\0\x0c" + IN4 + request("/"),
    "an unknown command": version2(2, 0x11, IN4) + request("/"),
    "an unknown family": version2(1, 0x41, IN4) + request("/"),
    "a block too short": version2(1, 0x21, IN4) + request("/"),
    "a block too long": version2(1, 0x11, IN4, 4081) + request("/"),
    "half a signature": SIGNATURE[:8] + request("/"),
}


def ends_unheard(client):
    """It ends without a byte; by a reset, where bytes were not read."""
    try:
        client.receive()
    except Ended:
        return True
    return False


class Proxied(Case):
    """Connections that begin with a PROXY header."""
    matrix = "backends"
    shared = True

    @classmethod
    def plant(cls, root):
        cls.big = noise(4, 1 << 20)
        write(root, "index.html", b"home")
        write(root, "big.bin", cls.big)

    @classmethod
    def launch(cls, root, *arguments, **more):
        path = os.path.join(cls.base, f"proxy-{cls.backend}")
        more.setdefault("listen", ("127.0.0.1:0,proxy=on", "127.0.0.1:0", f"unix:{path},proxy=on"))
        return super().launch(root, *arguments, **more)

    def test_headers(self):
        """Whole, with what follows in one segment; byte by byte; and apart from the request."""
        for name, header in HEADERS.items():
            for address in self.server.addresses[::2]:
                with self.subTest(name, address=address):
                    with Client(address) as client:
                        client.send(header + request("/") * 3)
                        for _ in range(3):
                            self.assertEqual(client.response().body, b"home")
                        self.kept(client)
                    with Client(address) as client:
                        client.drip(header[:30] if len(header) > 300 else header, pause=0.0002)
                        client.send(header[30:] if len(header) > 300 else b"")
                        self.assertTrue(client.nothing_left())
                        client.drip(request("/"), pause=0.0002)
                        self.assertEqual(client.response().body, b"home")
                        self.kept(client)

    def test_every_split(self):
        for name in ("v1, IPv4", "v2, IPv6", "v2, fields"):
            data = HEADERS[name] + request("/")
            for at in range(1, len(data)):
                with self.server.client() as client:
                    client.send(data[:at])
                    client.send(data[at:])
                    self.assertEqual(client.response().body, b"home", f"{name}, {at}")

    def test_malformed_headers(self):
        for name, data in MALFORMED.items():
            with self.subTest(name):
                with self.server.client() as client:
                    client.send(data)
                    self.assertTrue(ends_unheard(client))
                with self.server.client() as client:
                    try:
                        client.drip(data[:200], pause=0.0002)
                        client.send(data[200:])
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # it was known as malformed before its end
                    self.assertTrue(ends_unheard(client))
        wait_for(lambda: re.search(r"PROXY header was missing or malformed", self.server.log()), "a warning")

    def test_only_where_it_is_asked_for(self):
        with Client(self.server.addresses[1]) as client:
            self.assertEqual(client.ask("/").body, b"home")
            client.send(HEADERS["v1, IPv4"] + request("/"))
            self.assertEqual(client.response().status, 501)  # PROXY is a method that it does not know
            client.expect_end()
        with Client(self.server.addresses[1]) as client:
            client.send(HEADERS["v2, IPv4"] + request("/"))
            self.assertEqual(client.response().status, 400)
            client.expect_end()

    def test_a_second_header_is_a_bad_request(self):
        for name, status in (("v1, IPv4", 501), ("v2, IPv4", 400)):
            self.refused(HEADERS["v2, IPv6"] + HEADERS[name] + request("/"), status)

    def test_the_end_before_a_request(self):
        """As health checks do it: nothing is answered, and nothing is left."""
        for name, header in HEADERS.items():
            for part in (b"", header[:7], header):
                with self.subTest(name, part=len(part)), self.server.client() as client:
                    client.send(part)
                    client.finish()
                    client.expect_end()

    def test_curl(self):
        url = "http://{}:{}/big.bin".format(*self.server.address)
        done = subprocess.run(["curl", "--silent", "--haproxy-protocol", url, url], capture_output=True, timeout=BOUND,
                              check=True)
        self.assertTrue(done.stdout == self.big * 2)

    def test_large_answers(self):
        with self.server.client() as client:
            client.send(HEADERS["v2, IPv6"] + request("/big.bin") * 2)
            for _ in range(2):
                self.assertTrue(client.response().body == self.big)
            self.kept(client)


class ProxiedFrom(Case):
    """Whom a PROXY header is believed, and for how long it is waited for."""
    matrix = "backends"

    def refuses(self, server, address):
        with Client(address) as client:
            try:
                client.send(HEADERS["v1, IPv4"] + request("/"))
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.assertTrue(ends_unheard(client))
        wait_for(lambda: "not from --proxy-from" in server.log(), "a warning")

    def accepts(self, address):
        with Client(address) as client:
            client.send(HEADERS["v1, IPv4"] + request("/"))
            self.assertEqual(client.response().status, 200)

    def test_networks(self):
        path = os.path.join(self.directory(), "sock")
        listen = ("127.0.0.1:0,proxy=on", f"unix:{path},proxy=on")
        server = self.start("--proxy-from=192.0.2.0/24", "--proxy-from=2001:db8::/32,unix", listen=listen)
        self.refuses(server, server.addresses[0])
        self.accepts(path)
        server.signal(signal.SIGTERM)
        server.wait_exit()
        server = self.start("--proxy-from=127.0.0.1", listen=listen)
        self.accepts(server.addresses[0])
        self.refuses(server, path)

    def test_who_has_gone_before(self):
        """Health checks end by a reset, and may be accepted after it: they are no strangers."""
        server = self.start(listen=("127.0.0.1:0,proxy=on",))
        with server.held():
            for header in (b"", HEADERS["v2, local"]):
                client = server.client()
                client.send(header)
                client.reset()
        self.accepts(server.address)
        server.wait_quiet()
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertNotIn("were closed", server.log())

    def test_ipv4_over_ipv6(self):
        """The kernel calls it ::ffff:127.0.0.1."""
        server = self.start(listen=("[::]:0,proxy=on",))
        self.accepts(server.address)

    def test_the_deadline(self):
        server = self.start("--header-timeout=300ms", listen=("127.0.0.1:0,proxy=on",))
        for part in (b"", b"PROXY TCP4 192.0", HEADERS["v2, IPv4"][:20]):
            with self.subTest(part=part), server.begun(part) as client:
                client.expect_end()

    def test_draining(self):
        server = self.start("--grace=1h", "--header-timeout=1h", listen=("127.0.0.1:0,proxy=on",))
        with server.client() as half, server.client() as none, server.client() as whole:
            half.send(b"PROXY TCP4")
            # Who has begun has until --header-timeout; who has not, a second, which a busy machine may keep from us.
            whole.send(HEADERS["v1, IPv4"] + request("/")[:5])
            self.accepts(server.address)
            server.signal(signal.SIGTERM)
            wait_for(lambda: "draining" in server.log(), "the draining")
            whole.send(request("/")[5:])
            self.assertEqual(whole.response().status, 200)
            whole.expect_end()
            half.expect_end()
            none.expect_end()
        server.wait_exit()


def tcp_info(one):
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)


class Options(Case):
    """What is said behind an address. Sockets are the test's own, which is how it can look at them."""
    matrix = "backends"

    def test_modes(self):
        path = os.path.join(self.directory(), "sock")
        for mode in ("0660", "600", "0777", "0000"):
            server = self.start(listen=(f"unix:{path},mode={mode}",))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), int(mode, 8))
            if mode != "0000" or os.getuid() == 0:
                self.assertEqual(server.get("/").status, 200)
            server.signal(signal.SIGTERM)
            server.wait_exit()
            self.assertFalse(os.path.exists(path))

    def test_options_of_tcp(self):
        with socket.create_server(("127.0.0.1", 0), backlog=7) as one, socket.create_server(("127.0.0.1", 0),
                                                                                              backlog=7) as other:
            server = self.start(listen=("fd:3,backlog=33,nodelay=off,defer-accept=2s,congestion=reno", "fd:4"),
                                passed=(one, other))
            for address in server.addresses:
                with Client(address) as client:
                    self.assertEqual(client.ask("/").status, 200)

            def options(which):
                backlog, = struct.unpack_from("I", tcp_info(which), 28)  # tcpi_sacked of a listening socket
                return (backlog, which.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        which.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0)

            self.assertEqual(options(one), (33, 0, True))
            self.assertEqual(options(other), (7, 1, False))
            name = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
            self.assertEqual(name, b"reno")

    def test_own_sockets(self):
        other = "[::1]" if os.path.exists("/proc/net/if_inet6") else "127.0.0.2"
        server = self.start(listen=("127.0.0.1:0,backlog=33,nodelay=off,defer-accept=1s,congestion=reno",
                                    f"{other}:0,backlog=1,nodelay=on"), workers=2)
        for address in server.addresses * 3:
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)

    def test_what_the_kernel_has_not_got(self):
        status, _, err = run(["--listen=127.0.0.1:0,congestion=nonesuch", self.root])
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\Aloom: [^\n]*congestion=nonesuch: this kernel has not got it \(it has: [^\n]*reno"
                              r"[^\n]*\n\Z")
        status, out, err = run(["-t", "--listen=127.0.0.1:0,congestion=nonesuch", self.root])
        self.assertEqual(status, 1, out)
        self.assertIn("this kernel has not got it", err)
        with open("/proc/sys/net/ipv4/tcp_fastopen", encoding="ascii") as file:
            mask = int(file.read())
        if mask & 2:
            server = self.start(listen=("127.0.0.1:0,fast-open=16",))
            self.assertEqual(server.get("/").status, 200)
        else:
            status, _, err = run(["--listen=127.0.0.1:0,fast-open=16", self.root])
            self.assertEqual(status, 1)
            self.assertRegex(err, r"\Aloom: [^\n]*fast-open=16: [^\n]*\(sysctl -w net.ipv4.tcp_fastopen=\d\)\n\Z")


class Passed(Case):
    """Sockets that whoever starts the server has opened."""
    matrix = "backends"

    def setUp(self):
        self.path = os.path.join(self.directory(), "sock")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(self.path)
        self.local.listen(100)
        self.addCleanup(self.tcp.close)
        self.addCleanup(self.local.close)

    def closes_on_exec(self, server, fd):
        with open(f"/proc/{server.pid}/fdinfo/{fd}", encoding="ascii") as file:
            return int(re.search(r"(?m)^flags:\s*(\d+)", file.read())[1], 8) & os.O_CLOEXEC != 0

    def serves(self, address, count=20):
        for _ in range(count):
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)

    def test_by_number(self):
        server = self.start(listen=("fd:3", "fd:4"), passed=(self.tcp, self.local), workers=2)
        self.assertEqual(server.addresses, [self.tcp.getsockname(), self.path])
        for address in server.addresses:
            self.serves(address)
        for fd in (3, 4):
            self.assertTrue(self.closes_on_exec(server, fd))
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertTrue(os.path.exists(self.path), "the file is the test's own")
        # it goes on where it was: what comes now waits for the next
        with Client(self.tcp.getsockname()) as client:
            client.send(request("/"))
            again = self.start(listen=("fd:3",), passed=(self.tcp,))
            self.assertEqual(client.response().status, 200)
            self.assertEqual(again.get("/").status, 200)

    def test_one_that_does_not_listen_yet(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            server = self.start(listen=("fd:3",), passed=(bound,))
            self.serves(server.address)

    def test_by_name(self):
        server = self.start(listen=("systemd:web", "systemd:local,proxy=on"), passed=(self.local, self.tcp),
                            names="local:web", workers=2)
        self.assertEqual(server.addresses, [self.tcp.getsockname(), self.path])
        self.serves(self.tcp.getsockname())
        with Client(self.path) as client:
            client.send(HEADERS["v2, IPv4"] + request("/"))
            self.assertEqual(client.response().status, 200)
        for fd in (3, 4):
            self.assertTrue(self.closes_on_exec(server, fd))

    def test_several_of_one_name_beside_an_address(self):
        server = self.start(listen=("systemd:web", "127.0.0.1:0"), passed=(self.tcp, self.local), names="web:web",
                            sockets=3)
        for address in server.addresses:
            self.serves(address)

    def test_all_by_default(self):
        for names in ("", "a:b"):
            server = self.start(listen=(), passed=(self.tcp, self.local), names=names, sockets=2)
            self.assertEqual(server.addresses, [self.tcp.getsockname(), self.path])
            for address in server.addresses:
                self.serves(address)
            server.signal(signal.SIGTERM)
            server.wait_exit()

    def test_workers_take_turns(self):
        admin = os.path.join(self.directory(), "admin")
        for passed in (self.tcp, self.local):
            server = self.start(f"--admin=unix:{admin}", listen=("fd:3",), passed=(passed,), workers=3)
            with_all = []
            for _ in range(60):  # one by one: of a burst the first worker that runs may take all
                with_all.append(server.client())
                self.assertEqual(with_all[-1].ask("/").status, 200)
            done = subprocess.run([LOOMCTL, "-s", f"unix:{admin}", "status"], capture_output=True, timeout=BOUND,
                                  check=True)
            counts = [int(one) for one in re.findall(r"worker \d: connections (\d+)", done.stdout.decode())]
            self.note(f"60 connections on {passed.family.name}: {counts}")
            self.assertEqual(sum(counts), 60)
            self.assertLess(max(counts), 60)  # chance has its say; before they took turns, one of them got all
            for client in with_all:
                client.close()
            server.wait_quiet()
            server.signal(signal.SIGTERM)
            server.wait_exit()


class PassedWrongly(Case):
    """Mistakes with sockets that are passed, each with one line that says what to do."""
    matrix = "once"

    def fails(self, *arguments, passed=(), names=None, says):
        status, _, err = run([*arguments, self.root], passed=passed, names=names)
        self.assertEqual(status, 1, err)
        self.assertRegex(err, r"\Aloom: [^\n]+\n\Z")
        self.assertRegex(err, says)

    def test_mistakes(self):
        path = os.path.join(self.directory(), "sock")
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local, \
                socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as unbound, \
                open(os.devnull, "rb") as file, socket.create_connection(tcp.getsockname()) as connection:
            local.bind(path)
            local.listen()
            self.fails("--listen=fd:9", says=r"--listen: fd:9: descriptor 9 is not open \(whoever starts loom")
            self.fails("--listen=fd:3", passed=(file,), says="descriptor 3 is no socket")
            self.fails("--listen=fd:3", passed=(datagrams,), says="no stream socket")
            self.fails("--listen=fd:3", passed=(unbound,), says="not bound")
            self.fails("--listen=fd:3", passed=(connection,), says="Accept=no")
            self.fails("--listen=fd:3", "--listen=fd:3", passed=(tcp,), says="listened on already")
            self.fails("--listen=fd:3", "--listen=systemd:*", passed=(tcp,), names="web", says="listened on already")
            self.fails("--listen=fd:3,defer-accept=1s", passed=(local,), says="defer-accept is for TCP")
            self.fails("--listen=systemd:web", says="start loom by its socket unit")
            self.fails("--listen=systemd:web", passed=(tcp, local), names="a:b",
                       says=r"no socket of that name was passed, but: a, b \(see FileDescriptorName=\)")
            self.fails("--listen=systemd:*", passed=(datagrams,), names="web", says="no stream socket")
            # what is left over is told
            server = self.start(listen=("systemd:a",), passed=(tcp, local), names="a:b")
            self.assertRegex(server.log(), r"socket 'b' was passed \(descriptor 4\), and no --listen takes it")
            self.assertEqual(server.get("/").status, 200)

    def test_not_for_this_process(self):
        """LISTEN_PID tells whether the variables were inherited by chance."""
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            _, out, _ = run(["-T", self.root], passed=(tcp,), names="web")
            self.assertIn("listen = systemd:*\n", out)
            _, out, _ = run(["-T", self.root], passed=(tcp,), env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
            self.assertIn("listen = [::]:8080\n", out)
            _, out, _ = run(["-T", "--port=81", self.root], passed=(tcp,), names="web")
            self.assertIn("port = 81\n", out)
            self.assertNotIn("\nlisten = ", out)

    def test_they_are_tested_where_they_are(self):
        with socket.create_server(("127.0.0.1", 0)) as tcp, open(os.devnull, "rb") as file:
            for arguments, passed, names, status, words in (
                    (["--listen=fd:3"], (tcp,), None, 0, "fd:3: ok\n"),
                    (["--listen=fd:9"], (), None, 0, "fd:9: ok, if it is passed"),
                    (["--listen=fd:3"], (file,), None, 1, "descriptor 3 is no socket"),
                    (["--listen=systemd:web"], (), None, 0, "systemd:web: ok, if it is passed"),
                    ([], (tcp,), "web", 0, r"systemd:\*: ok\n"),
                    (["--listen=fd:3", "--listen=fd:3,proxy=on"], (tcp,), None, 1, "listened on twice")):
                with self.subTest(arguments, passed=len(passed)):
                    got, out, err = run(["-t", *arguments, self.root], passed=passed, names=names)
                    self.assertEqual(got, status, err)
                    self.assertRegex(out + err, words)

    def test_the_environment_lists_addresses_with_options(self):
        path = os.path.join(self.directory(), "sock")
        _, out, err = run(["-T", self.root],
                          env={"LOOM_LISTEN": f"127.0.0.1:1,backlog=5,proxy=on,unix:{path},mode=0600,:2"})
        self.assertEqual(err, "")
        self.assertEqual(re.findall(r"(?m)^listen = (.*)$", out),
                         ["127.0.0.1:1,backlog=5,proxy=on", f"unix:{path},mode=0600", ":2"])

    def test_relative_paths_keep_their_options(self):
        place = self.directory()
        with open(os.path.join(place, "loom.conf"), "w", encoding="ascii") as file:
            file.write("listen = unix:sock,mode=0640\n")
        _, out, err = run(["-T", "-c", os.path.join(place, "loom.conf"), self.root])
        self.assertIn(f"listen = unix:{place}/sock,mode=0640\n", out, err)
