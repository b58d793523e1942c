"""Measures the matrix, group by group: four rows at most and their base line take turns, slice by slice."""
import os
import re
import subprocess

from rig import calls, kernel_memory, machine
from rig.generator import Generator
from rig.servers import Failed

from . import rows as rows_module
from .verdict import summary

GROUP = 4  # rows beside a base line: so many seconds lie between two of its slices at most


class Plan:
    """How long and how often."""

    def __init__(self, rounds, slice_seconds, rates, rate_rounds, rate_cells, call_cells, call_seconds=0.3):
        self.rounds = rounds
        self.slice = slice_seconds
        self.rates = rates              # of the base line's requests a second, flat out
        self.rate_rounds = rate_rounds
        self.rate_cells = rate_cells    # a function of a cell: whether fixed rates are measured there
        self.call_cells = call_cells    # and system calls
        self.call_seconds = call_seconds

    def as_json(self):
        return {'rounds': self.rounds, 'slice': self.slice, 'rates': self.rates, 'rate rounds': self.rate_rounds}

    def seconds(self, cell, count):
        """About how long a group with so many rows takes."""
        opening = 0.4 + cell.connections / 15000
        found = (count + 1) * opening + 0.3 + (self.rounds * (count + 1) + 1) * (self.slice + 0.02)
        if self.call_cells(cell):
            found += 0.8 + (count + 1) * self.call_seconds
        if self.rate_cells(cell):
            found += len(self.rates) * (self.rate_rounds * (count + 1) + 1) * (self.slice + 0.02)
        if cell.kernel_memory:
            found += 2 * (count + 1)
        return found


def groups(cells, rows):
    """[(cell, base row, rows)]: all that is to be measured, in order."""
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
        except Failed as error:
            self.problems[row.name] = str(error)

    def rounds(self, count, seconds, rate=0):
        """{name: slices}; of the base line one more."""
        slices = {}
        for _ in range(count):
            for row in self.rows:
                self.turn(row, seconds, rate, slices)
                self.bench.progress.step(seconds)
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
        result = {'cell': cell.name, 'base': self.base.name, 'rows': [row.name for row in self.rows[1:]]}
        try:
            self.start()
            for row in self.rows:  # what is touched once is touched now
                self.turn(row, min(plan.slice, 0.2), 0, {})
            result['slices'] = self.rounds(plan.rounds, plan.slice)
            result['calls'] = self.count_calls(plan.call_seconds) if plan.call_cells(cell) else {}
            result['fixed'] = []
            base = summary([one['per_second'] for one in result['slices'].get(self.base.name, [])])
            if plan.rate_cells(cell) and base:
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
