"""From the figures of a run, as JSON, to a report. Pure: what it says is decided by these figures alone."""
from . import blocks, charts
from .verdict import METRICS, judge_row, null_ratios, overall, ratios, summary

NOT_HERE = [
    '**Zero-copy sends** (`zc=`): the loopback interface always copies, so what they cost is seen here and what they '
    'save is not. They need a real network card.',
    '**NAPI busy polling** (`napi=`, `busy-poll=`): the loopback interface has no queue to poll. It needs a real '
    'network card.',
    '**Interrupts, offloads and a second machine**: client and server share one kernel and its caches; what a request '
    'costs in '
    'the network stack is here paid partly by the one and partly by the other.',
]


def figure(value, digits=2):
    if value is None:
        return '-'
    text = f'{value:.{digits}f}'
    return text.lstrip('-') if float(text) == 0 else text


def middle(slices, key):
    found = summary([one[key] for one in slices])
    return found and found['median']


def known_refusals(result):
    return [row for row in result['rows'] if row['refused']]


class Cell:
    """One workload: every row's figures and verdicts, collected from its groups."""

    def __init__(self, cell, groups):
        self.cell = cell
        self.groups = groups
        self.rows = {}  # name: figures
        self.bases = {}
        self.problems = {}
        nulls = {}
        for group in groups:
            mine = nulls.setdefault(group['base'], {metric: [] for metric in METRICS})
            for metric, (key, _) in METRICS.items():
                mine[metric] += null_ratios(group['slices'].get(group['base'], []), key)
        for group in groups:
            self.problems.update(group['problems'])
            base = group['slices'].get(group['base'], [])
            self.bases.setdefault(group['base'], []).append(group)
            for name in group['rows']:
                slices = group['slices'].get(name, [])
                if slices and base and name not in group['problems']:
                    self.rows[name] = self.figures(group, name, slices)
                    self.rows[name]['verdicts'] = judge_row(base, slices, nulls[group['base']])
                    self.rows[name]['base'] = group['base']
        for name, own in self.bases.items():
            slices = [one for group in own for one in group['slices'].get(name, [])]
            if slices:
                self.rows[name] = self.figures(own[0], name, slices)
                self.rows[name]['verdicts'] = None

    @staticmethod
    def figures(group, name, slices):
        keys = ('cpu_us', 'per_second', 'voluntary', 'involuntary', 'wait_us', 'busy', 'p50', 'p99', 'p999')
        return {**{key: middle(slices, key) for key in keys}, 'calls': group['calls'].get(name),
                'kernel': group['kernel'].get(name)}

    def in_order(self, order):
        return [name for name in order if name in self.rows]


def disturbance(slices):
    """What else the CPUs did meanwhile, as an item; a warning where that is not little."""
    found = summary([one.get('others') for one in slices])
    if not found:
        return []
    share = f"{100 * found['median']:.0f} %"
    if found['median'] > 0.05:
        return [f'**The machine was not quiet**: other processes used {share} of its CPUs meanwhile (median of the '
                'slices). Rows that take turns are disturbed alike, and their ratios can be used where there is a '
                'verdict; absolute figures and latencies are not those of this machine.']
    rest = f", and more than {100 * found['q3']:.0f} % in a quarter of them" if found['q3'] > 0.05 else ''
    return [f'Other processes used {share} of the CPUs meanwhile (median of the slices{rest}).']


def slices_of(value):
    """All slices that lie anywhere in a result."""
    if isinstance(value, list):
        return [one for part in value for one in slices_of(part)]
    if not isinstance(value, dict):
        return []
    return [value] if 'cpu_us' in value else slices_of(list(value.values()))


def versions(result):
    tree = result.get('tree')
    return '; '.join(result['versions'] + ([f'tree {tree}'] if tree else []))


def effect_of_bases(result):
    """What the base lines use, as loom told when it started."""
    found = {}
    for group in result['groups'].values():
        text = group.get('effect', {}).get(group['base'])
        if text:
            found[group['base']] = text
    return [f'In effect by default, {name}: `{text}`' for name, text in found.items()]


