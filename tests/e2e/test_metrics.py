"""Metrics: each figure is what was done, in both formats, over HTTP and on the admin socket; bad scrapers harm nobody;
the dashboard and the documentation name what there is; and --health."""
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import termios
import time

import test_upgrade
from case import Case, Hammer, noise, write
from client import Client, Ended, request
from exposition import Scrape
from server import BOUND, VALGRIND, wait_for
from test_admin import Admin, LOOMCTL
from test_life import refuses

TREE = pathlib.Path(__file__).resolve().parents[2]


class Metered(Case):
    matrix = "backends"

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"<!doctype html><title>home</title>")
        write(root, "a.bin", noise("a", 3000))
        write(root, "assets/app-0123abcd.js", b"// script" * 40)
        write(root, "sub/index.html", b"sub")
        write(root, "huge.bin", noise("huge", 24 << 20))

    def begin(self, *arguments, **more):
        """Without variants, unless they are asked for: these would come with a snapshot more, at some time."""
        if not any(one.startswith("--encodings") for one in arguments):
            arguments += ("--no-compress",)
        self.path = os.path.join(self.directory(), "admin")
        server = self.start("--metrics=127.0.0.1:0", f"--admin=unix:{self.path}", "--watch=off", "--settle=20ms",
                            *arguments, **more)
        server.metrics = ("127.0.0.1", int(re.search(r"metrics at http://127\.0\.0\.1:(\d+)/", server.log())[1]))
        return server

    def ctl(self, *words, expected=0):
        done = subprocess.run([LOOMCTL, "-s", self.path, *words], capture_output=True, timeout=BOUND, check=False)
        self.assertEqual(done.returncode, expected, f"loomctl {words}: {done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()

    def fetch(self, server, *fields, target="/metrics", method="GET", **more):
        with Client(server.metrics) as client:
            response = client.ask(target, *fields, method=method, **more)
            self.assertTrue(response.closes)
            client.expect_end()
        return response

    def scrape(self, server):
        return Scrape(self.fetch(server).body.decode())

    def reaches(self, server, name, value, **labels):
        """The worker may still be about to count what its client has seen already."""
        wait_for(lambda: self.scrape(server).get(name, **labels) == value, f"{name} {labels} to be {value}", step=0.05)


class Figures(Metered):
    cost = 4

    def test_requests(self):
        """Of each kind another number, so that none can be taken for another."""
        server = self.begin()
        kinds = [("GET", "/a.bin", (), 7, "2xx"), ("HEAD", "/a.bin", (), 5, "2xx"), ("OPTIONS", "/a.bin", (), 2, "2xx"),
                 ("GET", "/a.bin", ("If-None-Match: *",), 3, "3xx"), ("GET", "/sub", (), 1, "3xx"),
                 ("GET", "/missing", (), 6, "4xx"), ("GET", "/a.bin", ("Range: bytes=9999-",), 2, "4xx"),
                 ("GET", "/a.bin", ("Range: bytes=0-9,20-29",), 1, "2xx"), ("POST", "/a.bin", (), 4, "4xx"),
                 ("HEAD", "/missing", (), 3, "4xx"), ("BREW", "/a.bin", (), 2, "5xx"), ("DELETE", "/", (), 1, "4xx")]
        before = self.scrape(server)
        expected, received, connections = {key: 0 for key in before.all("loom_http_requests_total")}, 0, 0
        for method, target, fields, count, code in kinds:
            label = method if method in ("GET", "HEAD", "OPTIONS", "CONNECT") else "other"
            for _ in range(count):
                with server.client() as client:
                    response = client.ask(target, *fields, method=method)
                    received += len(response.head) + 4 + len(response.body)
                connections += 1
                expected[label, code] += 1
        with server.client() as client:  # one connection, one batch, and then what cannot be read
            client.send(b"".join(request("/a.bin") for _ in range(20)) + b"\x00\r\n\r\n")
            for status in [200] * 20 + [400]:
                response = client.response()
                self.assertEqual(response.status, status)
                received += len(response.head) + 4 + len(response.body)
        connections += 1
        expected["GET", "2xx"] += 20
        expected["other", "4xx"] += 1
        total = sum(expected.values())
        old = before.get("loom_http_sent_bytes_total")
        self.reaches(server, "loom_http_sent_bytes_total", old + received)
        durations = "loom_http_request_duration_seconds_count"  # counted when the turn ends
        self.reaches(server, durations, before.get(durations) + total)
        after = self.scrape(server)
        self.assertEqual(after.all("loom_http_requests_total"), {
            key: before.all("loom_http_requests_total")[key] + value for key, value in expected.items()})
        for name, more in (("loom_connections_accepted_total", connections), ("loom_worker_accepted_total", connections),
                           ("loom_worker_requests_total", total), (durations, total)):
            self.assertEqual(sum(after.all(name).values()) - sum(before.all(name).values()), more, name)
        turns = "loom_loop_turn_duration_seconds_count"  # each connection was accepted, or answered, in another
        wait_for(lambda: self.scrape(server).get(turns) - before.get(turns) >= connections, "the last turn to be counted")
        cpu = sum(after.all("loom_worker_cpu_seconds_total").values())
        self.assertGreater(cpu, sum(before.all("loom_worker_cpu_seconds_total").values()))
        self.assertLess(cpu, after.get("process_cpu_seconds_total"))
        self.assertGreater(after.get("loom_loop_turn_duration_seconds_sum"), after.get("loom_http_request_duration_seconds_sum")
                           / total)
        self.assertLess(after.get("loom_loop_turn_duration_seconds_sum"), time.time() - after.get("process_start_time_seconds"))
        after.only_grew(before)

    def test_backend(self):
        """What the backend counts follows from what was asked of it."""
        server = self.begin(workers=1)
        with server.client() as client:
            client.ask("/")
            before = self.scrape(server)
            for _ in range(50):
                client.ask("/")
            name = "loom_epoll_waits_total" if self.backend == "epoll" else "loom_io_uring_enters_total"

            def grown(name):
                return after.get(name, worker="0") - before.get(name, worker="0")

            def waits_again():
                nonlocal after
                after = self.scrape(server)
                return grown(name) >= 50 and (self.backend == "epoll" or grown("loom_io_uring_completions_total") >= 100)

            # one wait a request; and some more, for the admin's and the reloader's sake there are none
            after = before
            wait_for(waits_again, "the wait behind the last answer")
        self.assertLess(grown(name), 120)
        if self.backend == "epoll":
            self.assertGreaterEqual(grown("loom_epoll_events_total"), 50)
            self.assertFalse([one for one in after.families if "uring" in one])
        else:
            self.assertGreaterEqual(grown("loom_io_uring_submissions_total"), 50)  # the sends; receives are multishot
            self.assertEqual(grown("loom_io_uring_cq_overflows_total"), 0)
            self.assertFalse([one for one in after.families if "epoll" in one])

    def test_connections_by_state(self):
        server = self.begin("--keepalive-timeout=1h", "--header-timeout=1h", "--send-timeout=1h", "--max-connections=500",
                            workers=1)
        idle = [server.client() for _ in range(5)]
        for client in idle:
            client.ask("/")
        reading = [server.client() for _ in range(3)]
        for client in reading:
            client.send(b"GET / HTTP/1.1\r\nHo")
        sending = [server.client(rcvbuf=64 << 10) for _ in range(2)]
        for client in sending:
            client.send(request("/huge.bin"))
            client.read_head()

        def states():
            return {key[0]: value for key, value in self.scrape(server).all("loom_connections").items()}

        expected = {"proxy": 0, "idle": 5, "reading": 3, "sending": 2, "lingering": 0, "closing": 0}
        wait_for(lambda: states() == expected, f"connections to be {expected}")
        self.assertEqual(self.scrape(server).get("loom_connections_max"), 500)
        self.assertEqual(self.scrape(server).get("loom_worker_connections", worker="0"), 10)
        with server.client() as client:  # refused, and it may still be sending
            client.send(b"\x00\r\n\r\n")
            self.assertEqual(client.response().status, 400)
            wait_for(lambda: states() == {**expected, "lingering": 1}, "one to be lingering")
        for client in idle + reading + sending:
            client.close()
        wait_for(lambda: not any(states().values()), "connections to be gone")

    def test_timeouts_and_limits(self):
        server = self.begin("--header-timeout=200ms", "--max-connections=2", workers=1)
        with server.begun(b"GET / HTTP/1.1\r\n") as slow:
            self.assertEqual(slow.response().status, 408)
        self.reaches(server, "loom_http_timeouts_total", 1)
        wait_for(lambda: self.scrape(server).get("loom_worker_connections", worker="0") == 0, "the connection to be gone")
        with server.held():
            for client in (server.client(), server.client()):
                client.send(b"GET / HTTP/1.1\r\n")
        wait_for(lambda: self.scrape(server).get("loom_connections_exhausted_total") >= 1, "no connection to be left")

    def test_accept_failures(self):
        server = self.begin("--max-connections=2", workers=1)
        before = self.scrape(server)
        self.assertEqual(before.get("loom_accept_failures_total"), 0)
        server.wait_quiet()
        admin = Admin(self.path)  # under the limit there will be no place for a scraper
        self.assertEqual(admin.ask("help")[1], "ok")
        numbers = {int(name) for name in os.listdir(f"/proc/{server.pid}/fd")}
        free = min(set(range(len(numbers) + 1)) - numbers)
        # an accept that waits in the kernel goes by the limit of when it was asked for: first it has to be asked anew
        fillers = [server.client() for _ in range(3)]
        wait_for(lambda: self.scrape(server).get("loom_connections_exhausted_total") >= 1, "no connection to be left")
        server.limit_descriptors(free)
        clients = fillers

        def fails():
            """Those who come when others have gone; once more, where the accept that waited was still the one from before."""
            for client in clients:
                client.close()
            clients[:] = [server.client() for _ in range(3)]
            time.sleep(0.05)
            return Scrape("\n".join(admin.ask("metrics")[0]) + "\n").get("loom_accept_failures_total") > 0

        wait_for(fails, "a failure", step=0.05)
        server.limit_descriptors(int(before.get("process_max_fds")))
        admin.close()
        for client in clients:
            client.close()
        self.assertEqual(server.get("/").status, 200)

    def test_process(self):
        server = self.begin()
        began = time.time()

        def all_known():
            """The scraper's own connection is one more; who has read the first files has its own ROOT open until it ends."""
            server.rebase()
            return self.scrape(server).get("process_open_fds") == server.baseline + 1

        wait_for(all_known, "process_open_fds to be what is open")
        before = self.scrape(server)
        self.assertEqual(before.get("process_max_fds"), resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0])
        self.assertLess(abs(before.get("process_start_time_seconds") - began), BOUND)
        self.assertEqual(before.get("loom_workers"), self.workers)
        self.assertEqual(before.get("loom_build_info", version=re.search(r"version: (\S+)", self.ctl("status"))[1],
                                    backend=self.backend), 1)
        if not VALGRIND:
            self.assertLess(abs(before.get("process_resident_memory_bytes") - server.resident()), 8 << 20)
            self.assertLess(abs(before.get("process_cpu_seconds_total") - server.ticks()), 1)

    def test_documentation_and_dashboard(self):
        """Each family is in docs/metrics.md, and nothing else is; the dashboard asks for nothing that there is not."""
        server = self.begin()
        there = self.scrape(server)
        theirs = r"loom_io_uring_" if self.backend == "epoll" else r"loom_epoll_"
        documented = re.findall(r"(?m)^\| `(\w+)`", (TREE / "docs" / "metrics.md").read_text(encoding="utf-8"))
        self.assertEqual(len(documented), len(set(documented)))
        suffix = {"counter": "_total", "info": "_info"}
        self.assertEqual(sorted(name for name in documented if not name.startswith(theirs)),
                         sorted(name + suffix.get(family.kind, "") for name, family in there.families.items()))

        dashboard = json.loads((TREE / "dist" / "grafana" / "loom.json").read_text(encoding="utf-8"))
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        self.assertGreater(len(queries), 20)
        names, used = there.names(), set()
        for query in queries:
            for name, braces in re.findall(r"\b((?:loom|process)_\w+)(?:\{([^}]*)\})?", query):
                used.add(name)
                if name.startswith(theirs):
                    continue
                self.assertIn(name, names, query)
                labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", braces)) - {"job", "instance"}
                self.assertLessEqual(labels, names[name], query)
            for group in re.findall(r"\bby \(([^)]*)\)", query):
                labels = set(group.replace(" ", "").split(",")) - {"job", "instance"}
                known = set().union(*names.values())
                self.assertLessEqual(labels, known, query)
        self.assertTrue(any(name.startswith("loom_io_uring_") for name in used))
        self.assertTrue(any(name.startswith("loom_epoll_") for name in used))
        titles = [panel["title"] for panel in dashboard["panels"]]
        self.assertEqual(len(titles), len(set(titles)))

    def test_two_workers_under_load(self):
        """The workers' figures are the total's parts, and no counter ever goes back."""
        server = self.begin(workers=2)
        hammer = Hammer(server, ["/", "/a.bin", "/missing"], lambda target, response: None, threads=6, per_connection=20)
        last = self.scrape(server)
        for _ in range(10):
            now = self.scrape(server)
            now.only_grew(last)
            last = now
        answers = hammer.stop()
        self.reaches(server, "loom_http_request_duration_seconds_count", answers)
        now = self.scrape(server)
        self.assertEqual(sum(now.all("loom_http_requests_total").values()), answers)
        by_worker = now.all("loom_worker_requests_total")
        self.assertEqual(set(by_worker), {("0",), ("1",)})
        self.assertEqual(sum(by_worker.values()), answers)


