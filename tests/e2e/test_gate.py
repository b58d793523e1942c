"""The gate: what may not go live, who is told, and that the old site stays; --check and --plan."""
import os
import re
import shutil
import signal
import time

from case import Case, Hammer, noise, write
from server import run, wait_for

PAGE = b"<!doctype html><link rel=stylesheet href=style.css><script src=/js/%s.js></script><h1>%s</h1>"


def plant_site(root, version):
    """A page, a style and a script of this version."""
    write(root, f"js/{version}.js", b"script " + version.encode())
    write(root, "style.css", b"body{}")
    write(root, "index.html", PAGE % (version.encode(), version.encode()))


class Gate(Case):
    """Deploys that are refused, and what becomes of them."""
    matrix = "backends"  # no worker has a part in it
    cost = 3

    def site(self):
        root = os.path.join(self.directory(), "root")
        plant_site(root, "one")
        return root

    def refused(self, server, words, times=1):
        """The log says so, with these words, so many times."""
        wait_for(lambda: len(re.findall(r"the old snapshot stays: the gate refuses \S+: [^\n]*" + words, server.log()))
                 >= times, f"a line that refuses: {words}")

    def sees(self, server, target, body):
        wait_for(lambda: server.get(target).body == body, f"{body!r} at {target}", step=0.02)

    def test_half_a_deploy(self):
        root = self.site()
        server = self.start("--settle=20ms", "--gate=index,links", root=root)
        old = server.get("/").body
        hammer = Hammer(server, ["/"], lambda target, response: self.assertEqual(response.body, old), threads=2)
        try:
            write(root, "index.html", PAGE % (b"two", b"two"))
            self.refused(server, r"links: /js/two\.js is missing, named by /index\.html \(mend .*--gate\)")
            time.sleep(0.3)
            # one line, however often it is looked at: by a request it is told again
            self.assertEqual(server.log().count("/js/two.js"), 1)
            server.signal(signal.SIGHUP)
            self.refused(server, r"/js/two\.js", times=2)
            self.assertEqual(server.get("/").body, old)
        finally:
            hammer.stop()
        write(root, "js/two.js", b"script two")
        self.sees(server, "/", PAGE % (b"two", b"two"))
        self.assertEqual(server.get("/js/two.js").body, b"script two")
        # a script that is removed under a page that has not changed
        os.unlink(os.path.join(root, "js/two.js"))
        self.refused(server, r"/js/two\.js", times=3)
        self.assertEqual(server.get("/js/two.js").body, b"script two")

    def test_a_switch_to_an_unfinished_release(self):
        base = self.directory()
        for release in "one", "two", "three":
            plant_site(os.path.join(base, "releases", release), release)
        os.unlink(os.path.join(base, "releases/two/style.css"))
        current = os.path.join(base, "current")
        os.symlink("releases/one", current)
        server = self.start("--settle=20ms", "--gate=links", root=current)
        for release in "two", "three":
            os.symlink(f"releases/{release}", current + ".new")
            os.rename(current + ".new", current)
            if release == "two":
                self.refused(server, r"/style\.css")
                self.assertEqual(server.get("/").body, PAGE % (b"one", b"one"))
        self.sees(server, "/", PAGE % (b"three", b"three"))

    def test_vanished_files(self):
        root = self.site()
        for at in range(20):
            write(root, f"f/{at:02}.txt", b"%d" % at)
        server = self.start("--settle=20ms", root=root)
        with server.held():  # it sees none of the states between
            shutil.rmtree(os.path.join(root, "f"))
        self.refused(server, r"vanished: more than 50 % of the files: 23 files of \d+ bytes were served, and 3 of \d+ are "
                             r"there now; among them /f/00\.txt, /f/01\.txt, /f/02\.txt \(if .* restart loom")
        self.assertEqual(server.get("/f/07.txt").body, b"7")
        for at in range(10, 20):
            write(root, f"f/{at:02}.txt", b"%d" % at)
        wait_for(lambda: server.get("/f/07.txt").status == 404, "a smaller loss to go live", step=0.02)
        self.assertEqual(server.get("/f/17.txt").body, b"17")

    def test_an_emptied_index(self):
        for arguments in ((), ("--gate=index",)):
            root = self.site()
            server = self.start("--settle=20ms", *arguments, root=root)
            write(root, "index.html", b"")
            self.refused(server, r"index: /index\.html is empty")
            os.unlink(os.path.join(root, "index.html"))
            self.refused(server, r"index: /index\.html is missing")
            self.assertEqual(server.get("/").body, PAGE % (b"one", b"one"))
            write(root, "index.html", b"new")
            self.sees(server, "/", b"new")

    def test_a_root_that_is_emptied(self):
        root = self.site()
        server = self.start("--settle=20ms", root=root)
        os.rename(root, root + ".away")
        os.mkdir(root)
        self.refused(server, r"index: /index\.html is missing")
        self.assertEqual(server.get("/style.css").body, b"body{}")

    def test_without_a_gate(self):
        root = self.site()
        server = self.start("--settle=20ms", "--gate=none", root=root)
        for name in "index.html", "style.css", "js/one.js":
            os.unlink(os.path.join(root, name))
        wait_for(lambda: server.get("/").status == 404, "an empty site to go live", step=0.02)

    def test_sites_that_never_had_it(self):
        root = self.directory()
        write(root, "page.html", b"<script src=nowhere.js></script>")
        server = self.start("--settle=20ms", root=root)
        write(root, "page.html", b"<script src=anywhere.js></script>")
        self.sees(server, "/page.html", b"<script src=anywhere.js></script>")

    def test_requests_without_watching(self):
        root = self.site()
        server = self.start("--watch=off", "--gate=links", root=root)
        write(root, "index.html", PAGE % (b"two", b"two"))
        server.signal(signal.SIGHUP)
        self.refused(server, r"/js/two\.js")
        write(root, "js/two.js", b"")
        time.sleep(0.2)
        self.assertEqual(server.get("/").body, PAGE % (b"one", b"one"))
        server.signal(signal.SIGHUP)
        self.sees(server, "/", PAGE % (b"two", b"two"))


