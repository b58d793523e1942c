"""A running loom replaced by another: under load, with other settings, and by binaries that do not come to serve."""
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

from case import Case, noise, stamped, is_whole, write
from client import Client, Ended, Malformed, request
from server import BINARY, BOUND, LONG, VALGRIND, wait_for

LOOMCTL = os.path.join(os.path.dirname(BINARY), "loomctl")


class Crowd:
    """Clients that keep their connections, and clients that come and go. What must not happen to them is counted."""

    def __init__(self, server, targets, check, keeping, coming, pause):
        self.server, self.targets, self.check = server, targets, check
        self.refused, self.reset, self.wrong, self.details = 0, 0, 0, []
        self.unanswered = 0  # ended by a FIN between two responses: what HTTP allows, and clients repeat
        self.answers, self.connections = 0, 0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(seed, seed < keeping, pause), daemon=True)
                        for seed in range(keeping + coming)]
        for thread in self.threads:
            thread.start()

    def count(self, what, error):
        with self.lock:
            setattr(self, what, getattr(self, what) + 1)
            self.details.append(f"{what}: {error!r}")

    def work(self, seed, keeps, pause):
        choice = random.Random(seed)
        while not self.stopping.is_set():
            try:
                client = Client(self.server.address)
            except OSError as error:
                self.count("refused", error)
                continue
            self.connections += 1
            try:
                # Once at least: HAProxy counts a client that says nothing as a bad request.
                for asked in itertools.count():
                    if asked and self.stopping.is_set():
                        break
                    target = choice.choice(self.targets)
                    client.send(request(target, *(() if keeps else ("Connection: close",))))
                    response = client.response()
                    self.answers += 1
                    if not self.check(target, response):
                        self.count("wrong", f"{target}: {response.status}, {len(response.body)} bytes")
                    time.sleep(choice.uniform(0, 2 * pause))
                    if response.closes:
                        client.expect_end()
                        break
            except Ended as ended:
                if ended.at_boundary and not ended.reset:
                    self.unanswered += 1
                else:
                    self.count("reset", ended)
            except OSError as error:
                self.count("reset", error)
            except Malformed as error:
                self.count("wrong", error)
            finally:
                client.close()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(BOUND)


