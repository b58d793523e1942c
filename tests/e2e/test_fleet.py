"""A fleet for real: HAProxy in front of two looms, with the files of dist/haproxy, and what operators do to it.

Upgrades, restarts, a replica that is killed, and deploys, one after another and under load, with not one request failed
or answered wrongly. What is killed has answers of up to 12 KiB under way, which leave in one piece: one of which a part has
gone to the client cannot be asked for again by anybody but the client.
"""
import csv
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from types import SimpleNamespace

from case import Case, stamped, write
from client import BOUND, Client, request
from server import BINARY, LONG, PR_SET_PDEATHSIG, VALGRIND, libc, wait_for
from test_clients import required
from test_upgrade import LOOMCTL, Crowd

DIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dist", "haproxy")
FILES = 20


def filled(name, replacements):
    """A file of dist/haproxy, with what is this test's own in the place of what is an operator's."""
    with open(os.path.join(DIST, name), encoding="utf-8") as file:
        text = file.read()
    for line, ours in replacements.items():
        if len(re.findall(rf"(?m)^\s*{re.escape(line)}$", text)) != 1:
            raise AssertionError(f"dist/haproxy/{name} has no line, or several: {line}")
        text = re.sub(rf"(?m)^(\s*){re.escape(line)}$", lambda match: match[1] + ours, text)  # pylint: disable=W0640
    return text


def release(site, name, version):
    """A release of the site. Every file says in itself whether it is whole, and index.html which release it is."""
    for at in range(FILES):
        write(site, f"releases/{name}/f/{at}.txt", stamped(f"{version} {at}", 500 + 600 * at))
    write(site, f"releases/{name}/index.html", f"release {version}".encode())


class Replica:
    """One loom with a directory, an admin socket and a port of its own, which it keeps from one process to the next."""

    def __init__(self, case, name):
        self.case, self.name = case, name
        self.home = case.directory()
        self.site = os.path.join(self.home, "site")
        self.admin = os.path.join(self.home, "admin")
        self.log = os.path.join(self.home, "access.log")
        self.binary = os.path.join(self.home, "loom")
        os.symlink(BINARY, self.binary)
        release(self.site, "1", 1)
        os.symlink("releases/1", os.path.join(self.site, "current"))
        self.port = 0
        self.launch()
        self.port = self.server.address[1]

    def launch(self):
        conf = os.path.join(self.home, "loom.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(filled("loom.conf", {
                "root = /srv/site/current": f"root = {self.site}/current",
                "listen = 192.0.2.11:8080,proxy=on": f"listen = 127.0.0.1:{self.port},proxy=on",
                "proxy-from = 192.0.2.10": "proxy-from = 127.0.0.0/8",
                "drain-delay = 5s": "drain-delay = 1h",  # it ends when HAProxy has noticed, and not by the clock
                "admin = unix:/run/loom/admin": f"admin = unix:{self.admin}",
                "metrics = 127.0.0.1:9100": f"access-log = {self.log}",
            }))
        self.server = self.case.start("--grace=1h", "--access-format=json", f"--config={conf}", listen=1,
                                      root=f"{self.site}/current", binary=self.binary)
        self.server.may_start_others()

    def ctl(self, *words):
        done = subprocess.run([LOOMCTL, "-1", "-s", self.admin, *words], capture_output=True, timeout=BOUND,
                              check=False)
        self.case.assertEqual(done.returncode, 0, f"{words}: {done.stderr.decode()}")
        return done.stdout.decode()

    def follow(self, pid):
        before = self.server.follow(pid)
        self.case.assertEqual(before.wait(BOUND), 0)

    def upgrade(self, by_signal):
        if not by_signal:
            self.follow(int(re.match(r"pid (\d+) has taken over", self.ctl("upgrade"))[1]))
            return
        pattern = r"(?m)pid (\d+) has taken over$"
        taken = len(re.findall(pattern, self.server.log()))
        self.server.signal(signal.SIGUSR2)
        wait_for(lambda: len(re.findall(pattern, self.server.log())) > taken, "the successor")
        self.follow(int(re.findall(pattern, self.server.log())[-1]))

    def deploy(self, name):
        """As docs/guide has it: a link that is switched by a rename."""
        beside = os.path.join(self.site, "next")
        os.symlink(f"releases/{name}", beside)
        os.rename(beside, os.path.join(self.site, "current"))
        self.case.assertRegex(self.ctl("reload"), "is live|nothing has changed")

    def snapshot(self):
        """What this replica serves, as it says in its answers; asked as HAProxy does."""
        with Client(("127.0.0.1", self.port)) as client:
            client.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + request("/", "Connection: close"))
            return client.response()["loom-snapshot"]


