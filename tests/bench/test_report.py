"""What bench/kernel-features says is decided by its figures alone: verdicts only where the spread allows one, each
refusal with its reason, charts that are well-formed, claims that are denied when the figures deny them."""
import argparse
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import unittest
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, 'bench'))

from features import blocks, cells, charts, claims, measure, report, rows, verdict  # noqa: E402
from features.progress import Progress  # noqa: E402

script = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(
    'kernel_features', importlib.machinery.SourceFileLoader(
        'kernel_features', os.path.join(TREE, 'bench', 'kernel-features'))))
script.__loader__.exec_module(script)

DEFAULTS = {'taskrun=defer', 'sqarray', 'no-ring-fd', 'accept=multishot', 'recv=multishot', 'send=ring', 'trigger=edge',
            'read=short', 'write=first', 'exclusive'}
WOBBLE = [0, 0.01, -0.01, 0.008, -0.006, 0.004]


def slice_(cpu, per_second=None, p99=None):
    return {'cpu_us': cpu, 'per_second': per_second or 1e6 / cpu, 'voluntary': 0.1, 'involuntary': 0.001,
            'wait_us': 0.2,
            'busy': 0.99, 'p50': 300, 'p99': p99 or 100 * cpu, 'p999': 2000, 'max': 3000, 'unanswered': 0,
            'delay_p99': 20,
            'client_busy': 1, 'requests': 10000, 'bytes': 1}


def group(slices, base='io_uring', cell='keepalive-1KiB-64', **more):
    return {'cell': cell, 'base': base, 'rows': [name for name in slices if name != base],
            'slices': {name: [slice_(cpu) for cpu in values] for name, values in slices.items()},
            'calls': {}, 'kernel': {}, 'fixed': [], 'problems': {}, **more}


def noisy(value, wobble=1.0):
    return [value * (1 + wobble * one) for one in WOBBLE]


def matrix(slices, refused=None, cell='keepalive-1KiB-64', groups=None):
    known = [row for row in rows.all_rows() if row.name in slices or row.name in (refused or {})]
    return {'kind': 'matrix', 'date': '2026-01-01 00:00:00 +0000', 'command': 'bench/kernel-features --quick',
            'machine': {'cpu': 'A CPU', 'cpus': 2, 'memory_mib': 1000, 'kernel': '6.18', 'system': 'A system',
                        'hypervisor': True},
            'network': {'namespace': 'own', 'congestion_control': 'cubic'}, 'cores': 'two', 'versions': ['loom 0'],
            'settings': {'rounds': 5}, 'missing': ['**perf** may not.'],
            'rows': [{'name': row.name, 'backend': row.backend, 'options': row.options, 'title': row.title,
                      'base': row.base,
                      'refused': (refused or {}).get(row.name, '')} for row in known],
            'cells': [cells.choose([cell])[0].as_json()], 'groups': groups or {'one': group(slices, cell=cell)}}


def judged(base, values, metric='cpu'):
    one = group({'io_uring': base, 'x': values})['slices']
    key = verdict.METRICS[metric][0]
    return verdict.judge(metric, verdict.ratios(one['io_uring'], one['x'], key),
                         verdict.null_ratios(one['io_uring'], key))


