"""Want of everything: rings and buffers that are far too small, sockets without room, limits of memory, of descriptors and
of locked memory, full disks, and clocks that are set. It serves, slowly if need be, or says in one line what it lacks.
LOOM_E2E_LONG=1 makes the crowds larger."""
import calendar
import ctypes
import http.client
import os
import re
import resource
import select
import signal
import socket
import struct
import time
import unittest

from case import Case, noise, write
from client import Ended, request
from server import BINARY, LONG, VALGRIND, libc, run, sanitized, wait_for

TIGHT = ["--uring=entries=2,cq-entries=4,buf-count=2,buf-size=64", "--keepalive-timeout=1m", "--header-timeout=1m"]
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
KIB, MIB = 1024, 1 << 20


def beside(name):
    """A binary of tests/faults of the same build."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(BINARY))), "tests", "faults", name)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"{name} was not built")
    return path


def crowd(server, count, targets, turns):
    """So many clients at once, each with so many requests, one after the other; gives how many answers were right."""
    clients = [server.client() for _ in range(count)]
    right = 0
    for turn in range(turns):
        wanted = {}
        for at, client in enumerate(clients):
            target, body = targets[(at + turn) % len(targets)]
            client.send(request(target))
            wanted[client] = body
        for client in clients:
            response = client.response()
            right += response.status == 200 and response.body == wanted[client]
    for client in clients:
        client.close()
    return right


class TightRing(Case):
    """A completion queue of 4 entries, a submission queue of 2, and in each group 2 buffers of 64 bytes."""
    matrix = "backends"
    cost = 3

    @classmethod
    def plant(cls, root):
        super().plant(root)
        write(root, "big.bin", noise(1, 300000))
        write(root, "film.bin", noise(2, 3 * MIB))

    def setUp(self):
        if self.backend != "io_uring":
            self.skipTest("of io_uring alone")

    def test_a_thousand_clients(self):
        server = self.start(*TIGHT, binary=beside("loom-tight"))
        home = b"<!doctype html><title>home</title>"
        count = 100 if VALGRIND else 4000 if LONG else 1000
        self.assertEqual(crowd(server, count, [("/", home)], 3), 3 * count)

    def test_large_bodies_and_streamed_files(self):
        server = self.start(*TIGHT, "--stream-above=1M", binary=beside("loom-tight"))
        targets = [("/big.bin", noise(1, 300000)), ("/film.bin", noise(2, 3 * MIB))]
        with server.client() as other:
            self.assertEqual(crowd(server, 40, targets, 1), 40)
            self.assertEqual(other.ask("/").status, 200)

    def test_pipelines(self):
        server = self.start(*TIGHT, binary=beside("loom-tight"))
        clients = [server.client() for _ in range(50)]
        for client in clients:
            client.send(request("/") * 30)
        for client in clients:
            for _ in range(30):
                self.assertEqual(client.response().status, 200)


class NoRoom(Case):
    """Sockets whose send buffers are as small as the kernel makes them."""
    matrix = "backends"
    cost = 2

    @classmethod
    def plant(cls, root):
        super().plant(root)
        write(root, "big.bin", noise(1, MIB // 4))
        write(root, "film.bin", noise(2, MIB // 2))

    def test_the_smallest_send_buffers(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            server = self.start("--stream-above=400k", "--keepalive-timeout=1h", listen=("fd:3",), passed=[listener])
            targets = [("/big.bin", noise(1, MIB // 4)), ("/film.bin", noise(2, MIB // 2)),
                       ("/", b"<!doctype html><title>home</title>")]
            self.assertEqual(crowd(server, 20, targets, 2), 40)
            # clients that take nothing keep nobody from it, and cost no time
            stuck = [server.client() for _ in range(20)]
            for client in stuck:
                client.send(request("/big.bin"))
            self.assertEqual(crowd(server, 3, targets, 1), 3)
            before = server.ticks()
            time.sleep(0.5)
            self.assertLess(server.ticks() - before, 0.2, "seconds of CPU time in half a second of waiting")


class Limits(Case):
    """Limits of the process that are low from the start, or become so."""
    matrix = "backends"
    cost = 2

    def serves_or_explains(self, arguments, before_exec, words):
        """Served by the backend that was asked for, or one line; and auto serves, by whatever."""
        try:
            server = self.start(*arguments, before_exec=before_exec)
        except AssertionError as error:
            text = str(error)
            self.assertIn("exit status 1", text)
            last = text.strip().splitlines()[-1]
            self.assertRegex(last, r"\Aloom: [^\n]+")
            self.assertRegex(last, words)
            return False
        self.assertEqual(server.get("/").status, 200)
        return True

    def test_64_descriptors(self):
        """Too few for anything, which it says, and how many there must be; with a dozen more it serves a crowd."""
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        status, _, err = run([f"--backend={self.backend}", "--workers=1", "--listen=127.0.0.1:0", self.root], before_exec=few)
        self.assertEqual(status, 2, err)
        own, = re.findall(r"\Aloom: the limit of 64 open files leaves none for connections: (\d+) are for loom itself", err)

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(own) + 12,) * 2)

        server = self.start(before_exec=few)
        clients = []
        answered = 0
        for _ in range(150):
            clients.append(server.client())
            clients[-1].send(request("/"))
        while clients:
            ready = select.select([client.sock for client in clients], [], [], 20)[0]
            self.assertTrue(ready, f"{len(clients)} clients wait for ever")
            for client in [one for one in clients if one.sock in ready]:
                try:
                    answered += client.response().status == 200
                except Ended as ended:
                    self.assertTrue(ended.at_boundary)
                client.close()
                clients.remove(client)
        self.assertGreater(answered, 20)

    def test_locked_memory_of_an_ordinary_user(self):
        for kib in (0, 16, 64):
            def drop(limit=kib * KIB):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)

            try:
                run(["--help"], before_exec=drop)
            except (PermissionError, FileNotFoundError, OSError) as error:
                self.skipTest(f"an ordinary user cannot run the binary where it lies: {error}")
            with self.subTest(kib=kib):
                self.serves_or_explains([], drop, "memlock|locked memory")
                server = self.start(backend="auto", before_exec=drop)
                self.assertEqual(server.get("/").status, 200)

    def test_address_space(self):
        """At each limit, from far too little to enough: a line, or answers."""
        if sanitized():
            self.skipTest("a sanitizer takes more than there is")
        served = []
        for mib in (8, 24, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096):
            def limit(most=mib * MIB):
                resource.setrlimit(resource.RLIMIT_AS, (most, most))

            with self.subTest(mib=mib):
                status, _, err = run(["-t", f"--backend={self.backend}", "--listen=127.0.0.1:0", self.root], before_exec=limit)
                self.assertIn(status, (0, 1, 127), err)  # 127: not even its libraries
                if status != 127:
                    served.append(self.serves_or_explains([], limit, "memory|Cannot allocate|Resource temporarily"))
        self.assertTrue(served[-1], "4 GiB are enough")

    def test_a_reload_for_which_there_is_no_memory(self):
        if sanitized():
            self.skipTest("a sanitizer takes more than there is")
        root = self.directory()
        write(root, "index.html", b"home")
        server = self.start("--settle=0", "--no-compress", "--stream-above=off", root=root)
        with open(f"/proc/{server.pid}/statm", encoding="ascii") as file:
            size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_AS)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (size + 8 * MIB, hard))
        write(root, "large.bin", noise(3, 64 * MIB))
        wait_for(lambda: "cannot reload" in server.log(), "a word of the failure")
        self.assertEqual(server.get("/").body, b"home")
        self.assertEqual(server.get("/large.bin").status, 404)
        resource.prlimit(server.pid, resource.RLIMIT_AS, (hard, hard))
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.get("/large.bin").status == 200, "the next reload")
        self.assertEqual(server.get("/large.bin").body, noise(3, 64 * MIB))


class FullDisk(Case):
    matrix = "backends"
    cost = 2

    def test_of_the_cache(self):
        """Variants are made and served; they are only not kept."""
        mount = self.directory()
        root = self.directory()
        write(root, "index.html", b"home")
        for number in range(20):
            write(root, f"{number}.txt", noise(number, 40000).hex().encode())

        def small_file_system():
            if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
                os._exit(77)
            libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
            if libc.mount(b"none", mount.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=128k") != 0:
                os._exit(77)

        try:
            server = self.start(f"--cache-dir={mount}", root=root, before_exec=small_file_system)
        except AssertionError as error:
            if "exit status 77" not in str(error):
                raise
            self.skipTest("no file system can be mounted here")

        def coded(number):
            return server.get(f"/{number}.txt", "Accept-Encoding: gzip")["content-encoding"] == "gzip"

        wait_for(lambda: all(coded(number) for number in range(20)), "all variants", bound=120)
        self.assertLess(len(server.log().splitlines()), 60, "it writes a line for every failure")
        write(root, "index.html", b"home again")
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.get("/").body == b"home again", "a reload")


class Restarts(Case):
    matrix = "backends"

    def test_ready_is_when_it_can_be_replaced(self):
        """Whoever kills it as soon as it is ready finds its address free, however late its helper process gets to run."""
        if sanitized():
            self.skipTest("a sanitizer wants to be the first library")
        path = os.path.join(self.directory(), "loom.sock")
        server = self.start(listen=(f"unix:{path}",), env={"LD_PRELOAD": beside("loom-late.so")})
        server.signal(signal.SIGKILL)
        server.wait_exit((-signal.SIGKILL,))
        self.assertTrue(os.path.exists(path))
        server = self.start(listen=(f"unix:{path}",))
        self.assertEqual(server.get("/").status, 200)


class Clocks(Case):
    """A clock that is set while it serves. Ours is in front of the C library's, for the server alone."""
    matrix = "backends"

    def start_with_clock(self, *arguments, **more):
        if sanitized():
            self.skipTest("a sanitizer wants to be the first library")
        path = os.path.join(self.directory(), "clock")
        with open(path, "wb") as file:
            file.write(struct.pack("qq", 0, 0))
        os.chmod(path, 0o644)
        server = self.start(*arguments, env={"LD_PRELOAD": beside("loom-clock.so"), "CLOCK_FILE": path}, **more)

        def put(real, monotonic):
            with open(path, "r+b") as file:
                file.write(struct.pack("qq", real, monotonic))

        return server, put

    def ask(self, server, connection=None):
        """How far the answer's date is from now, and its body. Our own clients take such dates for a mistake."""
        connection = connection or http.client.HTTPConnection(*server.address, timeout=20)
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        self.assertEqual(response.status, 200)
        return calendar.timegm(time.strptime(response.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.time(), body

    def test_a_day_back(self):
        root = self.directory()
        write(root, "index.html", b"first")
        server, put = self.start_with_clock("--settle=10ms", root=root)
        kept = http.client.HTTPConnection(*server.address, timeout=20)
        self.assertEqual(self.ask(server, kept)[1], b"first")
        for days, content in ((-1, b"second"), (1, b"third")):
            put(days * 86400, 0)
            wait_for(lambda: abs(self.ask(server)[0] - days * 86400) < 100, "the clock to be set")
            write(root, "index.html", content)  # in the future, as the server sees it, or long ago
            wait_for(lambda: self.ask(server)[1] == content, "a reload")
            self.assertEqual(self.ask(server, kept)[1], content)
        kept.close()
        put(0, 0)

    def test_an_hour_on(self):
        """As after a suspend that the monotonic clock had counted: idle clients have had their time, and new ones are served."""
        server, put = self.start_with_clock("--keepalive-timeout=1m")
        with server.client() as idle:
            self.assertEqual(idle.ask("/").status, 200)
            put(0, 3600)
            wait_for(lambda: server.get("/").status == 200, "an answer")
            idle.expect_end()
        self.assertEqual(server.get("/").status, 200)

    def test_a_monotonic_clock_that_goes_back(self):
        """It never does. But should it, nobody hangs for longer than it went back for."""
        server, put = self.start_with_clock("--keepalive-timeout=1m")
        with server.client() as kept:
            self.assertEqual(kept.ask("/").status, 200)
            put(0, -5)
            for _ in range(5):
                self.assertEqual(server.get("/").status, 200)
                self.assertEqual(kept.ask("/").status, 200)
