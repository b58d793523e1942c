"""Inside the sandbox: all that a server does goes on, on every backend, and what it says of it is true."""
import errno
import functools
import os
import shutil
import stat
import subprocess

from case import Case, noise, stamped, write
from client import BOUND
from server import BINARY, deny, environment, libc, run, sanitized, wait_for
from test_admin import LOOMCTL

SECCOMP, CAPSET = (317, 126) if os.uname().machine == "x86_64" else (277, 91)
LANDLOCK_CREATE_RULESET = 444
PR_SET_SECUREBITS, SECBIT_NOROOT = 28, 1
NOBODY = 65534


@functools.cache
def lacking():
    """Why --sandbox=on cannot be had here, or None."""
    status, _, err = run(["--test", "--sandbox=on", "--listen=127.0.0.1:0", os.path.dirname(__file__)])
    return err.strip().splitlines()[-1] if status else None


class Contained(Case):
    """With --sandbox=on, so that a test which passes has passed inside."""

    def setUp(self):
        why = lacking()
        if why:
            self.skipTest(why)

    def contained(self, *arguments, **more):
        return self.start("--sandbox=on", "--settle=20ms", *arguments, **more)

    def becomes(self, server, target, body):
        wait_for(lambda: server.get(target).body == body, f"{target} to be {body[:40]!r}; the log: {server.log()}")


