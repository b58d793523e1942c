"""What is served: every file as it is, under the names that it has, and nothing else."""
import os
import re
import socket
import unittest
import urllib.parse

from case import Case, noise, write
from client import STRONG_ETAG, http_time
from server import wait_for

SIZES = (0, 1, 2, 100, 1023, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 1 << 20, (3 << 20) + 7)

NAMES = (  # each is served under its percent-encoded name
    "a b.txt", "a+b.txt", "100%.txt", "%41.txt", "q?.txt", "hash#.txt", "semi;colon=1.txt", "tilde~.txt",
    "'quote\".txt",
    "back\\slash.txt", "été/naïve.txt", "日本語/テスト.html", "🧵.txt", "UPPER.TXT", "no-extension", "x.tar.gz",
    "deep/er/and/deeper/still/file.txt", "a..b", "a../b...", "&amp;.txt", "[1]{2}|3^`.txt", "colon:.txt", "-dash",
)


def quoted(path):
    return "/" + urllib.parse.quote(os.fsencode(path), safe="/")


class Files(Case):
    """The tree as it stands."""
    matrix = "backends"
    shared = True
    cost = 3

    @classmethod
    def plant(cls, root):
        cls.files = {f"size/{size}.bin": noise(size, size) for size in SIZES}
        cls.files.update({name: name.encode() * 3 for name in NAMES})
        cls.files.update({
            os.fsdecode(b"latin-\xe9.txt"): b"not UTF-8",
            "index.html": b"<!doctype html><title>home</title>",
            "sub/index.html": b"<!doctype html><title>sub</title>",
            "sub/page.html": b"<!doctype html><title>page</title>",
            "sp ace/index.html": b"<!doctype html><title>space</title>",
            "404.html": b"<!doctype html><title>nothing here</title>",
            ".well-known/security.txt": b"Contact: mailto:security@loom.test\n",
            "same-1.txt": b"the same", "same-2.txt": b"the same", "other.txt": b"not the same"})
        for kind in ("css", "js", "mjs", "svg", "txt", "png", "jpg", "woff2", "wasm", "json", "xml", "pdf", "webp",
                     "HTM", "unheardof"):
            cls.files[f"types/x.{kind}"] = kind.encode()
        for path, data in cls.files.items():
            write(root, path, data)
        for path in (".secret", ".git/config", "sub/.htpasswd"):
            write(root, path, b"secret")
        os.mkdir(os.path.join(root, "empty"))
        os.utime(os.path.join(root, "other.txt"), (1000000000, 1000000000))
        # inside the tree, out of it, and to nowhere
        os.symlink("other.txt", os.path.join(root, "link-in.txt"))
        os.symlink("sub", os.path.join(root, "link-dir"))
        write(os.path.dirname(root), "outside.txt", b"out of the tree")
        os.symlink("../outside.txt", os.path.join(root, "link-out.txt"))
        os.symlink("nowhere", os.path.join(root, "link-broken"))
        os.symlink("link-loop", os.path.join(root, "link-loop"))
        # what is no file is never opened: a FIFO would block
        os.mkfifo(os.path.join(root, "fifo"))
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.join(root, "socket"))

    def test_every_file_byte_for_byte(self):
        with self.server.client() as client:
            for path, data in self.files.items():
                response = client.ask(quoted(path))
                self.assertEqual(response.status, 200, path)
                self.assertTrue(response.body == data, f"{path}: {len(response.body)} bytes, {len(data)} in the file")
            self.assertTrue(client.nothing_left())

    def test_head_is_the_head_of_get(self):
        for target in [quoted(path) for path in self.files] + ["/", "/sub", "/missing", "/sub/", "/100%", "/%00"]:
            get = self.server.get(target)
            with self.server.client() as client:
                head = client.ask(target, method="HEAD")
                self.assertEqual(head.stable_head(), get.stable_head(), target)
                self.agrees(client, head)

    def test_content_types(self):
        expected = {
            "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
            "mjs": "text/javascript; charset=utf-8", "svg": "image/svg+xml; charset=utf-8",
            "txt": "text/plain; charset=utf-8", "png": "image/png", "jpg": "image/jpeg", "woff2": "font/woff2",
            "wasm": "application/wasm", "pdf": "application/pdf", "webp": "image/webp",
            "HTM": "text/html; charset=utf-8", "unheardof": "application/octet-stream"}
        with self.server.client() as client:
            for kind, value in expected.items():
                self.assertEqual(client.ask(f"/types/x.{kind}")["content-type"], value, kind)
            self.assertEqual(client.ask("/")["content-type"], "text/html; charset=utf-8")
            self.assertEqual(client.ask("/no-extension")["content-type"], "application/octet-stream")
            self.assertTrue(client.ask("/types/x.json")["content-type"].startswith("application/json"))
            self.assertRegex(client.ask("/types/x.xml")["content-type"], "^(application|text)/xml")

    def test_last_modified_is_the_time_of_the_file(self):
        for path in ("other.txt", "index.html", "size/4096.bin"):
            response = self.server.get(quoted(path))
            self.assertEqual(int(http_time(response["last-modified"])),
                             int(os.stat(os.path.join(self.root, path)).st_mtime), path)
        self.assertEqual(self.server.get("/other.txt")["last-modified"], "Sun, 09 Sep 2001 01:46:40 GMT")

    def test_date_moves(self):
        first = self.server.get("/")["date"]
        wait_for(lambda: self.server.get("/")["date"] != first, "another second", step=0.1)

    def test_etags_are_strong_and_of_the_content(self):
        tags = {}
        for path, data in self.files.items():
            tag = self.server.get(quoted(path), method="HEAD")["etag"]
            self.assertTrue(STRONG_ETAG.fullmatch(tag or ""), f"{path}: {tag}")
            tags.setdefault(data, set()).add(tag)
        for data, of_these in tags.items():
            self.assertEqual(len(of_these), 1, data[:50])
        self.assertEqual(len(set.union(*tags.values())), len(tags), "two contents with one ETag")

    def test_directories(self):
        for target, location in (("/sub", "/sub/"), ("/sub?q=1&r=%2f", "/sub/?q=1&r=%2f"), ("/sub?", "/sub/?"),
                                 ("//sub", "/sub/"), ("/x/../sub", "/sub/"), ("/%73ub", "/sub/"),
                                 ("/sp%20ace", "/sp%20ace/"), ("/link-dir", "/link-dir/"),
                                 ("http://elsewhere.test/sub?a", "/sub/?a")):
            response = self.server.get(target)
            self.assertEqual((response.status, response["location"]), (301, location), target)
        for target in ("/sub/", "/sub/index.html", "/sub/?q", "/link-dir/"):
            self.assertEqual(self.server.get(target).body, self.files["sub/index.html"], target)
        for target in ("/empty/", "/size/", "/sub/index.html/", "/other.txt/"):
            self.assertEqual(self.server.get(target).status, 404, target)

    def test_long_queries_neither_break_nor_are_cut_in_a_redirect(self):
        for size in (100, 1000, 4000, 7000):
            query = "?q=" + "x" * size
            response = self.server.get("/sub" + query)
            self.assertEqual(response.status, 301)
            self.assertIn(response["location"], ("/sub/" + query, "/sub/"))

    def test_not_found_has_the_page_of_the_tree(self):
        for target in ("/missing", "/sub/missing", "/sub/missing/", "/sub2", "/su", "/index.htm"):
            response = self.server.get(target)
            self.assertEqual(response.status, 404, target)
            self.assertEqual(response.body, self.files["404.html"])
            self.assertEqual(response["content-type"], "text/html; charset=utf-8")

    def test_hidden_files_are_not_there(self):
        for target in ("/.secret", "/.git/config", "/.git", "/.git/", "/sub/.htpasswd", "/%2esecret", "/.new-x"):
            self.assertEqual(self.server.get(target).status, 404, target)
        self.assertEqual(self.server.get("/.well-known/security.txt").status, 200)

    def test_links_out_of_the_tree_and_special_files_are_not_there(self):
        self.assertEqual(self.server.get("/link-in.txt").body, b"not the same")
        for target in ("/link-out.txt", "/link-broken", "/link-loop", "/fifo", "/socket"):
            self.assertEqual(self.server.get(target).status, 404, target)
        self.assertIn("fifo", self.server.log())

    def test_targets(self):
        table = {
            200: ("/other.txt", "/%6fther.txt", "/%6Fther%2etxt", "//other.txt", "///sub///page.html", "/./other.txt",
                  "/sub/../other.txt", "/sub/./page.html", "/sub/%2e%2e/other.txt", "/%2E/other.txt", "/sub/..",
                  "/sub/.", "/nowhere/../other.txt", "/other.txt?", "/other.txt?a/../b", "/other.txt?%00",
                  "http://loom.test/other.txt", "HTTP://loom.test:80/other.txt", "http://loom.test/other.txt?x",
                  "http://loom.test/", "http://loom.test", "http://loom.test?x", "/a%20b.txt", "/a+b.txt",
                  "/%C3%A9t%C3%A9/na%c3%afve.txt", "/latin-%E9.txt", "/%2541.txt"),
            404: ("/Other.txt", "/other.txt%20", "/other.txt.", "/sub%2fpage.html", "/sub%2Fpage.html", "/%41.txt",
                  "/sub%5cpage.html", "/a%2bb.TXT", "/other.txt;v=1", "/latin-%C3%A9.txt",
                  "/http://loom.test/other.txt"),
            400: ("/..", "/../other.txt", "/sub/../../other.txt", "/%2e%2e/other.txt", "/sub/%2e%2e/%2e%2e/etc/passwd",
                  "/other.txt%00", "/%00", "/%0d%0aX:%20y", "/%0a", "/%7f", "/%", "/%4", "/%zz", "/other%",
                  "other.txt", "*", "../other.txt", "https://loom.test/other.txt"),
        }
        for status, targets in table.items():
            for target in targets:
                with self.subTest(target):
                    with self.server.client() as client:
                        response = client.ask(target)
                        self.assertEqual(response.status, status)
                        self.agrees(client, response)
        # bytes that have no business in a target, and forms that only some recipients know
        for target in (b"/caf\xc3\xa9", b"/\xff\xfe", b"/a\tb", b"/a\x01b", b"ftp://loom.test/other.txt", b"/a#b",
                       b"http:///other.txt", b"http://", b"//"):
            with self.server.client() as client:
                response = client.ask(target)
                self.assertIn(response.status, (200, 400, 404), target)
                self.agrees(client, response)

    def test_nothing_outside_the_tree_can_be_had(self):
        climbs = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "..;/", "%252e%252e/", "..%00/",
                  "%c0%ae%c0%ae/", "..%c0%af")
        for climb in climbs:
            for start in ("/", "/sub/", "//", "http://loom.test/"):
                for what in ("outside.txt", "etc/passwd"):
                    response = self.server.get(start + climb * 8 + what)
                    self.assertIn(response.status, (400, 404), start + climb)
                    self.assertNotIn(b"out of the tree", response.body)
                    self.assertNotIn(b"root:", response.body)


