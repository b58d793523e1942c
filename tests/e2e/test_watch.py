"""Every change is seen, whatever made it and however it is watched: after the writers stop, what is served is what is there."""
import ctypes
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import unittest

from case import Case, noise, write
from client import BOUND
from server import LONG, VALGRIND, libc, run, wait_for

ROUNDS = 20 if LONG else 3
BURST = 20000 if LONG else 3000

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC_PRIVATE = 0x4000 | 0x40000


def served_files(root, hidden=False):
    """Every file that is to be served, by its target, with its content; links are followed."""
    found = {}

    def walk(path, target, above):
        real = os.path.realpath(path)
        if real in above:
            return
        for entry in sorted(os.scandir(path), key=lambda one: one.name):
            if entry.name.startswith(".") and not hidden:
                continue
            if entry.is_dir():
                walk(entry.path, f"{target}{entry.name}/", above | {real})
            elif entry.is_file():
                with open(entry.path, "rb") as file:
                    found[target + entry.name] = file.read()

    walk(root, "/", frozenset())
    return found


class Watch(Case):
    """Helpers; a class with tests says how it watches."""
    settle = "--settle=20ms"

    def equal(self, server, root, gone=(), bound=BOUND):
        """Comes to serve the very files that are there, and none of those that are gone."""
        files = served_files(root)
        wrong = {}

        def same():
            wrong.clear()
            with server.client() as client:
                for target, body in files.items():
                    response = client.ask(target)
                    if response.status != 200 or response.body != body:
                        wrong[target] = response.status
                        return False
                for target in gone:
                    if target not in files and client.ask(target).status != 404:
                        wrong[target] = "not gone"
                        return False
            return True

        try:
            wait_for(same, "the served tree to equal the disk", bound=bound, step=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}: {wrong}, of {len(files)} files") from None

    def sees(self, server, target, body, bound=BOUND):
        def check():
            response = server.get(target)
            return response.status == 404 if body is None else response.status == 200 and response.body == body
        wait_for(check, f"{target} to be {body!r}"[:200], bound=bound, step=0.02)

    def tree(self, files=3):
        root = os.path.join(self.directory(), "root")
        write(root, "index.html", b"home")
        for at in range(files):
            write(root, f"f{at}.txt", b"file %d" % at)
        return root

    def put(self, root, path, data):
        """In place, as a bad editor does it."""
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def relink(target, path):
    """ln -sfn, by rename."""
    os.symlink(target, path + ".tmp-link")
    os.rename(path + ".tmp-link", path)