def begin(result):
    """What every reader needs first."""
    host, net = result['machine'], result['network']
    about = [
        f"{result['date']}: `{result['command']}`",
        f"{host['cpu']}, {host['cpus']} CPUs{' (virtual)' if host['hypervisor'] else ''}, {host['memory_mib']} MiB, "
        f"Linux {host['kernel']}, {host['system']}",
        f"{result['cores']}; network namespace: {net['namespace']}, TCP congestion control: "
        f"{net['congestion_control']}",
        versions(result),
        '; '.join(f'{name}: {value}' for name, value in result['settings'].items()),
        *pieces(result),
        *disturbance(slices_of(result['groups'])),
        *effect_of_bases(result),
    ]
    missing = list(NOT_HERE)
    if result['machine']['cpus'] < 3:
        missing.append('**sqpoll**: its kernel thread shares the core of the server here, because the client has the '
                       'other one. On '
                       'a machine with a core to spare for it the figures are others.')
    missing += result['missing']
    return [blocks.items(about), blocks.heading('What could not be measured here'), blocks.items(missing)]


def refusals(result):
    rows = known_refusals(result)
    if not rows:
        return []
    return [blocks.heading('Rows that were not measured'),
            blocks.table(['row', 'what it is', 'why not'],
                         [[row['name'], row['title'], row['refused']] for row in rows], (0, 1, 2))]


def effects(cells, name, metric):
    """[(cell, verdict)] of a row."""
    return [(cell, cell.rows[name]['verdicts'][metric]) for cell in cells
            if name in cell.rows and cell.rows[name]['verdicts']]


def advice_of(row, cells):
    """What to say of a row: (overall, sentence), by CPU a request."""
    found = effects(cells, row['name'], 'cpu')
    kind = overall([verdict['effect'] for _, verdict in found])

    def tell(effect):
        those = [(verdict['ratio']['median'], cell) for cell, verdict in found if verdict['effect'] == effect]
        best = (min if effect == 'better' else max)(those, key=lambda one: one[0])
        change = f'{abs(best[0] - 1):.1%} {"less" if best[0] < 1 else "more"}'.replace('%', ' %')
        where = f'in {len(those)} of {len(found)} workloads, most with {best[1].cell["title"]}: {change} CPU a request'
        return where if len(found) > 1 else f'{change} CPU a request with {best[1].cell["title"]}'

    text = f"`{row['name']}` ({row['title']})"
    if kind == 'gains':
        return kind, f'{text} gains {tell("better")}.'
    if kind == 'costs':
        return kind, f'{text} costs {tell("worse")}.'
    if kind == 'both':
        return kind, f'{text} gains {tell("better")}; and costs {tell("worse")}.'
    return kind, f'{text}'


def what_to_use(result, cells):
    """In plain words."""
    said = {'gains': [], 'both': [], 'costs': [], 'none': [], 'unknown': [], 'waiting': []}
    left = {name for one, group in (result.get('planned') or {}).items() if one not in result['groups']
            for name in group['rows']}
    for row in result['rows']:
        if row['base'] and not row['refused']:
            kind, text = advice_of(row, cells)
            waits = row['name'] in left and not effects(cells, row['name'], 'cpu')
            said['waiting' if waits else kind].append(text)
    found = [blocks.heading('What to use when')]
    for kind, words in (('gains', 'Use these where their workload is yours:'),
                        ('both', 'These depend on the workload:'),
                        ('costs', 'Leave these as they are:')):
        if said[kind]:
            found += [blocks.paragraph(words), blocks.items(said[kind])]
    if said['none']:
        found.append(blocks.paragraph('No difference in CPU a request that the spread of the rounds would allow to '
                                      'tell from none: ' + ', '.join(said['none']) + '.'))
    if said['unknown']:
        found.append(blocks.paragraph('No verdict, for want of rounds or of an answer: '
                                      + ', '.join(said['unknown']) + '.'))
    if said['waiting']:
        found.append(blocks.paragraph('Not measured yet: ' + ', '.join(said['waiting']) + '.'))
    if not any(said.values()):
        found.append(blocks.paragraph('Nothing could be compared.'))
    return found


COLUMNS = ['row', 'CPU us/req', 'of base', 'spread', 'requests/s', 'calls/req', 'sleeps/req', 'preempted/1000 req',
           'ready us/req', 'busy', 'p50 us', 'p99 us', 'p99.9 us', 'kernel B/conn', 'verdict on CPU', 'on requests/s']