class UpgradeCase(Case):
    def begin(self, *arguments, own_binary=False, **more):
        """A loom with an admin socket, from a path of its own where the next version can be put."""
        if VALGRIND:
            self.skipTest("valgrind is what would be started again")
        self.home = self.directory()
        self.path = os.path.join(self.home, "admin")
        self.binary = os.path.join(self.home, "loom")
        os.symlink(BINARY, self.binary)
        self.loom = self.start(f"--admin=unix:{self.path}", "--watch=off", *arguments, binary=self.binary, **more)
        self.loom.may_start_others()
        return self.loom

    def ctl(self, *words, expected=0):
        done = subprocess.run([LOOMCTL, "-1", "-s", self.path, *words], capture_output=True, timeout=BOUND, check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        self.assertEqual(done.returncode, expected, f"loomctl {words}: {out}{err}")
        return err if expected else out

    def upgrade(self):
        """By loomctl. Gives what was the server before."""
        before = self.loom.pid
        match = re.fullmatch(r"pid (\d+) has taken over from pid (\d+)\n", self.ctl("upgrade"))
        self.assertEqual(int(match[2]), before)
        return self.loom.follow(int(match[1]))

    def by_signal(self):
        taken = len(re.findall("pid [0-9]+ has taken over", self.loom.log()))
        self.loom.signal(signal.SIGUSR2)
        wait_for(lambda: len(re.findall("pid [0-9]+ has taken over", self.loom.log())) > taken, "the successor")
        return self.loom.follow(int(re.findall("pid ([0-9]+) has taken over", self.loom.log())[-1]))

    def has_ended(self, process, status=0):
        self.assertEqual(process.wait(BOUND), status)

    def put(self, text, mode=0o755):
        """Another version of the binary, as a script, in the place of what is there."""
        beside = self.binary + ".new"
        with open(beside, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(beside, mode)
        os.rename(beside, self.binary)

    def put_back(self):
        os.unlink(self.binary)
        os.symlink(BINARY, self.binary)

    def begin_and_halt(self):
        """Begins an upgrade, and has the old one stand still before the new one is ready. Gives the new one's pid."""
        go = os.path.join(self.home, "go")
        ready = self.loom.log().count("; ready")
        self.put(f'#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.02; done\nexec {BINARY} "$@"\n')
        self.loom.signal(signal.SIGUSR2)
        match = wait_for(lambda: re.search("pid ([0-9]+) is started", self.loom.log()), "the start of the successor")
        self.loom.signal(signal.SIGSTOP)
        wait_for(self.loom.is_stopped, "the old one to stand still")
        with open(go, "wb"):
            pass
        wait_for(lambda: self.loom.log().count("; ready") > ready, "the successor to be ready")
        return int(match[1])

    def refuses(self):
        try:
            socket.create_connection(self.loom.address, BOUND).close()
            return False
        except OSError:
            return True

    def status(self, name):
        return re.search(rf"(?m)^{name}: (.*)$", self.ctl("status"))[1]


class UnderLoad(UpgradeCase):
    cost = 9

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        for at in range(20):
            write(root, f"f/{at}.txt", stamped(f"{at}", 500 + 3000 * at))

    def test_nobody_is_refused_or_reset_and_every_answer_is_right(self):
        upgrades, keeping, coming, pause = (10, 64, 8, 0.02) if LONG else (3, 16, 4, 0.02)
        self.begin("--grace=1h")
        targets = [f"/f/{at}.txt" for at in range(20)] + ["/"]
        crowd = Crowd(self.loom, targets, lambda target, response: response.status == 200 and
                      (response.body == b"home" if target == "/" else is_whole(response.body)), keeping, coming, pause)
        try:
            wait_for(lambda: crowd.answers > 5 * keeping, "some load")
            began, connections, answers = time.monotonic(), crowd.connections, crowd.answers
            for at in range(upgrades):
                if at % 2:
                    before = self.upgrade()
                else:
                    before = self.by_signal()
                self.has_ended(before)
            seconds = time.monotonic() - began
            connections, answers = crowd.connections - connections, crowd.answers - answers
        finally:
            crowd.stop()
        self.note(f"{upgrades} upgrades in {seconds:.1f} s: {answers} answers, {connections} connections, "
                  f"{crowd.unanswered} ended between two answers")
        self.assertEqual((crowd.refused, crowd.reset, crowd.wrong), (0, 0, 0), "; ".join(crowd.details[:5]))


class FromAManager(UpgradeCase):
    """The same with sockets that a service manager has opened: by name, and all of them without --listen."""
    matrix = "backends"
    cost = 5

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")

    def test_sockets_by_name(self):
        self.hand_over(("systemd:web", "fd:4"), "web:other")

    def test_all_sockets(self):
        self.hand_over((), "web:other")

    def hand_over(self, listen, names):
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=100) for _ in range(2)]
        for one in sockets:
            self.addCleanup(one.close)
        self.begin("--grace=1h", listen=listen, passed=sockets, names=names, sockets=2, workers=2)
        for one in sockets:
            one.close()  # as a manager would not; so nobody but loom has them, and nothing hides a gap
        upgrades, keeping, coming = (10, 32, 4) if LONG else (3, 4, 2)  # to each of the two
        crowds = []
        try:
            for address in self.loom.addresses:
                crowds.append(Crowd(SimpleNamespace(address=address), ["/"],
                                    lambda target, response: response.body == b"home", keeping, coming, 0.02))
            for _ in range(upgrades):
                self.has_ended(self.by_signal())
                answers = [crowd.answers for crowd in crowds]
                wait_for(lambda: all(now.answers > before + 20 for now, before in zip(crowds, answers)), "more answers")
        finally:
            for crowd in crowds:
                crowd.stop()
        self.note(f"{upgrades} upgrades: " + " and ".join(f"{crowd.answers} answers, {crowd.connections} connections"
                                                           for crowd in crowds))
        for crowd in crowds:
            self.assertEqual((crowd.refused, crowd.reset, crowd.wrong), (0, 0, 0), "; ".join(crowd.details[:5]))


