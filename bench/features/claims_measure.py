"""Measures what the article claims: loom and the baselines of bench/baselines, taking turns under the same load."""
import time

from rig import calls, kernel_memory, machine, servers
from rig.generator import Generator
from rig.servers import Failed

from . import cells
from .progress import Progress
from .report import middle

IDLE = [10, 100, 1000, 5000, 10000, 20000]
IDLE_ACTIVE = 10
THREADS = [10, 64, 512, 2000]
MEMORY = 10000
RATE = 5000
STEP_SECONDS = 15  # about what one takes
BROWSER = ['User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 '
           'Safari/537.36',
           'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
           'Accept-Encoding: gzip, deflate, br, zstd', 'Accept-Language: en-GB,en;q=0.9',
           'Referer: https://www.example.org/', 'Sec-Fetch-Mode: no-cors']


def contestants(bench, names):
    """{name: server}, of those that can be had."""
    made = {'threads': ('threads', []), 'select': ('select', ['--beyond']), 'poll': ('poll', []),
            'epoll': ('epoll', []), 'level': ('epoll', []), 'edge': ('epoll', ['--edge']),
            'level, 64-byte reads': ('epoll', ['--buffer', '64']),
            'edge, 64-byte reads': ('epoll', ['--edge', '--buffer', '64'])}
    found = {}
    for name in names:
        if name.startswith('loom'):
            backend, *more = name.split(' ')[1:]
            found[name] = servers.Loom(name.replace(' ', '-'), bench.loom, backend, ['--epoll', *more] if more else [])
        elif made[name][0] in bench.baselines:
            model, flags = made[name]
            found[name] = servers.Baseline(name.replace(' ', '-'), bench.baselines[model], flags)
    return found


class Field:
    """Servers with their connections, which have their load in turns."""

    def __init__(self, bench, names, size, connections, active=0, fields=()):
        self.bench = bench
        self.running = {}
        self.problems = {}
        try:
            for name, server in contestants(bench, names).items():
                try:
                    server.start(bench.directory, bench.root, bench.cores, connections=connections + 20)
                    try:
                        self.running[name] = Generator(bench.load, bench.cores, server, bench.file(size), connections,
                                                       active,
                                                       fields=fields)
                    except Failed:
                        server.stop()
                        raise
                except Failed as error:
                    self.problems[name] = str(error)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for generator in self.running.values():
            generator.stop()
            generator.server.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def turns(self, rounds, seconds, rate=0):
        """{name: slices}"""
        found = {}
        for number in range(-1, rounds):  # the first is for warming up
            for name, generator in self.running.items():
                if name in self.problems:
                    continue
                try:
                    one = generator.measure(seconds if number >= 0 else min(seconds, 0.2), rate)
                    if number >= 0:
                        found.setdefault(name, []).append(one)
                except Failed as error:
                    self.problems[name] = str(error)
        return found

    def calls(self, seconds, rate=0):
        """{name: {call: a request}}, in runs of their own."""
        found = {}
        for name, generator in self.running.items():
            if name in self.problems or not self.bench.perf:
                continue
            counter = calls.Perf()
            counter.begin(generator.server.pids(), self.bench.directory)
            try:
                result = generator.run(seconds, rate)
                requests = result['answered'] + result['late']
            except Failed as error:
                self.problems[name] = str(error)
                requests = 0
            total, counts = counter.end()
            if requests:
                found[name] = {'total': total / requests,
                               **{call: count / requests for call, count in counts.items() if count}}
        return found


def steps(names, scale):
    """How many times say() is called, about."""
    each = {'threads': len(THREADS), 'idle': len(IDLE), 'memory': 4, 'wakeups': 4, 'throughput': len(cells.SIZES)}
    return sum(each[name] if scale else 1 for name in names)


def say(bench, text):
    bench.progress.part(text, bench.progress.done + (STEP_SECONDS if bench.progress.text else 0))
    bench.quiet.hold(2 * STEP_SECONDS)


def threads(bench, scale):
    found = []
    for connections in THREADS if scale else THREADS[:1]:
        say(bench, f'threads: {connections} connections')
        with Field(bench, ['threads', 'epoll', 'loom epoll', 'loom io_uring'], 1024, connections) as field:
            slices = field.turns(5 if scale else 1, 0.4 if scale else 0.1)
            rate = round(min((middle(those, 'per_second') for those in slices.values()), default=0) / 2)
            fixed = field.turns(3 if scale else 1, 0.4 if scale else 0.1, rate) if rate else {}
            found.append({'connections': connections, 'slices': slices, 'rate': rate, 'fixed': fixed,
                          'problems': field.problems})
    return found