class Variations(Case):
    """The options that change what is served."""
    matrix = "backends"

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "start.htm", b"start")
        write(root, ".secret", b"secret")
        write(root, ".dir/x.txt", b"x")
        write(os.path.dirname(root), "outside/out.txt", b"out of the tree")
        os.symlink("../outside", os.path.join(root, "link-out"))
        os.symlink("start.htm", os.path.join(root, "link-in"))

    def test_hidden(self):
        server = self.start("--hidden")
        self.assertEqual(server.get("/.secret").body, b"secret")
        self.assertEqual(server.get("/.dir/x.txt").body, b"x")

    def test_index(self):
        server = self.start("--index=start.htm")
        self.assertEqual(server.get("/").body, b"start")
        self.assertEqual(server.get("/index.html").body, b"home")

    def test_symlinks_follow(self):
        server = self.start("--symlinks=follow")
        self.assertEqual(server.get("/link-out/out.txt").body, b"out of the tree")
        self.assertEqual(server.get("/link-in").body, b"start")

    def test_symlinks_deny(self):
        server = self.start("--symlinks=deny")
        self.assertEqual(server.get("/link-out/out.txt").status, 404)
        self.assertEqual(server.get("/link-in").status, 404)

    def test_an_empty_tree(self):
        server = self.start(root=self.directory())
        response = server.get("/")
        self.assertEqual(response.status, 404)
        self.assertTrue(response.body, "an error has a few words")

    def test_another_tree(self):
        """LOOM_E2E_TREE: any directory, file by file."""
        tree = os.environ.get("LOOM_E2E_TREE")
        if not tree:
            raise unittest.SkipTest("LOOM_E2E_TREE names no further directory to compare")
        server = self.start("--symlinks=follow", root=tree)
        differences, files = [], 0
        with server.client() as client:
            for folder, folders, names in os.walk(tree):
                folders[:] = [one for one in folders if not one.startswith(".")]
                for name in names:
                    path = os.path.join(folder, name)
                    if name.startswith(".") or not os.path.isfile(path):
                        continue
                    with open(path, "rb") as file:
                        data = file.read()
                    response = client.ask(quoted(os.path.relpath(path, tree)))
                    files += 1
                    if response.status != 200 or response.body != data:
                        differences.append(path)
        self.assertEqual(differences, [], f"of {files} files")
        self.assertGreater(files, 0)


