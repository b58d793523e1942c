"""generate.py TEMPLATE LOOM LOOMCTL - makes a shell's completions from what the built programs print as their help.

Runs when loom is built, once a file, and prints the file. So an option is added in one place, option_rows.h, and is
completed from then on: its name, its letter, what stands behind it, and the words of an argument like auto|on|off. What
the help does not say in such a form is in HINTS, and each word there must still occur in the help.

A line of a template that is @NAME@ and nothing else is replaced by the lines of that table.
"""
import re
import subprocess
import sys

# What may stand in place of an argument or of a part of it.
KINDS = {"FILE": "file", "PATH": "file", "DIR": "directory", "USER": "user", "GROUP": "group"}

# name: (words, kind, whether several are given with commas)
HINTS = {
    "listen": (["unix:", "fd:", "systemd:"], "unix", False),
    "proxy-from": (["unix"], "", True),
    "immutable": (["auto", "none"], "", False),
    "encodings": (["gzip", "br", "zstd", "none"], "", True),
    "gate": (["index", "vanished=", "links", "none"], "", True),
    "metrics": (["127.0.0.1:9100", "unix:"], "unix", False),
    "health": (["/healthz"], "", False),  # a path in URLs
}

OPTION = re.compile(r"  (?:-(\w), |    )--([a-z0-9-]+)(?: (\S+))?(?: {2,}(.*))?$")
COLUMN = 33  # HELP_COLUMN of option_print.c
DESCRIPTION = 70  # columns, at most


class Option:
    def __init__(self, letter, name, argument, text):
        self.letter, self.name, self.argument, self.text = letter or "", name, argument or "", text or ""
        self.words, self.kind, self.commas = [], "", False

    def understand(self):
        for part in self.argument.split("|"):
            if part == "unix:PATH":
                self.words.append("unix:")
                self.kind = "unix"
            elif part.isupper() and not part.isdigit():
                self.kind = KINDS.get(part, "")
            elif part:
                self.words.append(part)
        if self.name in HINTS:
            words, self.kind, self.commas = HINTS[self.name]
            self.words = list(words)
            for word in words:
                if word not in self.argument + " " + self.text:
                    sys.exit(f"generate.py: the help of --{self.name} says nothing of '{word}': see HINTS")

    @property
    def flags(self):
        return ([f"-{self.letter}"] if self.letter else []) + [f"--{self.name}"]

    @property
    def repeats(self):
        return "may be repeated" in self.text

    @property
    def description(self):
        text = re.sub(r" \[[^][]*\]$", "", self.text)
        text = text.split("; ")[0]
        if len(text) > DESCRIPTION:
            text = text.split(": ")[0]
        if len(text) > DESCRIPTION:
            text = text[:DESCRIPTION - 3].rsplit(" ", 1)[0].rstrip(",") + " ..."
        return text


def ask(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"generate.py: {' '.join(command)} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


def options_of(help_text):
    options = []
    for line in help_text.splitlines():
        match = OPTION.match(line)
        if match:
            options.append(Option(*match.groups()))
        elif options and line.startswith(" " * COLUMN):
            options[-1].text = (options[-1].text + " " + line.strip()).strip()
    for option in options:
        option.understand()
    unknown = HINTS.keys() - {option.name for option in options}
    if unknown or len(options) < 50:
        sys.exit(f"generate.py: cannot read the help: {len(options)} options, without {sorted(unknown)}")
    return options


def commands_of(help_text):
    """[(name, its arguments)] of loomctl."""
    listed = " ".join(help_text.split("\ncommands: ")[1].split())
    commands = [tuple((entry.strip() + " ").split(" ", 1)) for entry in listed.split(",")]
    if len(commands) < 8 or not all(re.fullmatch("[a-z]+", name) for name, _ in commands):
        sys.exit(f"generate.py: cannot read the commands of loomctl: {commands}")
    return [(name, rest.strip()) for name, rest in commands]


def bash_options(options):
    return ["\t\t" + " ".join(option.flags) for option in options]


def bash_values(options):
    for option in options:
        if option.argument:
            words = f"words='{' '.join(option.words)}' " if option.words else ""
            commas = "commas=1 " if option.commas else ""
            yield f"\t{' | '.join(option.flags)}) taken=1 {words}{commas}kind='{option.kind}' ;;"


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


ZSH_KINDS = {"file": "_files", "directory": "_files -/", "user": "_users", "group": "_groups"}


def zsh_action(option):
    words = " ".join(word.replace(":", "\\:") for word in option.words)
    if option.commas:
        return f"_sequence compadd - {words}"
    if option.kind == "unix":
        return f"_loom_address {words}"
    if option.kind and option.words:
        return f"_loom_word_or_file {words}"
    return ZSH_KINDS.get(option.kind) or (f"({words})" if words else " ")


def zsh_options(options):
    for option in options:
        description = re.sub(r"([][\\:])", r"\\\1", option.description)
        repeated = "*" if option.repeats else "(" + " ".join(option.flags) + ")"
        for flag in option.flags:
            spec = repeated + flag
            if option.argument:
                spec += "=" if flag.startswith("--") else "+"
            spec += f"[{description}]"
            if option.argument:
                argument = option.argument.replace(":", "\\:")
                spec += f":{argument}:{zsh_action(option)}"
            yield "\t\t" + quoted(spec)


def fish_action(option):
    words = " ".join(option.words)
    if option.commas:
        return f"-x -a '(__fish_append , {words})'"
    if option.kind == "unix":
        return f"-x -a '(__loom_address {words})'"
    action = {"file": "-r -F", "directory": "-x -a '(__fish_complete_directories)'", "user": "-x -a '(__fish_complete_users)'",
              "group": "-x -a '(__fish_complete_groups)'", "": "-x"}[option.kind]
    return action + (f" -a {quoted(words)}" if words else "")


def fish_options(options):
    for option in options:
        letter = f" -s {option.letter}" if option.letter else ""
        action = " " + fish_action(option) if option.argument else ""
        yield f"complete -c loom{letter} -l {option.name}{action} -d {quoted(option.description)}"


def main():
    template, loom, loomctl = sys.argv[1:]
    options = options_of(ask(loom, "--help"))
    commands = commands_of(ask(loomctl, "-h"))
    names = [name for name, _ in commands]
    ids = [name for name, arguments in commands if re.search(r"\b(ID|A)\b", arguments)]
    tables = {
        "BASH_OPTIONS": bash_options(options),
        "BASH_VALUES": bash_values(options),
        "ZSH_OPTIONS": zsh_options(options),
        "FISH_OPTIONS": fish_options(options),
        "BASH_COMMANDS": ["\t\t" + " ".join(names)],
        "BASH_IDS": ["\t" + " | ".join(ids) + ")"],
        "ZSH_COMMANDS": ["\t\t" + quoted(f"{name}:{name} {arguments}".strip()) for name, arguments in commands],
        "FISH_COMMANDS": [f"complete -c loomctl -f -n __loomctl_no_command -a {name} -d {quoted((name + ' ' + rest).strip())}"
                          for name, rest in commands],
        "FISH_IDS": [f"complete -c loomctl -f -n '__fish_seen_subcommand_from {' '.join(ids)}' -a '(__loomctl_ids)'"],
    }
    with open(template, encoding="ascii") as file:
        for line in file:
            name = line.strip().strip("@")
            print("\n".join(tables[name]) if line.strip() == f"@{name}@" and name in tables else line.rstrip("\n"))


main()
