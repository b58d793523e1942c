"""The servers that are compared: how each is configured at its best for the work, started, checked and stopped."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time

from . import machine

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(HERE)
KEEPALIVE_SECONDS = 300  # longer than any run leaves a connection idle

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


class Server:
    """One peer. Subclasses say what to run; a peer is started anew for each workload."""
    backend = None  # of loom and of the limits: which of them belong together
    family = None
    start_seconds = 20

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

    def start(self, directory, root, cores, body_size=0, connections=1024):
        assert not self.process
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


class Nginx(Server):
    """Two settings: sendfile with tcp_nopush, which is its best for large files (and, measured, cheaper than sendfile
    without, though a pipelined batch then waits for delayed ACKs), and no sendfile, its best for small ones."""
    family = 'nginx'

    def __init__(self, sendfile):
        super().__init__('nginx' if sendfile else 'nginx-nosendfile')
        self.sendfile = 'on' if sendfile else 'off'

    def version(self):
        return first_line(['nginx', '-v'])

    def command(self, directory, root, body_size, connections):
        configure = subprocess.run(['nginx', '-V'], capture_output=True, text=True, check=False).stderr
        paths = ''.join(f'    {name}_temp_path {directory}/{name};\n' for name in ('proxy', 'fastcgi', 'uwsgi', 'scgi')
                        if f'--http-{name}-temp-path' in configure and f'--without-http_{name}' not in configure)
        user = 'user root root;' if os.geteuid() == 0 else ''
        conf = os.path.join(directory, 'nginx.conf')
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {connections + 1000};
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{
    use epoll;
    # An eighth more: when fewer than a sixteenth are free, nginx closes idle ones.
    worker_connections {connections + connections // 8 + 100};
    multi_accept on;
}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    sendfile {self.sendfile};
    tcp_nopush {self.sendfile};
    tcp_nodelay on;
    gzip off;
    etag on;
    keepalive_timeout {KEEPALIVE_SECONDS}s;
    keepalive_requests 1000000000;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    open_file_cache_min_uses 1;
    client_body_temp_path {directory}/body;
{paths}    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        root {root};
    }}
}}
''')
        return ['nginx', '-p', directory, '-c', conf, '-e', f'{directory}/error.log']


class H2o(Server):
    family = 'h2o'

    def __init__(self):
        super().__init__('h2o')

    def version(self):
        return first_line(['h2o', '--version'])

    def command(self, directory, root, body_size, connections):
        conf = os.path.join(directory, 'h2o.conf')
        user = 'user: root' if os.geteuid() == 0 else ''
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''
{user}
num-threads: 1
max-connections: {connections + 100}
http1-request-timeout: {KEEPALIVE_SECONDS}
listen:
  host: 127.0.0.1
  port: {self.port}
hosts:
  default:
    paths:
      /:
        file.dir: {root}
''')
        return ['h2o', '-m', 'worker', '-c', conf]


class Lighttpd(Server):
    family = 'lighttpd'

    def __init__(self):
        super().__init__('lighttpd')

    def version(self):
        return first_line(['lighttpd', '-v'])

    def command(self, directory, root, body_size, connections):
        descriptors = min(2 * connections + 1000, 65535)
        if descriptors > machine.raise_descriptor_limit(descriptors):
            raise Failed(f'takes half of its descriptors for connections: needs ulimit -n {descriptors}')
        conf = os.path.join(directory, 'lighttpd.conf')
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {self.port}
server.event-handler = "linux-sysepoll"
server.max-connections = {connections + 100}
server.max-fds = {descriptors}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = {KEEPALIVE_SECONDS}
server.listen-backlog = 4096
mimetype.assign = ( ".html" => "text/html" )
''')
        return ['lighttpd', '-D', '-f', conf]


def choose(looms, limits, names):
    """The servers to compare: those named, or all that are here.

    looms: [(prefix, path)] of loom binaries; limits: {backend: path}.
    """
    found = []
    for prefix, path in looms:
        found += [Loom(f'{prefix}-epoll', path, 'epoll'), Loom(f'{prefix}-io_uring', path, 'io_uring')]
    if shutil.which('nginx'):
        found += [Nginx(True), Nginx(False)]
    if shutil.which('h2o'):
        found.append(H2o())
    if shutil.which('lighttpd'):
        found.append(Lighttpd())
    found += [Limit(path, backend) for backend, path in limits.items()]
    if names is None:
        return found
    by_label = {server.label: server for server in found}
    for name in names:
        if name not in by_label:
            sys.exit(f'bench: no server named {name} here; there are: {", ".join(by_label)}')
    return [by_label[name] for name in names]
