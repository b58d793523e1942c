"""bench/load, told to run again and again on the connections that it has; and what its server used meanwhile."""
import json
import os
import select
import subprocess
import time

from . import machine
from .servers import Failed


class Generator:
    """Connections to one server, on the client's core."""

    def __init__(self, path, cores, server, file, connections, active=0, depth=1, close=False, fields=(),
                 open_seconds=60):
        self.server = server
        command = [path, '--port', str(server.port), '--connections', str(connections), '--active',
                   str(active or connections), '--depth', str(depth), '--arrivals', 'poisson', '--control']
        if close:
            command.append('--close')
        if cores.arrangement == 'two':
            command.append('--spin')  # its core is its own
        for field in fields:
            command += ['--header', field]
        self.process = subprocess.Popen([*command, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=cores.child(cores.client))
        self._buffer = b''
        try:
            self._line(open_seconds)
        except Failed:
            self.stop()
            raise

    def _line(self, seconds):
        """The next line, as JSON."""
        deadline = time.monotonic() + seconds
        out = self.process.stdout.fileno()
        while b'\n' not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise Failed('the load generator is not answered')
            more = os.read(out, 1 << 16)
            if not more:
                said = self.process.stderr.read().decode(errors='replace').strip().splitlines()
                raise Failed(said[-1] if said else 'the load generator has ended')
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b'\n')
        return json.loads(line)

    def run(self, seconds, rate=0):
        """bench/load's figures of one run."""
        try:
            self.process.stdin.write(f'run {seconds} {rate}\n'.encode())
            self.process.stdin.flush()
        except OSError as error:
            raise Failed('the load generator has ended') from error
        result = self._line(seconds + 30)
        wrong = [f'{result[key]} {text}' for key, text in (
            ('bad', 'unexpected answers'), ('broken', 'broken connections'), ('idle_lost', 'idle connections lost'))
            if result[key]]
        if not result['answered'] + result['late']:
            wrong.append('no request was answered')
        if wrong:
            raise Failed(', '.join(wrong))
        return result

    def measure(self, seconds, rate=0):
        """One slice: its figures and what the server used for it, all a request."""
        pids = self.server.pids()
        cpu, waits = machine.cpu_times(pids), machine.waits(pids)
        busy, began = machine.machine_busy(), time.monotonic_ns()
        result = self.run(seconds, rate)
        took, busy = time.monotonic_ns() - began, machine.machine_busy() - busy
        if self.server.process.poll() is not None:
            raise Failed(f'has ended with status {self.server.process.returncode} under load')
        pids = self.server.pids()
        used = machine.cpu_between(cpu, machine.cpu_times(pids))
        after = machine.waits(pids)
        requests = result['answered'] + result['late']
        others = busy - used / 1e9 - result['client_busy'] * seconds
        return {'others': max(others / (took / 1e9) / os.cpu_count(), 0),  # what else the CPUs did
                'per_second': result['per_second'], 'cpu_us': used / 1000 / requests,
                'busy': used / took,
                'voluntary': (after['voluntary'] - waits['voluntary']) / requests,
                'involuntary': (after['involuntary'] - waits['involuntary']) / requests,
                'wait_us': (after['wait_ns'] - waits['wait_ns']) / 1000 / requests,
                'requests': requests, 'unanswered': result['unanswered'], 'client_busy': result['client_busy'],
                'bytes': result['bytes'],
                **{key: result['latency'][key] for key in ('p50', 'p99', 'p999', 'max')},
                'delay_p99': result['delay']['p99'] if rate else None}

    def stop(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except OSError:
                pass
