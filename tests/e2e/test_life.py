"""From the start to the end: draining, signals, restarts."""
import os
import signal
import socket
import threading
import time

from case import Case, Hammer, noise, write
from client import Client, Ended, request
from server import wait_for


def refuses(server):
    """Whether the port takes no more connections."""
    try:
        with socket.create_connection(server.address, 5):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


class Drain(Case):
    cost = 4

    @classmethod
    def plant(cls, root):
        cls.huge = noise("huge", 24 << 20)  # well past what all socket buffers hold
        write(root, "index.html", b"home")
        write(root, "huge.bin", cls.huge)
        write(root, "page.bin", noise("page", 30000))

    def in_flight(self, server):
        """A client that has asked for the huge file and read its head."""
        client = server.client(rcvbuf=64 << 10)
        client.send(request("/huge.bin"))
        self.assertIn(b"200 OK", client.read_head())
        return client

    def test_sigterm_and_sigint(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start()
            self.assertEqual(server.get("/").status, 200)
            server.signal(number)
            server.wait_exit()

    def test_idle_connections_are_closed(self):
        server = self.start("--keepalive-timeout=1h", "--grace=1h")
        clients = [server.client() for _ in range(50)]
        for client in clients[10:]:
            self.assertEqual(client.ask("/").status, 200)
        server.get("/")  # by now the first ten have been accepted, too
        server.signal(signal.SIGTERM)
        for client in clients[10:]:
            client.expect_end()
        server.wait_exit()

    def test_clients_that_keep_coming_do_not_hold_it_up(self):
        server = self.start("--grace=1h")
        over = threading.Event()

        def come_again():
            while not over.is_set():
                try:
                    with server.client() as client:
                        client.ask("/", "Connection: close")
                except (OSError, Ended):
                    pass

        crowd = [threading.Thread(target=come_again) for _ in range(48)]
        for one in crowd:
            one.start()
        try:
            wait_for(lambda: server.get("/").status == 200, "an answer in the crowd")
            server.signal(signal.SIGTERM)
            server.wait_exit()
        finally:
            over.set()
            for one in crowd:
                one.join()

    def test_a_response_in_flight_finishes(self):
        server = self.start("--grace=1h", "--send-timeout=1h")
        client = self.in_flight(server)
        server.signal(signal.SIGTERM)
        wait_for(lambda: refuses(server), "the port to refuse")
        self.assertTrue(server.running())
        self.assertTrue(client.read_body(len(self.huge)) == self.huge)
        client.expect_end()
        client.close()
        server.wait_exit()

    def test_a_pipeline_in_flight_ends_between_two_responses(self):
        server = self.start("--grace=1h", "--send-timeout=1h")
        client = self.in_flight(server)
        client.send(request("/page.bin") * 50)
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        wait_for(lambda: refuses(server), "the port to refuse")
        self.assertTrue(client.read_body(len(self.huge)) == self.huge)
        try:
            while not client.response().closes:
                pass
            client.expect_end()
        except Ended as ended:
            self.assertTrue(ended.at_boundary)
        client.close()
        server.wait_exit()

    def test_under_load_no_response_is_torn(self):
        for _ in range(3):
            server = self.start("--grace=1h")
            page = noise("page", 30000)
            gone = threading.Event()
            hammer = Hammer(server, ["/page.bin", "/"], end_allowed=gone.is_set, check=lambda target, response:
                            self.assertTrue(response.body == (page if target != "/" else b"home")))
            try:
                wait_for(lambda: hammer.answers > 300, "some load")
                gone.set()
                server.signal(signal.SIGTERM)
                server.wait_exit()
            finally:
                hammer.stop()

    def test_half_a_request_does_not_hold_it_up(self):
        server = self.start("--grace=1h", "--header-timeout=1s")
        client = server.client()
        client.send(b"GET / HTTP/1.1\r\n")
        with server.begun(request("/")) as other:
            self.assertEqual(other.response().status, 200)
        server.signal(signal.SIGTERM)
        try:
            client.response()
            client.expect_end()
        except Ended as ended:
            self.assertTrue(ended.at_boundary)
        client.close()
        server.wait_exit()

    def test_grace_bounds_it(self):
        server = self.start("--grace=500ms", "--send-timeout=1h")
        client = self.in_flight(server)
        server.signal(signal.SIGTERM)
        server.wait_exit()
        with self.assertRaises(Ended):
            client.read_body(len(self.huge))

    def test_a_second_signal_ends_at_once(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
            server = self.start("--grace=1h", "--send-timeout=1h")
            self.in_flight(server)
            server.signal(first)
            wait_for(lambda: refuses(server), "the port to refuse")
            self.assertTrue(server.running())
            server.signal(second)
            # what status such an end has is not said anywhere, as long as it is no crash
            server.wait_exit((0, 1, 128 + second, -second))

    def test_sighup_and_sigpipe_do_not_end_it(self):
        server = self.start()
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGHUP):
            server.signal(number)
            self.assertEqual(server.get("/").status, 200)


class LameDuck(Case):
    """--drain-delay: whoever asks for health hears that this one ends, before anybody is refused."""
    matrix = "backends"

    def test_it_serves_and_says_so(self):
        server = self.start("--health=/healthz", "--drain-delay=1h", "--grace=1h", workers=2)
        kept = server.client()
        self.assertEqual(kept.ask("/healthz").status, 200)
        server.signal(signal.SIGTERM)
        wait_for(lambda: "serving on for" in server.log(), "the announcement")
        wait_for(lambda: kept.ask("/healthz").status == 503, "503 for who is connected")
        for _ in range(20):  # of both workers
            with server.client() as client:
                self.assertEqual(client.ask("/").status, 200)
                # The workers are told one after the other.
                response = wait_for(lambda: (one := client.ask("/healthz")).status == 503 and one, "503 of this worker")
                self.assertFalse(response.closes)
                self.kept(client)
        self.kept(kept)
        self.assertTrue(server.running())
        server.signal(signal.SIGTERM)  # it need not last
        wait_for(lambda: refuses(server), "the port to refuse")
        server.wait_exit()
        self.assertIn("draining", server.log())

    def test_it_ends_by_itself(self):
        server = self.start("--drain-delay=100ms", "--grace=1h")
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertRegex(server.log(), r"(?s)serving on for 100 ms.*draining: ")

    def test_a_third_signal_ends_at_once(self):
        write(self.root, "huge.bin", noise("huge", 24 << 20))
        server = self.start("--drain-delay=1h", "--grace=1h", "--send-timeout=1h")
        client = server.client(rcvbuf=64 << 10)
        client.send(request("/huge.bin"))
        client.read_head()
        for said in ("serving on", "draining: "):
            server.signal(signal.SIGTERM)
            wait_for(lambda: said in server.log(), said)  # pylint: disable=cell-var-from-loop
        self.assertTrue(server.running())
        server.signal(signal.SIGTERM)
        server.wait_exit()


class Restart(Case):
    """The same port at once, whatever the last owner left behind."""
    cost = 2

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "big.bin", noise(1, 4 << 20))

    def test_at_once(self):
        server = self.start()
        listen = (f"127.0.0.1:{server.address[1]}",)
        for end in (signal.SIGTERM, signal.SIGKILL) * 3:
            # connections that the server closes first leave their TIME_WAIT with its port
            for _ in range(10):
                self.assertEqual(server.get("/", "Connection: close").status, 200)
            stuck = server.client(rcvbuf=16 << 10)
            stuck.send(request("/big.bin"))
            idle = server.client()
            self.assertEqual(idle.ask("/").status, 200)
            if end == signal.SIGTERM:
                stuck.close()
            server.signal(end)
            server.wait_exit((0, -signal.SIGKILL) if end == signal.SIGKILL else (0,))
            server = self.start(listen=listen)
            self.assertEqual(server.get("/").status, 200)
            stuck.close()
            idle.close()

    def test_clients_of_the_dead_one_are_not_the_new_ones(self):
        first = self.start()
        client = first.client()
        self.assertEqual(client.ask("/").status, 200)
        first.signal(signal.SIGTERM)
        client.expect_end()
        first.wait_exit()
        second = self.start(listen=(f"127.0.0.1:{first.address[1]}",))
        self.assertEqual(second.get("/").status, 200)