class CheckAndPlan(Case):
    """What is done instead of serving."""
    matrix = "once"
    cost = 2

    def site(self):
        root = self.directory()
        plant_site(root, "one")
        return root

    def test_a_first_snapshot_that_is_refused(self):
        root = self.site()
        os.unlink(os.path.join(root, "style.css"))
        status, out, err = run(["--gate=index,vanished=1%,links", "--listen=127.0.0.1:0", root])
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"\Aloom: the gate refuses \S+: links: /style\.css is missing, named by /index\.html "
                              r"\(mend [^\n]*\)\n\Z")

    def test_check(self):
        root = self.site()
        for arguments in (), ("--gate=index",), ("--gate=none",), ("--port=1",):
            status, out, err = run(["--check", *arguments, root])
            self.assertEqual((status, out), (0, ""), err)
            self.assertRegex(err, r"\Aloom: \S+ passes: 3 files; rules: [^\n]+\n\Z")
        self.assertEqual(run(["-q", "--check", root]), (0, "", ""))
        os.unlink(os.path.join(root, "index.html"))
        write(root, "d/a.html", b"<img src=x.png><img src=../style.css>")
        write(root, "d/b.html", b"<img src=x.png><img src=/y%20z.png>")
        status, out, err = run([root, "--check"])
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, "loom: index: /index.html is missing\n"
                              "loom: links: /d/x.png is missing, named by /d/a.html and 1 more page\n"
                              "loom: links: /y z.png is missing, named by /d/b.html\n")
        status, _, err = run(["--check", root], env={"LOOM_GATE": "vanished=10%", "LOOM_VERBOSE": "1"})
        self.assertEqual(status, 0, err)
        self.assertIn("the rule vanished compares", err)
        status, _, err = run(["--check", "--index=a.html", "--gate=index", os.path.join(root, "d")])
        self.assertEqual(status, 0, err)

    def test_what_cannot_be_checked(self):
        for action in "--check", "--plan":
            for status, arguments in ((1, [os.path.join(self.root, "missing")]), (2, ["--gate=what", self.root]),
                                      (2, [self.root, self.root]), (2, ["--frobnicate", self.root])):
                got, out, err = run([action, *arguments])
                self.assertEqual((got, out), (status, ""))
                self.assertRegex(err, r"\Aloom: [^\n]+\n\Z")
        self.assertEqual(run(["--check", "--plan", self.root])[0], 2)
        root = self.directory()
        write(root, "big.bin", noise(1, 2 << 20))
        for action in "--check", "--plan":
            status, out, err = run([action, "--max-memory=1M", "--stream-above=off", root])
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, r"\Aloom: \S+ needs 2\.\d MiB of memory, and 1\.0 MiB are allowed \([^\n]+\n\Z")

    def rows(self, out):
        """Of the table: name -> its figures."""
        return {match[1]: [int(number) for number in match[2].split()]
                for match in re.finditer(r"(?m)^(\S+(?: \S+)*)  +((?:\d+(?![.\d]) *)+)", out)}

    def test_plan(self):
        root = self.site()
        files = sum(len(names) for _, _, names in os.walk(root))
        for name in "a.bin", "b.bin", "c/a.bin":
            write(root, name, noise(7, 100000))
        size = sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(root) for name in names)
        status, out, err = run(["--plan", root])
        self.assertEqual((status, err), (0, ""))
        rows = self.rows(out)
        self.assertEqual(rows["identity"], [files + 3, size])
        self.assertEqual(rows["equal to another file"], [2, 200000])
        self.assertEqual([rows["gzip"], rows["br"], rows["zstd"]], [[0, 0]] * 3)
        memory, = rows["memory"]
        self.assertGreater(memory, size - 200000)  # equal ones are there once
        self.assertLess(memory, size - 200000 + 65536)
        self.assertEqual(rows["memory during a switch"], [2 * memory])
        self.assertEqual(rows["--max-memory"], [512 << 20])
        self.assertRegex(out, r"512\.0 MiB, fits\n")
        self.assertIn("none were compressed", out)
        self.assertEqual(rows["streamed"], [0, 0])
        # it fits once
        write(root, "d.bin", noise(8, 120000))
        status, out, err = run(["--plan", "--max-memory=450K", "--stream-above=off", root])
        self.assertEqual((status, err), (1, ""))
        self.assertRegex(out, r"KiB, DOES NOT FIT\n")
        self.assertRegex(out, r"raise --max-memory to 1M\.\n\Z")
        status, out, err = run(["--plan", "--max-memory=450K", root])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"KiB, fits once\n")
        # not even that: the largest ones are streamed
        for at in range(8):
            write(root, f"large{at}.bin", noise(at, 200000 + at))
        status, out, err = run(["--plan", "--max-memory=1200K", root])
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.rows(out)["streamed"], [8, sum(range(200000, 200008))])
        self.assertRegex(out, r"(?m)^  /large7\.bin +200007\n  /large6\.bin +200006\n(  /large.\.bin +\d+\n){3}  and 3 smaller ones$")
        self.assertLess(self.rows(out)["memory during a switch"][0], 1200 << 10)

    def test_a_plan_counts_the_variants_that_are_there(self):
        root, cache = self.directory(), os.path.join(self.directory(), "cache")
        write(root, "text.txt", b"hello, hello\n" * 1000)
        _, before, _ = run(["--plan", f"--cache-dir={cache}", root])
        self.assertEqual(self.rows(before)["br"], [0, 0])
        self.assertFalse(os.path.exists(cache), "a plan makes no directory")
        server = self.start(f"--cache-dir={cache}", root=root)
        wait_for(lambda: "compressed: snapshot" in server.log(), "the variants")
        lengths = {coding: len(server.get("/text.txt", f"Accept-Encoding: {coding}").body)
                   for coding in ("gzip", "br", "zstd")}
        _, out, _ = run(["--plan", f"--cache-dir={cache}", "--encodings=gzip,br,zstd", root])
        rows = self.rows(out)
        for coding, length in lengths.items():
            self.assertEqual(rows[coding], [1, length])
        self.assertGreater(rows["memory"][0], self.rows(before)["memory"][0])
        self.assertIn("or in the cache directory", out)
        # beside the file
        with self.assertRaises(KeyError):
            _ = self.rows(run(["--plan", "--encodings=br", root])[1])["gzip"]
        write(root, "text.txt.gz", server.get("/text.txt", "Accept-Encoding: gzip").body)
        _, out, _ = run(["--plan", root])
        self.assertEqual(self.rows(out)["gzip"], [1, lengths["gzip"]])
