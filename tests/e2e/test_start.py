"""The command line, the addresses, and what happens where the kernel withholds io_uring."""
import errno
import os
import resource
import socket
import subprocess
import unittest

from case import Case, noise, write
from client import BOUND, Client, Ended
from server import IO_URING_ENTER, IO_URING_REGISTER, IO_URING_SETUP, command, deny, environment, run, wait_for


class CommandLine(Case):
    """Mistakes: one line that says what is wrong, and the right exit status."""
    matrix = "once"
    cost = 2

    def fails(self, status, *arguments, says=(), env=None, before_exec=None):
        got, out, err = run(arguments, env=env, before_exec=before_exec)
        self.assertEqual(got, status, f"loom {' '.join(arguments)}: {err}")
        self.assertEqual(out, "")
        self.assertRegex(err, r"\Aloom: [^\n]+\n\Z", f"one line, from loom {' '.join(arguments)}")
        for word in says:
            self.assertIn(word, err)

    def test_unknown_options(self):
        self.fails(2, "--frobnicate", self.root, says=["frobnicate"])
        self.fails(2, "-Z", self.root, says=["Z"])
        self.fails(2, "--hidden=5", self.root, says=["hidden"])
        self.fails(2, "--settle", says=["settle"])
        self.fails(2, self.root, self.root)

    def test_bad_values(self):
        for option, values in {
                "workers": ("0", "-1", "x", "1x", "", "99999999999"), "backend": ("kqueue", ""),
                "keepalive-timeout": ("abc", "-5s", "5 s", "5d", ""), "header-timeout": ("1.5.1",),
                "send-timeout": ("99999999999999999999s",), "grace": ("s",), "settle": ("fast",),
                "max-connections": ("0", "-1", "many", "99999999999999999999"), "max-memory": ("12Q", "-1", "M", ""),
                "when-full": ("429", ""), "max-connections-per-ip": ("-1", "65536"), "min-send-rate": ("x",),
                "min-recv-rate": ("4G",), "recv-window": ("0",), "max-unsent": ("-1",),
                "symlinks": ("maybe", ""),
                "listen": ("nonsense", "127.0.0.1:99999", "127.0.0.1:", "1.2.3:80",
                                                      "unix:", "[::1:80", "::1:80", "localhost:http"),
                "port": ("-1", "65536", "http")}.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.fails(2, f"--{option}={value}", self.root, says=[option])

    def test_environment(self):
        self.fails(2, self.root, env={"LOOM_WORKERS": "zzz"}, says=["LOOM_WORKERS", "zzz"])
        self.fails(2, self.root, env={"LOOM_KEEPALIVE_TIMEOUT": "zzz"}, says=["LOOM_KEEPALIVE_TIMEOUT"])
        server = self.start(env={"LOOM_HIDDEN": "1", "LOOM_WORKERS": "zzz", "LOOM_INDEX": "other.html"}, workers=1)
        self.assertEqual(server.get("/").status, 404)

    def test_directories(self):
        self.fails(1, "--listen=127.0.0.1:0", os.path.join(self.root, "missing"), says=["missing", "No such file"])
        self.fails(1, "--listen=127.0.0.1:0", os.path.join(self.root, "index.html"), says=["index.html"])

    def test_busy_ports(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for workers in (1, 2):
                self.fails(1, f"--workers={workers}", f"--listen=127.0.0.1:{port}", self.root, says=[str(port)])
        # another loom, which shares its port between its own workers only
        for workers in (1, 2):
            server = self.start(workers=workers)
            for others in (1, 2):
                self.fails(1, f"--workers={others}", f"--listen=127.0.0.1:{server.address[1]}", self.root,
                           says=[str(server.address[1]), "in use"])
            self.assertEqual(server.get("/").status, 200)
        path = os.path.join(self.directory(), "sock")
        server = self.start(listen=(f"unix:{path}",))
        self.fails(1, f"--listen=unix:{path}", self.root, says=[path])
        self.assertEqual(server.get("/").status, 200)

    def test_a_tree_that_does_not_fit(self):
        root = self.directory()
        write(root, "big.bin", noise(1, 4 << 20))
        self.fails(1, "--listen=127.0.0.1:0", "--max-memory=1M", "--stream-above=off", root, says=["max-memory"])

    def test_help_and_version(self):
        for argument in ("--help", "-h"):
            status, out, err = run([argument])
            self.assertEqual((status, err), (0, ""))
            for option in ("listen", "port", "backend", "workers", "keepalive-timeout", "header-timeout",
                           "send-timeout", "max-connections", "max-memory", "index", "hidden", "symlinks", "settle",
                           "watch", "settle-max", "stream-above", "keep-generations", "keep-for", "admin", "metrics", "health",
                           "snapshot-header", "drain-delay", "grace", "user", "group", "sandbox", "sandbox-read", "version", "help"):
                self.assertIn("--" + option, out)
        status, out, err = run(["--version"])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"\Aloom \d+\.\d+")
        for word in ("llhttp", "uring"):
            self.assertIn(word, out)

    def test_quiet(self):
        path = os.path.join(self.directory(), "sock")
        process = subprocess.Popen(command(["-q", f"--listen=unix:{path}", self.root]), stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, env=environment())
        try:
            def served():
                try:
                    with Client(path) as client:
                        return client.ask("/").status == 200
                except (OSError, Ended):
                    return False

            wait_for(served, "an answer")
            process.terminate()
            _, err = process.communicate(timeout=BOUND)
            self.assertEqual((process.returncode, err), (0, b""))
        finally:
            process.kill()
            process.wait()


