"""bench/kernel-features from end to end, for seconds: figures, report, charts and pages are there. What they say is not
looked at: nothing is measured in such a time."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('LOOM_BENCH_BUILD', '')


class Smoke(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix='loom-smoke-')
        self.out = os.path.join(self.directory.name, 'out')
        self.site = os.path.join(self.directory.name, 'site')

    def tearDown(self):
        self.directory.cleanup()

    def run_it(self, *arguments):
        done = subprocess.run(
            [sys.executable, os.path.join(TREE, 'bench', 'kernel-features'), '--no-build', '--build',
             os.path.dirname(BUILD),
             '--out', self.out, '--site', self.site, *arguments], capture_output=True, text=True, timeout=600,
             check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def has_uring(self):
        loom = os.path.join(os.path.dirname(BUILD), 'src', 'loom')
        return subprocess.run([loom, '--backend=io_uring', '--listen', '127.0.0.1:0', '--test', self.directory.name],
                              capture_output=True, check=False).returncode == 0

    def results(self, name):
        with open(os.path.join(self.out, name + '.json'), encoding='utf-8') as file:
            result = json.load(file)
        with open(os.path.join(self.out, name + '.md'), encoding='utf-8') as file:
            report = file.read()
        for chart in os.listdir(os.path.join(self.out, name)):
            ElementTree.parse(os.path.join(self.out, name, chart))
            self.assertIn(f'({name}/{chart})', report)
        return result, report

    def test_logged(self):
        """bench/compare --logged: what it sets against itself does write a log, and its lines are weighed."""
        found = os.path.join(self.directory.name, 'found.json')
        done = subprocess.run(
            [sys.executable, os.path.join(TREE, 'bench', 'compare'), '--no-build', '--build', BUILD, '--loom',
             os.path.join(os.path.dirname(BUILD), 'src', 'loom'), '--logged', '--servers', 'loom-epoll', '--workloads',
             'browser', '--rounds', '1', '--slice', '1', '--json', found], capture_output=True, text=True, timeout=600,
            check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(found, encoding='utf-8') as file:
            result = json.load(file)
        plain, logged = result['workloads'][0]['rows']
        self.assertEqual([plain['lines'], plain['problem'], logged['problem']], [None, '', ''])
        self.assertGreater(logged['lines']['bytes'], 200)
        self.assertGreater(logged['lines']['ns'], 0)
        self.assertEqual([one['of'] for one in result['promises']], ['loom-epoll'])

    def test_matrix(self):
        # A row that can be had everywhere, one that no loom has, one workload of each kind.
        self.run_it('--smoke', '--rows', 'instead;read=drain')
        result, report = self.results('kernel-features-smoke')
        for group in result['groups'].values():
            self.assertEqual(group['problems'], {})
            for name in [group['base'], *group['rows']]:
                self.assertTrue(all(one['requests'] > 0 for one in group['slices'][name]), name)
        self.assertEqual({group['cell'] for group in result['groups'].values()},
                         {'keepalive-1KiB-64', 'pipelined-200B-64', 'close-1KiB-64'})
        self.assertIn('too few rounds', report)
        with open(os.path.join(self.site, 'index.html'), encoding='utf-8') as file:
            page = file.read()
        for chart in (name for name in os.listdir(self.site) if name.endswith('.svg')):
            self.assertIn(f'src="{chart}"', page)

    def test_what_is_measured_already_is_not_measured_again(self):
        arguments = ['--full', '--smoke', '--cells', 'keepalive-200B-1', '--rows', 'instead']
        self.assertNotIn('bench: 0 groups', self.run_it(*arguments))
        before, _ = self.results('kernel-features-smoke')
        self.assertIn('bench: 0 groups', self.run_it(*arguments))
        after, _ = self.results('kernel-features-smoke')
        self.assertEqual(before['groups'], after['groups'])

    def test_a_run_in_pieces(self):
        arguments = ['--full', '--smoke', '--cells', 'keepalive-200B-1,close-200B-1', '--rows', 'instead']
        planned = 4 if self.has_uring() else 2
        self.assertIn(f'bench: {planned - 1} groups are left', self.run_it(*arguments, '--for', '1s'))
        before, report = self.results('kernel-features-smoke')
        self.assertEqual(len(before['groups']), 1)  # one, however short the time is
        self.assertIn(f'**Not complete**: {planned - 1} of {planned} groups', report)
        self.assertIn(f'{planned - 1} groups to measure', self.run_it(*arguments, '--for', '1h'))
        after, report = self.results('kernel-features-smoke')
        self.assertEqual(set(after['groups']), set(after['planned']))
        self.assertNotIn('Not complete', report)
        for name, group in before['groups'].items():
            self.assertEqual(after['groups'][name], group)

    def test_another_plan_does_not_lose_what_is_there(self):
        arguments = ['--full', '--smoke', '--cells', 'keepalive-200B-1', '--rows', 'instead', '--for', '1s']
        self.run_it(*arguments)
        before, _ = self.results('kernel-features-smoke')
        self.assertIn('differs in settings', self.run_it(*arguments, '--slice', '0.05'))
        with open(os.path.join(self.out, 'kernel-features-smoke.json.before'), encoding='utf-8') as file:
            self.assertEqual(json.load(file)['groups'], before['groups'])

    def test_claims(self):
        self.run_it('--smoke', '--claims', '--only', 'threads,idle')
        result, report = self.results('claims-smoke')
        failed = {name for points in result['claims'].values() for point in points for name in point['problems']}
        self.assertLessEqual(failed, set() if self.has_uring() else {'loom io_uring'})
        self.assertIn('A thread a connection takes', report)
        self.assertTrue(os.path.exists(os.path.join(self.site, 'claims', 'claim-idle.svg')))


if __name__ == '__main__':
    if not BUILD:
        sys.exit('LOOM_BENCH_BUILD: where bench/ is built')
    unittest.main()
