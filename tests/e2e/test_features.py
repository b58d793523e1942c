"""--uring and --epoll: what is in effect is told wherever people look, and what cannot be had is an error in one line."""
import os
import re
import signal
import subprocess

import server
from case import Case, noise, write
from server import run, wait_for
from test_admin import LOOMCTL


def ctl(path, *words):
    return subprocess.run([LOOMCTL, "-s", f"unix:{path}", *words], capture_output=True, text=True, timeout=60,
                          check=True).stdout


class Told(Case):
    matrix = "backends"

    def features(self):
        """An option and a list for this backend, and a part of what is in effect then."""
        if self.backend == "epoll":
            return "--epoll", "trigger=level,no-exclusive", "trigger=level,read=short,write=first,no-exclusive"
        return "--uring", "recv=oneshot,buf-size=1K", "recv=oneshot,buf-count=512,buf-size=1K"

    def test_at_start_in_the_status_and_by_version(self):
        option, text, effect = self.features()
        admin = f"{self.directory()}/admin"
        loom = self.start(option, text, f"--admin=unix:{admin}")
        self.assertIn(effect, re.search(r"loom: backend (.*)", loom.log())[1])
        self.assertIn(effect, re.search(r"backend: (.*)", ctl(admin, "status"))[1])
        status, out, err = run(["--version", "-v", option, text])
        self.assertEqual((status, err), (0, ""))
        for one in text.split(","):
            self.assertRegex(out, rf"(?m)^  {re.escape(one)} ")
        self.assertEqual(loom.get("/").status, 200)

    def test_what_the_log_says_is_read_again(self):
        option, text, _ = self.features()
        loom = self.start(option, text)
        list_of = re.compile(r"loom: backend .*\(([a-z][^ ()]*=[^ ()]*)\)")
        effect = list_of.search(loom.log())[1]
        again = self.start(option, effect)
        self.assertEqual(list_of.search(again.log())[1], effect)

    def test_mistakes(self):
        option, _, _ = self.features()
        for text, part in (("frob", "there is no feature 'frob' (there are "), ("", "there is no feature ''")):
            status, _, err = run([f"--backend={self.backend}", option, text, self.root])
            self.assertEqual(status, 2)
            self.assertIn(f"loom: {option}: {part}", err)
            self.assertEqual(err.count("\n"), 1)

    def test_by_file_and_environment(self):
        option, text, effect = self.features()
        path = f"{self.directory()}/loom.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{option[2:]} = {text}\n")
        self.assertIn(effect, self.start(f"--config={path}").log())
        loom = self.start(env={f"LOOM_{option[2:].upper()}": text})
        self.assertIn(effect, loom.log())

    def test_features_of_the_other_backend_are_read_and_do_nothing(self):
        other, text = ("--uring", "recv=poll") if self.backend == "epoll" else ("--epoll", "trigger=level")
        loom = self.start(other, text)
        self.assertEqual(loom.get("/").status, 200)
        self.assertNotIn(text, loom.log())


class Refused(Case):
    """What does not go together is no reason to take another backend, or to serve in another way than was asked for."""
    matrix = "once"

    def test_what_does_not_go_together(self):
        if server.VALGRIND or "io_uring" not in os.environ.get("LOOM_REQUIRE_BACKENDS", "io_uring"):
            self.skipTest("needs io_uring")
        for arguments in ([], ["--backend=io_uring"], ["--test"]):
            status, _, err = run([*arguments, "--listen=127.0.0.1:0", "--uring", "sqpoll,taskrun=defer", self.root])
            self.assertEqual(status, 1, err)
            self.assertIn("loom: --uring: sqpoll needs taskrun=none: completions run on the kernel's thread\n", err)