class Successors(UpgradeCase):
    """What the next one takes up, and what it leaves."""
    matrix = "backends"
    cost = 6

    def configure(self, **settings):
        with open(os.path.join(self.home, "conf"), "w", encoding="ascii") as file:
            for name, values in settings.items():
                for value in values if isinstance(values, list) else [values]:
                    file.write(f"{name.replace('_', '-')} = {value}\n")

    def begin_with_file(self, listens, **settings):
        self.home = self.directory()
        self.configure(**settings)
        conf = os.path.join(self.home, "conf")
        home = self.home
        directory, self.directory = self.directory, lambda: home
        try:
            return self.begin(f"--config={conf}", workers=None, listen=listens)
        finally:
            self.directory = directory

    def test_any_number_of_workers(self):
        """Each socket has a queue of its own: none may be left alone with clients in it."""
        self.begin_with_file(1, workers=3, listen="127.0.0.1:0")
        for workers in (1, 4, 2):
            self.configure(workers=workers, listen="127.0.0.1:0")
            before = self.upgrade()
            self.has_ended(before)
            self.assertEqual(len(re.findall(r"(?m)^worker \d+: ", self.ctl("status"))), workers)
            # the kernel deals these out to all sockets
            for _ in range(60):
                self.assertEqual(self.loom.get("/").status, 200)

    def free_port(self):
        """One that nobody else gets: it stays bound until the test ends, by a socket that does not listen."""
        keeper = socket.socket()
        self.addCleanup(keeper.close)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        return keeper.getsockname()[1]

    def test_addresses_come_and_go(self):
        unix = os.path.join(self.directory(), "s")
        gone = os.path.join(self.directory(), "s")
        port = self.free_port()
        self.begin_with_file(2, workers=2, listen=["unix:" + unix, "unix:" + gone])
        with Client(unix) as client:
            self.assertEqual(client.ask("/").status, 200)
        inode = os.stat(unix).st_ino
        self.configure(workers=2, listen=["unix:" + unix, f"127.0.0.1:{port}"])
        self.has_ended(self.upgrade())
        self.assertEqual(os.stat(unix).st_ino, inode)
        self.assertFalse(os.path.exists(gone))
        for address in (unix, ("127.0.0.1", port)):
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)
        self.loom.signal(signal.SIGTERM)
        self.loom.wait_exit()
        self.assertFalse(os.path.exists(unix))

    def test_what_listeners_had_and_have_not(self):
        unix = os.path.join(self.directory(), "s")
        port = self.free_port()
        self.begin_with_file(2, workers=1, listen=[f"127.0.0.1:{port},defer-accept=1h", f"unix:{unix},mode=0666"])

        def accepted():
            return int(re.search(r"(?m)^worker 0: connections \d+ accepted (\d+)", self.ctl("status"))[1])

        with socket.create_connection(("127.0.0.1", port)) as silent, Client(unix) as client:
            self.assertEqual(client.ask("/").status, 200)
            wait_for(lambda: accepted() == 1, "one of two, as the other says nothing")
            silent.send(b"GET / HTTP/1.1\r\n")
            wait_for(lambda: accepted() == 2, "the other")
        self.configure(workers=1, listen=[f"127.0.0.1:{port}", f"unix:{unix},mode=0600"])
        self.has_ended(self.upgrade())
        self.assertEqual(os.stat(unix).st_mode & 0o777, 0o600)
        with socket.create_connection(("127.0.0.1", port)):
            wait_for(lambda: accepted() == 1, "one that says nothing to be accepted")

    def test_signals_that_come_meanwhile(self):
        """The new one had read its file, and opened its log, before the old one was told that there are others."""
        log = os.path.join(self.directory(), "access.log")
        self.begin_with_file(1, workers=1, listen="127.0.0.1:0", access_log=log)
        pid = self.begin_and_halt()
        os.rename(log, log + ".1")
        self.configure(workers=1, listen="127.0.0.1:0", access_log=log, snapshot_header="on")
        self.loom.signal(signal.SIGHUP)
        self.loom.signal(signal.SIGUSR1)
        self.loom.signal(signal.SIGCONT)
        wait_for(lambda: "has taken over" in self.loom.log(), "the successor")
        self.has_ended(self.loom.follow(pid))
        wait_for(lambda: self.loom.get("/")["loom-snapshot"], "what the file says now")

        def is_logged():
            self.assertEqual(self.loom.get("/new").status, 404)
            with open(log, encoding="ascii") as file:
                return "/new" in file.read()

        wait_for(is_logged, "a line in the new log")

    def test_standard_input_is_closed(self):
        """Its number must not go to a listener: what is handed over begins at 3."""
        self.begin(before_exec=lambda: os.close(0))
        for _ in range(2):
            self.has_ended(self.upgrade())
            self.assertEqual(self.loom.get("/").status, 200)

    def test_the_pid_file_is_the_servers(self):
        path = os.path.join(self.directory(), "pid")
        self.begin(f"--pid-file={path}")

        def named():
            with open(path, encoding="ascii") as file:
                return int(file.read())

        self.assertEqual(named(), self.loom.pid)
        self.has_ended(self.upgrade())
        wait_for(lambda: named() == self.loom.pid, "the successor's pid")
        self.assertEqual(os.listdir(os.path.dirname(path)), ["pid"])
        self.loom.signal(signal.SIGTERM)
        self.loom.wait_exit()
        self.assertFalse(os.path.exists(path))

    def test_a_download_goes_on_in_the_old_one(self):
        huge = noise("huge", 24 << 20)
        write(self.root, "huge.bin", huge)
        self.begin("--grace=1h", "--send-timeout=1h")
        client = self.loom.client(rcvbuf=64 << 10)
        client.send(request("/huge.bin"))
        self.assertIn(b"200 OK", client.read_head())
        before = self.upgrade()
        self.has_ended(self.upgrade(), -1)  # and once more, while the first is still there, and sees it end
        self.assertIsNone(before.poll())
        self.assertEqual(self.loom.get("/").status, 200)
        self.assertTrue(client.read_body(len(huge)) == huge)
        client.close()
        self.has_ended(before)

    def test_the_old_one_compresses_no_more(self):
        """Its threads of the lowest priority took seconds to end, on a busy machine, after it had drained."""
        huge = noise("huge", 24 << 20)
        write(self.root, "huge.bin", huge)
        self.begin("--grace=1h", "--send-timeout=1h")
        client = self.loom.client(rcvbuf=64 << 10)
        client.send(request("/huge.bin"))
        client.read_head()

        def compressing(pid):
            names = []
            for task in os.listdir(f"/proc/{pid}/task"):
                try:
                    with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
                        names.append(file.read())
                except OSError:
                    pass  # it has ended meanwhile
            return names.count("loom-variants\n")

        self.assertGreater(compressing(self.loom.pid), 0)
        before = self.upgrade()
        wait_for(lambda: compressing(before.pid) == 0, "its threads to end")
        self.assertIsNone(before.poll())
        self.assertTrue(client.read_body(len(huge)) == huge)
        client.close()
        self.has_ended(before)

    def test_health_is_the_service_s(self):
        """Who still asks the old one for health hears of the service, which goes on."""
        huge = noise("huge", 24 << 20)
        write(self.root, "huge.bin", huge)
        self.begin("--health=/healthz", "--drain-delay=1h", "--grace=1h", "--send-timeout=1h")
        client = self.loom.client(rcvbuf=64 << 10)
        client.send(request("/huge.bin"))
        client.read_head()
        before = self.upgrade()
        client.send(request("/healthz"))
        self.assertTrue(client.read_body(len(huge)) == huge)
        response = client.response()
        self.assertEqual((response.status, response.closes), (200, True))
        client.close()
        self.has_ended(before)
        self.loom.signal(signal.SIGTERM)
        wait_for(lambda: self.loom.get("/healthz").status == 503, "the successor's turn to end")
        self.loom.signal(signal.SIGTERM)
        self.loom.wait_exit()

    def test_the_admin_socket_moves(self):
        self.begin()
        inode = os.stat(self.path).st_ino
        self.assertEqual(self.status("pid"), str(self.loom.pid))
        self.has_ended(self.upgrade())
        self.assertEqual(os.stat(self.path).st_ino, inode)
        self.assertEqual(self.status("pid"), str(self.loom.pid))
        self.assertEqual(self.status("state"), "serving")

    def test_a_new_version_of_the_tree_and_of_the_link(self):
        """What the link leads to now is started, and not what it led to."""
        self.begin()
        copy = os.path.join(self.home, "loom-2")
        shutil.copy2(BINARY, copy)
        os.symlink(copy, self.binary + ".new")
        os.rename(self.binary + ".new", self.binary)
        self.has_ended(self.upgrade())
        self.assertEqual(os.readlink(f"/proc/{self.loom.pid}/exe"), copy)
        self.assertEqual(self.loom.get("/").status, 200)

    def test_what_is_pinned_is_not_given_up(self):
        self.begin()
        self.ctl("pin")
        self.assertIn("a generation is pinned", self.ctl("upgrade", expected=1))
        self.ctl("unpin")
        self.has_ended(self.upgrade())


