"""The four places where an option stands - --help, loom.1, loom.conf.5 and each shell's completions - know the same ones;
and what the shells complete is tried in the shells. The same for loomctl's commands.

The completions are made from the help. What reads them here shares nothing with what makes them.
"""
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import tempfile
import termios
import threading
import time
import unittest

from common import BOUND, BUILD, LOOM, LOOMCTL, SOURCE, main, needs, said

COMPLETIONS = {"bash": "loom", "zsh": "_loom", "fish": "loom.fish"}
FLAG = re.compile(r"(?<![\w-])--?[a-z0-9][a-z0-9-]*", re.I)


def built(name):
    return (BUILD / "dist" / name).read_text(encoding="ascii")


def page(name):
    return (SOURCE / "docs" / name).read_text(encoding="ascii").replace("\\-", "-")


def of_help(text):
    """All flags with their letters: what stands in front of what a line says."""
    heads = re.findall(r"^ {2,6}(-.*?)(?: {2}|$)", text, re.M)
    return {flag for head in heads for flag in re.findall(r"(?:^|(?<=, ))--?[\w-]+", head)}


def of_manual(text):
    """The entries of OPTIONS."""
    options = text.split("\n.SH OPTIONS\n")[1].split("\n.SH ")[0]
    entries = re.findall(r"^\.TP\n\.BR? (.*)$", options, re.M)
    return {flag for entry in entries for flag in re.findall(r"(?:^|(?<= ))--?[a-zA-Z][\w-]*", entry)}


def of_file_manual(text):
    settings = text.split("\n.SH SETTINGS\n")[1].split("\n.SH ")[0]
    return set(re.findall(r'^\.TP\n\.BI "([a-z-]+) = ', settings, re.M))


def of_dump(text):
    """What a file can set."""
    return set(re.findall(r"^#?([a-z-]+) = ", text, re.M))


def of_bash(text):
    """What the function completes after a dash."""
    with tempfile.NamedTemporaryFile("w", suffix=".bash") as file:
        file.write(text)
        file.flush()
        return set(said("bash", "--norc", "-c", BASH, "-", file.name, "loom -").split())


def of_zsh(text):
    """What the function hands to _arguments."""
    with tempfile.NamedTemporaryFile("w", suffix=".zsh") as file:
        file.write(text)
        file.flush()
        specs = said("zsh", "-f", "-c", '_arguments() { shift 3; print -rl -- "$@"; }; source "$1"', "-", file.name)
    return {flag for spec in specs.splitlines()
            for flag in re.findall(r"^(?:\([^)]*\)|\*)(--?[\w-]+)", spec)}


def of_fish(text):
    """What is completed after two dashes, and after one."""
    with tempfile.NamedTemporaryFile("w", suffix=".fish") as file:
        file.write(text)
        file.flush()
        listed = said("fish", "--no-config", "-c", "source $argv[1]; complete -C 'loom --'; complete -C 'loom -'", file.name)
    return {line.split("\t")[0] for line in listed.splitlines() if line.startswith("-")}


READERS = {"bash": of_bash, "zsh": of_zsh, "fish": of_fish}

