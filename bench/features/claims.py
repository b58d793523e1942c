"""The article's claims: a chart and a sentence each, made from what was measured. The report is pure."""
from . import blocks, charts
from .cells import size_text
from .report import disturbance, figure, middle, slices_of, versions
from .verdict import summary

NAMES = ['threads', 'idle', 'memory', 'wakeups', 'throughput']
LABELS = {'threads': 'a thread each', 'select': 'select', 'poll': 'poll', 'epoll': 'epoll, level',
          'loom epoll': 'loom, epoll',
          'loom io_uring': 'loom, io_uring', 'level': 'level', 'edge': 'edge', 'level, 64-byte reads': 'level',
          'edge, 64-byte reads': 'edge', 'loom epoll trigger=level': 'loom, level',
          'loom epoll trigger=edge': 'loom, edge'}
LOOPBACK = ('Loopback has no link to wait for, and the client takes its share of the machine: this is what the thread '
            'can do, not what a network can.')
MODELS = ['threads', 'select', 'poll', 'epoll', 'loom epoll', 'loom io_uring']


def times(ratio):
    return f'{ratio:.1f} times' if ratio < 10 else f'{ratio:.0f} times'


def series(points, x, key, names=tuple(MODELS)):
    """[(label, [(x, median)])] of those that were measured."""
    return [(LABELS[name], [(point[x], middle(point['slices'].get(name, []), key)) for point in points])
            for name in names if any(point['slices'].get(name) for point in points)]


def cost(point, name, key='cpu_us'):
    return middle(point['slices'].get(name, []), key)


def failures(points, at=None):
    return sorted({f'(!) {LABELS.get(name, name)}{f", {at(point)}" if at else ""}: {why}'
                   for point in points for name, why in point['problems'].items()})


def told(found, points, at=None):
    problems = failures(points, at)
    return [*found, blocks.items(problems)] if problems else found


def compare(base, value, unit='CPU a request'):
    """'3 times the CPU a request of', '5 % less CPU a request than': in words; or that they are alike."""
    ratio = value / base
    if ratio >= 1.5:
        return f'{times(ratio)} the {unit} of'
    if ratio >= 1.03:
        return f'{100 * (ratio - 1):.0f} % more {unit} than'
    if ratio > 0.97:
        return f'about as much {unit} as'
    return f'{100 * (1 - ratio):.0f} % less {unit} than'


def threads(points):
    svg = charts.lines('A thread a connection against an event loop', series(points, 'connections', 'cpu_us'),
                       'connections, all of them active', 'CPU us a request (1 KiB)', x_log=True)
    last = points[-1]
    pairs = [(point['connections'], cost(point, 'threads'), cost(point, 'epoll')) for point in points]
    said = 'A thread a connection takes ' + ', '.join(
        f'{compare(epoll, thread)} the epoll loop with {n:,} connections'
        for n, thread, epoll in pairs if thread and epoll)
    rows = [[LABELS[name], f"{point['connections']:,}", figure(cost(point, name)),
             figure(cost(point, name, 'per_second'), 0),
             figure(cost(point, name, 'voluntary')), figure(middle(point['fixed'].get(name, []), 'p50'), 0),
             figure(middle(point['fixed'].get(name, []), 'p99'), 0), f"{point['rate']:,}"]
            for point in points for name in MODELS if point['slices'].get(name)]
    switches = cost(last, 'threads', 'voluntary'), cost(last, 'epoll', 'voluntary')
    if all(value is not None for value in switches):
        said += (f'. With {last["connections"]:,} it goes to sleep {switches[0]:.2f} times a request, the loop '
                 f'{switches[1]:.2f} times')
    return told([blocks.heading('An event loop outperforms a thread a connection'),
                 blocks.figure('claim-threads.svg', svg, said + '.'),
                 blocks.table(['server', 'connections', 'CPU us/req', 'requests/s', 'sleeps/req', 'p50 us at rate',
                               'p99 us', 'rate/s'],
                              rows)], points, lambda point: f"{point['connections']:,} connections")


