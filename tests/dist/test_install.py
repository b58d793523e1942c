"""What meson install puts where, and whether that works together: programs, manuals, units, completions, the example of
the configuration."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from common import BUILD, LOOM, SOURCE, main, needs, said

PROGRAMS = {"bin/loom", "bin/loomctl"}
MANUALS = {"share/man/man1/loom.1", "share/man/man1/loomctl.1", "share/man/man5/loom.conf.5"}
UNITS = {"lib/systemd/system/loom.service", "lib/systemd/system/loom.socket"}
COMPLETIONS = {"share/bash-completion/completions/loom", "share/bash-completion/completions/loomctl",
               "share/zsh/site-functions/_loom", "share/zsh/site-functions/_loomctl",
               "share/fish/vendor_completions.d/loom.fish", "share/fish/vendor_completions.d/loomctl.fish"}


def below(top):
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def in_tree(folder, where):
    return {f"{where}/{name}" for name in below(SOURCE / folder)}


def documents():
    """Everything that docs/ has but the manuals and the site, and what stands beside it."""
    texts = {name for name in below(SOURCE / "docs") if not re.fullmatch(r"[a-z.]+\.[15]|site/.*", name)}
    return {f"share/doc/loom/{name}" for name in texts | {"LICENSE", "CHANGELOG.md"}} | {
        "share/doc/loom/examples/loom.conf", "share/doc/loom/examples/grafana/loom.json"
    } | in_tree("dist/kubernetes", "share/doc/loom/examples/kubernetes")


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = pathlib.Path(tempfile.mkdtemp(prefix="loom-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.stage)
        said("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", cls.stage)
        options = {one["name"]: one["value"] for one in json.loads(said("meson", "introspect", "--buildoptions", BUILD))}
        cls.prefix = options["prefix"]
        cls.sysconfdir = os.path.join(cls.prefix, options["sysconfdir"])
        cls.top = cls.stage / cls.prefix.lstrip("/")

    def test_the_list_of_files(self):
        wanted = PROGRAMS | MANUALS | UNITS | COMPLETIONS | documents() | in_tree("docs/site", "share/loom/site")
        found = below(self.top)
        self.assertEqual((sorted(wanted - found), sorted(found - wanted)), ([], []), "missing; not in the list")
        self.assertEqual(len(below(self.stage)), len(found), "files outside of the prefix")

    def test_who_may_what(self):
        for name in below(self.top):
            mode = (self.top / name).stat().st_mode & 0o7777
            if name.startswith("share/doc/"):
                mode &= 0o666  # a script among them may be one
            self.assertEqual(mode, 0o755 if name in PROGRAMS else 0o644, name)

    def test_nothing_is_left_to_fill_in(self):
        for name in below(self.top) - PROGRAMS:
            data = (self.top / name).read_bytes()
            self.assertNotRegex(data, rb"@[A-Z]+@", name)
            self.assertNotIn(bytes(SOURCE), data, name)
            self.assertNotIn(bytes(BUILD), data, name)

    def test_the_unit_starts_what_was_installed(self):
        text = (self.top / "lib/systemd/system/loom.service").read_text(encoding="ascii")
        line = re.search(r"^ExecStart=(\S+) --config (\S+) ", text, re.M)
        self.assertEqual(line.groups(), (f"{self.prefix}/bin/loom", f"{self.sysconfdir}/loom/loom.conf"))

    def test_the_manuals_are_found_and_without_mistakes(self):
        needs("man")
        for name in sorted(MANUALS):
            done = subprocess.run(["man", "--warnings", "-l", str(self.top / name)], capture_output=True, check=False,
                                  env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}, timeout=300)
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ""), name)

    def test_the_example_is_right(self):
        """As it is, and with each line that is commented out put in: no setting in it may be one that was."""
        text = (self.top / "share/doc/loom/examples/loom.conf").read_text(encoding="ascii")
        text = text.replace(f"root = {self.prefix}", f"root = {self.top}")
        every, lines = re.subn(r"^#(?=[a-z-]+ = )", "", text, flags=re.M)
        self.assertGreater(lines, 10)
        for way, content in (("as it is", text), ("with everything", every)):
            with self.subTest(way):
                file = self.stage / "loom.conf"
                file.write_text(content, encoding="ascii")
                self.assertIn(f"root = {self.top}/share/loom/site\n", said(LOOM, "-c", file, "--dump-config"))
        file.write_text(text + "\nlisten = 127.0.0.1:0\n", encoding="ascii")
        said(LOOM, "-c", file, "--test")
        file.unlink()

    def test_the_site_passes_the_gate(self):
        said(LOOM, "--check", "--gate", "index,links", self.top / "share/loom/site")


class Packaging(unittest.TestCase):
    """What is written down more than once."""

    def packages(self):
        """What ci/setup installs for building."""
        text = (SOURCE / "ci" / "setup").read_text(encoding="ascii")
        return set(re.search(r"^serve=\((.*?)\)", text, re.M | re.S)[1].split())

    def test_the_version(self):
        version = json.loads(said("meson", "introspect", "--projectinfo", BUILD))["version"]
        changelog = (SOURCE / "debian" / "changelog").read_text(encoding="ascii")
        self.assertTrue(changelog.startswith(f"loom ({version}) "), changelog[:30])
        self.assertEqual(said(LOOM, "--version").splitlines()[0], f"loom {version}")

    def test_the_image_is_built_with_what_building_takes(self):
        text = (SOURCE / "Containerfile").read_text(encoding="ascii")
        listed = re.search(r"--no-install-recommends (.*?) && rm", text, re.S)[1].replace("\\\n", " ")
        self.assertEqual(set(listed.split()), self.packages())

    def test_the_debian_package_is_built_with_it_too(self):
        control = (SOURCE / "debian" / "control").read_text(encoding="ascii")
        listed = re.search(r"^Build-Depends:\n(.*?)\n(?! )", control, re.M | re.S)[1]
        names = {re.split(r"[ :(]", line.strip())[0] for line in listed.split(",") if line.strip()}
        essential = {"gcc", "libc6-dev", "ninja-build"}  # build-essential, and what meson depends on
        self.assertEqual(names - {"check", "debhelper-compat"}, self.packages() - essential)


main()