# The function is called as readline calls it, by a line with the cursor at its end. Words are split at = and : too.
BASH = r"""
source "$1"
name=${2%% *}
line=$2 rest=$2 words=()
while [[ $rest ]]; do
	case $rest in
	' '*) rest=${rest# } ;;
	[=:]*) words+=("${rest:0:1}") rest=${rest:1} ;;
	*) words+=("${rest%%[ =:]*}") rest=${rest#"${words[-1]}"} ;;
	esac
done
[[ $line != *' ' ]] || words+=('')
COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
"_$name" "$name" "${words[-1]}" "${words[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


class Terminal:
    """A shell that is typed to."""

    def __init__(self, directory, *command, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], list(command), {**os.environ, "TERM": "dumb", "HOME": directory, **(env or {})})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", 50, 500, 0, 0))  # no line is so long
        self.heard = ""

    def type(self, text):
        self.heard = ""
        os.write(self.fd, text.encode())

    def shows(self, text):
        """Waits until that is on the screen."""
        end = time.monotonic() + BOUND / 2
        while text not in self.heard:
            if time.monotonic() > end:
                raise AssertionError(f"waited for {text!r}; the shell showed {self.heard!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.heard += os.read(self.fd, 4096).decode("utf-8", "replace")
                except OSError:
                    raise AssertionError(f"the shell ended; it had shown {self.heard!r}") from None

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


class Places(unittest.TestCase):
    """Each option, in all of its places and in no other."""

    def setUp(self):
        self.help = said(LOOM, "--help")
        self.options = of_help(self.help)
        self.assertGreaterEqual(len(self.options), 65)
        self.letters = {option for option in self.options if len(option) == 2}

    def same(self, found, wanted, where):
        self.assertEqual((sorted(wanted - found), sorted(found - wanted)), ([], []),
                         f"options that {where} lacks, and that it alone has")

    def test_the_manual(self):
        self.same(of_manual(page("loom.1")), self.options, "loom.1")

    def test_the_manual_of_the_file(self):
        settings = of_dump(said(LOOM, "--dump-config"))
        self.same(of_file_manual(page("loom.conf.5")), settings, "loom.conf.5")
        # each of them is an option but ROOT, and all other options are something that is done and no setting
        rest = {option[2:] for option in self.options - self.letters} - settings
        self.assertEqual(settings - {option[2:] for option in self.options}, {"root"})
        for name in sorted(rest - {"config"}):
            with self.subTest(name):
                self.assertRegex(self.help.split("\nInstead of serving:\n")[1], rf"--{name}\b")

    def test_completions(self):
        for shell, read in READERS.items():
            with self.subTest(shell):
                needs(shell)
                self.same(read(built(COMPLETIONS[shell])), self.options, f"the completion of {shell}")

    def test_one_too_few_and_one_too_many_are_found(self):
        """The readers see what they are there for: an option that goes from a place, and one that comes."""
        def changed(text, old):
            self.assertTrue(old in text, f"{old} is not there")
            return text.replace(old, old[:-1] + "x" if old[-1] != "x" else old[:-1] + "y")

        places = [("--help", of_help, self.help, "--keep-for"),
                  ("loom.1", of_manual, page("loom.1"), "--keep-for"),
                  ("loom.conf.5", of_file_manual, page("loom.conf.5"), "keep-for"),
                  ("bash", of_bash, built("loom"), "--keep-for"), ("zsh", of_zsh, built("_loom"), "--keep-for"),
                  ("fish", of_fish, built("loom.fish"), "-l keep-for")]
        for where, read, text, option in places:
            with self.subTest(where):
                if where in COMPLETIONS:
                    needs(where)
                before, after = read(text), read(changed(text, option))
                name = option.removeprefix("-l ")
                name = name if where == "loom.conf.5" or name.startswith("--") else "--" + name
                self.assertEqual((before - after, after - before), ({name}, {name[:-1] + "x"}))


class Commands(unittest.TestCase):
    """loomctl's: the same places."""

    def test_everywhere_the_same(self):
        help_text = said(LOOMCTL, "-h")
        listed = " ".join(help_text.split("commands: ")[1].split()).split(", ")
        commands = {entry.split()[0] for entry in listed}
        self.assertGreaterEqual(len(commands), 10)
        manual = page("loomctl.1").split("\n.SH COMMANDS\n")[1].split("\n.SH ")[0]
        found = {word for word in re.findall(r'^\.TP\n\.BR? "?([a-z]+)', manual, re.M)}
        self.assertEqual(found, commands - {"help"})
        flags = of_help(help_text)
        options = page("loomctl.1").split("\n.SH OPTIONS\n")[1].split("\n.SH ")[0]
        self.assertEqual(set(re.findall(r"^\.TP\n\.BR? (-\w)", options, re.M)), flags)
        for shell in COMPLETIONS:
            with self.subTest(shell):
                needs(shell)
                self.assertEqual(*getattr(self, shell)(commands, flags))

    def bash(self, commands, flags):
        ask = lambda line: said("bash", "--norc", "-c", BASH, "-", BUILD / "dist" / "loomctl", line).split()
        return (set(ask("loomctl ")), set(ask("loomctl -"))), (commands, flags)

    def zsh(self, commands, flags):
        stubs = ("_arguments() { shift 3; print -rl -- \"$@\"; }; _describe() { print -rl -- ${(P)4}; };"
                 "source \"$1\"; _loomctl_commands")
        lines = said("zsh", "-f", "-c", stubs, "-", BUILD / "dist" / "_loomctl").splitlines()
        return ({line.split(":")[0] for line in lines if re.match("[a-z]+:", line)},
                {flag for line in lines for flag in re.findall(r"^(?:\([^)]*\))?(-\w)", line)}), (commands, flags)

    def fish(self, commands, flags):
        listed = said("fish", "--no-config", "-c",
                      f"source {BUILD}/dist/loomctl.fish; complete -C 'loomctl '; complete -C 'loomctl -'").splitlines()
        words = {line.split("\t")[0] for line in listed}
        return ({word for word in words if word[0] != "-"}, {word for word in words if word[0] == "-"}), (commands, flags)


