"""The guide shows what is: its commands are run, and what comes is compared with what stands there (docs/guide/check)."""
import os
import pathlib
import re
import subprocess
import sys

from case import Case
from client import BOUND
from server import BINARY, environment
from test_clients import required

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide"


class Guide(Case):
    matrix = "once"
    cost = 12

    def check(self, *arguments):
        for program in ("curl", "openssl", "haproxy", "systemd-socket-activate"):
            required(program)
        build = os.path.dirname(os.path.dirname(os.path.abspath(BINARY)))
        done = subprocess.run([sys.executable, GUIDE / "check", build, *arguments], capture_output=True, timeout=3 * BOUND,
                              env=environment(), check=False)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    def test_what_it_shows_is_what_comes(self):
        status, said = self.check()
        self.assertEqual(status, 0, said)

    def test_a_page_that_shows_something_else_is_found(self):
        page = os.path.join(self.directory(), "page.md")
        text = "```console\n$ loom --version | head -n 1\nloom 7.7.7\n$ loom --no-such-option\n...\n"
        for more, expected in (("", 0), ("$ echo one; echo two\none\n", 1), ("$ echo one\none\ntwo\n", 1),
                               ("$ echo a 1 b 22 ms\na 33 b 4 s\n", 0), ("$ echo a 1\nb 1\n", 1)):
            with open(page, "w", encoding="ascii") as file:
                file.write(text + more + "```\n")
            status, said = self.check(page)
            self.assertEqual(status, expected, said)

    def test_its_links_lead_somewhere(self):
        for page in (*GUIDE.glob("*.md"), *GUIDE.parent.glob("*.md"), GUIDE.parent.parent / "README.md"):
            text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
            for link in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path) if path else page
                self.assertTrue(target.exists(), f"{page.name}: {link}")
                if anchor:
                    heads = [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in
                             re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))]
                    self.assertIn(anchor, heads, f"{page.name}: {link}")
