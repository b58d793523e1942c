"""The site of a soak: what each version of each file is, and a tree in which they are deployed one after the other.

Versions of a file are numbered through without an end and come round, so that the client can compare with all that will
ever be written (site.h). The table is shared memory: for each file the oldest version that may still be served to who
asks from now on, and the newest that has begun to be written.
"""
import mmap
import os
import random
import shutil
import struct

FILES_MAX = 256  # SITE_FILES
PAGE = 4096  # what is written in place is a page at most: one that is half written is then no matter of chance
NOISE = random.Random("soak").randbytes(8 << 20)
WORDS = [bytes(random.Random(f"word {at}").choices(b"etaoinshrdlu", k=2 + at % 9)) for at in range(997)]
STREAM_ABOVE = 4 << 20


def content(name, version, length):
    """These bytes are this version's of this file, and no other's."""
    head = b"%s version %d of %d bytes\n" % (name.encode(), version, length)
    choice = random.Random(f"{name} {version}")
    if name.startswith("/p/"):
        words = [head]
        size = len(head)
        while size < length:
            words.append(choice.choice(WORDS) + b" ")
            size += len(words[-1])
        return b"".join(words)[:length]
    start = choice.randrange(len(NOISE) - length)
    return head + NOISE[start:start + length - len(head)]


class File:
    """One target: its kind as of site.h, how it may be changed, and the lengths of its versions."""

    def __init__(self, at, target, kind, ways, lengths):
        self.at, self.target, self.kind, self.ways = at, target, kind, ways
        self.bodies = [content(target, version, length) for version, length in enumerate(lengths)]
        self.number = 0  # the newest that was written

    def body(self, number):
        return self.bodies[number % len(self.bodies)]


def plan(small=60, large=(300 << 10, 700 << 10, 1 << 20, 1500 << 10), streamed=(5 << 20, 6 << 20)):
    """The files of the site. Versions of what is held in memory have nearly the same length, so that what is held grows
    for no reason of theirs."""
    choice = random.Random("plan")
    files = []

    def add(target, kind, ways, lengths):
        files.append(File(len(files), target, kind, ways, lengths))

    for at in range(small):
        length = choice.choice((100, 300, 700, 1000, 1500, 2500, PAGE, 5000, 8000))
        ways = ("place", "rename", "release") if length <= PAGE else ("rename", "release")
        add(f"/s/{at}.bin", "small", ways, [length] * 16)
    for at in range(8):
        add(f"/k/{at}.bin", "small", ("link",), [choice.randrange(200, 6000)] * 8)
    for at in range(16):
        suffix = ("html", "css", "js", "svg")[at % 4]
        add(f"/p/{at}.{suffix}", "page", ("rename", "release"), [choice.randrange(2000, 25000)] * 8)
    for at, length in enumerate(large):
        add(f"/l/{at}.bin", "large", ("rename", "release"), [length + version for version in range(4)])
    for at, length in enumerate(streamed):
        add(f"/v/{at}.bin", "streamed", ("rename", "release"), [length + 1000 * version for version in range(3)])
    for at in range(4):
        add(f"/g/{at}.js", "gone", ("gone",), [choice.randrange(100, 3000)] * 4)
    for at in range(4):
        add(f"/none/{at}.html", "absent", (), [])
    assert len(files) <= FILES_MAX
    return files


class Table:
    def __init__(self, path):
        with open(path, "wb") as file:
            file.truncate(8 + 8 * FILES_MAX)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def draining(self, value):
        struct.pack_into("=I", self.memory, 0, value)

    def floor(self, file, number):
        struct.pack_into("=I", self.memory, 8 + 8 * file.at, number)

    def ceiling(self, file, number):
        struct.pack_into("=I", self.memory, 12 + 8 * file.at, number)


