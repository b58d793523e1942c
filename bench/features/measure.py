"""Measures the matrix, group by group: four rows at most and their base line take turns, slice by slice."""
import os
import re
import subprocess
import time

from rig import calls, kernel_memory, machine
from rig.generator import Generator
from rig.servers import Failed

from . import cells as cells_module
from . import rows as rows_module
from .verdict import open_rows, summary

GROUP = 4  # rows beside a base line: so many seconds lie between two of its slices at most


WARM = 0.2  # seconds at most of each row, before anything counts


class Plan:
    """How long and how often. settled: rounds after which a row ends that cannot have a verdict any more; 0: none."""

    def __init__(self, rounds, slice_seconds, rates, rate_rounds, rate_groups, call_cells, call_seconds=0.3, settled=0):
        self.rounds = rounds
        self.slice = slice_seconds
        self.rates = rates              # of the base line's requests a second, flat out
        self.rate_rounds = rate_rounds
        self.rate_groups = rate_groups  # a function of a cell and its rows: whether fixed rates are measured there
        self.call_cells = call_cells    # of a cell: and system calls
        self.call_seconds = call_seconds
        self.settled = settled

    def as_json(self):
        return {'rounds': self.rounds, 'slice': self.slice, 'rates': self.rates, 'rate rounds': self.rate_rounds}

    def seconds(self, cell, rows):
        """About how long a group with these rows takes, at most."""
        opening = 0.4 + cell.connections / 15000 + min(self.slice, WARM)
        count = len(rows) + 1
        found = count * opening + 0.3 + (self.rounds * count + 1) * (self.slice + 0.02)
        if self.call_cells(cell):
            found += 0.8 + count * self.call_seconds
        if self.rate_groups(cell, rows):
            found += len(self.rates) * (self.rate_rounds * count + 1) * (self.slice + 0.02)
        if cell.kernel_memory:
            found += 2 * count
        return found


def groups(cells, rows):
    """[(cell, base row, rows)]: every row in every cell, in order."""
    bases, compared = rows_module.split(rows)
    found = []
    for cell in cells:
        if cell.left_out:
            continue
        for backend, base in bases.items():
            if base.refused:
                continue
            mine = [row for row in compared if row.base == backend and not row.refused]
            for first in range(0, len(mine), GROUP):
                found.append((cell, base, mine[first:first + GROUP]))
            if not mine:
                found.append((cell, base, []))
    return found


def full_groups(cells, rows):
    """The same of the whole matrix: each row where it is of concern, and the other backend in a group of its own, as its
    place is everywhere. A base line with nothing beside it is measured where it would not be seen otherwise."""
    bases, compared = rows_module.split(rows)
    compared = [row for row in compared if not row.refused and not bases[row.base].refused]
    found = []
    for cell in cells_module.in_order(cells):
        if cell.left_out:
            continue
        mine = [row for row in compared if row.concerns(cell)]
        others = [row for row in mine if not row.options]
        found += [(cell, bases[row.base], [row]) for row in others]
        for backend, base in bases.items():
            own = [row for row in mine if row.base == backend and row.options]
            found += [(cell, base, own[first:first + GROUP]) for first in range(0, len(own), GROUP)]
            seen = own or any(backend in (row.base, row.backend) for row in others)
            if not seen and not base.refused:
                found.append((cell, base, []))
    return found


def await_sleep(pids, bound=5):
    """Until no kernel thread that takes submissions (sqpoll) looks for more, as it does for a second: on the server's core,
    and so at the cost of whoever is measured next."""
    end = time.monotonic() + bound
    for pid in pids:
        for task in machine.tasks(pid):
            while time.monotonic() < end:
                name, _, rest = machine.read(f'/proc/{pid}/task/{task}/stat').rpartition(') ')
                if 'iou-sqp' not in name or not rest.startswith('R'):
                    break
                time.sleep(0.02)


def group_name(cell, base, rows):
    return f'{cell.name} | {base.name} | {", ".join(row.name for row in rows)}'