def cells_of(name, figures):
    verdicts = figures['verdicts']
    ratio = verdicts and verdicts['cpu']['ratio']
    return [name, figure(figures['cpu_us']), figure(ratio and ratio['median'], 3),
            f"{ratio['min']:.3f}..{ratio['max']:.3f}" if ratio else '-',
            figure(figures['per_second'], 0), figure(figures['calls']), figure(figures['voluntary']),
            figure(figures['involuntary'] * 1000, 2), figure(figures['wait_us'], 2), figure(figures['busy']),
            figure(figures['p50'], 0), figure(figures['p99'], 0), figure(figures['p999'], 0),
            figure(figures['kernel'], 0),
            verdicts['cpu']['text'] if verdicts else 'the base line',
            verdicts['throughput']['text'] if verdicts else 'the base line']


FIXED = ('At fixed rates, which are shares of what the base line answers flat out; arrivals are those of independent '
         'clients, and latency counts from when a request was due. "of base" compares the 99th percentile with that of '
         'the base slices around it. "sent late" is the 99th percentile of how late the generator was '
         'itself, or had no free connection.')
FIXED_COLUMNS = ['row', 'share', 'requests/s', 'CPU us/req', 'p50 us', 'p99 us', 'of base', 'p99.9 us', 'max us',
                 'unanswered', 'sent late us']


def at_fixed_rates(cell):
    """{(share, name): (rate, slices, ratios of p99 to the base line's)}; the base line's slices of all groups."""
    found = {}
    for group in cell.groups:
        for fixed in group['fixed']:
            base = fixed['slices'].get(group['base'], [])
            for name, slices in fixed['slices'].items():
                own = found.setdefault((fixed['share'], name), (fixed['rate'], [], []))
                own[1].extend(slices)
                if name != group['base']:
                    own[2].extend(ratios(base, slices, 'p99'))
    return {key: own for key, own in found.items() if own[1]}


def fixed_rates(cell, order):
    """Latency at fixed rates: a table and a chart."""
    found = at_fixed_rates(cell)
    if not found:
        return []
    table = []
    for share, name in sorted(found, key=lambda key: (key[0], order.index(key[1]))):
        rate, slices, compared = found[share, name]
        ratio = summary(compared)
        table.append([name, f'{100 * share:.0f} %', f'{rate:,}', figure(middle(slices, 'cpu_us')),
                      figure(middle(slices, 'p50'), 0), figure(middle(slices, 'p99'), 0),
                      figure(ratio and ratio['median']),
                      figure(middle(slices, 'p999'), 0), figure(middle(slices, 'max'), 0),
                      str(sum(one['unanswered'] for one in slices)), figure(middle(slices, 'delay_p99'), 0)])
    shares = sorted({share for share, _ in found})
    names = [name for name in order if any((share, name) in found for share in shares)]
    svg = charts.groups(f"{cell.cell['title']}: latency at fixed rates", [
        (name, [middle(found[share, name][1], 'p99') if (share, name) in found else None for share in shares])
        for name in names], [f'{100 * share:.0f} % of the base line' for share in shares], 'p99 in us')
    return [blocks.figure(f"features-latency-{cell.cell['name']}.svg", svg, FIXED), blocks.table(FIXED_COLUMNS, table)]


def short(title):
    """A workload's title for a narrow column."""
    return title.replace('connections', 'conns').replace('a connection a request', 'conn/request').replace(
        ', 64 of them active', ', mostly idle').replace(' deep', '')


def overview(result, cells, order):
    """All verdicts on CPU at a glance, if there are several workloads."""
    names = [name for name in order if any(name in cell.rows and cell.rows[name]['verdicts'] for cell in cells)]
    # Of the whole matrix, where there are features beside the backends: one column each.
    several = [cell for cell in cells if sum(figures['verdicts'] is not None for figures in cell.rows.values()) > 1]
    cells = several or cells
    if len(cells) < 2 or not names:
        return []
    rows = []
    for name in names:
        line = []
        for cell in cells:
            figures = cell.rows.get(name)
            verdict = figures and figures['verdicts'] and figures['verdicts']['cpu']
            line.append((verdict['effect'], verdict['ratio'] and verdict['ratio']['median'], verdict['text'])
                        if verdict else ('unknown', None, 'not measured'))
        rows.append((name, line))
    svg = charts.table('CPU a request, in % more or less than the base line',
                       [short(cell.cell['title']) for cell in cells], rows)
    return [blocks.heading('At a glance'),
            blocks.figure('features-overview.svg', svg, 'Each feature against the base line, in each workload: '
                          'only what the spread allows to tell has a colour.')]


