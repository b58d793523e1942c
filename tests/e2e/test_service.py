"""What a service manager is told (sd_notify(3)), and the configuration that is read again on SIGHUP."""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

from case import Case, write

from server import BINARY, BOUND, libc, wait_for
from test_upgrade import UpgradeCase


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(address)
        self.socket.settimeout(0.05)
        self.heard = []  # (pid, {name: value}), what has come so far

    def listen(self):
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
            except socket.timeout:
                return self.heard
            pid = struct.unpack("3i", ancillary[0][2])[0]
            self.heard.append((pid, dict(line.split("=", 1) for line in data.decode().splitlines())))

    def waits_for(self, name, after=0):
        """The first message with the name behind so many others: (its place, pid, message)."""
        def found():
            return next(((at, *one) for at, one in enumerate(self.listen()) if at >= after and name in one[1]), None)
        return wait_for(found, f"{name} in a notice; heard: {self.heard[-5:]}")


class Ptrace:
    """Holds one thread of a process still, and none of the others."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.do(self.SEIZE)
        self.do(self.INTERRUPT)
        os.waitpid(tid, self.WALL)

    def do(self, what):
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        libc.ptrace.restype = ctypes.c_long
        if libc.ptrace(what, self.tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def release(self):
        self.do(self.DETACH)


class Notices(UpgradeCase):
    matrix = "backends"
    cost = 4

    def begin_with(self, *arguments, abstract=False, **env):
        path = os.path.join(self.directory(), "notify")
        self.manager = Manager("\0" + path if abstract else path)
        self.addCleanup(self.manager.socket.close)
        return self.begin(*arguments, workers=2, env={"NOTIFY_SOCKET": "@" + path if abstract else path, **env})

    def test_ready_reloading_stopping(self):
        for abstract in (False, True):
            loom = self.begin_with(abstract=abstract)
            at, pid, message = self.manager.waits_for("READY")
            self.assertEqual((at, pid, message), (0, loom.pid, {"READY": "1", "MAINPID": str(loom.pid)}))
            at, _, message = self.manager.waits_for("STATUS")
            self.assertRegex(message["STATUS"], r"Serving snapshot \S{22}: \d+ files, \d+ bytes")

            before = time.monotonic_ns() // 1000
            loom.signal(signal.SIGHUP)
            at, _, message = self.manager.waits_for("RELOADING", at)
            self.assertEqual(message["RELOADING"], "1")
            self.assertTrue(before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000)
            at, _, _ = self.manager.waits_for("READY", at)

            loom.signal(signal.SIGTERM)
            at, _, message = self.manager.waits_for("STOPPING", at)
            self.assertEqual(message["STOPPING"], "1")
            loom.wait_exit()

    def test_a_refused_reload_is_ready_again_and_says_why(self):
        site = os.path.join(self.directory(), "root")
        write(site, "index.html", b"home")
        path = os.path.join(self.directory(), "notify")
        self.manager = Manager(path)
        self.addCleanup(self.manager.socket.close)
        loom = self.begin(root=site, env={"NOTIFY_SOCKET": path})
        at, _, _ = self.manager.waits_for("READY")
        os.unlink(os.path.join(site, "index.html"))
        loom.signal(signal.SIGHUP)
        at, _, _ = self.manager.waits_for("RELOADING", at)
        at, _, _ = self.manager.waits_for("READY", at)
        wait_for(lambda: any("what was served before: the gate refuses" in message.get("STATUS", "")
                             for _, message in self.manager.listen()), "the reason")

    def test_the_main_process_moves_with_an_upgrade(self):
        loom = self.begin_with(WATCHDOG_USEC="400000", WATCHDOG_PID="")
        at, old, _ = self.manager.waits_for("READY")
        self.has_ended(self.upgrade())
        moved, by, message = self.manager.waits_for("MAINPID", at + 1)
        self.assertEqual((by, message["MAINPID"]), (old, str(loom.pid)))
        at, by, message = self.manager.waits_for("READY", at + 1)
        self.assertEqual((by, message["MAINPID"]), (loom.pid, str(loom.pid)))
        self.manager.waits_for("WATCHDOG", at)  # fed by the new one
        # The manager hears nothing from a process that it does not know yet, nor from one that it has left.
        for place, (pid, message) in enumerate(self.manager.listen()):
            self.assertEqual(pid, old if place <= moved else loom.pid, (place, message))

    def test_a_failed_upgrade_moves_nothing(self):
        loom = self.begin_with()
        self.manager.waits_for("READY")
        self.put("#!/bin/sh\nexit 3\n")
        self.ctl("upgrade", expected=1)
        self.assertEqual({pid for pid, _ in self.manager.listen()}, {loom.pid})
        self.assertEqual([message["MAINPID"] for _, message in self.manager.listen() if "MAINPID" in message],
                         [str(loom.pid)])

    def test_the_watchdog_is_fed_while_every_worker_turns(self):
        loom = self.begin_with(WATCHDOG_USEC="200000")
        at = 0
        for _ in range(5):  # idle workers turn, too
            at, _, _ = self.manager.waits_for("WATCHDOG", at)
            at += 1
        held = Ptrace(self.thread(loom, "loom-worker-1"))
        try:
            def is_unfed():
                """For many looks; on a busy machine the other one, or this one before, may have been late at one of them."""
                at = len(self.manager.listen())
                time.sleep(0.5)
                return not any("WATCHDOG" in message for _, message in self.manager.listen()[at:])

            wait_for(is_unfed, "the watchdog to be fed no more")
            self.assertRegex(loom.log(), r"worker \d does not turn: the watchdog is not fed")
            at = len(self.manager.heard)
        finally:
            held.release()
        self.manager.waits_for("WATCHDOG", at)
        self.assertIn("all workers turn again", loom.log())

    def thread(self, loom, name):
        task, = [task for task, its, _ in loom.threads() if its == name]
        return task

    def test_a_watchdog_of_others_is_not_fed(self):
        loom = self.begin_with(WATCHDOG_USEC="100000", WATCHDOG_PID="1")
        self.manager.waits_for("READY")
        time.sleep(0.3)
        loom.signal(signal.SIGTERM)
        self.manager.waits_for("STOPPING")
        loom.wait_exit()
        self.assertEqual([message for _, message in self.manager.listen() if "WATCHDOG" in message], [])

    def test_no_manager_no_harm(self):
        for path, said in (("/nonexistent/notify", ""), ("relative", "NOTIFY_SOCKET=relative"),
                           ("/" + "x" * 200, "the service manager is told nothing"), ("@", "NOTIFY_SOCKET=@")):
            loom = self.begin(env={"NOTIFY_SOCKET": path})
            self.assertEqual(loom.get("/").status, 200)
            self.assertIn(said, loom.log())
            loom.signal(signal.SIGTERM)
            loom.wait_exit()


class Live(UpgradeCase):
    """SIGHUP."""
    matrix = "backends"
    cost = 4

    def configure(self, text):
        self.file = getattr(self, "file", None) or os.path.join(self.directory(), "loom.conf")
        with open(self.file, "w", encoding="ascii") as file:
            file.write(text)

    def begin_with(self, text, *arguments, **more):
        self.file = None
        self.configure(text)
        return self.begin(f"--config={self.file}", *arguments, **more)

    def reread(self):
        """What was logged about it, up to the end of the rebuild."""
        seen = len(self.loom.log())
        self.loom.signal(signal.SIGHUP)
        wait_for(lambda: "rebuilding on SIGHUP" in self.loom.log()[seen:], "SIGHUP")
        self.ctl("reload")  # behind ours
        return self.loom.log()[seen:]

    def closes(self):
        return self.loom.get("/").closes

    def test_what_changes_takes_effect(self):
        loom = self.begin_with("keepalive-timeout = 1h\n")
        self.assertIn("nothing has changed", self.reread())
        with loom.client() as client:
            self.kept(client)
            self.configure("keepalive-timeout = 1h\nmax-requests = 1\nmax-head = 4k\nmax-request-line = 1k\n")
            said = self.reread()
            self.assertIn("in effect now: max-request-line, max-head, max-requests\n", said)
            self.assertTrue(client.ask("/").closes)  # on a connection that was there before, too
        self.assertTrue(self.closes())
        self.assertEqual(loom.get("/?" + "x" * 2000).status, 414)
        self.assertEqual(loom.get("/", "X: " + "x" * 5000).status, 431)
        self.configure("keepalive-timeout = 100ms\n")
        self.assertIn("in effect now: keepalive-timeout, max-request-line, max-head, max-requests\n", self.reread())
        with loom.client() as client:
            self.assertFalse(client.ask("/").closes)
            client.expect_end()

    def test_the_same_in_other_words(self):
        self.begin_with("header-timeout = 5s\nmax-body = 64k\n")
        self.configure("# a comment\nheader-timeout = 5000ms\n")
        self.assertIn("nothing has changed", self.reread())

    def test_a_broken_file_changes_nothing(self):
        self.begin_with("max-requests = 1\n")
        for broken, said in (("max-requests = many\n", ":1: max-requests: "), ("\nmax-requets = 2\n", ":2: unknown"),
                             ("max-requests = 2\nmax-head = 1\n", ":2: max-head: ")):
            self.configure(broken)
            text = self.reread()
            self.assertIn(self.file + said, text)
            self.assertIn("; all settings stay as they were", text)
            self.assertTrue(self.closes())
        os.unlink(self.file)
        self.assertIn("all settings stay as they were", self.reread())
        self.configure("max-requests = 0\n")
        self.assertIn("in effect now: max-requests\n", self.reread())
        self.assertFalse(self.closes())

    def test_what_takes_an_upgrade_is_said(self):
        self.begin_with("cache-control = no-store\n")
        self.configure("cache-control = max-age=60\nindex = main.html\nmax-requests = 1\n")
        for _ in range(2):
            text = self.reread()
            self.assertIn("needs an upgrade (loomctl upgrade, SIGUSR2) or a restart: index, cache-control\n", text)
        self.assertEqual(self.loom.get("/")["cache-control"], "no-store")
        self.assertTrue(self.closes())
        write(self.root, "main.html", b"main")
        self.has_ended(self.upgrade())
        self.assertEqual(self.loom.get("/")["cache-control"], "max-age=60")
        self.assertIn("nothing has changed", self.reread())

    def test_the_command_line_still_wins(self):
        self.begin_with("max-requests = 1\n", "--max-requests=0")
        self.configure("max-requests = 2\n")
        self.assertIn("nothing has changed", self.reread())
        self.assertFalse(self.closes())

    def test_messages_and_the_gate(self):
        site = os.path.join(self.directory(), "root")
        write(site, "index.html", b"home")
        loom = self.begin_with("", root=site)
        os.unlink(os.path.join(site, "index.html"))
        self.loom.signal(signal.SIGHUP)
        wait_for(lambda: "the gate refuses" in loom.log(), "a refusal")
        self.configure("gate = none\nverbose = yes\n")
        self.loom.signal(signal.SIGHUP)
        wait_for(lambda: loom.get("/").status == 404, "the tree without its index")
        self.assertIn("in effect now: gate, verbose\n", loom.log())
        wait_for(lambda: ", 0 files, " in loom.log(), "the line about it, which follows the answers")
        self.configure("gate = none\nquiet = yes\nmax-requests = 1\n")
        seen = len(loom.log())
        self.loom.signal(signal.SIGHUP)
        wait_for(self.closes, "the file to be in effect, of which nothing is said")
        self.ctl("reload")
        write(site, "index.html", b"again")
        self.ctl("reload")
        self.assertNotIn("snapshot", loom.log()[seen:])

    def test_without_a_file_the_tree_is_read(self):
        self.begin()
        said = self.reread()
        self.assertNotIn("is read again", said)


class Units(Case):
    """dist/systemd."""
    matrix = "once"
    home = pathlib.Path(__file__).resolve().parents[2] / "dist" / "systemd"

    def ask(self, *arguments):
        if not shutil.which("systemd-analyze"):
            if os.environ.get("LOOM_REQUIRE_CLIENTS"):
                self.fail("systemd-analyze is missing")
            self.skipTest("no systemd-analyze")
        done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, timeout=BOUND, check=False)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    def test_they_are_right(self):
        place = self.directory()
        for name in ("loom.service", "loom.socket"):
            text = (self.home / name).read_text(encoding="ascii").replace("/usr/bin/loom", BINARY)
            pathlib.Path(place, name).write_text(text, encoding="ascii")
        status, said = self.ask("verify", "--man=no", f"{place}/loom.service", f"{place}/loom.socket")
        self.assertEqual((status, said), (0, ""))

    def test_the_service_is_contained(self):
        status, said = self.ask("security", "--offline=true", "--threshold=20", "--no-pager",
                                str(self.home / "loom.service"))
        self.assertEqual(status, 0, said.splitlines()[-1])
        self.note(said.splitlines()[-1].encode("ascii", "ignore").decode().strip())
