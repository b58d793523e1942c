#!/usr/bin/env python3
"""ci/layers passes on the tree, and fails, at the right line, for every forbidden thing that is planted in a copy."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TREE = pathlib.Path(__file__).resolve().parents[2]

# Where, what, and a part of the complaint.
PLANTS = [
    ("src/main.c", '#include "loom/worker.h"', "main may not include loom/worker.h"),
    ("src/main.c", '#include "loom/conn.h"', "main may not include loom/conn.h"),
    ("src/server.c", '#include "loom/conn.h"', "server may not include loom/conn.h"),
    ("src/server.c", '#include "loom/build.h"', "server may not include loom/build.h"),
    ("src/worker.c", '#include "loom/reload.h"', "worker may not include loom/reload.h"),
    ("src/worker.c", '#include "loom/log.h"', "worker may not include loom/log.h"),
    ("src/worker.c", '#include "loom/request.h"', "worker may not include loom/request.h"),
    ("src/conn.c", '#include "loom/worker.h"', "conn may not include loom/worker.h"),
    ("src/conn.c", '#include "loom/listen.h"', "conn may not include loom/listen.h"),
    ("src/conn.c", '#include "loom/build.h"', "the event loop never sees the reloader"),
    ("src/reload.c", '#include "loom/io.h"', "reload may not include loom/io.h"),
    ("src/reload.c", '#include "loom/conn.h"', "the reloader never sees the event loop"),
    ("src/reload.c", "#include <sys/socket.h>", "touches no socket"),
    ("src/build.c", '#include "loom/io.h"', "build may not include loom/io.h"),
    ("src/build.c", '#include "loom/conn.h"', "build may not include loom/conn.h"),
    ("src/build.c", '#include "loom/reload.h"', "build may not include loom/reload.h"),
    ("src/asset.c", '#include "loom/io.h"', "asset may not include loom/io.h"),
    ("src/asset.c", '#include "loom/build.h"', "asset may not include loom/build.h"),
    ("src/snapshot.c", '#include "loom/options.h"', "snapshot may not include loom/options.h"),
    ("src/wheel.c", '#include "loom/io.h"', "wheel may not include loom/io.h"),
    ("src/pool.c", '#include "loom/conn.h"', "pool may not include loom/conn.h"),
    ("src/log.c", '#include "loom/options.h"', "log may not include loom/options.h"),
    ("src/listen.c", '#include "loom/io.h"', "listen may not include loom/io.h"),
    ("src/options.c", '#include "loom/io.h"', "options may not include loom/io.h"),
    ("src/option_rows.h", '#include "loom/conn.h"', "options may not include loom/conn.h"),
    ("src/request.c", '#include "loom/io.h"', "request may not include loom/io.h"),
    ("src/request.c", "#include <unistd.h>", "request is pure"),
    ("src/target.c", "#include <fcntl.h>", "target is pure"),
    ("src/response.c", "#include <sys/socket.h>", "response is pure"),
    ("src/response.c", '#include "loom/pool.h"', "response may not include loom/pool.h"),
    ("src/mime.c", "#include <stdio.h>", "mime is pure"),
    ("src/date.c", "#include <sys/time.h>", "date is pure"),
    ("src/date.c", "static long planted(void) { return time(0); }", "may not call time()"),
    ("src/response.c", "static int planted(void) { return clock_gettime(0, 0); }", "may not call clock_gettime()"),
    ("src/conn.c", "#include <sys/epoll.h>", "only backends/ may include <sys/epoll.h>"),
    ("src/worker.c", "#include <liburing.h>", "only backends/ may include <liburing.h>"),
    ("include/loom/io.h", "#include <liburing.h>", "only backends/ may include <liburing.h>"),
    ("src/worker.c", '#include "../backends/epoll.h"', "private to another folder"),
    ("src/server.c", 'static const char *planted = "io_uring";', "names a backend"),
    ("src/worker.c", "extern int epoll_planted;", "names a backend"),
    ("src/conn.c", "static int planted(struct io *io) { return strcmp(io->ops->name, x); }", "asks which one runs"),
    ("backends/epoll.c", '#include "loom/conn.h"', "backends know loom/io.h"),
    ("backends/select.c", '#include "loom/options.h"', "backends know loom/io.h"),
    ("backends/backends.h", '#include "../src/option_rows.h"', "backends know loom/io.h"),
    ("src/planted.c", '#include "loom/io.h"', "in no row of ci/layers"),
    ("src/server.c", '#include "loom/planted.h"', "in no row of ci/layers"),
]

# What no single include shows: a header on the way leads over the wall.
THROUGH = [
    ("include/loom/snapshot.h", '#include "loom/io.h"', "src/build.c", "the reloader never sees the event loop"),
    ("include/loom/options.h", '#include "loom/log.h"', "src/request.c", "this module is pure"),
    ("include/loom/wheel.h", '#include "loom/listen.h"', "src/conn.c", "the event loop never sees the reloader"),
]

HARMLESS = [
    ("src/conn.c", "/* epoll and io_uring may be named here,"),
    ("src/worker.c", "// and here: epoll"),
    ("src/date.c", "static time_t planted_time(time_t time);"),
    ("src/response.c", "static int planted_at_time(int x);"),
]


def layers(tree):
    done = subprocess.run([sys.executable, tree / "ci/layers"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


class Layers(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="loom-layers-")
        self.addCleanup(directory.cleanup)
        self.tree = pathlib.Path(directory.name)
        for name in ("ci", "src", "include", "backends"):
            shutil.copytree(TREE / name, self.tree / name)

    def plant(self, name, text):
        path = self.tree / name
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("\n".join([*lines, text, ""]))
        return len(lines) + 1

    def test_the_tree_is_clean(self):
        status, said = layers(TREE)
        self.assertEqual((status, said), (0, ""))

    def test_a_planted_line_is_found_where_it_is(self):
        for name, text, part in PLANTS:
            with self.subTest(file=name, planted=text):
                path = self.tree / name
                before = path.read_text() if path.exists() else None
                line = self.plant(name, text)
                status, said = layers(self.tree)
                if before is None:
                    path.unlink()
                else:
                    path.write_text(before)
                self.assertEqual(status, 1)
                self.assertRegex(said, rf"(?m)^{re.escape(name)}:{line}: .*{re.escape(part)}")
        self.assertEqual(layers(self.tree), (0, ""))

    def test_a_wall_holds_through_headers(self):
        for name, text, where, part in THROUGH:
            with self.subTest(header=name, planted=text):
                before = (self.tree / name).read_text()
                self.plant(name, text)
                status, said = layers(self.tree)
                (self.tree / name).write_text(before)
                self.assertEqual(status, 1)
                folder, stem = where.split("/")
                self.assertRegex(said, rf"(?m)^(src/|include/loom/){stem.split('.')[0]}\.[ch]:\d+: .*{re.escape(part)}")

    def test_comments_and_names_that_look_alike_are_harmless(self):
        for name, text in HARMLESS:
            self.plant(name, text + (" */" if text.startswith("/*") else ""))
        self.assertEqual(layers(self.tree), (0, ""))

    def test_a_tree_without_sources_is_not_a_clean_one(self):
        shutil.rmtree(self.tree / "src")
        shutil.rmtree(self.tree / "include")
        shutil.rmtree(self.tree / "backends")
        self.assertEqual(layers(self.tree)[0], 2)


def main():
    outcome = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(Layers))
    failed = len(outcome.failures) + len(outcome.errors)
    passed = outcome.testsRun - len({str(case) for case, _ in outcome.failures + outcome.errors})
    print(f"{max(passed, 0)} passed, {failed} failed, {len(outcome.skipped)} skipped")
    return 0 if outcome.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