def idle(points):
    svg = charts.lines('What idle connections cost those that ask', series(points, 'connections', 'cpu_us'),
                       'connections, 10 of them active', 'CPU us a request (1 KiB)', x_log=True, y_log=True)
    first, last = points[0], [point for point in points if point['slices']][-1]
    parts = []
    for name in MODELS:
        few, many = cost(first, name), cost(last, name)
        if few and many:
            parts.append(f'{LABELS[name]} {few:.1f} and {many:.1f} us ({many / few:.2f} times)')
    said = (f'CPU a request with {first["connections"]:,} and with {last["connections"]:,} connections, of which 10 '
            f'ask: '
            + ', '.join(parts) + '.')
    growth = {name: cost(last, name) / cost(first, name) for name in MODELS if cost(first, name) and cost(last, name)}
    verdicts = []
    for names, words, holds in ((('select', 'poll'), 'for all connections', lambda ratios: min(ratios) > 2),
                                (('epoll', 'loom epoll', 'loom io_uring'), 'for the ready ones',
                                 lambda ratios: max(ratios) < 1.25)):
        known = [name for name in names if name in growth]
        if known:
            confirmed = 'Confirmed' if holds([growth[name] for name in known]) else 'Not confirmed'
            verdicts.append(f'{confirmed}: one pays {words} with ' + '; '.join(LABELS[name] for name in known))
    rows = [[LABELS[name], *(figure(cost(point, name)) for point in points)] for name in MODELS
            if any(point['slices'].get(name) for point in points)]
    return told([blocks.heading('select and poll pay for all connections, epoll for the ready ones'),
                 blocks.figure('claim-idle.svg', svg, said + ' ' + '. '.join(verdicts) + '.'),
                 blocks.paragraph('select has bit sets of its own here (`--beyond`): those of the C library end at '
                                  '1,024 descriptors.'),
                 blocks.table(['CPU us/req with', *(f"{point['connections']:,}" for point in points)], rows)],
                points, lambda point: f"{point['connections']:,} connections")


def memory(data):
    parts = ('user', 'page_tables', 'kernel_stacks', 'sockets')
    names = ('own memory', 'page tables', 'kernel stacks', 'sockets and other kernel objects')
    rows = {name: row for name, row in data['rows'].items() if not row['problem']}
    count = data['connections']
    kib = {name: [None if row[part] is None else row[part] / 1024 for part in parts] for name, row in rows.items()}
    svg = charts.bars(f'Memory of {count:,} idle connections', [(LABELS[name], values) for name, values in kib.items()],
                      'KiB a connection', names)
    totals = {name: sum(max(value or 0, 0) for value in values) for name, values in kib.items()}
    said = ', '.join(f'{LABELS[name]} {total:.1f} KiB' for name, total in totals.items())
    said = f'A connection that is idle holds, in the server and in the kernel: {said}.'
    if 'threads' in rows:
        said += (f' The stacks of {count:,} threads reserve {rows["threads"]["virtual"] * count / 2 ** 30:.0f} GiB of '
                 f'address space, '
                 f'of which {rows["threads"]["user"] * count / 2 ** 20:.0f} MiB are memory.')
    table = [[LABELS[name], *(figure(value) for value in kib[name]), figure(totals[name]),
              figure(rows[name]['virtual'] / 1024, 0)] for name in rows]
    found = [blocks.heading(f'{count:,} connections do not need {count:,} stacks'),
             blocks.figure('claim-memory.svg', svg, said),
             blocks.table(['KiB a connection', *names, 'together', 'address space'], table)]
    failed = [f'(!) {LABELS[name]}: {row["problem"]}' for name, row in data['rows'].items() if row['problem']]
    return [*found, blocks.items(failed)] if failed else found


def waits_of(calls):
    return sum(count for call, count in calls.items() if call.startswith('epoll_') and 'wait' in call)


def of_pair(names):
    """(level, edge) pairs of what was measured."""
    return [(level, level.replace('level', 'edge')) for level in names if 'level' in level
            and level.replace('level', 'edge') in names]


def wakeups(points):
    rows, table, said = [], [], []
    for point in points:
        for level, edge in of_pair(list(point['calls'])):
            whose = 'loom' if level.startswith('loom') else 'baseline'
            waits = [waits_of(point['calls'][name]) for name in (level, edge)]
            rows.append((f"{whose}: {point['title']}", waits))
            ratio = summary([b['cpu_us'] / a['cpu_us'] for a, b in zip(point['slices'].get(level, []),
                                                                       point['slices'].get(edge, []))])
            same = abs(waits[1] - waits[0]) <= 0.05 * max(waits)
            said.append(f"{whose}, {point['title']}: {figure(waits[0])} wake-ups a request level, "
                        f"{figure(waits[1])} edge" + (' (no difference)' if same else ''))
            for name in (level, edge):
                calls = point['calls'][name]
                table.append([f'{whose}, {LABELS[name].removeprefix("loom, ")}', point['title'],
                              figure(waits_of(calls), 3),
                              figure(calls.get('recvfrom', 0) + calls.get('recvmsg', 0)),
                              figure(calls.get('sendmsg', 0) + calls.get('sendto', 0)),
                              figure(calls.get('epoll_ctl', 0)),
                              figure(calls['total']), figure(middle(point['slices'].get(name, []), 'voluntary')),
                              figure(middle(point['slices'].get(name, []), 'cpu_us')),
                              f"{ratio['median']:.3f} ({ratio['min']:.3f}..{ratio['max']:.3f})" if ratio
                              and name == edge else '-'])
    svg = charts.groups('Wake-ups, level-triggered against edge-triggered', rows, ['level', 'edge'],
                        'returns of epoll_wait a request')
    text = '; '.join(said) + '.' if said else 'Was not measured: perf may not count system calls here.'
    return told([blocks.heading('Edge-triggering saves wake-ups'),
                 blocks.figure('claim-wakeups.svg', svg, text),
                 blocks.table(['server', 'workload', 'epoll_wait/req', 'recv', 'send', 'epoll_ctl', 'all calls',
                               'sleeps', 'CPU us/req',
                               'CPU, edge of level'], table, (0, 1))], points, lambda point: point['title'])