class Serving(Contained):
    matrix = "backends"
    cost = 4

    def test_changes_are_seen(self):
        root = self.directory()
        write(root, "index.html", b"one")
        server = self.contained(root=root)
        self.assertEqual(server.get("/").body, b"one")
        write(root, "index.html", b"two")
        self.becomes(server, "/", b"two")
        write(root, "new/deep/file.txt", b"in a new directory")
        self.becomes(server, "/new/deep/file.txt", b"in a new directory")
        write(root, "new/deep/file.txt", b"and later")
        self.becomes(server, "/new/deep/file.txt", b"and later")
        server.signal(1)
        wait_for(lambda: "rebuilding on SIGHUP" in server.log(), "the line of SIGHUP")
        for at in range(60):  # as many as several threads read
            write(root, f"many/{at}.txt", stamped(at, 2000))
        self.becomes(server, "/many/59.txt", stamped(59, 2000))

    def test_releases_are_switched(self):
        base = self.directory()
        for release in "41", "42":
            write(base, f"site/releases/{release}/index.html", release.encode())
        write(base, "elsewhere/index.html", b"elsewhere")
        link = os.path.join(base, "site/current")

        def switch(target):
            os.symlink(target, link + ".next")
            os.rename(link + ".next", link)

        switch("releases/41")
        server = self.contained(root=link)
        self.assertEqual(server.get("/").body, b"41")
        switch("releases/42")
        self.becomes(server, "/", b"42")
        # where nothing was foreseen: the old snapshot stays, and the log says what to do
        switch("../elsewhere")
        wait_for(lambda: "--sandbox-read" in server.log(), "a word about --sandbox-read")
        self.assertEqual(server.get("/").body, b"42")
        switch("releases/41")
        self.becomes(server, "/", b"41")
        server = self.contained(f"--sandbox-read={base}/elsewhere", root=link)
        switch("../elsewhere")
        self.becomes(server, "/", b"elsewhere")

    def test_another_directory_takes_its_place(self):
        base = self.directory()
        write(base, "www/index.html", b"old")
        write(base, "next/index.html", b"new")
        server = self.contained(root=os.path.join(base, "www"))
        os.rename(os.path.join(base, "www"), os.path.join(base, "before"))
        os.rename(os.path.join(base, "next"), os.path.join(base, "www"))
        self.becomes(server, "/", b"new")

    def test_links_that_lead_elsewhere(self):
        base = self.directory()
        write(base, "site/www/index.html", b"home")
        write(base, "shared/logo.svg", b"<svg/>")
        os.symlink("../../shared/logo.svg", os.path.join(base, "site/www/logo.svg"))
        os.symlink("../../shared", os.path.join(base, "site/www/shared"))
        root = os.path.join(base, "site/www")
        server = self.contained("--symlinks=follow", root=root)
        self.assertEqual(server.get("/").body, b"home")
        self.assertEqual(server.get("/logo.svg").status, 404)
        for name in "logo.svg", "shared":
            self.assertRegex(server.log(), rf"(?m)^loom: {name}: left out: .*--sandbox-read")
        server = self.contained("--symlinks=follow", f"--sandbox-read={base}/shared", root=root)
        self.assertEqual(server.get("/logo.svg").body, b"<svg/>")
        self.assertEqual(server.get("/shared/logo.svg").body, b"<svg/>")

    def test_the_cache_is_written_and_used(self):
        base = self.directory()
        cache = os.path.join(base, "cache")
        text = b"a line that comes again and again\n" * 400
        write(base, "www/one.txt", text)

        def kept():
            return sum(not name.startswith(".new") for _, _, names in os.walk(cache) for name in names)

        def compressed(server, target):
            return server.get(target, "Accept-Encoding: br")["content-encoding"] == "br"

        server = self.contained(f"--cache-dir={cache}", root=os.path.join(base, "www"))
        wait_for(lambda: compressed(server, "/one.txt"), "a compressed answer")
        wait_for(lambda: kept() >= 3, "three kept variants")
        write(base, "www/two.txt", text[1:])
        wait_for(lambda: compressed(server, "/two.txt"), "a compressed answer")
        wait_for(lambda: kept() >= 6, "three more")
        server.stop()
        server = self.contained(f"--cache-dir={cache}", root=os.path.join(base, "www"))
        wait_for(lambda: compressed(server, "/two.txt"), "a compressed answer")

    def test_loomctl(self):
        root, path = self.directory(), os.path.join(self.directory(), "admin")
        write(root, "index.html", b"one")
        server = self.contained(f"--admin=unix:{path}", "--watch=off", root=root)

        def ctl(*words):
            done = subprocess.run([LOOMCTL, "-s", f"unix:{path}", *words], capture_output=True, timeout=BOUND, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            return done.stdout.decode()

        write(root, "index.html", b"two")
        self.assertIn("is live", ctl("reload"))
        self.assertEqual(server.get("/").body, b"two")
        self.assertIn("switched to", ctl("rollback"))
        self.assertEqual(server.get("/").body, b"one")
        ctl("unpin")
        self.becomes(server, "/", b"two")
        self.assertIn("pid:", ctl("status"))
        server.stop()
        self.assertFalse(os.path.exists(path), "the socket is removed")

    def test_streamed_files(self):
        root = self.directory()
        body = noise(7, 6 << 20)
        write(root, "big.bin", body)
        server = self.contained("--stream-above=0", "--keep-generations=0", root=root)
        self.assertEqual(server.get("/big.bin").body, body)
        with open(os.path.join(root, "big.bin"), "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, as far as that is one
        self.assertEqual(server.get("/big.bin").body, body)
        self.assertEqual(server.get("/big.bin", "Range: bytes=5000000-").body, body[5000000:])
        self.assertEqual(server.get("/big.bin", "Range: bytes=-10").body, body[-10:])
        write(root, "big.bin", body[::-1])
        self.becomes(server, "/big.bin", body[::-1])

    def test_a_unix_socket(self):
        path = os.path.join(self.directory(), "sock")
        server = self.contained(listen=(f"unix:{path}",))
        self.assertEqual(server.get("/").status, 200)
        server.stop()
        self.assertFalse(os.path.exists(path), "the socket is removed")

    def test_what_the_kernel_says(self):
        """From outside: every thread has its filters, and no right that it does not need."""
        root, path = self.directory(), os.path.join(self.directory(), "admin")
        write(root, "index.html", b"<p>" + b"x" * 5000)
        server = self.contained(f"--admin=unix:{path}", root=root, workers=2)
        # Two of the process, and those of each kind; threads of the lowest priority come to theirs late.
        wanted = {"loom": 3, "loom-worker-0": 4, "loom-worker-1": 4, "loom-reload": 3, "loom-admin": 3, "loom-variants": 3}
        if self.backend == "epoll":
            wanted |= {f"loom-disk-{at}": 3 for at in range(4)}

        def threads():
            every = [thread_status(server.pid, task) for task in os.listdir(f"/proc/{server.pid}/task")]
            return [one for one in every if not one["Name"].startswith("iou-")]  # the kernel's, of a ring

        wait_for(lambda: all(int(one.get("Seccomp_filters", 9)) >= wanted[one["Name"]] for one in threads()),
                 "each thread's filters")
        self.assertEqual({one["Name"] for one in threads()}, set(wanted))
        for status in threads():
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), status["Name"])
            self.assertEqual((int(status["CapInh"], 16), int(status["CapAmb"], 16)), (0, 0))
            self.assertEqual(int(status["CapEff"], 16) & ~(1 << 1 | 1 << 2 | 1 << 14 | 1 << 23), 0)
            if os.getuid() == 0:
                self.assertEqual(int(status["CapBnd"], 16), 0)
        self.assertRegex(server.log(), r"(?m)^loom: sandbox: no new privileges, Landlock ABI \d+ \(reads \S+; removes sockets in "
                                       r"\S+\), seccomp" + (", ring restrictions" if self.backend == "io_uring" else ""))


