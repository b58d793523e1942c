"""Limits on clients: how many at a time, how many of one address, how slow; and what the others notice of it.

Each is tried on both of its sides: what is just allowed goes through, what is just too much does not, and who was there
before is served as ever.
"""
import os
import select
import signal
import socket
import threading
import time

from case import Case, noise, write
from client import Client, Ended, request
from server import wait_for

REFUSALS = 128  # connections that are told 503 at a time, a worker


class Limited(Case):
    matrix = "backends"

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")

    def holders(self, server, count, **more):
        """Clients that have been answered, and stay."""
        clients = [server.client(**more) for _ in range(count)]
        for client in clients:
            self.assertEqual(client.ask("/").body, b"home")
        return clients

    def told_503(self, client):
        response = client.response()
        self.assertEqual((response.status, response.closes), (503, True))
        self.assertGreater(int(response["retry-after"]), 0)
        client.expect_end()
        return response

    def silent(self, client):
        """Ended without a byte."""
        with self.assertRaises(Ended) as ended:
            client.receive(at_boundary=True)
        self.assertTrue(ended.exception.at_boundary)

    def unharmed(self, clients):
        for client in clients:
            self.kept(client)


class WhenFull(Limited):
    """--max-connections, and what becomes of the next one."""

    def full(self, when, count=3, **more):
        server = self.start(f"--when-full={when}", f"--max-connections={count}", "--keepalive-timeout=1h",
                            "--header-timeout=1h", workers=1, **more)  # places are each worker's own
        return server, self.holders(server, count)

    def test_503(self):
        server, holders = self.full("503")
        for sent in (b"", request("/"), request("/", method="HEAD"), b"GET", b"\x16\x03\x01 no HTTP at all",
                     request("/", "Content-Length: 300000", method="POST", body=b"x" * 300000)):
            with server.client() as client:
                if sent:
                    client.send(sent)
                self.assertIn(b"503", self.told_503(client).body)
        self.unharmed(holders)
        holders.pop().close()
        # the place is free as soon as the server has seen the end
        wait_for(lambda: served(server), "the free place to be given away")
        self.unharmed(holders)
        wait_for(lambda: "all 3 connections are in use, new ones get 503" in server.log(), "a line in the log")

    def test_503_is_not_lost_to_a_reset(self):
        server, holders = self.full("503")
        for _ in range(30):
            with server.client() as client:
                try:
                    for _ in range(10):
                        client.send(request("/") * 20)
                    time.sleep(0.005)
                    client.send(request("/"))
                except OSError:
                    pass  # it has waited for a second for us to end; what it said is there all the same
                self.told_503(client)
        self.unharmed(holders)

    def test_503_for_so_many_at_a_time(self):
        server, holders = self.full("503")
        crowd = [server.client() for _ in range(REFUSALS + 100)]
        refused = 0
        for client in crowd:
            try:
                client.receive(at_boundary=True)
            except Ended as ended:
                self.assertTrue(ended.at_boundary)
                client.close()
                continue
            self.told_503(client)
            refused += 1
        self.assertGreaterEqual(refused, REFUSALS)
        self.unharmed(holders)
        wait_for(lambda: server.descriptors() <= server.baseline + len(holders), "the refused ones to be gone")
        with server.client() as client:
            self.told_503(client)

    def test_503_bounds_descriptors(self):
        server, holders = self.full("503")
        crowd = [server.client() for _ in range(REFUSALS * 3)]
        # The ring may hand over a whole backlog at once: those beyond the bound go in the same turn, if not in the same moment.
        wait_for(lambda: server.descriptors() <= server.baseline + len(holders) + REFUSALS + 1,
                 "all but so many to be turned away")
        self.assertEqual(len(crowd), REFUSALS * 3)  # which nobody has let go of
        self.unharmed(holders)

    def test_503_with_a_page_of_ones_own(self):
        root = self.directory()
        write(root, "index.html", b"home")
        write(root, "503.html", b"<!doctype html>come back later " + b"." * 20000)
        server, holders = self.full("503", root=root)
        with server.client() as client:
            client.send(request("/"))
            self.assertIn(b"come back later", self.told_503(client).body)
        self.unharmed(holders)

    def test_503_goes_on_while_clients_do_not_read_it(self):
        """It waits for none of them for long, whether they read or not."""
        server, holders = self.full("503")
        crowd = [server.client() for _ in range(20)]
        wait_for(lambda: server.descriptors() <= server.baseline + len(holders), "the refused ones to be gone")
        for client in crowd:
            self.told_503(client)
        self.unharmed(holders)

    def test_draining_while_full(self):
        server, holders = self.full("503")
        crowd = [server.client() for _ in range(10)]
        server.signal(15)
        server.wait_exit()
        for client in crowd:
            self.told_503(client)
        for client in holders:
            client.expect_end()

    def test_close(self):
        server, holders = self.full("close")
        for sent in (b"", request("/")):
            with server.client() as client:
                try:
                    client.send(sent)
                except OSError:
                    pass
                self.silent(client)
        self.unharmed(holders)
        holders.pop().close()
        wait_for(lambda: served(server), "the free place to be given away")
        self.unharmed(holders)
        wait_for(lambda: "all 3 connections are in use, new ones are closed" in server.log(), "a line in the log")

    def test_wait(self):
        server, holders = self.full("wait")
        waiting = [server.client() for _ in range(5)]
        for client in waiting:
            client.send(request("/"))
        for client in holders:
            self.kept(client)
        self.assertFalse(select.select([client.sock for client in waiting], [], [], 0.2)[0], "more than there is room for")
        for client in holders:
            client.close()
        for _ in range(len(waiting)):
            ready = select.select([client.sock for client in waiting], [], [], 60)[0]
            self.assertTrue(ready, "those that wait are not let in")
            client = next(client for client in waiting if client.sock in ready)
            self.assertEqual(client.response().status, 200)
            waiting.remove(client)
            client.close()

    def test_one_at_a_time(self):
        """Every second one finds it full, and the one after does not: nothing of a refusal stays behind."""
        for when in ("503", "close"):
            server = self.start(f"--when-full={when}", "--max-connections=1", "--keepalive-timeout=1h", workers=1)
            for _ in range(20):
                with wait_for(lambda: holder(server), "the only place") as one:
                    with server.client() as other:
                        if when == "503":
                            self.told_503(other)
                        else:
                            self.silent(other)
                    self.kept(one)


