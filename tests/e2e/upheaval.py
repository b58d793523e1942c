"""A tree in upheaval: a process that rewrites, renames, truncates, deletes and re-creates; and files that tell on it.

Each file says in its first line what it is: its family, its version, its length; the rest follows from these. So any
body can be judged without knowing who wrote what when: it is one whole version, or it is not. Versions are counted
through, so that of two bodies the later one is known as well.

Everything that is done follows from the seed: a writer is a generator that stops after each system call, and chance
says which one goes on. What a file held between two system calls is written down with the time that it rested so: by
nothing else can a server tell a file that is half written from one that is done.
"""
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
import traceback

NOISE = random.Random("upheaval").randbytes((1 << 22) + (4 << 20))
HEADER = re.compile(rb"([a-z-]+) (\d{10}) (\d{10})\n")
SIZES = (1, 2, 31, 100, 1000, 4096, 4097, 30000, 65536, 65537, 200000, 1 << 20)
DIRECTORIES = ("place", "swap", "gone", "tree", "moves", "pool/a", "pool/b", "links", "burst")
EVENTS_MAX = int(open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii").read())  # of one inotify instance


def content(family, version, length):
    """The one content that this file has in this version and length."""
    assert length <= 4 << 20
    head = b"%s %010d %010d\n" % (family.encode(), version, length)
    if length < len(head):
        return bytes([33 + version % 90]) * length  # too short for words: torn when its bytes are not all the same
    start = version * 7919 & ((1 << 22) - 1)  # odd, so that versions begin at places of their own
    return head + NOISE[start:start + length - len(head)]


def judge(body):
    """What a body is: (family, version), of a short one (None, None); or None when it is no whole version."""
    match = HEADER.match(body)
    if match:
        family, version, length = match[1].decode(), int(match[2]), int(match[3])
        return (family, version) if length == len(body) and content(family, version, length) == body else None
    return (None, None) if body and len(body) < 40 and len(set(body)) == 1 else None


def begins(body):
    """Whether these are the first bytes of some whole version, as of a body that was cut short."""
    match = HEADER.match(body)
    return len(body) < 40 or bool(match) and content(match[1].decode(), int(match[2]), int(match[3])).startswith(body)


def digest(body):
    return hashlib.blake2b(body, digest_size=16).digest()


def targets():
    """Every name that may ever be asked for."""
    found = [f"/{name}/{at}.bin" for name in ("place", "swap") for at in range(10)]
    found += [f"/gone/{at}.bin" for at in range(6)] + [f"/gone/dir{at}/x.bin" for at in range(3)]
    found += [f"/tree/{top}/d/e/{at}.bin" for top in "abc" for at in range(3)]
    found += [f"/moves/{at}.bin" for at in range(5)] + [f"/burst/{at}.bin" for at in range(5)]
    found += [f"/links/{at}.bin" for at in range(3)] + [f"/links/d/{at}.bin" for at in range(3)]
    return found


def family_of(target):
    """The families whose files may be found there."""
    top = target.split("/")[1]
    return ("pool-a", "pool-b") if top == "links" else (top,)


ALWAYS = {target for target in targets() if target.split("/")[1] in ("place", "swap", "links")}  # never a 404
ORDERED = {target for target in targets() if target.split("/")[1] in ("place", "swap", "gone")}  # versions only rise


class Upheaval:
    """Base holds `releases/N` and the link `current`; what lies behind the link is the tree."""

    def __init__(self, base, seed, large=0, in_place=True):
        self.base = base
        self.root = os.path.join(base, "current")
        self.choice = random.Random(seed)
        self.large = large  # more weight on files that are larger than this
        self.in_place = in_place
        self.release = 0
        self.version = 0
        self.lengths = {}
        self.states = {}  # target: [[digest, from, until]], of files that are written in place
        self.counts = {}
        self.new_release()

    # what files are made of

    def next(self, family, target):
        """The next version of a file: half of the time as long as the last, and to be told apart all the same."""
        self.version += 1
        if target not in self.lengths or self.choice.random() < 0.5:
            sizes = SIZES
            if self.large and self.choice.random() < 0.6:
                sizes = [size for size in SIZES if size > self.large] + [3 << 20]
            self.lengths[target] = self.choice.choice(sizes)
        return content(family, self.version, self.lengths[target])

    def path(self, target):
        return self.tree + target

    def put(self, target, data, root=None):
        path = (root or self.tree) + target
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(data)

    def put_whole(self, target, data):
        """By rename, from a hidden name beside it."""
        directory, name = os.path.split(target)
        self.put(f"{directory}/.part-{name}", data)
        os.rename(self.path(f"{directory}/.part-{name}"), self.path(target))

    def note_state(self, target, data, since):
        """The file holds this from now on. Times are for the longest that it may have rested: from before the call that
        made it to after the one that ends it."""
        states = self.states.setdefault(target, [])
        if states and states[-1][2] is None:
            states[-1][2] = time.monotonic()
        states.append([digest(data), since, None])

    # the whole tree

    def new_release(self):
        """The next release, whole, and then the link by rename. What was begun in the old one is left as it is, and so
        rests for ever."""
        self.release += 1
        tree = os.path.join(self.base, "releases", str(self.release))
        for states in self.states.values():
            states[-1][2] = float("inf")
        for name in DIRECTORIES:
            os.makedirs(os.path.join(tree, name))
        self.put("/index.html", b"<!doctype html><title>release %d</title>" % self.release, tree)
        for target in targets():
            top = target.split("/")[1]
            if top in ("place", "swap", "gone", "moves", "tree"):
                data = self.next(top, target)
                self.put(target, data, tree)
                if top == "place":
                    self.note_state(target, data, time.monotonic())
        for pool in "ab":
            for at in range(3):
                self.put(f"/pool/{pool}/{at}.bin", self.next(f"pool-{pool}", f"/pool/{pool}/{at}.bin"), tree)
        for at in range(3):
            os.symlink(f"../pool/a/{at}.bin", os.path.join(tree, f"links/{at}.bin"))
        os.symlink("../pool/a", os.path.join(tree, "links/d"))
        os.symlink(f"releases/{self.release}", self.root + ".new")
        os.rename(self.root + ".new", self.root)
        self.tree = tree
        # A streamed file that was written to, given its old time back and deleted, all before anybody looked, cannot be told
        # from one that was only deleted (backends/file_send.c): this test does not do all three.
        if not (self.large and self.in_place):
            shutil.rmtree(os.path.join(self.base, "releases", str(self.release - 2)), ignore_errors=True)

    # writers: each step is at most a few system calls

    def write_in_place(self, target):
        """Over what is there, front to back or back to front, or cut to nothing or to a part of it first."""
        path, data = self.path(target), self.next("place", target)
        with open(path, "r+b", buffering=0) as file:
            held = bytearray(file.read())

            def did(call, *arguments):
                since = time.monotonic()
                call(*arguments)
                # The file's time is of the kernel's last tick, which can be long ago where a processor was taken away.
                back = time.time() - os.fstat(file.fileno()).st_ctime
                self.note_state(target, held, min(since, time.monotonic() - back))

            how = self.choice.randrange(4)
            old = os.fstat(file.fileno())
            if how == 0 or len(held) > len(data):
                keep = 0 if how == 0 else len(data)
                del held[keep:]
                did(file.truncate, keep)
                yield
            pieces = min(self.choice.choice((1, 1, 2, 3, 8)), len(data))
            edges = sorted({0, len(data), *(self.choice.randrange(len(data)) for _ in range(pieces - 1))})
            spans = list(zip(edges, edges[1:]))
            for start, end in spans if how != 1 else reversed(spans):
                held.extend(bytes(max(start - len(held), 0)))  # a hole
                held[start:end] = data[start:end]
                did(os.pwrite, file.fileno(), data[start:end], start)
                yield
            if how == 2:  # as tools do that restore times: only ctime tells
                os.utime(file.fileno(), ns=(old.st_atime_ns, old.st_mtime_ns))

    def write_and_rename(self, target):
        path = self.path(target)
        beside = os.path.join(os.path.dirname(path), ".new-" + os.path.basename(path))
        data = self.next("swap", target)
        with open(beside, "wb", buffering=0) as file:
            for start in range(0, len(data), 1 << 17):
                file.write(data[start:start + (1 << 17)])
                yield
            if self.choice.random() < 0.3:  # the second of all other files that are so treated
                os.utime(file.fileno(), (1700000000, 1700000000))
        os.rename(beside, path)

    def delete_and_create(self, target):
        path = self.path(target)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        if "/dir" in target:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        yield
        # Beside and by rename here as well: what is created and then written is write_in_place()'s.
        data = self.next("gone", target)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        yield
        self.put_whole(target, data)

    def make_tree(self, top):
        """A tree goes and comes back, renamed into place or growing there, deep directories first."""
        path = self.path(f"/tree/{top}")
        if self.choice.random() < 0.5 and os.path.isdir(path):
            away = self.path(f"/tree/.away-{top}")
            os.rename(path, away)
            yield
            shutil.rmtree(away)
        else:
            shutil.rmtree(path, ignore_errors=True)
        yield
        whole = self.choice.random() < 0.5
        made = f"/tree/.new-{top}" if whole else f"/tree/{top}"
        for at in range(3):
            data = self.next("tree", f"/tree/{top}/d/e/{at}.bin")
            self.put_whole(f"{made}/d/e/{at}.bin", data)
            yield
        if whole:
            os.rename(self.path(made), path)

    def move(self, _):
        """Files trade places."""
        names = [self.path(f"/moves/{at}.bin") for at in range(5)]
        first, second = self.choice.sample(names, 2)
        if os.path.exists(first):
            os.rename(first, second)
        yield
        if not os.path.exists(first):
            data = self.next("moves", first)
            self.put_whole(f"/moves/{os.path.basename(first)}", data)

    def switch_link(self, name):
        """A link within the tree, to the other pool; after that, what it leads to."""
        path = self.path(f"/links/{name}")
        pool = self.choice.choice("ab")
        os.symlink(f"../pool/{pool}" + ("" if name == "d" else f"/{name}"), path + ".new")
        os.rename(path + ".new", path)
        yield
        at = self.choice.randrange(3)
        data = self.next(f"pool-{pool}", f"/pool/{pool}/{at}.bin")
        self.put_whole(f"/pool/{pool}/{at}.bin", data)

    def burst(self, count):
        """Files by the thousand, and away with them."""
        for at in range(count):
            self.put(f"/burst/many/{at % 40}/{at}.bin", b"x")
            if at % 50 == 49:
                yield
        for at in range(5):
            self.put_whole(f"/burst/{at}.bin", self.next("burst", f"/burst/{at}.bin"))
        yield
        shutil.rmtree(self.path("/burst/many"))

    def overflow(self, pid):
        """The queue of inotify runs over for certain: nobody reads while more is written into it than it holds, and no
        two events in a row are the same, which would be counted once. Then come changes whose events are lost."""
        self.put("/burst/odd", b"odd")
        self.put("/burst/even", b"even")
        os.kill(pid, signal.SIGSTOP)
        try:
            ends = [os.open(self.path(f"/burst/{name}"), os.O_WRONLY) for name in ("odd", "even")]
            for at in range(EVENTS_MAX + 1000):
                os.pwrite(ends[at & 1], b"x", 0)
            for fd in ends:
                os.close(fd)
            for lost in (self.write_and_rename("/swap/0.bin"), self.delete_and_create("/gone/0.bin"),
                         self.make_tree("a"), self.switch_link("0.bin")):
                for _ in lost:
                    pass
        finally:
            os.kill(pid, signal.SIGCONT)

    # the process

    def end_all(self, running):
        """Lets the writers that are at work come to their ends."""
        for writer in running.values():
            for _ in writer:
                pass
        running.clear()

    def step_in(self, running, pid, burst):
        """Another writer begins: for a file or a directory that no other one is at."""
        kinds = ["swap"] * 5 + ["gone"] * 3 + ["tree", "moves", "links", "links"]
        kinds += ["place"] * 5 if self.in_place else []
        kind = self.choice.choice(kinds)
        if self.choice.random() < 0.01:
            kind = self.choice.choice(("burst", "overflow", "release", "sighup"))
        self.begin(kind, running, pid, burst)

    def begin(self, kind, running, pid, burst):
        at = self.choice.randrange
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "release":
            for writer in running.values():
                writer.close()
            running.clear()
            self.new_release()
        elif kind == "overflow":  # it stands for other writers of the same files
            self.end_all(running)
            self.overflow(pid)
        elif kind == "sighup":
            os.kill(pid, signal.SIGHUP)
        else:
            make, name = {
                "place": (self.write_in_place, f"/place/{at(10)}.bin"),
                "swap": (self.write_and_rename, f"/swap/{at(10)}.bin"),
                "gone": (self.delete_and_create, self.choice.choice([f"/gone/{at(6)}.bin", f"/gone/dir{at(3)}/x.bin"])),
                "tree": (self.make_tree, self.choice.choice("abc")), "moves": (self.move, "moves"),
                "links": (self.switch_link, self.choice.choice(["d", "0.bin", "1.bin", "2.bin"])),
                "burst": (self.burst, burst)}[kind]
            # Writers of one directory with a common name beside their files go one after the other.
            key = kind if kind in ("moves", "links", "burst") else name
            if key not in running:
                running[key] = make(name)

    def go(self, seconds, pid, burst):
        """Upheaval for so long; ends with every file whole."""
        end = time.monotonic() + seconds
        running, key, first = {}, None, ["overflow", "release", "burst"]
        while time.monotonic() < end or first:
            if first and self.choice.random() < 0.03:  # each of the rare ones once at least
                self.begin(first.pop(), running, pid, burst)
            while len(running) < 4:
                self.step_in(running, pid, burst)
            if key not in running or self.choice.random() < 0.3:
                key = self.choice.choice(sorted(running))
            if next(running[key], self) is self:
                del running[key]
            if self.choice.random() < 0.004:
                self.end_all(running)  # a rest, with every file whole
                time.sleep(0.15)
            elif self.choice.random() < 0.1:
                time.sleep(0.001)
        self.end_all(running)

    def start(self, seconds, pid, burst):
        """In a process of its own; call before there are threads."""
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe(False)

        def work():
            try:
                os.setpriority(os.PRIO_PROCESS, 0, -10)  # against clients that never rest
            except PermissionError:
                pass
            try:
                self.go(seconds, pid, burst)
                theirs.send((self.tree, self.states, self.counts, self.version))
            except Exception:
                theirs.send(traceback.format_exc())
            theirs.close()

        self.process = fork.Process(target=work, daemon=True)
        self.process.start()
        theirs.close()
        self.pipe = ours

    def finish(self, bound):
        """Waits for its end, and takes over what it wrote down."""
        if not self.pipe.poll(bound):
            self.process.kill()
            raise AssertionError(f"the writers did not end within {bound} s")
        told = self.pipe.recv()
        self.process.join()
        if isinstance(told, str):
            raise AssertionError("the writers have failed\n" + told)
        self.tree, self.states, self.counts, self.version = told

    def rested(self, target, body):
        """How long the file rested in this state, at most, in seconds; 0 when it never was in it as far as is known."""
        now = time.monotonic()
        wanted = digest(body)
        return max(((until or now) - since for state, since, until in self.states.get(target, ()) if state == wanted),
                   default=0)

    def on_disk(self):
        """{target: bytes} of the tree as it is."""
        found = {}
        for directory, names, files in os.walk(self.root, followlinks=True):
            names[:] = [name for name in names if not name.startswith(".")]
            for name in files:
                if not name.startswith("."):
                    path = os.path.join(directory, name)
                    with open(path, "rb") as file:
                        found[path[len(self.root):]] = file.read()
        return found
