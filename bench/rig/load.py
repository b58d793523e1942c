"""The load: one slice of wrk against one server, and what the server used meanwhile."""
import json
import os
import statistics
import subprocess
import time

from . import machine
from .servers import HERE, Failed

LINE = b'0123456789abcde\n'  # the body of bench/limit, too


class Workload:
    """What is asked for. A row of a table; bench/limit has no 304, so it sends a head of the same size instead."""

    def __init__(self, name, title, size, connections=64, depth=1, headers=(), not_modified=False):
        self.name = name
        self.title = title
        self.size = size
        self.connections = connections
        self.depth = depth
        self.headers = list(headers)
        self.not_modified = not_modified
        self.path = f'/{size}.html'
        self.limit_body = 0 if not_modified else size

    def write_file(self, root):
        with open(os.path.join(root, self.path[1:]), 'wb') as file:
            file.write(self.body())

    def body(self):
        return (LINE * (self.size // len(LINE) + 1))[:self.size]

    def request_headers(self, server):
        """The headers for this server: a validator is each server's own. Checks on the way that it answers right."""
        status, body, headers = server.get(self.path)
        expected = self.body()[:self.limit_body] if server.family == 'limit' else self.body()
        if status != 200 or body != expected:
            raise Failed(f'GET {self.path}: status {status} and {len(body)} bytes, '
                         f'not 200 and the {len(expected)} bytes of the file')
        chosen = dict(line.split(': ', 1) for line in self.headers)
        if self.not_modified:
            if not headers.get('ETag'):
                raise Failed(f'GET {self.path}: no ETag to ask for a 304 with')
            chosen['If-None-Match'] = headers['ETag']
            status, body, _ = server.get(self.path, chosen)
            if server.family != 'limit' and (status != 304 or body):
                raise Failed(f'GET {self.path} with its ETag: status {status} and {len(body)} bytes, not 304')
        return chosen


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