class Verdicts(unittest.TestCase):
    def test_a_clear_gain_is_told(self):
        found = judged(noisy(10), noisy(9)[:5])
        self.assertEqual(found['effect'], 'better')
        self.assertRegex(found['text'], r'^(9|10)\.\d % less CPU$')

    def test_a_clear_loss_is_told(self):
        found = judged(noisy(10), noisy(12)[:5])
        self.assertEqual(found['effect'], 'worse')
        self.assertIn('more CPU', found['text'])

    def test_more_requests_are_better(self):
        found = judged(noisy(10), noisy(9)[:5], 'throughput')
        self.assertEqual(found['effect'], 'better')
        self.assertIn('more requests/s', found['text'])

    def test_what_is_within_the_noise_is_none(self):
        # Always 3 % less, and the base line differs from itself by 10 %.
        base = noisy(10, 10)
        values = [0.97 * (one + other) / 2 for one, other in zip(base, base[1:])]
        found = judged(base, values)
        self.assertLess(found['ratio']['max'], 1)
        self.assertEqual(found['effect'], 'none')
        self.assertRegex(found['text'], r'^no difference beyond \d+\.\d %$')

    def test_one_round_on_the_other_side_is_enough_for_none(self):
        found = judged(noisy(10), [9, 9, 9, 9, 10.2])
        self.assertEqual(found['effect'], 'none')

    def test_few_rounds_allow_no_verdict(self):
        # However quiet the base lines of other groups show the machine to be.
        found = verdict.judge('cpu', [0.5] * (verdict.ROUNDS_MIN - 1), [1] * 20)
        self.assertEqual(found['effect'], 'unknown')
        self.assertGreaterEqual(verdict.ROUNDS_MIN, 5)

    def test_nothing_measured_is_no_verdict(self):
        self.assertEqual(judged([], [])['effect'], 'unknown')

    def test_drift_is_not_taken_for_an_effect(self):
        # The machine becomes twice as slow from the first slice to the last; the row costs what the base line does.
        base = [10, 12, 14, 16, 18, 20]
        found = judged(base, [11, 13, 15, 17, 19])
        self.assertEqual(found['effect'], 'none')
        self.assertAlmostEqual(found['ratio']['median'], 1)
        # And one that costs 10 % less is found all the same: the drift is no noise, either.
        found = judged(base, [0.9 * one for one in (11, 13, 15, 17, 19)])
        self.assertEqual(found['effect'], 'better')

    def test_what_was_on_both_sides_needs_no_more_rounds(self):
        self.assertEqual(judged(noisy(10), [9.9, 10.1, 9.9])['effect'], 'none')
        self.assertEqual(judged(noisy(10), [9.9, 10.1])['effect'], 'unknown')
        slices = group({'io_uring': [10] * 4, 'both': [9.9, 10.1, 9.9], 'less': [9.9, 9.8, 9.9]})['slices']
        self.assertEqual(verdict.open_rows('io_uring', slices), {'less'})
        # On both sides in one of two figures is not enough to end.
        for slice_of in slices['both']:
            slice_of['per_second'] = 50000
        self.assertEqual(verdict.open_rows('io_uring', slices), {'less', 'both'})

    def test_over_several_workloads(self):
        self.assertEqual(verdict.overall(['better', 'none']), 'gains')
        self.assertEqual(verdict.overall(['better', 'worse']), 'both')
        self.assertEqual(verdict.overall(['none', 'unknown']), 'none')
        self.assertEqual(verdict.overall(['unknown']), 'unknown')
        self.assertEqual(verdict.overall([]), 'unknown')