def waiting(result, by_cell):
    """What was to be measured and is not yet: whole workloads, and rows of others."""
    planned = result.get('planned')
    if planned is None:  # a report of before there were pieces
        cells = [cell['title'] for cell in result['cells'] if not cell['left_out'] and cell['name'] not in by_cell]
        return [blocks.paragraph('Not measured yet: ' + '; '.join(cells) + '.')] if cells else []
    left = [group for name, group in planned.items() if name not in result['groups']]
    if not left:
        return []
    found = []
    for cell in result['cells']:
        names = dict.fromkeys(name for group in left if group['cell'] == cell['name'] for name in group['rows']
                              if cell['name'] not in by_cell or name != group['rows'][0])
        if names:
            found.append(cell['title'] + (': ' + ', '.join(names) if cell['name'] in by_cell else ''))
    seconds = sum(group['seconds'] for group in left)
    return [blocks.heading('Not measured yet'),
            blocks.paragraph(f'{len(left)} of {len(planned)} groups, about {max(round(seconds / 60), 1)} minutes: '
                             '`bench/kernel-features --full` goes on with them.'), blocks.items(found)]


def pieces(result):
    """When, and of which trees, the groups were measured, if not all at once; and what of the plan is not there."""
    dates = sorted(group['date'] for group in result['groups'].values() if group.get('date'))
    trees = sorted({group['tree'] for group in result['groups'].values() if group.get('tree')})
    found = []
    if dates and (dates[0][:10] != dates[-1][:10] or len(trees) > 1):
        found.append(f'Measured in pieces, from {dates[0]} to {dates[-1]}, of '
                     + (f'the trees {", ".join(trees)}' if len(trees) > 1 else 'one tree'))
    planned = result.get('planned') or {}
    left = sum(name not in result['groups'] for name in planned)
    if left:
        found.append(f'**Not complete**: {left} of {len(planned)} groups are not measured yet; see below')
    return found


def matrix(result):
    """The whole report of a run of the matrix."""
    order = [row['name'] for row in result['rows']]
    by_cell = {}
    for group in result['groups'].values():
        by_cell.setdefault(group['cell'], []).append(group)
    cells = [Cell(cell, by_cell[cell['name']]) for cell in result['cells'] if cell['name'] in by_cell]
    found = [blocks.heading('Kernel features', 1), *begin(result), *what_to_use(result, cells),
             *overview(result, cells, order), *refusals(result)]
    left_out = [f"{cell['title']}: {cell['left_out']}" for cell in result['cells'] if cell['left_out']]
    if left_out:
        found += [blocks.heading('Workloads that are left out'), blocks.items(left_out)]
    found += waiting(result, by_cell)
    found += [blocks.heading('Workload by workload'), blocks.paragraph(
        'Medians of the rounds. "of base" is the median of the ratios of CPU a request to that of the base slices '
        'around it, '
        '"spread" the least and the greatest of them. There is a verdict where the ratio lies on one side of 1 in '
        'every round, '
        'and further from it than nine of ten base slices are from their neighbours. "sleeps" are voluntary context '
        'switches, '
        '"preempted" involuntary ones, "ready" is the time that a request waited for a CPU, "busy" the share of a CPU '
        'that the '
        'server used: where that is less than 1 flat out, the server waited for the client.')]
    for number, cell in enumerate(cells):
        found += one_cell(cell, order, number)
    return found


def one_cell(cell, order, number):
    names = cell.in_order(order)
    found = [blocks.heading(cell.cell['title'], 3)]
    compared = [name for name in names if cell.rows[name]['verdicts']]
    if compared:
        rows = [(name, verdict['ratio'], verdict['effect'], verdict['text'])
                for name in compared for verdict in [cell.rows[name]['verdicts']['cpu']]]
        found.append(blocks.figure(f"features-{cell.cell['name']}.svg", charts.dots(
            cell.cell['title'], rows, 'CPU a request as a multiple of the base line: median, least and greatest of the '
                                      'rounds'),
            f"CPU a request against the base line: {cell.cell['title']}."))
    found.append(blocks.table(COLUMNS, [cells_of(name, cell.rows[name]) for name in names],
                              (0, len(COLUMNS) - 2, len(COLUMNS) - 1)))
    found += fixed_rates(cell, order)
    if cell.problems:
        found.append(blocks.items(f'(!) {name}: {why}' for name, why in sorted(cell.problems.items())))
    return found
