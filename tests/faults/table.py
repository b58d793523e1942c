#!/usr/bin/env python3
"""Makes docs/fault-matrix.md of the tables that ci/faults has had written: table.py DIRECTORY."""
import os
import pathlib
import re
import sys
import time

HEAD = """# What happens when a call fails

Made by `ci/faults`; do not edit. {date}, Linux {kernel}.

The objects of the production binary are linked with a seam in front of the C library and of liburing (`tests/faults`). In a fixed
scenario the first call of an operation fails, then the second, and so on up to the last: each is a place. After each of them
it is checked that nothing crashed, that every client heard whole and right answers or, where the table says so, that one was
cut off; that no descriptor, connection, buffer, read buffer, provided buffer or pin was lost; that the loop came to rest, in
turns and not in time; and that all of a second scenario is answered as ever.

{cells} cells, {failed} failed.
"""

BACKEND = """
## {name}

{also}Twenty-nine clients on TCP and on a Unix socket, of twelve connections: keep-alive, pipelined, in pieces, large and streamed bodies
and such that are sent by reference from memory, slow and stuck readers, half-closes, resets, errors, idle ones; and then a drain
with ten clients in all states.
Places: while serving + while draining. Cut off: in so many places one client was not answered in full. Passes: none may be.
Harms: one may. Stops: the backend is broken, which no program can live with: the server ends with one line.

| operation | how it fails | may | places | cut off | stopped | turns, most | result |
|---|---|---|---:|---:|---:|---:|---|
"""

ALSO_ZC = """What `--uring zc=fixed` does besides; here no body of memory is spliced, but lent.

"""

RELOADER = """
## The reloader

A tree of five files with variants and a cache directory, which is changed and read again with the fault: what is served then is
the old snapshot or the new one, whole (harms: or without a file that the error says is not there, or not ours to read), and the
next reload succeeds; of the calls for pages of bodies, mmap(2) to munmap(2), none may keep the old one. Kept: in so many places the old one stayed.

| call | error | may | places | kept | result |
|---|---|---|---:|---:|---|
"""

START = """
## A start, {name}

With a body that is sent by reference, two workers, an address and a Unix socket, admin socket, metrics, access log, pid file and
cache directory. It serves, and ends with status 0 when it is told to; or refuses: with one clear line and status 1 (2: what the
command line asks for cannot be had).

| call | error | places | serves | refuses | result | a line |
|---|---|---:|---:|---:|---|---|
"""


def rows(path):
    return [line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8")]


def result(failed, wrong, tried):
    if not int(tried):
        return "**never made**"
    return "ok" if int(failed) == 0 else f"**{failed} failed**: {wrong}"


def backend(name, lines):
    also = ALSO_ZC if name == "io_uring-zc" else ""
    text, cells, bad = BACKEND.format(name=name, also=also), 0, 0
    acts = {}
    for _, about, how, act, effect, tried, cut, stopped, failed, turns, wrong in lines:
        acts.setdefault((about, how, effect), []).append((int(tried), int(cut), int(stopped), int(failed), int(turns), wrong))
    for (about, how, effect), both in acts.items():
        tried, cut, stopped, failed = (sum(one[at] for one in both) for at in range(4))
        cells += tried
        bad += failed + (tried == 0)
        text += (f"| {about} | {how} | {effect} | {' + '.join(str(one[0]) for one in both)} | {cut} | {stopped} | "
                 f"{max(one[4] for one in both)} | {result(failed, both[0][5] or both[-1][5], tried)} |\n")
    return text, cells, bad


def reloader(lines):
    text, cells, bad = RELOADER, 0, 0
    for _, about, how, _, effect, tried, cut, _, failed, _, wrong in lines:
        cells += int(tried)
        bad += int(failed) + (int(tried) == 0)
        text += f"| {about} | {how} | {effect} | {tried} | {cut} | {result(failed, wrong, tried)} |\n"
    return text, cells, bad


def start(name, lines):
    text, cells, bad = START.format(name=name), 0, 0
    for _, call, error, tried, serves, refuses, failed, wrong, line in lines:
        cells += int(tried)
        bad += int(failed) + (int(tried) == 0)
        line = re.sub(r"/tmp/\S*/", "/.../", line).replace("|", "\\|")[:120]
        text += f"| {call} | {error} | {tried} | {serves} | {refuses} | {result(failed, wrong, tried)} | {line} |\n"
    return text, cells, bad


def main():
    work = pathlib.Path(sys.argv[1])
    parts = [backend(name, rows(work / f"{name}.tsv")) for name in ("epoll", "io_uring", "io_uring-zc")]
    parts.append(reloader(rows(work / "reloader.tsv")))
    parts += [start(name, rows(work / f"start-{name}.tsv")) for name in ("epoll", "io_uring")]
    print(HEAD.format(date=time.strftime("%Y-%m-%d %H:%M +0000", time.gmtime()), kernel=os.uname().release,
                      cells=sum(part[1] for part in parts), failed=sum(part[2] for part in parts)), end="")
    print("".join(part[0] for part in parts), end="")
    return 1 if any(part[2] for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
