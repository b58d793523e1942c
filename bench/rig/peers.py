"""loom's peers from Debian, each configured at its best for the work: no logs, one thread, connections kept for as long
as a run may leave them idle. Only where a workload asks for content codings are they told to offer any, as that costs a
look at the file system, or at a table, for each request that names them."""
import os
import shutil
import subprocess
import sys

from . import machine
from .servers import KEEPALIVE_SECONDS, Absent, Failed, Limit, Loom, Server, first_line


class Peer(Server):
    """A program of Debian's."""
    program = None
    package = None

    def absent(self):
        return '' if shutil.which(self.program) else f'not installed (Debian: {self.package})'


class Nginx(Peer):
    """Two settings: sendfile with tcp_nopush, which is its best for large files (and, measured, cheaper than sendfile
    without, though a pipelined batch then waits for delayed ACKs), and no sendfile, its best for small ones."""
    family = 'nginx'
    program = 'nginx'
    package = 'nginx-light'

    def __init__(self, sendfile):
        super().__init__('nginx' if sendfile else 'nginx-nosendfile')
        self.sendfile = 'on' if sendfile else 'off'

    def version(self):
        return first_line(['nginx', '-v'])

    def command(self, directory, root, body_size, connections):
        configure = subprocess.run(['nginx', '-V'], capture_output=True, text=True, check=False).stderr
        paths = ''.join(f'    {name}_temp_path {directory}/{name};\n' for name in ('proxy', 'fastcgi', 'uwsgi', 'scgi')
                        if f'--http-{name}-temp-path' in configure and f'--without-http_{name}' not in configure)
        if self.coded and '--with-http_gzip_static_module' not in configure:
            raise Absent('this nginx has no gzip_static')
        coded = 'gzip_static on;\n    gzip_vary on;' if self.coded else ''
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
    {coded}
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


class H2o(Peer):
    family = 'h2o'
    program = package = 'h2o'

    def __init__(self):
        super().__init__('h2o')

    def version(self):
        return first_line(['h2o', '--version'])

    def command(self, directory, root, body_size, connections):
        conf = os.path.join(directory, 'h2o.conf')
        user = 'user: root' if os.geteuid() == 0 else ''
        coded = 'file.send-compressed: ON' if self.coded else ''
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
        {coded}
''')
        return ['h2o', '-m', 'worker', '-c', conf]


class Lighttpd(Peer):
    family = 'lighttpd'
    program = package = 'lighttpd'
    DEFLATE = '/usr/lib/lighttpd/mod_deflate.so'

    def __init__(self):
        super().__init__('lighttpd')

    def version(self):
        return first_line(['lighttpd', '-v'])

    def command(self, directory, root, body_size, connections):
        descriptors = min(2 * connections + 200, 65535)
        if descriptors > machine.raise_descriptor_limit(descriptors):
            raise Absent(f'takes half of its descriptors for connections: needs ulimit -n {descriptors}')
        coded = f'''
server.modules = ( "mod_deflate" )
deflate.mimetypes = ( "text/html" )
deflate.allowed-encodings = ( "brotli", "gzip" )
deflate.cache-dir = "{directory}/deflated"
''' if self.coded else ''
        if self.coded and not os.path.exists(self.DEFLATE):
            raise Absent('its mod_deflate is not installed (Debian: lighttpd-mod-deflate)')
        conf = os.path.join(directory, 'lighttpd.conf')
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {self.port}
server.event-handler = "linux-sysepoll"
server.max-connections = {connections + 50}
server.max-fds = {descriptors}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = {KEEPALIVE_SECONDS}
server.listen-backlog = 4096
mimetype.assign = ( ".html" => "text/html", ".png" => "image/png" )
{coded}''')
        return ['lighttpd', '-D', '-f', conf]


