"""bench/compare: an answer that is not right is not measured, whatever is wrong with it; promises are judged by the
figures alone, against each peer and where the table says so; who is not installed is told, and no failure."""
import gzip
import os
import sys
import unittest
from email.message import Message

sys.dont_write_bytecode = True
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, 'bench'))

from rig import load, peers, promises  # noqa: E402
from rig.servers import Absent, Failed  # noqa: E402

FILE = load.Workload('one', 'a file', 1024)
PAGE = load.Workload('page', 'a page', 24 * 1024, headers=['Accept-Encoding: gzip, br'], kind='page')
AGAIN = load.Workload('again', 'a 304', 1024, not_modified=True)


class Fake:
    """A server that answers as it is told: body, fields, then the same for what follows."""
    family = 'peer'

    def __init__(self, *answers, settles=False):
        self.answers = list(answers)
        self.settles = settles
        self.asked = []

    def settle(self):
        settles, self.settles = self.settles, False
        return settles

    def get(self, _path, headers=None):
        self.asked.append(headers)
        status, body, fields = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        message = Message()
        for name, value in {'Content-Length': str(len(body)), **fields}.items():
            message[name] = value
        return status, body, message


class Answers(unittest.TestCase):
    def refused(self, workload, *answers):
        with self.assertRaises(Failed):
            workload.request_headers(Fake(*answers))

    def test_the_file_is_right(self):
        server = Fake((200, FILE.body, {}))
        self.assertEqual(FILE.request_headers(server), {})
        self.assertEqual(server.answer, {'coding': '', 'bytes': 1024, 'chunked': False})

    def test_what_is_wrong_is_refused(self):
        self.refused(FILE, (404, FILE.body, {}))
        self.refused(FILE, (200, FILE.body[:-1], {}))
        self.refused(FILE, (200, FILE.body[:-1] + b'x', {}))
        self.refused(FILE, (200, FILE.body, {'Content-Length': '1023'}))
        # A coding where none was asked for is less to send than the others have.
        self.refused(FILE, (200, gzip.compress(FILE.body), {'Content-Encoding': 'gzip'}))

    def test_codings(self):
        server = Fake((200, gzip.compress(PAGE.body), {'Content-Encoding': 'gzip'}))
        self.assertEqual(PAGE.request_headers(server), {'Accept-Encoding': 'gzip, br'})
        self.assertEqual(server.answer['coding'], 'gzip')
        # One that does not say how long it is beforehand is as right, and told.
        chunked = {'Content-Encoding': 'gzip', 'Content-Length': '', 'Transfer-Encoding': 'chunked'}
        server = Fake((200, gzip.compress(PAGE.body), chunked))
        PAGE.request_headers(server)
        self.assertTrue(server.answer['chunked'])
        self.refused(PAGE, (200, PAGE.body, {}))
        self.refused(PAGE, (200, gzip.compress(PAGE.body[:-1]), {'Content-Encoding': 'gzip'}))
        self.refused(PAGE, (200, b'not gzip', {'Content-Encoding': 'gzip'}))
        self.refused(PAGE, (200, PAGE.body, {'Content-Encoding': 'deflate'}))

    def test_the_page_compresses_as_pages_do(self):
        self.assertEqual(len(PAGE.body), 24 * 1024)
        self.assertTrue(5 * 1024 < len(load.gzip_of(PAGE.body)) < 8 * 1024)

    def test_not_modified(self):
        whole = (200, AGAIN.body, {'ETag': '"x"'})
        server = Fake(whole, (304, b'', {}))
        self.assertEqual(AGAIN.request_headers(server), {'If-None-Match': '"x"'})
        self.refused(AGAIN, (200, AGAIN.body, {}))
        self.refused(AGAIN, whole, whole)

    def test_a_cache_is_asked_again_when_its_origin_has_gone(self):
        self.assertEqual(FILE.request_headers(Fake((200, FILE.body, {}), (200, FILE.body, {}), settles=True)), {})
        with self.assertRaises(Failed):
            FILE.request_headers(Fake((200, FILE.body, {}), (503, b'', {}), settles=True))

    def test_who_is_not_installed(self):
        class Nobody(peers.Peer):
            program, package = 'no-program-of-this-name', 'a-package'

        nobody = Nobody('nobody')
        with self.assertRaisesRegex(Absent, 'not installed .Debian: a-package'):
            nobody.start('/nonexistent', '/nonexistent', None)
        self.assertIn('haproxy', [server.label for server in peers.choose([], {}, None, with_absent=True)])