class Reports(unittest.TestCase):
    def text(self, result):
        return blocks.markdown(report.matrix(json.loads(json.dumps(result))))

    def test_what_to_use_when(self):
        text = self.text(matrix({'io_uring': noisy(10), 'io_uring: taskrun=none': noisy(12)[:5],
                                 'io_uring: recv-bundle': noisy(9)[:5], 'io_uring: sqarray': noisy(10)[:5]}))
        use = text[text.index('## What to use when'):text.index('## Workload by workload')]
        gains, costs = use.index('Use these'), use.index('Leave these')
        self.assertTrue(gains < use.index('`io_uring: recv-bundle`') < costs < use.index('`io_uring: taskrun=none`'))
        self.assertRegex(use, r'No difference in CPU a request[^\n]*`io_uring: sqarray`')

    def test_what_was_not_measured_comes_first_and_refusals_have_their_reasons(self):
        text = self.text(matrix({'io_uring': noisy(10)}, {'io_uring: send-vec': 'needs Linux 6.17, this is 6.1',
                                                            'io_uring: zc=fixed': 'write zc=off|on'}))
        self.assertLess(text.index('real network card'), text.index('## What to use when'))
        self.assertIn('**perf** may not.', text)
        self.assertIn('write zc=off\\|on ', text)
        self.assertRegex(text, r'\| io_uring: send-vec +\|[^\n]*\| needs Linux 6\.17, this is 6\.1 +\|')

    def test_a_row_that_failed_has_no_figures_but_its_reason(self):
        failed = group({'io_uring': noisy(10), 'io_uring: sqpoll': noisy(5)[:5]},
                       problems={'io_uring: sqpoll': 'has ended with status 1 under load'})
        text = self.text(matrix({'io_uring': [], 'io_uring: sqpoll': []}, groups={'one': failed}))
        self.assertIn('(!) io_uring: sqpoll: has ended with status 1 under load', text)
        self.assertNotIn('less CPU', text)

    def test_fixed_rates(self):
        one = group({'io_uring': noisy(10), 'io_uring: sqarray': noisy(10)[:5]})
        one['fixed'] = [{'share': 0.5, 'rate': 50000, 'slices': one['slices']}]
        text = self.text(matrix({'io_uring': [], 'io_uring: sqarray': []}, groups={'one': one}))
        self.assertRegex(text, r'\| io_uring: sqarray +\| +50 % \| +50,000 \|')

    def test_a_machine_that_is_not_quiet_is_told_of(self):
        one = group({'io_uring': noisy(10)})
        for others, warned in ((0.3, True), (0.01, False)):
            for slice_of in one['slices']['io_uring']:
                slice_of['others'] = others
            text = self.text(matrix({'io_uring': []}, groups={'one': one}))
            self.assertEqual('**The machine was not quiet**: other processes used 30 %' in text, warned)
            self.assertIn('of the CPUs meanwhile' if not warned else 'of its CPUs meanwhile', text)

    def test_cells_that_wait_are_told(self):
        result = matrix({'io_uring': noisy(10)})
        result['cells'].append(cells.choose(['close-1KiB-64'])[0].as_json())
        self.assertIn('Not measured yet: 1 KiB, a connection a request, 64 connections', self.text(result))

    def test_what_is_missing_of_a_plan_is_told(self):
        result = matrix({'io_uring': noisy(10), 'io_uring: sqarray': noisy(10)[:5]})
        result['cells'].append(cells.choose(['close-1KiB-64'])[0].as_json())
        name = cells.QUICK[0]
        result['planned'] = {'one': {'cell': name, 'rows': ['io_uring', 'io_uring: sqarray'], 'seconds': 60},
                             'two': {'cell': name, 'rows': ['io_uring', 'io_uring: sqpoll'], 'seconds': 60},
                             'three': {'cell': 'close-1KiB-64', 'rows': ['io_uring', 'io_uring: sqpoll'], 'seconds': 90}}
        text = self.text(result)
        self.assertIn('**Not complete**: 2 of 3 groups', text)
        self.assertIn('2 of 3 groups, about 2 minutes', text)
        self.assertIn('Not measured yet: `io_uring: sqpoll`', self.text(
            {**result, 'rows': matrix({'io_uring': [], 'io_uring: sqpoll': []})['rows']}))
        self.assertRegex(text, r'(?m)^- 1 KiB, keep-alive, 64 connections: io_uring: sqpoll$')
        self.assertRegex(text, r'(?m)^- 1 KiB, a connection a request, 64 connections$')
        result['groups'].update({'two': result['groups']['one'], 'three': result['groups']['one']})
        self.assertNotIn('Not complete', self.text(result))
        self.assertNotIn('Not measured yet', self.text(result))

    def test_pieces_are_told(self):
        one = group({'io_uring': noisy(10)}, date='2026-01-01 10:00:00 +0000', tree='a')
        for date, tree, told in (('2026-01-01 11:00:00 +0000', 'a', ''), ('2026-01-02 10:00:00 +0000', 'a', 'one tree'),
                                 ('2026-01-01 11:00:00 +0000', 'b', 'the trees a, b')):
            text = self.text(matrix({'io_uring': []}, groups={'one': one, 'two': {**one, 'date': date, 'tree': tree}}))
            self.assertEqual('Measured in pieces' in text, bool(told))
            self.assertIn(told, text)

    def test_the_page_refers_to_its_charts(self):
        found = report.matrix(matrix({'io_uring': noisy(10), 'io_uring: sqarray': noisy(10)[:5]}))
        page = blocks.page(found, 'A <title>')
        self.assertIn('<title>A &lt;title&gt;</title>', page)
        for file, svg in blocks.figures(found).items():
            self.assertIn(f'src="{file}"', page)
            ElementTree.fromstring(svg)
        self.assertIn('<code>io_uring: sqarray</code>', page)

    def test_reports_can_be_made_of_the_results_in_the_tree(self):
        directory = os.path.join(TREE, 'bench', 'results')
        for name in os.listdir(directory):
            if name.startswith(('kernel-features-', 'claims')) and name.endswith('.json'):
                with open(os.path.join(directory, name), encoding='utf-8') as file:
                    result = json.load(file)
                found = claims.report(result) if result['kind'] == 'claims' else report.matrix(result)
                with open(os.path.join(directory, name[:-4] + 'md'), encoding='utf-8') as file:
                    self.assertEqual(file.read(), blocks.markdown(found, name[:-5] + '/'), f'{name}: see --report')