def gigabits(point, name):
    values = [8 * point['size'] * one['per_second'] / 1e9 for one in point['slices'].get(name, [])]
    found = summary(values)
    return found and found['median']


def capacity(point, name):
    """Gbit/s that a thread which did nothing else would move, by the CPU time that its requests took."""
    slices = point['slices'].get(name)
    return 8 * point['size'] / middle(slices, 'cpu_us') / 1000 if slices else None


def throughput(points):
    names = ['loom epoll', 'loom io_uring']
    svg = charts.lines('Throughput of one thread', [
        (LABELS[name], [(point['size'], gigabits(point, name)) for point in points]) for name in names
        if any(point['slices'].get(name) for point in points)],
        'bytes of an answer, 64 connections', 'Gbit/s of bodies, over loopback', x_log=True, y_log=True,
        marks=[(1, 'a gigabit link'), (10, 'ten gigabits')])
    rows, said = [], []
    for name in names:
        enough = [point for point in points if (gigabits(point, name) or 0) >= 1]
        if enough:
            shares = ', '.join(f'{100 / capacity(point, name):.0f} % with answers of {size_text(point["size"])}'
                               for point in points if capacity(point, name))
            said.append(f'{LABELS[name]}: a gigabit was full with answers of {size_text(enough[0]["size"])}; of one '
                        f'CPU it '
                        f'takes {shares}; the most that was moved is '
                        f'{max(gigabits(point, name) or 0 for point in points):.1f} Gbit/s')
        elif any(point['slices'].get(name) for point in points):
            said.append(f'{LABELS[name]}: a gigabit was not reached with any of these sizes')
        rows += [[LABELS[name], size_text(point['size']), figure(gigabits(point, name)),
                  figure(middle(point['slices'][name], 'per_second'), 0),
                  figure(middle(point['slices'][name], 'cpu_us')),
                  figure(middle(point['slices'][name], 'busy')), figure(capacity(point, name))] for point in points
                 if point['slices'].get(name)]
    return told([blocks.heading('One thread saturates a gigabit link'),
                 blocks.figure('claim-throughput.svg', svg, '; '.join(said) + '. ' + LOOPBACK),
                 blocks.table(['server', 'answer', 'Gbit/s', 'requests/s', 'CPU us/req', 'busy',
                               'Gbit/s of a whole CPU'], rows, (0, 1))],
                points, lambda point: size_text(point['size']))


def about(result):
    """What every reader needs first."""
    host, net = result['machine'], result['network']
    earlier = [f'{name} on {date}' for name, date in result.get('dates', {}).items() if date != result['date']]
    return [f"{result['date']}: `{result['command']}`" + (f" ({', '.join(earlier)})" if earlier else ''),
            f"{host['cpu']}, {host['cpus']} CPUs{' (virtual)' if host['hypervisor'] else ''}, "
            f"{host['memory_mib']} MiB, Linux {host['kernel']}, {host['system']}",
            f"{result['cores']}; network namespace: {net['namespace']}, TCP congestion control: "
            f"{net['congestion_control']}",
            versions(result), *disturbance(slices_of(result['claims'])), *result['missing']]


BASELINES = ('The baselines (`bench/baselines`) are servers that differ in how they wait and in nothing else: they '
             "serve loom's snapshots by loom's parser and heads. They have no timeouts, limits, logs or reloads, so "
             'that they do less than loom; compare them with each other first.')


def report(result):
    found = [blocks.heading('What the article claims, measured', 1), blocks.items(about(result)),
             blocks.paragraph(BASELINES)]
    makers = {'threads': threads, 'idle': idle, 'memory': memory, 'wakeups': wakeups, 'throughput': throughput}
    for name in NAMES:
        if result['claims'].get(name):
            found += makers[name](result['claims'][name])
    return found