def row(label, family, cpu, backend=None, problem=''):
    return {'server': label, 'family': family, 'backend': backend, 'problem': problem,
            'slices': [] if problem else [{'cpu_us': cpu * wobble} for wobble in (1, 1.5, 2)]}


def judged(name, *rows, cores='one'):
    found = promises.judge([{'name': name, 'rows': list(rows)}], cores)
    return {(one['server'], one['of']): promises.word(one) for one in found}, promises.report(found, 3)


class Promises(unittest.TestCase):
    def test_each_peer_counts(self):
        found, text = judged('16k', row('loom-epoll', 'loom', 5, 'epoll'), row('nginx', 'nginx', 6), row('h2o', 'h2o', 5),
                             row('caddy', 'caddy', 0, problem='not installed'))
        self.assertEqual(found, {('loom-epoll', 'nginx'): 'kept', ('loom-epoll', 'h2o'): 'BROKEN'})
        self.assertIn('1.00 of h2o', text)
        self.assertIn('1 kept, 1 BROKEN', text)

    def test_ratios_are_of_the_same_round(self):
        # Each round is dearer than the one before for both: the ratio is the same in all.
        found = promises.judge([{'name': 'x', 'rows': [row('loom', 'loom', 3, 'epoll'), row('h2o', 'h2o', 4)]}], 'one')
        self.assertAlmostEqual(found[0]['ratio'], 0.75)

    def test_a_mebibyte_may_take_little_more_than_sendfile(self):
        loom = row('loom', 'loom', 104, 'epoll')
        self.assertEqual(judged('1m', loom, row('nginx', 'nginx', 100))[0], {('loom', 'nginx'): 'kept'})
        self.assertEqual(judged('1m', loom, row('nginx', 'nginx', 98))[0], {('loom', 'nginx'): 'BROKEN'})
        self.assertEqual(judged('1m', loom, row('lighttpd', 'lighttpd', 103))[0], {('loom', 'lighttpd'): 'BROKEN'})
        self.assertEqual(judged('16k', loom, row('nginx', 'nginx', 103))[0], {('loom', 'nginx'): 'BROKEN'})

    def test_of_the_limit(self):
        limits = row('limit-epoll', 'limit', 10, 'epoll'), row('limit-io_uring', 'limit', 9, 'io_uring')
        rows = row('e', 'loom', 10.7, 'epoll'), row('u', 'loom', 9.3, 'io_uring'), *limits
        self.assertEqual(judged('keep-alive', *rows)[0],
                         {('e', 'limit-epoll'): 'kept', ('u', 'limit-epoll'): 'BROKEN'})
        self.assertEqual(judged('keep-alive', *rows, cores='two')[0], {})
        self.assertEqual(judged('keep-alive-512', *rows, cores='two')[0],
                         {('e', 'limit-epoll'): 'kept', ('u', 'limit-epoll'): 'kept'})
        self.assertEqual(judged('coded', *rows)[0], {})

    def test_logs_are_set_against_the_same_without(self):
        plain = row('e', 'loom', 10, 'epoll')
        for cpu, verdict in (10.4, 'kept'), (10.6, 'BROKEN'):
            logged = {**row('e-logged', 'logged', cpu, 'epoll'), 'plain': 'e', 'lines': {'bytes': 250, 'ns': 75}}
            found, text = judged('browser', plain, logged, row('nginx', 'nginx', 20))
            self.assertEqual(found, {('e', 'nginx'): 'kept', ('e-logged', 'e'): verdict})
            self.assertRegex(text, rf'e-logged +\| +{cpu / 10:.3f} \| +250 \| +1.005 \| +1.05 \| {verdict}')
        failed = {**logged, 'problem': 'it has not logged anything', 'slices': []}
        self.assertEqual(judged('browser', plain, failed)[0], {})

    def test_few_rounds_are_told(self):
        self.assertIn('nothing follows', promises.report([], 2))
        self.assertNotIn('nothing follows', promises.report([], 3))


if __name__ == '__main__':
    unittest.main()
