"""The servers that are compared: started, checked and stopped. How loom's peers are configured is in peers.py."""
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time

from . import machine

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(HERE)
KEEPALIVE_SECONDS = 900  # longer than any run leaves a connection idle

_next_port = 8101


def free_port():
    global _next_port
    while True:
        port = _next_port
        _next_port = port + 1 if port < 9999 else 8101
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue


def build(directory):
    """Brings the release there up to date, sets it up when there is none, and returns {target: path}."""
    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f'{done.stdout}{done.stderr}bench: {" ".join(command)} has failed')

    def introspect(what):
        return json.loads(subprocess.run(['meson', 'introspect', what, directory], check=True,
                                         capture_output=True).stdout)

    if not os.path.exists(os.path.join(directory, 'build.ninja')):
        run('meson', 'setup', '-Dtests=false', directory, TREE)
    if not all(option['value'] for option in introspect('--buildoptions') if option['name'] == 'bench'):
        run('meson', 'configure', '-Dbench=true', directory)  # ci/serve builds without
    run('ninja', '-C', directory)
    return {target['name']: target['filename'][0] for target in introspect('--targets')
            if target['type'] == 'executable'}


class Failed(Exception):
    """A server that cannot be started or does not answer as it should."""


class Absent(Failed):
    """A server, or what a workload needs of it, that cannot be had here: told, and no failure of what is measured."""


class Server:
    """One server. Subclasses say what to run; it is started anew for each workload."""
    backend = None  # of loom and of the limits: which of them belong together
    family = None
    start_seconds = 20
    answer = {'coding': '', 'bytes': 0, 'chunked': False}  # what it sent when it was looked at
    coded = False  # whether the next workload asks for content codings: what costs otherwise is left out of the others
    not_modified = False  # and whether it is one of 304s

    def __init__(self, label):
        self.label = label
        self.process = None
        self.port = 0
        self.log = None

    def version(self):
        raise NotImplementedError

    def command(self, directory, root, body_size, connections):
        """The command line; configuration files go into directory."""
        raise NotImplementedError

    def absent(self):
        """What is not installed here, in words; '' when nothing is missing."""
        return ''

    def start(self, directory, root, cores, body_size=0, connections=1024):
        assert not self.process
        if self.absent():
            raise Absent(self.absent())
        directory = os.path.join(directory, self.label.replace(os.sep, '_'))
        os.makedirs(directory, exist_ok=True)
        self.port = free_port()
        self.log = os.path.join(directory, 'output')
        command = self.command(directory, root, body_size, connections)
        with open(self.log, 'wb') as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                preexec_fn=cores.child(cores.server))
            except OSError as error:
                raise Failed(f'{command[0]}: {error.strerror}') from error
        deadline = time.monotonic() + self.start_seconds
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    why = machine.read(self.log).splitlines()[-1:] or ['it does not answer']
                    self.stop()
                    raise Failed(f'cannot start: {why[0]}') from None
                time.sleep(0.02)

    def settle(self):
        """Called when all that a workload asks for has been asked for once. Whether to ask again, and see."""
        return False

    def stop(self):
        if not self.process:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def pids(self):
        return machine.family(self.process.pid)

    def get(self, path, headers=None):
        """(status, body, headers) of one request."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        try:
            connection.request('GET', path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f'GET {path}: {error}') from error
        finally:
            connection.close()


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return error.strerror
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), '')


class Loom(Server):
    family = 'loom'

    def __init__(self, label, path, backend, more=()):
        super().__init__(label)
        self.path = path
        self.backend = backend
        self.more = list(more)

    def version(self):
        return first_line([self.path, '--version'])

    def command(self, directory, root, body_size, connections):
        return [self.path, '--listen', f'127.0.0.1:{self.port}', '--workers', '1', f'--backend={self.backend}',
                '--max-connections', str(connections), '--keepalive-timeout', f'{KEEPALIVE_SECONDS}s', *self.more, root]


class Logged(Loom):
    """A loom that writes an access log and has metrics, to be set against the same without."""
    family = 'logged'

    def __init__(self, plain, limit_log):
        super().__init__(f'{plain.label}-logged', plain.path, plain.backend, plain.more)
        self.plain = plain.label
        self.limit_log = limit_log
        self.access_log = None

    def command(self, directory, root, body_size, connections):
        self.access_log = os.path.join(directory, 'access.log')
        if os.path.exists(self.access_log):
            os.unlink(self.access_log)
        *command, root = super().command(directory, root, body_size, connections)
        return [*command, f'--access-log={self.access_log}', '--metrics=127.0.0.1:0', root]

    def lines(self, cores):
        """Bytes of a line of its log, and the nanoseconds that it takes to write one. When it has ended; no file is left."""
        for line in machine.read(self.log).splitlines():
            if 'access log' in line and re.search('dropped|cannot write|ends without', line):
                raise Failed(line)  # less work than was to be measured
        with open(self.access_log, 'rb') as log:
            head = log.read(1 << 20)
        os.unlink(self.access_log)
        lines = head.count(b'\n')
        if not lines:
            raise Failed('it has not logged anything')
        length = round((head.rindex(b'\n') + 1) / lines)
        done = subprocess.run([self.limit_log, self.access_log, str(length)], capture_output=True, text=True, check=False,
                              preexec_fn=cores.child(cores.server))
        if done.returncode:
            raise Failed(done.stderr.strip() or f'{self.limit_log} has ended with {done.returncode}')
        return {'bytes': length, 'ns': float(done.stdout)}


class Limit(Server):
    family = 'limit'

    def __init__(self, path, backend):
        super().__init__(f'limit-{backend}')
        self.path = path
        self.backend = backend

    def version(self):
        return 'bench/limit of this tree'

    def command(self, directory, root, body_size, connections):
        return [self.path, '--port', str(self.port), '--body-size', str(body_size)]


class LimitFile(Server):
    """One large file, by one way that the kernel has to send it, and nothing else."""
    family = 'limit'

    def __init__(self, path, by, name):
        super().__init__(f'limit-{by}')
        self.path, self.by, self.name = path, by, name

    def version(self):
        return 'bench/limit of this tree'

    def command(self, directory, root, body_size, connections):
        return [self.path, '--port', str(self.port), '--by', self.by, os.path.join(root, self.name)]


class Baseline(Server):
    """One of bench/baselines."""
    family = 'baseline'

    def __init__(self, label, path, more=()):
        super().__init__(label)
        self.path = path
        self.more = list(more)

    def version(self):
        return 'bench/baselines of this tree'

    def command(self, directory, root, body_size, connections):
        return [self.path, '--port', str(self.port), *self.more, root]
