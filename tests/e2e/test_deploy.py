"""Atomic deploys: a site of a thousand files, switched by a symbolic link again and again, under load.

A client behaves as a browser does: it gets a page, and then what the page names. Whatever is switched in between, the
page is of one release, and what it names is there, with that release's content. LOOM_E2E_LONG=1 switches 50 times,
otherwise 8.
"""
import functools
import hashlib
import os
import random
import re
import shutil
import threading

from case import Case, noise, write
from client import Malformed, request
from server import LONG, wait_for

SWITCHES = 50 if LONG else 8
PAGES = 200
ASSETS = 4  # of each page: a thousand files with the pages
NAMES = re.compile(rb'(?:src|href)="(/assets/[^"]+)"')


@functools.lru_cache(maxsize=None)
def asset(release, page, at):
    """(name, content): the name has a hash in it, as bundlers give it."""
    body = b"/* release %d, page %d, %d */" % (release, page, at)
    body += noise((release, page, at).__repr__(), 300 * (at + 1) ** 3)
    return f"/assets/part{at}.{hashlib.sha256(body).hexdigest()[:12]}.{('js', 'css', 'js', 'png')[at]}", body


@functools.lru_cache(maxsize=None)
def page_of(release, page):
    names = [asset(release, page, at)[0] for at in range(ASSETS)]
    body = f"<!doctype html><title>release {release} page {page}</title>" + "".join((
        f'<script src="{names[0]}"></script>', f'<link rel=stylesheet href="{names[1]}">',
        f'<script src="{names[2]}"></script>', f'<img src="{names[3]}">'))
    body += "x" * (page * 100)
    return body.encode() + b"<!-- %s -->" % hashlib.sha256(body.encode()).hexdigest().encode()


def plant_release(base, release):
    """Every name but the pages' is the release's own; one page is, too."""
    root = os.path.join(base, "releases", str(release))
    for page in range(PAGES):
        write(root, f"p/{page}.html" if page else "index.html", page_of(release, page))
        for at in range(ASSETS):
            name, body = asset(release, page, at)
            write(root, name[1:], body)
    write(root, f"only-{release}.html", b"release %d alone" % release)
    return root


class Browser(threading.Thread):
    """Gets pages and what they name, over one connection and over new ones, until it is told to stop."""

    def __init__(self, server, seed, over):
        super().__init__(daemon=True)
        self.server, self.choice, self.over = server, random.Random(seed), over
        self.pages = self.assets = 0
        self.releases = set()
        self.error = None

    def run(self):
        try:
            while not self.over.is_set():
                with self.server.client() as client:
                    for _ in range(self.choice.randrange(1, 20)):
                        self.visit(client)
                        if self.over.wait(0.003):  # others have to get their turns
                            break
        except Exception as error:  # whatever it is, the test must hear of it
            self.error = error

    def visit(self, client):
        page = self.choice.randrange(PAGES)
        response = client.ask(f"/p/{page}.html" if page else "/")
        match = re.match(rb"<!doctype html><title>release (\d+) page (\d+)<", response.body)
        if response.status != 200 or not match or int(match[2]) != page:
            raise Malformed(f"page {page}: {response.status}, {response.body[:80]!r}")
        release = int(match[1])
        if response.body != page_of(release, page):
            raise Malformed(f"page {page}: a mixture that begins as release {release}")
        self.releases.add(release)
        names = NAMES.findall(response.body)
        assert len(names) == ASSETS
        # all at once or one after the other, or on a connection of its own, which another worker may have
        how = self.choice.randrange(3)
        if how == 0:
            client.send(b"".join(request(name) for name in names))
            self.check(release, page, names, (client.response() for _ in names))
        elif how == 1:
            self.check(release, page, names, (client.ask(name) for name in names))
        else:
            with self.server.client() as other:
                self.check(release, page, names, (other.ask(name) for name in names))
        self.pages += 1

    def check(self, release, page, names, responses):
        for at, (name, response) in enumerate(zip(names, responses)):
            wanted, body = asset(release, page, at)
            if response.status != 200:
                raise Malformed(f"{name.decode()}, named by page {page} of release {release}: {response.status}")
            if name.decode() != wanted or response.body != body:
                raise Malformed(f"{name.decode()}: not the content of release {release}")
            self.assets += 1


class Deploy(Case):
    matrix = "backends"
    cost = 12

    def deploys(self, releases):
        """Switches through these releases, each planted when it is due and the oldest removed, as deploys do."""
        base = self.directory()
        current = os.path.join(base, "current")

        def switch(release):
            os.symlink(f"releases/{release}", current + ".new")
            os.rename(current + ".new", current)

        planted = [releases[0]]
        plant_release(base, releases[0])
        switch(releases[0])
        # A switch is done at once, since a release is whole before it: it need not settle for long.
        server = self.start("--settle=20ms", "--no-compress", "--gate=index,vanished=50%,links", root=current)
        over = threading.Event()
        browsers = [Browser(server, seed, over) for seed in range(4)]
        for browser in browsers:
            browser.start()
        try:
            wait_for(lambda: all(browser.pages > 0 or browser.error for browser in browsers), "every client to get a page",
                     step=0.01)
            for before, release in zip(releases, releases[1:]):
                if release not in planted:
                    plant_release(base, release)
                    planted.append(release)
                    if len(planted) > 3:
                        shutil.rmtree(os.path.join(base, "releases", str(planted.pop(0))))
                switch(release)
                wait_for(lambda: server.get("/").body == page_of(release, 0), f"release {release} to be live",
                         step=0.02)
                # Pages that are gone are gone; polled, as each worker takes a snapshot up by itself.
                wait_for(lambda: server.get(f"/only-{before}.html").status == 404, f"only-{before}.html to go",
                         step=0.02)
                self.assertEqual(server.get(f"/only-{release}.html").status, 200)
                name, body = asset(before, 7, 3)
                old = server.get(name)
                self.assertTrue(old.status == 200 and old.body == body, f"{name} of the release before: {old.status}")
                # Nobody is left behind by more than this switch, however slow the machine is.
                counts = [browser.pages for browser in browsers]
                wait_for(lambda: all(browser.pages > count + 1 or browser.error
                                     for browser, count in zip(browsers, counts)),
                         "every client to get two pages more", step=0.01)
                for browser in browsers:
                    if browser.error:
                        raise AssertionError(repr(browser.error)) from browser.error
        finally:
            over.set()
            for browser in browsers:
                browser.join(120)
        for browser in browsers:
            self.assertFalse(browser.is_alive(), "a client did not end")
            if browser.error:
                raise AssertionError(repr(browser.error)) from browser.error
        seen = set().union(*(browser.releases for browser in browsers))
        self.assertEqual(seen, set(releases), "each release was seen")
        self.note(f"{len(releases) - 1} switches, {sum(b.pages for b in browsers)} pages and "
                  f"{sum(b.assets for b in browsers)} of their assets, all found")
        return server

    def test_two_releases_by_turns(self):
        self.deploys([1 + turn % 2 for turn in range(SWITCHES + 1)])

    def test_always_new_releases(self):
        releases = list(range(1, SWITCHES // 2 + 2))
        server = self.deploys(releases)
        # Only for so long: of the first ones nothing is left.
        name, _ = asset(releases[0], 7, 3)
        self.assertEqual(server.get(name).status, 404)