class Tree:
    """A directory with `releases/N`, the link `current`, and what the client reads. One thread deploys."""

    def __init__(self, base, seed, files=None):
        self.base = base
        self.choice = random.Random(seed)
        self.files = files or plan()
        self.root = os.path.join(base, "current")
        os.makedirs(os.path.join(base, "versions"))
        with open(os.path.join(base, "manifest"), "w", encoding="ascii") as manifest:
            for file in self.files:
                manifest.write(f"{file.target} {file.kind} {len(file.bodies)}\n")
                for version, body in enumerate(file.bodies):
                    self.write(os.path.join(base, "versions", f"{file.at}.{version}"), body)
        self.table = Table(os.path.join(base, "table"))
        self.release = 0
        self.bag = []
        self.counts = {way: 0 for way in ("place", "rename", "release", "link", "gone")}
        self.switch([])

    @staticmethod
    def write(path, body):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(body)

    def of_way(self, way):
        return [file for file in self.files if way in file.ways]

    def path(self, file):
        return os.path.join(self.base, "releases", str(self.release)) + file.target

    def begin(self, file):
        """The next version may be served from now on."""
        file.number += 1
        self.table.ceiling(file, file.number)
        return file.body(file.number)

    def settled(self, files):
        """Nothing older is served any more."""
        for file, number in files:
            if file.kind != "gone":
                self.table.floor(file, number)

    def some(self, files, count):
        """Different ones, of each kind as often as of the others."""
        kinds = sorted({file.kind for file in files})
        found = {}
        for _ in range(count):
            kind = self.choice.choice(kinds)
            file = self.choice.choice([file for file in files if file.kind == kind])
            found[file.at] = file
        return list(found.values())

    def deploy(self):
        """Changes something in one of the ways. Gives what must be served now, as (file, number) pairs, and how."""
        if not self.bag:  # each has its turn
            self.bag = ["place", "place", "rename", "rename", "release", "link", "gone"]
            self.choice.shuffle(self.bag)
        way = self.bag.pop()
        self.counts[way] += 1
        files = self.some(self.of_way(way), self.choice.randrange(1, 4))
        if way == "release":
            files += self.choice.sample(self.of_way("place"), 4)
            self.switch(list({file.at: file for file in files}.values()))
        else:
            for file in files:
                getattr(self, way)(file)
        return [(file, file.number) for file in files if os.path.exists(self.path(file))], way

    def place(self, file):
        """Over what is there; one page, of the same length."""
        body = self.begin(file)
        with open(self.path(file), "r+b", buffering=0) as out:
            os.pwrite(out.fileno(), body, 0)

    def rename(self, file):
        path = self.path(file)
        beside = os.path.join(os.path.dirname(path), ".new-" + os.path.basename(path))
        self.write(beside, self.begin(file))
        os.rename(beside, path)

    def link(self, file):
        """A link within the tree, to another file."""
        self.begin(file)
        self.link_to(file, os.path.dirname(self.path(file)))

    def link_to(self, file, directory):
        name = f"{file.at}-{file.number % len(file.bodies)}"
        beside = os.path.join(directory, f".new-{file.at}")
        os.symlink(f"../pool/{name}.bin", beside)
        os.rename(beside, os.path.join(directory, os.path.basename(file.target)))

    def gone(self, file):
        """Deletes it, or brings it back in another version."""
        if os.path.exists(self.path(file)):
            os.unlink(self.path(file))
        else:
            self.rename(file)

    def switch(self, changed):
        """A whole new release, with these files changed; then the link to it by rename. Unchanged files are links of
        their inodes, but for those that will be written in place, and those that are streamed: with a link more and
        then one less, one of these has another ctime and as many links as before, as after a write with its times set
        back, and an answer that is under way is broken off (backends/file_send.c)."""
        before = os.path.join(self.base, "releases", str(self.release))
        bodies = {file.at: self.begin(file) for file in changed}
        self.release += 1
        for file in self.files:
            path = self.path(file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if "link" in file.ways:
                for version, body in enumerate(file.bodies):
                    self.share(f"{before}/pool/{file.at}-{version}.bin",
                               os.path.join(os.path.dirname(os.path.dirname(path)), f"pool/{file.at}-{version}.bin"),
                               body)
                self.link_to(file, os.path.dirname(path))
            elif file.at in bodies or "place" in file.ways or file.kind == "streamed":
                self.write(path, bodies.get(file.at) or file.body(file.number))
            elif file.kind == "gone" and self.release > 1 and not os.path.exists(before + file.target):
                continue
            elif file.bodies:
                self.share(before + file.target, path, file.body(file.number))
        os.symlink(f"releases/{self.release}", self.root + ".new")
        os.rename(self.root + ".new", self.root)

    def share(self, old, new, body):
        os.makedirs(os.path.dirname(new), exist_ok=True)
        if os.path.exists(old):
            os.link(old, new)
        else:
            self.write(new, body)

    def cool(self):
        """Has the page cache forget the streamed files."""
        for file in self.files:
            if file.kind == "streamed":
                try:
                    with open(self.path(file), "rb") as content:
                        os.fsync(content.fileno())
                        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                except FileNotFoundError:
                    pass  # another release has been made

    def sweep(self):
        """Releases of before the current one are deleted, once the current one is served."""
        for name in os.listdir(os.path.join(self.base, "releases")):
            if int(name) < self.release:
                shutil.rmtree(os.path.join(self.base, "releases", name))