class StartUpLines(Case):
    """What a person reads first."""

    def test_they_tell_what_matters(self):
        write(self.root, "x.txt", b"12345")
        server = self.start()
        wait_for(lambda: "; ready" in server.log(), "the last line")
        log = server.log()
        for words in (self.backend, rf"\b{self.workers} worker", r"snapshot [A-Za-z0-9_-]{22}\b", r"\b2 files\b",
                      r"bytes|KiB", r"\bms\b", r"listening on http://127\.0\.0\.1:\d+/"):
            self.assertRegex(log, words)
        for line in log.splitlines():
            self.assertTrue(line.startswith("loom: "), line)

    def test_dual_stack(self):
        server = self.start(listen=("[::]:0",))
        port = server.address[1]
        with Client(("127.0.0.1", port)) as client:
            self.assertEqual(client.ask("/").status, 200)
        if not ipv6():
            raise unittest.SkipTest("no IPv6 here")
        with Client(("::1", port)) as client:
            self.assertEqual(client.ask("/").status, 200)
        server = self.start(listen=("[::1]:0", ":0"))
        for address in ("::1", server.addresses[0][1]), ("127.0.0.1", server.addresses[1][1]):
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)

    def test_several_addresses(self):
        server = self.start(listen=("127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"))
        for address in server.addresses * 5:
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)


class FallBack(Case):
    """Where io_uring is withheld, auto serves by epoll and says why; asked for by name it is an error that explains."""
    matrix = "once"
    cost = 2

    def falls_back(self, before_exec, *words):
        server = self.start(backend="auto", before_exec=before_exec)
        self.assertEqual(server.get("/").status, 200)
        log = server.log()
        self.assertRegex(log, r"epoll")
        why = [line for line in log.splitlines() if "io_uring" in line]
        self.assertTrue(why, "a line that says why not io_uring")
        for word in words:
            self.assertRegex(" ".join(why), word)
        status, out, err = run(["--backend=io_uring", "--listen=127.0.0.1:0", self.root], before_exec=before_exec)
        self.assertEqual((status, out), (1, ""), err)
        self.assertRegex(err, r"(\A|\n)loom: [^\n]*io_uring[^\n]*\n\Z", "the last line explains")
        for word in words:
            self.assertRegex(err, word)
        server = self.start(backend="epoll", before_exec=before_exec)
        self.assertEqual(server.get("/").status, 200)

    def test_setup_denied(self):
        self.falls_back(lambda: deny(IO_URING_SETUP, errno.EPERM), "Operation not permitted|EPERM",
                        "seccomp|denied|disabled")

    def test_setup_missing(self):
        self.falls_back(lambda: deny(IO_URING_SETUP, errno.ENOSYS), "not implemented|ENOSYS|no io_uring")

    def test_enter_denied(self):
        self.falls_back(lambda: deny(IO_URING_ENTER, errno.EPERM), "Operation not permitted|EPERM", "seccomp|denied")

    def test_register_denied(self):
        self.falls_back(lambda: deny(IO_URING_REGISTER, errno.EPERM), "Operation not permitted|EPERM")

    def test_no_locked_memory_as_an_ordinary_user(self):
        nobody = 65534

        def drop():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(nobody)
                os.setuid(nobody)

        try:
            run(["--version"], before_exec=drop)
        except (PermissionError, subprocess.SubprocessError, FileNotFoundError) as error:
            raise unittest.SkipTest(f"an ordinary user cannot run the binary where it lies: {error}") from None
        server = self.start(backend="auto", workers=2, before_exec=drop)
        self.assertEqual(server.get("/").status, 200)
        # by name: an error for want of memory, or, where memory for rings is not counted so, of a free port
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            status, _, err = run(["--backend=io_uring", f"--listen=127.0.0.1:{port}", self.root], before_exec=drop)
            self.assertEqual(status, 1, err)
            self.assertRegex(err, rf"memlock|locked memory|:{port}")


def ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