class Replicas(Case):
    """The same tree is the same everywhere: after a restart, on another machine, on another backend."""
    matrix = "once"

    @classmethod
    def plant(cls, root):
        for folder in (root, os.path.join(os.path.dirname(root), "copy")):
            for at in range(20):
                write(folder, f"d{at % 3}/{at}.txt", noise(at, 1000 + at))
            write(folder, "index.html", b"home")
        os.utime(os.path.join(os.path.dirname(root), "copy/index.html"), (1, 1000000))

    def test_etags_and_snapshot_id(self):
        seen = set()
        for folder in (self.root, self.root, os.path.join(self.base, "copy")):
            for backend in ("epoll", "auto"):
                server = self.start(root=folder, backend=backend)
                tags = [server.get(f"/d{at % 3}/{at}.txt")["etag"] for at in range(20)] + [server.get("/")["etag"]]
                ids = re.search(r"snapshot ([A-Za-z0-9_-]{22})\b", server.log())
                self.assertTrue(ids, "the start-up lines tell the snapshot's id")
                seen.add((ids[1], *tags))
        self.assertEqual(len(seen), 1, "the same tree, different ETags or ids")

    def test_reload_of_the_same_tree_keeps_them(self):
        server = self.start("--watch=off")
        before = server.get("/d1/1.txt").stable_head()
        for _ in range(3):
            server.signal(1)
        self.assertEqual(server.get("/d1/1.txt").stable_head(), before)