class Plans(unittest.TestCase):
    def test_groups_have_a_base_line_and_few_rows(self):
        known = rows.all_rows()
        known[5].refused = 'no'
        todo = measure.groups(cells.choose(cells.QUICK), known)
        seen = []
        for cell, base, mine in todo:
            self.assertLessEqual(len(mine), measure.GROUP)
            self.assertFalse(base.base)
            self.assertTrue(all(row.base == base.name for row in mine))
            seen += [(cell.name, row.name) for row in mine]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(len(seen), len(cells.QUICK) * (len(known) - 3))
        self.assertNotIn((cells.QUICK[0], known[5].name), seen)
        self.assertEqual(len({measure.group_name(*one) for one in todo}), len(todo))

    def whole(self):
        """The whole matrix as `--full` plans it, where nothing is refused but what Linux 6.18 has by default."""
        options = argparse.Namespace(rates=None, full=True, rounds=None, smoke=False, cells=None, slice=None, quick=False)
        known = rows.all_rows()
        for row in known:
            row.refused = 'the default' if row.options in DEFAULTS else ''
        return script.plan_for(None, options, cells.all_cells(), known)

    def test_the_whole_matrix_ends_in_ninety_minutes(self):
        plan, todo = self.whole()
        self.assertLess(sum(plan.seconds(cell, group) for cell, _, group in todo), 90 * 60)
        self.assertGreaterEqual(plan.rounds, verdict.ROUNDS_MIN)
        self.assertEqual(len({measure.group_name(*one) for one in todo}), len(todo))

    def test_the_whole_matrix_has_every_dimension(self):
        seen = {row.name: [] for row in rows.all_rows() if row.base and row.options not in DEFAULTS}
        for cell, base, mine in self.whole()[1]:
            self.assertEqual(cell.left_out, '')
            for row in mine:
                self.assertEqual(row.base, base.name)
                seen[row.name].append(cell)
        self.assertEqual(len(seen['epoll instead of io_uring']), sum(not cell.left_out for cell in cells.all_cells()))
        for name, own in seen.items():
            self.assertEqual(len(set(own)), len(own))
            self.assertLessEqual(set(cells.QUICK), {cell.name for cell in own}
                                 | {'pipelined-200B-64'}, name)  # --quick has smaller answers there
            if not name.startswith(('io_uring: zc=o', 'io_uring: accept', 'io_uring: files', 'epoll: ex', 'epoll: no-ex')):
                for mode in cells.MODES:
                    there = [cell for cell in own if cell.mode == mode]
                    self.assertEqual({cell.size for cell in there}, set(cells.SIZES), name)
                    self.assertEqual({cell.connections for cell in there}, set(cells.CONNECTIONS), name)

    def test_a_backend_that_is_refused_leaves_the_other(self):
        known = rows.all_rows()
        for row in known:
            row.refused = 'no' if row.backend == 'io_uring' else ''
        todo = measure.full_groups(cells.all_cells(), known)
        self.assertEqual({base.name for _, base, _ in todo}, {'epoll'})
        self.assertEqual({cell.name for cell, _, _ in todo},
                         {cell.name for cell in cells.all_cells() if not cell.left_out})

    def test_times(self):
        self.assertEqual([script.duration(text) for text in ('90', '90s', '20m', '2h')], [90, 90, 1200, 7200])
        for wrong in ('', 'm', '1d', '-1', '1.5h'):
            with self.assertRaises(argparse.ArgumentTypeError):
                script.duration(wrong)

    def test_what_is_the_default_is_not_measured_against_itself(self):
        known = rows.defaults('loom 0.1.0\nliburing; offers io_uring (taskrun=defer)\nio_uring, as --uring has it '
                              'here:\n'
                              '  taskrun=defer        runs (default defer; needs 5.19; also taskrun=none)\n'
                              '  no-ring-fd           the ring (default off; needs 5.18; also ring-fd)\n'
                              '  sqarray              an array (default on; also no-sqarray)\n'
                              '  entries=128          of the queue (default up to 512, by connections; needs 5.19)\n'
                              'epoll, as --epoll has it here:\n  read=short           a short read (default short)\n')
        said = {row.name for row in rows.all_rows() if rows.is_default(row, known)}
        self.assertEqual(said, {'io_uring: taskrun=defer', 'io_uring: no-ring-fd', 'io_uring: sqarray',
                                'epoll: read=short'})
        self.assertFalse(any(rows.is_default(row, {}) for row in rows.all_rows()))

    def test_names_are_distinct(self):
        known = rows.all_rows()
        self.assertEqual(len({row.name for row in known}), len(known))
        self.assertEqual(len({cell.name for cell in cells.all_cells()}), 60)

    def test_what_would_be_too_much_at_once_is_left_out(self):
        big, fine = cells.choose(['pipelined-4MiB-1024', 'keepalive-4MiB-64'])
        self.assertIn('64 GiB', big.left_out)
        self.assertEqual(fine.left_out, '')
        self.assertEqual(measure.groups([big], rows.all_rows()), [])

    def test_progress(self):
        stream = io.StringIO()
        progress = Progress(120, stream)
        progress.part('half', 60)
        self.assertIn('50%', progress.line())
        self.assertIn('1:00 left: half', progress.line())
        self.assertEqual(stream.getvalue(), '')  # not a terminal, and no time has passed