class HAProxy:
    """The balancer: a child, which dies with us."""

    def __init__(self, case, replicas, program):
        home = case.directory()
        self.case = case
        self.path = os.path.join(home, "stats")
        pem = os.path.join(home, "site.pem")
        self.tls_authority = os.path.join(home, "cert")
        subprocess.run([required("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", pem, "-out", self.tls_authority], check=True, capture_output=True, timeout=BOUND)
        with open(self.tls_authority, encoding="ascii") as cert, open(pem, "a", encoding="ascii") as file:
            file.write(cert.read())
        plain, tls = (socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2))
        self.address, self.tls_address = plain.getsockname(), tls.getsockname()
        conf = os.path.join(home, "haproxy.cfg")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(filled("haproxy.cfg", {
                "log /dev/log local0": "log stdout format raw local0",
                # One that is killed refuses at once; one that has no processor for two seconds is not down.
                "timeout server 30s": "timeout server 30s\n\ttimeout check 30s",
                "user haproxy": "", "group haproxy": "", "chroot /var/lib/haproxy": "",
                "stats socket /run/haproxy/admin.sock mode 660 level admin": f"stats socket {self.path} level admin",
                "bind :80": f"bind fd@{plain.fileno()}",
                "bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1":
                    f"bind fd@{tls.fileno()} ssl crt {pem} alpn h2,http/1.1",
                "server a 192.0.2.11:8080": f"server a 127.0.0.1:{replicas[0].port}",
                "server b 192.0.2.12:8080": f"server b 127.0.0.1:{replicas[1].port}",
            }))
        self.log_path = os.path.join(home, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [program, "-db", "-f", conf], pass_fds=[plain.fileno(), tls.fileno()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)))
        plain.close()
        tls.close()
        try:
            wait_for(lambda: self.process.poll() is not None or os.path.exists(self.path), "HAProxy")
            wait_for(lambda: self.process.poll() is not None or
                     all(self.server(name)["check_status"] == "L7OK" for name in "ab"), "its first health checks")
            case.assertIsNone(self.process.poll(), self.log())
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}; HAProxy says: {self.log()}") from None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stat(self):
        """Its figures, by (proxy, server)."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(BOUND)
            sock.connect(self.path)
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        return {(row["# pxname"], row["svname"]): row for row in csv.DictReader(text.splitlines())}

    def server(self, name):
        try:
            row = self.stat()["looms", name]
            return {**row, "check_status": row["check_status"].removeprefix("* ")}  # while the next check is under way
        except OSError:
            return {"check_status": "", "status": ""}

    def sees(self, name, status):
        wait_for(lambda: self.server(name)["status"].split(" ")[0] == status, f"HAProxy to see {name} {status}")

    def stop(self):
        self.process.terminate()
        self.process.wait(BOUND)


class Fleet(Case):
    matrix = "backends"
    cost = 9

    def begin(self):
        if VALGRIND:
            self.skipTest("valgrind is what would be started again")
        program = required("haproxy")
        self.replicas = [Replica(self, name) for name in "ab"]
        self.haproxy = HAProxy(self, self.replicas, program)
        self.addCleanup(lambda: self.haproxy.process.poll() is None and self.haproxy.process.kill())
        self.bodies = {}
        self.seen = set()
        self.know("1")

    def finish(self):
        """Without waiting for drain-delay."""
        for replica in self.replicas:
            replica.server.signal(signal.SIGTERM)
            wait_for(lambda: "serving on" in replica.server.log(), "its announcement")  # pylint: disable=W0640
            replica.server.signal(signal.SIGTERM)
        for replica in self.replicas:
            replica.server.wait_exit()
        self.haproxy.stop()

    def one_snapshot(self):
        """What the fleet serves. That all of it serves the same is what the ids are for."""
        ids = {replica.snapshot() for replica in self.replicas}
        self.assertEqual(len(ids), 1, ids)
        return ids.pop()

    def load(self, keeping, coming, pause):
        def is_right(target, response):
            version = self.bodies.get((target, response.body))
            self.seen.add((response["loom-snapshot"], version))
            return response.status == 200 and version

        targets = [f"/f/{at}.txt" for at in range(FILES)] + ["/"]
        return Crowd(SimpleNamespace(address=self.haproxy.address), targets, is_right, keeping, coming, pause)

    def know(self, name):
        """What a release has, for who checks answers."""
        more = {(f"/f/{at}.txt", stamped(f"{name} {at}", 500 + 600 * at)): name for at in range(FILES)}
        self.bodies = {**self.bodies, **more, ("/", b"release " + name.encode()): name}

    def upgrade_all(self, number):
        for at, replica in enumerate(self.replicas):
            replica.upgrade(by_signal=(number + at) % 2 == 0)

    def restart(self, replica):
        """Health turns, HAProxy takes it out, and only then it stops."""
        replica.server.signal(signal.SIGTERM)
        self.haproxy.sees(replica.name, "DOWN")

        def told():
            found = self.haproxy.server(replica.name)
            return found["check_status"], found["check_code"]

        # While a check is under way the code is 0.
        wait_for(lambda: told() == ("L7STS", "503"), "503 to be why")
        self.assertEqual(replica.snapshot(), self.one_snapshot())  # it still serves
        replica.server.signal(signal.SIGTERM)
        replica.server.wait_exit()
        replica.launch()
        self.haproxy.sees(replica.name, "UP")

    def kill(self, replica):
        served = int(self.haproxy.server(replica.name)["stot"])
        wait_for(lambda: int(self.haproxy.server(replica.name)["stot"]) > served + 10, "its share of the load")
        replica.server.signal(signal.SIGKILL)
        replica.server.wait_exit((-signal.SIGKILL,))
        self.haproxy.sees(replica.name, "DOWN")
        replica.server.kill_family()  # its launcher
        replica.launch()
        self.haproxy.sees(replica.name, "UP")

    def deploy_all(self, name):
        self.know(name)
        for replica in self.replicas:
            release(replica.site, name, name)
        before = self.one_snapshot()
        self.replicas[0].deploy(name)
        self.assertEqual({replica.snapshot() == before for replica in self.replicas}, {False, True})
        self.replicas[1].deploy(name)
        self.assertNotEqual(self.one_snapshot(), before)

    def test_under_load(self):
        rounds, keeping, coming, pause = (10, 64, 8, 0.02) if LONG else (1, 16, 4, 0.02)
        self.begin()
        crowd = self.load(keeping, coming, pause)
        try:
            wait_for(lambda: crowd.answers > 5 * keeping, "some load")
            began = time.monotonic()
            for number in range(rounds):
                self.upgrade_all(number)
            for number in range(3 if LONG else 1):
                for replica in self.replicas if LONG else self.replicas[:1]:
                    self.restart(replica)
                self.kill(self.replicas[(number + 1) % 2])
                self.deploy_all(str(number + 2))
            answers = crowd.answers
            wait_for(lambda: crowd.answers > answers + 10, "answers of the last release")
        finally:
            crowd.stop()
        stat = self.haproxy.stat()
        backend = stat["looms", "BACKEND"]
        self.note(f"{2 * rounds} upgrades and the rest in {time.monotonic() - began:.0f} s: {crowd.answers} answers, "
                  f"{crowd.connections} connections; HAProxy repeated {backend['wretr']} and sent {backend['wredis']} "
                  "elsewhere")
        self.assertEqual((crowd.refused, crowd.reset, crowd.wrong, crowd.unanswered), (0, 0, 0, 0),
                         "; ".join(crowd.details[:5]))
        self.assertEqual(len({snapshot for snapshot, _ in self.seen}), len(self.seen), self.seen)  # one id, one release
        self.assertEqual(len({version for _, version in self.seen}), len(self.seen), self.seen)
        self.assertEqual((stat["web", "FRONTEND"]["hrsp_5xx"], stat["web", "FRONTEND"]["hrsp_4xx"]), ("0", "0"))
        self.finish()

    def test_clients_are_seen_and_tls_ends_in_front(self):
        self.begin()
        with Client(self.haproxy.address, source="127.0.0.7") as client:
            self.assertEqual(client.ask("/?plain").status, 200)
        context = ssl.create_default_context(cafile=self.haproxy.tls_authority)
        connection = http.client.HTTPSConnection("localhost", self.haproxy.tls_address[1], context=context,
                                                 timeout=BOUND, source_address=("127.0.0.8", 0))
        connection.request("GET", "/?tls")
        response = connection.getresponse()
        self.assertEqual((response.status, response.read()), (200, b"release 1"))
        self.assertEqual(response.headers["Loom-Snapshot"], self.one_snapshot())
        connection.close()

        def seen():
            found = set()
            for replica in self.replicas:
                with open(replica.log, encoding="utf-8") as file:
                    for line in file:
                        if line.endswith("\n"):
                            record = json.loads(line)
                            found.add((record["target"], record["client"]))
            return found

        wait_for(lambda: seen() >= {("/?plain", "127.0.0.7"), ("/?tls", "127.0.0.8")}, "the clients in the logs")
        self.finish()