class Group:
    """One group in one cell: its servers, their connections, and what comes of them."""

    def __init__(self, cell, base, rows, bench):
        self.cell = cell
        self.base = base
        self.rows = [base, *rows]
        self.bench = bench
        self.running = {}  # name: Generator
        self.problems = {}
        self.kernel = {}
        self.effect = {}

    def start(self):
        cell, bench = self.cell, self.bench
        for row in self.rows:
            server = row.server(bench.loom)
            try:
                server.start(bench.directory, bench.root, bench.cores, connections=cell.connections + 100)
                before = kernel_memory.settled_slabs() if cell.kernel_memory else None
                try:
                    self.running[row.name] = Generator(
                        bench.load, bench.cores, server, bench.file(cell.size), cell.connections, cell.active,
                        cell.depth,
                        cell.close)
                except Failed:
                    server.stop()
                    raise
                self.effect[row.name] = in_effect(machine.read(server.log))
                if before:
                    both, _ = kernel_memory.grown(before, kernel_memory.settled_slabs(), cell.connections)
                    self.kernel[row.name] = both - bench.client_end
            except Failed as error:
                self.problems[row.name] = str(error)

    def stop(self):
        for generator in self.running.values():
            generator.stop()
            generator.server.stop()

    def turn(self, row, seconds, rate, into):
        generator = self.running.get(row.name)
        if not generator or row.name in self.problems:
            return
        try:
            into.setdefault(row.name, []).append(generator.measure(seconds, rate))
            await_sleep(generator.server.pids())
        except Failed as error:
            self.problems[row.name] = str(error)

    def rounds(self, count, seconds, rate=0, settled=0):
        """{name: slices}; of the base line one more. After so many rounds (settled) only rows go on that may still have a
        verdict: the base line comes first in a round, so that the slices of those before have theirs on both sides."""
        slices = {}
        rows = self.rows[1:]
        for number in range(count):
            self.turn(self.base, seconds, rate, slices)
            if settled and number == settled:
                rows = [row for row in rows if row.name in open_rows(self.base.name, slices)]
                if not rows:
                    break
            for row in rows:
                self.turn(row, seconds, rate, slices)
            self.bench.progress.step(seconds * len(self.rows))
        else:
            self.turn(self.base, seconds, rate, slices)
        self.bench.progress.step(seconds)
        return slices

    def count_calls(self, seconds):
        """{name: system calls a request}, in a short run of its own."""
        counted = {}
        running = {name: generator for name, generator in self.running.items() if name not in self.problems}
        if not self.bench.perf:
            return counted
        pids = {name: generator.server.pids() for name, generator in running.items()}
        perf = calls.PerfThreads()
        perf.begin([pid for found in pids.values() for pid in found])
        requests = {}
        try:
            for name, generator in running.items():
                try:
                    result = generator.run(seconds)
                    requests[name] = result['answered'] + result['late']
                except Failed as error:
                    self.problems[name] = str(error)
                self.bench.progress.step(seconds)
        finally:
            tasks = {int(task): name for name, found in pids.items() for pid in found for task in machine.tasks(pid)}
            for task, count in perf.end().items():
                name = tasks.get(task)
                if requests.get(name):
                    counted[name] = counted.get(name, 0) + count / requests[name]
        return counted

    def measure(self):
        """What is kept of the group, as JSON."""
        cell, plan = self.cell, self.bench.plan
        result = {'cell': cell.name, 'base': self.base.name, 'rows': [row.name for row in self.rows[1:]],
                  'date': machine.now()}
        try:
            self.start()
            for row in self.rows:  # what is touched once is touched now
                self.turn(row, min(plan.slice, WARM), 0, {})
            result['slices'] = self.rounds(plan.rounds, plan.slice, settled=plan.settled)
            result['calls'] = self.count_calls(plan.call_seconds) if plan.call_cells(cell) else {}
            result['fixed'] = []
            base = summary([one['per_second'] for one in result['slices'].get(self.base.name, [])])
            if plan.rate_groups(cell, self.rows[1:]) and base:
                for share in plan.rates:
                    rate = round(base['median'] * share)
                    if rate:
                        result['fixed'].append({'share': share, 'rate': rate,
                                                'slices': self.rounds(plan.rate_rounds, plan.slice, rate)})
        finally:
            self.stop()
        result['kernel'] = self.kernel
        result['effect'] = self.effect
        result['problems'] = self.problems
        return result


def loom_version(path):
    done = subprocess.run([path, '--version'], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if line.strip()]


def in_effect(log):
    """What loom says at its start that it uses; '' when it does not say."""
    match = re.search(r'(?m)^loom: backend .*\(([^()]*)\)$', log)
    return match[1] if match else ''


def write_files(root, sizes):
    for size in sizes:
        # Bytes that do not compress: one representation, whatever is asked for.
        with open(os.path.join(root, f'{size}.bin'), 'wb') as file:
            file.write(os.urandom(size))
