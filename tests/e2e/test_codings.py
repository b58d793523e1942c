"""Content codings as they come and go: made aside, taken from sidecars, kept in a cache directory, switched off."""
import gzip
import os
import signal
import subprocess

from case import Case, noise, write
from client import request
from server import run, wait_for

PROSE = b"".join(b"<p>Paragraph %d, in which the weaver throws the shuttle %d times.\n" % (at, at * 7) for at in range(600))
ALL = ("gzip", "br", "zstd")


def decoded(coding, data):
    if coding == "gzip":
        return gzip.decompress(data)
    command = {"br": ["brotli", "-dc"], "zstd": ["zstd", "-dcq"]}[coding]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


class Codings(Case):
    matrix = "backends"  # no worker has a part in it
    cost = 3

    def coded(self, server, target, coding):
        """The answer in this coding, or None while it comes as it is."""
        response = server.get(target, f"Accept-Encoding: {coding}")
        self.assertEqual(response.status, 200)
        self.assertIn(response["content-encoding"], (None, coding))
        return response if response["content-encoding"] else None

    def wait_coded(self, server, target, coding):
        return wait_for(lambda: self.coded(server, target, coding), f"{target} in {coding}")

    def settled(self, server):
        wait_for(lambda: "compressed: snapshot" in server.log(), "the line that tells that all is compressed")

    def test_every_coding_arrives_and_is_the_same(self):
        root = self.directory()
        write(root, "index.html", PROSE)
        write(root, "noise.txt", noise("x", 5000))
        write(root, "tiny.txt", b"x" * 255)
        server = self.start(root=root)
        identity = server.get("/")
        self.assertEqual((identity.body, identity["vary"]), (PROSE, "Accept-Encoding"))
        tags = {identity["etag"]}
        for coding in ALL:
            response = self.wait_coded(server, "/", coding)
            self.assertTrue(decoded(coding, response.body) == PROSE, coding)
            self.assertEqual(response["vary"], "Accept-Encoding")
            self.assertEqual(self.coded(server, "/index.html", coding).body, response.body)
            tags.add(response["etag"])
            with server.client() as client:
                self.assertEqual(client.ask("/", f"Accept-Encoding: {coding}", f"If-None-Match: {response['etag']}").status,
                                 304)
        self.assertEqual(len(tags), 4, "each variant has an ETag of its own")
        self.settled(server)
        for target in ("/noise.txt", "/tiny.txt"):
            self.assertIsNone(self.coded(server, target, "gzip"), "not smaller, or not worth it")
        self.assertIsNone(server.get("/tiny.txt")["vary"])

    def test_what_was_compressed_is_not_compressed_again(self):
        """Nor does the snapshot change when the same content comes back."""
        root = self.directory()
        write(root, "a.html", PROSE)
        server = self.start("--settle=50ms", root=root)
        first = self.wait_coded(server, "/a.html", "br")
        self.settled(server)
        os.rename(os.path.join(root, "a.html"), os.path.join(root, "b.html"))
        wait_for(lambda: server.get("/b.html").status == 200, "the new name")
        # from the first snapshot in which it is, without waiting
        self.assertEqual(self.coded(server, "/b.html", "br").body, first.body)
        os.remove(os.path.join(root, "b.html"))
        wait_for(lambda: server.get("/b.html").status == 404, "its end")
        write(root, "c.html", PROSE)
        wait_for(lambda: server.get("/c.html").status == 200, "its return")
        self.assertEqual(self.coded(server, "/c.html", "br").body, first.body)

    def test_a_change_under_load_is_seen_in_every_coding(self):
        root = self.directory()
        write(root, "page.html", PROSE)
        server = self.start("--settle=50ms", root=root)
        for coding in ALL:
            self.wait_coded(server, "/page.html", coding)
        for turn in range(3):
            text = b"turn %d\n" % turn + PROSE
            write(root, "page.html", text)
            wait_for(lambda text=text: server.get("/page.html").body == text, "the new content")
            for coding in ALL:
                # never the old one in the new snapshot: as it is, or coded, but this content
                response = server.get("/page.html", f"Accept-Encoding: {coding}")
                body = response.body
                self.assertTrue((decoded(coding, body) if response["content-encoding"] else body) == text, coding)
                response = self.wait_coded(server, "/page.html", coding)
                self.assertTrue(decoded(coding, response.body) == text, coding)

    def test_sidecars(self):
        root = self.directory()
        sidecar = gzip.compress(PROSE, 1, mtime=0)
        write(root, "right.bin", PROSE)  # of a type that is not compressed here
        write(root, "right.bin.gz", sidecar)
        write(root, "wrong.bin", PROSE)
        write(root, "wrong.bin.gz", gzip.compress(PROSE + b"!", mtime=0))
        write(root, "dir/index.html", PROSE)
        write(root, "dir/index.html.gz", sidecar)
        server = self.start("--settle=50ms", "--no-compress", root=root)
        for target in ("/right.bin", "/dir/", "/dir/index.html"):
            response = self.coded(server, target, "gzip")
            self.assertEqual((response.body, response["vary"]), (sidecar, "Accept-Encoding"))
            self.assertEqual(server.get(target)["vary"], "Accept-Encoding")
        self.assertEqual(server.get("/right.bin.gz").body, sidecar)  # it is a file, too
        self.assertIsNone(self.coded(server, "/wrong.bin", "gzip"))
        self.assertIsNone(server.get("/wrong.bin")["vary"])
        self.assertIn("/wrong.bin.gz is not sent in place of /wrong.bin", server.log())
        # a sidecar comes, and another goes
        write(root, "wrong.bin.gz", sidecar)
        os.remove(os.path.join(root, "right.bin.gz"))
        self.wait_coded(server, "/wrong.bin", "gzip")
        wait_for(lambda: self.coded(server, "/right.bin", "gzip") is None, "the end of the sidecar")
        self.assertIsNone(server.get("/right.bin")["vary"])
        # the file changes, and its sidecar does not
        write(root, "wrong.bin", PROSE + b"?")
        wait_for(lambda: server.get("/wrong.bin").body == PROSE + b"?", "the new content")
        self.assertIsNone(self.coded(server, "/wrong.bin", "gzip"))

    def test_the_cache_directory_outlives_the_server(self):
        root, cache = self.directory(), os.path.join(self.directory(), "cache")
        write(root, "page.html", PROSE)
        server = self.start(f"--cache-dir={cache}", root=root)
        first = {coding: self.wait_coded(server, "/page.html", coding).body for coding in ALL}
        self.settled(server)
        server.signal(signal.SIGTERM)
        server.wait_exit()
        files = [os.path.join(path, name) for path, _, names in os.walk(cache) for name in names]
        self.assertEqual(len(files), 3)
        # What comes back is what lies there: another encoding of the same content shows it. Rubbish is made anew.
        other = gzip.compress(PROSE, 1, mtime=0)
        for path in files:
            with open(path, "wb") as file:
                file.write(other if path.endswith(".gz") else b"rubbish")
        server = self.start(f"--cache-dir={cache}", root=root)
        self.assertEqual(self.wait_coded(server, "/page.html", "gzip").body, other)
        for coding in ("br", "zstd"):
            self.assertEqual(self.wait_coded(server, "/page.html", coding).body, first[coding])
        # and one that cannot be had is an error at the start
        status, _, err = run([f"--cache-dir={root}/page.html", "--listen=127.0.0.1:0", root])
        self.assertEqual(status, 1)
        self.assertIn("page.html", err)
        status, _, err = run([f"--cache-dir={root}/cache", "--listen=127.0.0.1:0", root])
        self.assertEqual(status, 1)
        self.assertIn("lies in ROOT", err)

    def test_switched_off(self):
        root = self.directory()
        write(root, "page.html", PROSE)
        server = self.start("--encodings=gzip", root=root)
        self.wait_coded(server, "/page.html", "gzip")
        self.settled(server)
        for coding in ("br", "zstd"):
            self.assertIsNone(self.coded(server, "/page.html", coding))
        for arguments in (["--encodings=none"], ["--no-compress", f"--cache-dir={self.directory()}"]):
            server = self.start(*arguments, root=root)
            self.assertEqual("--cache-dir has no effect" in server.log(), len(arguments) > 1)
            response = server.get("/page.html", "Accept-Encoding: gzip")
            self.assertEqual((response["content-encoding"], response["vary"]), (None, None))

    def test_variants_that_do_not_fit_are_left_out(self):
        root = self.directory()
        for at in range(40):
            write(root, f"{at}.html", noise(at, 3000).hex().encode())  # becomes half as large
        server = self.start("--max-memory=500K", root=root)
        wait_for(lambda: "do not fit into the memory" in server.log(), "the warning")
        with server.client() as client:
            for at in range(40):
                client.send(request(f"/{at}.html"))
                self.assertEqual(client.response().body, noise(at, 3000).hex().encode())