READY = """#!/usr/bin/env python3
import os, sys, time
channel = int(os.environ["LOOM_INHERIT"].split("\\n")[0])
os.write(channel, b"{said}\\n")
{then}
"""


class Failures(UpgradeCase):
    """The old one goes on, says why, and can be upgraded after."""
    matrix = "backends"
    cost = 6

    def goes_on(self, *why):
        pid = self.loom.pid
        text = self.ctl("upgrade", expected=1)
        for one in why:
            self.assertIn(one, text)
            self.assertIn(one, self.loom.log())
        self.assertTrue(self.loom.running())
        self.assertEqual(self.status("pid"), str(pid))
        self.assertEqual(self.loom.get("/").status, 200)

    def then_upgrades(self):
        self.put_back()
        self.has_ended(self.upgrade())
        self.assertEqual(self.loom.get("/").status, 200)

    def test_one_that_fails(self):
        self.begin()
        self.put("#!/bin/sh\nexit 3\n")
        self.goes_on("ended with status 3")
        self.put("#!/bin/sh\nkill -SEGV $$\n")
        self.goes_on("was ended by signal 11")
        self.put("this is no program\n")
        self.goes_on("cannot start")
        self.then_upgrades()

    def test_one_that_says_why(self):
        self.begin(root=self.make_root())
        os.rename(self.site, self.site + ".away")
        self.goes_on("ended with status 1: ", "No such file or directory")
        os.rename(self.site + ".away", self.site)
        self.has_ended(self.upgrade())

    def make_root(self):
        self.site = os.path.join(self.directory(), "root")
        write(self.site, "index.html", b"home")
        return self.site

    def test_one_that_hangs(self):
        self.begin("--upgrade-timeout=300ms")
        self.put("#!/bin/sh\nexec sleep 1000\n")
        self.goes_on("was not ready in time")

    def test_one_that_dies_when_it_is_ready(self):
        self.begin()
        self.put(READY.format(said="ready 0 1", then="os._exit(7)"))
        self.goes_on("ended with status 7")
        self.then_upgrades()

    def test_one_that_dies_in_its_place(self):
        """The old one, which drains, starts its own binary again; clients wait meanwhile."""
        write(self.root, "huge.bin", noise("huge", 24 << 20))
        loom = self.begin("--grace=1h", "--send-timeout=1h")
        before = loom.process
        download = loom.client(rcvbuf=64 << 10)
        download.send(request("/huge.bin"))
        self.assertIn(b"200 OK", download.read_head())
        self.put(READY.format(said="ready 0 1", then="os.read(channel, 10); os._exit(7)"))
        crowd = Crowd(loom, ["/"], lambda _, response: response.status == 200, 2, 2, 0.02)
        try:
            self.ctl("upgrade")
            wait_for(lambda: re.search("pid [0-9]+ serves", loom.log()), "another start")
            self.assertIn("starting the binary that served before", loom.log())
            loom.follow(int(re.search("pid ([0-9]+) serves", loom.log())[1]))
            answers = crowd.answers
            wait_for(lambda: crowd.answers > answers + 10, "answers")
        finally:
            crowd.stop()
        self.assertEqual((crowd.refused, crowd.reset, crowd.wrong), (0, 0, 0), "; ".join(crowd.details[:5]))
        self.assertEqual(self.status("pid"), str(loom.pid))
        self.assertTrue(download.read_body(24 << 20) == noise("huge", 24 << 20))
        download.close()
        self.has_ended(before)
        self.then_upgrades()

    def test_one_that_ends_gives_the_port_up(self):
        write(self.root, "huge.bin", noise("huge", 24 << 20))
        loom = self.begin("--grace=1h", "--send-timeout=1h")
        download = loom.client(rcvbuf=64 << 10)
        download.send(request("/huge.bin"))
        self.assertIn(b"200 OK", download.read_head())
        before = self.upgrade()
        loom.signal(signal.SIGTERM)
        loom.checked = True

        wait_for(self.refuses, "the port to be free")
        self.assertIsNone(before.poll())
        self.assertTrue(download.read_body(24 << 20) == noise("huge", 24 << 20))
        download.close()
        self.has_ended(before)

    def test_one_that_is_told_to_end_before_its_turn(self):
        """It has clients, who take it a while; but the place is not its own, and the old one goes on."""
        self.begin()
        pid = self.begin_and_halt()
        with self.loom.client() as client:
            client.send(request("/"))
            if self.backend == "epoll":  # on io_uring the kernel goes on to accept for the old one, which stands still
                self.assertEqual(client.response().status, 200)
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: "draining: " in self.loom.log(), "the new one to drain")
            self.loom.signal(signal.SIGCONT)
            if self.backend != "epoll":
                self.assertEqual(client.response().status, 200)
            wait_for(lambda: "no upgrade, this loom" in self.loom.log(), "the old one to go on")
        self.assertIn(f"the successor (pid {pid}) ended with status 0", self.loom.log())
        self.assertEqual(self.status("pid"), str(self.loom.pid))
        self.assertEqual(self.loom.get("/").status, 200)
        self.then_upgrades()

    def test_one_that_declines(self):
        """As one does that is told to end: it may take its time for its clients, and does not get the place by that."""
        self.begin()
        self.put(READY.format(said="ready 0 1", then="os.close(channel); time.sleep(1); os._exit(0)"))
        self.goes_on("ended with status 0")
        self.then_upgrades()

    def test_a_rescue_that_fails(self):
        """Nobody serves then, and so nobody may keep the port, although a client is still there."""
        site = self.make_root()
        write(site, "huge.bin", noise("huge", 24 << 20))
        self.begin("--grace=1h", "--send-timeout=1h", root=site)
        before = self.loom.process
        download = self.loom.client(rcvbuf=64 << 10)
        download.send(request("/huge.bin"))
        self.assertIn(b"200 OK", download.read_head())
        self.put(READY.format(said="ready 0 1", then="os.read(channel, 10); os._exit(7)"))
        os.rename(site, site + ".away")
        self.ctl("upgrade")
        self.loom.checked = True
        wait_for(lambda: "nobody serves" in self.loom.log(), "the end of the rescue")
        wait_for(self.refuses, "the port to be free")
        self.assertIsNone(before.poll())
        self.assertTrue(download.read_body(24 << 20) == noise("huge", 24 << 20))
        download.close()
        self.has_ended(before)

    def test_one_that_says_what_nobody_understands(self):
        self.begin()
        self.put(READY.format(said="good morning", then="time.sleep(1000)"))
        self.goes_on("says what is not understood")
        self.then_upgrades()

    def test_one_that_is_gone(self):
        self.begin()
        os.unlink(self.binary)
        self.has_ended(self.upgrade())
        self.assertIn("starting the binary that runs", self.loom.log())
        self.assertEqual(self.loom.get("/").status, 200)

    def test_a_second_one_at_a_time(self):
        self.begin("--grace=1h")
        self.put("#!/bin/sh\nexec sleep 1000\n")
        self.loom.signal(signal.SIGUSR2)
        wait_for(lambda: "is started" in self.loom.log(), "the first")
        self.assertIn("an upgrade is under way already", self.ctl("upgrade", expected=1))
        self.loom.signal(signal.SIGTERM)
        self.loom.wait_exit()
        self.assertIn("loom is ending", self.loom.log())

    def test_a_stranger_in_the_variable(self):
        for text in ("", "x", "99", "0\nl 0 0 0 127.0.0.1:80", "0\nl 0 0 999 a", "0\nq 0 0 5 a", "0\nl 0"):
            done = subprocess.run([BINARY, self.root], env={**os.environ, "LOOM_INHERIT": text}, capture_output=True,
                                  stdin=subprocess.DEVNULL, timeout=BOUND, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(b"LOOM_INHERIT", done.stderr)
