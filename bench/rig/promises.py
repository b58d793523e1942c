"""What loom promises of its cost, and whether it is kept. Pure: figures of bench/compare in, verdicts and words out."""
import statistics

from .report import table

ROUNDS_MIN = 3  # of fewer nothing follows

LESS = 1.0  # of what each peer takes: less than this ...
AT_MOST = {('1m', 'nginx'): 1.05}  # ... but of nginx with sendfile, whose bytes nobody copies, at most so much

LOGGED = 1.05  # of what the same takes without an access log and metrics

# CPU a request as a multiple of limit-epoll's: workload: (cores, {backend: at most}).
OF_LIMIT = {
    'keep-alive': ('one', {'epoll': 1.08, 'io_uring': 0.92}),
    'browser': ('one', {'epoll': 1.08, 'io_uring': 0.92}),
    'keep-alive-512': ('two', {'epoll': 1.10, 'io_uring': 1.02}),
    'browser-512': ('two', {'epoll': 1.10, 'io_uring': 1.02}),
    'not-modified': ('one', {'epoll': 1.10, 'io_uring': 0.92}),
    '16k': ('one', {'epoll': 1.10, 'io_uring': 0.92}),
    'connection': ('one', {'epoll': 1.00, 'io_uring': 0.80}),
    'pipelined': ('one', {'epoll': 1.90, 'io_uring': 1.90}),
}


def ratio(mine, theirs):
    """Median of the ratios of slices of the same round."""
    return statistics.median(a['cpu_us'] / b['cpu_us'] for a, b in zip(mine['slices'], theirs['slices']))


def judge(workloads, cores):
    """[{'workload', 'server', 'of', 'family', 'ratio', 'most', 'kept'}]: of each loom against each peer and limit-epoll, and
    of each that writes a log against itself without."""
    found = []
    for workload in workloads:
        rows = [row for row in workload['rows'] if not row['problem'] and row['slices']]
        where, most_of_limit = OF_LIMIT.get(workload['name'], (None, {}))
        for mine in (row for row in rows if row['family'] == 'loom'):
            for other in rows:
                if other['family'] == 'limit':
                    if other['backend'] != 'epoll' or where != cores:
                        continue
                    most, less = most_of_limit[mine['backend']], False
                elif other['family'] in ('loom', 'logged'):
                    continue
                else:
                    most = AT_MOST.get((workload['name'], other['server']))
                    less, most = most is None, most or LESS
                value = ratio(mine, other)
                found.append({'workload': workload['name'], 'server': mine['server'], 'of': other['server'],
                              'family': 'limit' if other['family'] == 'limit' else 'peer', 'ratio': value,
                              'most': most, 'kept': value < most if less else value <= most})
        found += judge_logged(workload['name'], rows)
    return found


def judge_logged(workload, rows):
    """The same, with 'length', bytes of a line, and 'alone': the ratio of who would only have to write the lines."""
    found = []
    by_name = {row['server']: row for row in rows}
    for mine in (row for row in rows if row['family'] == 'logged' and row['plain'] in by_name):
        plain = by_name[mine['plain']]
        value = ratio(mine, plain)
        writing = mine['lines']['ns'] / 1000
        found.append({'workload': workload, 'server': mine['server'], 'of': plain['server'], 'family': 'logged',
                      'ratio': value, 'most': LOGGED, 'kept': value <= LOGGED, 'length': mine['lines']['bytes'],
                      'alone': 1 + writing / statistics.median(one['cpu_us'] for one in plain['slices'])})
    return found


def word(one):
    return 'kept' if one['kept'] else 'BROKEN'


def report(found, rounds):
    """The tables, in Markdown."""
    peers, limits, logged = ([one for one in found if one['family'] == family] for family in ('peer', 'limit', 'logged'))
    lines = ['## What was promised\n']
    if rounds < ROUNDS_MIN:
        lines.append(f'**Of fewer than {ROUNDS_MIN} rounds nothing follows**: these lines show only that they can be '
                     'made.\n')
    if peers:
        lines.append('Less CPU a request than every peer; with 1 MiB at most 1.05 of nginx with sendfile. Of each '
                     'workload the peer that comes nearest, and each that does not take more:\n')
        rows = []
        for name, server in dict.fromkeys((one['workload'], one['server']) for one in peers):
            mine = [one for one in peers if (one['workload'], one['server']) == (name, server)]
            nearest = max(mine, key=lambda one: one['ratio'] / one['most'])
            broken = [one for one in mine if not one['kept']]
            for one in broken or [nearest]:
                rows.append([name, server, f"{one['ratio']:.2f} of {one['of']}", word(one)])
        lines.append(table(['workload', 'server', 'CPU a request', 'verdict'], rows, (0, 1, 2, 3)))
    if limits:
        lines.append('CPU a request as a multiple of limit-epoll:\n')
        lines.append(table(['workload', 'server', 'of limit-epoll', 'at most', 'verdict'],
                           [[one['workload'], one['server'], f"{one['ratio']:.2f}", f"{one['most']:.2f}", word(one)]
                            for one in limits], (0, 1, 4)))
    if logged:
        lines.append('CPU a request with an access log and metrics, as a multiple of the same without; and what it would be '
                     'if lines of that length had only to be written (`limit/limit_log.c`):\n')
        lines.append(table(['workload', 'server', 'of itself', 'bytes a line', 'writing alone', 'at most', 'verdict'],
                           [[one['workload'], one['server'], f"{one['ratio']:.3f}", str(one['length']),
                             f"{one['alone']:.3f}", f"{one['most']:.2f}", word(one)] for one in logged], (0, 1, 6)))
    if not found:
        lines.append('Nothing could be judged: it takes a loom, and peers or limit-epoll beside it.\n')
    broken = sum(not one['kept'] for one in found)
    if found:
        lines.append(f'{len(found) - broken} kept, {broken} BROKEN.\n')
    return '\n'.join(lines)