class Values(unittest.TestCase):
    """What stands behind an option: (the line, what must be found, what must not)."""
    cases = [
        ("loom --backend ", {"auto", "io_uring", "epoll"}, {"file.txt", "--help"}),
        ("loom --backend=", {"auto", "io_uring", "epoll"}, {"file.txt"}),
        ("loom --sandbox o", {"on", "off"}, {"auto"}),
        ("loom --when-full=5", {"503"}, {"wait"}),
        ("loom -w ", {"auto"}, {"file.txt"}),
        ("loom --config ", {"file.txt"}, {"--help"}),
        ("loom -c fi", {"file.txt"}, set()),
        ("loom --cache-dir ", {"folder"}, {"file.txt"}),
        ("loom ", {"folder"}, {"file.txt"}),
        ("loom --access-log ", {"stdout", "off", "syslog", "file.txt"}, set()),
        ("loom --gate index,", {"index,links", "index,vanished="}, {"links"}),
        ("loom --gate=index,l", {"index,links"}, {"links"}),
        ("loom --encodings=br,z", {"br,zstd"}, set()),
        ("loom --admin ", {"unix:"}, {"file.txt"}),
        ("loom --admin unix:fi", {"unix:file.txt"}, set()),
        ("loom --listen=unix:fi", {"unix:file.txt"}, {"fd:"}),
        ("loom -l f", {"fd:"}, {"unix:"}),
        ("loom --user roo", {"root"}, {"file.txt"}),
        ("loom --group roo", {"root"}, {"file.txt"}),
        ("loom --port ", set(), {"file.txt", "folder"}),
        ("loom --health ", {"/healthz"}, {"file.txt"}),
    ]

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = place.name
        pathlib.Path(self.place, "file.txt").touch()
        pathlib.Path(self.place, "folder").mkdir()

    def in_all(self, ask):
        for line, wanted, unwanted in self.cases:
            with self.subTest(line):
                found = ask(line)
                self.assertLessEqual(wanted, found)
                self.assertFalse(unwanted & found, found)

    def test_bash(self):
        said("bash", "-n", BUILD / "dist" / "loom")
        said("bash", "-n", BUILD / "dist" / "loomctl")
        self.assertIn("complete -F _loomctl loomctl\n",
                      said("bash", "--norc", "-c", f"source {BUILD}/dist/loomctl; complete -p loomctl"))

        def ask(line):
            """bash puts back the last piece only; what is before it is there already."""
            before = re.match(r"(?:.*[ =:])?", line)[0].rsplit(" ", 1)[1]
            before = re.sub(r"^--[\w-]+=", "", before)
            found = said("bash", "--norc", "-c", BASH, "-", BUILD / "dist" / "loom", line, cwd=self.place).splitlines()
            return {before + one for one in found}
        self.in_all(ask)

    def test_bash_at_a_terminal(self):
        """Readline itself, once: what it splits and puts back is its own."""
        shell = Terminal(self.place, "bash", "--norc", "--noprofile")
        self.addCleanup(shell.end)
        shell.type(f"source {BUILD}/dist/loom; PS1='ready''> '\n")
        shell.shows("ready> ")
        for typed, shown in (("--backend=io\t", "--backend=io_uring "), ("--admin unix:fi\t", "--admin unix:file.txt "),
                             ("--gate index,li\t", "--gate index,links "), ("--keep-f\t", "--keep-for "),
                             ("fol\t", "folder/")):
            with self.subTest(typed):
                shell.type("loom " + typed)
                shell.shows("loom " + shown)
                shell.type("\x15")  # the line goes

    def test_fish(self):
        needs("fish")
        said("fish", "--no-execute", BUILD / "dist" / "loom.fish")
        said("fish", "--no-execute", BUILD / "dist" / "loomctl.fish")

        def ask(line):
            found = said("fish", "--no-config", "-c", f"source {BUILD}/dist/loom.fish; complete -C '{line}'",
                         cwd=self.place, env={**os.environ, "HOME": self.place})
            return {re.sub(r"^--[\w-]+=", "", one.split("\t")[0]).rstrip("/") for one in found.splitlines()}
        self.in_all(ask)

    def test_zsh(self):
        needs("zsh")
        said("zsh", "-n", BUILD / "dist" / "_loom")
        said("zsh", "-n", BUILD / "dist" / "_loomctl")
        shell = Terminal(self.place, "zsh", "-f")
        self.addCleanup(shell.end)
        shell.type(f"PS1='ready''> '; fpath=({BUILD}/dist $fpath);"
                   "autoload -Uz compinit; compinit -u -D; setopt nolistbeep\n")
        shell.shows("ready> ")
        for typed, shown in (("--backend=io\t", "--backend=io_uring "), ("--backend io\t", "--backend io_uring "),
                             ("--sandbox of\t", "--sandbox off "), ("--admin unix:fi\t", "--admin unix:file.txt "),
                             ("--listen=sys\t", "--listen=systemd:"), ("--metrics 127\t", "--metrics 127.0.0.1:9100"),
                             ("--gate index,li\t", "--gate index,links"), ("-c fi\t", "-c file.txt "),
                             ("--access-log std\t", "--access-log stdout "), ("--access-log fi\t", "--access-log file.txt "),
                             ("--user roo\t", "--user root "), ("--keep-f\t", "--keep-for="), ("fol\t", "folder/")):
            with self.subTest(typed):
                shell.type("loom " + typed)
                shell.shows("loom " + shown)
                shell.type("\x15")
        shell.type("loomctl snap\t")
        shell.shows("loomctl snapshots ")