class ZeroCopy(Case):
    """Lent memory: a snapshot stays while clients have not taken all of it, whatever becomes of tree and connections."""
    matrix = "backends"

    @classmethod
    def plant(cls, root):
        super().plant(root)
        write(root, "large.bin", noise(1, 3 << 20))
        write(root, "small.txt", b"small")

    def start_lending(self, *arguments, uring="zc=on,zc-min=16K", **more):
        if self.backend == "epoll":
            self.skipTest("io_uring alone has it")
        admin = f"{self.directory()}/admin"
        loom = self.start(f"--uring={uring}", "--settle=0", "--keep-generations=0", "--max-unsent=0",
                          f"--admin=unix:{admin}", *arguments, **more)
        return loom, admin

    def figure(self, admin, name):
        return sum(float(line.split()[-1]) for line in ctl(admin, "metrics").splitlines() if line.startswith(name))

    def test_whole_answers_and_the_next_request(self):
        loom, admin = self.start_lending()
        for _ in range(3):
            with loom.client() as client:
                self.assertEqual(client.ask("/large.bin").body, noise(1, 3 << 20))
                self.assertEqual(client.ask("/small.txt").body, b"small")
        self.assertGreater(self.figure(admin, "loom_io_uring_zc_sends_total"), 0)

    def test_answers_from_registered_memory(self):
        # More than the client's socket takes lies in loom's, unread, as it was written, while what is answered next is
        # written elsewhere; and as much as there is registered memory for, twice.
        pages = 40
        for page in range(pages):
            write(self.root, f"{page}.png", noise(100 + page, 3000 + page))
        loom, admin = self.start_lending(uring="zc=fixed,zc-min=16K")
        asked = [number % pages for number in range(400)]
        with loom.client(rcvbuf=4096) as slow:
            for page in asked:
                slow.send(f"GET /{page}.png HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_for(lambda: self.figure(admin, "loom_io_uring_zc_sends_total") >= 20, "sends from registered memory")
            with loom.client() as other:  # is served meanwhile, from memory that is not lent
                for page in range(pages):
                    self.assertEqual(other.ask(f"/{page}.png").body, noise(100 + page, 3000 + page))
                self.assertEqual(other.ask("/large.bin").body, noise(1, 3 << 20))
            for page in asked:
                self.assertEqual(slow.response().body, noise(100 + page, 3000 + page))
        for _ in range(3):  # cut off while it is lent: outputs come back all the same
            with loom.client() as client:
                client.send(b"GET /1.png HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        self.assertEqual(loom.get("/2.png").body, noise(102, 3002))

    def test_an_abort_while_registered_memory_is_lent(self):
        # What the kernel may still read when all is cut off is not freed: the system takes it back with the process.
        loom, admin = self.start_lending(uring="zc=fixed,zc-min=16K", env={"ASAN_OPTIONS": "detect_leaks=0:exitcode=99"})
        write(self.root, "one.png", noise(7, 4000))
        wait_for(lambda: loom.get("/one.png").status == 200, "the new file", step=0.05)
        with loom.client(rcvbuf=4096) as slow:
            for _ in range(400):
                slow.send(b"GET /one.png HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: self.figure(admin, "loom_io_uring_zc_sends_total") >= 20, "sends from registered memory")
            loom.signal(signal.SIGTERM)
            wait_for(lambda: "loom: draining" in loom.log(), "draining")
            loom.signal(signal.SIGTERM)
            loom.wait_exit()

    def test_a_deploy_under_a_slow_reader(self):
        loom, admin = self.start_lending()
        with loom.client() as client:
            client.send(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\nGET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: self.figure(admin, "loom_io_uring_zc_sends_total") > 0, "a send without a copy")
            for round_ in range(3):
                write(self.root, "large.bin", noise(2 + round_, 3 << 20))
                wait_for(lambda: loom.get("/large.bin").body == noise(2 + round_, 3 << 20), "the new file", step=0.05)
            self.assertEqual(client.response().body, noise(1, 3 << 20))
            self.assertEqual(client.response().body, b"small")
        write(self.root, "large.bin", noise(1, 3 << 20))