class Charts(unittest.TestCase):
    def test_all_are_well_formed(self):
        ratio = verdict.summary([0.5, 0.9, 1.2])
        for svg in (
                charts.lines('a < b', [('x & y', [(10, 1), (20000, 1000)]), ('none', [(10, None)])], 'x', 'y', True,
                             True,
                             [(50, 'mark')]),
                charts.lines('empty', [], 'x', 'y'),
                charts.lines('one', [('x', [(1, 0)])], 'x', 'y'),
                charts.bars('bars', [('a', [1, None]), ('b', [None, None])], 'unit', ('p', 'q')),
                charts.bars('empty', [], 'unit'),
                charts.groups('groups', [('a', [1, None])], ['p', 'q'], 'unit'),
                charts.dots('dots', [('a', ratio, 'better', 't'), ('b', None, 'unknown', 't')], 'label'),
                charts.table('table', ['c1', 'c2'], [('a', [('better', 0.9, 't'), ('unknown', None, 't')])])):
            root = ElementTree.fromstring(svg)
            self.assertIn('prefers-color-scheme: dark', svg)
            for element in root.iter():
                for name in ('x', 'y', 'width', 'cx', 'cy'):
                    if name in element.attrib:
                        self.assertLess(abs(float(element.attrib[name])), 5000)

    def test_scales(self):
        scale = charts.Scale(10, 1000, 0, 100, log=True)
        self.assertAlmostEqual(scale(100), 50)
        self.assertIn(100, scale.ticks())
        scale = charts.Scale(0, 7, 100, 0)
        self.assertEqual(scale.ticks()[0], 0)
        self.assertTrue(3 <= len(scale.ticks()) <= 12)

    def test_labels_do_not_touch(self):
        places = charts.spread_labels([50, 51, 10, 52])
        ordered = sorted(places)
        self.assertTrue(all(b - a >= 15 for a, b in zip(ordered, ordered[1:])))