class UnixSocket(Case):
    """A listener in the file system."""

    @classmethod
    def plant(cls, root):
        cls.big = noise(3, 3 << 20)
        write(root, "index.html", b"home")
        write(root, "big.bin", cls.big)

    def test_it_serves(self):
        path = os.path.join(self.directory(), "loom.sock")
        server = self.start(listen=(f"unix:{path}",))
        self.assertEqual(server.address, path)
        clients = [server.client() for _ in range(100)]
        for client in clients:
            client.send(request("/") * 10)
        for client in clients:
            for _ in range(10):
                self.assertEqual(client.response().body, b"home")
        self.assertTrue(server.get("/big.bin").body == self.big)
        for at in range(100):
            client = server.client()
            client.send(request("/big.bin"))
            client.read_body(at * 100 + 1)
            client.close()
        with server.client() as client:
            client.send(request("/big.bin"))
            client.finish()
            self.assertTrue(client.response().body == self.big)
            client.expect_end()

    def test_its_file_goes_and_a_stale_one_is_replaced(self):
        path = os.path.join(self.directory(), "loom.sock")
        server = self.start(listen=(f"unix:{path}",))
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertFalse(os.path.exists(path), "the socket's file is left behind")
        server = self.start(listen=(f"unix:{path}",))
        server.signal(signal.SIGKILL)
        server.wait_exit((-signal.SIGKILL,))
        self.assertTrue(os.path.exists(path))
        server = self.start(listen=(f"unix:{path}",))
        self.assertEqual(server.get("/").status, 200)

    def test_with_others(self):
        path = os.path.join(self.directory(), "loom.sock")
        server = self.start(listen=("127.0.0.1:0", f"unix:{path}", "127.0.0.1:0"))
        self.assertEqual(len(set(server.addresses)), 3)
        for address in server.addresses * 3:
            with Client(address) as client:
                self.assertEqual(client.ask("/").body, b"home")

    def test_draining(self):
        path = os.path.join(self.directory(), "loom.sock")
        server = self.start("--grace=1h", "--send-timeout=1h", listen=(f"unix:{path}",))
        with server.client() as client:
            client.send(request("/big.bin"))
            client.read_head()
            server.signal(signal.SIGTERM)
            self.assertTrue(client.read_body(len(self.big)) == self.big)
            client.expect_end()
        server.wait_exit()
