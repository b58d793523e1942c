"""The load: one slice of wrk against one server, and what the server used meanwhile."""
import functools
import gzip
import json
import os
import random
import statistics
import subprocess
import time
import zlib

from . import machine
from .servers import HERE, Failed

LINE = b'0123456789abcde\n'  # the body of bench/limit, too


def text(size):
    return (LINE * (size // len(LINE) + 1))[:size]


def opaque(size):
    """Bytes that nobody can compress, whatever a request allows."""
    return random.Random(size).randbytes(size)


def page(size):
    """HTML that compresses to a quarter, as pages do: words by Zipf's law."""
    dice = random.Random(7)
    words = [''.join(dice.choice('eeeetttaaooiinnsshhrrddlluccmfwyp') for _ in range(dice.randint(2, 9)))
             for _ in range(400)]
    weights = [1 / (number + 1) for number in range(len(words))]
    begin, end = '<!doctype html>\n<html lang="en">\n<title>A page</title>\n', '</html>\n'
    parts, length, number = [begin], len(begin), 0
    while length < size:
        number += 1
        parts.append(f'<h2 id="part-{number}">{" ".join(dice.choices(words, weights, k=3))}</h2>\n'
                     f'<p class="text">{" ".join(dice.choices(words, weights, k=60))}.</p>\n')
        length += len(parts[-1])
    return (''.join(parts)[:size - len(end)] + end).encode()


BODIES = {'text': (text, '.html'), 'opaque': (opaque, '.png'), 'page': (page, '.html')}


def brotli(content, decode=False):
    """By the program of that name; None where there is none."""
    try:
        return subprocess.run(['brotli', *(['-d'] if decode else ['-q', '11']), '-c'], input=content,
                              capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def gzip_of(content):
    return gzip.compress(content, 9, mtime=0)


def decoded(content, coding):
    """What was coded; None when it cannot be told."""
    if coding == 'br':
        return brotli(content, decode=True)
    try:
        return gzip.decompress(content) if coding == 'gzip' else content if not coding else None
    except (OSError, EOFError, zlib.error):
        return None


class Workload:
    """What is asked for. A row of a table. kind: of the file, see BODIES. bench/limit has no 304, so it sends a head of
    the same size instead, and no codings: it sends as much as the smallest. idle: connections beside those that ask."""

    def __init__(self, name, title, size, connections=64, depth=1, headers=(), not_modified=False, kind='text', idle=0):
        self.name = name
        self.title = title
        self.size = size
        self.connections = connections
        self.depth = depth
        self.headers = list(headers)
        self.not_modified = not_modified
        self.kind = kind
        self.idle = idle
        make, ending = BODIES[kind]
        self.body = make(size)
        self.path = f'/{size}{ending}'
        self.coded = kind == 'page'

    @functools.cached_property
    def limit_body(self):
        if self.coded:
            return len(brotli(self.body) or gzip_of(self.body))
        return 0 if self.not_modified else self.size

    def write_file(self, root):
        path = os.path.join(root, self.path[1:])
        files = {'': self.body}
        if self.coded:
            files.update({'.gz': gzip_of(self.body), '.br': brotli(self.body)})
        for ending, content in files.items():
            if content:
                with open(path + ending, 'wb') as file:
                    file.write(content)

    def request_headers(self, server):
        """The headers for this server: a validator is each server's own. Checks on the way that it answers right."""
        chosen = self.check(server)
        return self.check(server) if server.settle() else chosen

    def check(self, server):
        fields = dict(line.split(': ', 1) for line in self.headers)
        status, sent, headers = server.get(self.path, fields)
        length, chunked = headers.get('Content-Length'), headers.get('Transfer-Encoding') == 'chunked'
        server.answer = {'coding': headers.get('Content-Encoding', ''), 'bytes': len(sent), 'chunked': chunked}
        if server.family == 'limit':
            right = sent == (LINE * (self.limit_body // len(LINE) + 1))[:self.limit_body]
        else:
            right = decoded(sent, server.answer['coding']) == self.body and bool(server.answer['coding']) == self.coded
        if status != 200 or not right or (length != str(len(sent)) and not chunked):
            coding = server.answer['coding'] or 'identity'
            raise Failed(f"GET {self.path}: status {status} and {len(sent)} bytes, {coding}, Content-Length {length}; not 200 and the file{' in gzip or br' if self.coded else ''}")
        if self.not_modified:
            if not headers.get('ETag'):
                raise Failed(f'GET {self.path}: no ETag to ask for a 304 with')
            fields['If-None-Match'] = headers['ETag']
            status, sent, _ = server.get(self.path, fields)
            if server.family != 'limit' and (status != 304 or sent):
                raise Failed(f'GET {self.path} with its ETag: status {status} and {len(sent)} bytes, not 304')
            server.answer['bytes'] = self.limit_body
        return fields


def wrk(server, cores, seconds, path, connections, depth=1, headers=None):
    """Runs wrk and returns its figures; times are microseconds."""
    command = ['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '10s',
               '-s', os.path.join(HERE, 'wrk.lua')]
    for name, value in (headers or {}).items():
        command += ['-H', f'{name}: {value}']
    command += [f'http://127.0.0.1:{server.port}{path}', '--', str(depth)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False,
                          preexec_fn=cores.child(cores.client))
    for line in done.stdout.splitlines():
        if line.startswith('wrk-result '):
            result = json.loads(line.split(' ', 1)[1])
            if depth > 1:
                # Its correction for what a closed loop omits takes a batch's answers for requests of their own.
                result['p50'] = result['p99'] = result['max'] = None
            return result
    raise Failed(f'wrk gave no result: {(done.stderr or done.stdout).strip()[-200:]}')


def problems(result):
    """What makes a slice worthless, in words; empty when all is well."""
    found = [f'{result[kind]} {text}' for kind, text in (
        ('connect', 'connect errors'), ('read', 'read errors'), ('write', 'write errors'),
        ('status', 'answers of 400 and above'), ('timeout', 'timeouts')) if result[kind]]
    if not result['requests']:
        found.append('no request was answered')
    return ', '.join(found)


def measure(server, cores, seconds, path, connections, depth=1, headers=None):
    """One slice: wrk's figures, and cpu_us (a request, all threads of the server), busy (share of a CPU), rss."""
    pids = server.pids()
    before = machine.cpu_times(pids)
    result = wrk(server, cores, seconds, path, connections, depth, headers)
    time.sleep(0.05)  # the server sees wrk's connections close
    if server.process.poll() is not None:
        raise Failed(f'has ended with status {server.process.returncode} under load')
    used = machine.cpu_between(before, machine.cpu_times(server.pids()))
    result['cpu_us'] = used / 1000 / max(result['requests'], 1)
    result['busy'] = used / 1000 / max(result['microseconds'], 1)
    result['per_second'] = result['requests'] * 1e6 / max(result['microseconds'], 1)
    result['rss'] = machine.resident(machine.busiest(pids))
    result['problems'] = problems(result)
    return result


def summary(values):
    """Median and spread; None when there is nothing to tell."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    quarters = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values),
            'q1': quarters[0], 'q3': quarters[2]}