def claim_result(name, data):
    result = matrix({'io_uring': []})
    return blocks.markdown(claims.report({**result, 'kind': 'claims', 'claims': {name: data}}))


def points(costs):
    """costs: {name: (at 10, at 20,000)}"""
    return [{'connections': n, 'problems': {}, 'slices': {name: [slice_(pair[i])] * 3 for name, pair in costs.items()}}
            for i, n in enumerate((10, 20000))]


class Claims(unittest.TestCase):
    def test_idle(self):
        said = claim_result('idle', points({'select': (10, 900), 'poll': (10, 600), 'epoll': (10, 10.5),
                                            'loom epoll': (9, 9)}))
        self.assertIn('. Confirmed: one pays for all connections with select; poll.', said)
        self.assertIn('. Confirmed: one pays for the ready ones with epoll, level; loom, epoll.', said)
        said = claim_result('idle', points({'poll': (10, 10), 'epoll': (10, 30)}))
        self.assertIn('Not confirmed: one pays for all connections with poll.', said)
        self.assertIn('Not confirmed: one pays for the ready ones with epoll, level.', said)

    def test_threads(self):
        data = [{**point, 'rate': 100, 'fixed': {}} for point in points({'threads': (20, 30), 'epoll': (10, 10)})]
        self.assertIn('2.0 times the CPU a request of the epoll loop with 10 connections, 3.0 times',
                      claim_result('threads', data))

    def test_memory(self):
        row = {'user': 20480, 'page_tables': 4096, 'kernel_stacks': 16384, 'virtual': 8 << 20, 'sockets': 4096,
               'problem': ''}
        said = claim_result('memory', {'connections': 10000,
                                       'rows': {'threads': row, 'epoll': {'problem': 'would not start'}}})
        self.assertIn('a thread each 44.0 KiB', said)
        self.assertIn('78 GiB of address space', said)
        self.assertIn('(!) epoll, level: would not start', said)

    def test_wakeups(self):
        calls = {'epoll_wait': 2, 'recvfrom': 1, 'total': 4}
        data = [{'key': 'x', 'title': 'a workload', 'problems': {'loom epoll trigger=level': 'unknown option'},
                 'slices': {'level': [slice_(10)], 'edge': [slice_(8)]},
                 'calls': {'level': calls, 'edge': {**calls, 'epoll_wait': 1}}}]
        said = claim_result('wakeups', data)
        self.assertIn('2.00 wake-ups a request level, 1.00 edge', said)
        self.assertIn('0.800 (0.800..0.800)', said)
        self.assertIn('(!) loom, level, a workload: unknown option', said)

    def test_throughput(self):
        data = [{'size': size, 'problems': {}, 'slices': {'loom epoll': [slice_(10, per_second)]}}
                for size, per_second in ((200, 100000), (1024, 200000), (16384, 90000))]
        said = claim_result('throughput', data)
        self.assertIn('a gigabit was full with answers of 1 KiB; of one CPU it takes 625 % with answers of 200 B, 122 '
                      '% with '
                      'answers of 1 KiB', said)
        data = [{'size': 200, 'problems': {}, 'slices': {'loom epoll': [slice_(10, 100)]}}]
        self.assertIn('a gigabit was not reached', claim_result('throughput', data))


if __name__ == '__main__':
    unittest.main()