def served(server):
    try:
        return server.get("/").status == 200
    except (Ended, OSError):
        return False


def holder(server):
    """A client that has been answered, or None: it found no place."""
    client = server.client()
    try:
        if client.ask("/").status == 200:
            return client
    except (Ended, OSError):
        pass
    client.close()
    return None


class PerAddress(Limited):
    """--max-connections-per-ip: counted for all workers together, whichever of them the kernel gives a connection."""
    matrix = "full"

    def test_at_the_limit(self):
        server = self.start("--max-connections-per-ip=5", "--keepalive-timeout=1h")
        one = self.holders(server, 5, source="127.0.0.2")
        for sent in (b"", request("/")):
            for _ in range(8):  # workers get them by chance
                with server.client(source="127.0.0.2") as client:
                    client.send(sent)
                    self.told_503(client)
        two = self.holders(server, 5, source="127.0.0.3")
        with server.client(source="127.0.0.3") as client:
            self.told_503(client)
        self.unharmed(one + two)
        one.pop().close()
        wait_for(lambda: self.enters(server, "127.0.0.2"), "room for another of that address")
        self.unharmed(one + two)
        wait_for(lambda: "--max-connections-per-ip" in server.log(), "a line in the log")
        self.assertRegex(server.log(), r"\d+ connections were refused: their addresses have 5 already")

    def enters(self, server, source):
        with server.client(source=source) as client:
            client.send(request("/"))
            return client.response().status == 200

    def test_what_is_over_is_forgotten(self):
        server = self.start("--max-connections-per-ip=2", "--keepalive-timeout=1h")
        for round in range(60):
            wait_for(lambda: self.enters(server, "127.0.0.2"), "the one before to be forgotten")
        for round in range(20):
            client = server.client(source="127.0.0.2")
            client.send(request("/"))
            client.reset()
        wait_for(lambda: self.enters(server, "127.0.0.2"), "those that were reset to be forgotten")

    def test_close(self):
        server = self.start("--max-connections-per-ip=2", "--when-full=close", "--keepalive-timeout=1h")
        holders = self.holders(server, 2, source="127.0.0.2")
        for _ in range(4):
            with server.client(source="127.0.0.2") as client:
                self.silent(client)
        self.assertEqual(server.get("/").status, 200)
        self.unharmed(holders)

    def test_ipv4_is_one_address_on_both_kinds_of_sockets(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6 here")
        server = self.start("--max-connections-per-ip=3", "--keepalive-timeout=1h", listen=("127.0.0.1:0", "[::]:0"))
        dual = server.addresses[1][1]
        holders = self.holders(server, 2)
        holders.append(Client(("127.0.0.1", dual)))
        self.assertEqual(holders[2].ask("/").status, 200)
        for address in (server.address, ("127.0.0.1", dual)):
            with Client(address) as client:
                self.told_503(client)
        with Client(("::1", dual)) as client:
            self.assertEqual(client.ask("/").status, 200)
        self.unharmed(holders)

    def test_ipv6(self):
        if not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6 here")
        server = self.start("--max-connections-per-ip=3", "--keepalive-timeout=1h", listen=("[::1]:0",))
        holders = self.holders(server, 3)
        with server.client() as client:
            self.told_503(client)
        self.unharmed(holders)

    def test_unix_sockets_are_not_counted(self):
        path = os.path.join(self.directory(), "socket")
        server = self.start("--max-connections-per-ip=1", "--keepalive-timeout=1h", listen=(f"unix:{path}",))
        self.unharmed(self.holders(server, 10))

    def test_refusals_keep_nobody_out(self):
        server = self.start("--max-connections-per-ip=2", f"--max-connections={16 * self.workers}",
                            "--keepalive-timeout=1h")
        holders = self.holders(server, 2, source="127.0.0.2")
        crowd, most = [], 0
        for _ in range(40):
            crowd.append(server.client(source="127.0.0.2"))
            self.turned_away(crowd[-1])  # before that it may be accepted, and of a descriptor, and not yet looked at
            most = max(most, server.descriptors())
        # an eighth of the places at most
        self.assertLessEqual(most, server.baseline + len(holders) + 2 * self.workers)
        self.unharmed(holders + self.holders(server, 2))

    def turned_away(self, client):
        """With 503 or without a word."""
        try:
            self.assertEqual(client.response().status, 503)
        except Ended as ended:
            self.assertTrue(ended.at_boundary)

    def test_with_a_full_server(self):
        """The limit of an address holds for those that have waited in the backlog, too."""
        server = self.start("--max-connections-per-ip=2", f"--max-connections={4 * self.workers}",
                            "--keepalive-timeout=1h")
        holders = self.holders(server, 2, source="127.0.0.2")
        crowd = [server.client(source="127.0.0.2") for _ in range(40)]
        for client in crowd:
            client.send(request("/"))
        for client in crowd:  # a refusal takes a place for a moment only
            self.turned_away(client)
            client.close()
        self.unharmed(holders)
        wait_for(lambda: served(server), "an answer to somebody else")


class OtherRates(Limited):
    """Rates and windows that change (SIGHUP) while something is on its way: no window is judged by what it did not begin with."""
    cost = 8

    @classmethod
    def plant(cls, root):
        super().plant(root)
        write(root, "large.bin", noise("large", 8 << 20))

    def begin(self, **settings):
        self.conf = os.path.join(self.directory(), "conf")
        self.configure(settings)
        return self.start(f"--config={self.conf}")

    def configure(self, settings):
        with open(self.conf, "w", encoding="ascii") as file:
            file.writelines(f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items())

    def change(self, server, **settings):
        self.configure(settings)
        server.signal(signal.SIGHUP)
        wait_for(lambda: "in effect now: " in server.log(), "the other settings")

    def receive(self, **settings):
        """Some 800 bytes a second, for longer than a window."""
        before = {"min_recv_rate": 50, "recv_window": "2s", "header_timeout": "1h", "max_body": "1M"}

        def attempt(pace):
            server = self.begin(**before)
            with server.client() as client:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")
                self.change(server, **{**before, **settings})
                for _ in range(100):
                    client.send(b"x" * 40)
                    pace()
                    time.sleep(0.05)
                self.assertEqual(client.response().status, 405)

        self.at_pace(attempt, 1.5)

    def test_a_rate_of_receiving_that_is_not_asked_for_any_more(self):
        self.receive(min_recv_rate=0)

    def test_a_longer_window_of_receiving(self):
        self.receive(recv_window="1h")

    def test_a_longer_window_of_sending(self):
        before = {"send_timeout": "2s", "min_send_rate": 100, "grace": "1h"}

        def attempt(pace):
            server = self.begin(**before)
            with server.client(rcvbuf=8 << 10) as client:
                client.send(request("/large.bin"))
                client.read_head()
                self.change(server, **{**before, "send_timeout": "24h"})  # 8.6 MB, of which there are 8.4
                for _ in range(60):
                    client.receive()
                    pace()
                    time.sleep(0.1)
                self.assertTrue(client.read_body(8 << 20) == noise("large", 8 << 20))

        self.at_pace(attempt, 1.5)


class RecvRate(Limited):
    """--min-recv-rate over --recv-window, of a head and of a body; with no other deadline in reach."""
    shared = True
    arguments = ("--min-recv-rate=1K", "--recv-window=1s", "--header-timeout=1h", "--keepalive-timeout=1h",
                 "--max-body=1M")
    cost = 4
    BEGINNINGS = {
        "a head": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
        "a body": (request("/", "Content-Length: 1000000", method="POST"), b"y"),
        "chunks": (request("/", "Transfer-Encoding: chunked", method="POST"), b"1\r\ny\r\n"),
    }

    def test_a_trickle_is_ended(self):
        clients = {}
        for what, (begin, _) in self.BEGINNINGS.items():
            clients[what] = self.server.client()
            clients[what].send(begin)
        end = time.monotonic() + 60
        waiting = set(clients)
        while waiting:
            self.assertLess(time.monotonic(), end, f"{waiting} went on for ever")
            time.sleep(0.05)  # 20 to 120 bytes a second
            for what in list(waiting):
                if select.select([clients[what].sock], [], [], 0)[0]:
                    response = clients[what].response()
                    self.assertEqual((response.status, response.closes), (408, True), what)
                    waiting.remove(what)
                else:
                    clients[what].send(self.BEGINNINGS[what][1])

    def test_silence_is_ended(self):
        clients = [self.server.client() for _ in self.BEGINNINGS]
        for client, (begin, _) in zip(clients, self.BEGINNINGS.values()):
            client.send(begin)
        for client in clients:
            self.assertEqual(client.response().status, 408)

    def test_a_burst_is_no_credit(self):
        """What came in earlier windows does not count for the next."""
        with self.server.client() as client:
            client.send(request("/", "Content-Length: 1000000", method="POST", body=b"x" * 500000))
            self.assertEqual(client.response().status, 408)

    def test_one_that_is_fast_enough_goes_through(self):
        """Some twenty times the rate, for several windows."""
        size = 80000

        def attempt(pace):
            with self.server.client() as client:
                client.send(request("/", f"Content-Length: {size}", method="POST"))
                for _ in range(size // 1000):
                    client.send(b"x" * 1000)
                    pace()
                    time.sleep(0.03)
                self.assertEqual(client.response().status, 405)
                self.kept(client)

        self.at_pace(attempt, 0.5)

    def test_idle_connections_are_not_its_business(self):
        with self.server.client() as client:
            self.assertEqual(client.ask("/").status, 200)
            time.sleep(1.5)
            self.kept(client)


class SendRate(Limited):
    """--min-send-rate over --send-timeout: the same reader, at two rates."""
    cost = 4

    @classmethod
    def plant(cls, root):
        cls.big = noise("big", 24 << 20)
        write(root, "big.bin", cls.big)
        write(root, "part.bin", cls.big[:1 << 20])
        write(root, "index.html", b"home")

    def read_slowly(self, server, pieces, pace=lambda: None):
        """Some 600 KB a second."""
        client = server.client(rcvbuf=64 << 10)
        client.send(request("/big.bin"))
        self.assertIn(b"200 OK", client.read_head())
        at = 0
        for _ in range(pieces):
            piece = client.read_body(64 << 10)
            self.assertTrue(piece == self.big[at:at + len(piece)])
            at += len(piece)
            pace()
            time.sleep(0.1)
        return client, at

    def test_one_that_is_fast_enough_gets_all(self):
        server = self.start("--min-send-rate=16K", "--send-timeout=1s")

        def attempt(pace):
            client, at = self.read_slowly(server, 25, pace)
            self.assertTrue(client.read_body(len(self.big) - at) == self.big[at:])
            self.kept(client)

        self.at_pace(attempt, 0.5)

    def test_what_it_takes_of_earlier_answers_counts(self):
        """Behind another answer, of which it has most to take yet when the second one is sent."""
        server = self.start("--min-send-rate=140K", "--send-timeout=2s")

        def attempt(pace):
            with server.client(rcvbuf=64 << 10) as client:
                client.send(request("/part.bin") + request("/big.bin"))
                for size, slowly in (1 << 20, 16), (len(self.big), 20):
                    self.assertIn(b"200 OK", client.read_head())
                    for _ in range(slowly):
                        client.read_body(64 << 10)
                        size -= 64 << 10
                        pace()
                        time.sleep(0.145)  # 450 KB a second
                    client.read_body(size)

        self.at_pace(attempt, 0.3)

    def test_one_that_is_not_is_cut(self):
        server = self.start("--min-send-rate=16M", "--send-timeout=1s")
        with self.assertRaises(Ended):
            self.read_slowly(server, 1000)
        self.assertEqual(server.get("/").status, 200)

    def test_any_progress_will_do(self):
        server = self.start("--min-send-rate=0", "--send-timeout=1s")

        def attempt(pace):
            client, at = self.read_slowly(server, 25, pace)
            self.assertTrue(client.read_body(len(self.big) - at) == self.big[at:])
            return client

        client = self.at_pace(attempt, 0.5)
        stopped = server.client(rcvbuf=16 << 10)
        stopped.send(request("/big.bin"))
        client.close()
        wait_for(lambda: server.descriptors() <= server.baseline, "the one that stopped to be cut")


class Greed(Limited):
    """Clients that always have something to ask, or to take: the others get their turns."""
    cost = 3

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "big.bin", noise("greed", 8 << 20))

    def greedy(self, server, ask, stop):
        """A connection that is fed and drained by two threads, as fast as they can."""
        client = server.client()

        def write_on():
            try:
                while not stop.is_set():
                    client.send(ask)
            except OSError:
                pass

        def read_on():
            try:
                while client.sock.recv(1 << 20):
                    pass
            except OSError:
                pass

        threads = [threading.Thread(target=one, daemon=True) for one in (write_on, read_on)]
        for thread in threads:
            thread.start()
        return client, threads

    def beside(self, ask):
        server = self.start("--keepalive-timeout=1h", workers=1)
        stop = threading.Event()
        greedy = [self.greedy(server, ask, stop) for _ in range(3)]
        took = []
        with server.client() as client:
            for _ in range(200):
                begun = time.monotonic()
                self.assertEqual(client.ask("/").body, b"home")
                took.append(time.monotonic() - begun)
        stop.set()
        for client, threads in greedy:
            client.sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(60)
            client.close()
        took.sort()
        self.note(f"{ask[:16]!r} beside it: half of the answers within {took[100] * 1e3:.2f} ms, "
                  f"99 % within {took[198] * 1e3:.2f} ms")

    def test_pipelines_without_an_end(self):
        self.beside(request("/") * 2000)

    def test_downloads_without_an_end(self):
        self.beside(request("/big.bin") * 20)

    def test_many_small_ranges(self):
        ranges = ",".join(f"{at}-{at}" for at in range(0, 6000, 200))
        self.beside(request("/big.bin", f"Range: bytes={ranges}") * 100)

    def test_what_a_range_bomb_gets(self):
        """All in one, or joined (RFC 9110 14.2): never more than the file."""
        server = self.start(workers=1)
        size = 8 << 20
        for ranges in ("0-," * 60 + "0-", ",".join(f"{at}-" for at in range(60)), "0-,-1," * 30 + "5-"):
            with server.client() as client:
                response = client.ask("/big.bin", f"Range: bytes={ranges}")
                self.assertIn(response.status, (200, 206))
                self.assertLessEqual(len(response.body), size)
                self.kept(client)
