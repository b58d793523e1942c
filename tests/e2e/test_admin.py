"""The admin socket and loomctl: what they say, roll-backs under load and during builds, pins, clients of every bad habit."""
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

from case import Case, Hammer, noise, stamped, is_whole, write
from client import Malformed
from server import BINARY, BOUND, LONG, run, sanitized, wait_for

LOOMCTL = os.path.join(os.path.dirname(BINARY), "loomctl")


class Admin:
    """One connection to the admin socket."""

    def __init__(self, path, patience=BOUND):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """The lines of data, and the last line: `ok`, `error: why`, or nothing when the connection has ended."""
        lines = []
        for line in self.stream:
            if not line.startswith(b" "):
                return lines, line.decode().rstrip("\n")
            lines.append(line[1:].decode().rstrip("\n"))
        return lines, ""

    def ask(self, command):
        self.send(command.encode() + b"\n")
        return self.answer()


def plant_version(root, version, files=20):
    for at in range(files):
        write(root, f"f/{at}.txt", stamped(f"{version} {at}", 300 + 100 * at))
    write(root, "index.html", b"version " + version.encode())


class AdminCase(Case):
    def begin(self, *arguments, watch="off", **more):
        self.site = os.path.join(self.directory(), "root")
        self.path = os.path.join(self.directory(), "admin")
        plant_version(self.site, "0")
        past = time.time() - 5000  # so that the next version can have a later date at once
        os.utime(os.path.join(self.site, "index.html"), (past, past))
        self.loom = self.start(f"--admin=unix:{self.path}", f"--watch={watch}", "--settle=20ms", *arguments,
                               root=self.site, **more)
        return self.loom

    def ctl(self, *words, expected=0):
        """What loomctl prints: standard output, or standard error when it fails as expected."""
        done = subprocess.run([LOOMCTL, "-s", f"unix:{self.path}", *words], capture_output=True, timeout=BOUND,
                              check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        self.assertEqual(done.returncode, expected, f"loomctl {words}: {out}{err}")
        return err if expected else out

    def deploy(self, version):
        """The id of what is live then."""
        plant_version(self.site, version)
        return re.fullmatch(r"snapshot (\S{22}) is live: 21 files, \d+ bytes, in \d+ ms\n", self.ctl("reload"))[1]

    def id(self):
        return re.search(r"^snapshot: (\S+), \d+ s old$", self.ctl("status"), re.M)[1]

    def serves(self, version):
        self.assertEqual(self.loom.get("/").body, b"version " + version.encode())

    def becomes(self, version):
        wait_for(lambda: self.loom.get("/").body == b"version " + version.encode(), f"version {version}", step=0.02)

    def states(self):
        """[(id, state)], the newest first, without what is retired."""
        rows = [line.split() for line in self.ctl("snapshots").splitlines()[1:]]
        return [(row[0], row[1]) for row in rows if row[1] != "retired"]


class Commands(AdminCase):
    matrix = "backends"
    cost = 4

    def test_help(self):
        self.begin()
        text = self.ctl("help")
        for command in ("status", "snapshots", "diff", "reload", "pin", "rollback", "unpin", "top", "help"):
            self.assertRegex(text, rf"(?m)^{command}\b")

    def test_status(self):
        server = self.begin()
        with server.client() as client:
            client.ask("/f/1.txt")
            client.ask("/f/1.txt")
            text = self.ctl("status")
        for line in (r"version: \d+\.\d+\.\d+", rf"pid: {server.pid}", r"uptime: \d+ s", "state: serving",
                     rf"backend: {self.backend}.*", rf"listening: http://127.0.0.1:{server.address[1]}/",
                     re.escape(f"root: {self.site}"), r"snapshot: \S{22}, \d+ s old", r"files: 21, \d+ bytes",
                     r"variants: \d+, \d+ bytes", "pinned: no", r"generations: 0 earlier kept, of at most 3.*",
                     r"memory: \d+ of 536870912 bytes", "watching: off",
                     r"reload: a new snapshot went live, at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, in \d+ ms",
                     r"workers: connections 1 accepted 1 requests 2 timeouts 0.*"):
            self.assertRegex(text, rf"(?m)^{line}$")
        self.assertEqual(len(re.findall(r"(?m)^worker \d+: ", text)), self.workers)

    def test_snapshots_and_diff(self):
        self.begin()
        first = self.id()
        write(self.site, "new.txt", b"new")
        write(self.site, "f/1.txt", b"changed")
        os.unlink(os.path.join(self.site, "f/2.txt"))
        write(self.site, "odd/a b%ü.txt", "ü".encode())
        self.assertIn("is live", self.ctl("reload"))
        second = self.id()
        rows = self.ctl("snapshots").splitlines()
        self.assertRegex(rows[1], rf"^{second} current +\d+s +22 +\d+ +\d+  \+2 ~1 -1$")
        self.assertRegex(rows[2], rf"^{first} kept +\d+s +21 +\d+ +\d+  -$")
        expected = "~ /f/1.txt\n- /f/2.txt\n+ /new.txt\n+ /odd/a%20b%25%C3%BC.txt\n"
        self.assertEqual(self.ctl("diff", first), expected)
        self.assertEqual(self.ctl("diff", first[:6], second[:8]), expected)
        self.assertEqual(self.ctl("diff", second, first), expected.translate(str.maketrans("+-", "-+")))
        self.assertEqual(self.ctl("diff", second), "")

    def test_a_long_diff(self):
        """More than is sent at a time, in the order of the names, and nobody else waits for its reader."""
        self.begin()
        first = self.id()
        for at in range(1500):
            write(self.site, f"many/{at:05}-{'x' * 150}.txt", b"x")
        self.ctl("reload")
        with Admin(self.path) as slow:
            slow.send(f"diff {first}\n".encode() * 3)
            self.ctl("status")
            # what is compared is not freed meanwhile, whatever is deployed
            for version in ("1", "2", "3", "4", "5"):
                plant_version(self.site, version)
                self.assertIn("is live", self.ctl("reload"))
            lines, last = slow.answer()
            self.assertEqual(last, "ok")
            self.assertEqual(lines, [f"+ /many/{at:05}-{'x' * 150}.txt" for at in range(1500)])

    def test_reload(self):
        self.begin("--gate=links")
        write(self.site, "index.html", b"<!doctype html>two")
        self.assertRegex(self.ctl("reload"), r"^snapshot \S{22} is live: 21 files, \d+ bytes, in \d+ ms\n$")
        self.assertRegex(self.ctl("reload"), r"^nothing has changed: snapshot \S{22} stays \(\d+ ms\)\n$")
        write(self.site, "index.html", b"<!doctype html><script src=gone.js></script>")
        self.assertRegex(self.ctl("reload", expected=1), r"refused, the old snapshot stays: .*/gone\.js is missing")
        self.assertEqual(self.loom.get("/").body, b"<!doctype html>two")
        self.assertRegex(self.ctl("status"), r"(?m)^reload: refused by the gate, at .*/gone\.js is missing")
        shutil.move(self.site, self.site + "-away")
        self.assertRegex(self.ctl("reload", expected=1), r"loomctl: the old snapshot stays: .*No such file")
        shutil.move(self.site + "-away", self.site)
        self.assertEqual(self.loom.get("/").body, b"<!doctype html>two")

    def test_several_wait_for_a_reload(self):
        self.begin()
        plant_version(self.site, "1")
        clients = [Admin(self.path) for _ in range(8)]
        for client in clients:
            client.send(b"reload\nstatus\n")
        for client in clients:
            self.assertEqual(client.answer()[1], "ok")
            lines, last = client.answer()
            self.assertEqual((last, [line for line in lines if line.startswith("pinned")]), ("ok", ["pinned: no"]))
            client.__exit__()
        self.serves("1")

    def test_rollback_and_back(self):
        self.begin()
        ids = [self.id(), self.deploy("1"), self.deploy("2")]
        switched = re.compile(r"switched to (\S+) in \d+ us; pinned until unpin\n")
        for version in (1, 0):
            self.assertEqual(switched.fullmatch(self.ctl("rollback"))[1], ids[version])
            self.becomes(str(version))
        self.assertRegex(self.ctl("rollback", expected=1), "there is no earlier generation")
        self.assertEqual(self.states(), [(ids[2], "kept"), (ids[1], "kept"), (ids[0], "pinned")])
        self.assertRegex(self.ctl("status"), "(?m)^pinned: yes$")
        # the other way, by a part of the id
        self.assertEqual(switched.fullmatch(self.ctl("rollback", ids[1][:4]))[1], ids[1])
        self.becomes("1")
        self.assertRegex(self.ctl("pin", ids[1]), rf"^{re.escape(ids[1])} is served, and is pinned until unpin\n$")
        # the tree is not served, and says so
        plant_version(self.site, "3")
        self.assertRegex(self.ctl("reload", expected=1), rf"generation {re.escape(ids[1])} is pinned: unpin")
        self.loom.signal(signal.SIGHUP)
        wait_for(lambda: f"cannot reload: generation {ids[1]} is pinned" in self.loom.log(), "the line for SIGHUP")
        self.serves("1")
        self.assertRegex(self.ctl("unpin"), r"^snapshot \S{22} is live: 21 files")
        self.becomes("3")
        self.assertRegex(self.ctl("unpin", expected=1), "nothing is pinned")
        # what was served last is what a roll-back goes to
        self.ctl("rollback")
        self.becomes("1")

    def test_errors(self):
        self.begin()
        for words, error in ((("bogus",), "no command 'bogus'"), (("pin", "abc"), "'abc' is too short"),
                             (("pin", "abcd"), "no generation 'abcd'"), (("rollback", "abcd"), "no generation 'abcd'"),
                             (("diff",), "diff needs"), (("diff", "abcd"), "no generation 'abcd'"),
                             (("diff", self.id(), "~~~~"), "no generation '~~~~'"), (("top", "0"), "'0' is no number"),
                             (("top", "x"), "'x' is no number"), (("top", "-1"), "'-1' is no number"),
                             (("status", "x"), "status takes no 'x'"), (("diff", "a", "b", "c"), "diff takes no 'c'"),
                             (("unpin",), "nothing is pinned"), (("rollback",), "no earlier generation")):
            self.assertIn(error, self.ctl(*words, expected=1), words)

    def test_none_is_kept(self):
        self.begin("--keep-generations=0")
        self.deploy("1")
        self.assertRegex(self.ctl("rollback", expected=1), r"no earlier generation \(at most 0 are kept")
        self.assertEqual([state for _, state in self.states()], ["current"])
        self.ctl("pin")
        self.assertEqual([state for _, state in self.states()], ["pinned"])

    def test_pin_deploy_unpin(self):
        self.begin(watch="auto")
        old = self.id()
        self.ctl("pin")
        plant_version(self.site, "1")
        wait_for(lambda: "the tree has changed, and is not published" in self.loom.log(), "the line about the change")
        self.serves("0")
        self.assertEqual(self.id(), old)
        plant_version(self.site, "2")
        # A build that was due may have come between the end of the pin and the one that is asked for with it.
        self.assertRegex(self.ctl("unpin"), "is live|nothing has changed")
        self.becomes("2")
        plant_version(self.site, "3")
        self.becomes("3")

    def test_dates_after_a_rollback(self):
        """Who has the newer content, and nothing but its date, is not told that the older one is the same."""
        self.begin()
        first = self.loom.get("/")["last-modified"]
        plant_version(self.site, "1")
        self.ctl("reload")
        second = self.loom.get("/")["last-modified"]
        self.assertIsNotNone(second)
        self.assertNotEqual(first, second)
        self.ctl("rollback")
        self.becomes("0")
        self.assertEqual(self.loom.get("/", f"If-Modified-Since: {second}").status, 200)
        self.assertEqual(self.loom.get("/", f"If-Modified-Since: {first}").status, 304)
        self.ctl("unpin")
        self.becomes("1")
        self.assertEqual(self.loom.get("/", f"If-Modified-Since: {first}").status, 200)
        self.assertEqual(self.loom.get("/", f"If-Modified-Since: {second}").status, 304)

    def test_top(self):
        self.begin()
        for at, times in ((1, 5), (2, 3), (3, 1)):
            for _ in range(times):
                self.loom.get(f"/f/{at}.txt")
        lines = self.ctl("top").splitlines()
        self.assertRegex(lines[0], rf"^snapshot {re.escape(self.id())} since \d+ requests 9 paths 3$")
        self.assertEqual(lines[1:], ["5 /f/1.txt", "3 /f/2.txt", "1 /f/3.txt"])
        self.assertEqual(self.ctl("top", "1").splitlines()[1:], ["5 /f/1.txt"])

    def test_the_same_bytes_are_the_same_everywhere(self):
        self.begin()
        first, tag = self.id(), self.loom.get("/f/3.txt")["etag"]
        for base, _, names in os.walk(self.site):
            for name in names:
                os.utime(os.path.join(base, name), (1000000000, 1000000000))
        self.assertIn("nothing has changed", self.ctl("reload"))
        self.assertEqual((self.id(), self.loom.get("/f/3.txt")["etag"]), (first, tag))
        copy = os.path.join(self.directory(), "elsewhere")
        shutil.copytree(self.site, copy)  # with the times, of 2001
        other = os.path.join(self.directory(), "other")
        second = self.start(f"--admin=unix:{other}", root=copy)
        with Admin(other) as admin:
            lines, _ = admin.ask("status")
        self.assertIn(f"snapshot: {first}, ", "\n".join(lines))
        self.assertEqual(second.get("/f/3.txt")["etag"], tag)
        self.assertNotEqual(second.get("/f/3.txt")["last-modified"], self.loom.get("/f/3.txt")["last-modified"])


class Load(AdminCase):
    cost = 6

    def test_rollbacks_under_load(self):
        """No answer mixes two versions, and one ETag means one content."""
        self.begin()
        self.deploy("1")
        self.deploy("2")
        of_tag = {}

        def check(target, response):
            if response.status != 200 or not is_whole(response.body):
                raise Malformed(f"{target}: {response.status}, {len(response.body)} bytes")
            if of_tag.setdefault(response["etag"], response.body) != response.body:
                raise Malformed(f"{target}: one ETag, two contents")

        hammer = Hammer(self.loom, [f"/f/{at}.txt" for at in range(20)], check, threads=3)
        try:
            with Admin(self.path) as admin:
                for turn in range(100 if LONG else 20):
                    for command in ("rollback", "rollback", "unpin"):
                        self.assertEqual(admin.ask(command)[1], "ok", turn)
                    before = hammer.answers
                    wait_for(lambda: hammer.answers > before + 5 or hammer.errors, "answers between two turns")
        finally:
            hammer.stop()
        self.assertLessEqual(len(of_tag), 3 * 20)
        self.becomes("2")
        # all that the switches left over is freed
        wait_for(lambda: "retired" not in self.ctl("snapshots"), "nothing to be retired", step=0.05)


class Builds(AdminCase):
    matrix = "backends"  # no worker has a part in it
    cost = 4

    def test_a_rollback_does_not_wait_for_a_build(self):
        self.begin()
        for at in range(6000):
            with open(os.path.join(self.site, f"{at}.bin"), "wb") as file:
                file.write(b"%d" % at)
        self.ctl("reload")
        ids = [id for id, _ in self.states()]

        def attempt(turn):
            """Whether the roll-back came while the build was under way."""
            for at in range(6000):  # to be read again
                with open(os.path.join(self.site, f"{at}.bin"), "wb") as file:
                    file.write(b"%d, %d" % (turn, at))
            with Admin(self.path) as waiting, Admin(self.path) as admin:
                waiting.send(b"reload\n")
                wait_for(lambda: "building: yes" in admin.ask("status")[0] or
                         select.select([waiting.socket], [], [], 0)[0], "the build to begin, or to be done", step=0)
                admin.send(b"rollback\nstatus\n")
                lines, last = admin.answer()
                self.assertEqual(last, "ok")
                building = "building: yes" in admin.answer()[0]
                if not building and lines[0].startswith(f"switched to {ids[0]} "):
                    waiting.answer()  # it was done before the roll-back came, which went back to what was new then
                    self.assertEqual(admin.ask("unpin")[1], "ok")
                    ids[:] = [id for id, _ in self.states()]
                    return False
                self.assertRegex(lines[0], rf"^switched to {re.escape(ids[1])} in \d+ us")
                self.assertEqual(self.loom.get("/0.bin").status, 404)
                if building:
                    self.assertRegex(waiting.answer()[1], f"error: .*generation {re.escape(ids[1])} is pinned")
                    self.assertEqual(self.loom.get("/0.bin").status, 404)
                    self.assertEqual(self.states()[0], (ids[0], "kept"))
                else:
                    waiting.answer()
                self.assertEqual(admin.ask("unpin")[1], "ok")
            self.assertEqual(self.loom.get("/0.bin").body, b"%d, 0" % turn)
            ids[:] = [id for id, _ in self.states()]
            return building

        self.assertTrue(any(attempt(turn) for turn in range(20)))

    def test_memory_pressure_drops_generations(self):
        """What is kept never keeps a deploy out."""
        self.begin("--max-memory=4M", "--no-compress")
        for turn in range(5):
            for at in range(8):
                write(self.site, f"big{turn}-{at}.bin", noise(f"{turn} {at}", 192 << 10))
                if turn:
                    os.unlink(os.path.join(self.site, f"big{turn - 1}-{at}.bin"))
            wait_for(lambda: subprocess.run([LOOMCTL, "-s", self.path, "reload"], capture_output=True,
                                            check=False).returncode == 0, f"deploy {turn} to fit", step=0.1)
            self.assertEqual(self.loom.get(f"/big{turn}-7.bin").status, 200)
            held, allowed = map(int, re.search(r"memory: (\d+) of (\d+) bytes", self.ctl("status")).groups())
            self.assertLessEqual(held, allowed)


class Socket(AdminCase):
    matrix = "backends"
    cost = 3

    def test_mode(self):
        """No wider at any moment, whatever the umask."""
        self.begin(before_exec=lambda: os.umask(0))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_a_stale_socket_is_replaced_and_a_live_one_is_not(self):
        server = self.begin()
        status, _, err = run([f"--admin=unix:{self.path}", "--listen=127.0.0.1:0", self.root])
        self.assertEqual(status, 1)
        self.assertRegex(err, r"--admin: cannot listen on unix:\S+: Address already in use \(another process answers")
        self.ctl("status")
        server.signal(signal.SIGTERM)
        server.wait_exit()
        self.assertFalse(os.path.exists(self.path))
        self.assertIn("there is no such socket", self.ctl("status", expected=1))
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.assertIn("nobody listens there", self.ctl("status", expected=1))
        self.loom = self.start(f"--admin=unix:{self.path}", root=self.site)
        self.ctl("status")
        with open(self.path + "-file", "w", encoding="ascii") as file:
            file.write("precious")
        status, _, err = run([f"--admin=unix:{self.path}-file", "--listen=127.0.0.1:0", self.root])
        self.assertEqual(status, 1)
        self.assertIn("it is not touched", err)
        self.assertTrue(os.path.exists(self.path + "-file"))

    def test_listen_and_admin_are_two(self):
        path = os.path.join(self.directory(), "both")
        status, _, err = run([f"--admin=unix:{path}", f"--listen=unix:{path}", self.root])
        self.assertEqual(status, 1)
        self.assertIn("cannot be both --admin and --listen", err)
        self.assertFalse(os.path.exists(path))

    def test_odd_clients(self):
        self.begin()
        with Admin(self.path) as admin:
            # byte by byte, several at once, with a carriage return, with spaces
            for byte in b"status\n":
                admin.send(bytes([byte]))
            self.assertEqual(admin.answer()[1], "ok")
            admin.send(b"status\r\n  snapshots  \nbogus\n\nhelp\n")
            self.assertEqual([admin.answer()[1][:5] for _ in range(5)], ["ok", "ok", "error", "error", "ok"])
            # bytes that are no command
            for junk in (b"\0\n", b"sta\0tus\n", b"\xff\xfe\x1b[2J\n", bytes(range(1, 10)) + b"\n"):
                admin.send(junk)
                lines, last = admin.answer()
                self.assertEqual((lines, last), ([], "error: a command is a line of printable ASCII (help lists them)"))
            self.assertEqual(admin.ask("status")[1], "ok")
            # half a line, and the end
            admin.send(b"pin")
            admin.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(admin.answer(), ([], ""))
        self.assertIn("pinned: no", self.ctl("status"))
        with Admin(self.path) as admin:
            # a client that is done with sending still reads its answers
            admin.send(b"reload\nstatus\n")
            admin.socket.shutdown(socket.SHUT_WR)
            self.assertEqual([admin.answer()[1] for _ in range(3)], ["ok", "ok", ""])
        with Admin(self.path) as admin:
            admin.send(b"x" * 5000)
            self.assertEqual(admin.answer(), ([], "error: a line has at most 1023 bytes"))
            self.assertEqual(admin.answer(), ([], ""))
        # gone before the answer
        for _ in range(20):
            with Admin(self.path) as admin:
                admin.send(b"reload\nsnapshots\ntop 1000\n")
        self.ctl("status")
        self.loom.wait_quiet()

    def test_a_hundred_clients_harm_nobody(self):
        server = self.begin()
        clients = []
        hammer = Hammer(server, ["/f/1.txt"], lambda _, response: self.assertEqual(response.status, 200), threads=1)
        try:
            for at in range(100):
                clients.append(Admin(self.path))
                try:
                    clients[-1].send((b"", b"sta", b"x" * 700, b"help\n" * 200, noise(at, 900))[at % 5])
                except OSError:
                    pass  # it had to make room already
                if at % 10 == 9:
                    self.ctl("status")
            self.ctl("rollback", expected=1)
        finally:
            self.assertGreater(hammer.stop(), 0)
            for client in clients:
                client.__exit__()
        self.assertIn("\nworkers: ", self.ctl("status"))
        server.wait_quiet()

    def test_one_that_never_reads(self):
        server = self.begin()
        before = server.resident()
        with Admin(self.path) as deaf:
            deaf.socket.settimeout(0.5)
            try:
                while True:
                    deaf.send(b"help\n" * 100)
            except TimeoutError:
                pass
            for _ in range(10):
                self.ctl("status")
            used = server.ticks()
            time.sleep(0.3)
            self.assertLess(server.ticks() - used, 0.25, "it spins")
            if not sanitized():  # which keep what was freed
                self.assertLess(server.resident() - before, 16 << 20)

    def test_the_end_with_clients(self):
        server = self.begin("--grace=1h")
        with server.client(rcvbuf=4096) as client, Admin(self.path) as admin, Admin(self.path) as silent:
            self.assertEqual(admin.ask("status")[1], "ok")
            write(self.site, "large.bin", noise("large", 8 << 20))
            self.ctl("reload")
            client.send(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            client.read_head()
            server.signal(signal.SIGTERM)
            wait_for(lambda: "state: draining" in admin.ask("status")[0], "draining to be told")
            # a roll-back is possible even then, and a second signal ends all
            server.signal(signal.SIGTERM)
            server.wait_exit()
            self.assertEqual(silent.answer(), ([], ""))
        self.assertFalse(os.path.exists(self.path))


class Loomctl(AdminCase):
    matrix = "once"

    def run_ctl(self, *words, env=None):
        done = subprocess.run([LOOMCTL, *words], capture_output=True, timeout=BOUND, check=False,
                              env={"PATH": os.environ["PATH"], **(env or {})})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_usage(self):
        for words in ((), ("-x",), ("-s",), ("-s", "/x")):
            status, out, err = self.run_ctl(*words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertIn("usage: loomctl", err)
        self.assertEqual(self.run_ctl("-h")[0], 0)
        self.assertIn("no socket: give it with -s, or in LOOM_ADMIN", self.run_ctl("status")[2])
        self.assertEqual(self.run_ctl("status")[0], 2)
        for word in ("", "a b", "a\nb", "x" * 2000):
            self.assertEqual(self.run_ctl("-s", "/x", "pin", word)[0], 2)
        self.assertIn("too long for a Unix socket", self.run_ctl("-s", "/" + "x" * 200, "status")[2])

    def test_environment(self):
        self.begin()
        for value in (self.path, f"unix:{self.path}"):
            self.assertEqual(self.run_ctl("status", env={"LOOM_ADMIN": value})[0], 0)
            self.assertEqual(self.run_ctl("-s", value, "status", env={"LOOM_ADMIN": "/nowhere"})[0], 0)
        self.assertEqual(self.run_ctl("-s", self.path, "pin", "-abc")[2],
                         "loomctl: there is no generation '-abc' (snapshots lists those that there are)\n")

    def test_no_loom(self):
        path = os.path.join(self.directory(), "liar")
        with socket.socket(socket.AF_UNIX) as liar:
            liar.bind(path)
            liar.listen()
            for said, error in ((b"", "ended in the middle"), (b" half", "ended in the middle"),
                                (b"HTTP/1.1 400\r\n", "no loom answers there")):
                def serve():
                    one, _ = liar.accept()
                    one.recv(100)
                    one.sendall(said)
                    one.close()

                thread = threading.Thread(target=serve)
                thread.start()
                status, _, err = self.run_ctl("-s", path, "status")
                thread.join()
                self.assertEqual(status, 1)
                self.assertIn(error, err)
