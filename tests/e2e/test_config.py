"""The configuration file, --test and --dump-config, as a user meets them."""
import os
import re
import signal
import socket
import subprocess

from case import Case, noise, write
from client import BOUND, Client
from server import LISTENING, command, environment, run


def text(*lines):
    return "".join(line + "\n" for line in lines).encode()


class File(Case):
    """Settings of a file are in effect, and its mistakes are told with their line."""
    matrix = "once"
    cost = 2

    def setUp(self):
        self.place = self.directory()
        self.path = os.path.join(self.place, "loom.conf")
        os.mkdir(os.path.join(self.place, "site"))
        write(os.path.join(self.place, "site"), "home.htm", b"by the file")

    def put(self, *lines):
        write(self.place, "loom.conf", text(*lines))

    def fails(self, status, *arguments, says=(), out="", **more):
        got, printed, err = run([*arguments], **more)
        self.assertEqual(got, status, err)
        self.assertRegex(err, r"\A(loom: [^\n]*\n)*loom: [^\n]+\n\Z")
        for word in says:
            self.assertIn(word, err)
        self.assertIn(out, printed)

    def test_a_server_serves_by_it(self):
        self.put("root = site", "[Files]", "index = home.htm", "[Caching and compression]", "cache-control = x ;y")
        process = subprocess.Popen(command(["--listen=127.0.0.1:0", "-c", "loom.conf"]), cwd=self.place,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
        try:
            log = b""
            while not (found := LISTENING.search(log.decode())):
                line = process.stderr.readline()
                self.assertTrue(line, log)
                log += line
            with Client(("127.0.0.1", int(found[2]))) as client:
                answer = client.ask("/")
                self.assertEqual((answer.status, answer.body), (200, b"by the file"))
                self.assertEqual(answer["cache-control"], "x ;y")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=BOUND)
            self.assertEqual(process.returncode, 0)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    def test_mistakes(self):
        self.put("root = site", "", "settle = 5x")
        self.fails(2, "-c", self.path, says=[f"{self.path}:3: settle: '5x' is no duration (write it as"])
        self.fails(2, "-c", self.path, "--test", says=[f"{self.path}:3: settle: "])
        self.fails(2, "-c", self.path, "--settle=1s", "-T", says=[f"{self.path}:3: settle: "])
        self.put("max_memory = 5G")
        self.fails(2, env={"LOOM_CONFIG": self.path}, says=[f"{self.path}:1: ", "(did you mean max-memory?)"])
        self.fails(2, "--config", self.place, says=[self.place, "Is a directory"])
        self.fails(2, "--config", self.path + "x", says=[self.path + "x", "No such file"])
        os.mkfifo(self.path + ".fifo")
        self.fails(2, "--config", self.path + ".fifo", says=["FIFO"])

    def test_an_unreadable_file(self):
        self.put("grace = 1s")
        os.chmod(self.path, 0)

        def drop():
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)

        try:
            run(["--version"], before_exec=drop)
        except (PermissionError, subprocess.SubprocessError, FileNotFoundError) as error:
            self.skipTest(f"an ordinary user cannot run the binary where it lies: {error}")
        self.fails(2, "-c", self.path, says=["cannot read the configuration", "Permission denied"], before_exec=drop)

    def test_a_test_that_passes(self):
        path = os.path.join(self.place, "sock")
        self.put("root = site", "listen = 127.0.0.1:0", "listen = unix:sock", "admin = unix:admin", "cache-dir = cache/",
                 "metrics = unix:metrics")
        status, out, err = run(["-c", self.path, "-t"])
        self.assertEqual((status, err), (0, ""))
        for line in (f"{self.path}: ok", "127.0.0.1:0: ok", f"unix:{path}: ok", f"unix:{self.place}/admin: ok", f"unix:{self.place}/metrics: ok",
                     f"{self.place}/cache/: ok"):
            self.assertIn(line + "\n", out)
        self.assertRegex(out, rf"(?m)^backend .*: ok$")
        self.assertRegex(out, rf"(?m)^{self.place}/site: ok, 1 file, 11 bytes$")
        self.assertEqual(sorted(os.listdir(self.place)), ["loom.conf", "site"], "nothing is made")
        self.fails(1, "-t", "--listen=127.0.0.1:18999", "--metrics=127.0.0.1:18999", self.root,
                   says=["--metrics", "listened on twice"])
        # without a file the same
        status, out, err = run(["-t", "--listen=127.0.0.1:0", self.root])
        self.assertEqual((status, err), (0, ""))
        self.assertIn("no configuration file", out)

    def test_a_test_beside_the_running_server(self):
        """It is what a deploy does before it replaces the server, and disturbs nothing."""
        path = os.path.join(self.place, "sock")
        server = self.start(listen=("127.0.0.1:0", f"unix:{path}"))
        port = server.address[1]
        inode = os.stat(path).st_ino
        self.put("root = site", f"listen = 127.0.0.1:{port}", "listen = unix:sock")
        status, out, err = run(["-c", self.path, "-t"])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, rf"(?m)^127\.0\.0\.1:{port}: ok, and in use")
        self.assertRegex(out, rf"(?m)^unix:{path}: ok, and in use")
        self.assertEqual(os.stat(path).st_ino, inode)
        for address in server.addresses:
            with Client(address) as client:
                self.assertEqual(client.ask("/").status, 200)

    def test_a_test_leaves_dead_sockets_alone(self):
        path = os.path.join(self.place, "sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        self.put("root = site", "listen = unix:sock")
        status, out, err = run(["-c", self.path, "-t"])
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"unix:{path}: ok\n", out)
        self.assertTrue(os.path.exists(path))

    def test_a_test_that_fails(self):
        """Exit status 1, and the line that asks for what cannot be had."""
        self.put("", "root = missing", "listen = 127.0.0.1:0")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:2: root: ", "No such file"], out="127.0.0.1:0: ok")
        self.fails(1, "-c", self.path, "-t", self.path, says=["loom: ROOT: ", "Not a directory"], out="ok")
        self.put("root = site", "listen = 192.0.2.1:80")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:2: listen: cannot listen on 192.0.2.1:80"], out="ok")
        self.put("root = site", "listen = 127.0.0.1:0", "listen = unix:no/where")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:3: listen: ", "No such file"], out="ok")
        self.put("root = site", "listen = 127.0.0.1:0", "listen = unix:loom.conf")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:3: listen: ", "no socket"], out="ok")
        self.put("root = site", "listen = 127.0.0.1:0", "gate = index")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:3: gate: ", "index"], out="ok")
        self.put("root = site", "cache-dir = site", "listen = 127.0.0.1:0")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:2: cache-dir: ", "lies in ROOT"], out="ok")
        self.put("root = site", "cache-dir = no/where", "listen = 127.0.0.1:0")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:2: cache-dir: ", "No such file"], out="ok")
        self.put("root = site", "cache-dir = loom.conf", "listen = 127.0.0.1:0")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:2: cache-dir: ", "Not a directory"], out="ok")
        write(os.path.join(self.place, "site"), "big.bin", noise(1, 4 << 20))
        self.put("root = site", "listen = 127.0.0.1:0", "max-memory = 1M", "stream-above = off")
        self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:3: max-memory: ", "--max-memory"], out="ok")

    def test_addresses_that_overlap(self):
        """What the test refuses, the start refuses too."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for one, other in ((f"127.0.0.1:{port}", f"127.0.0.1:{port}"), (f"0.0.0.0:{port}", f"127.0.0.1:{port}"),
                           (f"[::]:{port}", f"127.0.0.1:{port}")):
            self.put("root = site", f"listen = {one}", f"listen = {other}")
            self.fails(1, "-c", self.path, "-t", says=[f"{self.path}:3: listen: ", "listened on twice"], out="ok")
            self.fails(1, "-c", self.path, says=["cannot listen"])

    def test_a_dump_is_a_file(self):
        self.put("root = site", "listen = 127.0.0.1:0", "listen = unix:sock", "immutable = /a;b", "hidden = yes")
        status, out, err = run(["-c", self.path, "-T", "--grace=3s"], env={"LOOM_SETTLE": "1s"})
        self.assertEqual((status, err), (0, ""))
        for lines in (f"# {self.path}:1\nroot = {self.place}/site\n", "# command line\ngrace = 3s\n",
                      "# environment: LOOM_SETTLE\nsettle = 1s\n", "# default\nsettle-max = 10s\n",
                      f"# {self.path}:3\nlisten = unix:{self.place}/sock\n"):
            self.assertIn(lines, out)
        # through a pipe, as bash makes it, and from another directory
        reader, writer = os.pipe()
        try:
            os.write(writer, out.encode())
            os.close(writer)
            done = subprocess.run(command([f"--config=/dev/fd/{reader}", "-T"]), pass_fds=[reader], cwd="/",
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=BOUND, env=environment(),
                                  check=False)
        finally:
            os.close(reader)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        values = re.compile(r"(?m)^(?!#).*$")
        self.assertEqual(values.findall(done.stdout.decode()), values.findall(out))

    def test_a_dump_that_cannot_be_a_file(self):
        status, out, err = run(["-T", "/a\nhidden = yes"])
        self.assertEqual(status, 1)
        self.assertIn("root", err)
        self.assertNotIn("hidden = yes", out)
        with open("/dev/full", "wb") as full:
            done = subprocess.run(command(["-T"]), stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                                  timeout=BOUND, env=environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write", done.stderr)


class SilentPipe(Case):
    """A command that never ends does not hang the start for ever."""
    matrix = "once"
    cost = 2

    def test_it_has_a_bound(self):
        reader, writer = os.pipe()
        try:
            os.write(writer, b"grace = 1s\n")
            done = subprocess.run(command([f"--config=/dev/fd/{reader}", "-T"]), pass_fds=[reader],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=BOUND, env=environment(),
                                  check=False)
        finally:
            os.close(reader)
            os.close(writer)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"does not come to an end", done.stderr)