def idle(bench, scale):
    found = []
    # As many as one process may have, where that is less.
    most = (machine.raise_descriptor_limit(0) - 100) // 100 * 100
    for connections in sorted({min(one, most) for one in (IDLE if scale else IDLE[:2])}):
        say(bench, f'idle: {connections} connections')
        with Field(bench, ['select', 'poll', 'epoll', 'threads', 'loom epoll', 'loom io_uring'], 1024, connections,
                   IDLE_ACTIVE) as field:
            found.append({'connections': connections, 'slices': field.turns(5 if scale else 1, 0.4 if scale else 0.1),
                          'problems': field.problems})
    return found


def status(pid, name):
    """A line of /proc/PID/status, in bytes."""
    for line in machine.read(f'/proc/{pid}/status').splitlines():
        if line.startswith(name + ':'):
            return int(line.split()[1]) * 1024
    return 0


def kernel_stacks():
    for line in machine.read('/proc/meminfo').splitlines():
        if line.startswith('KernelStack:'):
            return int(line.split()[1]) * 1024
    return 0


def memory(bench, scale):
    """One after another: what is the kernel's is read for the whole machine."""
    count = MEMORY if scale else 200
    rows = {}
    bench.quiet.hold(2 * STEP_SECONDS)
    client_end = kernel_memory.client_cost(count)
    for name, server in contestants(bench, ['threads', 'epoll', 'loom epoll', 'loom io_uring']).items():
        say(bench, f'memory: {name}')
        try:
            server.start(bench.directory, bench.root, bench.cores, connections=count + 100)
            warm = Generator(bench.load, bench.cores, server, bench.file(1024), 10)
            warm.run(0.1)
            warm.stop()
            time.sleep(0.2)
            pid = server.process.pid
            before = [status(pid, 'VmRSS'), status(pid, 'VmPTE'), kernel_stacks(), status(pid, 'VmSize')]
            slabs = kernel_memory.settled_slabs()
            generator = Generator(bench.load, bench.cores, server, bench.file(1024), count, 1)
            after = [status(pid, 'VmRSS'), status(pid, 'VmPTE'), kernel_stacks(), status(pid, 'VmSize')]
            sockets = None
            if slabs:
                sockets = kernel_memory.grown(slabs, kernel_memory.settled_slabs(), count)[0] - client_end
            generator.stop()
            user, tables, stacks, virtual = ((b - a) / count for a, b in zip(before, after))
            rows[name] = {'user': user, 'page_tables': tables, 'kernel_stacks': stacks, 'virtual': virtual,
                          'sockets': sockets, 'problem': ''}
        except Failed as error:
            rows[name] = {'problem': str(error)}
        finally:
            server.stop()
    return {'connections': count, 'rows': rows}


def wakeups(bench, scale):
    looms = ['loom epoll trigger=level', 'loom epoll trigger=edge']
    workloads = [
        ('flat out', '1 KiB, 64 connections flat out', ['level', 'edge', *looms], 1024, 64, 0, ()),
        ('rate', f'1 KiB, {RATE:,} requests/s', ['level', 'edge', *looms], 1024, 64, RATE, ()),
        ('pieces', '500-byte requests, 64-byte reads', ['level, 64-byte reads', 'edge, 64-byte reads'], 1024,
         64, RATE, BROWSER),
        ('large', '4 MiB, 64 connections flat out', ['level', 'edge', *looms], 4 << 20, 64, 0, ()),
    ]
    found = []
    for key, title, names, size, connections, rate, fields in workloads if scale else workloads[:1]:
        say(bench, f'wake-ups: {title}')
        with Field(bench, names, size, connections, fields=fields) as field:
            found.append({'key': key, 'title': title,
                          'slices': field.turns(5 if scale else 1, 0.4 if scale else 0.1, rate),
                          'calls': field.calls(1 if scale else 0.1, rate), 'problems': field.problems})
    return found


def throughput(bench, scale):
    found = []
    for size in cells.SIZES if scale else cells.SIZES[:1]:
        say(bench, f'throughput: {cells.size_text(size)}')
        with Field(bench, ['loom epoll', 'loom io_uring'], size, 64) as field:
            found.append({'size': size, 'slices': field.turns(5 if scale else 1, 0.5 if scale else 0.1),
                          'problems': field.problems})
    return found


MEASURES = {'threads': threads, 'idle': idle, 'memory': memory, 'wakeups': wakeups, 'throughput': throughput}


def measure(bench, names, save, scale):
    """{name: figures}. scale False: as little as shows that it works."""
    bench.progress = Progress(STEP_SECONDS * steps(names, scale))
    found = {}
    for name in names:
        found[name] = MEASURES[name](bench, scale)
        save(found)
    bench.quiet.release()
    bench.progress.end()
    return found
