"""Large bodies in memory, which are sent by reference: for a client it makes no difference, whatever is deployed meanwhile."""
import errno
import gzip
import os
import signal

import test_metrics
from case import noise, write
from client import request
from server import VALGRIND, deny, sanitized, wait_for
from test_stream import parts_of

ABOVE = 100 << 10
VMSPLICE = {"x86_64": 278, "aarch64": 75, "riscv64": 75}[os.uname().machine]


class Spliced(test_metrics.Metered):
    cost = 3

    @classmethod
    def plant(cls, root):
        cls.files = {
            "less.bin": noise("less", ABOVE),
            "more.bin": noise("more", ABOVE + 1),
            "odd.bin": noise("odd", 1234567),
            "large.bin": noise("large", (8 << 20) + 4097),
        }
        for name, data in cls.files.items():
            write(root, name, data)
        write(root, "index.html", b"home")

    def serve(self, *more, **how):
        return self.begin("--splice-above=100K", "--keep-generations=0", "--encodings=gzip", *more, **how)

    def spliced(self, server):
        """Bytes that were sent by reference so far."""
        name = "loom_epoll_spliced_bytes_total" if self.backend == "epoll" else "loom_io_uring_spliced_bytes_total"
        return sum(self.scrape(server).all(name).values())

    def gets(self, server, client, target, expected, *fields, by_reference):
        before = self.spliced(server)
        response = client.ask(target, *fields)
        self.assertTrue(response.body == expected, f"{target} {fields}")
        wait_for(lambda: self.spliced(server) - before == by_reference, f"{by_reference} bytes of {target} {fields} by reference")
        return response

    def test_whole_and_ranges(self):
        server = self.serve()
        with server.client() as client:
            for name, data in self.files.items():
                self.gets(server, client, "/" + name, data, by_reference=len(data) if len(data) > ABOVE else 0)
            data = self.files["odd.bin"]
            for first, last in ((0, ABOVE), (0, ABOVE - 1), (4095, 4096 + ABOVE), (1000000, 1234566), (1234566, 1234566), (7, 5000)):
                size = last - first + 1
                self.gets(server, client, "/odd.bin", data[first:last + 1], f"Range: bytes={first}-{last}",
                          by_reference=size if size > ABOVE else 0)
            before = self.spliced(server)
            got = client.ask("/odd.bin", "Range: bytes=0-299999,400000-400001,500000-1234566")
            self.assertTrue([body for _, body in parts_of(got)] == [data[:300000], data[400000:400002], data[500000:]])
            self.assertEqual(self.spliced(server), before)  # several ranges are gathered from memory
            # Pipelined, with others in front and behind.
            client.send(request("/") + request("/odd.bin") + request("/less.bin") + request("/large.bin") + request("/"))
            for name in (None, "odd.bin", "less.bin", "large.bin", None):
                self.assertTrue(client.response().body == (self.files[name] if name else b"home"), name)
            self.assertEqual(client.ask("/odd.bin", method="HEAD")["content-length"], "1234567")
            self.kept(client)

    def test_off(self):
        server = self.begin("--splice-above=off")
        with server.client() as client:
            self.gets(server, client, "/large.bin", self.files["large.bin"], by_reference=0)

    def test_variants(self):
        root = self.directory()
        text = b"".join(noise(i, 4000).hex().encode() for i in range(100))
        write(root, "text.js", text)
        server = self.serve(root=root)
        with server.client() as client:
            wait_for(lambda: client.ask("/text.js", "Accept-Encoding: gzip", method="HEAD")["content-encoding"] == "gzip",
                     "a variant")
            before = self.spliced(server)
            got = client.ask("/text.js", "Accept-Encoding: gzip")
            self.assertTrue(gzip.decompress(got.body) == text)
            wait_for(lambda: self.spliced(server) - before == len(got.body), "all of it by reference")

    def test_a_deploy_under_slow_readers(self):
        """Bodies that are freed, and others in their place, while what was sent of them waits for its readers."""
        root = self.directory()
        old, new = noise("old", 6 << 20), noise("new", 6 << 20)
        small = [noise(i, 300000) for i in range(4)]
        write(root, "large.bin", old)
        for i, data in enumerate(small):
            write(root, f"{i}.bin", data)
        server = self.serve(root=root)
        clients = [server.client(rcvbuf=8 << 10) for _ in range(4)]
        queued = [server.client() for _ in range(4)]
        for client in clients:
            client.send(request("/large.bin"))
            client.read_head()
        for i, client in enumerate(queued):
            client.send(request(f"/{i}.bin"))  # as much as the kernel takes at once
        wait_for(lambda: self.spliced(server) >= 4 * 300000, "all of the small ones to be in the kernel")
        for turn in range(3):
            write(root, "large.bin", new[turn:])
            for i in range(4):
                write(root, f"{i}.bin", noise(f"{i} {turn}", 300000))
            server.signal(signal.SIGHUP)
            wait_for(lambda: server.get("/large.bin").body == new[turn:], "a deploy")  # noqa: B023
        for client in clients:
            self.assertTrue(client.read_body(len(old)) == old, "what was begun with the old one")
            self.kept(client, "/0.bin")
        for i, client in enumerate(queued):
            self.assertTrue(client.response().body == small[i])

    def test_denied(self):
        """A container's filter may know no vmsplice(2): then bodies are copied."""
        server = self.serve(before_exec=lambda: deny(VMSPLICE, errno.EPERM))
        with server.client() as client:
            self.gets(server, client, "/large.bin", self.files["large.bin"], by_reference=0)
            self.gets(server, client, "/odd.bin", self.files["odd.bin"], by_reference=0)

    def test_memory_is_what_is_said(self):
        """Whole pages count, and a body that is gone is given back."""
        if VALGRIND or sanitized():
            self.skipTest("the process has other memory as well")
        root = self.directory()
        for i in range(12):
            write(root, f"{i}.bin", noise(i, (4 << 20) + 1))
        server = self.serve("--gate=none", root=root)
        held = self.scrape(server).get("loom_snapshot_memory_bytes")
        self.assertGreaterEqual(held, 12 * ((4 << 20) + 4096))
        self.assertLess(held, 12 * ((4 << 20) + 8192) + (1 << 20))
        before = server.resident()
        for i in range(11):
            os.unlink(os.path.join(root, f"{i}.bin"))
        write(root, "new.txt", b"new")
        server.signal(signal.SIGHUP)
        wait_for(lambda: self.scrape(server).get("loom_snapshot_memory_bytes") < 8 << 20, "memory to be given back")
        wait_for(lambda: server.resident() < before - (30 << 20), "the process to be smaller")
        self.assertTrue(server.get("/11.bin").body == noise(11, (4 << 20) + 1))