class Ids(unittest.TestCase):
    """Snapshots are completed by asking the loom that is meant."""

    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.path = place.name + "/admin"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(8)
        self.addCleanup(listener.close)
        self.asked = []

        def answer():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    self.asked.append(client.recv(100))
                    client.sendall(b" id state\n -Idwjoxw current\n 17Zso5I6 kept\nok\n")
        threading.Thread(target=answer, daemon=True).start()

    def test_they_are_those_of_the_server(self):
        line = f"loomctl -s unix:{self.path} pin "
        env = {**os.environ, "PATH": f"{BUILD / 'src'}:{os.environ['PATH']}"}
        found = said("bash", "--norc", "-c", BASH, "-", BUILD / "dist" / "loomctl", line, env=env).split()
        self.assertEqual(found, ["-Idwjoxw", "17Zso5I6"])
        self.assertEqual(self.asked.pop(), b"snapshots\n")
        for shell, ask in (("fish", lambda: said("fish", "--no-config", "-c", f"source {BUILD}/dist/loomctl.fish;"
                                                 f"complete -C 'loomctl -s {self.path} rollback 17'", env=env)),
                           ("zsh", lambda: self.zsh(env))):
            with self.subTest(shell):
                needs(shell)
                self.assertIn("17Zso5I6", ask())
                self.assertEqual(self.asked.pop(), b"snapshots\n")

    def zsh(self, env):
        shell = Terminal("/", "zsh", "-f", env=env)
        self.addCleanup(shell.end)
        shell.type(f"PS1='ready''> '; fpath=({BUILD}/dist $fpath); autoload -Uz compinit; compinit -u -D\n")
        shell.shows("ready> ")
        shell.type(f"loomctl -s {self.path} pin 17\t")
        shell.shows("17Zso5I6")
        return shell.heard


main()
