"""What a soak has found: figures, the verdict on memory, and a page with charts.

    report.py DIR      judges DIR/soak.json once more, and writes page and charts
"""
import json
import os
import re
import statistics
import sys

import fit

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
from features import charts  # noqa: E402  pylint: disable=wrong-import-position
from rig import machine  # noqa: E402  pylint: disable=wrong-import-position

BOUND = 1024  # KiB an hour
PROCESS_WARM = 75  # seconds until a process has been everywhere once: kept generations, variants, pools
PROCESS_GROWN = 300  # until it has had most of the coincidences that make a pool longer
JUDGED_FROM = 1500  # seconds that a soak must last for its slopes to be judged
WANTED = 30e6 / 3600  # answers a second and backend
JUDGED_HERE = re.compile(r"KiB an hour|too few samples|answers a second")
MEMORY = (("rss", "RSS"), ("anon", "anonymous memory"), ("held", "held by snapshots"))


def minutes(samples, name, young, warm, end):
    """[{minute: (hours, KiB)}]: of each process, from an age in seconds on, the least of each minute. What a deploy takes while it is
    being built comes and goes, and is most of the noise; what has leaked is in the least as well."""
    found, began = {}, {}
    for taken in samples:
        began.setdefault(taken["pid"], taken["seconds"])
        age = taken["seconds"] - began[taken["pid"]]
        if age >= young and warm <= taken["seconds"] <= end:
            minute = found.setdefault(taken["pid"], {}).setdefault(int((age - young) // 60), [])
            minute.append((taken[name], taken["seconds"] / 3600))
    return [{at: min(minute)[::-1] for at, minute in of_process.items()} for of_process in found.values()]


def ages(parts):
    """The same points by the minute of a process's life. A young one is smaller, and there are only young ones while
    upgrades go on: who would put all minutes on one line would find how old processes were, and call it growth."""
    found = {}
    for part in parts:
        for at, point in part.items():
            found.setdefault(at, []).append(point)
    return list(found.values())


def slopes(samples, seconds):
    """{figure: {"across": one slope from process to process, at each age, "process": one within the processes}}"""
    warm = min(max(0.1 * seconds, 60), 300)
    found = {}
    for name, _ in MEMORY:
        found[name] = {"across": fit.slope(ages(minutes(samples, name, PROCESS_WARM, warm, seconds))),
                       "process": fit.slope([[*part.values()] for part in
                                             minutes(samples, name, PROCESS_GROWN, warm, seconds)])}
    return found


def results(soak):
    options = soak.options
    found = {"date": soak.date if soak.began else "", "seconds": soak.lasted, "away": soak.away,
             "hours_wanted": options.hours,
             "commit": options.commit, "machine": machine.describe(), "seed": options.seed, "rate": options.rate,
             "interrupted": soak.interrupted, "bound_kib_an_hour": BOUND, "lanes": {}}
    for one in soak.lanes:
        rss = [taken["rss"] for taken in one.samples]
        found["lanes"][one.backend] = {
            "client": one.said, "deploys": one.deploys, "ways": one.tree.counts, "sighups": one.hups,
            "upgrades": one.upgrades, "longest_drain": one.longest_drain,
            "reloads": sum(max(taken["reloads"] for taken in one.samples if taken["pid"] == pid)
                           for pid in {taken["pid"] for taken in one.samples}),
            "server_cpu": one.server_cpu, "client_cpu": one.client_cpu,
            "rss_median": statistics.median(rss) if rss else 0, "rss_max": max(rss, default=0),
            "held_median": statistics.median(taken["held"] for taken in one.samples) if rss else 0,
            "retired_max": max((taken["generations_retired"] for taken in one.samples), default=0),
            "connections_max": max((taken["connections"] for taken in one.samples), default=0),
            "iou_wrk_max": max((taken["tasks"].get("iou-wrk", 0) for taken in one.samples), default=0),
            "first": one.first, "last": one.last, "slopes": slopes(one.samples, soak.lasted), "samples": one.samples}
    return found


def judge_slopes(found):
    """A figure may grow by no more than the bound, with 97.5 % certainty: the upper end of its slope's interval."""
    wrong = []
    for name, text in MEMORY:
        for which, how in (("across", "from process to process"), ("process", "within processes")):
            line = found[name][which]
            if line is None:
                wrong.append(f"too few samples for the slope of {text}")
            elif line["high"] > BOUND:
                wrong.append(f"{text} grows, or may grow, by more than {BOUND} KiB an hour ({how}): {interval(line)}")
    return wrong


def verdicts(found):
    wrong = []
    for backend, one in found["lanes"].items():
        if found["seconds"] >= JUDGED_FROM:
            wrong += [f"{backend}: {why}" for why in judge_slopes(one["slopes"])]
            rate = one["client"].get("answers", 0) / found["seconds"]
            if found["rate"] >= WANTED and rate < WANTED:
                wrong.append(f"{backend}: {rate:.0f} answers a second, {WANTED:.0f} are wanted")
    return wrong


def interval(line):
    return f"{line['slope']:+,.0f} KiB/h ({line['low']:+,.0f} to {line['high']:+,.0f})" if line else "too few samples"


def summary(found):
    lines = [f"soak: {found['seconds']:.0f} s" + (f", ended by {found['interrupted']}" if found["interrupted"] else "")]
    for backend, one in found["lanes"].items():
        client = one["client"]
        rss = one["slopes"]["rss"]
        lines.append(f"soak: {backend}: {client.get('answers', 0):,} answers checked, {client.get('etags', 0)} ETags, "
                     f"{client.get('connects', 0):,} connections, {one['deploys']} deploys, "
                     f"{one['upgrades']} upgrades; "
                     f"RSS from process to process {interval(rss['across'])}, "
                     f"within processes {interval(rss['process'])}; "
                     f"CPU {100 * one['server_cpu'] / max(found['seconds'], 1):.0f} % server, "
                     f"{100 * one['client_cpu'] / max(found['seconds'], 1):.0f} % client")
    if found["seconds"] < JUDGED_FROM:
        lines.append(f"soak: memory's slopes are not judged in less than {JUDGED_FROM} s")
    return "\n".join(lines)


def chart(found, names, title, label, scale=1.0):
    series = []
    for backend, one in found["lanes"].items():
        for name, text in names:
            points = [(taken["seconds"] / 60, taken[name] / scale) for taken in one["samples"]]
            series.append((f"{backend}, {text}" if len(names) > 1 else backend, points))
    return charts.lines(title, series, "minutes", label, dots=False)


def row(name, values):
    return f"| {name} | " + " | ".join(values) + " |"


def page(found):
    lanes = found["lanes"]
    kernel, cpu = found["machine"]["kernel"], found["machine"]["cpu"]
    each = lanes.values()
    client = [one["client"] for one in each]

    def counted(name):
        return [f"{one.get(name, 0):,}" for one in client]

    rows = [
        row("", list(lanes)), row("---", ["---:"] * len(lanes)),
        row("answers, every byte of each compared", counted("answers")),
        row("bytes of bodies", counted("bytes")), row("wrong answers", [f"{wrong(found, name):,}" for name in lanes]),
        row("of the answers: 200, uncoded", counted("whole")), row("200 in gzip, br or zstd", counted("coded")),
        row("304", counted("not_modified")), row("206, one range", counted("partial")),
        row("206, several ranges", counted("multipart")), row("416", counted("unsatisfiable")),
        row("404", counted("absent")), row("HEAD", counted("heads")),
        row("connections", counted("connects")), row("left in the middle, by a reset or a FIN", counted("aborted")),
        row("slow readers and slow senders", counted("slow")), row("half-closed, and answered", counted("halves")),
        row("requests unanswered when an upgrade's predecessor ended the connection between two answers",
            counted("unanswered")),
        row("different ETags seen, each of one content", counted("etags")),
        row("deploys (in place, by rename, whole releases, links, deletions)",
            [f"{one['deploys']:,} ({', '.join(str(number) for number in one['ways'].values())})" for one in each]),
        row("snapshots that went live by a reload", [f"{one['reloads']:,.0f}" for one in each]),
        row("upgrades (SIGUSR2)", [str(one["upgrades"]) for one in each]),
        row("the longest from SIGUSR2 to the predecessor's end", [f"{one['longest_drain']:.1f} s" for one in each]),
        row("RSS, median and largest", [f"{one['rss_median']:,.0f} and {one['rss_max']:,} KiB" for one in each]),
        row("held by snapshots, median", [f"{one['held_median']:,.0f} KiB" for one in each])]
    for name, text in MEMORY:
        rows.append(row(f"{text}: slope from process to process",
                        [interval(one["slopes"][name]["across"]) for one in each]))
        rows.append(row(f"{text}: slope within processes", [interval(one["slopes"][name]["process"]) for one in each]))
    rows += [
        row("retired snapshots at a time, at most; at the end",
            [f"{one['retired_max']:.0f}; {last(one, 'generations_retired'):.0f}" for one in each]),
        row("pins at the end, of one worker", [f"{last(one, 'pins_current'):.0f}" for one in each]),
        row("sockets and other descriptors at the beginning, and at the end", [
            f"{one['first']['fds']['sockets']} + {one['first']['fds']['others']}, "
            f"{one['last']['fds']['sockets']} + {one['last']['fds']['others']}" if one["first"] and one["last"] else "-"
            for one in each]),
        row("threads iou-wrk at a time, at most; at the end (the kernel keeps one of a kind while the ring is open)",
            [f"{one['iou_wrk_max']}; {last(one, 'tasks', {}).get('iou-wrk', 0)}" for one in each]),
        row("CPU of the server and of its client, of one core",
            [f"{100 * one['server_cpu'] / max(found['seconds'], 1):.0f} % and "
             f"{100 * one['client_cpu'] / max(found['seconds'], 1):.0f} %" for one in each])]
    verdict = "Passed."
    if not found["passed"]:
        verdict = "**Failed:** " + "; ".join(why.split("\n  what came")[0] for why in found["failures"])
        verdict = verdict.replace("\n", " ")
    if found["seconds"] < JUDGED_FROM:
        verdict += f" Slopes are not judged: a soak of less than {JUDGED_FROM} s is a trial."
    return f"""# Soak

`ci/soak {found['hours_wanted']:g}`, {found['date']}, {found['seconds']:.0f} s{', ended by ' + found['interrupted'] if
found['interrupted'] else ''}; commit {found['commit']}; {cpu}, {found['machine']['cpus']} CPUs, Linux {kernel}; seed
{found['seed']}. The machine did other work at the same time, so nothing here is about speed.
{found['away']:.0f} s in which all of the soak was stopped, by a measurement beside it, do not count.

{verdict}

""" + "\n".join(rows) + f"""

![RSS over time](soak-rss.svg)

![What snapshots hold, over time](soak-held.svg)

![Descriptors over time](soak-descriptors.svg)

**What is done.** A server a backend, with one worker, on a tree of some 100 files: small ones, pages with variants,
large ones in memory, and two that are streamed. A client in C asks at {found['rate']:,.0f} requests a second over
48 kept connections, 16 to 32 at a time, and beside that with 100 new connections a second, half-closed ones, large
files, ranges, ten slow readers and senders at a time, and 15 clients a second that leave in the middle. Every 5 s
or so something is deployed; in the first 30 % and in the last 20 % of the time the running process is replaced
every 150 s. In the middle one process runs on, as a leak within a process would not show in processes that are
young. Each process is stopped once for two seconds when it is young: then all clients wait, and eight more for files
that are streamed, which the page cache has forgotten meanwhile; and it makes as many buffers as it will ever need.
(They are kept: a machine that was busy for a moment had that effect, and looked like growth.)

**What is checked.** Every byte of every answer, against what was written in the version that its ETag stands for:
what an ETag stands for is learned from the first body that comes with it, by comparing that (decoded, where it is
coded) with every version of the file; one content has one ETag, from process to process. The version may not be
older than what was confirmed to be live before the request was sent, nor newer than what has been written. No
connection may be refused, reset, cut within an answer or stall for a minute; between two answers it may end only
while an upgrade is under way. Every 5 s: descriptors by kind, threads, retired snapshots (none for more than 120
s), reloads that failed. At the end, when all clients have gone: descriptors, threads and pins are those of the
beginning, no snapshot is retired, no more than two iou-wrk are left, which the kernel keeps for a ring; when the
process has ended, none.

**Flat** means: the upper end of the 95 % confidence interval of the slope is below {BOUND} KiB an hour, for RSS,
anonymous memory (RssAnon; PSS depends on who else has the C library in memory) and what loom itself says that its
snapshots hold, both for one slope from process to process, at the same age (each minute of a process's life has a
level of its own), and for one within processes (each with a level of its own). A minute stands for the least of its
samples: what a deploy takes while it is being built comes and goes and is most of the noise, and what has leaked is in
the least as well. The first {PROCESS_WARM} s of a process are left out, within processes the first {PROCESS_GROWN}, and of
the soak the first 300. Neighbouring minutes may resemble each other, and the interval is widened for that
(`tests/soak/fit.py`). Why {BOUND}: an hour has some 40 million
answers, 400,000 connections and 600 deploys on each backend. The smallest thing that malloc gives takes 32 bytes:
lost once a connection, that is 12,000 KiB. What would be above the bound is a byte lost in 38 answers, an
allocation of the smallest size in 12 connections, or 1.7 KiB in a deploy, which is less than the index of a
snapshot of this size.
"""


def last(one, name, default=0):
    return one["last"][name] if one["last"] else default


def wrong(found, backend):
    return sum(why.startswith(f"{backend}: the client ended with status 1") for why in found["failures"])


def write(found, output):
    os.makedirs(output, exist_ok=True)
    slim = dict(found, lanes={})
    for backend, one in found["lanes"].items():
        keep = ("seconds", "pid", "rss", "anon", "held", "fds", "connections", "generations_retired", "answers",
                "draining")
        samples = [{name: taken.get(name) for name in keep} for taken in one["samples"]]
        slim["lanes"][backend] = dict(one, samples=samples)
    with open(os.path.join(output, "soak.json"), "w", encoding="utf-8") as file:
        file.write(re.sub(r'"/[^"]*/loom-soak-\w+/', '"', json.dumps(slim, indent=0)) + "\n")
    for taken in (taken for one in found["lanes"].values() for taken in one["samples"]):
        taken["descriptors"] = sum(taken["fds"].values())
    for name, text in (
            ("soak.md", page(found)),
            ("soak-rss.svg", chart(found, (("rss", "RSS"),), "Resident memory", "MiB", 1024)),
            ("soak-held.svg", chart(found, (("held", "held"),), "Held by snapshots", "MiB", 1024)),
            ("soak-descriptors.svg",
             chart(found, (("descriptors", "descriptors"),), "Open descriptors", "descriptors"))):
        with open(os.path.join(output, name), "w", encoding="utf-8") as file:
            file.write(text)


def again(output):
    """Judges and writes what is in soak.json once more."""
    with open(os.path.join(output, "soak.json"), encoding="utf-8") as file:
        found = json.load(file)
    found["failures"] = [why for why in found["failures"] if not JUDGED_HERE.search(why)]
    for one in found["lanes"].values():
        one["slopes"] = slopes(one["samples"], found["seconds"])
    found["failures"] += verdicts(found)
    found["passed"] = not found["failures"]
    write(found, output)
    print(summary(found))


if __name__ == "__main__":
    again(sys.argv[1])