class Caddy(Peer):
    """GOMAXPROCS=1: one thread runs its code. It has some more, for what blocks and for the collector of garbage."""
    family = 'caddy'
    program = package = 'caddy'

    def __init__(self):
        super().__init__('caddy')

    def version(self):
        return 'caddy ' + first_line(['caddy', 'version'])

    def command(self, directory, root, body_size, connections):
        conf = os.path.join(directory, 'Caddyfile')
        coded = '{\n\t\tprecompressed br gzip\n\t}' if self.coded else ''
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''{{
	admin off
	auto_https off
	log {{
		level ERROR
	}}
	servers {{
		protocols h1
		timeouts {{
			idle {KEEPALIVE_SECONDS}s
		}}
	}}
}}
http://:{self.port} {{
	bind 127.0.0.1
	root * {root}
	file_server {coded}
}}
''')
        places = [f'{name}={directory}' for name in ('HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME')]
        return ['env', 'GOMAXPROCS=1', *places, 'caddy', 'run', '--adapter', 'caddyfile', '--config', conf]


class Haproxy(Peer):
    """Its cache. What it caches comes from an nginx, which ends as soon as all has been asked for once: what is
    measured cannot have come from there."""
    family = 'haproxy'
    program = package = 'haproxy'

    def __init__(self):
        super().__init__('haproxy')
        self.origin = None

    def version(self):
        return first_line(['haproxy', '-v']).split(' - ')[0]

    def start(self, directory, root, cores, body_size=0, connections=1024):
        if self.absent():
            raise Absent(self.absent())
        origin = Nginx(False)
        if origin.absent():
            raise Absent(f'its origin, nginx, is {origin.absent()}')
        origin.label = 'haproxy-origin'
        origin.coded = self.coded
        origin.start(directory, root, cores, body_size, 64)
        self.origin = origin
        try:
            super().start(directory, root, cores, body_size, connections)
        except Failed:
            self.settle()
            raise

    def settle(self):
        origin, self.origin = self.origin, None
        if origin:
            origin.stop()
        return bool(origin)

    def stop(self):
        super().stop()
        self.settle()

    def command(self, directory, root, body_size, connections):
        conf = os.path.join(directory, 'haproxy.cfg')
        # Large bodies take a fifth less with larger buffers, and small ones a little more.
        buffers = f'tune.bufsize {128 << 10}' if body_size > 64 << 10 else ''
        # Its 304 has the Content-Length of a 200, as RFC 9110 (8.6) allows; wrk waits for those bytes.
        rule = 'http-after-response del-header content-length if { status 304 }' if self.not_modified else ''
        with open(conf, 'w', encoding='utf-8') as file:
            file.write(f'''
global
    nbthread 1
    maxconn {connections + 100}
    # It wants two descriptors for a client, of which it takes the second only to ask its origin.
    no strict-limits
    {buffers}
defaults
    mode http
    timeout connect 5s
    timeout client {KEEPALIVE_SECONDS}s
    timeout server 5s
    timeout http-request {KEEPALIVE_SECONDS}s
    timeout http-keep-alive {KEEPALIVE_SECONDS}s
    retries 0
cache memory
    total-max-size 64
    max-object-size {4 << 20}
    max-age 86400
    process-vary {'on' if self.coded else 'off'}
frontend clients
    bind 127.0.0.1:{self.port} backlog 4096
    http-request cache-use memory
    http-response cache-store memory
    {rule}
    default_backend origin
backend origin
    server nginx 127.0.0.1:{self.origin.port}
''')
        return ['haproxy', '-db', '-f', conf]


def choose(looms, limits, names, with_absent=False):
    """The servers to compare: those named, or all that are here, or all.

    looms: [(prefix, path)] of loom binaries; limits: {backend: path}.
    """
    found = []
    for prefix, path in looms:
        found += [Loom(f'{prefix}-epoll', path, 'epoll'), Loom(f'{prefix}-io_uring', path, 'io_uring')]
    for peer in Nginx(True), Nginx(False), H2o(), Lighttpd(), Caddy(), Haproxy():
        if with_absent or not peer.absent():
            found.append(peer)
    found += [Limit(path, backend) for backend, path in limits.items()]
    if names is None:
        return found
    by_label = {server.label: server for server in found}
    for name in names:
        if name not in by_label:
            sys.exit(f'bench: no server named {name} here; there are: {", ".join(by_label)}')
    return [by_label[name] for name in names]
