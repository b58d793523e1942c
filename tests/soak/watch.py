"""What a server holds, and whether it may: samples from /proc and the admin socket, and judgements of them.

Reading is one half and judging the other: the latter is pure, and the self-test feeds it with what must not be.
"""
import collections
import os
import re
import socket
import time

RETIRED_MAX = 120  # seconds that an answer of the slowest client may keep a snapshot, and much more
BUILDING = 40  # descriptors that a build has open for a moment: directories, and files on several threads
TASKS_BUILDING = 16  # threads that read and compress
IDLE_KEPT = 2  # idle iou-wrk that the kernel keeps for a thread with a ring: one for bounded work, one for unbounded
PAUSE = 600  # seconds for an answer; clients are who finds a server that hangs, by a clock of their own


class Failed(Exception):
    """A check of the soak has failed: why, in a sentence."""


def admin(path, command):
    """The lines of data of an answer. An error is one."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PAUSE)
        sock.connect(path)
        sock.sendall(command.encode() + b"\n")
        data = b""
        while not re.search(rb"(?m)^(ok|error: .*)\n", data):
            got = sock.recv(1 << 16)
            if not got:
                raise ConnectionError(f"the admin socket ended: {data!r}")
            data += got
    lines = data.decode().splitlines()
    if lines[-1] != "ok":
        raise RuntimeError(f"{command}: {lines[-1]}")
    return [line[1:] for line in lines[:-1]]


def figures(lines):
    """{"name{labels}": value} of the text format of Prometheus."""
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def kib(path, name):
    with open(path, encoding="ascii") as file:
        return int(re.search(rf"(?m)^{name}:\s*(\d+) kB", file.read())[1])


def descriptors(pid, site):
    """How many are sockets, files of the site, and others; and what the others are."""
    counts, others = collections.Counter(), []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        kind = "sockets" if path.startswith("socket:") else "files" if path.startswith(site) else "others"
        counts[kind] += 1
        if kind == "others":
            others.append(path)
    return {"sockets": counts["sockets"], "files": counts["files"], "others": counts["others"]}, sorted(others)


def tasks(pid):
    """{name: how many threads}, of io_uring's kernel threads without their process's number."""
    found = collections.Counter()
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
                found[re.sub(r"^(iou-\w+)-\d+", r"\1", file.read().strip())] += 1
        except OSError:
            pass
    return dict(found)


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def sample(pid, admin_path, site):
    """All figures of one moment. Descriptors and threads are read before the admin socket is connected to."""
    held, others = descriptors(pid, site)
    status = f"/proc/{pid}/status"
    taken = {"time": time.monotonic(), "pid": pid, "fds": held, "other_fds": others, "tasks": tasks(pid),
             "rss": kib(status, "VmRSS"), "anon": kib(status, "RssAnon"), "cpu": cpu_seconds(pid)}
    found = figures(admin(admin_path, "metrics"))

    def of(name, **labels):
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return found[f"{name}{{{text}}}" if text else name]

    taken["held"] = of("loom_memory_held_bytes") / 1024
    taken["requests"] = sum(value for name, value in found.items() if name.startswith("loom_http_requests_total"))
    taken["reloads"] = sum(value for name, value in found.items()
                           if name.startswith("loom_reloads_total") and "live" in name)
    taken["failed_reloads"] = sum(value for name, value in found.items()
                                  if name.startswith("loom_reloads_total") and ("failed" in name or "refused" in name))
    taken["unfinished"] = sum(value for name, value in found.items()
                              if name.startswith("loom_http_unfinished_responses_total"))
    taken["connections"] = sum(value for name, value in found.items() if name.startswith("loom_connections{"))
    taken["workers"] = of("loom_workers")
    taken["variants_pending"] = of("loom_variants_pending")
    for state in ("current", "kept", "retired"):
        taken[f"generations_{state}"] = of("loom_generations", state=state)
        taken[f"pins_{state}"] = of("loom_generation_pins", state=state)
    taken["streamed_files"] = of("loom_snapshot_streamed_files")
    taken["retired_ids"] = [line.split()[0] for line in admin(admin_path, "snapshots")[1:]
                            if "retired" in line.split()]
    return taken


class Retired:
    """How long each snapshot has been there that only answers refer to: one that stays has lost a pin."""

    def __init__(self):
        self.since = {}

    def judge(self, taken):
        now = {(taken["pid"], name) for name in taken["retired_ids"]}
        self.since = {key: self.since.get(key, taken["time"]) for key in now}
        return [f"snapshot {name} has been retired for {taken['time'] - since:.0f} s: a pin is not given back"
                for (_, name), since in self.since.items() if taken["time"] - since > RETIRED_MAX]


def judge(taken, first):
    """What must not be at any time. first: a sample of the first process before its first client."""
    wrong = []
    fds, others = taken["fds"], first["fds"]["others"] + BUILDING
    if fds["others"] > others:
        wrong.append(f"{fds['others']} descriptors that are neither sockets nor of the site, at most {others} expected")
    # There are 76 clients, and who upgrades and samples; and a busy machine shows a second's worth of those who came and left.
    sockets = first["fds"]["sockets"] + 400
    if fds["sockets"] > sockets:
        wrong.append(f"{fds['sockets']} sockets, of 76 clients and those who have just left")
    generations = taken["generations_kept"] + taken["generations_retired"] + 3
    files = (taken["streamed_files"] + 1) * generations + BUILDING
    if fds["files"] > files:
        wrong.append(f"{fds['files']} files of the site are open, at most {files:.0f} expected")
    threads = sum(number for name, number in taken["tasks"].items() if not name.startswith("iou-"))
    if threads > sum(first["tasks"].values()) + TASKS_BUILDING:
        wrong.append(f"{threads} threads: {taken['tasks']}")
    if taken["unfinished"]:
        wrong.append(f"{taken['unfinished']:.0f} answers were broken off by the server")
    if taken["failed_reloads"]:
        wrong.append(f"{taken['failed_reloads']:.0f} reloads failed or were refused")
    return wrong


def judge_end(taken, first):
    """What must not be when every client has gone, and nothing is deployed any more."""
    wrong = []
    for kind in ("sockets", "others"):
        if taken["fds"][kind] != first["fds"][kind]:
            wrong.append(f"{taken['fds'][kind]} descriptors that are {kind}, {first['fds'][kind]} at the beginning: "
                         f"{taken['other_fds']}")
    files = taken["streamed_files"] * (1 + taken["generations_kept"])
    if taken["fds"]["files"] > files:
        wrong.append(f"{taken['fds']['files']} files of the site are open, at most {files:.0f} are streamed")
    if taken["connections"]:
        wrong.append(f"{taken['connections']:.0f} connections")
    if taken["generations_retired"] or taken["pins_retired"] or taken["retired_ids"]:
        wrong.append(f"{taken['generations_retired']:.0f} retired snapshots with {taken['pins_retired']:.0f} pins")
    if taken["pins_current"] != taken["workers"] or taken["pins_kept"]:
        wrong.append(f"{taken['pins_current']:.0f} pins of the current snapshot by {taken['workers']:.0f} workers, "
                     f"{taken['pins_kept']:.0f} of kept ones")
    if taken["variants_pending"]:
        wrong.append(f"{taken['variants_pending']:.0f} contents wait to be compressed")
    kernel = {name: number for name, number in taken["tasks"].items() if name.startswith("iou-wrk")}
    if sum(kernel.values()) > IDLE_KEPT * taken["workers"]:
        wrong.append(f"kernel threads are left: {kernel}")
    names = {name: number for name, number in taken["tasks"].items() if not name.startswith("iou-")}
    begun = {name: number for name, number in first["tasks"].items() if not name.startswith("iou-")}
    if names != begun:
        wrong.append(f"threads: {names}, at the beginning {begun}")
    return wrong


def kernel_threads_of(pids):
    """io_uring's threads on this machine that are of one of these processes, which have ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8", errors="replace") as file:
                    match = re.match(r"iou-\w+-(\d+)", file.read())
                if match and (int(match[1]) in pids or int(pid) in pids):
                    found.append(f"{pid}/{task}")
        except OSError:
            pass
    return found


COMPLAINT = re.compile(r"(?im)^(?!loom: sandbox: ).*\b(error|warning|assert\w*|abort\w*|cannot|died|failed|killed|sanitizer|"
                       r"runtime error|refused|does not turn|exhausted|dropped)\b.*$")


def complaints(log):
    """Lines of a server's log that should not be there."""
    return [match[0] for match in COMPLAINT.finditer(log)]
