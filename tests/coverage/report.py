#!/usr/bin/env python3
"""Which lines of src/ and backends/ no test has reached, by file, and whether each has its reason.

    report.py [--markdown FILE] [--least PERCENT] TREE TRACE

TRACE is what `llvm-cov export -format=lcov` prints. Lines that follow one another in a function without having been reached
are one gap, which tests/coverage/reasons.txt (its head says how) must give a reason for. A gap without one, a reason without
a gap, and a coverage below PERCENT are errors: status 1.
"""
import argparse
import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent

Reason = collections.namedtuple("Reason", "number sometimes function pattern text")
Gap = collections.namedtuple("Gap", "file function first lines")


class Source:
    """A file: how often each line was reached, and the functions by where they begin."""

    def __init__(self, name):
        self.name, self.hits, self.begins = name, {}, {}

    def function(self, line):
        before = [at for at in self.begins if at <= line]
        return self.begins[max(before)] if before else "-"

    @property
    def reached(self):
        return sum(1 for count in self.hits.values() if count)


def sources(trace, tree):
    found, one = {}, None
    for line in trace.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "SF":
            path = pathlib.Path(value).resolve()
            name = str(path.relative_to(tree)) if path.is_relative_to(tree) else ""
            ours = re.fullmatch(r"(src|backends)/[^/]+\.[ch]", name)
            one = found.setdefault(name, Source(name)) if ours else None
        elif one and key == "FN":
            at, name = value.split(",", 1)
            one.begins[int(at)] = name.rpartition(":")[2]  # of static functions it is FILE:NAME
        elif one and key == "DA":
            at, count = value.split(",")[:2]
            one.hits[int(at)] = max(one.hits.get(int(at), 0), int(count))
    return [found[name] for name in sorted(found)]


def gaps(source, text):
    """Runs of lines that were not reached. Braces and labels alone say nothing: a run does not begin with them."""
    run, out = [], []
    for at in sorted(source.hits) + [None]:
        follows = run and at == run[-1] + 1 and source.function(at) == source.function(run[0]) if at else False
        if run and not (follows and not source.hits[at]):
            told = next((one for one in run if re.search(r"\w", text[one - 1])), None)
            if told:
                out.append(Gap(source.name, source.function(told), text[told - 1].strip(), (run[0], run[-1])))
            run = []
        if at and not source.hits[at]:
            run.append(at)
    return out


def reasons(path):
    out, function, wrong = [], None, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            function = line.strip()
            continue
        left, mark, text = line.strip().partition(" :: ")
        if not mark or not text.strip() or not function:
            wrong.append(f"{path.name}:{number}: neither a function nor 'PATTERN :: reason'")
            continue
        sometimes = left.startswith("~ ")
        out.append(Reason(number, sometimes, function, left.removeprefix("~ ").strip(), text.strip()))
    return out, wrong


def matches(reason, function, line):
    return reason.function in (function, "*") and (reason.pattern == "*" or reason.pattern in line)


def judge(every, known, texts):
    """What is wrong: gaps without a reason, reasons without a gap."""
    wrong, used, missing = [], set(), 0
    for gap in every:
        mine = [reason for reason in known if matches(reason, gap.function, gap.first)]
        used.update(mine)
        if not mine:
            first, last = gap.lines
            missing += last - first + 1
            wrong.append(f"{gap.file}:{first}-{last}: not reached, and no reason: {gap.function}\t{gap.first}")
    functions = {name for text in texts.values() for name in re.findall(r"\b(\w+)\(", text)}
    for reason in known:
        where = f"reasons.txt:{reason.number}: {reason.function}: {reason.pattern}"
        if reason.function != "*" and reason.function not in functions:
            wrong.append(f"{where}: there is no such function")
        elif reason.sometimes:
            if reason.pattern != "*" and not any(reason.pattern in text for text in texts.values()):
                wrong.append(f"{where}: there is no such line")
        elif reason not in used:
            wrong.append(f"{where}: was reached, or is gone: take the reason out")
    return wrong, missing


def table(files, every):
    yield "| file | lines | reached | % | gaps |"
    yield "|---|---:|---:|---:|---:|"
    for one in files:
        count = sum(1 for gap in every if gap.file == one.name)
        yield f"| {one.name} | {len(one.hits)} | {one.reached} | {100 * one.reached / len(one.hits):.1f} | {count or ''} |"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--markdown", metavar="FILE", type=pathlib.Path)
    options.add_argument("--head", default="", help="what stands above the table: of what, when")
    options.add_argument("--least", type=float, default=92)
    options.add_argument("--reasons", type=pathlib.Path, default=HERE / "reasons.txt", help=argparse.SUPPRESS)
    options.add_argument("tree", type=pathlib.Path)
    options.add_argument("trace", type=pathlib.Path)
    options = options.parse_args()
    tree = options.tree.resolve()

    files = [one for one in sources(options.trace, tree) if one.hits]
    texts = {one.name: (tree / one.name).read_text(encoding="utf-8") for one in files}
    for one in files:  # a macro's own line tells of those who use it in functions that are not reached
        lines = texts[one.name].splitlines()
        one.hits = {at: count for at, count in one.hits.items() if not lines[at - 1].startswith("#")}
    files = [one for one in files if one.hits]
    every = [gap for one in files for gap in gaps(one, texts[one.name].splitlines())]
    known, wrong = reasons(options.reasons)
    more, missing = judge(every, known, texts)
    wrong += more
    lines, reached = sum(len(one.hits) for one in files), sum(one.reached for one in files)
    if not lines:
        sys.exit("coverage: no line of src/ or backends/ in the trace")
    percent = 100 * reached / lines
    if percent < options.least:
        wrong.append(f"{percent:.2f} % of the lines are reached, and not {options.least:g} %")
    total = (f"{percent:.2f} % of {lines} lines in {len(files)} files reached ({lines - reached} not, in {len(every)} gaps, "
             f"{len(every) - sum(1 for one in wrong if 'no reason' in one)} of them with a reason)")
    text = "\n".join([*table(files, every), "", total])
    print(text)
    if options.markdown:
        options.markdown.write_text(f"# Line coverage\n\n{options.head}\n\n**{total}.**\n\n" +
                                    "\n".join(table(files, every)) + "\n", encoding="utf-8")
    for one in wrong:
        print(one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