class Trees(Watch):
    """Directories and files that come and go fast."""
    matrix = "backends"  # the watch knows no workers
    cost = 6

    def test_deep_trees_made_fast(self):
        """A directory's entries may come before anyone can watch it: the server builds all the while."""
        root = self.tree()
        server = self.start("--settle=1ms", "--gate=none", root=root)
        names = []
        for turn in range(ROUNDS):
            for at in range(30):
                path = os.path.join(root, f"t{turn}-{at}")
                for depth in range(random.Random(turn * 100 + at).randrange(1, 12)):
                    os.makedirs(path, exist_ok=True)
                    with open(os.path.join(path, "x.txt"), "wb") as file:
                        file.write(b"%d %d %d" % (turn, at, depth))
                    names.append(path[len(root):] + "/x.txt")
                    path = os.path.join(path, "d")
                if at % 5 == 4:
                    shutil.rmtree(os.path.join(root, f"t{turn}-{at - 2}"))
                if at % 5 == 3:
                    os.rename(os.path.join(root, f"t{turn}-{at - 3}"), os.path.join(root, f"r{turn}-{at}"))
            self.equal(server, root, gone=names[-200:])

    def test_writers_of_all_kinds_at_once(self):
        root = self.tree(20)
        server = self.start("--settle=5ms", "--settle-max=1s", "--gate=none", root=root)
        end = time.monotonic() + (10 if LONG else 2)
        errors = []

        def churn(seed):
            choice = random.Random(seed)
            mine = os.path.join(root, f"w{seed}")
            try:
                while time.monotonic() < end:
                    name = os.path.join(mine, *(choice.choice("ab") for _ in range(choice.randrange(3))))
                    os.makedirs(name, exist_ok=True)
                    path = os.path.join(name, f"{choice.randrange(4)}.txt")
                    data = choice.randbytes(choice.choice((0, 10, 5000)))
                    kind = choice.randrange(6)
                    if kind == 0:
                        with open(path, "wb") as file:
                            file.write(data)
                    elif kind == 1:
                        write(name, os.path.basename(path), data)
                    elif kind == 2 and os.path.exists(path):
                        os.truncate(path, len(data) // 2)
                    elif kind == 3 and os.path.exists(path):
                        os.unlink(path)
                    elif kind == 4 and choice.randrange(4) == 0:
                        shutil.rmtree(mine)
                    elif kind == 5 and not os.path.exists(mine + "-moved"):
                        os.rename(mine, mine + "-moved")
                    elif os.path.exists(mine + "-moved"):
                        shutil.rmtree(mine + "-moved")
                    time.sleep(choice.random() * 0.005)
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.equal(server, root, gone=[f"/w{seed}/{at}.txt" for seed in range(4) for at in range(4)])

    def test_more_changes_than_the_queue_holds(self):
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
            most = int(file.read())
        if most > 40000:
            raise unittest.SkipTest(f"fs.inotify.max_queued_events is {most}: too long a queue to overflow in a test")
        root = self.tree()
        server = self.start("--settle=20ms", "--verbose", "--gate=none", root=root)
        with server.held():
            os.mkdir(os.path.join(root, "many"))
            for at in range(200):
                with open(os.path.join(root, "many", f"{at}.txt"), "wb") as file:
                    file.write(b"%d" % at)
            for turn in range(most // 2 + 1000):  # of neighbours that are not the same, or the kernel merges them
                os.utime(os.path.join(root, "f0.txt"))
                os.utime(os.path.join(root, "f1.txt"))
            # what comes when the queue is full is told by nothing else
            os.mkdir(os.path.join(root, "late"))
            self.put(root, "late/file.txt", b"late")
            self.put(root, "f2.txt", b"changed late")
            os.unlink(os.path.join(root, "f1.txt"))
        self.equal(server, root, gone=["/f1.txt"])
        self.assertIn("more changes than inotify could count", server.log())
        self.put(root, "late/file.txt", b"and watched since")
        self.equal(server, root)

    def test_bursts_of_thousands_of_files(self):
        if VALGRIND:
            raise unittest.SkipTest("too much for valgrind")
        root = self.tree()
        server = self.start("--settle=200ms", "--gate=none", root=root)
        for at in range(BURST):
            directory = os.path.join(root, f"burst/{at // 1000}")
            if at % 1000 == 0:
                os.makedirs(directory)
            with open(os.path.join(directory, f"{at}.txt"), "wb") as file:
                file.write(b"%d" % at)
        self.equal(server, root)
        shutil.rmtree(os.path.join(root, "burst"))
        self.equal(server, root, gone=[f"/burst/{at // 1000}/{at}.txt" for at in range(0, BURST, 97)])


class Editors(Watch):
    """Every habit of saving a file, each in its own way seen, and none of them worth a warning."""
    shared = True
    arguments = ("--settle=20ms", "--gate=none")
    matrix = "backends"  # the watch knows no workers
    cost = 3

    @classmethod
    def plant(cls, root):
        write(root, "index.html", b"home")
        write(root, "page.txt", b"first")

    def path(self, name="page.txt"):
        return os.path.join(self.root, name)

    def saved(self, body):
        self.sees(self.server, "/page.txt", body)

    def test_in_place(self):
        for body in (b"in place", b"IN PLACE", b"longer than it was before", b""):
            self.put(self.root, "page.txt", body)
            self.saved(body)

    def test_renamed_over(self):
        for turn in range(3):
            with open(self.path("page.txt.tmp"), "wb") as file:
                file.write(b"renamed %d" % turn)
            os.rename(self.path("page.txt.tmp"), self.path())
            self.saved(b"renamed %d" % turn)

    def test_deleted_and_created(self):
        for turn in range(3):
            os.unlink(self.path())
            if turn == 1:
                self.saved(None)
            self.put(self.root, "page.txt", b"created %d" % turn)
            self.saved(b"created %d" % turn)

    def test_vim(self):
        """:set backup writebackup, as :w does it: a probe, the backup, the new file, and the backup goes."""
        for turn in range(3):
            self.put(self.root, ".page.txt.swp", noise(turn, 4096))
            self.put(self.root, "4913", b"")
            os.unlink(self.path("4913"))
            os.rename(self.path(), self.path("page.txt~"))
            self.put(self.root, "page.txt", b"vim %d" % turn)
            os.unlink(self.path("page.txt~"))
            self.saved(b"vim %d" % turn)
        os.unlink(self.path(".page.txt.swp"))
        self.sees(self.server, "/page.txt~", None)

    def test_emacs(self):
        """A lock that is a link to nowhere; a backup; written in place."""
        for turn in range(3):
            os.symlink("me@host.4711:1700000000", self.path(".#page.txt"))
            if turn == 0:
                os.rename(self.path(), self.path("page.txt~"))
            self.put(self.root, "page.txt", b"emacs %d" % turn)
            self.saved(b"emacs %d" % turn)
            os.unlink(self.path(".#page.txt"))
        os.unlink(self.path("page.txt~"))
        self.assertNotIn(".#page", self.server.log())

    def test_emacs_where_hidden_files_are_served(self):
        server = self.start("--settle=20ms", "--gate=none", "--hidden")
        os.symlink("me@host.4711:1700000000", self.path(".#page.txt"))
        self.put(self.root, "page.txt", b"hidden too")
        self.sees(server, "/page.txt", b"hidden too")
        os.unlink(self.path(".#page.txt"))
        self.assertNotIn(".#page", server.log())

    def test_sed(self):
        self.put(self.root, "page.txt", b"one two")
        subprocess.run(["sed", "-i", "s/two/three/", self.path()], check=True)
        self.saved(b"one three")

    def test_rsync(self):
        """A hidden name that grows for a while beside the others, which need not wait for it."""
        with open(self.path(".page.txt.Xa3fQ1"), "wb") as file:
            for turn in range(3):
                file.write(b"part %d " % turn)
                file.flush()
                self.put(self.root, "other.txt", b"turn %d" % turn)
                self.sees(self.server, "/other.txt", b"turn %d" % turn)
        os.utime(self.path(".page.txt.Xa3fQ1"), (1_000_000_000, 1_000_000_000))
        os.rename(self.path(".page.txt.Xa3fQ1"), self.path())
        self.saved(b"part 0 part 1 part 2 ")

    def test_a_log_that_is_appended_for_ever(self):
        server = self.start("--settle=200ms", "--settle-max=1s", "--gate=none")
        stopping = threading.Event()

        def append():
            with open(self.path("access.log"), "ab", buffering=0) as file:
                while not stopping.wait(0.005):
                    file.write(b"a line\n")

        writer = threading.Thread(target=append)
        writer.start()
        try:
            for turn in range(3):
                self.put(self.root, "page.txt", b"beside the log %d" % turn)
                self.sees(server, "/page.txt", b"beside the log %d" % turn)
        finally:
            stopping.set()
            writer.join()
        with open(self.path("access.log"), "rb") as file:
            self.sees(server, "/access.log", file.read())
        os.unlink(self.path("access.log"))


class Links(Watch):
    """Every hop of every link."""
    matrix = "backends"  # the watch knows no workers
    cost = 3

    def test_a_release_inside_root_is_switched(self):
        root = self.tree()
        for release in range(4):
            write(root, f".releases/{release}/app.js", b"release %d" % release)
        os.symlink(".releases/0", os.path.join(root, "current"))
        server = self.start(self.settle, root=root)
        for release in range(1, 4):
            relink(f".releases/{release}", os.path.join(root, "current"))
            self.sees(server, "/current/app.js", b"release %d" % release)
            self.put(root, f".releases/{release}/app.js", b"in place %d" % release)
            self.sees(server, "/current/app.js", b"in place %d" % release)

    def test_a_configmap_is_switched(self):
        """As Kubernetes updates a volume: file -> ..data/file, ..data -> ..TIME, and a rename of another ..data over it."""
        root = os.path.join(self.directory(), "volume")
        write(root, "..0/index.html", b"map 0")
        os.symlink("..0", os.path.join(root, "..data"))
        os.symlink("..data/index.html", os.path.join(root, "index.html"))
        server = self.start(self.settle, root=root)
        for turn in range(1, 6):
            write(root, f"..{turn}/index.html", b"map %d" % turn)
            os.symlink(f"..{turn}", os.path.join(root, "..data_tmp"))
            os.rename(os.path.join(root, "..data_tmp"), os.path.join(root, "..data"))
            shutil.rmtree(os.path.join(root, f"..{turn - 1}"))
            self.sees(server, "/", b"map %d" % turn)

    def test_links_out_of_root(self):
        base = self.directory()
        root = os.path.join(base, "root")
        write(root, "index.html", b"home")
        write(base, "out/file.txt", b"outside")
        write(base, "out/dir/sub/page.txt", b"page")
        os.symlink(os.path.join(base, "out/file.txt"), os.path.join(root, "absolute.txt"))
        os.symlink("../hop", os.path.join(root, "dir"))
        os.symlink("out/dir", os.path.join(base, "hop"))
        os.symlink("../later/there.txt", os.path.join(root, "dangling.txt"))
        server = self.start(self.settle, "--symlinks=follow", "--gate=none", root=root)
        self.sees(server, "/dir/sub/page.txt", b"page")
        self.put(base, "out/file.txt", b"in place")
        self.sees(server, "/absolute.txt", b"in place")
        write(base, "out/file.txt", b"replaced")
        self.sees(server, "/absolute.txt", b"replaced")
        os.unlink(os.path.join(base, "out/file.txt"))
        self.sees(server, "/absolute.txt", None)
        self.put(base, "out/file.txt", b"again")
        self.sees(server, "/absolute.txt", b"again")
        self.put(base, "out/dir/sub/new/page.txt", b"new")
        self.sees(server, "/dir/sub/new/page.txt", b"new")
        write(base, "other/sub/page.txt", b"other")
        relink("other", os.path.join(base, "hop"))
        self.sees(server, "/dir/sub/page.txt", b"other")
        self.put(base, "later/there.txt", b"there")
        self.sees(server, "/dangling.txt", b"there")
        self.equal(server, root)
        self.assertNotIn("every few seconds", server.log())


def in_namespaces(flags, then):
    """For before_exec: new namespaces, in which this user is root, and what is to be done in them."""
    uid, gid = os.getuid(), os.getgid()

    def enter():
        if libc.unshare(ctypes.c_int(flags)) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        if flags & CLONE_NEWUSER:
            for name, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(value)
        then()
    return enter


def possible(enter):
    """Whether a child may do that."""
    try:
        subprocess.run(["true"], preexec_fn=enter, check=True, stderr=subprocess.DEVNULL)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


class Doubt(Watch):
    """Where inotify does not do. The pause until the next look is twenty times what the last one took, waiting included."""
    looked = 20 * BOUND
    matrix = "backends"  # the watch knows no workers
    cost = 4

    def few_watches(self, most):
        def limit():
            with open("/proc/sys/user/max_inotify_watches", "w", encoding="ascii") as file:
                file.write(str(most))
        enter = in_namespaces(CLONE_NEWUSER, limit)
        if not possible(enter):
            raise unittest.SkipTest("no user namespace here whose inotify watches could be limited")
        return enter

    def big_tree(self):
        root = self.tree()
        for at in range(40):
            write(root, f"d{at}/e/page.txt", b"page %d" % at)
        return root

    def test_too_few_watches(self):
        root = self.big_tree()
        server = self.start(self.settle, "--gate=none", root=root, before_exec=self.few_watches(30))
        for turn in range(2):
            for at in (0, 20, 39):
                self.put(root, f"d{at}/e/page.txt", b"turn %d of %d" % (turn, at))
            self.put(root, f"d39/new{turn}/page.txt", b"new")
            self.equal(server, root, bound=self.looked)
        os.rename(os.path.join(root, "d38"), os.path.join(root, "moved"))
        self.equal(server, root, gone=["/d38/e/page.txt"], bound=self.looked)
        self.assertEqual(server.log().count("fs.inotify.max_user_watches"), 1, "said once")

    def test_too_few_watches_for_inotify_alone(self):
        root = self.big_tree()
        status, _, error = run(["--listen=127.0.0.1:0", "--watch=inotify", root], before_exec=self.few_watches(30))
        self.assertEqual(status, 1)
        self.assertIn("fs.inotify.max_user_watches", error)
        self.assertIn("--watch=auto", error)
        server = self.start(self.settle, "--watch=inotify", root=self.tree(), before_exec=self.few_watches(30))
        self.assertNotIn("cannot watch", server.log())

    def test_polling(self):
        base = self.directory()
        root = os.path.join(base, "root")
        for at in range(5):
            write(root, f"d{at}/page.txt", b"page %d" % at)
        write(base, "out/file.txt", b"outside")
        os.symlink("../out/file.txt", os.path.join(root, "link.txt"))
        server = self.start(self.settle, "--watch=poll", "--symlinks=follow", "--gate=none", root=root)
        self.put(root, "d3/page.txt", b"changed")
        self.put(root, "new/dir/page.txt", b"new")
        self.equal(server, root, bound=self.looked)
        self.put(base, "out/file.txt", b"in place")
        self.equal(server, root, bound=self.looked)
        os.rename(root, root + ".away")
        wait_for(lambda: "cannot reload" in server.log(), "a line about ROOT", self.looked)
        os.rename(root + ".away", root)
        self.put(root, "d1/page.txt", b"back")
        self.equal(server, root, bound=self.looked)
        self.assertEqual(server.log().count("cannot reload"), 1)
        self.assertNotIn("cannot watch", server.log())


class Roots(Watch):
    """ROOT goes, comes back, and is another one."""
    matrix = "backends"  # the watch knows no workers
    cost = 3

    def warned_once(self, server):
        wait_for(lambda: "cannot reload" in server.log(), "a line that says that ROOT is away")
        self.assertEqual(server.log().count("cannot reload"), 1)

    def test_deleted_and_made_again(self):
        root = self.tree()
        server = self.start(self.settle, "--gate=none", root=root)
        with server.held():  # it sees none of the states between
            shutil.rmtree(root)
        self.warned_once(server)
        self.assertEqual(server.get("/f0.txt").body, b"file 0")
        write(root, "f0.txt", b"again")
        self.equal(server, root, gone=["/f1.txt"])
        self.put(root, "f0.txt", b"and watched")
        self.equal(server, root)

    def test_moved_away_and_replaced(self):
        root = self.tree()
        server = self.start(self.settle, "--gate=none", root=root)
        os.rename(root, root + ".old")
        self.warned_once(server)
        write(root + ".new", "f0.txt", b"another one")
        os.rename(root + ".new", root)
        self.equal(server, root, gone=["/f1.txt"])
        self.put(root + ".old", "f0.txt", b"nobody's business")
        self.put(root, "f0.txt", b"watched")
        self.equal(server, root)

    def test_the_directory_above_is_moved(self):
        root = self.tree()
        above = os.path.dirname(root)
        server = self.start(self.settle, "--gate=none", root=root)
        os.rename(above, above + ".away")
        self.warned_once(server)
        os.rename(above + ".away", above)
        self.put(root, "f0.txt", b"back")
        self.equal(server, root)

    def test_mounted_over_and_unmounted(self):
        root = self.tree()

        def private():
            if libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None) != 0:
                raise OSError(ctypes.get_errno(), "mount")

        enter = in_namespaces(CLONE_NEWNS if os.getuid() == 0 else CLONE_NEWNS | CLONE_NEWUSER, private)
        if os.getuid() != 0 or not possible(enter) or not shutil.which("nsenter"):
            raise unittest.SkipTest("no mount namespace of its own here (it takes root, and nsenter)")
        server = self.start(self.settle, "--gate=index", root=root, before_exec=enter)

        def inside(*command):
            subprocess.run(["nsenter", "-t", str(server.pid), "-m", *command], check=True)

        # an empty file system: the index is gone, and the old snapshot stays
        inside("mount", "-t", "tmpfs", "none", root)
        self.warned_once(server)
        self.assertEqual(server.get("/f0.txt").body, b"file 0")
        inside("sh", "-c", f"echo mounted >{root}/f0.txt; echo index >{root}/index.html")
        self.sees(server, "/f0.txt", b"mounted\n")
        self.sees(server, "/f1.txt", None)
        inside("sh", "-c", f"echo changed >{root}/f0.txt")
        self.sees(server, "/f0.txt", b"changed\n")
        inside("umount", "-l", root)  # a build may be at it
        self.equal(server, root)
        # and over a directory within
        os.mkdir(os.path.join(root, "sub"))
        self.put(root, "sub/file.txt", b"below")
        self.equal(server, root)
        inside("mount", "-t", "tmpfs", "none", os.path.join(root, "sub"))
        self.sees(server, "/sub/file.txt", None)
        inside("sh", "-c", f"echo on top >{root}/sub/file.txt")
        self.sees(server, "/sub/file.txt", b"on top\n")
        inside("umount", "-l", os.path.join(root, "sub"))
        self.equal(server, root)


class Signals(Watch):
    """SIGHUP whenever it comes."""
    matrix = "backends"  # the watch knows no workers
    cost = 2

    def test_thousands_during_builds_and_during_the_end(self):
        root = self.tree(200)
        for watch in ("auto", "off"):
            server = self.start(self.settle, f"--watch={watch}", "--gate=none", root=root)
            stopping = threading.Event()

            def storm():
                while not stopping.is_set() and server.running():
                    server.signal(signal.SIGHUP)

            senders = [threading.Thread(target=storm) for _ in range(2)]
            for sender in senders:
                sender.start()
            try:
                for turn in range(5):
                    self.put(root, "f7.txt", b"%s %d" % (watch.encode(), turn))
                    self.sees(server, "/f7.txt", b"%s %d" % (watch.encode(), turn))
                with server.client() as client:  # which is drained with the signals still coming
                    self.assertEqual(client.ask("/").status, 200)
                    server.signal(signal.SIGTERM)
                    server.wait_exit()
            finally:
                stopping.set()
                for sender in senders:
                    sender.join()