class Snapshots(Metered):
    cost = 3

    def begin(self, *arguments, **more):
        self.site = os.path.join(self.directory(), "root")
        self.plant(self.site)
        return super().begin(*arguments, root=self.site, **more)

    def test_reloads_and_generations(self):
        server = self.begin()
        first = self.scrape(server)
        self.assertEqual(first.all("loom_reloads_total"), {
            ("live",): 1, ("same",): 0, ("refused",): 0, ("failed",): 0, ("pinned",): 0})
        self.assertEqual(first.get("loom_snapshot_files"), 5)
        self.assertEqual(first.get("loom_snapshot_bytes"), 34 + 3000 + 360 + 3 + (24 << 20))
        self.assertEqual(first.all("loom_generations"), {("current",): 1, ("kept",): 0, ("retired",): 0})
        self.assertEqual(first.get("loom_generation_pins", state="current"), self.workers)
        write(self.site, "b.txt", b"b")
        self.ctl("reload")
        self.ctl("reload")
        self.ctl("reload")
        os.rename(os.path.join(self.site, "index.html"), os.path.join(self.site, ".index"))
        self.ctl("reload", expected=1)
        os.rename(os.path.join(self.site, ".index"), os.path.join(self.site, "index.html"))
        self.ctl("rollback")
        server.signal(signal.SIGHUP)
        self.reaches(server, "loom_reloads_total", 1, result="pinned")
        pinned = self.scrape(server)
        self.assertEqual(pinned.get("loom_generation_pinned"), 1)
        self.assertEqual(pinned.get("loom_snapshot_files"), 5)
        self.assertEqual(pinned.get("loom_snapshot_info", id=next(iter(first.all("loom_snapshot_info")))[0]), 1)
        self.ctl("unpin")
        os.rename(self.site, self.site + ".away")
        self.ctl("reload", expected=1)
        os.rename(self.site + ".away", self.site)
        last = self.scrape(server)
        self.assertEqual(last.all("loom_reloads_total"), {
            ("live",): 3, ("same",): 2, ("refused",): 1, ("failed",): 1, ("pinned",): 1})
        self.assertEqual(last.get("loom_reload_duration_seconds_count"), 8)
        self.assertEqual(last.get("loom_generations", state="kept"), 1)
        self.assertEqual(last.get("loom_generation_pinned"), 0)
        self.assertEqual(last.get("loom_snapshot_files"), 6)
        self.assertGreater(last.get("loom_memory_held_bytes"), 24 << 20)
        self.assertGreater(last.get("loom_snapshot_memory_bytes"), 24 << 20)
        self.assertEqual(last.get("loom_memory_max_bytes"), 512 << 20)
        self.assertLess(abs(last.get("loom_reload_last_success_timestamp_seconds") - time.time()), BOUND)
        self.assertEqual(last.get("loom_reload_building"), 0)
        self.assertIn(next(iter(last.all("loom_snapshot_info")))[0], self.ctl("status"))
        last.only_grew(first)

    def test_kept_assets(self):
        server = self.begin()
        os.unlink(os.path.join(self.site, "assets/app-0123abcd.js"))
        self.ctl("reload")
        self.assertRegex(self.ctl("status"), r"(?m)^kept: 1 files that are gone, 360 bytes, served 0 times so far$")
        for _ in range(3):
            self.assertEqual(server.get("/assets/app-0123abcd.js").status, 200)
        server.get("/a.bin")
        self.assertEqual(server.get("/assets/app-ffffffff.js").status, 404)
        now = self.scrape(server)
        self.assertEqual((now.get("loom_snapshot_kept_files"), now.get("loom_snapshot_kept_bytes")), (1, 360))
        self.assertEqual(now.get("loom_http_kept_responses_total"), 3)
        self.assertRegex(self.ctl("status"), r"(?m)^kept: 1 files that are gone, 360 bytes, served 3 times so far$")

    def test_variants(self):
        server = self.begin("--encodings=gzip,br")
        # the page and the script, where that makes them smaller
        wait_for(lambda: self.scrape(server).get("loom_snapshot_variants") > 0, "variants to be published")
        wait_for(lambda: self.scrape(server).get("loom_variants_pending") == 0, "nothing to be pending")
        now = self.scrape(server)
        self.assertGreaterEqual(now.get("loom_variants_made_total"), now.get("loom_snapshot_variants"))
        self.assertGreater(now.get("loom_snapshot_variant_bytes"), 0)
        self.assertEqual(now.get("loom_variants_dropped_total"), 0)

    def test_streamed(self):
        server = self.begin("--stream-above=1M")
        before = self.scrape(server)
        self.assertEqual((before.get("loom_snapshot_streamed_files"), before.get("loom_snapshot_streamed_bytes")),
                         (1, 24 << 20))
        server.get("/huge.bin", "Range: bytes=0-99")
        server.get("/huge.bin", "Range: bytes=0-99,200-299,900-999")
        server.get("/a.bin")
        self.assertEqual(self.scrape(server).get("loom_http_streamed_sends_total"), 4)
        with server.client(rcvbuf=64 << 10) as client:
            client.send(request("/huge.bin"))
            client.read_head()
            with open(os.path.join(self.site, "huge.bin"), "r+b") as file:
                file.write(b"changed in place")
            try:
                client.read_body(24 << 20)
                self.fail("an answer of two versions")
            except Ended:
                pass
        self.reaches(server, "loom_http_unfinished_responses_total", 1, reason="stale")