def thread_status(pid, task):
    with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class OtherUser(Contained):
    """--user: bound by root, served by nobody."""
    matrix = "backends"
    cost = 2

    def setUp(self):
        super().setUp()
        if os.getuid() != 0:
            self.skipTest("only root can become another user")

    def test_nobody_serves(self):
        base = self.directory()
        write(base, "www/index.html", b"a page" * 1000)
        os.mkdir(os.path.join(base, "run"))
        path = os.path.join(base, "run", "admin")
        cache = os.path.join(base, "cache")
        server = self.contained(f"--user={NOBODY}", f"--group={NOBODY}", f"--admin=unix:{path}", f"--cache-dir={cache}",
                                root=os.path.join(base, "www"))
        for task in os.listdir(f"/proc/{server.pid}/task"):
            status = thread_status(server.pid, task)
            self.assertEqual(status["Uid"].split(), [str(NOBODY)] * 4)
            self.assertEqual(status["Gid"].split(), [str(NOBODY)] * 4)
            self.assertEqual(status["Groups"].split() or [str(NOBODY)], [str(NOBODY)])
            for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
                self.assertEqual(int(status[name], 16), 0, name)
        for made in path, cache:
            self.assertEqual((os.stat(made).st_uid, os.stat(made).st_gid), (NOBODY, NOBODY))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        write(base, "www/index.html", b"another" * 1000)
        self.becomes(server, "/", b"another" * 1000)
        wait_for(lambda: any(names for _, _, names in os.walk(cache)), "something in the cache")
        self.assertRegex(server.log(), rf"(?m)^loom: sandbox: user {NOBODY}, group {NOBODY}, no new privileges")

    def test_what_nobody_cannot_reach(self):
        base = self.directory()
        write(base, "www/index.html", b"a page")
        os.chmod(os.path.join(base, "www"), 0o700)
        status, _, err = run([f"--user={NOBODY}", f"--group={NOBODY}", "--listen=127.0.0.1:0", f"--backend={self.backend}",
                              os.path.join(base, "www")])
        self.assertEqual(status, 1)
        self.assertRegex(err, rf"\Aloom: user {NOBODY}, group {NOBODY} cannot read ROOT[^\n]*Permission denied[^\n]*\n\Z")


class Words(Case):
    """What is in force is said, and what cannot be had."""
    matrix = "once"
    cost = 2

    def test_off(self):
        server = self.start("--sandbox=off")
        self.assertIn("loom: sandbox: off\n", server.log())
        self.assertEqual(server.get("/").status, 200)
        self.assertEqual(thread_status(server.pid, server.pid)["NoNewPrivs"], "0")

    def test_mistakes(self):
        for arguments, status, words in (
                (["--sandbox=maybe"], 2, "--sandbox"), (["--user="], 2, "--user"), (["--group="], 2, "--group"),
                (["--user=no-such-user"], 1, "there is no user 'no-such-user'"),
                (["--group=no-such-group"], 1, "there is no group 'no-such-group'"),
                (["--user=4000000"], 1, "give it one by --group")):
            for mode in [], ["--test"]:
                got, _, err = run([*mode, *arguments, "--listen=127.0.0.1:0", self.root])
                self.assertEqual(got, status, err)
                self.assertRegex(err, r"\Aloom: [^\n]*" + words + r"[^\n]*\n\Z")
        if not sanitized():
            got, _, err = run(["--sandbox-read=/no/where", "--listen=127.0.0.1:0", self.root])
            self.assertEqual(got, 1)
            self.assertRegex(err, r"\Aloom: --sandbox-read: cannot open /no/where: No such file[^\n]*\n\Z")

    def test_what_the_kernel_lacks(self):
        if lacking():
            self.skipTest(lacking())
        for denied, error, name in ((LANDLOCK_CREATE_RULESET, errno.EOPNOTSUPP, "Landlock: it is not switched on"),
                                    (LANDLOCK_CREATE_RULESET, errno.ENOSYS, "Landlock: this kernel is built without"),
                                    (LANDLOCK_CREATE_RULESET, errno.EPERM, "Landlock: Operation not permitted"),
                                    (SECCOMP, errno.EPERM, "seccomp: Operation not permitted")):
            with self.subTest(name):
                before = lambda: deny(denied, error)  # noqa: E731
                server = self.start("--sandbox=auto", before_exec=before)
                self.assertEqual(server.get("/").status, 200)
                self.assertRegex(server.log(), rf"(?m)^loom: sandbox: no new privileges, .*; not: {name}")
                for mode in [], ["--test"]:
                    status, _, err = run([*mode, "--sandbox=on", "--listen=127.0.0.1:0", self.root], before_exec=before)
                    self.assertEqual(status, 1)
                    self.assertRegex(err, rf"\Aloom: [^\n]*--sandbox=on cannot be had: {name}[^\n]*\n\Z")

    def test_nothing_to_give_up(self):
        """As a service manager starts us: without capabilities, and with a filter that denies to change them."""
        def bare():
            if os.getuid() == 0:
                libc.prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0)  # root gets none at exec
            deny(CAPSET, errno.EPERM)

        server = self.start(before_exec=bare)
        self.assertEqual(server.get("/").status, 200)
        self.assertEqual(int(thread_status(server.pid, server.pid)["CapPrm"], 16), 0)

    def test_sanitizers_and_valgrind(self):
        """They need system calls of their own: auto is off there, with a word, and on is refused."""
        program = [BINARY]
        if not sanitized():
            if not shutil.which("valgrind"):
                self.skipTest("no valgrind here")
            program = ["valgrind", "--quiet", BINARY]
        done = subprocess.run([*program, "--test", "--sandbox=on", "--listen=127.0.0.1:0", "--backend=epoll", self.root],
                              env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=BOUND, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"--sandbox=on cannot be had: [^\n]*(sanitizer|valgrind)")
        if sanitized():
            server = self.start()
            self.assertRegex(server.log(), r"(?m)^loom: sandbox: off; not: [^\n]*(sanitizer|valgrind)")
