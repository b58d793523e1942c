"""Resets, crowds, and too few descriptors: the server survives, gives everything back, and does not spin."""
import random
import select
import time

from case import Case, noise, write
from client import Ended, Malformed, request
from server import LONG, VALGRIND, wait_for


class Resets(Case):
    """Clients that vanish at any moment."""
    shared = True
    cost = 3

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "big.bin", noise(1, 8 << 20))

    def back_to_normal(self):
        self.server.wait_quiet()
        for _ in range(20):
            self.assertEqual(self.server.get("/").body, b"home")

    def test_before_a_request(self):
        for _ in range(300):
            self.server.client().reset()
        self.back_to_normal()

    def test_within_a_request(self):
        data = request("/", "Content-Length: 1000", method="POST", body=b"x" * 500)
        for at in range(300):
            client = self.server.client()
            client.send(data[:at * len(data) // 300])
            client.reset()
        self.back_to_normal()

    def test_right_after_a_request(self):
        for at in range(300):
            client = self.server.client()
            client.send(request("/big.bin" if at % 2 else "/") * (1 + at % 5))
            client.reset() if at % 3 else client.close()
        self.back_to_normal()

    def test_within_a_response(self):
        choice = random.Random(1)
        for at in range(200):
            client = self.server.client(rcvbuf=16 << 10)
            client.send(request("/big.bin") * (1 + at % 3))
            client.read_body(choice.choice((1, 100, 10000, 300000)))
            client.reset() if at % 3 else client.close()
        self.back_to_normal()

    def test_after_a_half_close(self):
        for at in range(200):
            client = self.server.client(rcvbuf=16 << 10)
            client.send(request("/big.bin" if at % 2 else "/"))
            client.finish()
            if at % 4:
                client.read_body(10)
            client.reset()
        self.back_to_normal()

    def test_in_crowds(self):
        for _ in range(5):
            clients = [self.server.client(rcvbuf=16 << 10) for _ in range(100)]
            for client in clients:
                client.send(request("/big.bin"))
            for client in clients[::2]:
                client.read_body(1000)
            for client in clients:
                client.reset()
        self.back_to_normal()


class Crowds(Case):
    """Many connections, at once and one after the other."""
    shared = True
    cost = 4

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "page.bin", noise(2, 20000))

    def test_a_thousand_at_once(self):
        clients = [self.server.client() for _ in range(1000)]
        for client in clients:
            client.send(request("/page.bin"))
        for client in clients:
            self.assertTrue(client.response().body == noise(2, 20000))
        for client in clients:
            client.send(request("/") * 3)
        for client in reversed(clients):
            for _ in range(3):
                self.assertEqual(client.response().body, b"home")
        for client in clients:
            client.close()
        self.server.wait_quiet()

    def test_a_connection_a_request(self):
        rounds = 100 if VALGRIND else 20000 if LONG else 2000
        for at in range(rounds):
            self.assertEqual(self.server.get("/", *(("Connection: close",) if at % 2 else ())).status, 200)
        self.server.wait_quiet()

    def test_idle_it_sleeps(self):
        clients = [self.server.client() for _ in range(200)]
        for client in clients:
            self.assertEqual(client.ask("/").status, 200)
        time.sleep(0.2)
        before = self.server.ticks()
        time.sleep(0.7)
        self.assertLess(self.server.ticks() - before, 0.25, "seconds of CPU time in 0.7 s of idleness")


class Scarcity(Case):
    """Fewer descriptors or slots than clients."""
    cost = 3

    def crowd(self, server, count):
        """Clients that ask at once; the answered ones go on when all that can be answered have been."""
        waiting = [server.client() for _ in range(count)]
        for client in waiting:
            client.send(request("/"))
        most = refused = answered = 0
        while waiting:
            ready = set(select.select([client.sock for client in waiting], [], [], 60)[0])
            self.assertTrue(ready, f"{len(waiting)} clients wait for ever")
            time.sleep(0.05)  # let it answer as many as it can; they are all kept open until they are counted
            ready = set(select.select([client.sock for client in waiting], [], [], 0)[0])
            done = [client for client in waiting if client.sock in ready]
            most = max(most, len(done))
            for client in done:
                try:
                    self.assertEqual(client.response().status, 200)
                    answered += 1
                except Ended as ended:
                    self.assertTrue(ended.at_boundary)
                    refused += 1
                waiting.remove(client)
            for client in done:
                client.close()
        return answered, refused, most

    def test_too_few_descriptors(self):
        server = self.start("--keepalive-timeout=1h", "--max-connections=20")
        # An accept that waits in the kernel may go by the limit of the time when it was asked for: first the server has
        # to be full, so that it stops accepting and begins anew.
        fillers = [server.client() for _ in range(200)]
        wait_for(lambda: server.descriptors() >= server.baseline + 20, "the server to be full")
        server.limit_descriptors(server.baseline + 5)
        for client in fillers:
            client.close()
        server.wait_quiet()
        allowed = 5
        for spare in (5, 0, 1, 12):
            server.limit_descriptors(server.baseline + spare)
            allowed = max(allowed, spare)
            if spare:
                answered, refused, most = self.crowd(server, 5 + 2 * spare)
                self.assertGreater(answered, 0)
                self.assertLessEqual(most - refused, allowed)
            holders = [server.client() for _ in range(15)]
            time.sleep(0.1)
            before = server.ticks()
            time.sleep(0.6)
            self.assertLess(server.ticks() - before, 0.25, f"seconds of CPU time in 0.6 s of want, {spare} spare")
            server.check()
            for client in holders:
                client.close()
        server.limit_descriptors(1000)
        for _ in range(20):
            wait_for(lambda: answers(server), "an answer after the want")
        self.assertLess(len(server.log().splitlines()), 100, "it writes a line for every failure")

    def test_the_limit_on_connections(self):
        server = self.start("--max-connections=8", "--keepalive-timeout=1h")
        answered, refused, most = self.crowd(server, 100)
        # what the kernel has accepted before the server can say stop is served as well: up to 64 a worker
        self.assertLessEqual(most - refused, 8 + 64 * self.workers)
        self.assertGreater(answered, 0)
        holders = [server.client() for _ in range(30)]
        before = server.ticks()
        time.sleep(0.7)
        self.assertLess(server.ticks() - before, 0.25, "seconds of CPU time in 0.7 s at the limit")
        for client in holders:
            client.close()
        wait_for(lambda: answers(server), "an answer after the crowd")

    def test_one_connection(self):
        server = self.start("--max-connections=" + str(self.workers))
        for _ in range(50):
            wait_for(lambda: answers(server), "an answer")

    def test_a_low_limit_from_the_start(self):
        import resource
        server = self.start(before_exec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110)))
        answered, _, _ = self.crowd(server, 200)
        self.assertGreater(answered, 0)


def answers(server):
    try:
        return server.get("/").status == 200
    except (Ended, Malformed, OSError):
        return False