class Scrapers(Metered):
    matrix = "once"
    cost = 4

    def test_formats(self):
        server = self.begin()
        plain = self.fetch(server)
        self.assertEqual((plain.status, plain["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        other = self.fetch(server, "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        self.assertEqual(other["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        told = Scrape(self.ctl("metrics"))
        one, two = Scrape(plain.body.decode()), Scrape(other.body.decode(), openmetrics=True)
        for scrape in (two, told):
            self.assertEqual({name: family.kind for name, family in one.families.items()},
                             {name: family.kind for name, family in scrape.families.items()})
            self.assertEqual(one.names(), scrape.names())
        head = self.fetch(server, method="HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertGreater(int(head["content-length"]), 5000)

    def test_what_is_refused(self):
        server = self.begin()
        self.assertEqual(self.fetch(server, target="/").status, 404)
        self.assertEqual(self.fetch(server, target="/metrics/x").status, 404)
        refused = self.fetch(server, method="POST", body=b"x" * 1000)
        self.assertEqual((refused.status, refused["allow"]), (405, "GET, HEAD"))
        for data, status in ((b"\x16\x03\x01\x02\x00\r\n\r\n", 400), (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 2000, 431)):
            with Client(server.metrics) as client:
                client.send(data)
                self.assertEqual(client.response().status, status)
        self.assertEqual(server.get("/metrics").status, 404)  # of the tree there is none

    def test_a_crowd_of_bad_scrapers(self):
        """Who says nothing, or reads nothing, gives way to who does; and requests are none of their business."""
        server = self.begin()
        crowd = [Client(server.metrics, rcvbuf=4096) for _ in range(100)]
        for at, client in enumerate(crowd):
            try:
                client.send(request("/metrics") if at % 3 == 0 else b"GET /met" if at % 3 == 1 else b"")
            except OSError:
                pass  # it has had to give way already
        for _ in range(3):
            self.assertEqual(self.fetch(server).status, 200)
            self.assertEqual(server.get("/").status, 200)
        slow = Client(server.metrics)  # gives way only when all that were there before it have
        slow.send(b"GET /metr")
        self.assertEqual(self.fetch(server).status, 200)
        slow.send(b"ics HTTP/1.1\r\n\r\n")
        self.assertEqual(slow.response().status, 200)
        self.assertLessEqual(self.scrape(server).get("process_open_fds"), server.baseline + 17)
        client = Client(server.metrics)
        client.sock.settimeout(BOUND)
        self.assertEqual(client.sock.recv(1), b"")  # its time is up

    def test_unix_socket(self):
        path = os.path.join(self.directory(), "metrics")
        server = self.start(f"--metrics=unix:{path}")
        server.metrics = path
        self.assertIn(f"metrics at unix:{path}", server.log())
        self.assertEqual(self.scrape(server).get("loom_workers"), self.workers)
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_an_address_that_is_taken(self):
        server = self.begin()
        with self.assertRaises(AssertionError) as refused:
            self.start(f"--metrics=127.0.0.1:{server.metrics[1]}")
        self.assertRegex(str(refused.exception), r"--metrics: cannot listen on .*: Address already in use")


class Health(Metered):
    cost = 2

    def test_while_serving(self):
        write(self.root, "healthz", b"a file of that name")
        server = self.start("--health=/healthz", "--admin=unix:" + os.path.join(self.directory(), "admin"))
        self.assertIn("--health /healthz hides a file of that name", server.log())
        with server.client() as client:
            for method in ("GET", "HEAD"):
                response = client.ask("/healthz", method=method)
                self.assertEqual((response.status, response["cache-control"]), (200, "no-store"))
                self.assertEqual(response.body, b"" if method == "HEAD" else b"200 OK: serving.\n")
            self.assertEqual(client.ask("/healthz?from=lb", "If-None-Match: *").status, 200)
            self.assertEqual(client.ask("/healthz/").status, 404)
            self.assertEqual(client.ask("/healthz", method="PUT").status, 405)
            self.kept(client)
        os.unlink(os.path.join(self.root, "healthz"))

    def test_while_draining(self):
        write(self.root, "503.html", b"an error page is not for probes")

        def attempt(pace):
            server = self.begin("--health=/healthz", "--grace=1h", workers=1)
            download = server.client(rcvbuf=64 << 10)  # keeps it from ending
            download.send(request("/huge.bin"))
            download.read_head()
            probe = server.client()  # has not said anything yet, and a drain gives it a second for it
            scraper = Client(server.metrics)
            self.reaches(server, "loom_worker_connections", 2, worker="0")
            pace()
            server.signal(signal.SIGTERM)
            try:
                wait_for(lambda: refuses(server), "the drain")
                response = probe.ask("/healthz")
                pace()
                self.assertEqual((response.status, response["cache-control"], response.closes), (503, "no-store", True))
                self.assertEqual(response.body, b"503 Service Unavailable: draining.\n")
                probe.expect_end()
                scraper.send(request("/metrics"))
                self.assertEqual(Scrape(scraper.response().body.decode()).get("loom_draining"), 1)
                self.assertRegex(self.ctl("status"), "(?m)^state: draining$")
            finally:
                download.close()
                server.wait_exit()

        self.at_pace(attempt, 0.5)
        os.unlink(os.path.join(self.root, "503.html"))

    def test_none(self):
        server = self.begin()
        self.assertEqual(server.get("/healthz").status, 404)
        self.assertEqual(self.scrape(server).get("loom_draining"), 0)


class Top(Metered):
    """`loomctl top`: what it shows is what is going on."""
    matrix = "once"
    cost = 3

    def wanted(self, text):
        for line in (r"loom \d+\.\d+\.\d+, \w+, serving for \S+ \w+; ", r"snapshot +\S{22}, \S+ \w+ old, 5 files",
                     r"requests +\d+/s: 2xx \d+, 3xx \d+, 4xx \d+, 5xx \d+; \S+ \w+/s",
                     r"latency +p50 \S+ [mu]?s, p99 \S+ [mu]?s, p99\.9 \S+ [mu]?s; \d+ turns/s, p99 \S+ [mu]?s",
                     r"connections +\d+ of \d+: idle \d+, reading \d+, sending \d+, lingering \d+; \d+ accepted/s",
                     r"trouble +timeouts 0, unfinished 0, accept failures 0, full 0, log records dropped 0",
                     r"memory +\S+ MiB of 512\.0 MiB for snapshots, resident \S+ MiB; kept assets 0, served 0",
                     r"reloads +live 1, same 0, refused 0, failed 0; last: a new snapshot went live.*",
                     r" +0 +\d+ +\d+ +\d+ +\d+%", r" +1 +\d+ +\d+ +\d+ +\d+%", r" +\d+ +\d+  /a\.bin"):
            self.assertRegex(text, rf"(?m)^{line}")

    def test_plain_lines(self):
        server = self.begin(workers=2)
        hammer = Hammer(server, ["/a.bin"], lambda target, response: None, threads=2)
        wait_for(lambda: hammer.answers > 0, "an answer")
        for _ in range(20):  # on a busy machine a second may pass without an answer
            pictures = self.ctl("-n", "2", "top").split("\n\nloom ")
            self.assertEqual(len(pictures), 2)
            if re.search(r"requests +[1-9]", pictures[1]):
                break
        hammer.stop()
        self.assertIn("means since the start", pictures[0])
        self.assertIn("rates of the last second", pictures[1])
        for picture in (pictures[0], "loom " + pictures[1]):
            self.wanted(picture)
            self.assertNotIn("\x1b", picture)
        rate, of_class = re.search(r"requests +(\d+)/s: 2xx (\d+),", pictures[1]).groups()
        self.assertEqual(rate, of_class)
        self.assertGreater(int(rate), 0)
        self.assertGreater(int(re.search(r"(?m)^ +(\d+) +\d+  /a\.bin$", pictures[1])[1]), 0)
        self.assertRegex(self.ctl("top"), r"(?m)^\d+ /a\.bin$")  # without -n, and no terminal: the answer as it comes

    def test_a_terminal(self):
        """As many lines as fit, none longer than the terminal is wide, one picture over the other."""
        server = self.begin(workers=2)
        for _ in range(5):
            server.get("/a.bin")
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        process = subprocess.Popen([LOOMCTL, "-s", self.path, "top"], stdin=subprocess.DEVNULL, stdout=theirs,
                                   stderr=subprocess.PIPE)
        os.close(theirs)
        try:
            seen = b""
            while seen.count(b"\x1b[J") < 2:
                self.assertTrue(select.select([ours], [], [], BOUND)[0], seen)
                seen += os.read(ours, 65536)
            for picture in seen.split(b"\x1b[H")[2:4]:
                lines = picture.partition(b"\x1b[J")[0].decode().replace("\x1b[K", "").replace("\r", "").split("\n")
                self.assertLessEqual(len(lines), 24)
                self.assertLessEqual(max(map(len, lines)), 60)
                self.assertIn("/a.bin", "\n".join(lines))
        finally:
            process.kill()
            process.communicate()
            os.close(ours)

    def test_a_server_that_ends(self):
        server = self.begin()
        process = subprocess.Popen([LOOMCTL, "-s", self.path, "-n", "1000", "top"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.readline()
        server.signal(signal.SIGTERM)
        server.wait_exit()
        _, err = process.communicate(timeout=BOUND)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"loomctl: the connection", err)


class Upgraded(test_upgrade.UpgradeCase):
    """The successor has the metrics' address, and counts from nothing."""
    matrix = "once"

    def test_metrics_move(self):
        path = os.path.join(self.directory(), "metrics")
        server = self.begin(f"--metrics=unix:{path}", "--health=/healthz")

        def scrape():
            with Client(path) as client:
                return Scrape(client.ask("/metrics").body.decode())

        for _ in range(3):
            self.assertEqual(server.get("/healthz").status, 200)
        self.assertEqual(scrape().get("loom_http_requests_total", method="GET", code="2xx"), 3)
        self.has_ended(self.upgrade())
        wait_for(lambda: os.path.exists(path), "the successor's metrics")
        self.assertEqual(server.get("/healthz").status, 200)
        self.assertEqual(scrape().get("loom_http_requests_total", method="GET", code="2xx"), 1)
